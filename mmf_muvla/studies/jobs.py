"""The jobs of a study: what is run, what each needs, and how a job is known again.

A job is known by its *digest*, see :mod:`~mmf_muvla.studies.identity`. So studies share what they have in common, and a
change redoes exactly what depends on it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.options.composing import configuration, resolved
from mmf_muvla.paths import find_config
from mmf_muvla.studies.identity import digest_of_run, digest_of_step
from mmf_muvla.studies.study import Study

WEIGHTS = "muvla_final.safetensors"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_DATASET, _SEED = "{dataset}", "{seed}"
Find = Callable[[str], "Job"]


@dataclass(frozen=True)
class Job:
    """A process to run."""

    kind: str  # step, pretrain, search or finetune
    name: str  # the same for the same work, and not unique over different settings
    folder: Path  # its output
    command: tuple[str, ...]
    needs: tuple[Job, ...]  # whose output it reads
    digest: str
    system: str = ""  # what it is a run of, as far as it is one, like what follows
    task: str = ""
    seed: int = 0
    rate: float = 0.0

    @property
    def log(self) -> Path:
        """Its output and error messages."""
        return self.folder.with_name(f"{self.folder.name}.log")


@dataclass(eq=False)
class Jobs:
    """Makes the jobs of a study."""

    study: Study
    work: Path  # under which every job has its own folder
    tools: Path  # folder of the command-line scripts
    run_arguments: tuple[str, ...] = ()  # of every mmf_run, last (and so the ones that count)

    def __post_init__(self) -> None:
        self._configuration = cache(configuration)
        self._folder_of = cache(folder_of)
        self._digest = cache(self._digest_of)

    def step(self, name: str, seed: int = 0, parents: tuple[str, ...] = ()) -> Job:
        """The job of a step, for runs with a seed; an InputError where there is none of that name, or it needs itself.

        Steps that do not ask for ``{seed}``, and need none that does, are the same for all seeds.
        """
        where, step = f"study {self.study.name}", self.study.steps.get(name)
        if step is None:
            raise InputError(where, f"there is no step '{name}'", "Add it to steps, or correct the name")
        if name in parents:
            raise InputError(where, f"the step '{name}' needs itself", "Correct its arguments")
        arguments = tuple(argument.replace(_SEED, str(seed)) for argument in step.arguments)
        find = partial(self.step, seed=seed, parents=(*parents, name))
        own_name = name if arguments == step.arguments else f"{name}-{seed}"
        return self._job("step", own_name, step.command, arguments, find)

    def pretraining(self, system: str, seed: int) -> Job | None:
        """The pre-training of a system; ``None`` where it has none."""
        plan = self.study.systems[system]
        if plan.pretrain is None:
            return None
        arguments = (*self.study.pretrain, *plan.arguments)
        if any(_DATASET in argument for argument in arguments):
            if (dataset := self._configuration(plan.pretrain).get("datasets")) is None:
                remedy = "Write datasets: NAME in it, or in what it includes"
                raise InputError(plan.pretrain, "names no data set", remedy)
            arguments = tuple(argument.replace(_DATASET, dataset) for argument in arguments)
        name, arguments = f"{_stem(plan.pretrain)}-{seed}", (f"training.seed={seed}", *arguments, *self.run_arguments)
        find = partial(self._step_for, system, seed, None)
        job = self._job("pretrain", name, plan.pretrain, arguments, find, version="pretrain")
        return replace(job, system=system, seed=seed)

    def search(self, system: str, task: str, rate: float) -> Job:
        """A fine-tuning that is validated only, to choose a learning rate by."""
        return self._finetuning("search", system, task, self.study.search_seed, rate, "run_type=train_val")

    def finetuning(self, system: str, task: str, seed: int, rate: float) -> Job:
        """A fine-tuning that is tested, once."""
        return self._finetuning("finetune", system, task, seed, rate, "run_type=train_inference")

    def _finetuning(self, kind: str, system: str, task: str, seed: int, rate: float, run_type: str) -> Job:
        plan, of_system, start = self.study.tasks[task], self.study.systems[system], self.pretraining(system, seed)
        name = f"{task}-{_stem(of_system.pretrain or 'bert')}-{seed}-{rate:g}"
        weights = () if start is None else ("checkpoint.resume_file={pretraining}/" + WEIGHTS,)
        arguments = (
            f"training.seed={seed}", run_type, f"optimizer.params.lr={rate:g}", *self.study.finetune,
            *plan.arguments, *of_system.finetune, *self.run_arguments, *weights,
        )  # fmt: skip
        find = partial(self._step_for, system, seed, start)
        job = self._job(kind, name, plan.config, arguments, find, version=task)
        return replace(job, system=system, task=task, seed=seed, rate=rate)

    def _step_for(self, system: str, seed: int, start: Job | None, name: str) -> Job:
        """What a name in a run's arguments stands for."""
        if name == "pretraining" and start is not None:
            return start
        corpus = self.study.systems[system].corpus if name == "corpus" else name
        if corpus is None:
            raise InputError(f"study {self.study.name}: systems.{system}", "names no corpus", "Give it one")
        return self.step(corpus, seed)

    def _digest_of(self, program: str, version: str, arguments: tuple[str, ...]) -> str:
        if not version:
            return digest_of_step(program, arguments)
        return digest_of_run(resolved(self._configuration(program), arguments), version)

    def _job(
        self, kind: str, name: str, program: str, arguments: tuple[str, ...], find: Find, *, version: str = ""
    ) -> Job:
        """A job: ``program`` is a script of ``tools/`` or, with a version, a configuration of ``mmf_run``."""
        names = dict.fromkeys(match for argument in arguments for match in _PLACEHOLDER.findall(argument))
        needs = {other: find(other) for other in names if other != "out"}

        def filled(values: Mapping[str, str]) -> tuple[str, ...]:
            return tuple(_PLACEHOLDER.sub(lambda found: values[found[1]], argument) for argument in arguments)

        known = filled({"out": "out", **{it: f"job {needs[it].digest}" for it in needs}})
        digest = self._digest(program, version, known)
        folder = self._folder_of(self.work / kind, digest) or self.work / kind / f"{name}-{digest[:8]}"
        command: tuple[str, ...] = (sys.executable, str(self.tools / program))
        if version:
            own = (f"config={find_config(program)}", f"env.save_dir={folder}", "checkpoint.resume=True")
            command = (sys.executable, "-m", "mmf_cli.run", *own)
        command += filled({"out": str(folder), **{it: str(needs[it].folder) for it in needs}})
        return Job(kind, name, folder, command, tuple(needs.values()), digest)


def folder_of(folder: Path, digest: str) -> Path | None:
    """The folder, among those of a kind of jobs, of the job with this digest, whatever it was called when it began."""
    mark = f"-{digest[:8]}"
    begun = next(folder.glob(f"*{mark}*"), None)
    return begun and folder / f"{begun.name.partition(mark)[0]}{mark}"


def _stem(config: str) -> str:
    """What a configuration is called, whatever a study calls the system that has it."""
    return Path(config).stem.removeprefix("toyworld_")


def with_needs(jobs: Iterable[Job], but: Callable[[Job], bool] = lambda _: False) -> list[Job]:
    """The jobs and everything that they need, each once and after what it needs, but for some and what these need."""
    ordered: dict[str, Job] = {}

    def add(job: Job) -> None:
        if job.digest not in ordered and not but(job):
            for other in job.needs:
                add(other)
            ordered[job.digest] = job

    for job in jobs:
        add(job)
    return list(ordered.values())
