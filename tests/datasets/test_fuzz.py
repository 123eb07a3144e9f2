"""Annotation files of the tasks with one damaged record, the last one: it is named, or the data set can be used.

``MUVLA_FUZZ`` says how many files; case by case they are the same ones every time.
"""

from __future__ import annotations

import copy
import os
import random
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.errors import InputError
from tests.datasets.small_tasks import TASKS, annotation_file, make, records, write_annotations
from tests.datasets.tasks.hostile import ODD_VALUES, as_lines, change_bytes, change_value, damaged_json

FILES = int(os.environ.get("MUVLA_FUZZ", "320")) // 8
GOOD = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def write_damaged(path: Path, task: str, rng: random.Random) -> bool:
    """Write a file, and say whether nothing but its last record is damaged."""
    good, last = records(task)[:GOOD], records(task)[GOOD]
    if task != "vqa2":
        path.write_bytes(damaged_json(good, last, rng, as_lines))
        return True
    if rng.random() < 0.7:
        last = copy.deepcopy(last)
        change_value(last, rng, ODD_VALUES)
    write_annotations(path, task, [*good, last])
    is_whole = rng.random() < 0.7
    if not is_whole:
        path.write_bytes(change_bytes(path.read_bytes(), rng))
    return is_whole


@pytest.mark.parametrize("task", TASKS)
def test_a_damaged_record_is_named_or_does_no_harm(task: str, folder: Path) -> None:
    whole = make(folder, task, missing_images="skip")
    path = annotation_file(folder / "damaged", task)
    path.parent.mkdir(exist_ok=True)
    named = 0
    for case in range(FILES):
        others_are_whole = write_damaged(path, task, random.Random(case))
        dataset: Any = copy.copy(whole)
        dataset.path, dataset.left_out = str(path), dict.fromkeys(whole.left_out, 0)
        try:
            dataset.records = dataset._usable(dataset.read_records())
        except InputError as error:
            assert str(error).startswith(str(path)) and len(str(error)) < 2_000, f"case {case}: {error}"
            named += 1
            continue
        assert dataset.records[:GOOD] == whole.records[:GOOD] or not others_are_whole, f"case {case}"
        try:
            batch = dataset.__getitems__(range(len(dataset)))
        except InputError as error:  # only with the regions it turns out which numbers of regions there are
            assert "target_regions" in str(error), f"case {case}"
            continue
        assert len(batch["labelled"]) == len(dataset.records), f"case {case}"
    assert 0 < named < FILES
