"""Stages that are done once: each leaves a folder with a manifest of what it was made from, by whom and how.

A stage's *key* names everything that its result depends on: its own version, fingerprints of its input files, its
parameters, and the keys of the stages that it builds on. Where the manifest has the key that is wanted now, and the
outputs that it lists are there, the stage is skipped. Options that change only the speed (batch sizes, devices), and
the versions of libraries, are noted but are no part of the key: a new release does not throw away days of work.

The folder appears by one rename when the stage is finished; a stage that was killed leaves none, and starts again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmf_muvla.corpus.files import publish_folder

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"


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
        run: does the work, into the folder given, and returns counts.
        outputs_elsewhere: files that it writes outside its folder, relative to the build's.
    """

    name: str
    version: int
    inputs: dict[str, Any]
    parameters: dict[str, Any]
    settings: dict[str, Any]
    after: Sequence[str]
    libraries: Sequence[str]
    run: Callable[[Path], dict[str, int]]
    outputs_elsewhere: Sequence[Path] = ()


@dataclass(frozen=True)
class StageState:
    """Whether a stage has to be run.

    Attributes:
        done: it has not.
        reason: why it has to be run, empty where it has not.
        counts, seconds: of the last run, whatever it was made from; empty and ``None`` where there was none.
    """

    done: bool
    reason: str
    counts: dict[str, int]
    seconds: float | None


class Pipeline:
    """Stages in the order in which they run, and the folder of their results.

    Args:
        folder: every stage has a folder of its name in it.
        stages: the stages; each comes after those that it builds on.
    """

    def __init__(self, folder: Path, stages: Sequence[Stage]):
        self.folder = folder
        self.stages = stages
        self._wanted: dict[str, dict[str, Any]] = {}
        for stage in stages:
            wanted = {
                "version": stage.version,
                "inputs": stage.inputs,
                "parameters": stage.parameters,
                "after": {name: _digest(self._wanted[name]) for name in stage.after},
            }
            # As JSON gives it back, so that it can be compared with what a manifest says.
            self._wanted[stage.name] = json.loads(json.dumps(wanted))

    def state(self, stage: Stage) -> StageState:
        """Whether the stage is done."""
        manifest = read_manifest(self.folder / stage.name)
        if manifest is None:
            return StageState(False, "not run yet", {}, None)
        reason = ""
        changed = _first_difference(manifest["made_from"], self._wanted[stage.name])
        lost = [name for name, size in manifest["outputs"].items() if _size(self.folder / name) != size]
        if changed:
            reason = changed
        elif lost:
            reason = f"{lost[0]} is missing or has another size"
        return StageState(not reason, reason, manifest["counts"], manifest["seconds"])

    def run(self, stage: Stage) -> StageState:
        """Run the stage, done or not."""
        logger.info("Stage %s begins", stage.name)
        started = time.monotonic()
        with publish_folder(self.folder / stage.name) as folder:
            counts = stage.run(folder)
            seconds = round(time.monotonic() - started, 3)
            written = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            outputs = {f"{stage.name}/{path.relative_to(folder)}": _size(path) for path in written}
            outputs |= {str(path): _size(self.folder / path) for path in stage.outputs_elsewhere}
            manifest = {
                "stage": stage.name,
                "made_from": self._wanted[stage.name],
                "settings": stage.settings,
                "libraries": {name: _library_version(name) for name in stage.libraries},
                "counts": counts,
                "seconds": seconds,
                "outputs": outputs,
            }
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        logger.info("Stage %s took %.1f s: %s", stage.name, seconds, counts)
        return StageState(True, "", counts, seconds)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a stage, or ``None`` where the stage has not been finished."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


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
