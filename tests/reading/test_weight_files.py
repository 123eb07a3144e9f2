"""Damaged files of weights are named, whatever has happened to them and whoever reads them."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import read_checkpoint
from mmf_muvla.trainers.checkpoints import read_checkpoint_file, save_atomically, save_weights
from mmf_muvla.trainers.loading import load_run

KINDS = ("current.ckpt", "final.safetensors")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Linear(300, 40)
        self.decoder = nn.Linear(300, 40)
        self.decoder.weight = self.words.weight


def write(path: Path) -> Path:
    torch.manual_seed(0)
    model = Tied()
    if path.suffix == ".safetensors":
        save_weights(model, path, update=7)
    else:
        save_atomically({"model": model.state_dict(), "num_updates": 7}, path)
    return path


def flip(path: Path, position: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * position)] ^= 4
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "its last byte is gone": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a flipped bit in a tensor": lambda path: flip(path, 0.5),
    "another one": lambda path: flip(path, 0.3),
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "an image": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200)),
    "an archive of something else": lambda path: shutil.copy(_zip(path), path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def _zip(path: Path) -> Path:
    other = path.with_name("other.zip")
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("notes.txt", "nothing")
    return other


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(tmp_path: Path, kind: str, damage: str) -> None:
    path = write(tmp_path / kind)
    assert read_checkpoint_file(path)["num_updates"] == 7
    DAMAGES[damage](path)
    with pytest.raises(InputError) as raised:
        read_checkpoint_file(path)
    assert raised.value.where == str(path)
    assert "\n" not in str(raised.value)


def test_tied_weights_come_back_and_files_of_others_need_no_checksum(tmp_path: Path) -> None:
    model = Tied()
    save_weights(model, tmp_path / "own.safetensors", update=3)
    read = read_checkpoint_file(tmp_path / "own.safetensors")["model"]
    assert set(read) == {"decoder.bias", "decoder.weight", "words.bias"}
    save_file({name: value + 1 for name, value in read.items()}, tmp_path / "theirs.safetensors")
    theirs = read_checkpoint_file(tmp_path / "theirs.safetensors")
    assert torch.equal(theirs["model"]["decoder.weight"], model.words.weight + 1) and "num_updates" not in theirs


def test_a_file_of_weights_can_be_read_by_whom_the_rest_can(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_text("")
    save_weights(Tied(), tmp_path / "own.safetensors", update=3)
    assert (tmp_path / "own.safetensors").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("damage", ["cut in the middle", "an image", "empty"])
def test_a_damaged_bert_is_named(tmp_path: Path, name: str, damage: str) -> None:
    tensors = {"bert.embeddings.LayerNorm.gamma": torch.ones(4000)}
    if name.endswith(".bin"):
        torch.save(tensors, tmp_path / name)
    else:
        save_file(tensors, tmp_path / name)
    assert list(read_checkpoint(str(tmp_path))) == ["embeddings.LayerNorm.weight"]
    DAMAGES[damage](tmp_path / name)
    with pytest.raises(InputError, match=name):
        read_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("a: [b", "cannot be read"),
        ("- muvla\n", "cannot be read: it does not hold keys and values"),
        (json.dumps({"model_config": {"visual_bert": {}}}), "has no model_config.muvla"),
        (json.dumps({"model_config": {"muvla": {"task": "${oc.env:HOME}"}}}), r"refers to other values"),
    ],
)
def test_a_folder_that_no_run_has_written_is_refused(tmp_path: Path, config: str, problem: str) -> None:
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(InputError, match=rf"config\.yaml: {problem}"):
        load_run(tmp_path)


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("echo",))


def test_no_message_advises_to_run_code(tmp_path: Path) -> None:
    """PyTorch's own does: it recommends ``weights_only=False``."""
    torch.save({"model": RunsCode()}, tmp_path / "code.ckpt")
    (tmp_path / "page.ckpt").write_text("<html>not found</html>")
    for name, reason in (("code.ckpt", "unsupported GLOBAL .*system|Unsupported global"), ("page.ckpt", "operand")):
        with pytest.raises(InputError, match=reason) as raised:
            read_checkpoint_file(tmp_path / name)
        assert "weights_only" not in str(raised.value)
