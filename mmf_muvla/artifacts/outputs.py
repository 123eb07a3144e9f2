"""What a user has named to be written: checked before any work is done, and never replaced unless it is our own.

A folder in which this project has written single files (reports, tables, annotations) has a hidden file ``MARK`` in it,
which says what they were. A file that is not listed there, or that somebody has changed since, is not replaced.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.files import fingerprint, first_other, publish_file, read_json, temporary_name, write_json
from mmf_muvla.errors import InputError

MARK = ".mmf-muvla.json"
_MADE_BY = "mmf-muvla"
_ANOTHER = "Name another folder"
_MOVE = f"{_ANOTHER}, or move it away"


def output_folder(option: str, value: str | Path, inputs: Iterable[Path] = (), may_be_inside: bool = False) -> Path:
    """The folder that an option names for a command's output, with ``~`` filled in. Nothing is made here.

    Args:
        option, value: what was given.
        inputs: files and folders that the command reads.
        may_be_inside: the folder may be inside one of these, though not be one.

    Raises:
        InputError: it is a file, a symbolic link or beneath a file; it is, or holds, the folder that the user is in or
            their home; or it is, or is inside, what is read.
    """
    path = Path(value).expanduser()
    where = f"{option}={value}"
    if path.is_symlink():
        raise InputError(where, f"is a symbolic link to {path.readlink()}", "Name the folder that it leads to")
    if path.exists() and not path.is_dir():
        raise InputError(where, "is a file, and a folder is to be written", _ANOTHER)
    refuse_beneath_file(path, where)
    whole = path.resolve()
    for own, name in ((Path.cwd(), "the folder that you are in"), (Path.home(), "your home folder")):
        if own.resolve().is_relative_to(whole):
            raise InputError(where, f"is {name}, or holds it", "Name a folder that is for this output alone")
    for source in inputs:
        is_inside = whole.is_relative_to(source.resolve())
        if is_inside and (whole == source.resolve() or not may_be_inside):
            place = "is" if whole == source.resolve() else "is inside"
            raise InputError(where, f"{place} {source}, which is read", _ANOTHER)
    return path


def refuse_beneath_file(path: Path, where: str) -> None:
    """Refuse a path of which a folder is a file: an InputError."""
    above = next((it for it in path.parents if os.path.lexists(it)), None)
    if above is not None and not above.is_dir():
        raise InputError(where, f"{above} is no folder, so that nothing can be written into it", _MOVE)


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write to what is read, into it, or over a folder that it is in: an InputError."""
    inputs = [path.resolve() for path in inputs]
    for output in outputs:
        whole = output.resolve()
        for source in inputs:
            if whole.is_relative_to(source) or source.is_relative_to(whole):
                raise InputError(str(output), f"would be written, but {source} is read", _ANOTHER)


def refuse_file(path: Path, is_ours: bool) -> None:
    """Refuse to write a file over what is no file, or is not ours: an InputError."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_file():
        kind = "a symbolic link" if path.is_symlink() else "a folder"
        raise InputError(str(path), f"is {kind}, and a file is to be written", _MOVE)
    if not is_ours:
        problem = "would be replaced, but was not made with this command, or has been changed since"
        raise InputError(str(path), problem, _MOVE)


def check_outputs(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write files into a folder where there are others of these names that are not ours: an InputError."""
    for name in names:
        refuse_file(folder / name, (folder / name).is_file() and is_marked(folder / name))


@contextmanager
def publish_output(path: Path) -> Iterator[Path]:
    """As :func:`~mmf_muvla.artifacts.files.publish_file`, but an InputError where it would replace what is not ours."""
    check_outputs(path.parent, [path.name])
    with publish_file(path) as temporary:
        yield temporary
        check_outputs(path.parent, [path.name])
        _mark(path, fingerprint(temporary))


def write_output(path: Path, text: str) -> None:
    """Write a text as :func:`publish_output` does, line ends as they are."""
    with publish_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextmanager
def publish_outputs(folder: Path) -> Iterator[Path]:
    """Give a folder to fill with files, which are published in ``folder`` together, or, after an error, not at all."""
    temporary = temporary_name(folder)
    temporary.mkdir()
    try:
        yield temporary
        files = sorted(temporary.iterdir())
        check_outputs(folder, (file.name for file in files))
        for file in files:
            with publish_output(folder / file.name) as place:
                os.replace(file, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_output(path: Path) -> None:
    """Remove a file that this project has written; another one is left alone."""
    if path.is_file() and is_marked(path):
        path.unlink()


def mark_folder(folder: Path) -> None:
    """List all files of a folder that is finished, so that :func:`foreign_in_marked` knows them."""
    files = {str(file.relative_to(folder)): [fingerprint(file)] for file in sorted(folder.rglob("*")) if file.is_file()}
    write_json(folder / MARK, {"made_by": _MADE_BY, "files": files})


def foreign_in_marked(folder: Path) -> Path | None:
    """What in a folder :func:`mark_folder` has not listed, or has been changed since; the folder, if it has no mark."""
    known = _read_mark(folder)
    if not known:
        return folder
    return first_other(folder, known, folder / MARK, lambda path, name: fingerprint(path) not in known[name])


def is_marked(path: Path) -> bool:
    """Whether a file is as this project has written it."""
    return fingerprint(path) in _read_mark(path.parent).get(path.name, ())


def _mark(path: Path, content: dict[str, Any]) -> None:
    """Note a file that is about to be put in place; what it replaces is still known, until then."""
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # several commands may write into one folder
        known = _read_mark(path.parent)
        known[path.name] = [content, *([fingerprint(path)] if path.is_file() else [])]
        write_json(path.parent / MARK, {"made_by": _MADE_BY, "files": dict(sorted(known.items()))})
    finally:
        os.close(handle)


def _read_mark(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """File -> what it may hold: what was written last, or was to be; nothing where there is no mark."""
    mark = read_json(folder / MARK) or {}
    if mark.get("made_by") != _MADE_BY or not isinstance(mark.get("files"), dict):
        return {}
    return {name: found for name, found in mark["files"].items() if isinstance(found, list)}
