"""Files that are either whole or absent, and fingerprints that tell whether a file has changed.

A folder replaces another one only where everything in that is known to be of this project's making; who publishes a
folder says how to tell. A file that a user has named is published with :mod:`mmf_muvla.artifacts.outputs`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import stat
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmf_muvla.errors import InputError

# Up to this size a fingerprint reads the whole file; beyond, samples of it, and its time of change as well.
_WHOLE_FILE_BYTES = 256 * 2**20
_SAMPLE_BYTES = 2**16
_SAMPLES = 64
# In the names of what is unfinished or about to be removed: such files are removed, so nobody else's must look like it.
_TEMPORARY, _REPLACED = "muvla-tmp", "muvla-old"
_CHECKSUM = "checksum"
# Of the machine or container, in whose numbers of processes this one has its own: others may write to the same folder.
_PROCESSES = Path("/proc/self/ns/pid")
_HERE = f"{socket.gethostname()} {os.readlink(_PROCESSES) if _PROCESSES.exists() else ''}"
_HERE = hashlib.blake2b(_HERE.encode(), digest_size=4).hexdigest()

# Says what in a folder is not of this project's making: the first such thing, the folder itself where it carries no
# mark of this project, or None.
ForeignIn = Callable[[Path], Path | None]


def refuse_foreign(path: Path, foreign_in: ForeignIn) -> None:
    """Refuse to replace what is no folder, or one of which not all is of this project's making, with an InputError."""
    remedy = "Name another folder, or move it away"
    if path.is_symlink():
        raise InputError(str(path), "is a symbolic link and would be replaced", "Name the folder that it leads to")
    if not path.is_dir():
        if path.exists():
            raise InputError(str(path), "is a file, and a folder is to be written", remedy)
        return
    found = foreign_in(path) if any(path.iterdir()) else None
    if found == path:
        raise InputError(str(path), "is there already, and is none that this command has made", remedy)
    if found is not None:
        problem = f"would be replaced, but {found} was not made with it, or has been changed since"
        raise InputError(str(path), problem, remedy)


@contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; the file appears under ``path`` at the end, whole, or not at all.

    A file that is already there is replaced. Where a user has named ``path``, use
    :func:`~mmf_muvla.artifacts.outputs.publish_output`.
    """
    temporary = temporary_name(path)
    temporary.touch()
    mode = _permissions(temporary)
    temporary.unlink()
    try:
        yield temporary
        # Some libraries make files that only their owner can read.
        if _permissions(temporary) != mode:
            temporary.chmod(mode)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def publish_folder(path: Path, foreign_in: ForeignIn) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes ``path`` at the end, whole, or not at all.

    A folder that is already there is replaced, so that a reader sees the old one, none, or the new one. If something in
    it is foreign, that is an InputError, before any work is done, or where it has come there meanwhile.
    """
    refuse_foreign(path, foreign_in)
    temporary = temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        put_folder_in_place(temporary, path, foreign_in)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_folder_in_place(folder: Path, path: Path, foreign_in: ForeignIn) -> None:
    """Rename a finished folder to ``path``, on disk when this returns; see :func:`refuse_foreign` for an older one."""
    refuse_foreign(path, foreign_in)
    mode = _permissions(folder) & 0o666
    for file in folder.rglob("*"):
        if file.is_file() and _permissions(file) != mode:
            file.chmod(mode)
        _sync(file)
    _sync(folder)
    replaced = path.with_name(f"{path.name}.{_REPLACED}-{_this_process()}")
    if path.exists():
        os.rename(path, replaced)
    os.rename(folder, path)
    _sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def link_or_copy(existing: Path, new: Path) -> None:
    """Give a file that is never written to again a second name, by a copy where the file system has no hard links.

    ``new`` has to be a temporary name, or in a temporary folder: half a copy may be left when the process is killed.
    """
    try:
        os.link(existing, new)
    except OSError:  # EPERM, EOPNOTSUPP, ENOSYS, EMLINK, or EXDEV, by file system
        shutil.copyfile(existing, new)


