"""Checkpoints are whole or absent, carry no code, and say what of them was used."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from mmf_muvla.errors import InputError
from mmf_muvla.trainers.checkpoints import load_matching, read_checkpoint_file, save_atomically


class Refuses:
    """Cannot be saved: stands for a process that dies in the middle of writing."""

    def __reduce__(self):
        raise RuntimeError("killed")


def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "current.ckpt"
    save_atomically({"model": {"a": torch.ones(2)}}, path)
    with pytest.raises(RuntimeError, match="killed"):
        save_atomically({"model": {"a": torch.zeros(2)}, "rest": Refuses()}, path)
    assert read_checkpoint_file(path)["model"]["a"].tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["current.ckpt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "evil.ckpt"
    torch.save({"model": Touch()}, path, pickle_module=pickle)
    with pytest.raises(InputError, match="evil.ckpt: cannot be read as a checkpoint of weights"):
        read_checkpoint_file(path)
    assert not (tmp_path / "executed").exists()


def test_a_cut_checkpoint_and_a_missing_one_are_named(tmp_path: Path) -> None:
    path = tmp_path / "current.ckpt"
    save_atomically({"model": {"a": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="current.ckpt: cannot be read"):
        read_checkpoint_file(path)
    with pytest.raises(InputError, match="none.ckpt: no such checkpoint"):
        read_checkpoint_file(tmp_path / "none.ckpt")


class Model(nn.Module):
    def __init__(self, width: int, labels: int):
        super().__init__()
        self.encoder = nn.Linear(width, 2)
        self.head = nn.Linear(2, labels)


def test_matching_weights_are_taken_and_the_rest_is_listed() -> None:
    source, target = Model(3, 5), Model(3, 4)
    state = source.state_dict() | {"other.weight": torch.zeros(1)}
    before = target.head.weight.clone()
    report = load_matching(target, state, "x.ckpt")
    assert torch.equal(target.encoder.weight, source.encoder.weight)
    assert torch.equal(target.head.weight, before)
    assert report.mismatched == ("head.weight", "head.bias")
    assert report.unused == ("other.weight",)
    assert str(report) == "2 tensors loaded; 2 of another shape: head; 1 not in the model: other"


def test_a_checkpoint_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(InputError, match="holds no encoder that fits"):
        load_matching(Model(3, 5), Model(4, 5).state_dict(), "x.ckpt")
