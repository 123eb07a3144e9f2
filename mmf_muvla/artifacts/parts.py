"""Work in numbered parts, each of which is whole or absent: what a killed process has finished is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from mmf_muvla.artifacts.arrow import TableWriter, read_batches
from mmf_muvla.artifacts.files import publish_file, write_json
from mmf_muvla.artifacts.workers import ordered_map

Item = TypeVar("Item")


def part_path(folder: Path, name: str, number: int, suffix: str) -> Path:
    """The file of a part."""
    return folder / f"{name}-{number:06d}{suffix}"


def part_files(folder: Path, name: str, suffix: str) -> list[Path]:
    """The files of all parts, in order."""
    return sorted(folder.glob(f"{name}-*{suffix}"))


def part_size(total: int, most: int) -> int:
    """How many of ``total`` things to put into a part: so few that several workers find work in a small corpus.

    At most ``most``, at least a sixteenth of that, and else such that there are about sixteen parts. The number of
    workers has no part in this: what is worked on together may have to do with what comes out.
    """
    size = most
    while size > max(total // 16, most // 16, 1):
        size = -(-size // 2)
    return size


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items, ``size`` at a time; the last ones may be fewer."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def publish_part(path: Path, suffix: str) -> AbstractContextManager[Path]:
    """As :func:`~mmf_muvla.artifacts.files.publish_file`, for a part: under the name ``path`` with a suffix added."""
    return publish_file(path.with_name(f"{path.name}{suffix}"))


def run_parts(
    folder: Path,
    name: str,
    function: Callable[[Any, Any, Path], dict[str, Any]],
    items: Iterable[tuple[int, Any]],
    num_workers: int,
    setup: Callable[..., Any] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Make all parts that are not there yet.

    Args:
        folder: of the parts.
        name: of the parts; a part's note, ``NAME-000017.json``, says that the part is finished.
        function: ``function(state, item, path)`` writes the part with :func:`publish_part`, and returns what its note
            should hold.
        items: numbers of parts, and what to make them from.
        num_workers, setup, arguments: see :func:`~mmf_muvla.artifacts.workers.ordered_map`.

    Yields:
        The number and the note of every part, in order, also of those that were there.
    """
    finished: dict[int, dict[str, Any]] = {}

    def unfinished() -> Iterator[tuple[int, Any]]:
        for number, item in items:
            note = _read_note(folder, name, number)
            if note is None:
                yield number, item
            else:
                finished[number] = note

    following = 0
    for number, note in ordered_map(partial(_run, function, folder, name), unfinished(), num_workers, setup, arguments):
        finished[number] = note
        while following in finished:
            yield following, finished.pop(following)
            following += 1
    for number in sorted(finished):
        yield number, finished[number]


def make_part(folder: Path, name: str, number: int, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Make one part in this process, unless the part is there.

    Args:
        folder, name, number: of the part.
        make: writes it, as ``function`` of :func:`run_parts`.

    Returns:
        The part's note.
    """
    note = _read_note(folder, name, number)
    if note is None:
        note = make(part_path(folder, name, number, ""))
        write_json(part_path(folder, name, number, ".json"), note)
    return note


def read_notes(folder: Path, name: str) -> list[dict[str, Any]]:
    """The notes of all parts, in order."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in part_files(folder, name, ".json")]


def remove_notes(folder: Path, name: str) -> None:
    """Remove the notes of parts that stay: the stage is finished."""
    for path in part_files(folder, name, ".json"):
        path.unlink()


def remove_parts(folder: Path, name: str) -> None:
    """Remove all parts of that name, notes first: a note without its part would be taken for a finished one."""
    remove_notes(folder, name)
    for path in part_files(folder, name, ""):
        path.unlink()


def join_parts(folder: Path, name: str, schema: pa.Schema, target: str) -> None:
    """Make one table out of the parts of that name, ``NAME-000017.arrow``, as the file ``target``, and remove them."""

    def join() -> dict[str, int]:
        with publish_file(folder / target) as file, TableWriter(file, schema) as writer:
            for batch in read_batches(part_files(folder, name, ".arrow")):
                writer.write(*batch.columns)
        return {}

    once(folder, "joined", join)
    remove_parts(folder, name)


def once(folder: Path, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do a step of a stage unless it has been done, and remember what it returned.

    Args:
        folder: of the stage.
        name: of the step.
        make: does it, and returns what to remember. When it is done its own inputs may be removed.
    """
    note = folder / f"{name}.done.json"
    if not note.exists():
        write_json(note, make())
    return json.loads(note.read_text(encoding="utf-8"))


def forget_steps(folder: Path, name: str = "*") -> None:
    """Remove what :func:`once` remembers, of one step or of all: it has to be done again, or the stage is finished."""
    for note in folder.glob(f"{name}.done.json"):
        note.unlink()


def _run(
    function: Callable[[Any, Any, Path], dict[str, Any]], folder: Path, name: str, state: Any, item: tuple[int, Any]
) -> tuple[int, dict[str, Any]]:
    number, content = item
    return number, make_part(folder, name, number, partial(function, state, content))


def _read_note(folder: Path, name: str, number: int) -> dict[str, Any] | None:
    path = part_path(folder, name, number, ".json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
