"""The detected regions of one image: the one shape that they have from the files of a detector to the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmf_muvla.errors import InputError

# The limit of LMDB, in which other programs keep images by their ids.
_MAX_ID_BYTES = 511


@dataclass(frozen=True)
class Regions:
    """The detected regions of one image."""

    image_id: str
    width: int  # of the image, in pixels
    height: int
    image_feature_0: np.ndarray  # region features, float16 [n, d]
    bbox: np.ndarray  # x1, y1, x2, y2 in pixels, inside the image, float32 [n, 4]
    class_id: np.ndarray  # index into a list of object names, -1 where no class is known, int32 [n]
    attribute_id: np.ndarray  # index into a list of attribute names, -1 where no attribute is known, int32 [n]
    confidence: np.ndarray  # the detector's confidence in the class, float32 [n]

    def __len__(self) -> int:
        return len(self.class_id)

    def tags(self, object_names: Sequence[str], attribute_names: Sequence[str]) -> list[str]:
        """The object tag of every region: its class name, behind its attribute where that is known ("red car")."""
        return tag_texts(self.class_id, self.attribute_id, object_names, attribute_names)

    def check(self, feature_dim: int, num_objects: int, num_attributes: int) -> None:
        """Refuse an id that no image can have, arrays that do not fit each other, and ids without a name."""
        where, n = f"image {self.image_id}", len(self)
        problem = id_problem(self.image_id)
        if problem:
            raise InputError(where, problem, "Give the image another id")
        expected = {"image_feature_0": (n, feature_dim), "bbox": (n, 4)}
        for name in ("image_feature_0", "bbox", "class_id", "attribute_id", "confidence"):
            shape = expected.get(name, (n,))
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(where, f"{name} has shape {found}, expected {shape}", "Correct the arrays")
        for name, count in (("class_id", num_objects), ("attribute_id", num_attributes)):
            ids = getattr(self, name)
            if n and not (ids.min() >= -1 and ids.max() < count):
                problem = f"{name} reaches from {ids.min()} to {ids.max()}, but there are {count} names"
                raise InputError(where, problem, "Correct it")


def tag_texts(
    class_ids: np.ndarray, attribute_ids: np.ndarray, object_names: Sequence[str], attribute_names: Sequence[str]
) -> list[str]:
    """Tags as text, see :meth:`Regions.tags`; a region without a class has an empty one."""
    tags = []
    for class_id, attribute_id in zip(class_ids.tolist(), attribute_ids.tolist(), strict=True):
        name = object_names[class_id] if class_id >= 0 else ""
        tags.append(name if attribute_id < 0 else f"{attribute_names[attribute_id]} {name}")
    return tags


def id_problem(image_id: str) -> str | None:
    """Why a text cannot be an image's id, or ``None`` where it can."""
    if not image_id or "\n" in image_id:
        return f"{image_id!r} cannot be an image id: it is empty or has a line break"
    try:
        length = len(image_id.encode())
    except UnicodeEncodeError:
        return f"{image_id!r} cannot be an image id: it is no valid Unicode text"
    if length > _MAX_ID_BYTES:
        return f"the id has {length} bytes, at most {_MAX_ID_BYTES} are possible"
    return None


def image_digests(image_ids: Sequence[str]) -> np.ndarray:
    """What stands for each image where all ids would need too much memory, uint64 [n]."""
    joined = b"".join(hashlib.blake2b(image_id.encode(), digest_size=8).digest() for image_id in image_ids)
    return np.frombuffer(joined, np.uint64).copy()
