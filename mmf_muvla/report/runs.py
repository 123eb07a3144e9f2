"""Collects the test scores of fine-tuned runs, which ``tools/score_table.py`` tells apart by system, task and seed.

What evaluated a run later (``evaluation/`` in a folder, with a ``config.yaml`` of its own) is of that run's system and
seed. It counts where the run has no test score itself.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mmf_muvla.artifacts.files import read_json
from mmf_muvla.errors import InputError
from mmf_muvla.report.history import read_history
from mmf_muvla.report.scores import RETRIEVAL_TASKS, TASK_NAMED, TASKS, Estimate, Task, with_meta_ave
from mmf_muvla.run_config import read_run_config

_BASE = "base"
_CONFIG, _RESULTS, _HISTORY = "config.yaml", "results.json", "history.jsonl"


@dataclass(frozen=True)
class Run:
    """A run with its test scores."""

    folder: Path
    system: str
    task: str
    seed: int
    score: float  # the task's metric, in per cent
    details: dict[str, float]  # the task's further metrics, as far as they were measured, in per cent
    updates: int | None  # that it, or the weights evaluated, were trained; None where their file does not say it
    best_update: int | None  # of the checkpoint that was tested; None where no validation is on record
    evaluation: bool = False  # of another run, not the training itself


@dataclass(frozen=True)
class LeftOut:
    """A folder of a run that has no test score of a task, and why."""

    folder: Path
    reason: str


def collect_runs(folder: Path) -> tuple[list[Run], list[LeftOut]]:
    """Runs with test scores in a folder, at any depth, and folders of runs without, each in order of their paths.

    Raises:
        InputError: there is no run, a file of one is damaged, or two are of the same system, task and seed.
    """
    if not folder.is_dir():
        raise InputError(str(folder), "no such folder", "Name the folder of the runs: runs=FOLDER")
    # A run that is still going on has a history and no results.
    is_run = (Path(at) for at, _, files in os.walk(folder) if _CONFIG in files and {_RESULTS, _HISTORY} & {*files})
    found = [read_run(path) for path in sorted(is_run)]
    if not found:
        problem = f"has no run in it (a folder with {_CONFIG} and {_RESULTS})"
        raise InputError(str(folder), problem, "Name the folder of the runs")
    left_out = [it for it in found if isinstance(it, LeftOut)]
    runs: dict[tuple[str, str, int], Run] = {}
    for run in sorted((it for it in found if isinstance(it, Run)), key=lambda it: it.evaluation):
        other = runs.setdefault((run.system, run.task, run.seed), run)
        if run.evaluation and not other.evaluation:
            left_out.append(LeftOut(run.folder, "it tests again a run that has test scores"))
        elif other is not run:
            raise InputError(
                str(run.folder),
                f"is of system {run.system}, task {run.task} and seed {run.seed}, as {other.folder} is",
                "Move one of the two away, or tell them apart by the key 'system' of their config.yaml",
            )
    return sorted(runs.values(), key=lambda it: found.index(it)), left_out


def read_run(folder: Path) -> Run | LeftOut:
    """Read what a run says about itself."""
    config = read_run_config(folder / _CONFIG)
    name = _task_name(config)
    if name not in TASK_NAMED:
        return LeftOut(folder, f"datasets is {name}, not one of {', '.join(TASK_NAMED)}")
    task = TASK_NAMED[name]
    if not (folder / _RESULTS).is_file():
        return LeftOut(folder, f"it has not finished (no {_RESULTS})")
    results = read_json(folder / _RESULTS)
    if results is None:
        raise InputError(str(folder / _RESULTS), "is no JSON object", "Test the run again, or remove its folder")
    test = results.get("test")
    if not isinstance(test, dict):
        return LeftOut(folder, f"{_RESULTS} has no test scores")
    if task.metric not in test:
        return LeftOut(folder, f"its test scores have no {task.metric}")
    evaluation = "train" not in str(OmegaConf.select(config, "run_type", default="train"))
    updates = results.get("updates_trained", results.get("update"))
    # What was evaluated says what it is; the configuration of the evaluation only repeats the task.
    about, place = _evaluated(config, folder) if evaluation else (config, folder)
    return Run(
        folder=folder,
        system=_system(about, place),
        task=name,
        seed=_whole(OmegaConf.select(about, "training.seed"), place / _CONFIG, "training.seed"),
        score=_per_cent(test, task.metric, folder / _RESULTS),
        details={metric: _per_cent(test, metric, folder / _RESULTS) for metric in task.details if metric in test},
        updates=None if evaluation and updates is None else _whole(updates, folder / _RESULTS, "update"),
        best_update=_best_update(config, folder),
        evaluation=evaluation,
    )


def scores_of(runs: Sequence[Run], patterns: Sequence[str] = ()) -> dict[str, dict[str, Estimate | None]]:
    """The scores over seeds, for each system, and task or Meta-Ave; ``None`` where there is no run.

    Retrieval is there if any of the systems has a run of it.
    Shows the systems whose names fit the patterns, in their order; without any, all, ``base`` first.
    """
    systems = sorted({run.system for run in runs}, key=lambda name: (name != _BASE, name))
    chosen = [] if patterns else systems
    for pattern in patterns:
        if not (matching := fnmatch.filter(systems, pattern)):
            where, remedy = f"systems={','.join(patterns)}", f"There are {', '.join(systems) or 'none'}"
            raise InputError(where, f"no system is called {pattern}", remedy)
        chosen += matching
    further = [task for task in RETRIEVAL_TASKS if any(it.task == task.name and it.system in chosen for it in runs)]
    found = {}
    for system in dict.fromkeys(chosen):

        def scores(task: Task, system: str = system) -> dict[int, float]:
            return {run.seed: run.score for run in runs if run.system == system and run.task == task.name}

        columns = with_meta_ave({task.name: scores(task) for task in TASKS})
        columns |= {task.name: scores(task) for task in further}
        found[system] = {column: Estimate.of(by_seed) for column, by_seed in columns.items()}
    return found


def _task_name(config: Any) -> str:
    datasets = OmegaConf.select(config, "datasets")
    return ",".join(map(str, datasets)) if OmegaConf.is_list(datasets) else str(datasets)


def _system(config: Any, folder: Path) -> str:
    checkpoint, named = (OmegaConf.select(config, key) for key in ("checkpoint.resume_file", "system"))
    if named is not None or not checkpoint:
        return _BASE if named is None else str(named)
    start = _run_of(str(checkpoint))
    if (start / _CONFIG).is_file():
        named = OmegaConf.select(read_run_config(start / _CONFIG), "system")
    if not (named or start.name):
        problem = f"checkpoint.resume_file={checkpoint} does not say which system it is: it is in no folder"
        raise InputError(str(folder / _CONFIG), problem, "Name the system in this file (system: NAME)")
    return str(named or start.name)


def _run_of(checkpoint: str) -> Path:
    """The folder of the run that has written a checkpoint: older ones lie in models/ inside of it."""
    place = Path(checkpoint).parent
    return place.parent if place.name == "models" else place


def _evaluated(config: Any, folder: Path) -> tuple[Any, Path]:
    """Configuration and folder of the run of the same task that an evaluation is of; its own, where it is not there."""
    checkpoint = OmegaConf.select(config, "checkpoint.resume_file")
    place = _run_of(str(checkpoint)) if checkpoint else folder
    if OmegaConf.select(config, "checkpoint.resume"):  # the checkpoint of the folder itself
        place = folder.parent
    of_run = read_run_config(place / _CONFIG) if (place / _CONFIG).is_file() else None
    return (of_run, place) if of_run and _task_name(of_run) == _task_name(config) else (config, folder)


def _best_update(config: Any, folder: Path) -> int | None:
    """The update at which the monitored value was best on the validation split, the first of equals."""
    criterion = str(OmegaConf.select(config, "training.early_stop.criteria") or "").rpartition("/")[2]
    curve = read_history(folder).curve(criterion, "val") if (folder / _HISTORY).is_file() else ([], [])
    best = min if OmegaConf.select(config, "training.early_stop.minimize") else max
    return best(zip(*curve, strict=True), key=lambda it: it[1], default=(None,))[0]


def _whole(value: Any, path: Path, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(str(path), f"{key} is {value!r}, not a whole number", "Run it again, or remove its folder")
    return value


def _per_cent(values: Mapping[str, Any], metric: str, path: Path) -> float:
    value = values[metric]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:  # NaN is not, either
        raise InputError(str(path), f"{metric} is {value!r}, not between 0 and 1", "Test the run again, or remove it")
    return 100 * float(value)
