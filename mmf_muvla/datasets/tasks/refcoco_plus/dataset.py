"""RefCOCO+: which region of an image does an expression refer to?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmf_muvla.datasets.collate import pad
from mmf_muvla.datasets.tasks.task import (
    TaskDataset,
    TaskRecord,
    TaskSample,
    number_of,
    register_loss,
    register_task,
    text_of,
)
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.regions.boxes import intersection_over_union

RIGHT_ABOVE = 0.5  # a region is right where its intersection over union with the target is larger (paper section 4)


@dataclass(frozen=True, slots=True)
class ExpressionRecord(TaskRecord):
    """An expression for one thing in an image."""

    sent_id: int  # the data set's number of the expression
    ref_id: int  # and of the thing
    bbox: tuple[float, float, float, float] | None  # the thing's, x1, y1, x2, y2 in pixels of the original image
    target_regions: tuple[int, ...] | None  # the right regions' indices, used where there is no box


@register_loss("muvla_grounding")
def grounding(scores: Tensor, right: Tensor) -> Tensor:
    """Minus the logarithm of the probability, by a softmax over regions, that a right region is chosen.

    From ``scores`` float [B, R], minus infinity at padding, and the ``right`` regions, bool [B, R], any number of them.
    The result, float [B], is 0, without gradient, where no region is right.
    """
    scores = scores.float()
    # Where nothing is right everything is: then the two terms are the same, and so are their gradients.
    right = right | ~right.any(dim=1, keepdim=True)
    return scores.logsumexp(dim=1) - scores.masked_fill(~right, -torch.inf).logsumexp(dim=1)


@register_task("refcoco_plus")
class RefCOCOPlusDataset(TaskDataset[ExpressionRecord]):
    """Referring expressions with their image's regions, from jsonl.

    A line has ``sent_id``, ``ref_id``, ``sentence``, the image as ``image_id`` or as ``file_name`` (then its name
    without folders and ending), and the target as ``bbox`` or as ``target_regions``.
    """

    def read_records(self) -> Iterator[ExpressionRecord]:
        for line, entry in read_json_lines(self.path):
            where = f"{self.path}, line {line}"
            bbox, regions = _box(entry.get("bbox"), where), _indices(entry.get("target_regions"), where)
            yield ExpressionRecord(
                place=line,
                text=text_of(entry, "sentence", where),
                images=(_image_key(entry, where),),
                labelled=bbox is not None or regions is not None,
                sent_id=number_of(entry, "sent_id", where),
                ref_id=number_of(entry, "ref_id", where),
                bbox=bbox,
                target_regions=regions,
            )

    def right_regions(self, sample: TaskSample[ExpressionRecord]) -> NDArray[np.bool_]:
        """Which of the image's regions are right, bool [n]; none of them where the target is not known."""
        record, boxes = sample.record, sample.images[0].bbox
        if record.bbox is not None:
            return intersection_over_union(boxes, record.bbox) > RIGHT_ABOVE
        right = np.zeros(len(boxes), bool)
        indices = list(record.target_regions or ())
        if indices and max(indices) >= len(boxes):
            raise InputError(
                self.where(record),
                f"target_regions has {max(indices)}, image {record.images[0]} has {len(boxes)} regions",
                "The indices are those of other region features: give these, or the target as bbox",
            )
        right[indices] = True
        return right

    def targets(self, samples: Sequence[TaskSample[ExpressionRecord]]) -> dict[str, Tensor]:
        """``targets`` bool [B, R], the right regions."""
        return {"targets": pad([self.right_regions(sample) for sample in samples], False, torch.bool)}

    def format_for_prediction(self, report: Any) -> list[list[float]]:
        """The box chosen for each sample of a batch, x, y, width and height in pixels."""
        boxes, chosen = report["bbox"].cpu(), report["chosen_region"].cpu()
        corners = boxes[torch.arange(len(boxes)), chosen]
        return torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()

    def submission(self, record: ExpressionRecord, prediction: list[float]) -> dict[str, Any]:
        return {"sent_id": record.sent_id, "ref_id": record.ref_id, "bbox": prediction}


def _image_key(entry: dict[str, Any], where: str) -> str:
    if "image_id" in entry:
        value = entry["image_id"]
        return str(value) if type(value) is int else text_of(entry, "image_id", where)
    return PurePosixPath(text_of(entry, "file_name", where)).stem


def _box(value: Any, where: str) -> tuple[float, float, float, float] | None:
    if value is None:
        return None
    remedy = "Give [x1, y1, x2, y2] in pixels, x1 < x2 and y1 < y2 (COCO's own boxes have width and height instead)"
    # The largest side is in pixels, and less than what is not finite.
    is_box = isinstance(value, list) and len(value) == 4
    if not is_box or not all(type(side) in (int, float) and abs(side) < 1e6 for side in value):
        raise InputError(where, f"bbox is {shown(value, 80)}", remedy)
    x1, y1, x2, y2 = map(float, value)
    if not (x1 < x2 and y1 < y2):
        raise InputError(where, f"bbox is {shown(value, 80)}, which is empty", remedy)
    return x1, y1, x2, y2


def _indices(value: Any, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(v) is int and v >= 0 for v in value):
        remedy = "Give a list of region numbers from 0, maybe empty"
        raise InputError(where, f"target_regions is {shown(value, 80)}", remedy)
    return tuple(value)
