"""What a run's history says when the run has gone back and measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.report.history import read_history


def write(folder: Path, lines: list[tuple[str, int, float]]) -> Path:
    text = "".join(json.dumps({"split": split, "update": update, "loss": loss}) + "\n" for split, update, loss in lines)
    (folder / "history.jsonl").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ([("train", 4, 5.0), ("train", 6, 6.0)], ([2, 4, 6], [1.0, 5.0, 6.0])),  # killed, and resumed
        ([("train", 3, 5.0)], ([2, 3], [1.0, 5.0])),  # back to the best checkpoint, and stopped there
        ([("train", 1, 9.0)], ([1], [9.0])),  # from the beginning
        ([], ([2, 4, 6], [1.0, 2.0, 3.0])),
    ],
)
def test_what_was_given_up_does_not_count(
    tmp_path: Path, again: list[tuple[str, int, float]], expected: tuple[list[int], list[float]]
) -> None:
    first = [("train", 2, 1.0), ("val", 3, 0.5), ("train", 4, 2.0), ("train", 6, 3.0), ("val", 6, 0.7)]
    history = read_history(write(tmp_path, [*first, *again]))
    assert history.curve("loss") == expected
    assert history.curve("loss", "val") == ([3, 6], [0.5, 0.7])


@pytest.mark.parametrize("line", ['{"split": "train"', '{"split": "train"}', '{"split": "dev", "update": 1}', "[1]"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "history.jsonl").write_text(f'{{"split": "train", "update": 1}}\n{line}\n')
    with pytest.raises(InputError, match=r"history\.jsonl, line 2: (damaged|is )"):
        read_history(tmp_path)
