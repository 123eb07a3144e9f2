"""Small folders of detector output in VinVL's format, whole or damaged."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.artifacts.progress import PROGRESS_FILE, ProgressRecord
from mmf_muvla.pairing.commands import build_command
from tests.forked import Forked, forking_process

FEATURE_DIM = 8


@dataclass
class FakeImage:
    """An image as the detector describes it; every field can be set to something that does not fit the others."""

    image_id: str
    width: int = 640
    height: int = 480
    boxes: list[list[float]] = field(default_factory=lambda: [[10.0, 20.0, 110.0, 220.0], [300.0, 100.0, 640.0, 480.0]])
    names: list[str] = field(default_factory=lambda: ["dog", "car"])
    confidence: list[float] = field(default_factory=lambda: [0.9, 0.8])
    attributes: list[list[str] | None] | None = None
    features: np.ndarray | None = None
    relative: bool = True
    rect_scale: float = 1.0

    def matrix(self) -> np.ndarray:
        seed = int.from_bytes(self.image_id.encode()[-4:], "little")
        random = np.random.default_rng(seed).random((len(self.boxes), FEATURE_DIM))
        features = np.asarray(random if self.features is None else self.features, "<f4")
        if not self.relative:
            return features
        boxes = np.asarray(self.boxes, np.float64).reshape(-1, 4) / [self.width, self.height, self.width, self.height]
        return np.concatenate([features, boxes, boxes[:, 2:] - boxes[:, :2]], axis=1).astype("<f4")

    def feature_line(self) -> str:
        matrix = self.matrix()
        return f"{self.image_id}\t{len(matrix)}\t{base64.b64encode(matrix.tobytes()).decode()}\n"

    def prediction(self) -> dict[str, Any]:
        objects = []
        for number, (box, name, conf) in enumerate(zip(self.boxes, self.names, self.confidence, strict=True)):
            entry: dict[str, Any] = {"rect": [side * self.rect_scale for side in box], "class": name, "conf": conf}
            if self.attributes and self.attributes[number]:
                entry["attributes"] = self.attributes[number]
            objects.append(entry)
        return {"image_h": self.height, "image_w": self.width, "num_boxes": len(objects), "objects": objects}

    def prediction_line(self) -> str:
        return f"{self.image_id}\t{json.dumps(self.prediction())}\n"


def write_folder(folder: Path, images: list[FakeImage]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.tsv").write_text("".join(image.feature_line() for image in images))
    (folder / "predictions.tsv").write_text("".join(image.prediction_line() for image in images))
    return folder


@pytest.fixture
def fake_image() -> type[FakeImage]:
    return FakeImage


@pytest.fixture
def vinvl(tmp_path: Path) -> Callable[..., Path]:
    """``vinvl(images, name)`` writes a folder of that name."""
    return lambda images, name="vinvl": write_folder(tmp_path / name, images)


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., Work]:
    """``work(name, num_workers)`` is what a stage works with, in a folder of that name."""

    def make(name: str = "stage", num_workers: int = 1) -> Work:
        (tmp_path / name).mkdir(exist_ok=True)
        return Work(tmp_path / name, ProgressRecord(tmp_path / name / PROGRESS_FILE), LocalExecutor(num_workers))

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def offline_environment(repository: Path) -> dict[str, str]:
    """Environment for the command-line tools as processes of their own."""
    return {**os.environ, "PYTHONPATH": str(repository), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    """Runs whole commands as forks of one process."""
    with forking_process(tmp_path_factory.mktemp("forked")) as forked:
        yield forked


NAMES = ["dog", "cat", "car", "horse", "chair", "bottle"]
SCENES = ["a park", "the kitchen", "an old street", "the big house", "a field", "the beach"]


@dataclass
class World:
    """What a small corpus is built from: 60 images of six kinds of things, and 108 sentences about them."""

    folder: Path
    images: list[FakeImage]
    sentences: list[str]

    def arguments(self, out: Path) -> list[str]:
        """Command line that builds the corpus."""
        return [
            f"out={out}",
            f"regions={self.folder / 'regions'}",
            f"sentences={self.folder / 'sentences.txt'}",
            f"region_options.feature_dim={FEATURE_DIM}",
            "on_bad_record=error",
            "retrieval.k=3",
            "num_workers=1",
            "embedding.device=cpu",
            "retrieval.device=cpu",
        ]


def make_world(folder: Path) -> World:
    random = np.random.default_rng(0)
    images = []
    for number in range(60):
        n = int(random.integers(1, 5))
        corners = random.uniform(0, 200, size=(n, 2))
        images.append(
            FakeImage(
                str(5000 + number),
                boxes=np.concatenate([corners, corners + random.uniform(10, 200, size=(n, 2))], axis=1).tolist(),
                names=[NAMES[kind] for kind in random.integers(len(NAMES), size=n)],
                confidence=random.uniform(0.3, 1, size=n).round(3).tolist(),
                attributes=[["red"] if draw < 0.3 else None for draw in random.random(n)],
            )
        )
    write_folder(folder / "regions", images)
    sentences = [
        f"A red {name} near a {other} in {scene}." for name in NAMES for other in NAMES[:3] for scene in SCENES
    ]
    (folder / "sentences.txt").write_text("\n".join(sentences) + "\n")
    return World(folder, images, sentences)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def built_corpus(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a corpus that was built from :func:`world`; to be read only."""
    out = tmp_path_factory.mktemp("corpus") / "built"
    build_command(world.arguments(out))
    return out
