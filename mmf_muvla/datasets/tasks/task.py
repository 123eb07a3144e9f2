"""What the tasks share: annotations with texts and image ids, regions, checks, batches, predictions, losses.

A task is a subclass of :class:`TaskDataset` that :func:`register_task` makes a data set of MMF, also from a user's own
package (``docs/finetuning.md``). What is wrong with a record is found when it is loaded, not in the middle of a run.
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
from mmf_muvla.options.checking import check
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
    """What every task's record has; a task adds its own fields."""

    place: int  # line or entry number in the annotation file, for errors
    text: str  # the question, sentence, hypothesis or expression
    images: tuple[str, ...]  # keys of its images, one or two
    labelled: bool  # whether its target is known


R = TypeVar("R", bound=TaskRecord)


@dataclass(frozen=True)
class TaskSample(Generic[R]):
    """One sample as arrays."""

    record: R
    input_ids: Ints  # int [T], [CLS] text [SEP]
    images: tuple[Regions, ...]  # in the record's order


class TaskDataset(BaseDataset, Generic[R]):
    """Texts with their images' regions and targets, from one annotation file and one source of regions.

    Records without a label are left out of the training split, and kept elsewhere: predictions are made for them, and
    losses and scores pass them over.

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
        features = config.features[dataset_type]
        if not features:
            where = f"dataset_config.{dataset_name}.features.{dataset_type}"
            remedy = "Name a region store, or a feature folder or LMDB of MMF"
            raise InputError(where, "not given, though the split has annotations", remedy)
        self.images = open_images(features, config.feature_dim)
        self.words = WordPieces(config.tokenizer)
        self.left_out = {"without a label": 0, "without regions": 0}
        self.records: list[R] = self._usable(self.read_records())
        for reason, count in self.left_out.items():
            if count:
                log_message(f"{self.path}: {count:,} records {reason} left out", "warning")

    def read_records(self) -> Iterable[R]:
        """The annotation file's records, in its order, labels checked."""
        raise NotImplementedError

    def targets(self, samples: Sequence[TaskSample[R]]) -> dict[str, Tensor]:
        """``targets`` of a batch, and whatever else scores and predictions need: tensors whose first dimension is B."""
        raise NotImplementedError

    def submission(self, record: R, prediction: Any) -> Any:
        """What a submission says of a record, of which :meth:`format_for_prediction` gave the prediction.

        It is a value in a JSON list, or, where :attr:`prediction_suffix` is another one, a line of text.
        """
        return prediction

    def write_predictions(self, path: Path, predictions: Sequence[Any]) -> None:
        """Write the predictions of the whole split, which are in the order of the records."""
        content = [self.submission(record, it) for record, it in zip(self.records, predictions, strict=True)]
        if self.prediction_suffix == ".json":
            write_json(path, content)
        else:
            with publish_file(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in content), encoding="utf-8")

    def where(self, record: TaskRecord) -> str:
        """The record's place, for errors."""
        return f"{self.path}, {self.entry} {record.place}"

    def _usable(self, records: Iterable[R]) -> list[R]:
        """The records that can be used; others are errors, or left out and counted."""
        usable = []
        known: dict[str, bool] = {}  # an image serves several records
        first_without: R | None = None
        for record in records:
            problem = text_problem(record.text) if record.text.strip() else "is empty"
            if problem:
                raise InputError(self.where(record), f"its text {problem}", f"Mend or remove the {self.entry}")
            for key in record.images:
                if key not in known:
                    known[key] = key in self.images
            if not all(known[key] for key in record.images):
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
            problem = f"there is nothing to use in it{f' ({reasons})' if reasons else ''}"
            remedy = f"Give the annotations and the regions of the {self.dataset_type} split"
            raise InputError(self.path, problem, remedy)
        return usable

    def _judge_images(self, known: dict[str, bool], first_without: R) -> None:
        """Say whether these are the wrong features, or some are missing, and of which record first."""
        absent = next(key for key in first_without.images if not known[key])
        unknown = sum(not is_known for is_known in known.values())
        theirs = self.images.first_key()
        difference = image_keys.difference(absent, str(self.images.path), theirs)
        if unknown == len(known):
            problem = f"none of its {unknown:,} images is in {self.images.path}: {difference}"
            raise InputError(self.path, problem, image_keys.remedy(absent, theirs))
        if self.config.missing_images == "error":
            others = f", nor are {unknown - 1:,} others of {len(known):,} images" if unknown > 1 else ""
            problem = f"image {absent} is not in {self.images.path}{others}"
            right = f"name the right dataset_config.{self.dataset_name}.features, or set missing_images=skip there"
            raise InputError(
                self.where(first_without), problem, f"Import its regions (tools/import_regions.py), {right}"
            )
        if 2 * unknown > len(known):
            log_message(f"{self.path}: {unknown:,} of {len(known):,} images are unknown: {difference}", "warning")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | tuple[int, int]) -> TaskSample[R]:
        """One sample; a key ``(epoch, item)`` gives the item, which does not change with the epoch."""
        record = self.records[key[1] if isinstance(key, tuple) else key]
        vocabulary = self.words.vocabulary
        tokens, _ = self.words(record.text, self.config.max_text_tokens)
        input_ids = np.concatenate([[vocabulary.cls_id], tokens, [vocabulary.sep_id]])
        return TaskSample(record, input_ids, tuple(self.images.get(image) for image in record.images))

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> SampleList:
        """A whole batch, padded to its own longest text and largest number of regions.

        Returns:
            ``input_ids`` int [B, T], ``attention_mask`` bool [B, T], ``labelled`` bool [B], what :meth:`targets` gives,
            and the fields of :func:`~mmf_muvla.datasets.collate.collate_images`, of two images a sample as [B, 2, …].
        """
        samples = [self[key] for key in keys]
        texts = [sample.input_ids for sample in samples]
        return SampleList(
            {
                **image_fields([sample.images for sample in samples]),
                "input_ids": pad(texts, self.words.vocabulary.pad_id, torch.long),
                "attention_mask": lengths_to_mask([len(text) for text in texts]),
                "labelled": torch.tensor([sample.record.labelled for sample in samples]),
                **self.targets(samples),
            }
        )


