"""The jobs of a study: what is run, what each needs, and how a job is known again.

A job is known by its *digest*: of its command, in which every output of another job stands by that job's digest, and of
the configuration files that it names. So two studies share what they have in common, and a change redoes exactly what
hangs on it. (Defaults under ``configs/`` and the code are not looked at.)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mmf_muvla.artifacts.files import digest_of_json
from mmf_muvla.errors import InputError
from mmf_muvla.paths import find_config
from mmf_muvla.studies.study import Study

WEIGHTS = "muvla_final.safetensors"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_DATASET = "{dataset}"


@dataclass(frozen=True)
class Job:
    """A process to run.

    Attributes:
        kind: ``step``, ``pretrain``, ``search`` or ``finetune``.
        name: says what it is; the same for the same work, and not unique over different settings.
        folder: its output.
        command: the command line.
        needs: the jobs whose output it reads.
        digest: identifies it.
        system, task, seed, rate: what it is a run of, as far as it is one.
    """

    kind: str
    name: str
    folder: Path
    command: tuple[str, ...]
    needs: tuple[Job, ...]
    digest: str
    system: str = ""
    task: str = ""
    seed: int = 0
    rate: float = 0.0

    @property
    def log(self) -> Path:
        """Its output and error messages."""
        return self.folder.with_name(f"{self.folder.name}.log")


class Jobs:
    """Makes the jobs of a study.

    Args:
        study: the study.
        work: folder under which every job has its own.
        tools: folder of the command-line scripts.
        run_arguments: arguments of every ``mmf_run``, last (and so the ones that count).
    """

    def __init__(self, study: Study, work: Path, tools: Path, run_arguments: tuple[str, ...] = ()):
        self.study = study
        self.work = work
        self.tools = tools
        self.run_arguments = run_arguments
        self._contents = cache(_contents)

    def step(self, name: str, parents: tuple[str, ...] = ()) -> Job:
        """The job of a step.

        Raises:
            InputError: there is no such step, or it needs itself.
        """
        if name not in self.study.steps:
            raise InputError(
                f"study {self.study.name}", f"there is no step '{name}'", "Add it to steps, or correct the name"
            )
        if name in parents:
            raise InputError(f"study {self.study.name}", f"the step '{name}' needs itself", "Correct its arguments")
        step = self.study.steps[name]

        def find(other: str) -> Job:
            return self.step(other, (*parents, name))

        return self._job("step", name, [sys.executable, str(self.tools / step.command)], step.arguments, find)

    def pretraining(self, system: str, seed: int) -> Job | None:
        """The pre-training of a system; ``None`` where it has none."""
        plan = self.study.systems[system]
        if plan.pretrain is None:
            return None
        arguments = [
            f"config={plan.pretrain}", "env.save_dir={out}", f"training.seed={seed}", "checkpoint.resume=True",
            *self._of_dataset(plan.pretrain, (*self.study.pretrain, *plan.arguments)), *self.run_arguments,
        ]  # fmt: skip
        job = self._job("pretrain", f"{_stem(plan.pretrain)}-{seed}", _mmf_run(), arguments, self._finder(system))
        return replace(job, system=system, seed=seed)

    def _of_dataset(self, config: str, arguments: Iterable[str]) -> list[str]:
        """The arguments with the configuration's data set in place of ``{dataset}``."""
        arguments = list(arguments)
        dataset = _dataset(self._contents(config))
        if dataset is None and any(_DATASET in argument for argument in arguments):
            raise InputError(config, "names no data set", "Write datasets: NAME in it, or in what it includes")
        return [argument.replace(_DATASET, dataset or "") for argument in arguments]

    def search(self, system: str, task: str, rate: float) -> Job:
        """A fine-tuning that is validated only, to choose a learning rate by."""
        return self._finetuning("search", system, task, self.study.search_seed, rate, "run_type=train_val")

    def finetuning(self, system: str, task: str, seed: int, rate: float) -> Job:
        """A fine-tuning that is tested, once."""
        return self._finetuning("finetune", system, task, seed, rate, "run_type=train_inference")

    def _finetuning(self, kind: str, system: str, task: str, seed: int, rate: float, run_type: str) -> Job:
        plan, plan_of_system = self.study.tasks[task], self.study.systems[system]
        start = self.pretraining(system, seed)
        weights = [] if start is None else ["checkpoint.resume_file={pretraining}/" + WEIGHTS]
        arguments = [
            f"config={plan.config}", "env.save_dir={out}", f"training.seed={seed}", run_type,
            f"optimizer.params.lr={rate:g}", "checkpoint.resume=True", *self.study.finetune, *plan.arguments,
            *plan_of_system.finetune, *self.run_arguments, *weights,
        ]  # fmt: skip
        find = self._finder(system)

        def find_start(name: str) -> Job:
            return start if name == "pretraining" and start is not None else find(name)

        start_name = "bert" if plan_of_system.pretrain is None else _stem(plan_of_system.pretrain)
        job = self._job(kind, f"{task}-{start_name}-{seed}-{rate:g}", _mmf_run(), arguments, find_start)
        return replace(job, system=system, task=task, seed=seed, rate=rate)

    def _finder(self, system: str) -> Callable[[str], Job]:
        corpus = self.study.systems[system].corpus

        def find(name: str) -> Job:
            if name == "corpus" and corpus is None:
                raise InputError(f"study {self.study.name}: systems.{system}", "names no corpus", "Give it one")
            return self.step(corpus if name == "corpus" and corpus is not None else name)

        return find

    def _job(
        self, kind: str, name: str, program: list[str], arguments: Iterable[str], find: Callable[[str], Job]
    ) -> Job:
        arguments = list(arguments)
        names = dict.fromkeys(match for argument in arguments for match in _PLACEHOLDER.findall(argument))
        needs = {other: find(other) for other in names if other != "out"}
        by_digest = {other: job.digest for other, job in needs.items()} | {"out": "out"}
        said = [_PLACEHOLDER.sub(lambda found: "{" + by_digest[found.group(1)] + "}", it) for it in arguments]
        # The interpreter's path is no part of what a job is; what its configuration says is.
        contents = [
            text for argument in arguments if argument.startswith("config=") for text in self._contents(argument[7:])
        ]
        digest = digest_of_json([*(Path(part).name for part in program[1:]), *said, *contents])
        folder = self.work / kind / f"{name}-{digest[:8]}"
        by_folder: Mapping[str, Path] = {other: job.folder for other, job in needs.items()} | {"out": folder}
        filled = [_PLACEHOLDER.sub(lambda found: str(by_folder[found.group(1)]), it) for it in arguments]
        command = (*program, *(_with_file(argument) for argument in filled))
        return Job(kind, name, folder, command, tuple(needs.values()), digest)


