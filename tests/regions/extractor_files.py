"""Writes the same images as the scripts of several extractors do, with what each of their formats can hold."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.regions.mmf_files import FEATURE_DIM, NAMES, write_lmdb


@dataclass
class Detected:
    """An image with its regions; ``class_id`` are places in ``names``."""

    image_id: str
    width: int
    height: int
    features: np.ndarray  # float32 [n, d]
    boxes: np.ndarray  # float32 [n, 4]
    class_id: np.ndarray  # int64 [n]
    confidence: np.ndarray  # float32 [n]
    names: Sequence[str] = tuple(NAMES)

    def relative(self) -> np.ndarray:
        """Boxes and their sizes relative to the image, [n, 6]."""
        boxes = self.boxes / np.float32([self.width, self.height] * 2)
        return np.concatenate([boxes, boxes[:, 2:] - boxes[:, :2]], axis=1)

    def objects(self, scale: float = 1, **extra: Sequence[Any]) -> list[dict[str, Any]]:
        """VinVL's objects; ``extra`` are further values of each."""
        return [
            {
                "rect": [float(side) * scale for side in box],
                "bbox_id": number,
                "class": self.names[class_id],
                "conf": float(conf),
                **{key: values[number] for key, values in extra.items()},
            }
            for number, (box, class_id, conf) in enumerate(zip(self.boxes, self.class_id, self.confidence, strict=True))
        ]


def detected(image_id: str, width: int = 640, height: int = 480, num_regions: int = 5) -> Detected:
    """An image of its own for each id; the last box is the whole image."""
    random = np.random.default_rng(list(image_id.encode()))
    corners = random.random((num_regions, 2, 2)) * [width * 0.9, height * 0.9]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 2], axis=1)
    boxes[-1] = [0, 0, width, height]
    return Detected(
        image_id,
        width,
        height,
        features=random.random((num_regions, FEATURE_DIM)).astype(np.float32),
        boxes=boxes.astype(np.float32),
        class_id=np.arange(num_regions) % len(NAMES),
        confidence=(0.3 + 0.6 * random.random(num_regions)).astype(np.float32),
    )


