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
    """Something that is prepared once: a world, a corpus, a checkpoint.

    Attributes:
        command: a script of ``tools/``.
        arguments: of the command. ``{NAME}`` is the output folder of another step, ``{out}`` this one's own.
    """

    command: Name
    arguments: Arguments = ()


@dataclass(frozen=True)
class System(Options):
    """A system of the comparison.

    Attributes:
        label: its name in tables and plots.
        pretrain: its pre-training configuration; ``None``: it is fine-tuned from BERT alone.
        corpus: the step whose output ``{corpus}`` is.
        arguments: further arguments of its pre-training.
        finetune: further arguments of its fine-tunings.
        rates_of: the system whose learning rates it takes; ``None``: its own are searched.
        x: its place on the x axis of the study's plot; ``None``: it has none.
        seeds: how many of the seeds asked for it runs with; ``None``: all.
    """

    label: Text
    pretrain: Name | None = None
    corpus: Name | None = None
    arguments: Arguments = ()
    finetune: Arguments = ()
    rates_of: Name | None = None
    x: Number | None = None
    seeds: Count | None = None


@dataclass(frozen=True)
class TaskPlan(Options):
    """How a task is fine-tuned.

    Attributes:
        config: the configuration.
        arguments: further arguments.
        rates: learning rates to choose from, by the score on the validation split.
    """

    config: Name
    rates: tuple[Annotated[Number, Field(ge=0)], ...]
    arguments: Arguments = ()


@dataclass(frozen=True)
class Study(Options):
    """A study.

    Attributes:
        name: the name of its file, and of its setting, if that is not the usual one.
        title: stands over the table.
        claims: what the paper says, each a sentence.
        reference: the system that the others are compared with.
        x_label: of the plot's x axis.
        search_seed: the seed that learning rates are chosen with; it takes no part in the comparison.
        steps, systems, tasks: by name.
        pretrain: arguments of every pre-training.
        finetune: arguments of every fine-tuning.
        memory_per_job_gb: what a run may take, for the memory budget.
    """

    name: Name
    title: Text
    reference: Name
    steps: dict[str, Step]
    systems: dict[str, System]
    tasks: dict[str, TaskPlan]
    claims: tuple[Text, ...] = ()
    x_label: Text = ""
    search_seed: Seed = 1000
    pretrain: Arguments = ()
    finetune: Arguments = ()
    memory_per_job_gb: Annotated[Number, Field(gt=0)] = 3.0


# What may stand in a study's file, or before an equals sign on the command line.
STUDY_KEYS = (*keys_of(Study), "setting", "prefix", "includes")
_PARTS = {"steps": Step, "systems": System, "tasks": TaskPlan}


def read_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study's file.

    Args:
        path: a file; ``includes`` in it lists files beside it that it goes on from, ``setting`` names one that another
            may stand in for, and ``like`` in a step or a system names another one that it is like, but for what it
            says itself.
        overrides: ``key.key=value``; ``setting=FILE`` takes the study to other data.

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
    name = path.stem
    if setting != usual:
        if usual is None:
            raise InputError(f"setting={setting}", f"{path.name} has none that could be another", "Leave it out")
        name = f"{path.stem}-{Path(setting).stem}"
    if setting is not None:
        beside = path.parent / setting
        content = _merged(read_with_includes(beside if beside.is_file() else find_config(setting)), content, where)
    try:
        values: dict[str, Any] = OmegaConf.to_container(content, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise InputError(where, str(error).splitlines()[0], "Correct what stands in ${…}") from error
    values.pop("prefix", None)
    for group, kind in _PARTS.items():
        entries = values.pop(group, None) or {}
        if not isinstance(entries, dict):
            raise InputError(f"{where}: {group}={entries}", "is no group", "Write names, each with its keys")
        entries = _with_likes(entries, f"{where}: {group}")
        values[group] = {name: _part(kind, name, value, f"{where}: {group}.{name}") for name, value in entries.items()}
    study: Study = _build(Study, {"name": name, **values}, where)
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

    def fill(name: str, askers: tuple[str, ...]) -> Any:
        if name in askers or name not in group:
            problem = "there is no such entry" if name not in group else "they are like each other"
            raise InputError(f"{where}.{askers[-1]}.like={name}", problem, "Correct the name")
        own = group[name]
        if not isinstance(own, dict) or "like" not in own:
            return own
        other = fill(own["like"], (*askers, name)) or {}
        own = {key: value for key, value in own.items() if key != "like"}
        joined = {key: [*other[key], *own[key]] for key in own if isinstance(other.get(key), list)}
        return {**{key: value for key, value in other.items() if key != "label"}, **own, **joined}

    return {name: fill(name, ()) for name in group if not name.startswith("_")}


def _part(kind: type, name: str, value: Any, where: str) -> Any:
    if kind is System and (value is None or isinstance(value, dict)):
        value = {"label": name, **(value or {})}
    if not isinstance(value, dict):
        raise InputError(where, f"is {value!r}", "Write keys and values")
    return _build(kind, value, where)


def _build(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    needed = (it.name for it in fields(kind) if it.default is MISSING and it.default_factory is MISSING)
    absent = ", ".join(name for name in needed if name not in values)
    return check(kind, values, lambda _: where, missing=f"is not complete ({absent} is not given)")


def _check(study: Study, where: str) -> None:
    """What names stand for is there."""

    def refuse(place: str, problem: str, remedy: str) -> None:
        raise InputError(f"{where}: {place}", problem, remedy)

    if Path(study.name).name != study.name:
        refuse(f"name={study.name}", "is no name of a folder", "Leave slashes and .. out")
    if study.reference not in study.systems:
        refuse("reference", f"{study.reference} is no system", "Name one of the systems")
    for name, system in study.systems.items():
        if system.corpus is not None and system.corpus not in study.steps:
            refuse(f"systems.{name}.corpus", f"{system.corpus} is no step", "Name one of the steps")
        if system.rates_of is not None and study.systems.get(system.rates_of, system).rates_of is not None:
            refuse(f"systems.{name}.rates_of", f"{system.rates_of} has no rates of its own", "Name one that has")
    for name, task in study.tasks.items():
        if name not in TASK_NAMED:
            refuse(f"tasks.{name}", "no such task", f"The tasks are {', '.join(TASK_NAMED)}")
        if not task.rates:
            refuse(f"tasks.{name}.rates", "is empty", "Give at least one learning rate")
