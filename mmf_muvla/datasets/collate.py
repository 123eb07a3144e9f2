"""From samples to a batch, padded to the batch's own longest text and largest number of regions.

The batches are plain dictionaries of tensors whose first dimension is the sample, as MMF's ``SampleList`` wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmf_muvla.objectives.masking import IGNORE, Ints, Row
from mmf_muvla.regions.regions import Regions


@dataclass(frozen=True)
class PretrainingSample:
    """One image with the rows made from it."""

    image: Regions
    rows: dict[str, Row]  # the same names for every sample of a batch
    epoch: int  # epochs finished before this one
    weight_row: str = ""  # the row in which the matching head sees the retrieved pair, for w_ITM; "" where none does


def pad(arrays: Sequence[NDArray[Any]], value: float, dtype: torch.dtype) -> Tensor:
    """Stack arrays that differ in their first dimension, [n_i, ...] -> [B, max n, ...], filled up with ``value``."""
    longest = max(len(array) for array in arrays)
    # NumPy assigns a small array in a tenth of the time that PyTorch takes for it.
    padded = torch.empty(len(arrays), longest, *arrays[0].shape[1:], dtype=dtype)
    for row, array in zip(padded.numpy(), arrays, strict=True):
        row[: len(array)] = array
        row[len(array) :] = value
    return padded


def lengths_to_mask(lengths: Sequence[int]) -> Tensor:
    """bool [B, max length], True at the first ``lengths[i]`` places of row i."""
    return torch.arange(max(lengths)) < torch.tensor(list(lengths)).unsqueeze(1)


def collate_images(images: Sequence[Regions]) -> dict[str, Any]:
    """The image side: ``image_feature_0`` float16 [B, R, d], ``bbox`` float [B, R, 4], ``image_size`` float [B, 2],
    ``region_mask`` bool [B, R] (True at real regions), ``image_id`` list of str.
    """
    return {
        "image_feature_0": pad([image.image_feature_0 for image in images], 0, torch.float16),
        "bbox": pad([image.bbox for image in images], 0, torch.float32),
        "image_size": torch.tensor([(image.width, image.height) for image in images], dtype=torch.float32),
        "region_mask": lengths_to_mask([len(image.bbox) for image in images]),
        "image_id": [image.image_id for image in images],
    }


def collate_image_tuples(images: Sequence[tuple[Regions, ...]]) -> dict[str, Any]:
    """The fields of :func:`collate_images`; of n > 1 images a sample as [B, n, …], and ``image_id`` as n tuples."""
    fields = collate_images([image for of_sample in images for image in of_sample])
    per_sample = len(images[0])
    if per_sample == 1:
        return fields
    ids = fields.pop("image_id")
    grouped: dict[str, Any] = {name: it.unflatten(0, (len(images), per_sample)) for name, it in fields.items()}
    return {**grouped, "image_id": list(zip(*(ids[side::per_sample] for side in range(per_sample)), strict=True))}


def collate_texts(images: Sequence[tuple[Regions, ...]], texts: Sequence[Ints], pad_id: int) -> dict[str, Any]:
    """Batch texts, each with its image or its two: rows for the heads of tasks, and for matching.

    Args:
        images: of each text, the same number for all.
        texts: ``[CLS] text [SEP]``, int [T] each.
        pad_id: what fills the texts up.

    Returns:
        ``input_ids`` int [B, T], ``attention_mask`` bool [B, T], and the fields of :func:`collate_image_tuples`.
    """
    return {
        **collate_image_tuples(images),
        "input_ids": pad(texts, pad_id, torch.long),
        "attention_mask": lengths_to_mask([len(text) for text in texts]),
    }


def collate_pretraining(samples: Sequence[PretrainingSample], pad_id: int) -> dict[str, Any]:
    """Batch B pre-training samples with the same V rows each; ``pad_id`` fills the text up.

    Returns:
        The image side (see :func:`collate_images`); ``rows``, the V row names; ``input_ids``, ``mlm_labels``,
        ``token_region`` int [B, V, T]; ``attention_mask`` bool [B, V, T]; ``hidden_regions``, ``region_targets`` bool
        [B, V, R]; ``sees_regions`` bool [B, V]; ``object_class`` int [B, R]; ``object_confidence`` float [B, R];
        ``phrase_ids`` int [B, R, P]; ``epoch`` int [B]; ``weight_row`` str (see :class:`PretrainingSample`);
        ``predicts``, what the rows can have targets for (see :class:`~mmf_muvla.objectives.masking.Row`);
        ``targets`` int [B] of ones (MMF computes losses only where a batch has targets).
    """
    names = list(samples[0].rows)
    flat = [sample.rows[name] for sample in samples for name in names]

    def by_row(values: Tensor) -> Tensor:
        return values.unflatten(0, (len(samples), len(names)))

    batch = collate_images([sample.image for sample in samples])
    batch["rows"] = names
    batch["input_ids"] = by_row(pad([row.input_ids for row in flat], pad_id, torch.long))
    batch["attention_mask"] = by_row(lengths_to_mask([len(row.input_ids) for row in flat]))
    batch["mlm_labels"] = by_row(pad([row.mlm_labels for row in flat], IGNORE, torch.long))
    batch["token_region"] = by_row(pad([row.token_region for row in flat], -1, torch.long))
    batch["hidden_regions"] = by_row(pad([row.hidden_regions for row in flat], False, torch.bool))
    batch["region_targets"] = by_row(pad([row.region_targets for row in flat], False, torch.bool))
    batch["sees_regions"] = by_row(torch.tensor([row.sees_regions for row in flat]))
    batch["predicts"] = sorted({name for row in samples[0].rows.values() for name in row.predicts})
    batch["object_class"] = pad([sample.image.class_id for sample in samples], 0, torch.long)
    batch["object_confidence"] = pad([sample.image.confidence for sample in samples], 0, torch.float32)
    batch["phrase_ids"] = _phrase_ids(samples, batch["region_mask"].shape[1])
    batch["weight_row"] = samples[0].weight_row
    batch["epoch"] = torch.tensor([sample.epoch for sample in samples])
    batch["targets"] = torch.ones(len(samples), dtype=torch.long)
    return batch


def _phrase_ids(samples: Sequence[PretrainingSample], regions: int) -> Tensor:
    """The word pieces to be predicted at each region, int [B, R, P], padded with IGNORE."""
    rows = ((i, sample.rows["region_phrase"]) for i, sample in enumerate(samples) if "region_phrase" in sample.rows)
    present = [(i, j, ids) for i, row in rows for j, ids in enumerate(row.phrase_targets) if len(ids)]
    longest = max((len(ids) for _, _, ids in present), default=1)
    padded = np.full((len(samples), regions, longest), IGNORE, np.int64)
    for i, j, ids in present:
        padded[i, j, : len(ids)] = ids
    return torch.from_numpy(padded)