def in_base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def write_lines(path: Path, lines: Sequence[str], end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
    return path


def vinvl_lines(image: Detected, with_box: bool = False) -> tuple[str, str]:
    rows = np.concatenate([image.features, image.relative()], axis=1) if with_box else image.features
    size = {"image_h": image.height, "image_w": image.width}
    prediction = {**size, "num_boxes": len(rows), "objects": image.objects()}
    return (
        f"{image.image_id}\t{len(rows)}\t{in_base64(rows)}",
        f"{image.image_id}\t{json.dumps(prediction)}",
    )


def write_vinvl(folder: Path, images: Sequence[Detected]) -> Path:
    features, predictions = zip(*map(vinvl_lines, images), strict=True)
    write_lines(folder / "features.tsv", features)
    write_lines(folder / "predictions.tsv", predictions)
    return folder


def hw_line(image: Detected) -> str:
    return f'{image.image_id}\t[{{"height": {image.height}, "width": {image.width}}}]'


def sgb_line(image: Detected, scale: float = 1) -> str:
    objects = image.objects(scale, feature=[in_base64(row) for row in image.features])
    return f"{image.image_id}\t{json.dumps({'objects': objects, 'relations': None})}"


def write_sgb(folder: Path, images: Sequence[Detected]) -> Path:
    write_lines(folder / "predictions.tsv", [sgb_line(image) for image in images])
    write_lines(folder / "test.hw.tsv", [hw_line(image) for image in images])
    return folder


def bottom_up_line(image: Detected) -> str:
    size = f"{image.width}\t{image.height}\t{len(image.boxes)}"
    return f"{image.image_id}\t{size}\t{in_base64(image.boxes)}\t{in_base64(image.features)}"


def write_bottom_up(folder: Path, images: Sequence[Detected]) -> Path:
    # Python 2's csv ends lines so.
    write_lines(folder / "test_36.tsv", [bottom_up_line(image) for image in images], "\r\n")
    return folder


def lxmert_line(image: Detected) -> str:
    classes = (image.class_id, image.confidence, np.zeros_like(image.class_id), image.confidence / 20)
    texts = [in_base64(array) for array in classes]
    arrays = f"{len(image.boxes)}\t{in_base64(image.boxes)}\t{in_base64(image.features)}"
    return "\t".join([image.image_id, str(image.height), str(image.width), *texts, arrays])


def write_lxmert(folder: Path, images: Sequence[Detected]) -> Path:
    write_lines(folder / "test_obj36.tsv", [lxmert_line(image) for image in images], "\r\n")
    return folder


def npz_arrays(image: Detected) -> dict[str, Any]:
    info = {"image_id": image.image_id, "objects_id": image.class_id, "objects_conf": image.confidence}
    return {
        "x": image.features,
        "bbox": image.boxes,
        "num_bbox": len(image.boxes),
        "image_h": image.height,
        "image_w": image.width,
        "info": info,
    }


def write_npz(folder: Path, images: Sequence[Detected]) -> Path:
    for image in images:
        file = folder / f"{image.image_id}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **npz_arrays(image))
    return folder


def oscar_lines(image: Detected, with_box: bool = False) -> tuple[str, str]:
    rows = np.concatenate([image.features, image.relative()], axis=1) if with_box else image.features
    features = {"num_boxes": len(rows), "features": in_base64(rows)}
    return f"{image.image_id}\t{json.dumps(features)}", f"{image.image_id}\t{json.dumps(image.objects())}"


def write_oscar(folder: Path, images: Sequence[Detected], name: str = "test") -> Path:
    features, labels = zip(*map(oscar_lines, images), strict=True)
    write_lines(folder / f"{name}.feature.tsv", features)
    write_lines(folder / f"{name}.label.tsv", labels)
    write_lines(folder / f"{name}.hw.tsv", [f"{image.image_id}\t{image.height} {image.width}" for image in images])
    (folder / f"{name}.yaml").write_text(f"feature: {name}.feature.tsv\nlabel: {name}.label.tsv\n")
    return folder


def vilbert_dictionary(image: Detected) -> dict[str, Any]:
    probabilities = np.full((len(image.boxes), 1 + len(image.names)), 0.01, np.float32)
    # The background is often the likeliest.
    probabilities[:, 0] = 0.95
    probabilities[np.arange(len(image.boxes)), 1 + image.class_id] = image.confidence
    return {
        "bbox": image.boxes,
        "num_boxes": len(image.boxes),
        "objects": probabilities[1:].argmax(axis=1),
        "image_width": image.width,
        "image_height": image.height,
        "cls_prob": probabilities,
        "image_id": image.image_id,
        "features": image.features,
    }


def write_vilbert(folder: Path, images: Sequence[Detected]) -> Path:
    for image in images:
        file = folder / f"{image.image_id}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.array(vilbert_dictionary(image), dtype=object), allow_pickle=True)
    return folder


def vilbert_record(image: Detected, text: bool = False) -> dict[str, Any]:
    arrays = {"boxes": image.boxes, "features": image.features}
    return {
        "image_id": image.image_id,
        "image_h": image.height,
        "image_w": image.width,
        "num_boxes": len(image.boxes),
        **({key: in_base64(array).encode() for key, array in arrays.items()} if text else arrays),
    }


def write_vilbert_lmdb(path: Path, images: Sequence[Detected], text: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    records = {image.image_id.encode(): pickle.dumps(vilbert_record(image, text)) for image in images}
    return write_lmdb(path, {**records, b"keys": pickle.dumps(list(records))})


def write_vilbert_texts(path: Path, images: Sequence[Detected]) -> Path:
    return write_vilbert_lmdb(path, images, text=True)


Writer = Callable[[Path, Sequence[Detected]], Path]
# By the name of the reader; those that hold classes, and those that do not.
WITH_CLASSES: dict[str, tuple[str, Writer]] = {
    "vinvl": ("vinvl", write_vinvl),
    "scene_graph_benchmark": ("scene_graph_benchmark", write_sgb),
    "oscar": ("oscar", write_oscar),
    "lxmert": ("lxmert_tsv", write_lxmert),
    "npz": ("bottom_up_npz", write_npz),
    "vilbert": ("mmf_folder", write_vilbert),
}
WITHOUT_CLASSES: dict[str, tuple[str, Writer]] = {
    "bottom_up": ("bottom_up_tsv", write_bottom_up),
    "vilbert_lmdb": ("mmf_lmdb", write_vilbert_lmdb),
    "vilbert_texts": ("mmf_lmdb", write_vilbert_texts),
}
