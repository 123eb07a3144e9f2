"""The whole tree of options of ``mmf_run`` and ``mmf_predict`` for the model ``muvla``.

MMF merges a configuration from its own defaults, those of model and data set, the user's files and the command line.
It is checked twice: what the user wrote, for unknown keys, before it is merged; and the result, for values, before data
are read or a model is built. Further keys of MMF's own defaults are left to MMF.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import check, check_name, shown, suggest, unknown_key
from mmf_muvla.options.kinds import Name, Number, Options, Text, Whole, kind, names
from mmf_muvla.options.model import LOSSES, Muvla, of_type, with_types
from mmf_muvla.options.schema import Key, entries, general, keys_of
from mmf_muvla.options.training import (
    OPTIMIZERS,
    SCHEDULERS,
    Checkpoint,
    Distributed,
    Env,
    Evaluation,
    Part,
    RunType,
    Training,
)

MODEL = "muvla"
_LOSSES = f"model_config.{MODEL}.losses"
# These stay as they were given.
_KEPT = ("includes", "dataset", "datasets")
Source = Callable[[str], str]
DatasetNames = Annotated[Any, kind(names, "is no name of a data set", "Give a name: datasets=vqa2")]


@dataclass
class Run(Options):
    """The top of the tree. ``system`` names the system in ``tools/score_table.py``."""

    system: Text | None = None
    config: Text | None = None
    model: Name = MODEL
    datasets: DatasetNames = None
    dataset: DatasetNames = None
    run_type: RunType = "train_inference"
    training: Training = field(default_factory=Training)
    optimizer: Part = field(default_factory=Part)
    scheduler: Part = field(default_factory=Part)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    evaluation: Evaluation = field(default_factory=Evaluation)
    env: Env = field(default_factory=Env)
    distributed: Distributed = field(default_factory=Distributed)
    model_config: dict[str, Any] = field(default_factory=dict)
    dataset_config: dict[str, Any] = field(default_factory=dict)
    includes: list[Name] = field(default_factory=list)
    config_version: Number = 1.0
    # Written into the configuration of a run by MMF.
    learning_rate: Number | None = None
    device_id: Whole | None = None
    start_rank: Whole | None = None


@dataclass(frozen=True)
class Registered:
    """What is registered with MMF, by name; data sets with the schemas of their options, where they have one.

    Attributes:
        learned: for data sets of the pre-training: given their options, and the losses where the configuration names
            them, the losses and the metrics.
    """

    trainers: Collection[str]
    models: Collection[str]
    datasets: Mapping[str, type[Options] | None]
    optimizers: Collection[str]
    schedulers: Collection[str]
    losses: Collection[str]
    metrics: Collection[str]
    learned: Mapping[str, Callable[[Mapping[str, Any], Sequence[str] | None], tuple[list[str], list[str]]]] = field(
        default_factory=dict
    )


def known_keys(content: Mapping[str, Any], datasets: Mapping[str, type[Options] | None]) -> dict[str, Key]:
    """Every key of the tree, for the types of optimizer and scheduler that a configuration names.

    Args:
        content: the configuration, or what is known of it.
        datasets: the data sets that exist, with their schemas.
    """
    known = dict(keys_of(Run))
    for prefix, schema in _schemas(content, datasets):
        if "[" not in prefix:  # losses differ from each other
            known[prefix] = Key(prefix, is_group=True)
            known |= {
                f"{prefix}.{name}": replace(key, name=f"{prefix}.{name}") for name, key in keys_of(schema).items()
            }
    return known


def _schemas(
    content: Mapping[str, Any], datasets: Mapping[str, type[Options] | None]
) -> Iterator[tuple[str, type[Options]]]:
    """The parts of the tree below its top: their places and their schemas."""
    for part, known in (("optimizer", OPTIMIZERS), ("scheduler", SCHEDULERS)):
        if (schema := of_type(known, content.get(part))) is not None:
            yield f"{part}.params", schema
    for name, options in datasets.items():
        if options is not None:
            yield f"dataset_config.{name}", options
    yield f"model_config.{MODEL}", Muvla
    losses = with_types(_at(content, f"model_config.{MODEL}.losses"))
    for number, loss in enumerate(losses if isinstance(losses, list) else []):
        if (schema := of_type(LOSSES, loss)) is not None:
            yield f"model_config.{MODEL}.losses[{number}].params", schema


def _at(content: Any, name: str) -> Any:
    """The value at a dotted name; ``None`` if there is none."""
    for part in name.replace("[", ".").replace("]", "").split("."):
        if isinstance(content, Mapping):
            content = content.get(part)
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return None
    return content


def check_run(
    content: Mapping[str, Any], source: Source, registered: Registered, leave_to_mmf: Callable[[str], bool]
) -> dict[str, Any]:
    """Check the whole configuration of a run.

    Args:
        content: plain Python, nothing left to resolve.
        source: says where the value of a key comes from.
        registered: what MMF knows.
        leave_to_mmf: whether a key that is not in the tree is known to MMF.

    Returns:
        The values that have to be changed, by dotted name: the text ``1e-4`` becomes a number.

    Raises:
        InputError: something cannot be used.
    """
    content = copy.deepcopy(dict(content))
    _refuse_unknown_parts(content, source, registered)
    options = _at(content, f"model_config.{MODEL}")
    if isinstance(options, dict):
        options["losses"] = with_types(options.get("losses"))
    known = known_keys(content, registered.datasets)
    top = _without(content, lambda name: general(name) not in known and leave_to_mmf(name))
    run = check(Run, top, source)
    changes = _changes(content, asdict(run))
    for place, schema in _schemas(content, registered.datasets):
        part = _at(content, place)
        if part is not None:
            checked: Any = check(schema, part, source, f"{place}.")
            changes |= {f"{place}.{name}": value for name, value in _changes(part, asdict(checked)).items()}
    _check_names(run, content, source, registered)
    follows = _what_follows(content, registered)
    if (losses := follows.get(_LOSSES)) is not None and isinstance(options, dict):
        options["losses"] = losses
    _check_together(run, content, source)
    changes = {name: value for name, value in changes.items() if not name.endswith(".losses") and name not in _KEPT}
    return changes | follows


def _what_follows(content: Mapping[str, Any], registered: Registered) -> dict[str, Any]:
    """What a configuration leaves open, since it follows from what its data set is to be learned for."""
    options = _at(content, f"model_config.{MODEL}") or {}
    losses = options.get("losses")
    types = None if losses is None else [loss["type"] for loss in losses]
    metrics: list[str] = []
    for name in _chosen_datasets(content):
        if name in registered.learned and options.get("task") == "pretraining":
            types, metrics = registered.learned[name](_at(content, f"dataset_config.{name}"), types)
    found: dict[str, Any] = {}
    weights = options.get("loss_weights") or {}
    if types is not None and (losses is None or weights):
        groups = losses or [{"type": it} for it in types]
        found[_LOSSES] = [
            {**loss, "params": {"weight": weights.get(loss["type"], 1.0), **loss.get("params", {})}} for loss in groups
        ]
    if _at(content, "evaluation.metrics") is None:
        found["evaluation.metrics"] = metrics
    criteria = _at(content, "training.early_stop.criteria")
    if criteria is None:
        criteria = found["training.early_stop.criteria"] = metrics[0] if metrics else "total_loss"
    if _at(content, "training.early_stop.minimize") is None:
        found["training.early_stop.minimize"] = str(criteria).rpartition("/")[2] not in registered.metrics
    return found


def _without(content: Mapping[str, Any], drop: Callable[[str], bool], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if not drop(name):
            kept[key] = _without(value, drop, f"{name}.") if isinstance(value, Mapping) else value
    return kept


def _changes(given: Any, checked: Mapping[str, Any]) -> dict[str, Any]:
    """Values that the check has changed."""
    found = {}
    values = dict(entries(checked))
    for name, value in entries(given):
        if name in values and not isinstance(value, Mapping) and not isinstance(values[name], Mapping):
            new = values[name]
            # A whole number is as good as 1.0.
            if type(new) is not type(value) and not (isinstance(new, float) and type(value) is int):
                found[name] = new
    return found


def _refuse_unknown_parts(content: Mapping[str, Any], source: Source, registered: Registered) -> None:
    """Refuse options of a model or a data set that does not exist."""
    chosen = [str(content.get("model")), *_chosen_datasets(content)]
    for group, there_are in (("model_config", registered.models), ("dataset_config", registered.datasets)):
        part = content.get(group)
        for name in part if isinstance(part, Mapping) else ():
            if name not in there_are and name not in chosen:
                raise unknown_key(source(f"{group}.{name}"), f"{group}.{name}", [f"{group}.{it}" for it in there_are])


def _chosen_datasets(content: Mapping[str, Any]) -> list[str]:
    try:
        return names(content.get("datasets") or content.get("dataset"))
    except (ValueError, TypeError):
        return []


def _check_names(run: Run, content: Mapping[str, Any], source: Source, registered: Registered) -> None:
    """Refuse names of what does not exist."""
    check_name(source("training.trainer"), "training.trainer", run.training.trainer, registered.trainers, "trainer")
    for name in _chosen_datasets(content):
        check_name(source("datasets"), "datasets", name, registered.datasets, "data set")
    if not _chosen_datasets(content):
        raise InputError(f"{source('datasets')}: datasets={shown(run.datasets)}", "names no data set", "Name one")
    for option, part, known in (
        ("optimizer.type", run.optimizer.type, registered.optimizers),
        ("scheduler.type", run.scheduler.type, registered.schedulers),
    ):
        if part is not None:
            check_name(source(option), option, part, known, option.partition(".")[0])
    for number, loss in enumerate(_at(content, _LOSSES) or []):
        place = f"{_LOSSES}[{number}].type"
        check_name(source(place), place, loss["type"], registered.losses, "loss")
    for loss in _at(content, f"model_config.{MODEL}.loss_weights") or ():
        place = f"model_config.{MODEL}.loss_weights"
        check_name(source(place), place, loss, registered.losses, "loss")
    for metric in run.evaluation.metrics:
        name = metric if isinstance(metric, str) else metric["type"]
        check_name(source("evaluation.metrics"), "evaluation.metrics", name, registered.metrics, "metric")


def _check_together(run: Run, content: Mapping[str, Any], source: Source) -> None:
    """Refuse options that contradict each other."""

    def refuse(option: str, value: Any, problem: str, remedy: str) -> None:
        raise InputError(f"{source(option)}: {option}={shown(value)}", problem, remedy)

    training = run.training
    if run.optimizer.type is None:
        refuse("optimizer.type", None, "there is no optimizer", "Give one: optimizer.type=AdamW")
    if training.lr_scheduler and run.scheduler.type is None and training.trainer == MODEL:
        refuse("scheduler.type", None, "there is no schedule", "Give one, or set training.lr_scheduler=false")
    if training.clip_gradients and training.max_grad_l2_norm is None:
        remedy = "Give a number, or set training.clip_gradients=false"
        refuse("training.max_grad_l2_norm", None, "there is nothing to clip gradients at", remedy)
    if _at(content, _LOSSES) == []:
        refuse(_LOSSES, [], "there is nothing to learn", "Name losses, or leave the option out")
    trunk = _at(content, f"model_config.{MODEL}.trunk") or {}
    hidden, heads = trunk.get("hidden_size"), trunk.get("num_attention_heads")
    if hidden and heads and int(hidden) % int(heads):
        option = f"model_config.{MODEL}.trunk.hidden_size"
        refuse(option, hidden, f"is not a multiple of num_attention_heads={heads}", "Choose a divisor as their number")
    for name in _chosen_datasets(content):
        masking = _at(content, f"dataset_config.{name}.masking")
        shares = [masking.get(it) for it in ("mask_token_share", "random_token_share")] if masking else []
        if all(it is not None for it in shares) and sum(map(float, shares)) > 1 + 1e-9:
            option = f"dataset_config.{name}.masking.random_token_share"
            refuse(option, shares[1], f"with mask_token_share={shares[0]} it is more than all", "Give less of one")


def missing_model(where: str, keys: Sequence[str]) -> InputError:
    """The error for a configuration that names no model."""
    near = [key for key in keys if key not in keys_of(Run) and "model" in suggest(key, ["model"])]
    if near:
        return unknown_key(where, near[0], ["model"])
    return InputError(f"{where}: model", "is not given", "Name the model, in the file or on the command line: model=…")