def remove_as_a_whole(path: Path) -> None:
    """Remove a file or folder, if it is there; a folder is renamed first, so that half of it is never taken for all."""
    if path.is_dir() and not path.is_symlink():
        doomed = path.with_name(f"{path.name}.{_REPLACED}-{_this_process()}")
        os.rename(path, doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that a process has not finished, or had not when it was killed."""
    return f".{_TEMPORARY}-" in path.name


def remove_temporary_files(folder: Path) -> None:
    """Remove what a killed process was writing inside a folder that nobody else writes to."""
    for path in folder.glob(f"*.{_TEMPORARY}-*"):
        _remove(path)


def remove_leftovers(path: Path, of_living: bool = False) -> None:
    """Remove what killed processes of this machine left behind of writing ``path``.

    If ``of_living``, also what running ones have, and those of other machines.
    """
    leftover_of = re.compile(re.escape(path.name) + rf"\.(?:{_TEMPORARY}|{_REPLACED})-(\d{{1,9}})(?:-([0-9a-f]{{8}}))?")
    for leftover in path.parent.iterdir():
        found = leftover_of.fullmatch(leftover.name)
        # A former version has not said which machine it was.
        if found and (of_living or (found[2] in (_HERE, None) and not _is_running(int(found[1])))):
            _remove(leftover)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON in the order given, by atomic rename."""
    with publish_file(path) as temporary:
        temporary.write_text(as_json(value), encoding="utf-8")


def as_json(value: Any) -> str:
    """``value`` as JSON in the order given."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, or ``None`` where there is no whole one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def digest_of_json(value: Any) -> str:
    """A digest of a JSON value, in which the order of keys does not count."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def write_record(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` as :func:`write_json` does, with a checksum of itself, which :func:`read_record` verifies."""
    write_json(path, {**value, _CHECKSUM: digest_of_json(value)})


def read_record(path: Path) -> dict[str, Any] | None:
    """What :func:`write_record` has written; ``None`` where that is missing or damaged."""
    value = read_json(path)
    # An older version has written records without a checksum.
    if value is None or _CHECKSUM not in value:
        return value
    checksum = value.pop(_CHECKSUM)
    return value if checksum == digest_of_json(value) else None


def describe_files(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """What files hold, for :func:`damaged_files`: size and CRC-32 by path relative to ``folder``."""
    files = sorted(files)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # zlib computes without Python's lock
        return dict(zip((os.path.relpath(file, folder) for file in files), pool.map(_describe, files), strict=True))


def damaged_files(folder: Path, described: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """The files that are missing, or are not as described; by their size alone where the CRC-32 is not known."""

    def is_damaged(name: str) -> bool:
        path, expected = folder / name, described[name]
        if not path.is_file() or path.stat().st_size != expected["size"]:
            return True
        return "crc32" in expected and _describe(path) != expected

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [folder / name for name, found in zip(described, pool.map(is_damaged, described), strict=True) if found]


def first_foreign(folder: Path, described: Mapping[str, Mapping[str, Any]], note: Path) -> Path | None:
    """As :func:`first_other`, of files that :func:`describe_files` has described, and ``note`` says how."""
    since = note.stat().st_mtime_ns

    def is_changed(path: Path, name: str) -> bool:
        status, expected = path.stat(), described[name]
        # A file that has been cut short is damaged, and nobody's work.
        if status.st_size != expected["size"]:
            return status.st_size > expected["size"]
        # Only files that are younger than the note are read.
        return status.st_mtime_ns > since and "crc32" in expected and _describe(path) != expected

    return first_other(folder, described, note, is_changed)


def first_other(
    folder: Path, known: Collection[str], note: Path, is_changed: Callable[[Path, str], bool]
) -> Path | None:
    """The first path in a folder, at any depth, that is neither ``note`` nor a known file as it was.

    ``is_changed`` says whether a known file, given by its path and its name in ``known``, is another one now.
    """
    names = {folder / name: name for name in known}
    folders = {above for file in (note, *names) for above in file.parents}
    for path in sorted(folder.rglob("*")):
        if path == note or (path in folders and path.is_dir() and not path.is_symlink()):
            continue
        if path not in names or path.is_symlink() or not path.is_file() or is_changed(path, names[path]):
            return path
    return None


def _describe(path: Path) -> dict[str, Any]:
    size = checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
    return {"size": size, "crc32": f"{checksum:08x}"}


def fingerprint(path: Path) -> dict[str, Any]:
    """What identifies the content of a file or folder, at a cost that does not grow with its size.

    Files up to 256 MiB are read whole. A larger one is identified by its size, its time of change and 64 samples.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        return {str(file.relative_to(path)): fingerprint(file) for file in files}
    status = path.stat()
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        if status.st_size <= _WHOLE_FILE_BYTES:
            while chunk := file.read(2**20):
                digest.update(chunk)
            return {"size": status.st_size, "digest": digest.hexdigest()}
        for sample in range(_SAMPLES):
            file.seek((status.st_size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return {"size": status.st_size, "modified_ns": status.st_mtime_ns, "samples": digest.hexdigest()}


def temporary_name(path: Path) -> Path:
    """A name beside ``path``, under which there is nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    return path.with_name(f"{path.name}.{_TEMPORARY}-{_this_process()}")


def _this_process() -> str:
    return f"{os.getpid()}-{_HERE}"


def _permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
