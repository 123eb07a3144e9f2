"""Work in numbered parts, each of which is whole or absent: what a killed process has finished is not done again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from mmf_muvla.artifacts.arrow import TableWriter, count_batches, read_batches
from mmf_muvla.artifacts.executors import Executor, Kind, LocalExecutor
from mmf_muvla.artifacts.files import (
    damaged_files,
    describe_files,
    is_temporary,
    publish_file,
    read_record,
    write_record,
)
from mmf_muvla.errors import InputError

Item = TypeVar("Item")
# What the part that is being made has published. To look for it in the folder would take longer with every part.
_published: list[Path] = []
# What has to be there for this process to publish anything; see publish_while_there.
_needed: Path | None = None
# A table of many parts has so many batches, or up to twice as many.
_BATCHES_JOINED = 1024


def part_path(folder: Path, name: str, number: int, suffix: str) -> Path:
    """The file of a part."""
    return folder / f"{name}-{number:06d}{suffix}"


def part_files(folder: Path, name: str, suffix: str) -> list[Path]:
    """The files of all parts, in order."""
    return sorted(folder.glob(f"{name}-*{suffix}"))


def part_size(total: int, most: int) -> int:
    """How many of ``total`` things to put into a part: at most ``most``, at least a sixteenth, else for sixteen parts.

    The number of workers does not count: what is worked on together may change the results.
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


def publish_while_there(file: Path) -> None:
    """Have this process publish no more parts once ``file`` is gone.

    A worker on another machine may live on, out of reach, when the work that it had a part of has ended or is begun
    anew with other options.
    """
    global _needed
    _needed = file


@contextmanager
def publish_part(path: Path, suffix: str) -> Iterator[Path]:
    """As :func:`~mmf_muvla.artifacts.files.publish_file`, for a part: under the name ``path`` with a suffix added."""
    target = path.with_name(f"{path.name}{suffix}")
    with publish_file(target) as file:
        yield file
        _refuse_if_ended()
    _published.append(target)


