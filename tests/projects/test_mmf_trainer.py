"""MMF's own trainer on this project's model and data: pre-training, and fine-tuning from a ``.safetensors`` file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.datasets.small_tasks import SPLITS, write_task
from tests.forked import Forked
from tests.projects.test_mmf_run import BIN, SMALL, command
from tests.small_corpus import write_small_corpus

MMF_TRAINER = ["training.trainer=mmf", "training.evaluation_interval=2"]
# The names that this project's files use: without the data set, and with it.
CRITERION = ["training.early_stop.criteria=muvla_itm_accuracy", "training.early_stop.minimize=false"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


@pytest.fixture(scope="module")
def pretrained(corpus: Path, tmp_path_factory: pytest.TempPathFactory, forked: Forked) -> Path:
    save_dir = tmp_path_factory.mktemp("pretrained") / "save"
    output = forked(command(corpus, save_dir, *MMF_TRAINER, *CRITERION, "training.max_updates=4"))
    assert "best_val/muvla_cc/muvla_itm_accuracy: 0." in output
    assert re.search(r"progress: \S+, test/\S+: .*test/muvla_cc/muvla_itm_accuracy", output)
    return save_dir


def test_two_processes_train_one_model_on_cpus(corpus: Path, tmp_path: Path, forked: Forked) -> None:
    options = [*MMF_TRAINER, *CRITERION, "training.max_updates=2"]
    forked(command(corpus, tmp_path / "save", *options), num_processes=2)
    # PyTorch's wrapper around the model, which averages gradients, is in the one file and not in the other.
    final = torch.load(tmp_path / "save" / "muvla_final.pth", weights_only=True)
    saved = torch.load(tmp_path / "save" / "current.ckpt", weights_only=True)["model"]
    assert final.keys() == {f"module.{name}" for name in saved}


def task_command(folder: Path, task: str, save_dir: Path, *overrides: str) -> list[str]:
    files = write_task(folder, task)
    return [
        str(BIN / "mmf_run"),
        f"config=projects/muvla/finetune/{task}.yaml",
        f"env.save_dir={save_dir}",
        *(f"dataset_config.{task}.annotations.{split}={files['annotations'][split]}" for split in SPLITS),
        *(f"dataset_config.{task}.features.{split}={files['features'][split]}" for split in SPLITS),
        f"dataset_config.{task}.tokenizer={files['tokenizer']}",
        *(option for option in SMALL if "muvla_cc" not in option),
        *MMF_TRAINER,
        *overrides,
    ]


@pytest.mark.parametrize("task", ["visual_entailment", "refcoco_plus"])
def test_it_fine_tunes_from_a_safetensors_file(pretrained: Path, task: str, tmp_path: Path, forked: Forked) -> None:
    weights = torch.load(pretrained / "current.ckpt", weights_only=True)["model"]
    save_file({name: tensor.clone() for name, tensor in weights.items()}, tmp_path / "weights.safetensors")
    # No step changes anything: what is left behind is what it started from.
    output = forked(
        task_command(
            tmp_path / "task",
            task,
            tmp_path / "save",
            f"checkpoint.resume_file={tmp_path / 'weights.safetensors'}",
            "training.max_updates=2",
            "optimizer.params.lr=0.0",
        )
    )
    assert "weights.safetensors: " in output
    assert f"best_val/{task}/muvla_" in output
    ours = torch.load(tmp_path / "save" / "current.ckpt", weights_only=True)["model"]
    shared = [name for name in ours if name.startswith("encoder.")]
    assert len(shared) > 10
    assert all(torch.equal(ours[name], weights[name]) for name in shared)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.early_stop.criteria=muvla_cc/accuracy",
            r"training\.early_stop\.criteria=muvla_cc/accuracy: the validation gives no such value.*muvla_itm_accuracy",
        ),
        ("checkpoint.resume_file={tmp_path}/foreign.safetensors", r"foreign\.safetensors: it holds no encoder"),
    ],
)
def test_what_it_cannot_use_is_named(corpus: Path, tmp_path: Path, forked: Forked, override: str, message: str) -> None:
    save_file({"layer.weight": torch.zeros(2, 2)}, tmp_path / "foreign.safetensors")
    options = [*MMF_TRAINER, "training.max_updates=2", override.format(tmp_path=tmp_path)]
    done = forked.run(command(corpus, tmp_path / "save", *options))
    assert done.returncode != 0
    assert re.search(message, done.stderr)
