"""What a study is: the files under ``projects/muvla/studies/``, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import check
from mmf_muvla.options.composing import read_with_includes
from mmf_muvla.options.kinds import Count, Name, Number, Options, Seed, Text
from mmf_muvla.options.reading import read_override
from mmf_muvla.options.schema import keys_of
from mmf_muvla.paths import find_config
from mmf_muvla.report.scores import TASK_NAMED

Arguments = tuple[Text, ...]


@dataclass(frozen=True)
class Step(Options):
    """Something that is prepared once, or once for every seed: a world, a corpus, a checkpoint."""

    command: Name  # a script of tools/
    # {NAME} is the output folder of another step, {out} this one's own, {seed} the seed of the run that needs it
    arguments: Arguments = ()


@dataclass(frozen=True)
class System(Options):
    """A system of the comparison."""

    label: Text  # its name in tables and plots
    pretrain: Name | None = None  # its pre-training configuration; None: it is fine-tuned from BERT alone
    corpus: Name | None = None  # the step whose output {corpus} is
    arguments: Arguments = ()  # further ones of its pre-training
    finetune: Arguments = ()  # further ones of its fine-tunings
    rates_of: Name | None = None  # the system whose learning rates it takes; None: its own are searched
    x: Number | None = None  # its place on the x axis of the study's plot
    seeds: Count | None = None  # how many of the seeds asked for it runs with; None: all


@dataclass(frozen=True)
class TaskPlan(Options):
    """How a task is fine-tuned."""

    config: Name
    rates: tuple[Annotated[Number, Field(ge=0)], ...]  # to choose from, by the score on the validation split
    arguments: Arguments = ()


@dataclass(frozen=True)
class Study(Options):
    """A comparison of systems on tasks."""

    name: Name  # of its file, and of its setting, if that is not the usual one
    title: Text
    reference: Name  # the system that the others are compared with
    steps: dict[str, Step]
    systems: dict[str, System]
    tasks: dict[str, TaskPlan]
    claims: tuple[Text, ...] = ()  # what the paper says, each a sentence
    order: tuple[Name, ...] = ()  # systems, worst first, as the paper has them: each is compared with the one before it
    x_label: Text = ""  # of the plot's x axis
    search_seed: Seed = 1000  # learning rates are chosen with it; it takes no part in the comparison
    pretrain: Arguments = ()  # of every pre-training
    finetune: Arguments = ()  # of every fine-tuning
    memory_per_job_gb: Annotated[Number, Field(gt=0)] = 3.0


# What may stand in a study's file, or before an equals sign on the command line.
STUDY_KEYS = (*keys_of(Study), "setting", "prefix", "includes")


def read_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study's file, with overrides ``key.key=value``; ``setting=FILE`` takes the study to other data.

    ``includes`` lists files beside it that it goes on from, ``setting`` names one that another may stand in for, and
    ``like`` in a step or a system names another one that it is like, but for what it says itself.

    Raises:
        InputError: the file cannot be read, a key is unknown or missing, or a name stands for nothing.
    """
    path = find_config(str(path))
    where = str(path)
    content = read_with_includes(path)
    usual = content.get("setting")
    for override in overrides:
        content = _merged(content, read_override(override), f"{where}, {override}")
    setting = content.pop("setting", None)
    study_name = path.stem
    if setting != usual:
        if usual is None:
            raise InputError(f"setting={setting}", f"{path.name} has none that could be another", "Leave it out")
        study_name = f"{path.stem}-{Path(setting).stem}"
    if setting is not None:
        beside = path.parent / setting
        content = _merged(read_with_includes(beside if beside.is_file() else find_config(setting)), content, where)
    try:
        values: dict[str, Any] = OmegaConf.to_container(content, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise InputError(where, str(error).splitlines()[0], "Correct what stands in ${…}") from error
    values.pop("prefix", None)
    for group, kind in (("steps", Step), ("systems", System), ("tasks", TaskPlan)):
        entries = values.pop(group, None) or {}
        if not isinstance(entries, dict):
            raise InputError(f"{where}: {group}={entries}", "is no group", "Write names, each with its keys")
        parts = _with_likes({str(name): part for name, part in entries.items()}, f"{where}: {group}")
        for name, part in parts.items():
            own = {"label": name, **part} if kind is System else part
            parts[name] = _build(kind, own, f"{where}: {group}.{name}")
        values[group] = parts
    study: Study = _build(Study, {"name": study_name, **values}, where)
    _check(study, where)
    return study


def _merged(below: Any, above: Any, where: str) -> Any:
    try:
        return OmegaConf.merge(below, above)
    except (OmegaConfBaseException, TypeError) as error:
        raise InputError(where, str(error).splitlines()[0], "Write names, each with its keys") from error


def _with_likes(group: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Fill up what says ``like: OTHER`` from that one: lists are joined, the other's first, and all else is replaced.

    Entries whose names begin with an underscore are there to be like, and nothing else.
    """

    def fill(name: str, askers: tuple[str, ...]) -> dict[str, Any]:
        if name in askers or name not in group:
            problem = "there is no such entry" if name not in group else "they are like each other"
            raise InputError(f"{where}.{askers[-1]}.like={name}", problem, "Correct the name")
        if group[name] is not None and not isinstance(group[name], dict):
            raise InputError(f"{where}.{name}", f"is {group[name]!r}", "Write keys and values")
        own = dict(group[name] or {})
        if "like" not in own:
            return own
        other = fill(str(own.pop("like")), (*askers, name))
        other.pop("label", None)
        for key in own:
            if isinstance(own[key], list) and isinstance(other.get(key), list):
                own[key] = other[key] + own[key]
        return other | own

    return {name: fill(name, ()) for name in group if not name.startswith("_")}


def _build(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    absent = ", ".join(it.name for it in fields(kind) if it.default is MISSING and it.name not in values)
    return check(kind, values, lambda _: where, missing=f"is not complete ({absent} is not given)")


def _check(study: Study, where: str) -> None:
    """What names stand for is there."""

    def refuse(is_wrong: bool, place: str, problem: str, remedy: str) -> None:
        if is_wrong:
            raise InputError(f"{where}: {place}", problem, remedy)

    name, reference = study.name, study.reference
    refuse(Path(name).name != name, f"name={name}", "is no name of a folder", "Leave slashes and .. out")
    refuse(reference not in study.systems, "reference", f"{reference} is no system", "Name one of the systems")
    for name in study.order:
        refuse(name not in study.systems, f"order={name}", "is no system", "Name systems of the study")
    for name, system in study.systems.items():
        place, corpus, rates_of = f"systems.{name}", system.corpus, system.rates_of
        has_none = corpus is not None and corpus not in study.steps
        refuse(has_none, f"{place}.corpus", f"{corpus} is no step", "Name one of the steps")
        has_none = rates_of is not None and study.systems.get(rates_of, system).rates_of is not None
        refuse(has_none, f"{place}.rates_of", f"{rates_of} has no rates of its own", "Name one that has")
    for name, task in study.tasks.items():
        refuse(name not in TASK_NAMED, f"tasks.{name}", "no such task", f"The tasks are {', '.join(TASK_NAMED)}")
        refuse(not task.rates, f"tasks.{name}.rates", "is empty", "Give at least one learning rate")
