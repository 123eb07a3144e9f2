"""Runs that are killed at any place, while a checkpoint is written too, end with the same bits as one left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.projects.test_mmf_run import SMALL
from tests.small_corpus import write_small_corpus

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20


def kill_runs(folder: Path, kills: int, *arguments: str, **environment: str) -> dict[str, Any]:
    """What ``killed_runs.py`` finds with a pre-training of these arguments."""
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("killed_runs.py")),
            str(folder),
            str(kills),
            "0",
            "config=projects/muvla/pretrain_cc.yaml",
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_killed_twenty_times_and_resumed_with_other_workers(tmp_path: Path) -> None:
    corpus = write_small_corpus(tmp_path / "corpus")
    options = [option for option in SMALL if not option.startswith(("training.num_workers", "training.checkpoint"))]
    result = kill_runs(
        tmp_path, KILLS, f"dataset_config.muvla_cc.corpus={corpus}", *options, TOKENIZERS_PARALLELISM="false"
    )
    assert result["differing"] == []
    assert result["runs"] == KILLS // 5
    assert result["killed"] == {
        "before the update": 5,
        "after the gradient": 5,
        "in the middle of the file": 5,
        "before current.ckpt": 5,
    }
