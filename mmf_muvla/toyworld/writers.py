"""Writing a world's files in the formats that users of real data have."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.toyworld.detector import Detection


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write text lines in UTF-8, each ended by a newline."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def write_stories(path: Path, stories: Iterable[Iterable[str]]) -> None:
    """A sentence a line, and an empty line after each story."""
    write_lines(path, (line for story in stories for line in (*story, "")))


def write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    write_lines(path, (json.dumps(record) for record in records))


def write_vinvl_folder(folder: Path, detections: Iterable[Detection]) -> None:
    """Write the detections of images into a new VinVL feature folder.

    ``features.tsv`` holds ``image_id, num_boxes, base64(float32 [n, 2054])``: 2048 feature numbers, then x1/W, y1/H,
    x2/W, y2/H, w/W, h/H. ``predictions.tsv`` holds ``image_id, JSON``; an object may carry ``attributes``. The
    ``.lineidx`` files list the byte offset of every line, and ``imageid2idx.json`` says which line an image has.
    """
    folder.mkdir(parents=True)
    line_of: dict[str, int] = {}
    offsets: dict[str, list[int]] = {"features": [], "predictions": []}
    with open(folder / "features.tsv", "wb") as features, open(folder / "predictions.tsv", "wb") as predictions:
        for line, detection in enumerate(detections):
            image_id, count = detection.scene.image_id, len(detection.regions)
            line_of[image_id] = line
            offsets["features"].append(features.tell())
            features.write(f"{image_id}\t{count}\t".encode() + base64.b64encode(_matrix(detection)) + b"\n")
            offsets["predictions"].append(predictions.tell())
            predictions.write(f"{image_id}\t{json.dumps(_prediction(detection))}\n".encode())
    for name, values in offsets.items():
        write_lines(folder / f"{name}.lineidx", map(str, values))
    (folder / "imageid2idx.json").write_text(json.dumps(line_of), encoding="utf-8")


def _matrix(detection: Detection) -> bytes:
    """float32 [n, 2054], row by row, little endian."""
    scene = detection.scene
    boxes = np.array([region.box for region in detection.regions], np.float32)
    scaled = boxes / np.array([scene.width, scene.height, scene.width, scene.height], np.float32)
    sides = scaled[:, 2:] - scaled[:, :2]
    return np.concatenate([detection.features, scaled, sides], axis=1).astype("<f4").tobytes()


def _prediction(detection: Detection) -> dict[str, Any]:
    objects = [
        {"rect": list(it.box), "class": it.name, "conf": it.confidence}
        | ({"attributes": list(it.attributes)} if it.attributes else {})
        for it in detection.regions
    ]
    scene = detection.scene
    return {"image_h": scene.height, "image_w": scene.width, "num_boxes": len(objects), "objects": objects}


def write_vqa_imdb(path: Path, split: str, questions: Iterable[dict[str, Any]]) -> None:
    """Write questions as the ``.npy`` file that MMF's ``vqa2`` dataset reads: an array of a header and questions."""
    records = [{"version": 1, "dataset_name": "vqa2", "split": split}, *questions]
    array = np.empty(len(records), dtype=object)
    array[:] = records
    np.save(path, array, allow_pickle=True)
