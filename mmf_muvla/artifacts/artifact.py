"""Work that is done once: a folder with a manifest that says what it was made from, how, and what is in it.

::

    store = Artifact(Path("out/store"), make_store, version=1, inputs={"a.tsv": fingerprint(path)}, parameters={"k": 5})
    store.check()                     # refuses a folder that is somebody else's, before any work is done
    if not store.state().done:
        store.run(LocalExecutor(4))   # calls make_store(work), which writes to work.folder and returns counts
    damaged = store.verify()          # reads every file again

It is done where the manifest says that it was made from the same things, and its outputs are there. What only changes
the speed, and the versions of libraries, is noted but does not count: a new release does not throw away days of work.

Work is done in ``NAME.work``, by one process at a time, and renamed to ``NAME`` when it is finished. What a killed
process left there is continued: see :mod:`mmf_muvla.artifacts.parts`. A folder is only replaced if everything in it is
listed in a manifest of the same kind: a file whose content has changed since is somebody's; one that is gone or cut
short is only damaged. Files are verified before anything is made of them, by size and CRC-32 (about 1 GB/s a core).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.executors import Executor, LocalExecutor
from mmf_muvla.artifacts.files import (
    damaged_files,
    describe_files,
    digest_of_json,
    first_foreign,
    is_temporary,
    publish_folder,
    put_folder_in_place,
    read_json,
    read_record,
    refuse_foreign,
    remove_as_a_whole,
    remove_leftovers,
    remove_temporary_files,
    write_json,
    write_record,
)
from mmf_muvla.artifacts.lock import locked
from mmf_muvla.artifacts.parts import forget_damaged, forget_steps, take_descriptions
from mmf_muvla.artifacts.progress import PROGRESS_FILE, ProgressRecord
from mmf_muvla.artifacts.versions import library_version
from mmf_muvla.errors import InputError

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_MANIFEST_KEYS = {"name", "made_from", "counts", "seconds", "outputs"}
# In a working folder: what the artifact is being made from.
MADE_FROM = "made_from.json"
# Of the files that artifacts that can be resumed write on their way.
_SUFFIXES = (".arrow", ".digests", ".faiss", ".json", ".jsonl", ".list", ".npy", ".safetensors", ".sqlite")


@dataclass(frozen=True)
class Work:
    """What an artifact is made with."""

    folder: Path  # for its results; may hold the parts that a killed run has finished
    progress: ProgressRecord  # where to say how far it is
    executor: Executor  # who makes parts; the results must not depend on it


@dataclass(frozen=True)
class State:
    """Whether an artifact has to be made."""

    done: bool
    reason: str  # why it has to be made, empty where it has not
    counts: dict[str, Any]  # of the last run, whatever it was made from; empty where there was none
    seconds: float | None  # the same
    begun: str = ""  # how far a killed run was, empty where there was none that can be continued


@dataclass(eq=False, kw_only=True)
class Artifact:
    """A folder that is made once.

    ``make`` writes it into a working folder, goes on where a killed run was, and returns counts.
    """

    folder: Path = field(kw_only=False)
    make: Callable[[Work], dict[str, Any]] = field(kw_only=False, default=lambda work: {})
    version: int = 1  # of the code; raised when that changes so that the result does
    name: str = ""  # what kind of thing it is; that of the folder where it is empty
    inputs: dict[str, Any] = field(default_factory=dict)  # what is read from outside, by fingerprint
    parameters: dict[str, Any] = field(default_factory=dict)  # the options that the result depends on
    places: Sequence[str] = ()  # of what it refers to; what builds on it does not depend on them
    after: Sequence[Artifact] = ()  # what it builds on
    settings: dict[str, Any] = field(default_factory=dict)  # options that change only how fast it is made
    libraries: Sequence[str] = ()  # packages whose versions are noted
    elsewhere: Sequence[str] = ()  # files, and folders with all in them, that it writes; relative to its folder
    checks_itself: Sequence[str] = ()  # suffixes of files that are verified when they are read, and need not be before
    resumes: bool = True  # ``make`` can continue what a killed run has begun; if not, nothing is left of such a run
    made_from: dict[str, Any] = field(init=False)  # version, inputs, parameters, and digests of the same of ``after``
    _is_sound: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.name = self.name or self.folder.name
        wanted = {
            "version": self.version,
            "inputs": self.inputs,
            "parameters": self.parameters,
            "after": {other.name: digest_of_json(other._content) for other in self.after},
            **({"places": list(self.places)} if self.places else {}),
        }
        # As JSON gives it back, so that it can be compared with what a manifest says.
        self.made_from = json.loads(json.dumps(wanted))

    @property
    def _content(self) -> dict[str, Any]:
        return {name: value for name, value in self.made_from.items() if name != "places"}

    @property
    def work_folder(self) -> Path:
        """Where it is made, until it is whole."""
        return self.folder.with_name(f"{self.folder.name}.work")

    def state(self) -> State:
        """Whether it has been made of the same things; files are looked for, but not read."""
        begun = self._begun()
        manifest = read_manifest(self.folder)
        if manifest is None:
            is_damaged = (self.folder / MANIFEST).is_file()
            return State(False, "its manifest is damaged" if is_damaged else "not run yet", {}, None, begun)
        reason = _first_difference(manifest["made_from"], self.made_from)
        for name, is_now in manifest["outputs"].items():
            path = self.folder / name
            if not reason and not (path.is_file() and path.stat().st_size == is_now["size"]):
                reason = f"{os.path.normpath(Path(self.folder.name, name))} is missing or has another size"
        return State(not reason, reason, manifest["counts"], manifest["seconds"], begun if reason else "")

    def check(self) -> None:
        """Refuse to make it where its folders are somebody else's, or hold what is: an InputError."""
        refuse_foreign(self.folder, self.foreign_in)
        if self.resumes:
            refuse_foreign(self.work_folder, _foreign_in_work)

    def foreign_in(self, folder: Path) -> Path | None:
        """What in a folder is no output of an artifact of this kind, or was changed; the folder, if it is none."""
        manifest = read_manifest(folder)
        if manifest is None or manifest["name"] != self.name:
            return folder
        return first_foreign(folder, manifest["outputs"], folder / MANIFEST)

    def run(self, executor: Executor | None = None) -> State:
        """Make it, done or not, on from where a killed run of the same was; without an executor in this process.

        Raises:
            InputError: a folder is somebody else's, another process is making it, or what it builds on is damaged.
        """
        for other in self.after:
            other.refuse_damaged()
        executor = executor or LocalExecutor()
        with self._working_folder() as folder:
            progress = ProgressRecord(folder / PROGRESS_FILE)
            logger.info("%s %s", self.name, "continues" if progress.seconds_before else "begins")
            counts = self.make(Work(folder, progress, executor))
            seconds = round(progress.seconds(), 3)
            (folder / PROGRESS_FILE).unlink(missing_ok=True)
            # Of workers that were lost, whose parts others have made.
            remove_temporary_files(folder)
            if self.resumes:
                # A folder of ours that cannot be continued, until there is a manifest.
                write_json(folder / MADE_FROM, {})
            forget_steps(folder)
            known = take_descriptions(folder)
            notes = {folder / MADE_FROM, *(folder / name for name in known)}
            written = [path for path in folder.rglob("*") if path.is_file() and path not in notes]
            outputs = known | describe_files(folder, written) | self._described_elsewhere()
            self._write_manifest(folder, counts, seconds, dict(sorted(outputs.items())), **executor.settings())
            if self.resumes:
                (folder / MADE_FROM).unlink()
                put_folder_in_place(folder, self.folder, self.foreign_in)
        self._is_sound = True
        logger.info("%s took %.1f s: %s", self.name, seconds, counts)
        return State(True, "", counts, seconds)

    def seal(self, counts: dict[str, Any], seconds: float, outputs: Iterable[str] = ()) -> None:
        """Say that it is done, where another process has written it into its folder; not without these ``outputs``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        described = describe_files(self.folder, [self.folder / name for name in outputs])
        self._write_manifest(self.folder, counts, seconds, described)

    def verify(self, but: Sequence[str] = ()) -> list[Path]:
        """Read every file again, but of those with a suffix in ``but`` only the sizes; those damaged or missing."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return [self.folder / MANIFEST]
        if any("crc32" not in expected for expected in manifest["outputs"].values()):
            logger.warning("%s was made by an older version, without checksums: only sizes are compared", self.folder)
        for name, described in manifest["outputs"].items():
            if Path(name).suffix in but:
                described.pop("crc32", None)
        return damaged_files(self.folder, manifest["outputs"])

    def refuse_damaged(self) -> None:
        """Refuse to read it where it is damaged, with an InputError; its files are read once a process."""
        damaged = [] if self._is_sound else self.verify(self.checks_itself)
        if damaged:
            problem = f"is damaged or missing: it is not what {self.name} has written"
            remove = self.folder if damaged[0].name == MANIFEST else "it"
            raise InputError(os.path.normpath(damaged[0]), problem, f"Remove {remove}, and run the same command again")
        self._is_sound = True

    def _described_elsewhere(self) -> dict[str, dict[str, Any]]:
        files: list[Path] = []
        for name in self.elsewhere:
            path = Path(os.path.normpath(self.folder / name))  # the folder itself is not there yet
            files += (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,)
        # Links to files of what it builds on that check themselves need not be read again.
        linked = {
            _inode(other.folder / name): content
            for other in self.after
            for name, content in (read_manifest(other.folder) or {"outputs": {}})["outputs"].items()
            if Path(name).suffix in self.checks_itself and (other.folder / name).is_file()
        }
        known = {file: linked[_inode(file)] for file in files if _inode(file) in linked}
        described = describe_files(self.folder, [file for file in files if file not in known])
        return described | {os.path.relpath(file, self.folder): content for file, content in known.items()}

    def _write_manifest(
        self, folder: Path, counts: dict[str, Any], seconds: float, outputs: dict[str, Any], **settings: Any
    ) -> None:
        manifest = {
            "name": self.name,
            "made_from": self.made_from,
            "settings": {**self.settings, **settings},
            "libraries": {name: library_version(name) for name in self.libraries},
            "counts": counts,
            "seconds": seconds,
            "outputs": outputs,
        }
        write_record(folder / MANIFEST, manifest)

    @contextmanager
    def _working_folder(self) -> Iterator[Path]:
        """The folder to work in: a killed run's where that was making the same, else a new one."""
        if not self.resumes:
            with publish_folder(self.folder, self.foreign_in) as folder:
                yield folder
            return
        folder = self.work_folder
        folder.mkdir(parents=True, exist_ok=True)
        refusal = InputError(str(folder), "another process is working here", "Wait for it, or name another folder")
        with locked(folder, refusal):
            if any(folder.iterdir()) and read_json(folder / MADE_FROM) != self.made_from:
                refuse_foreign(folder, _unmarked)
                # The note goes first: a folder of which half is removed must not be taken for one to be continued.
                write_json(folder / MADE_FROM, {})
                for path in folder.iterdir():
                    if path.name != MADE_FROM:
                        remove_as_a_whole(path)
            for path in (folder, self.folder):
                remove_leftovers(path, of_living=True)
            remove_temporary_files(folder)
            write_json(folder / MADE_FROM, self.made_from)
            for path in forget_damaged(folder):
                logger.warning("%s is damaged, and is made again", path)
            yield folder

    def _begun(self) -> str:
        if not self.resumes or read_json(self.work_folder / MADE_FROM) != self.made_from:
            return ""
        return ProgressRecord(self.work_folder / PROGRESS_FILE).describe()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an artifact; ``None`` where that is not finished, or the file is damaged or somebody else's."""
    manifest = read_record(folder / MANIFEST) or {}
    if "stage" in manifest and isinstance(manifest.get("outputs"), dict):  # of the time before checksums
        name = manifest["name"] = manifest["stage"]
        outputs = manifest["outputs"].items()
        manifest["outputs"] = {os.path.relpath(file, name): {"size": size} for file, size in outputs}
    if not manifest.keys() >= _MANIFEST_KEYS or not isinstance(manifest["outputs"], dict):
        return None
    return manifest if all(isinstance(it, dict) and "size" in it for it in manifest["outputs"].values()) else None


def _foreign_in_work(folder: Path) -> Path | None:
    """What in a working folder is of no kind that artifacts write; the folder, if it is no artifact's."""
    unmarked = _unmarked(folder)
    if unmarked is None:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in _SUFFIXES and not is_temporary(path):
                return path
    return unmarked


def _unmarked(folder: Path) -> Path | None:
    """A working folder, unless it is an artifact's: one that is killed at its end has a manifest already."""
    is_ours = any((folder / name).is_file() for name in (MADE_FROM, MANIFEST))
    return None if is_ours or all(map(is_temporary, folder.iterdir())) else folder


def _first_difference(before: Any, now: Any, name: str = "") -> str:
    """The first place where two JSON values differ, in words; empty where they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            difference = _first_difference(before.get(key), now.get(key), f"{name}.{key}" if name else key)
            if difference:
                return difference
        return ""
    if before == now:
        return ""
    if name.startswith("after."):
        return f"the stage {name.removeprefix('after.')} has changed"
    if name.startswith("inputs."):
        return f"input changed: {name.removeprefix('inputs.')}"
    return f"{name.removeprefix('parameters.')}: {before!r} became {now!r}"


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
