"""Pictures whose quarters are red, green, blue and white, and what the detector of the tests says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.detection.extraction import extracted_store
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.regions.store import RegionStore
from tests.detection.own_detector import QUARTERS

DETECTOR = "tests.detection.own_detector:Quarters"
SIZE = (48, 32)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8)


def quartered(size: tuple[int, int] = SIZE, colours: np.ndarray = COLOURS) -> Image.Image:
    """A picture in RGB."""
    width, height = size
    rows, columns = (np.arange(height) >= height // 2) * 2, np.arange(width) >= width // 2
    return Image.fromarray(colours[rows[:, None] + columns[None, :]])


def extract(folder: Path, images: Path | Sequence[Path], **options: Any) -> dict[str, int]:
    """Make a region store of pictures in this process, and return its counts."""
    policy = {"on_bad_record": "skip", "max_skipped_fraction": 1.0}
    policy |= {name: options.pop(name) for name in list(options) if name in policy}
    num_workers = options.pop("num_workers", 1)
    paths = [str(it) for it in ([images] if isinstance(images, Path) else images)]
    wanted = DetectionOptions(**{"images": paths, "detector": DETECTOR, "device": "cpu", **options})
    return extracted_store(folder, wanted, **policy).run(LocalExecutor(num_workers)).counts


def colours_in(store: RegionStore, image_id: str) -> np.ndarray:
    """The colours of an image's quarters as the detector has seen them, 0 to 255 [4, 3]."""
    regions = store.get(image_id)
    assert [store.object_names[it] for it in regions.class_id] == QUARTERS
    return regions.image_feature_0[:, :3].astype(np.float32) * 255


def skipped(folder: Path) -> list[Mapping[str, Any]]:
    """What a store's list of what was left out says."""
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text(encoding="utf-8").splitlines()]
