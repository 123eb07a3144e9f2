from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mmf_muvla.artifacts import parts as parts_module
from mmf_muvla.artifacts.arrow import MappedTable, TableWriter
from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.artifacts.files import describe_files
from mmf_muvla.artifacts.parts import (
    forget_steps,
    join_parts,
    make_part,
    once,
    part_files,
    part_path,
    publish_part,
    publish_while_there,
    read_notes,
    remove_parts,
    run_parts,
    take_descriptions,
)

NAME = "squares"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is killed here, so that nothing has to be on disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def write_square(power: int, item: int, path: Path) -> dict[str, Any]:
    """Write a part, and say in a log who has been asked for it."""
    with (path.parent / "asked.log").open("a") as log:
        log.write(f"{item}\n")
    if item < 0:
        raise ValueError(f"{item} is negative")
    with publish_part(path, ".txt") as file:
        file.write_text(f"{item**power}\n" * item)
    return {"item": item, "power": power}


def give(power: int) -> int:
    return power


def refuse() -> None:
    raise AssertionError("nothing is left to do")


HOW: Any = {"arguments": (2,), "kind": "link"}


def run(folder: Path, items: Any = range(6), num_workers: int = 1) -> list[tuple[int, dict[str, Any]]]:
    return list(
        run_parts(
            folder, NAME, write_square, enumerate(items), LocalExecutor(num_workers), give, arguments=(2,), kind="link"
        )
    )


def asked(folder: Path) -> list[int]:
    """The items that were worked on since this was last asked."""
    log = folder / "asked.log"
    items = [int(line) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(items)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "asked.log"}


EXPECTED = [(number, {"item": number, "power": 2}) for number in range(6)]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_parts_and_their_notes(tmp_path: Path, num_workers: int) -> None:
    assert run(tmp_path, num_workers=num_workers) == EXPECTED
    assert [path.name for path in part_files(tmp_path, NAME, ".txt")] == [f"squares-00000{n}.txt" for n in range(6)]
    assert [path.read_text() for path in part_files(tmp_path, NAME, ".txt")] == [f"{n * n}\n" * n for n in range(6)]
    assert read_notes(tmp_path, NAME) == [note for _, note in EXPECTED]
    assert asked(tmp_path) == list(range(6))


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("lost", [[], [0], [5], [1, 4], [0, 2, 4], [3, 4, 5], list(range(6))])
def test_only_what_is_missing_is_made(tmp_path: Path, lost: list[int], num_workers: int) -> None:
    run(tmp_path)
    whole = contents(tmp_path)
    asked(tmp_path)
    for number in lost:
        part_path(tmp_path, NAME, number, ".txt").unlink()
        part_path(tmp_path, NAME, number, ".json").unlink()
    # All come out in order, whether they were there or not.
    assert run(tmp_path, num_workers=num_workers) == EXPECTED
    assert asked(tmp_path) == lost
    assert contents(tmp_path) == whole


def test_what_is_not_noted_is_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    whole = contents(tmp_path)
    asked(tmp_path)
    # Killed while part 2 was being written, and between part 4 and its note.
    part_path(tmp_path, NAME, 2, ".txt").write_text("4")
    (tmp_path / "squares-000002.txt.muvla-tmp-999999999").write_text("4\n")
    for number in (2, 4):
        part_path(tmp_path, NAME, number, ".json").unlink()
    (tmp_path / "squares-000004.json.muvla-tmp-999999999").write_text("{")
    assert run(tmp_path) == EXPECTED
    assert asked(tmp_path) == [2, 4]
    assert contents(tmp_path) == whole


def test_nothing_is_set_up_where_all_is_there(tmp_path: Path) -> None:
    run(tmp_path)
    assert (
        list(run_parts(tmp_path, NAME, write_square, enumerate(range(6)), LocalExecutor(), refuse, kind="link"))
        == EXPECTED
    )


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_keeps_what_is_done(tmp_path: Path, num_workers: int) -> None:
    with pytest.raises(ValueError, match="-3 is negative"):
        run(tmp_path, [0, 1, 2, -3, 4, 5], num_workers)
    done = asked(tmp_path)
    assert done[:4] == [-3, 0, 1, 2]
    assert not part_path(tmp_path, NAME, 3, ".json").exists()
    assert run(tmp_path, num_workers=num_workers) == EXPECTED
    assert asked(tmp_path) == [number for number in range(6) if number not in done]


def test_parts_that_are_there_are_not_held_back(tmp_path: Path) -> None:
    run(tmp_path, range(3))
    parts = run_parts(
        tmp_path, NAME, write_square, enumerate(range(6)), LocalExecutor(), give, arguments=(2,), kind="link"
    )
    assert [next(parts)[0] for _ in range(4)] == [0, 1, 2, 3]
    # The fourth had to be made first, no other.
    assert asked(tmp_path) == [0, 1, 2, 3]
    parts.close()


def test_numbers_may_be_left_out(tmp_path: Path) -> None:
    items = [(0, 0), (2, 2), (5, 5)]
    for _ in range(2):
        parts = list(run_parts(tmp_path, NAME, write_square, items, LocalExecutor(), give, **HOW))
        assert parts == [EXPECTED[number] for number, _ in items]