def run_parts(
    folder: Path,
    name: str,
    function: Callable[[Any, Any, Path], dict[str, Any]],
    items: Iterable[tuple[int, Any]],
    executor: Executor,
    setup: Callable[..., Any] | None = None,
    *,
    arguments: tuple[Any, ...] = (),
    kind: Kind,
    processes: Callable[[int], int] | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Make all parts that are not there yet.

    Args:
        folder, name: of the parts; a part's note, ``NAME-000017.json``, says that the part is finished.
        function: ``function(state, item, path)`` writes the part with :func:`publish_part`, and returns its note.
        items: numbers of parts, and what to make them from.
        executor, setup, arguments, kind, processes: see :meth:`~mmf_muvla.artifacts.executors.Executor.map`.

    Yields:
        The number and the note of every part, in order, also of those that were there.
    """
    finished: dict[int, dict[str, Any]] = {}

    def unfinished() -> Iterator[tuple[int, Any]]:
        for number, item in items:
            note = _read_note(part_path(folder, name, number, ".json"))
            if note is None:
                yield number, item
            else:
                finished[number] = note

    following = 0
    run = partial(_run, function, folder, name)
    made = executor.map(run, unfinished(), setup, arguments, kind=kind, folder=folder, processes=processes)
    for number, note in made:
        finished[number] = note
        while following in finished:
            yield following, finished.pop(following)
            following += 1
    for number in sorted(finished):
        yield number, finished[number]


def run_large_parts(
    folder: Path,
    name: str,
    function: Callable[[Any, Any, Path, Any], dict[str, Any]],
    items: Iterable[tuple[int, Any]],
    executor: Executor,
    state: Any,
    *,
    kind: Kind,
    progress: Any = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """As :func:`run_parts`, for parts that keep a whole machine busy.

    On this machine one process, this one, makes them with all cores or GPUs, one part after the other.

    Args:
        folder, name, items, executor, kind: see there.
        function: ``function(state, item, path, progress)``, see there; it may advance the progress bar.
        state: what all parts are made with.
        progress: a progress bar, which workers of a cluster are not given.
    """
    if isinstance(executor, LocalExecutor):
        for number, item in items:
            make = partial(_make_large_part, function, state, item, progress)
            yield number, make_part(folder, name, number, make)
    else:
        run = partial(_without_progress, function)
        yield from run_parts(folder, name, run, items, executor, _as_it_is, arguments=(state,), kind=kind)


def add_up(parts: Iterable[tuple[int, dict[str, int]]], progress: Any, unit: str) -> dict[str, int]:
    """The sums of what the notes of parts count; ``progress`` is advanced by each part's ``unit``."""
    totals = Counter[str]()
    for _, note in parts:
        totals.update(note)
        progress.update(note[unit])
    return dict(totals)


def make_part(folder: Path, name: str, number: int, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Make one part in this process as :func:`run_parts` does, unless it is there, and return its note."""
    path = part_path(folder, name, number, ".json")
    note = _read_note(path)
    if note is None:
        _published.clear()
        note = make(path.with_suffix(""))
        _write_note(path, note, _published)
    return note


def read_notes(folder: Path, name: str) -> list[dict[str, Any]]:
    """The notes of all parts, in order."""
    notes = []
    for path in part_files(folder, name, ".json"):
        if (note := _read_note(path)) is None:
            raise InputError(str(path), "is damaged", "Run the same command again")
        notes.append(note)
    return notes


def remove_parts(folder: Path, name: str) -> None:
    """Remove all parts of that name, notes first: a note without its part would be taken for a finished one."""
    for suffix in (".json", ""):
        for path in part_files(folder, name, suffix):
            path.unlink()


def take_descriptions(folder: Path) -> dict[str, Any]:
    """What the notes of parts say of the files that stay, as :func:`describe_files` does; the notes are removed."""
    described: dict[str, Any] = {}
    for note in [path for path in folder.iterdir() if _PART_NOTE.search(path.name)]:
        described |= (read_record(note) or {}).get("files", {})
        note.unlink()
    return {name: content for name, content in described.items() if (folder / name).is_file()}


def join_parts(folder: Path, name: str, schema: pa.Schema, target: str) -> None:
    """Make one table out of the parts of that name, ``NAME-000017.arrow``, as the file ``target``, and remove them.

    A reader keeps 9 kB for each batch of a table, which has less than 2,048, however many the parts have.
    """

    def join() -> dict[str, int]:
        files = part_files(folder, name, ".arrow")
        together = max(1, count_batches(files) // _BATCHES_JOINED)
        with publish_file(folder / target) as file, TableWriter(file, schema) as writer:
            for batches in chunks(read_batches(files), together):
                for batch in pa.Table.from_batches(batches, schema).combine_chunks().to_batches():
                    writer.write(*batch.columns)
        return {}

    once(folder, "joined", join)
    remove_parts(folder, name)


def once(folder: Path, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do a step of the work unless it has been done, and remember what ``make`` has returned."""
    path = folder / f"{name}.done.json"
    if _read_note(path) is None:
        note = make()
        written = (file for file in folder.rglob("*") if file.is_file() and not _PASSING.search(file.name))
        _write_note(path, note, written)
    return _read_note(path) or {}


def forget_steps(folder: Path, name: str = "*") -> None:
    """Remove what :func:`once` remembers, of one step or of all: it has to be done again, or the work is finished."""
    for note in folder.glob(f"{name}.done.json"):
        note.unlink()


def forget_damaged(folder: Path) -> list[Path]:
    """Forget parts that are damaged or missing, and all steps where one is, to be made again; the files that are."""
    damaged: list[Path] = []
    note_of: dict[str, Path] = {}
    described: dict[str, Any] = {}
    for note in sorted(path for path in folder.iterdir() if _NOTE.search(path.name)):
        record = read_record(note)
        if record is None or "files" not in record:
            damaged.append(note)
        else:
            described |= record["files"]
            note_of |= dict.fromkeys(record["files"], note)
    damaged_content = damaged_files(folder, described)
    for note in {*damaged, *(note_of[str(path.relative_to(folder))] for path in damaged_content)}:
        note.unlink()
    damaged += damaged_content
    if damaged:
        forget_steps(folder)
    return damaged


_PART_NOTE = re.compile(r"-\d{6}\.json$")
# Notes of parts and steps; parts and other files that come and go while the work is being done.
_NOTE = re.compile(r"(-\d{6}|\.done)\.json$")
_PASSING = re.compile(r"-\d{6}(\.\w+)?$|\.done\.json$|^(progress|made_from)\.json$")


def _refuse_if_ended() -> None:
    if _needed is not None:
        try:
            # Other than a mere look, this has a network file system ask its server.
            _needed.open().close()
        except FileNotFoundError as error:
            raise RuntimeError("the work that this is a part of has ended") from error


def _write_note(path: Path, note: dict[str, Any], files: Iterable[Path]) -> None:
    _refuse_if_ended()
    written = [file for file in files if file != path and not is_temporary(file)]
    write_record(path, {"note": note, "files": describe_files(path.parent, written)})


def _read_note(path: Path) -> dict[str, Any] | None:
    return (read_record(path) or {}).get("note")


def _make_large_part(
    function: Callable[..., dict[str, Any]], state: Any, item: Any, progress: Any, path: Path
) -> dict[str, Any]:
    return function(state, item, path, progress)


def _without_progress(function: Callable[..., dict[str, Any]], state: Any, item: Any, path: Path) -> dict[str, Any]:
    return function(state, item, path, None)


def _as_it_is(state: Any) -> Any:
    return state


def _run(
    function: Callable[[Any, Any, Path], dict[str, Any]], folder: Path, name: str, state: Any, item: tuple[int, Any]
) -> tuple[int, dict[str, Any]]:
    number, content = item
    return number, make_part(folder, name, number, partial(function, state, content))
