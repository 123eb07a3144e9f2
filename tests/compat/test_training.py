"""MMF's own commands on MMF's own model and dataset: train, by a real process, resume, predict."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.compat.conftest import Run
from tests.compat.tiny_vqa import ANSWERS, write_tiny_vqa
from tests.forked import Forked


def command(name: str) -> str:
    path = shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"{name} is not installed beside this interpreter")
    return path


def test_train_resume_and_predict(run: Run, forked: Forked, tmp_path: Path) -> None:
    config = write_tiny_vqa(tmp_path / "task")
    saved = tmp_path / "task" / "save"

    trained = run(command("mmf_run"), f"config={config}")
    assert trained.returncode == 0, trained.stderr
    assert "progress: 2/2, val/total_loss" in trained.stdout
    assert (saved / "config.yaml").read_text().startswith("config_version: 1.0")

    options = [f"config={config}", "checkpoint.resume=true", "training.max_updates=3"]
    resumed = forked.run([command("mmf_run"), *options], cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "progress: 3/3, train/total_loss" in resumed.stdout
    assert "progress: 1/3" not in resumed.stdout

    reports = tmp_path / "of=this run"
    options = [f"checkpoint.resume_file={saved / 'best.ckpt'}", "run_type=test", f"env.report_dir={reports}"]
    forked([command("mmf_predict"), f"config={config}", *options], cwd=tmp_path)
    (report,) = reports.iterdir()
    predictions = json.loads(report.read_text())
    assert sorted(entry["question_id"] for entry in predictions) == list(range(8))
    assert {entry["answer"] for entry in predictions} <= set(ANSWERS)
