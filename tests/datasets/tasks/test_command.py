"""The command line of ``tools/convert_annotations.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmf_muvla.datasets.tasks.conversion.command import convert_command
from mmf_muvla.errors import InputError
from mmf_muvla.reading.restricted_pickle import load_npy_object

ROOT = Path(__file__).resolve().parents[3]


def write_vqa2(folder: Path) -> None:
    """Two questions for each of train, val and test."""
    for number, subset in enumerate(("train2014", "val2014", "test2015")):
        ids = [10 * number + 1, 10 * number + 2]
        questions = [{"question_id": one, "image_id": one, "question": "What colour?"} for one in ids]
        content = {"data_subtype": subset, "questions": questions}
        (folder / f"v2_OpenEnded_mscoco_{subset}_questions.json").write_text(json.dumps(content))
        annotations = [
            {
                "question_id": one,
                "image_id": one,
                "question_type": "what",
                "answer_type": "other",
                "multiple_choice_answer": "red",
                "answers": [{"answer": "red"}] * 9 + [{"answer": "blue"}],
            }
            for one in ids
        ]
        if number < 2:
            content = {"annotations": annotations}
            (folder / f"v2_mscoco_{subset}_annotations.json").write_text(json.dumps(content))


def rows(output: str) -> dict[str, list[str]]:
    """The printed table: first cell -> the others."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]
    return {line[0]: line[1:] for line in cells}


def test_vqa2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vqa2(tmp_path)
    ids = tmp_path / "ids.txt"
    ids.write_text("COCO_train2014_000000000001\nCOCO_train2014_000000000002\nCOCO_val2014_000000000011\n")
    convert_command(
        ["task=vqa2", f"source={tmp_path}", f"out={tmp_path / 'out'}", f"image_ids={ids}", "min_occurrences=4"]
    )
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "answers_vqa.txt",
        "imdb_test.npy",
        "imdb_train.npy",
        "imdb_val.npy",
    ]
    assert (tmp_path / "out" / "answers_vqa.txt").read_text() == "<unk>\nred\n"
    table = rows(capsys.readouterr().out)
    assert table["written"] == ["2", "2", "2"]
    assert table["unknown images"] == ["0", "1", "2"]
    assert table["unlabelled"] == ["0", "0", "2"]
    assert table["answers outside"] == ["2", "2", "0"]
    assert table["questions outside"] == ["0", "0", "0"]


def test_halves_of_val_have_different_images(tmp_path: Path) -> None:
    """The test's answers are not published: one half to choose by, one to report."""
    ids = [11, 11, 12, 13, 14, 15, 16, 17]
    questions = [{"question_id": n, "image_id": it, "question": "What?"} for n, it in enumerate(ids)]
    content = {"data_subtype": "val2014", "questions": questions}
    (tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    convert_command(["task=vqa2", f"source={tmp_path}", f"out={out}", "halve_val=true"])
    whole, first, second = (load_npy_object(out / f"imdb_val{name}.npy") for name in ("", "_half1", "_half2"))
    assert first[0] == second[0] == whole[0]
    assert sorted(entry["question_id"] for entry in [*first[1:], *second[1:]]) == list(range(8))
    images = [{entry["image_name"] for entry in half[1:]} for half in (first, second)]
    assert all(images) and not images[0] & images[1]
    convert_command(["task=vqa2", f"source={tmp_path}", f"out={tmp_path / 'plain'}"])
    assert not list((tmp_path / "plain").glob("*half*"))


def test_nlvr2_and_visual_entailment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"sentence": "Two dogs.", "identifier": "test1-1-0-0", "label": "True"}
    (tmp_path / "test1.json").write_text(json.dumps(line) + "\n")
    with pytest.raises(InputError, match="halve_val=true: is for VQA 2.0"):
        convert_command(["task=nlvr2", f"source={tmp_path}", f"out={tmp_path / 'nlvr2'}", "halve_val=true"])
    convert_command(["task=nlvr2", f"source={tmp_path}", f"out={tmp_path / 'nlvr2'}"])
    assert [path.name for path in (tmp_path / "nlvr2").glob("[!.]*")] == ["test.jsonl"]
    line = {"sentence2": "Two dogs.", "pairID": "1.jpg#0r1e", "Flikr30kID": "1.jpg", "gold_label": "neutral"}
    (tmp_path / "snli_ve_dev.jsonl").write_text(json.dumps(line) + "\n")
    convert_command(["task=visual_entailment", f"source={tmp_path}", f"out={tmp_path / 've'}"])
    assert [path.name for path in (tmp_path / "ve").glob("[!.]*")] == ["val.jsonl"]
    assert rows(capsys.readouterr().out)["neutral"] == ["1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("task=", "task=: is not given"),
        ("task=vqa", "unknown task.*vqa2, nlvr2, visual_entailment, refcoco_plus"),
        ("out=", "out=: is not given"),
        ("source=/nowhere", "no such folder"),
        ("task=nlvr2", "has none of the files train.json"),
        ("task=refcoco_plus", r"refs\(unc\)\.p"),
        ("imageids=x", "Did you mean image_ids"),
        ("unknown_images=drop", "unknown value. Use one of keep, skip"),
        ("unlabelled=drop", "unknown value. Use one of keep, skip"),
        ("on_bad_record=ignore", "unknown value. Use one of error, skip"),
        ("min_occurrences=0", "is not a whole number from 1"),
        ("image_ids=/nowhere", "is not a region store"),
        ("image_key=x", "is the same for all images"),
        ("halve_val=perhaps", "halve_val"),
    ],
)
def test_options_that_cannot_be_used(change: str, message: str, tmp_path: Path) -> None:
    write_vqa2(tmp_path)
    with pytest.raises(InputError, match=message):
        convert_command(["task=vqa2", f"source={tmp_path}", f"out={tmp_path / 'out'}", change])
    assert not (tmp_path / "out").exists()


def test_the_script_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "convert_annotations.py")]
    done = subprocess.run([*command, "task=nlvr2", f"source={tmp_path}", "out=x"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: source={tmp_path}: has none of the files train.json")