def test_items_are_not_kept(tmp_path: Path) -> None:
    taken = []

    def items() -> Iterator[tuple[int, int]]:
        for number in range(20):
            taken.append(number)
            yield number, number

    for number, _ in run_parts(
        tmp_path, NAME, write_square, items(), LocalExecutor(), give, arguments=(2,), kind="link"
    ):
        assert len(taken) <= number + 2
    assert len(taken) == 20


def test_a_single_part(tmp_path: Path) -> None:
    made = []

    def make(path: Path) -> dict[str, Any]:
        made.append(path)
        with publish_part(path, ".txt") as file:
            file.write_text("content")
        return {"size": 7}

    assert make_part(tmp_path, "results", 3, make) == {"size": 7}
    assert make_part(tmp_path, "results", 3, make) == {"size": 7}
    assert made == [tmp_path / "results-000003"]
    assert read_notes(tmp_path, "results") == [{"size": 7}]
    # Without its note it is not believed to be whole.
    part_path(tmp_path, "results", 3, ".json").unlink()
    make_part(tmp_path, "results", 3, make)
    assert len(made) == 2


def test_nothing_is_published_when_the_work_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "_needed", None)
    going_on = tmp_path / "seen"
    going_on.touch()
    publish_while_there(going_on)
    run(tmp_path, range(1))

    def end(path: Path) -> dict[str, Any]:
        with publish_part(path, ".txt") as file:
            file.write_text("late")
            going_on.unlink()
        return {}

    before = {*contents(tmp_path)} - {"seen"}
    with pytest.raises(RuntimeError, match="has ended"):
        make_part(tmp_path, NAME, 1, end)
    with pytest.raises(RuntimeError, match="has ended"):
        make_part(tmp_path, NAME, 2, lambda path: {})
    assert {*contents(tmp_path)} == before


def test_a_step_is_done_once(tmp_path: Path) -> None:
    calls = []

    def step() -> dict[str, int]:
        calls.append("step")
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"lines": 5}

    # What was interrupted has not been done.
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path, "read", step)
    for _ in range(3):
        assert once(tmp_path, "read", step) == {"lines": 5}
    assert len(calls) == 2
    once(tmp_path, "write", step)
    assert len(calls) == 3
    forget_steps(tmp_path)
    assert list(tmp_path.iterdir()) == []
    once(tmp_path, "read", step)
    assert len(calls) == 4


def test_steps_are_remembered_as_json_says_it(tmp_path: Path) -> None:
    # The same on the first call as on all others.
    for _ in range(2):
        assert once(tmp_path, "read", lambda: {"pair": (1, 2), "text": "caf\u00e9"}) == {
            "pair": [1, 2],
            "text": "caf\u00e9",
        }


def test_notes_and_parts_are_removed(tmp_path: Path) -> None:
    run(tmp_path, range(3))
    make_part(tmp_path, "other", 0, lambda path: {})
    (tmp_path / "squares.arrow").touch()
    described = take_descriptions(tmp_path)
    assert [path.suffix for path in part_files(tmp_path, NAME, "")] == [".txt"] * 3
    assert described == describe_files(tmp_path, part_files(tmp_path, NAME, ".txt"))
    (tmp_path / "other-000000.json").write_text("{}")
    asked(tmp_path)
    remove_parts(tmp_path, NAME)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other-000000.json", "squares.arrow"]
    remove_parts(tmp_path, NAME)


def test_notes_are_removed_before_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Killed in between, a part without a note is made again; a note without its part would be believed.
    run(tmp_path, range(2))
    removed = []
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: removed.append(path.suffix))
    remove_parts(tmp_path, NAME)
    assert removed[:2] == [".json", ".json"]


def test_notes_are_json(tmp_path: Path) -> None:
    run(tmp_path, range(1))
    note = json.loads((tmp_path / "squares-000000.json").read_text())
    assert note["note"] == {"item": 0, "power": 2}
    assert note["files"] == {"squares-000000.txt": {"size": 0, "crc32": "00000000"}}


def test_names_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    numbers = [0, 9, 10, 99, 100, 99999, 100000, 999999]
    assert sorted(part_path(tmp_path, NAME, number, ".txt") for number in numbers) == [
        part_path(tmp_path, NAME, number, ".txt") for number in numbers
    ]


@pytest.mark.parametrize(("num_parts", "sizes"), [(3, [2] * 6), (11, [4] * 11), (13, [6] * 8 + [4])])
def test_a_table_of_many_parts_has_few_batches(
    num_parts: int, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "_BATCHES_JOINED", 8)
    schema = pa.schema({"text": pa.string(), "numbers": pa.list_(pa.int32())})
    rows = [(str(row), [row] * (row % 3)) for row in range(4 * num_parts)]
    for number in range(num_parts):
        with TableWriter(part_path(tmp_path, "part", number, ".arrow"), schema) as writer:
            for start in (4 * number, 4 * number + 2):
                writer.write(*zip(*rows[start : start + 2], strict=True))
    join_parts(tmp_path, "part", schema, "table.arrow")
    table = MappedTable(tmp_path / "table.arrow")
    assert [len(batch) for batch in table.batches] == sizes
    assert [tuple(row.values()) for batch in table.batches for row in batch.to_pylist()] == rows
    assert not part_files(tmp_path, "part", ".arrow")