def _mmf_run() -> list[str]:
    return [sys.executable, "-m", "mmf_cli.run"]


def _stem(config: str) -> str:
    """What a configuration is called, whatever a study calls the system that has it."""
    return Path(config).stem.removeprefix("toyworld_")


def _contents(config: str) -> list[Any]:
    """What a configuration file says, comments left out, and those that it includes."""
    path = find_config(config)
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    inner = [_contents(str(path.parent / name)) for name in content.get("includes", [])]
    return [content, *inner]


def _dataset(contents: list[Any]) -> str | None:
    """The data set that a configuration names itself, or by what it includes: of several, the last."""
    content, *included = contents
    named = (content.get("datasets"), *(_dataset(it) for it in reversed(included)))
    return next((name for name in named if name is not None), None)


def _with_file(argument: str) -> str:
    """``config=projects/…`` as a path that is found from any folder."""
    key, _, value = argument.partition("=")
    return f"config={find_config(value)}" if key == "config" else argument


def with_needs(jobs: Iterable[Job]) -> list[Job]:
    """The jobs and everything that they need, each once and after what it needs."""
    ordered: dict[str, Job] = {}

    def add(job: Job) -> None:
        if job.digest not in ordered:
            for other in job.needs:
                add(other)
            ordered[job.digest] = job

    for job in jobs:
        add(job)
    return list(ordered.values())
