"""What the data sets of the tasks share: annotations with texts and image ids, regions, checks, batches, predictions.

A task subclasses :class:`TaskDataset`: it reads its records, says what their targets are, and how its benchmark wants
predictions. What is wrong with a record is found when the data set is loaded, not in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from mmf.common.sample import SampleList
from mmf.datasets.base_dataset import BaseDataset
from torch import Tensor

from mmf_muvla.artifacts.files import write_json
from mmf_muvla.compat.messages import log_message
from mmf_muvla.datasets.collate import ImageArrays, collate_images, lengths_to_mask, pad
from mmf_muvla.datasets.images import open_images
from mmf_muvla.datasets.tasks.conversion import image_keys
from mmf_muvla.datasets.tasks.conversion.values import shown, text_problem
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.masking import Ints
from mmf_muvla.objectives.tokens import WordPieces

UNLABELLED = -1  # the target of a sample whose label is not known: no loss, no part in any score
MISSING_IMAGES = ("error", "skip")


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
    images: tuple[ImageArrays, ...]


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
        if self.missing_images not in MISSING_IMAGES:
            raise InputError(
                f"dataset_config.{dataset_name}.missing_images",
                f"unknown value {self.missing_images!r}",
                f"Choose {' or '.join(MISSING_IMAGES)}",
            )
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


def text_of(record: dict[str, Any], key: str, where: str) -> str:
    """A string field that must be there.

    Raises:
        InputError: it is absent, or no string.
    """
    value = record.get(key)
    if not isinstance(value, str):
        raise InputError(where, f"{key} is {shown(value)}, not a string", "Mend or remove the line")
    return value


def number_of(record: dict[str, Any], key: str, where: str) -> int:
    """A whole-number field that must be there.

    Raises:
        InputError: it is absent, or no whole number.
    """
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(where, f"{key} is {shown(value)}, not a whole number", "Mend or remove the line")
    return value
