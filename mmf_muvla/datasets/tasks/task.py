"""What the tasks share: annotations with texts and image ids, regions, checks, batches, predictions, losses.

A task is a subclass of :class:`TaskDataset` in a place of its own: it reads its records, says what their targets are,
and how its benchmark wants predictions. :func:`register_task` makes it a data set of MMF, also from a user's own
package (``env.user_dir``)::

    mmf_muvla.register_with_mmf()

    @register_loss("my_loss")
    def my_loss(scores, targets):  # float [B, labels], what targets() gave -> float [B]
        ...

    @register_task("my_task")
    class MyTask(TaskDataset[TaskRecord]):
        num_labels = 2

        def read_records(self): ...  # TaskRecord(place, text, images, labelled) for each line of self.path

        def targets(self, samples): ...  # {"targets": a tensor whose first dimension is B}

What is wrong with a record is found when the data set is loaded, not in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from mmf.common.registry import registry
from mmf.common.sample import SampleList
from mmf.datasets.base_dataset import BaseDataset
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.artifacts.files import publish_file, write_json
from mmf_muvla.datasets.builders import Builder
from mmf_muvla.datasets.collate import collate_images, lengths_to_mask, pad
from mmf_muvla.datasets.images import open_images
from mmf_muvla.datasets.tasks.conversion import image_keys
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.masking import Ints
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.options.data import Task
from mmf_muvla.options.kinds import Options
from mmf_muvla.reading import json_values
from mmf_muvla.reading.json_values import text_problem
from mmf_muvla.regions.regions import Regions
from mmf_muvla.terminal import log_message

UNLABELLED = -1  # the target of a sample whose label is not known: no loss, no part in any score
# Fields of JSON lines that must be there; that a text is not empty is checked for all tasks alike.
text_of = partial(json_values.text_of, remedy="Mend or remove the line", may_be_empty=True)
number_of = partial(json_values.number_of, remedy="Mend or remove the line", smallest=-(2**63))


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What every task's record has; a task adds its own fields.

    Attributes:
        place: line or entry number in the annotation file, for errors.
        text: the question, sentence, hypothesis or expression.
        images: keys of its images, one or two.
        labelled: whether its target is known.
    """

    place: int
    text: str
    images: tuple[str, ...]
    labelled: bool


R = TypeVar("R", bound=TaskRecord)
SampleLosses = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TaskSample(Generic[R]):
    """One sample as arrays.

    Attributes:
        record: its annotation.
        input_ids: int [T], ``[CLS] text [SEP]``.
        images: its images' regions, in the record's order.
    """

    record: R
    input_ids: Ints
    images: tuple[Regions, ...]


