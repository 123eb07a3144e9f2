"""Retrieval: which caption belongs to an image, and which image to a caption?

Learned from true pairs and drawn ones, and evaluated by ranking: every image with every caption of a split.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mmf.common.registry import registry
from mmf.common.sample import SampleList
from torch import Tensor
from torch.nn import functional as F

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.datasets.collate import collate_image_tuples, lengths_to_mask, pad
from mmf_muvla.datasets.pretraining import registered_epoch
from mmf_muvla.datasets.tasks.retrieval.ranking import Captions
from mmf_muvla.datasets.tasks.task import (
    TaskDataset,
    TaskRecord,
    number_of,
    register_loss,
    register_task,
    text_of,
)
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.masking import Ints
from mmf_muvla.options.data import Retrieval
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.regions.regions import Regions

_DRAWS = 1000  # tries before it is said that there is nothing to draw


@dataclass(frozen=True, slots=True)
class CaptionRecord(TaskRecord):
    """A caption of an image."""

    caption_id: int  # the data set's number of the caption


@dataclass(frozen=True)
class PairsSample:
    """A true pair, and others to be told from it: the own text and the own image come first, then drawn ones."""

    record: CaptionRecord
    texts: tuple[Ints, ...]  # int [T] each, [CLS] text [SEP]
    images: tuple[Regions, ...]  # as many


@register_loss("muvla_matching_bce")
def matching_bce(scores: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of true and drawn pairs, the mean over a sample's: float [B, P] twice -> float [B]."""
    return F.binary_cross_entropy_with_logits(scores.float(), targets, reduction="none").mean(dim=1)


class RetrievalDataset(TaskDataset[CaptionRecord]):
    """Captions with their images, from jsonl with ``image_id`` and ``caption``, and ``sentid``, its number (without one
    it is that of the line).

    What is drawn for a caption depends on (seed, epoch, caption) alone. No drawn text is one of the image's own, and no
    drawn image one that has this text, too.
    """

    prediction_suffix: ClassVar[str] = ".jsonl"

    def __init__(self, dataset_name: str, config: Any, dataset_type: str):
        super().__init__(dataset_name, config, dataset_type)
        run = registry.get("config", no_warning=True)
        self.seed = int(run.training.seed) if run else 0
        self.captions = Captions.of([(it.images[0], it.text, it.caption_id) for it in self.records])
        if len(self.captions.image_ids) < 2:
            problem = f"has captions of one image only ({self.captions.image_ids[0]}), so that none can be told apart"
            raise InputError(self.path, problem, "Give captions of two images or more")
        if config.folds > len(self.captions.image_ids):
            where = f"dataset_config.{dataset_name}.folds={config.folds}"
            problem = f"{self.path} has {len(self.captions.image_ids)} images"
            raise InputError(where, problem, "Give a smaller number")
        self._texts_of = _grouped(self.captions.image, self.captions.text)
        self._images_of = _grouped(self.captions.text, self.captions.image)

    def read_records(self) -> Iterator[CaptionRecord]:
        for line, entry in read_json_lines(self.path):
            where = f"{self.path}, line {line}"
            key = entry.get("image_id")
            yield CaptionRecord(
                place=line,
                text=text_of(entry, "caption", where),
                images=(str(key) if type(key) is int else text_of(entry, "image_id", where),),
                labelled=True,
                caption_id=number_of(entry, "sentid", where) if "sentid" in entry else line,
            )

    @cached_property
    def pools(self) -> list[Captions]:
        """What is ranked: one pool, or ``folds`` of them, over which values are averaged. Of a validation split it is a
        part, ``validation_images`` drawn by the seed, where it has more."""
        captions, most = self.captions, self.config.validation_images
        if self.dataset_type == "val" and most and most < (count := len(captions.image_ids)):
            drawn = np.random.default_rng((self.seed, count)).choice(count, most, replace=False)
            return [captions.part(np.sort(drawn))]
        return captions.folds(self.config.folds)

    def tokens(self, text: str) -> Ints:
        """[CLS] text [SEP], int [T]."""
        return self.words.input_ids(text, self.config.max_text_tokens)

    def __getitem__(self, key: int | tuple[int, int]) -> PairsSample:  # type: ignore[override]
        """One sample, for a key ``(epoch, item)``, or an item of the epoch that MMF's registry knows."""
        epoch, number = key if isinstance(key, tuple) else (registered_epoch(), key)
        training = self.dataset_type == "train"
        drawn = self.config.negatives * (self.config.hardest_of if training else 1)
        texts, images = self.draw(number, epoch if training else 0, drawn)
        captions, record = self.captions, self.records[number]
        return PairsSample(
            record,
            tuple(self.tokens(text) for text in (record.text, *(captions.texts[text] for text in texts))),
            tuple(map(self.images.get, (record.images[0], *(captions.image_ids[image] for image in images)))),
        )

    def draw(self, number: int, epoch: int, count: int) -> tuple[list[int], list[int]]:
        """Numbers of texts, and of images, that do not belong to a caption, as they are drawn for it in an epoch.

        A text is drawn as that of any caption, so that one is as often wrong as it is right.
        """
        rng = np.random.default_rng((self.seed, epoch, number))
        own, text, image = self.captions.text, int(self.captions.text[number]), int(self.captions.image[number])

        def drawn(total: int, of: Any, own: set[int]) -> int:
            for _ in range(_DRAWS):
                if (found := int(of(int(rng.integers(total))))) not in own:
                    return found
            problem = f"{_DRAWS} draws gave no pair of caption and image that do not belong together"
            raise InputError(self.where(self.records[number]), problem, "Give more images with different captions")

        texts = [drawn(len(own), own.__getitem__, self._texts_of[image]) for _ in range(count)]
        images = [drawn(len(self.captions.image_ids), int, self._images_of[text]) for _ in range(count)]
        return texts, images

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> SampleList:
        """A whole batch.

        Returns:
            ``input_ids`` int [B, S, T], ``attention_mask`` bool [B, S, T], the fields of
            :func:`~mmf_muvla.datasets.collate.collate_images` as [B, S, …], where S = 1 + drawn texts or images;
            ``targets`` float [B, P] of the pairs to be learned from, of which the first is the true one, and
            ``labelled`` bool [B], true.
        """
        samples = [self[key] for key in keys]
        texts = [text for sample in samples for text in sample.texts]
        size = (len(samples), len(samples[0].texts))
        targets = torch.zeros(len(samples), 1 + 2 * self.config.negatives)
        targets[:, 0] = 1
        return SampleList(
            {
                **collate_image_tuples([sample.images for sample in samples]),
                "input_ids": pad(texts, self.words.vocabulary.pad_id, torch.long).unflatten(0, size),
                "attention_mask": lengths_to_mask([len(text) for text in texts]).unflatten(0, size),
                "labelled": torch.ones(len(samples), dtype=torch.bool),
                "targets": targets,
            }
        )

    @staticmethod
    def write_lists(path: Path, lines: Iterable[dict[str, Any]]) -> None:
        """Write ranked lists, a JSON object a line; the file appears whole, or not at all."""
        with publish_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _grouped(keys: Ints, values: Ints) -> list[set[int]]:
    """The values of each key from 0 on."""
    found: list[set[int]] = [set() for _ in range(int(keys.max()) + 1)]
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        found[key].add(value)
    return found


for _name in ("flickr30k_retrieval", "coco_retrieval"):
    register_task(_name, Retrieval)(RetrievalDataset)