def image_fields(images: Sequence[tuple[Regions, ...]]) -> dict[str, Any]:
    """The fields of :func:`~mmf_muvla.datasets.collate.collate_images`; of n > 1 images a sample as [B, n, …]."""
    fields = collate_images([image for of_sample in images for image in of_sample])
    per_sample = len(images[0])
    if per_sample == 1:
        return fields
    ids = fields.pop("image_id")
    grouped: dict[str, Any] = {name: it.unflatten(0, (len(images), per_sample)) for name, it in fields.items()}
    return {**grouped, "image_id": list(zip(*(ids[side::per_sample] for side in range(per_sample)), strict=True))}


D = TypeVar("D", bound=TaskDataset[Any])
SampleLosses = Callable[[Tensor, Tensor], Tensor]


class TaskBuilder(Builder):
    """Builder of a task; a split without annotations is no split. Tokenizer and feature size are the encoder's."""

    options_schema: ClassVar[type[Options]]
    dataset_class: ClassVar[type[TaskDataset[Any]]]

    def load(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> TaskDataset[Any] | None:
        run = registry.get("config", no_warning=True)
        trunk = OmegaConf.select(run, "model_config.muvla.trunk") if run else None
        of_trunk = {"tokenizer": trunk.pretrained, "feature_dim": trunk.feature_dim} if trunk else {}
        given: Any = OmegaConf.to_container(config, resolve=True)
        prefix = f"dataset_config.{self.name}."
        options: Any = check(self.options_schema, {**of_trunk, **given}, lambda key: "configuration", prefix)
        if not getattr(options.annotations, dataset_type, None):
            return None
        dataset = self.dataset_class(self.name, OmegaConf.create(asdict(options)), dataset_type)
        if dataset.num_labels is not None:
            registry.register("muvla_num_labels", dataset.num_labels)
        return dataset


def register_task(name: str, options: type[Options] = Task) -> Callable[[type[D]], type[D]]:
    """Register a data set with MMF under a name, for ``datasets: NAME`` and ``dataset_config.NAME``.

    The schema of its options is :class:`~mmf_muvla.options.data.Task` or a subclass of it, with defaults for all.
    """

    def register(dataset_class: type[D]) -> type[D]:
        content = {"name": name, "options_schema": options, "dataset_class": dataset_class}
        registry.register_builder(name)(type(f"{dataset_class.__name__}Builder", (TaskBuilder,), content))
        return dataset_class

    return register


def register_loss(name: str) -> Callable[[SampleLosses], SampleLosses]:
    """Register a function of scores and targets with MMF as a loss: the mean over the labelled samples of a batch.

    The function returns the loss of each sample, float [B]. Where no sample is labelled the mean is 0.
    """

    def register(sample_losses: SampleLosses) -> SampleLosses:
        class TaskLoss(nn.Module):
            def forward(self, sample_list: Mapping[str, Any], model_output: Mapping[str, Any]) -> Tensor:
                labelled = sample_list["labelled"]
                losses = sample_losses(model_output["scores"], sample_list["targets"])
                return (losses * labelled).sum() / labelled.sum().clamp(min=1)

        registry.register_loss(name)(TaskLoss)
        return sample_losses

    return register


@register_loss("muvla_cross_entropy")
def class_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """The loss of NLVR2 and SNLI-VE, float [B], from float [B, classes] and int [B]; 0 where a target is negative."""
    return F.cross_entropy(scores.float(), targets.clamp(min=-1), ignore_index=-1, reduction="none")