class TaskDataset(BaseDataset, Generic[R]):
    """Texts with their images' regions and targets, from one annotation file and one source of regions.

    Records without a label are left out of the training split, and kept elsewhere: predictions are made for them, and
    losses and scores pass them over.

    Args:
        dataset_name: name under which MMF knows the data set.
        config: ``dataset_config.NAME``; every key is explained in ``configs/datasets/NAME/defaults.yaml``.
        dataset_type: ``train``, ``val`` or ``test``.

    Attributes:
        records: what is left of the file's records, in its order.
        left_out: how many records were left out, by reason.
        num_labels: how many answers a model chooses from; None where that differs from sample to sample.

    Raises:
        InputError: the annotation file, one of its records or the regions cannot be used.
    """

    entry: ClassVar[str] = "line"  # what a record is in its file
    prediction_suffix: ClassVar[str] = ".json"
    num_labels: int | None = None

    def __init__(self, dataset_name: str, config: Any, dataset_type: str):
        super().__init__(dataset_name, config, dataset_type)
        self.path = str(config.annotations[dataset_type])
        self.missing_images: str = config.get("missing_images", "error")
        if self.missing_images not in ("error", "skip"):
            where = f"dataset_config.{dataset_name}.missing_images"
            raise InputError(where, f"unknown value {self.missing_images!r}", "Choose error or skip")
        features = config.features.get(dataset_type)
        if not features:
            raise InputError(
                f"dataset_config.{dataset_name}.features.{dataset_type}",
                "not given, though the split has annotations",
                "Name a region store, an MMF feature folder or an MMF LMDB",
            )
        self.images = open_images(features, config.get("feature_dim"))
        self.max_text_tokens: int = config.max_text_tokens
        self.words = WordPieces(config.tokenizer)
        self.left_out = {"without a label": 0, "without regions": 0}
        self.records: list[R] = self._usable(self.read_records())
        for reason, count in self.left_out.items():
            if count:
                log_message(f"{self.path}: {count:,} records {reason} left out", "warning")

    # ------------------------------------------------------------ what a task says

    def read_records(self) -> Iterable[R]:
        """The annotation file's records, in its order, labels checked."""
        raise NotImplementedError

    def targets(self, samples: Sequence[TaskSample[R]]) -> dict[str, Tensor]:
        """Targets of a batch and whatever else scores and predictions need, as tensors whose first dimension is B.

        ``targets`` must be among them (without it MMF computes no loss).
        """
        raise NotImplementedError

    def write_predictions(self, path: Path, predictions: Sequence[Any]) -> None:
        """Write the predictions of the whole split in the benchmark's submission format: a JSON list by default.

        Args:
            path: the file, its ending :attr:`prediction_suffix`.
            predictions: what :meth:`format_for_prediction` gave for all batches, in the order of the records.
        """
        write_json(path, list(predictions))

    # ------------------------------------------------------------------------ checks

    def where(self, record: TaskRecord) -> str:
        """The record's place, for errors."""
        return f"{self.path}, {self.entry} {record.place}"

    def _usable(self, records: Iterable[R]) -> list[R]:
        """The records that can be used; others are errors, or left out and counted."""
        usable = []
        known: dict[str, bool] = {}  # an image serves several records
        first_without: R | None = None
        for record in records:
            if not record.text.strip():
                raise InputError(self.where(record), "its text is empty", f"Mend or remove the {self.entry}")
            if problem := text_problem(record.text):
                raise InputError(self.where(record), f"its text {problem}", f"Mend or remove the {self.entry}")
            if not self._has_images(record, known):
                first_without = first_without or record
                self.left_out["without regions"] += 1
            elif self.dataset_type == "train" and not record.labelled:
                self.left_out["without a label"] += 1
            else:
                usable.append(record)
        if first_without is not None:
            self._judge_images(known, first_without)
        if not usable:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)
            raise InputError(
                self.path,
                f"there is nothing to use in it{f' ({reasons})' if reasons else ''}",
                f"Give the annotations and the regions of the {self.dataset_type} split",
            )
        return usable

    def _has_images(self, record: R, known: dict[str, bool]) -> bool:
        for key in record.images:
            if key not in known:
                known[key] = key in self.images
        return all(known[key] for key in record.images)

    def _judge_images(self, known: dict[str, bool], first_without: R) -> None:
        """Say, where images are unknown, whether these are the wrong features, or some are missing.

        Args:
            known: of each image whether there are features of it.
            first_without: the first record with an unknown image.
        """
        absent = next(key for key in first_without.images if not known[key])
        unknown = sum(not is_known for is_known in known.values())
        theirs = self.images.first_key()
        difference = image_keys.difference(absent, str(self.images.path), theirs)
        if unknown == len(known):
            problem = f"none of its {unknown:,} images is in {self.images.path}: {difference}"
            raise InputError(self.path, problem, image_keys.remedy(absent, theirs))
        if self.missing_images == "error":
            others = f", nor are {unknown - 1:,} others of {len(known):,} images" if unknown > 1 else ""
            raise InputError(
                self.where(first_without),
                f"image {absent} is not in {self.images.path}{others}",
                f"Import its regions (tools/import_regions.py), name the right dataset_config.{self.dataset_name}"
                ".features, or set missing_images=skip there",
            )
        if 2 * unknown > len(known):
            log_message(f"{self.path}: {unknown:,} of {len(known):,} images are unknown: {difference}", "warning")

    # ------------------------------------------------------------------------- items

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | tuple[int, int]) -> TaskSample[R]:
        """One sample; a key ``(epoch, item)`` gives the item, which does not change with the epoch."""
        record = self.records[key[1] if isinstance(key, tuple) else key]
        vocabulary = self.words.vocabulary
        tokens, _ = self.words(record.text, self.max_text_tokens)
        return TaskSample(
            record=record,
            input_ids=np.concatenate([[vocabulary.cls_id], tokens, [vocabulary.sep_id]]),
            images=tuple(self.images.get(image) for image in record.images),
        )

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> SampleList:
        """A whole batch, padded to its own longest text and largest number of regions.

        Returns:
            ``input_ids`` int [B, T], ``attention_mask`` bool [B, T], the images (see :meth:`image_fields`),
            ``labelled`` bool [B], and what :meth:`targets` gives.
        """
        samples = [self[key] for key in keys]
        texts = [sample.input_ids for sample in samples]
        return SampleList(
            {
                **self.image_fields(samples),
                "input_ids": pad(texts, self.words.vocabulary.pad_id, torch.long),
                "attention_mask": lengths_to_mask([len(text) for text in texts]),
                "labelled": torch.tensor([sample.record.labelled for sample in samples]),
                **self.targets(samples),
            }
        )

    def image_fields(self, samples: Sequence[TaskSample[R]]) -> dict[str, Any]:
        """The images of a batch, one a sample: as :func:`mmf_muvla.datasets.collate.collate_images` gives them."""
        return collate_images([sample.images[0] for sample in samples])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text as a file that is whole or absent."""
    with publish_file(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


D = TypeVar("D", bound=TaskDataset[Any])


class TaskBuilder(Builder):
    """Builder of a task; a split without annotations is no split."""

    options_schema: ClassVar[type[Options]]
    dataset_class: ClassVar[type[TaskDataset[Any]]]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The schema's; with the tokenizer and the feature size that the encoder has."""
        config = registry.get("config", no_warning=True)
        trunk = OmegaConf.select(config, "model_config.muvla.trunk") if config else None
        of_trunk = {"tokenizer": trunk.pretrained, "feature_dim": trunk.feature_dim} if trunk else {}
        return {**asdict(cls.options_schema()), **of_trunk}  # type: ignore[call-overload]

    def load(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> TaskDataset[Any] | None:
        given: Any = OmegaConf.to_container(config, resolve=True)
        config = OmegaConf.create({**self.defaults(), **given})
        if not config.annotations.get(dataset_type):
            return None
        dataset = self.dataset_class(self.name, config, dataset_type)
        if dataset.num_labels is not None:
            registry.register("muvla_num_labels", dataset.num_labels)
        return dataset


def register_task(name: str, options: type[Options] = Task) -> Callable[[type[D]], type[D]]:
    """Register a data set with MMF under a name, for ``datasets: NAME`` and ``dataset_config.NAME``.

    Args:
        name: the task's name.
        options: schema of ``dataset_config.NAME``, :class:`~mmf_muvla.options.data.Task` or a subclass of it; every
            option has a default.
    """

    def register(dataset_class: type[D]) -> type[D]:
        content = {"name": name, "options_schema": options, "dataset_class": dataset_class}
        registry.register_builder(name)(type(f"{dataset_class.__name__}Builder", (TaskBuilder,), content))
        return dataset_class

    return register


class TaskLoss(nn.Module):
    """The mean of a loss over the labelled samples of a batch, 0 where none is."""

    sample_losses: ClassVar[Callable[[Tensor, Tensor], Tensor]]

    def forward(self, sample_list: Mapping[str, Any], model_output: Mapping[str, Any]) -> Tensor:
        """From ``targets`` and ``labelled`` (bool [B]) of the batch and ``scores`` of the model, a scalar."""
        labelled = sample_list["labelled"]
        losses = type(self).sample_losses(model_output["scores"], sample_list["targets"])
        return (losses * labelled).sum() / labelled.sum().clamp(min=1)


def register_loss(name: str) -> Callable[[SampleLosses], SampleLosses]:
    """Register a function of scores and targets with MMF as a loss; it returns the loss of each sample, float [B]."""

    def register(sample_losses: SampleLosses) -> SampleLosses:
        registry.register_loss(name)(type(name, (TaskLoss,), {"sample_losses": staticmethod(sample_losses)}))
        return sample_losses

    return register


@register_loss("muvla_cross_entropy")
def class_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each sample, the loss of NLVR2 and SNLI-VE.

    Args:
        scores: logits, float [B, classes].
        targets: int [B]; any negative number has the value 0.

    Returns:
        float [B].
    """
    return F.cross_entropy(scores.float(), targets.clamp(min=-1), ignore_index=-1, reduction="none")
