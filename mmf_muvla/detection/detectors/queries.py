"""Detectors of ``transformers``: what they have in common, and those that know their own names.

All of them work with queries (places in the picture, learned or found): each has a state, out of which the model makes
the logits of classes and a box. The library's post-processing turns these into detections, but does not say which query
each came from; so it is given a second copy, in which boxes say that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection
from transformers.utils import logging as library_logging

from mmf_muvla.detection.detectors.detector import Detections, Detector, Inputs, refuse_options
from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained

# Of a picture that is looked at several times, with other names each time, the best detections are kept.
_MOST_DETECTIONS = 1000
# Lower than any score: all detections are given.
_NO_THRESHOLD = -1.0


class Queries(NamedTuple):
    """What a model says of the queries of several pictures, for some of the names."""

    logits: torch.Tensor  # [pictures, queries, names, and "nothing" where the model has that]
    boxes: torch.Tensor  # centre x and y, width, height as shares of the picture's sides [pictures, queries, 4]
    states: torch.Tensor  # [pictures, queries, feature_dim]
    first_name: int = 0  # the place of the first of the names among all


class TransformersDetector(Detector):
    """A detector of ``transformers``.

    Args:
        name, vocabulary, options: see :class:`~mmf_muvla.detection.detectors.detector.Detector`; there are no options.
        config: the model's configuration.
    """

    auto_model: Any  # the library's class that loads the model

    def __init__(self, name: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any], config: Any):
        super().__init__(name, vocabulary, options)
        refuse_options(self)
        self.config = config
        self._source = resolve_pretrained(name, "detector")

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        # A bar for every process says nothing.
        was_shown = library_logging.is_progress_bar_enabled()
        library_logging.disable_progress_bar()
        try:
            # What computes in half precision does so where it may: weights, boxes and scores stay in full.
            self._model = self._load(self.auto_model, dtype=torch.float32).to(device).eval()
            self._load_processor()
        finally:
            if was_shown:
                library_logging.enable_progress_bar()

    def _load_processor(self) -> None:
        self._image_processor = self._load(AutoImageProcessor)

    def prepare(self, picture: Image.Image) -> Inputs:
        try:
            return dict(self._image_processor(images=[picture], return_tensors="pt"))
        except MemoryError:  # is no fault of the picture
            raise
        # A picture of one pixel, or of one column, is more than many processors expect.
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def detect(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        inputs = {name: tensor.to(self._device, non_blocking=True) for name, tensor in inputs.items()}
        found: list[Detections] | None = None
        with torch.inference_mode():
            for queries in self._looks(inputs):
                more = read_queries(self._image_processor, queries, sizes)
                found = more if found is None else list(map(_best_of, found, more))
        return found or []

    def _looks(self, inputs: Inputs) -> Iterator[Queries]:
        """What the model says of its queries, for some of the names each time."""
        with self._half_precision():
            yield self._look(inputs)

    def _look(self, inputs: Inputs) -> Queries:
        """The same, where it takes all names at once."""
        raise NotImplementedError

    def _half_precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)

    def _load(self, auto: Any, **options: Any) -> Any:
        return load_pretrained(auto, self.name, **options)


class QueryDetector(TransformersDetector):
    """What ``AutoModelForObjectDetection`` loads: DETR and its successors, YOLOS. They know names of their own."""

    auto_model = AutoModelForObjectDetection

    def __init__(self, name: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any], config: Any):
        super().__init__(name, vocabulary, options, config)
        if vocabulary is not None:
            problem = f"detector {name} knows names of its own, which cannot be others"
            raise InputError("vocabulary", problem, "Leave it out, or use an open-vocabulary detector")
        labels = {int(number): str(label) for number, label in config.id2label.items()}
        self.names = [labels.get(number, f"class {number}") for number in range(max(labels, default=-1) + 1)]
        self.feature_dim = config.hidden_size

    def _look(self, inputs: Inputs) -> Queries:
        outputs = self._model(**inputs)
        logits, boxes, states = (getattr(outputs, it, None) for it in ("logits", "pred_boxes", "last_hidden_state"))
        if logits is None or boxes is None or states is None:
            problem = f"{type(self._model).__name__} has no queries with a class, a box and a state each"
            raise InputError(f"detector={self.name}", problem, "Use another detector")
        # YOLOS's queries stand behind the patches of the picture.
        return Queries(logits, boxes, states[:, -logits.shape[1] :])


def load_pretrained(auto: Any, name: str, **options: Any) -> Any:
    """What ``auto``, a class of ``transformers``, loads from a folder or the hub; an InputError where it cannot."""
    source = resolve_pretrained(name, "detector")
    try:
        # A folder is whole or an error, and no code of anybody's is run.
        local = Path(source).exists()
        return auto.from_pretrained(source, local_files_only=local, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        problem = f"no detector can be loaded from there ({' '.join(str(error).split())[:300]})"
        remedy = "Give a hub name, or a folder as transformers saves it, processor included"
        raise InputError(f"detector={name}", problem, remedy) from error


def read_queries(processor: Any, queries: Queries, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
    """All detections of the library's post-processing, for each picture, with the states that they came from."""
    logits, boxes, states = (tensor.float() for tensor in queries[:3])
    num_pictures, num_queries = logits.shape[:2]
    # The second time, a box is a point that says its query's number, in a picture of size 1.
    numbers = (torch.arange(num_queries, device=boxes.device) + 0.5) / num_queries
    points = torch.stack([numbers, numbers, torch.zeros_like(numbers), torch.zeros_like(numbers)], dim=1)
    seen, numbered = (
        # In one batch, equal logits could be rounded differently, by where they stand.
        processor.post_process_object_detection(
            SimpleNamespace(logits=logits, pred_boxes=given), _NO_THRESHOLD, torch.tensor(scale, device=boxes.device)
        )
        for given, scale in (
            (boxes, [(float(height), float(width)) for width, height in sizes]),
            (points.expand(num_pictures, -1, -1), [(1.0, 1.0)] * num_pictures),
        )
    )
    detections = []
    for picture, (found, number) in enumerate(zip(seen, numbered, strict=True)):
        chosen = (number["boxes"][:, 0] * num_queries - 0.5).round().long()
        if not torch.equal(found["scores"], number["scores"]) or not torch.equal(found["labels"], number["labels"]):
            raise InputError(f"{type(processor).__name__}", "says different things of equal logits", "Use the CPU")
        detections.append(
            Detections(
                found["boxes"].cpu().numpy(),
                found["labels"].cpu().numpy().astype(np.int64) + queries.first_name,
                found["scores"].cpu().numpy(),
                states[picture, chosen].cpu().numpy(),
            )
        )
    return detections


def _best_of(found: Detections, more: Detections) -> Detections:
    names = ("boxes", "labels", "scores", "features")
    together = Detections(*(np.concatenate([getattr(it, name) for it in (found, more)]) for name in names))
    return together[np.argsort(-together.scores, kind="stable")[:_MOST_DETECTIONS]]
