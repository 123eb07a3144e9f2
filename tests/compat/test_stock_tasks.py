"""MMF's own visual_bert fine-tunes on the tasks' files through MMF's own data sets: the files are in stock formats."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmf.common.registry import registry
from mmf.datasets.builders.nlvr2.dataset import NLVR2Dataset
from mmf.datasets.builders.visual_entailment.dataset import VisualEntailmentDataset
from mmf.datasets.builders.vqa2.dataset import VQA2Dataset
from mmf.datasets.processors.processors import VQAAnswerProcessor
from omegaconf import OmegaConf

from mmf_muvla.datasets.images import open_images
from mmf_muvla.reading.restricted_npy import load_object_array
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.toyworld.config import ToyWorldConfig
from mmf_muvla.toyworld.questions import all_answers
from mmf_muvla.toyworld.world import generate
from tests.compat.conftest import Run
from tests.compat.feature_folder import write_feature_folder
from tests.compat.stock_config import SPLITS, write_stock_config

FEATURE_DIM = 2048
MAX_FEATURES = 40
UPDATES = 2
DATASETS = {"vqa2": VQA2Dataset, "nlvr2": NLVR2Dataset, "visual_entailment": VisualEntailmentDataset}
# By MMF's own function, three runs in one process: to import MMF and PyTorch takes longer than a run.
ONE_AFTER_THE_OTHER = """
import sys
from mmf_cli.run import run
for config in sys.argv[1:]:
    run([config])
"""


SMALL = {
    "scenes": 2, "captions": 5, "books": 5, "heldout_scenes": 1, "pictures": 0,
    "task_train_scenes": 60, "task_val_scenes": 60, "task_test_scenes": 60,
    "vqa_train_questions": 8, "vqa_val_questions": 8, "vqa_test_questions": 8,
    "entailment_train_examples": 9, "entailment_val_examples": 9, "entailment_test_examples": 18,
    "refcoco_train_expressions": 12, "refcoco_val_expressions": 12, "refcoco_test_expressions": 12,
    "nlvr2_train_sentences": 6, "nlvr2_train_examples": 24, "nlvr2_val_examples": 24, "nlvr2_test_examples": 24,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy world, and its regions once more as MMF's feature folders, ``mmf_tasks`` and ``mmf_nlvr2``."""
    folder = tmp_path_factory.mktemp("stock") / "world"
    generate(folder, ToyWorldConfig(**SMALL))
    for name in ("tasks", "nlvr2"):
        write_feature_folder(folder / f"regions_{name}", folder / f"mmf_{name}")
    return folder


@dataclass(frozen=True)
class StockTask:
    """What a configuration says of a task."""

    annotations: str
    features: str
    metric: str
    loss: str
    num_labels: int
    head: str = "classification"
    answers: str | None = None


TASKS = {
    "vqa2": StockTask(
        "vqa2/imdb_{}.npy", "mmf_tasks", "vqa_accuracy", "logit_bce", len(all_answers()) + 1,
        answers="vqa2/answers_vqa.txt",
    ),
    "nlvr2": StockTask("nlvr2/{}.jsonl", "mmf_nlvr2", "accuracy", "cross_entropy", 2, head="nlvr2"),
    "visual_entailment": StockTask("visual_entailment/{}.jsonl", "mmf_tasks", "accuracy", "cross_entropy", 3),
}  # fmt: skip


def write_config(name: str, world: Path, folder: Path) -> Path:
    task = TASKS[name]
    folder.mkdir()
    return write_stock_config(
        folder / "config.yaml",
        name,
        data={
            "data_dir": str(world),
            "annotations": {split: [task.annotations.format(split)] for split in SPLITS},
            "features": {split: [task.features] for split in SPLITS},
        },
        model={"training_head_type": task.head, "num_labels": task.num_labels, "losses": [{"type": task.loss}]},
        metric=task.metric,
        answers=world / task.answers if task.answers else None,
        feature_dim=FEATURE_DIM,
        max_features=MAX_FEATURES,
    )


def records(name: str, world: Path, split: str = "test") -> list[dict[str, Any]]:
    path = world / TASKS[name].annotations.format(split)
    if path.suffix == ".npy":
        return load_object_array(path)[1:]
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(output: str, task: str, split: str, update: int) -> dict[str, float]:
    """What a run printed about a split: name -> value."""
    lines = [line for line in output.splitlines() if f"progress: {update}/{UPDATES}, {split}/" in line]
    (line,) = {line for line in lines if f"{split}/{task}/" in line}
    return {name: float(value) for name, value in re.findall(r"([\w/]+): (nan|-?inf|[\d.]+)(?:,|$)", line)}


