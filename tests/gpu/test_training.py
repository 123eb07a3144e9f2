"""Whole small runs on the GPU: no update waits for the device, and a killed one goes on as if nothing had happened."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.datasets.small_tasks import TASKS
from tests.projects.test_mmf_run import SMALL as SMALL_PRETRAINING
from tests.small_corpus import write_small_corpus
from tests.trainers.test_killed_runs import kill_runs
from tests.trainers.test_tasks import run as run_task

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("own_registry")]

KILLS = 4
WARM = 3  # updates after which what is made once is there: optimizer states, workspaces, compiled kernels


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """For each update from the fourth on, the lines of code at which the host has waited for the GPU."""
    from mmf_muvla.trainers.trainer import MuVLATrainer

    own, found = MuVLATrainer._update, []

    def update(self: Any, *arguments: Any) -> None:
        if self.num_updates < WARM or self.device.type != "cuda":
            return own(self, *arguments)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                own(self, *arguments)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found.append([f"{it.filename}:{it.lineno}" for it in caught if "called a synchronizing" in str(it.message)])

    monkeypatch.setattr(MuVLATrainer, "_update", update)
    return found


def options_of(bert: Path, options: list[str], *overrides: str) -> list[str]:
    """Small runs with a tokenizer that needs no package."""
    kept = [
        option
        for option in options
        if not option.startswith(("model_config.muvla.trunk.pretrained", "training.device"))
    ]
    # Heads of 64 numbers, as BERT's.
    sizes = ["model_config.muvla.trunk.hidden_size=128", "model_config.muvla.trunk.num_attention_heads=2"]
    return [*kept, *sizes, f"model_config.muvla.trunk.pretrained={bert}", *overrides]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_updates_of_the_pretraining(
    precision: str, corpus: Path, bert: Path, tmp_path: Path, waits: list[list[str]], cuda: torch.device
) -> None:
    """None waits; but fp16 has to, once: was the update skipped?"""
    from mmf_cli.run import run

    few = ("training.max_updates=8", "training.log_interval=2", f"training.precision={precision}")
    where = (f"dataset_config.muvla_cc.corpus={corpus}", f"env.save_dir={tmp_path / 'save'}")
    run(["config=projects/muvla/pretrain_cc.yaml", *where, *options_of(bert, SMALL_PRETRAINING, *few)])
    assert len(waits) == 5
    assert max(map(len, waits)) == (1 if precision == "fp16" else 0), waits
    lines = [json.loads(line) for line in (tmp_path / "save" / "history.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines if line["split"] == "train"] == [2, 4, 6, 8]


@pytest.mark.parametrize("task", TASKS)
def test_updates_of_a_task(task: str, bert: Path, tmp_path: Path, waits: list[list[str]], cuda: torch.device) -> None:
    few = ("training.max_updates=6", "training.evaluation_interval=100", "training.precision=bf16")
    # They come behind the small options that `run_task` gives, and win.
    run_task(tmp_path, task, tmp_path / "save", *options_of(bert, [], *few), "training.device=cuda")
    assert waits == [[], [], []]


def test_killed_and_resumed_to_the_bit(corpus: Path, bert: Path, tmp_path: Path) -> None:
    """``training.deterministic=true``: at the end, the same weights and optimizer states as of a run left alone."""
    left_to_it = ("training.num_workers", "training.checkpoint")
    options = [option for option in SMALL_PRETRAINING if not option.startswith(left_to_it)]
    # The runs are forks of one process, which itself must not touch the GPU.
    result = kill_runs(
        tmp_path,
        KILLS,
        f"dataset_config.muvla_cc.corpus={corpus}",
        *options_of(bert, options, "training.deterministic=true", "training.precision=auto"),
        PYTORCH_NVML_BASED_CUDA_CHECK="1",
    )
    assert result["differing"] == []
    assert sum(result["killed"].values()) == KILLS
