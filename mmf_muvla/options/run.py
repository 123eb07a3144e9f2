"""The whole tree of options of ``mmf_run`` and ``mmf_predict`` for the model ``muvla``.

MMF merges a configuration from its own defaults, those of model and data set, the user's files and the command line.
It is checked twice: what the user wrote, for unknown keys, before it is merged; and the result, for values, before data
are read or a model is built. Further keys of MMF's own defaults are left to MMF.
"""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import Source, check, check_keys, check_name, shown, unknown_key
from mmf_muvla.options.data import DATASETS
from mmf_muvla.options.kinds import Options
from mmf_muvla.options.model import LOSSES, Muvla
from mmf_muvla.options.reading import Layers
from mmf_muvla.options.schema import Key, at, entries, general, keys_of
from mmf_muvla.options.training import OPTIMIZERS, SCHEDULERS, Part, Run

MODEL = "muvla"
_MINIMIZE = "training.early_stop.minimize"
_OPTIONS = f"model_config.{MODEL}"
_LOSSES = f"{_OPTIONS}.losses"
# MMF wants them as they were given.
_KEPT = ("dataset", "datasets")
Learned = Callable[[Mapping[str, Any], Sequence[str] | None], tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Registered:
    """What is registered with MMF, by name.

    Attributes:
        datasets: with the schemas of their options, where they have one.
        optimizers: with what makes one.
        metrics: with their classes; that of which smaller values are better says so as ``smaller_is_better``.
        learned: for data sets of the pre-training: given their options, and the losses where the configuration names
            them, the losses and the metrics.
    """

    trainers: Collection[str]
    models: Collection[str]
    datasets: Mapping[str, type[Options] | None]
    optimizers: Mapping[str, Callable[..., Any]]
    schedulers: Collection[str]
    losses: Collection[str]
    metrics: Mapping[str, Any]
    learned: Mapping[str, Learned] = field(default_factory=dict)


def known_keys(content: Mapping[str, Any], datasets: Mapping[str, type[Options] | None]) -> dict[str, Key]:
    """Every key of the tree, with those of these data sets, and of the optimizer and scheduler that are named."""
    known = dict(keys_of(Run))
    for prefix, schema in _schemas(content, datasets):
        if "[" not in prefix:  # losses differ from each other
            known[prefix] = Key(prefix, is_group=True, may_be_null=prefix.endswith(".params"))
            known |= keys_of(schema, f"{prefix}.")
    return known


def _schemas(
    content: Mapping[str, Any], datasets: Mapping[str, type[Options] | None]
) -> Iterator[tuple[str, type[Options]]]:
    """The parts of the tree below its top: their places and their schemas."""
    for part, known in (("optimizer", OPTIMIZERS), ("scheduler", SCHEDULERS)):
        if (schema := known.get(str(at(content, f"{part}.type")))) is not None:
            yield f"{part}.params", schema
    for name, options in datasets.items():
        if options is not None:
            yield f"dataset_config.{name}", options
    yield _OPTIONS, Muvla
    losses = at(content, _LOSSES)
    for number, loss in enumerate(losses if isinstance(losses, list) else []):
        if (schema := LOSSES.get(str(at(loss, "type")))) is not None:
            yield f"{_LOSSES}[{number}].params", schema


def check_written(layers: Layers, model: str | None, mmf_keys: Collection[str]) -> None:
    """Refuse keys that there are not, in files and on the command line, before they are put together.

    Models of others are left to MMF; so are those ``mmf_keys`` of its own defaults that are not in the tree.

    Raises:
        InputError: a key is unknown, or model or data set are not given.
    """

    def last(name: str) -> Any:
        return next((value for _, it in reversed(layers) if (value := at(it, name)) is not None), None)

    where = layers[max(len(layers) - 2, 0)][0]  # the file, where there is one
    if model is None:
        for place, content in layers:
            for key in difflib.get_close_matches("model", {*map(str, content)} - keys_of(Run).keys()):
                raise unknown_key(place, key, ["model"])
        remedy = "Name the model, in the file or on the command line: model=…"
        raise InputError(f"{where}: model", "is not given", remedy)
    if model != MODEL:
        return
    known = {general(name): Key(general(name)) for name in mmf_keys}
    optimizer, scheduler = last("optimizer.type"), last("scheduler.type")
    # What the optimizer does not take may yet be replaced.
    for name in OPTIMIZERS if optimizer in OPTIMIZERS else [optimizer]:
        known |= known_keys({"optimizer": {"type": name}, "scheduler": {"type": scheduler}}, DATASETS)
    for place, content in layers:
        check_keys(content, known, place)
    if last("datasets") is None:
        raise InputError(f"{where}: datasets", "is not given", "Name the data set: datasets=…")


def check_run(
    content: Mapping[str, Any], source: Source, registered: Registered, mmf_keys: Collection[str] = ()
) -> dict[str, Any]:
    """Check the whole configuration of a run, of which nothing is left to resolve.

    Returns:
        The values that have to be changed, by dotted name: the text ``1e-4`` becomes a number.

    Raises:
        InputError: something cannot be used.
    """
    content = copy.deepcopy(dict(content))
    _refuse_unknown_parts(content, source, registered)
    options = at(content, _OPTIONS)
    if isinstance(options, dict) and isinstance(options.get("losses"), list):
        options["losses"] = [{"type": it} if isinstance(it, str) else it for it in options["losses"]]
    run = check(Run, _without(content, set(mmf_keys) - known_keys(content, registered.datasets).keys()), source)
    changes = _changes(content, asdict(run))
    _refuse_params_of_others(run.optimizer, source, registered)
    for place, schema in _schemas(content, registered.datasets):
        part = at(content, place)
        if part is not None:
            checked: Any = check(schema, part, source, f"{place}.")
            changes |= {f"{place}.{name}": value for name, value in _changes(part, asdict(checked)).items()}
    for option, name, known, kind_of in _names(run, content, registered):
        if name is not None:
            check_name(source(option), option, name, known, kind_of)
    follows = _what_follows(run, content, registered)
    if _LOSSES in follows and isinstance(options, dict):
        options["losses"] = follows[_LOSSES]
    _check_together(run, content, source)
    return {name: value for name, value in changes.items() if name not in _KEPT} | follows


def _refuse_params_of_others(optimizer: Part, source: Source, registered: Registered) -> None:
    """Refuse what another optimizer takes: a file below may have been written for that one."""
    make = registered.optimizers.get(str(optimizer.type))
    if make is None:
        return  # that will be said
    takes = inspect.signature(make).parameters
    wrong = [f"optimizer.params.{name}" for name in optimizer.params if name not in takes]
    if wrong and not any(it.kind is it.VAR_KEYWORD for it in takes.values()):
        rest = [f"optimizer.params.{name}={shown(it)}" for name, it in optimizer.params.items() if name in takes]
        raise InputError(
            f"{source('optimizer.type')}: optimizer.type={optimizer.type}",
            f"does not take {', '.join(wrong)} ({source(wrong[0])})",
            f"Take them out, or give all that it is to take: {' '.join(['optimizer.params=null', *rest])}",
        )


def _what_follows(run: Run, content: Mapping[str, Any], registered: Registered) -> dict[str, Any]:
    """What a configuration leaves open, since it follows from what its data set is to be learned for."""
    options = at(content, _OPTIONS) or {}
    losses = options.get("losses")
    types = None if losses is None else [loss["type"] for loss in losses]
    metrics: list[str] = []
    for name in run.datasets:
        if name in registered.learned and options.get("task") == "pretraining":
            types, metrics = registered.learned[name](at(content, f"dataset_config.{name}"), types)
    found: dict[str, Any] = {}
    weights = options.get("loss_weights") or {}
    if types is not None and (losses is None or weights):
        groups = losses or [{"type": it} for it in types]
        found[_LOSSES] = [
            {**loss, "params": {"weight": weights.get(loss["type"], 1.0), **loss.get("params", {})}} for loss in groups
        ]
    if at(content, "evaluation.metrics") is None:
        found["evaluation.metrics"] = metrics
    criteria = at(content, "training.early_stop.criteria")
    if criteria is None:
        criteria = found["training.early_stop.criteria"] = metrics[0] if metrics else "total_loss"
    metric, minimize = registered.metrics.get(str(criteria).rpartition("/")[2]), at(content, _MINIMIZE)
    # What is no metric is a loss.
    small_is_good = metric is None or getattr(metric, "smaller_is_better", False)
    if minimize is None:
        found[_MINIMIZE] = small_is_good
    elif small_is_good and not minimize and run.training.trainer == MODEL:
        problem = f"small values of {criteria}, training.early_stop.criteria, are good: the worst state would be kept"
        raise InputError(f"{_MINIMIZE}={minimize}", problem, f"Add {_MINIMIZE}=true")
    return found


def _without(content: Mapping[str, Any], dropped: Collection[str], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(value, dropped, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in content.items()
        if f"{prefix}{key}" not in dropped
    }


def _changes(given: Any, checked: Mapping[str, Any]) -> dict[str, Any]:
    """Values that the check has changed. A whole number is as good as 1.0."""
    values = dict(entries(checked))
    kinds = {name: (type(value), type(values[name])) for name, value in entries(given) if name in values}
    return {
        name: values[name]
        for name, (before, now) in kinds.items()
        if before is not now and dict not in (before, now) and (before, now) != (int, float)
    }


def _refuse_unknown_parts(content: Mapping[str, Any], source: Source, registered: Registered) -> None:
    """Refuse options of a model or a data set that does not exist."""
    for group, there_are in (("model_config", registered.models), ("dataset_config", registered.datasets)):
        part = content.get(group)
        for name in part if isinstance(part, Mapping) else ():
            if name not in there_are:
                raise unknown_key(source(f"{group}.{name}"), f"{group}.{name}", [f"{group}.{it}" for it in there_are])


def _names(
    run: Run, content: Mapping[str, Any], registered: Registered
) -> Iterator[tuple[str, str | None, Collection[str], str]]:
    """What has to be registered: the option, its value, the names that there are, and what they are of."""
    yield "training.trainer", run.training.trainer, registered.trainers, "trainer"
    yield "optimizer.type", run.optimizer.type, registered.optimizers, "optimizer"
    yield "scheduler.type", run.scheduler.type, registered.schedulers, "scheduler"
    for number, loss in enumerate(at(content, _LOSSES) or []):
        yield f"{_LOSSES}[{number}].type", loss["type"], registered.losses, "loss"
    for loss in at(content, f"{_OPTIONS}.loss_weights") or ():
        yield f"{_OPTIONS}.loss_weights", loss, registered.losses, "loss"
    for metric in run.evaluation.metrics:
        name = metric if isinstance(metric, str) else metric["type"]
        yield "evaluation.metrics", name, registered.metrics, "metric"


def _check_together(run: Run, content: Mapping[str, Any], source: Source) -> None:
    """Refuse options that contradict each other."""

    def refuse(option: str, value: Any, problem: str, remedy: str) -> None:
        raise InputError(f"{source(option)}: {option}={shown(value)}", problem, remedy)

    training = run.training
    if not run.datasets:
        refuse("datasets", at(content, "datasets"), "names no data set", "Name one")
    if run.optimizer.type is None:
        refuse("optimizer.type", None, "there is no optimizer", "Give one: optimizer.type=AdamW")
    if training.lr_scheduler and run.scheduler.type is None and training.trainer == MODEL:
        refuse("scheduler.type", None, "there is no schedule", "Give one, or set training.lr_scheduler=false")
    if training.clip_gradients and training.max_grad_l2_norm is None:
        remedy = "Give a number, or set training.clip_gradients=false"
        refuse("training.max_grad_l2_norm", None, "there is nothing to clip gradients at", remedy)
    if at(content, _LOSSES) == []:
        refuse(_LOSSES, [], "there is nothing to learn", "Name losses, or leave the option out")
    trunk = at(content, f"{_OPTIONS}.trunk") or {}
    hidden, heads = trunk.get("hidden_size"), trunk.get("num_attention_heads")
    if hidden and heads and int(hidden) % int(heads):
        option = f"{_OPTIONS}.trunk.hidden_size"
        refuse(option, hidden, f"is not a multiple of num_attention_heads={heads}", "Choose a divisor as their number")
    for name in run.datasets:
        masking = at(content, f"dataset_config.{name}.masking")
        shares = [masking.get(it) for it in ("mask_token_share", "random_token_share")] if masking else []
        if all(it is not None for it in shares) and sum(map(float, shares)) > 1 + 1e-9:
            option = f"dataset_config.{name}.masking.random_token_share"
            refuse(option, shares[1], f"with mask_token_share={shares[0]} it is more than all", "Give less of one")