def test_stock_visual_bert_fine_tunes(world: Path, run: Run, tmp_path: Path) -> None:
    configs = [f"config={write_config(name, world, tmp_path / name)}" for name in TASKS]
    # From the project's folder, whose configs/ has files of the names that MMF's data sets have.
    done = run("-c", ONE_AFTER_THE_OTHER, *configs, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    for name, task in TASKS.items():
        for update in range(1, UPDATES + 1):
            assert math.isfinite(logged(done.stdout, name, "train", update)[f"train/{name}/{task.loss}"])
        for split in ("val", "test"):
            values = logged(done.stdout, name, split, UPDATES)
            assert math.isfinite(values[f"{split}/{name}/{task.loss}"])
            # All samples count alike; a sample's soft VQA score is a multiple of a thirtieth.
            share = values[f"{split}/{name}/{task.metric}"]
            steps = share * len(records(name, world, split)) * (30 if name == "vqa2" else 1)
            assert 0 <= share <= 1 and steps == pytest.approx(round(steps), abs=0.02)


# --- what MMF's data sets make of the files


@pytest.fixture
def stock_items(world: Path, tmp_path: Path) -> Iterator[Callable[[str], list[Any]]]:
    """``stock_items(task)`` is the test split as MMF's data set gives it, with texts as they are in the file."""
    # MMF's path helpers look into the global configuration, and would build one where there is none.
    before = registry.get("config", no_warning=True)
    registry.register("config", OmegaConf.create({"env": {"user_dir": None}}))

    def items_of(task: str) -> list[Any]:
        config = OmegaConf.load(write_config(task, world, tmp_path / task)).dataset_config[task]
        dataset = DATASETS[task](config, "test", 0)
        dataset.text_processor = dict
        if task == "vqa2":
            dataset.answer_processor = VQAAnswerProcessor(config.processors.answer_processor.params)
        return [dataset[number] for number in range(len(dataset))]

    yield items_of
    registry.register("config", before)


def check_features(item: Any, folder: Path, image_id: str) -> None:
    image = open_images(folder).get(image_id)
    count = len(image.bbox)
    assert item.image_info_0.max_features == count <= MAX_FEATURES
    np.testing.assert_array_equal(item.image_feature_0[:count].half(), image.image_feature)
    assert not item.image_feature_0[count:].any()
    np.testing.assert_allclose(item.image_info_0.bbox, image.bbox, atol=0.01)


def test_a_stock_question_is_asked_of_its_image(world: Path, stock_items: Callable[[str], list[Any]]) -> None:
    answers = (world / "vqa2" / "answers_vqa.txt").read_text().splitlines()
    for item, record in zip(stock_items("vqa2"), records("vqa2", world), strict=True):
        assert (item.text, item.question_id) == (record["question_str"], record["question_id"])
        # An answer that all ten give scores 1, and no other one anything.
        if len(set(record["answers"])) == 1:
            assert item.targets.nonzero().tolist() == [[answers.index(record["answers"][0])]]
        check_features(item, world / "mmf_tasks", record["image_id"])


def test_a_stock_pair_is_left_and_right(world: Path, stock_items: Callable[[str], list[Any]]) -> None:
    for item, record in zip(stock_items("nlvr2"), records("nlvr2", world), strict=True):
        pair = record["identifier"].rpartition("-")[0]
        assert (item.text, item.targets) == (record["sentence"], int(record["label"] == "True"))
        check_features(item.img0, world / "mmf_nlvr2", f"{pair}-img0")
        check_features(item.img1, world / "mmf_nlvr2", f"{pair}-img1")


def test_a_stock_premise_is_the_image(world: Path, stock_items: Callable[[str], list[Any]]) -> None:
    for item, record in zip(stock_items("visual_entailment"), records("visual_entailment", world), strict=True):
        label = ["entailment", "neutral", "contradiction"].index(record["gold_label"])
        assert (item.text, item.targets) == (record["sentence2"], label)
        check_features(item, world / "mmf_tasks", record["Flikr30kID"].removesuffix(".jpg"))


def test_a_feature_folder_gives_what_an_import_gives(world: Path, tmp_path: Path) -> None:
    regions, store_path = world / "regions_tasks", tmp_path / "store"
    import_regions([regions], RegionOptions(), "error", 0, store_path, tmp_path / "skipped.jsonl", 1)
    folder, store = open_images(world / "mmf_tasks"), open_images(store_path)
    assert folder.feature_dim == store.feature_dim == FEATURE_DIM
    for image_id in RegionStore(store_path).ids:
        one, other = folder.get(image_id), store.get(image_id)
        assert one.image_size == other.image_size
        np.testing.assert_array_equal(one.image_feature, other.image_feature)
        np.testing.assert_allclose(one.bbox, other.bbox, atol=0.01)
