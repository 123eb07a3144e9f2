"""What a detector has to be, which ones there are, and how one is found by its name.

A user's own is a subclass of :class:`Detector`, named as ``detector=my_package.my_detector:MyDetector``. A library's
gets a line in :data:`DETECTORS`, and is named ``LIBRARY:NAME``; what has no such beginning is one of ``transformers``.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmf_muvla.artifacts.files import fingerprint
from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained

if TYPE_CHECKING:
    import torch
    from PIL import Image

DETECTORS = {
    "transformers": "mmf_muvla.detection.detectors.choosing:transformers_detector",
    "torchvision": "mmf_muvla.detection.detectors.faster_rcnn:FasterRcnn",
}
_LIBRARY = "transformers"

# A picture as a detector takes it: tensors by name, each with a first dimension of 1.
Inputs = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class Detections:
    """What a detector finds in one picture, in any order, all that its library's post-processing gives."""

    boxes: np.ndarray  # x1, y1, x2, y2 in pixels of the picture, float32 [n, 4]; may leave the picture
    labels: np.ndarray  # places in the detector's ``names``, int64 [n]
    scores: np.ndarray  # confidences, float32 [n]
    features: np.ndarray  # float32 [n, feature_dim]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: np.ndarray) -> Detections:
        """Some of them, by number."""
        return Detections(self.boxes[chosen], self.labels[chosen], self.scores[chosen], self.features[chosen])


class Detector(ABC):
    """A detector. It is made in the process that starts the work, to be asked for ``names`` and ``feature_dim``, and
    pickled to those that do it, where it is loaded.

    Args:
        name: what stands behind ``LIBRARY:`` in the option ``detector``; of a class of yours, all of that option.
        vocabulary: the names to look for, where the user gives any; a detector that knows names of its own refuses
            them.
        options: ``detector_options``.
    """

    names: Sequence[str]  # of object classes
    feature_dim: int  # numbers per feature

    def __init__(self, name: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any]):
        self.name = name
        self.vocabulary = vocabulary
        self.options = options

    @classmethod
    def fingerprint(cls, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """What identifies the detector beside its options, as JSON: what is made with it is made anew if it changes."""
        return {name: "by name"}

    @abstractmethod
    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """Load the weights. Called once in each process that detects."""

    @abstractmethod
    def prepare(self, picture: Image.Image) -> Inputs:
        """Tensors out of a picture in RGB, on the CPU; a ValueError where it has a shape that cannot be used.

        Threads call this at the same time.
        """

    @abstractmethod
    def detect(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detect in several pictures.

        Args:
            inputs: what :meth:`prepare` has made of pictures that then had equal shapes, one behind the other.
            sizes: the pictures' widths and heights.
        """


def open_detector(option: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any]) -> Detector:
    """The detector that an option ``detector`` names, not loaded yet; an InputError where there is none."""
    found, name = _find(option)
    return found(name, vocabulary, options)


def detector_fingerprint(option: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """See :meth:`Detector.fingerprint`; weights in a folder are looked at."""
    found, name = _find(option)
    if isinstance(found, type) and issubclass(found, Detector):
        return found.fingerprint(name, options)
    path = Path(resolve_pretrained(name, "detector"))
    return {option: fingerprint(path) if path.exists() else "by name"}


def is_own_class(option: str) -> bool:
    """Whether an option ``detector`` names a class of somebody's, whose module is imported to find it."""
    return _library_of(option)[0] not in DETECTORS


def _library_of(option: str) -> tuple[str, str]:
    """The library that an option names, and what it says to it."""
    library, colon, name = option.partition(":")
    if not colon or library == "package" or Path(option).exists():
        return _LIBRARY, option
    return library, name


def _find(option: str) -> tuple[Any, str]:
    library, name = _library_of(option)
    where = f"detector={option}"
    known = f"a hub name, a folder, {', '.join(f'{it}:NAME' for it in DETECTORS)}, or my_package.my_detector:MyDetector"
    try:
        found = pkgutil.resolve_name(DETECTORS.get(library, option))
    except (ImportError, AttributeError, ValueError) as error:
        remedy = f"Give {known}; of a class of yours, put the folder of its package into PYTHONPATH"
        raise InputError(where, f"cannot be imported ({error})", remedy) from error
    if library in DETECTORS:
        return found, name
    if not (isinstance(found, type) and issubclass(found, Detector)):
        problem = "is no subclass of mmf_muvla.detection.detectors.detector.Detector"
        raise InputError(where, problem, f"Give {known}")
    return found, option


def refuse_options(detector: Detector, allowed: Sequence[str] = ()) -> None:
    """Refuse ``detector_options`` that a detector does not have: an InputError."""
    for name in detector.options:
        if name not in allowed:
            remedy = f"It has {', '.join(allowed)}" if allowed else "It has none"
            raise InputError(f"detector_options.{name}", f"{detector.name} has no such option", remedy)
