"""Writes small files of features in MMF's formats, as its own scripts do: with pickle."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

FEATURE_DIM = 8
NAMES = ["dog", "car", "tree", "red bird"]


@dataclass
class MmfImage:
    """An image as MMF's first script describes it, three regions and a row of padding; all of it can be changed."""

    image_id: str
    features: Any = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(sum(self.image_id.encode()))
        if self.features is None:
            self.features = random.random((4, FEATURE_DIM)).astype(np.float32)
        probabilities = random.random((4, len(NAMES))).astype(np.float32) * 0.9
        self.info = {
            "bbox": np.array([[0, 0, 10, 20], [5, 5, 100.5, 80], [1, 2, 640, 480], [0, 0, 0, 0]], np.float32),
            "num_boxes": 3,
            "objects": np.array([2, 0, 1, 0]),
            "cls_prob": probabilities,
            "image_width": 640,
            "image_height": 480,
            **self.info,
        }

    def record(self) -> dict[str, Any]:
        """What the LMDB holds."""
        return {"feature_path": self.image_id, "features": self.features, **self.info}


def write_mmf_folder(folder: Path, images: Sequence[MmfImage]) -> Path:
    for image in images:
        path = folder / f"{image.image_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, image.features)
        np.save(info_file(folder, image.image_id), np.array(image.info, dtype=object), allow_pickle=True)
    return folder


def info_file(folder: Path, image_id: str) -> Path:
    return folder / f"{image_id}_info.npy"


def write_mmf_lmdb(
    path: Path, images: Sequence[MmfImage], protocol: int = pickle.DEFAULT_PROTOCOL, subdir: bool = True
) -> Path:
    records = {image.image_id.encode(): pickle.dumps(image.record(), protocol) for image in images}
    records[b"keys"] = pickle.dumps([image.image_id.encode() for image in images], protocol)
    return write_lmdb(path, records, subdir)


def write_lmdb(path: Path, records: dict[bytes, bytes], subdir: bool = True) -> Path:
    with (
        lmdb.open(str(path), 2**26, subdir=subdir, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, record in records.items():
            transaction.put(key, record)
    return path


def write_labels(folder: Path, names: Sequence[str] = NAMES) -> Path:
    path = folder / "labels.txt"
    path.write_text("\n".join(names) + "\n")
    return path


def set_npy_header(path: Path, **changes: Any) -> None:
    """Change what an ``.npy`` file announces, and leave its content as it is."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        content = file.read()
    header = {"shape": shape, "fortran_order": fortran_order, "descr": np.lib.format.dtype_to_descr(dtype), **changes}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(content)
