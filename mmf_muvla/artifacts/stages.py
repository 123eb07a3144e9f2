"""Stages that are done once: each leaves a folder with a manifest of what it was made from, by whom and how.

A stage's *key* names everything that its result depends on: its own version, fingerprints of its input files, its
parameters, and the keys of the stages that it builds on. Where the manifest has the key that is wanted now, and the
outputs that it lists are there, the stage is skipped. Options that change only the speed (batch sizes, devices), and
the versions of libraries, are noted but are no part of the key: a new release does not throw away days of work.

A stage works in ``NAME.work``, which becomes ``NAME`` by one rename when it is finished. A stage that was killed finds
its working folder again, as long as it would be made from the same things, and goes on from the parts that are there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.files import (
    digest_of_json,
    is_temporary,
    put_folder_in_place,
    read_json,
    refuse_foreign,
    remove_as_a_whole,
    remove_leftovers,
    remove_temporary_files,
    write_json,
)
from mmf_muvla.artifacts.outputs import MARK, is_signed, sign_folder
from mmf_muvla.artifacts.parts import forget_steps
from mmf_muvla.artifacts.progress import PROGRESS_FILE, ProgressRecord

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
# In a working folder: what the stage is being made from.
_MADE_FROM = "made_from.json"
# Of the files that stages write on their way.
_SUFFIXES = (".arrow", ".digests", ".faiss", ".json", ".jsonl", ".mdb", ".npy", ".safetensors")


@dataclass(frozen=True)
class Work:
    """What a stage works with.

    Attributes:
        folder: for its results; may hold the parts that a killed run has finished.
        progress: where to say how far it is.
        num_workers: processes to use; the results must not depend on it.
    """

    folder: Path
    progress: ProgressRecord
    num_workers: int


@dataclass(frozen=True)
class Stage:
    """One step of a build.

    Attributes:
        name: also the name of its folder.
        version: raised when the code changes so that the result does.
        inputs: what it reads from outside, by fingerprint.
        parameters: the options that its result depends on.
        settings: options that change only how fast it comes about.
        after: names of the stages that it builds on.
        libraries: packages whose versions are noted.
        run: does the work in a working folder, goes on where a killed run was, and returns counts.
        outputs_elsewhere: files that it writes outside its folder, relative to the build's.
    """

    name: str
    version: int
    inputs: dict[str, Any]
    parameters: dict[str, Any]
    settings: dict[str, Any]
    after: Sequence[str]
    libraries: Sequence[str]
    run: Callable[[Work], dict[str, int]]
    outputs_elsewhere: Sequence[Path] = ()


@dataclass(frozen=True)
class StageState:
    """Whether a stage has to be run.

    Attributes:
        done: it has not.
        reason: why it has to be run, empty where it has not.
        counts, seconds: of the last run, whatever it was made from; empty and ``None`` where there was none.
        begun: of a stage that was stopped in the middle, how far it is, in words; else empty.
    """

    done: bool
    reason: str
    counts: dict[str, int]
    seconds: float | None
    begun: str = ""


class Pipeline:
    """Stages in the order in which they run, and the folder of their results.

    Args:
        folder: every stage has a folder of its name in it.
        stages: the stages; each comes after those that it builds on.
        num_workers: processes that a stage may use.
    """

    def __init__(self, folder: Path, stages: Sequence[Stage], num_workers: int = 1):
        self.folder = folder
        self.stages = stages
        self._num_workers = num_workers
        self._wanted: dict[str, dict[str, Any]] = {}
        for stage in stages:
            wanted = {
                "version": stage.version,
                "inputs": stage.inputs,
                "parameters": stage.parameters,
                "after": {name: digest_of_json(self._wanted[name]) for name in stage.after},
            }
            # As JSON gives it back, so that it can be compared with what a manifest says.
            self._wanted[stage.name] = json.loads(json.dumps(wanted))

    def state(self, stage: Stage) -> StageState:
        """Whether the stage is done."""
        begun = self._begun(stage)
        manifest = read_manifest(self.folder / stage.name)
        if manifest is None:
            return StageState(False, "not run yet", {}, None, begun)
        reason = ""
        changed = _first_difference(manifest["made_from"], self._wanted[stage.name])
        lost = [name for name, size in manifest["outputs"].items() if _size(self.folder / name) != size]
        if changed:
            reason = changed
        elif lost:
            reason = f"{lost[0]} is missing or has another size"
        return StageState(not reason, reason, manifest["counts"], manifest["seconds"], begun if reason else "")

    def run(self, stage: Stage) -> StageState:
        """Run the stage, done or not, on from where a killed run of the same stage was."""
        folder = self._working_folder(stage)
        progress = ProgressRecord(folder / PROGRESS_FILE)
        logger.info("Stage %s %s", stage.name, "continues" if progress.seconds_before else "begins")
        counts = stage.run(Work(folder, progress, self._num_workers))
        seconds = round(progress.seconds(), 3)
        (folder / PROGRESS_FILE).unlink(missing_ok=True)
        sign_folder(folder)  # until the manifest says whose folder this is
        (folder / _MADE_FROM).unlink()
        forget_steps(folder)
        written = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MARK]
        outputs = {f"{stage.name}/{path.relative_to(folder)}": _size(path) for path in written}
        outputs |= {str(path): _size(self.folder / path) for path in stage.outputs_elsewhere}
        manifest = {
            "stage": stage.name,
            "made_from": self._wanted[stage.name],
            "settings": {**stage.settings, "num_workers": self._num_workers},
            "libraries": {name: _library_version(name) for name in stage.libraries},
            "counts": counts,
            "seconds": seconds,
            "outputs": outputs,
        }
        write_json(folder / MANIFEST, manifest)
        (folder / MARK).unlink()
        put_folder_in_place(folder, self.folder / stage.name, foreign_in_stage)
        logger.info("Stage %s took %.1f s: %s", stage.name, seconds, counts)
        return StageState(True, "", counts, seconds)

    def check(self, stage: Stage) -> None:
        """Refuse to run a stage whose folders are somebody else's, or hold what is.

        Raises:
            InputError: one is, or does.
        """
        refuse_foreign(self.folder / stage.name, foreign_in_stage)
        refuse_foreign(self._work_path(stage), _foreign_in_work)

    def _work_path(self, stage: Stage) -> Path:
        return self.folder / f"{stage.name}.work"

    def _working_folder(self, stage: Stage) -> Path:
        """The folder to work in: a killed run's where that was making the same, else a new one."""
        folder = self._work_path(stage)
        if folder.exists() and read_json(folder / _MADE_FROM) != self._wanted[stage.name]:
            refuse_foreign(folder, _unmarked)
            # A folder of which half is removed must not be taken for one that can be continued.
            remove_as_a_whole(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder, self.folder / stage.name):
            remove_leftovers(path, of_living=True)
        remove_temporary_files(folder)
        if not (folder / _MADE_FROM).exists():
            write_json(folder / _MADE_FROM, self._wanted[stage.name])
        return folder

    def _begun(self, stage: Stage) -> str:
        folder = self._work_path(stage)
        if read_json(folder / _MADE_FROM) != self._wanted[stage.name]:
            return ""
        return ProgressRecord(folder / PROGRESS_FILE).describe()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a stage, or ``None`` where the stage has not been finished."""
    return read_json(folder / MANIFEST)


def foreign_in_stage(folder: Path) -> Path | None:
    """What in a folder is no output of the stage that its manifest speaks of; the folder, if it has no manifest."""
    manifest = read_manifest(folder) or {}
    outputs = manifest.get("outputs")
    if manifest.get("stage") != folder.name or not isinstance(outputs, dict):
        return folder
    files = {folder / MANIFEST, *(folder.parent / name for name in outputs)}
    return _first_beside(folder, files)


def _foreign_in_work(folder: Path) -> Path | None:
    """What in a stage's working folder is of no kind that stages write; the folder, if it is no stage's."""
    unmarked = _unmarked(folder)
    if unmarked is None:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in _SUFFIXES and not is_temporary(path):
                return path
    return unmarked


def _unmarked(folder: Path) -> Path | None:
    """A working folder, unless it is a stage's.

    A stage that is killed before it begins has hardly a file, and one that is killed at its end a manifest.
    """
    is_ours = is_signed(folder) or any((folder / name).is_file() for name in (_MADE_FROM, MANIFEST))
    return None if is_ours or all(map(is_temporary, folder.iterdir())) else folder


def _first_beside(folder: Path, files: set[Path]) -> Path | None:
    """The first path in a folder, at any depth, that is none of these files and not on the way to one."""
    folders = {above for file in files for above in file.parents}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or path not in (folders if path.is_dir() else files):
            return path
    return None


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


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _library_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
