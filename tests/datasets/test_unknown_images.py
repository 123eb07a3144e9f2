"""A task's annotations and features that do not belong together are told by one key of each side."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from mmf_muvla.datasets.tasks import task as task_module
from mmf_muvla.datasets.tasks.vqa2.dataset import read_answers
from mmf_muvla.errors import InputError
from tests.datasets.small_tasks import DIM, make, records
from tests.datasets.tasks.hostile import ODD_VALUES

INFO = {"bbox": np.array([[0, 0, 10, 10]], np.float32), "image_width": 20, "image_height": 20, "num_boxes": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks")
    make(path, "vqa2")
    return path


def mmf_folder(path: Path, keys: list[str]) -> Path:
    path.mkdir()
    for key in keys:
        np.save(path / f"{key}.npy", np.ones((1, DIM), np.float32))
        np.save(path / f"{key}_info.npy", np.array(INFO, dtype=object), allow_pickle=True)
    return path


def mmf_lmdb(path: Path, keys: list[str]) -> Path:
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        for key in keys:
            transaction.put(key.encode(), pickle.dumps({**INFO, "features": np.ones((1, DIM), np.float32)}))
        transaction.put(b"keys", pickle.dumps([key.encode() for key in keys]))
    return path


def renamed(task: str, name: str) -> list[dict[str, Any]]:
    """The task's records, each with its image's number put into another name."""
    field = {"vqa2": "feature_path", "visual_entailment": "Flikr30kID", "refcoco_plus": "image_id"}[task]
    return [{**entry, field: name.format(number)} for number, entry in enumerate(records(task))]


@pytest.mark.parametrize("missing_images", ["error", "skip"])
@pytest.mark.parametrize("task", ["vqa2", "visual_entailment", "refcoco_plus"])
def test_no_image_is_in_the_store(task: str, missing_images: str, folder: Path) -> None:
    with pytest.raises(InputError) as error:
        make(folder, task, renamed(task, "COCO_val2014_{:012d}"), missing_images=missing_images)
    assert "none of its 32 images is in" in error.value.problem
    assert "the annotations say 'COCO_val2014_000000000000', " in error.value.problem
    assert error.value.problem.endswith("regions has '0'")
    assert "image_key={image_id}" in error.value.remedy


@pytest.mark.parametrize("make_features", [mmf_folder, mmf_lmdb])
def test_no_image_is_among_mmfs_features(make_features: Any, folder: Path, tmp_path: Path) -> None:
    features = make_features(tmp_path / "features", ["COCO_train2014_000000000007"])
    with pytest.raises(InputError, match=r"say '0', .*features has 'COCO_train2014_000000000007'. .*image_key={name}"):
        make(folder, "vqa2", features={"train": str(features)})
    # With one of them known, it is a question of the others.
    features = make_features(tmp_path / "others", ["31"])
    with pytest.raises(InputError, match=r"entry 1: image 0 is not in .*others, nor are 30 others of 32 images"):
        make(folder, "vqa2", features={"train": str(features)})


@pytest.mark.parametrize(("known", "warns"), [(15, True), (16, False)])
def test_hardly_any_image_is_known(
    known: int, warns: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    monkeypatch.setattr(task_module, "log_message", lambda text, level: messages.append(text))
    features = mmf_folder(tmp_path / "features", [str(number) for number in range(known)])
    dataset = make(folder, "vqa2", features={"train": str(features)}, missing_images="skip")
    assert len(dataset) == known
    assert [f"{32 - known} of 32 images are unknown" in message for message in messages] == [True, False] * warns or (
        not warns and not any("unknown" in message for message in messages)
    )


@pytest.mark.parametrize("key", ["k" * 300, "k" * 600, "a\0b", "../../etc/passwd", "\ud800", "x/" * 100 + "x"])
def test_keys_that_no_folder_can_have_are_unknown(key: str, folder: Path, tmp_path: Path) -> None:
    features = mmf_folder(tmp_path / "features", [str(number) for number in range(32)])
    entries = [*records("refcoco_plus")[:3], {**records("refcoco_plus")[3], "image_id": key}]
    try:
        dataset = make(folder, "refcoco_plus", entries, features={"train": str(features)}, missing_images="skip")
    except InputError as error:
        assert "line 4" in error.where
    else:
        assert len(dataset) == 3 and dataset.left_out["without regions"] == 1


@pytest.mark.parametrize("field", ["question_id", "image_id", "feature_path", "question_str", "answers", "answer_type"])
def test_odd_values_in_an_array_are_named_or_do_no_harm(field: str, folder: Path) -> None:
    template = make(folder, "vqa2", missing_images="skip")
    good, last = records("vqa2")[:2], records("vqa2")[2]
    if field == "image_id":
        last = {key: value for key, value in last.items() if key != "feature_path"}
    for number, value in enumerate(ODD_VALUES):
        entries: list[Any] = [*good, {**last, field: value}]
        template.left_out = dict.fromkeys(template.left_out, 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mmf_muvla.datasets.tasks.vqa2.dataset.load_object_array", lambda _, entries=entries: entries)
            try:
                template.records = template._usable(template.read_records())
            except InputError as error:
                assert "entry 2" in error.where and len(str(error)) < 1000, number
                continue
        assert [record.question_id for record in template.records[:2]] == [100, 101]
        template.__getitems__(range(len(template)))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has no answers"),
        (b"yes\nn\xffo\n", "is no text in UTF-8"),
        (b"yes\nn\0o\n", "line 2: has a NUL character"),
        (b"yes\n" + b"x" * 20_000, "line 2: has 20,000 characters"),
    ],
)
def test_answer_vocabularies_that_are_none(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_bytes(content)
    with pytest.raises(InputError, match=problem):
        read_answers(tmp_path / "answers.txt")
    (tmp_path / "answers.txt").write_bytes(b"\xef\xbb\xbfyes\nno\n")
    assert read_answers(tmp_path / "answers.txt") == ["yes", "no"]
    shutil.rmtree(tmp_path)
