"""Resuming a run: its data, their order and masks, the model and the objectives cannot change.

What only says how to go on from here may: the learning rate, the schedule and its length, precision, logging.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mmf_muvla.artifacts.files import digest_of_json, fingerprint
from mmf_muvla.datasets.pretraining import PretrainingDataset
from mmf_muvla.datasets.tasks.task import TaskDataset
from mmf_muvla.errors import InputError
from mmf_muvla.models.heads import variants_of
from mmf_muvla.options.model import FORMER_DEFAULTS
from mmf_muvla.pairing.store import PAIRS_FILE, SENTENCES_FILE

# Options by which something else would be trained, as patterns of ``fnmatch``.
_FIXED = (
    "model",
    "datasets",
    "training.seed",
    "training.group_by_length",
    "model_config.*",
    "dataset_config.*",
    "optimizer.type",
    # parts of the optimizer's state depend on these
    *(f"optimizer.params.{name}" for name in ("amsgrad", "momentum", "centered")),
)
# Of these, options that may change all the same.
_FREE = ("*dropout*", "*.activation_checkpointing", "*.compile", "*.missing_images")
# Where something is, or a start that the run has left behind: its content is compared instead, as far as it matters.
_PLACES = (
    *("dataset_config.*.corpus", "dataset_config.*.annotations.*", "dataset_config.*.features.*"),
    *("dataset_config.*.answers", "dataset_config.*.tokenizer"),
    *("model_config.*.trunk.pretrained", "model_config.*.trunk.random_init"),
)
# Data first: what is learned follows from it.
_COMPARED = ("model", "datasets", "system", "training", "dataset_config", "model_config", "optimizer", "scheduler")
# Options of `muvla` that only some of its tasks have heads for, in the present configuration.
_TASKS = {
    "itm_pooling": ("pretraining", "retrieval"),
    "share_vocabulary_head": ("pretraining",),
    "classifier_pooling": ("classification", "image_pair"),
}
_NOT_SAID = ("training.start_over", "training.batch_size", "training.update_frequency", "training.local_rank")
_IMAGES_LOOKED_AT = 16
_LONGEST = 200  # of a value in a message, in characters
_MUVLA = "model_config.muvla."
_ANOTHER = "or start a new run in another env.save_dir"


def refuse_another_run(before: Mapping[str, Any], now: Mapping[str, Any], source: Path) -> list[str]:
    """What has changed and may, since the checkpoint ``source``: a line of the log for each option.

    Raises:
        InputError: something has changed that may not; both values are named.
    """
    old, new = (dict(_leaves({name: config.get(name) for name in _COMPARED})) for config in (before, now))
    task = new.get(f"{_MUVLA}task")
    for option, tasks in _TASKS.items():
        name = f"{_MUVLA}{option}"
        if task is not None and task not in tasks:
            old.pop(name, None)
            new.pop(name, None)
        elif name in new and f"{_MUVLA}task" in old:
            old.setdefault(name, FORMER_DEFAULTS[option])
    changed = []
    for name in sorted({*old, *new}):
        first, second = old.get(name), new.get(name)
        if _meant(first) == _meant(second) or _matches(name, _PLACES) or name in _NOT_SAID:
            continue
        # An option that one of the two versions of this project did not have is no change of the user's.
        if name in old and name in new and _matches(name, _FIXED) and not _matches(name, _FREE):
            if name.endswith((".num_labels", ".num_object_classes")) and None in (first, second):
                continue
            remedy = f"Set it back ({name}={_short(first)}), {_ANOTHER}"
            raise InputError(f"{name}={_short(second)}", f"the run in {source} has {_short(first)}", remedy)
        changed.append(f"{name}: {_short(first)} -> {_short(second)}")
    if before.get("training", {}).get("batch_size") is None:
        return changed
    # A batch may be accumulated from more or fewer parts; what an update sees stays the same.
    (size, parts), (new_size, new_parts) = (
        (int(it["training"]["batch_size"]), int(it["training"].get("update_frequency", 1))) for it in (before, now)
    )
    if (size, parts) != (new_size, new_parts):
        problem = None
        if size * parts != new_size * new_parts:
            problem = f": an update would see {new_size * new_parts} samples, not {size * parts}"
        elif now["training"].get("group_by_length"):
            problem = ", and groups batches by length"
        if problem:
            said = f"training.batch_size={new_size}, training.update_frequency={new_parts}"
            raise InputError(said, f"the run in {source} has {size} and {parts}{problem}", f"Set it back, {_ANOTHER}")
        changed.append(f"training.batch_size, training.update_frequency: {size}, {parts} -> {new_size}, {new_parts}")
    return changed


def refuse_other_heads(
    options: Mapping[str, Any], tensors: Collection[str], source: Path, evaluates: bool = False
) -> None:
    """Refuse a checkpoint whose heads are other variants of those that ``model_config.muvla`` asks for, as those of
    runs from before an option had its present default: the layers that fit would give other results without a word.
    And one without a matching head, if retrieval is to be evaluated with it.

    Raises:
        InputError: the option, and its value for this checkpoint.
    """
    if evaluates and options.get("task") == "retrieval" and not any(it.startswith("heads.itm.") for it in tensors):
        problem = "has no matching head, by which retrieval ranks"
        raise InputError(str(source), problem, "Give weights of a pre-training, or of a run of retrieval")
    for option, value in variants_of(tensors).items():
        if options.get("task") in _TASKS[option] and options.get(option, value) != value:
            written = _short(value).lower()
            where = f"{_MUVLA}{option}={_short(options[option]).lower()}"
            raise InputError(where, f"{source} was trained with {written}", f"Add {_MUVLA}{option}={written}")


def refuse_other_data(before: Mapping[str, Any], now: Mapping[str, Any], source: Path, has_best: bool) -> list[str]:
    """The same of the data, by :func:`content_of` for each split; with ``has_best`` validation has chosen a checkpoint.

    Raises:
        InputError: the data have changed that the run learns from, or is judged by.
    """
    changed = []
    for split in ("train", "val", "test"):
        old, new = before.get(split) or {}, now.get(split) or {}
        differing = [part for part in sorted({*old, *new}) if old.get(part) != new.get(part)]
        what = f"the {split} split has other {' and other '.join(differing)} than"
        values = "; ".join(f"{part}: {old.get(part)} -> {new.get(part)}" for part in differing)
        if differing and (split == "train" or (split == "val" and has_best)):
            problem = f"{what} the run in {source} ({values})"
            raise InputError("dataset_config", problem, f"Give the same data, {_ANOTHER}")
        if differing:
            changed.append(f"{what} before ({values})")
    return changed


def content_of(dataset: Any) -> dict[str, Any]:
    """What identifies the texts, targets and images of a split, wherever they lie: copies are the same data."""
    if dataset is None:
        return {}
    content: dict[str, Any] = {"number of samples": len(dataset)}
    words = getattr(dataset, "words", None)
    if words is not None:
        ids, _ = words("The quick brown fox jumps over the lazy dog, 12 times", 64)
        content["tokenizer"] = digest_of_json([len(words.vocabulary.ordinary_ids), list(map(int, ids))])
    if isinstance(dataset, PretrainingDataset):
        corpus = dataset.corpus
        tables = [_file(corpus.path / name) for name in (PAIRS_FILE, SENTENCES_FILE)]
        content["corpus"] = digest_of_json([corpus.regions.content, corpus.k, *tables])
    elif isinstance(dataset, TaskDataset):
        content["annotations"] = _file(Path(dataset.path))
        content["image features"] = _images(dataset)
        if (answers := dataset.config.get("answers")) is not None and Path(answers).is_file():
            content["answers"] = _file(Path(answers))
    return content


def _file(path: Path) -> str:
    return digest_of_json({key: value for key, value in fingerprint(path).items() if key != "modified_ns"})


def _images(dataset: TaskDataset[Any]) -> str:
    """A digest of some images: reading all would take long."""
    digest = hashlib.blake2b(digest_size=16)
    for number in np.unique(np.linspace(0, len(dataset) - 1, _IMAGES_LOOKED_AT).astype(int)).tolist():
        for key in dataset.records[number].images:
            image = dataset.images.get(key)
            for array in (image.image_feature_0, image.bbox):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class StepSizes:
    """What the configuration says of an optimizer's steps, taken before optimizer and scheduler load a checkpoint.

    It counts, whatever the checkpoint brings along. But a scheduler that computes each rate from the last one, not from
    the number of updates, goes on by its own state.
    """

    def __init__(self, optimizer: Optimizer, scheduler: Any):
        self._groups = [
            {name: value for name, value in it.items() if name != "params"} for it in optimizer.param_groups
        ]
        self._counts = scheduler is None or isinstance(scheduler, LambdaLR)

    def refuse_change(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Refuse another optimizer or scheduler in the configuration, if it would not be used."""
        for section in () if self._counts else ("optimizer", "scheduler"):
            old, new = before.get(section), now.get(section)
            if _meant(old) != _meant(new):
                problem = f"the run has {_short(old)}, and a schedule of this kind goes on from its last rate"
                raise InputError(f"{section}={_short(new)}", problem, f"Set it back, {_ANOTHER}")

    def put_into(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """An optimizer's saved state with these step sizes."""
        if not self._counts:
            return dict(state)
        groups = [{**saved, **own} for saved, own in zip(state["param_groups"], self._groups, strict=True)]
        return {**state, "param_groups": groups}

    def set_rates(self, optimizer: Optimizer, scheduler: Any, step: int) -> None:
        """Set the learning rates of the step that comes after ``step`` steps, and of those after it."""
        if not self._counts or scheduler is None:
            return
        scheduler.base_lrs = [group["initial_lr"] for group in self._groups]
        scheduler.last_epoch = step
        rates = [rate * factor(step) for rate, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler._last_lr = rates


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, value


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _meant(value: Any) -> Any:
    """A value as it is meant: the command line gives lists as text, and files write 6e-5 as text."""
    if isinstance(value, Mapping):
        return {key: _meant(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_meant(part) for part in value]
    for read in (float, yaml.safe_load) if isinstance(value, str) else ():
        with contextlib.suppress(ValueError, yaml.YAMLError):
            read_value = read(value)
            return value if isinstance(read_value, str) else _meant(read_value)
    return value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
