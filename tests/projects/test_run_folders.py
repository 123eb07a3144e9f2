"""Folders of runs and resuming; what is killed is a real process, the others are forks, see ``tests/forked.py``."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.forked import Forked
from tests.projects.test_mmf_run import ROOT, command, history
from tests.small_corpus import write_small_corpus

SHORT = ["training.max_updates=5", "training.evaluation_interval=3", "training.log_interval=1"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


def refusal(forked: Forked, arguments: list[str]) -> str:
    """What a run says that must not succeed."""
    done = forked.run(arguments)
    assert done.returncode != 0, done.stdout[-3000:]
    return done.stderr


def test_a_run_its_neighbours_and_what_comes_after_it(corpus: Path, tmp_path: Path, forked: Forked) -> None:
    """Trained; a second run refused, resumed with another rate, as another run, evaluated: one folder all the time."""
    save_dir = tmp_path / "save"
    forked(command(corpus, save_dir, *SHORT))
    # five is no multiple of three: the last validation counts all the same
    assert [line["update"] for line in history(save_dir, "val")] == [3, 5]
    assert torch.load(save_dir / "best.ckpt", weights_only=True)["num_updates"] == 5
    results = json.loads((save_dir / "results.json").read_text())
    assert (results["update"], results["weights"], results["updates_trained"]) == (5, "current.ckpt", 5)

    names = ("config.yaml", "history.jsonl", "results.json", "current.ckpt", "best.ckpt", "muvla_final.safetensors")
    before = {name: (save_dir / name).read_bytes() for name in names}
    assert "a training is in it already" in refusal(forked, command(corpus, save_dir, *SHORT))
    longer = ["checkpoint.resume=True", "training.max_updates=9"]
    message = refusal(forked, command(corpus, save_dir, *SHORT, *longer, "training.seed=7"))
    assert "training.seed=7: the run in" in message and "has 1" in message
    weights = f"checkpoint.resume_file={save_dir / 'best.ckpt'}"
    forked(command(corpus, save_dir, *SHORT, "run_type=val_test", weights))
    assert {name: (save_dir / name).read_bytes() for name in names} == before
    evaluated = json.loads((save_dir / "evaluation" / "results.json").read_text())
    assert (evaluated["update"], evaluated["weights"]) == (5, str(save_dir / "best.ckpt"))
    assert evaluated["test"]["total_loss"] == results["test"]["total_loss"]

    output = forked(command(corpus, save_dir, *SHORT, *longer, "optimizer.params.lr=100.0"))
    assert "optimizer.params.lr: 0.01 -> 100.0" in output and "going on after update 5" in output
    rates = {line["update"]: line["lr"] for line in history(save_dir)}
    assert [rates[update] for update in range(6, 10)] == pytest.approx([100 * (9 - it) / 8 for it in range(6, 10)])
    assert OmegaConf.load(save_dir / "config.yaml").optimizer.params.lr == 100.0
    # it got worse: the best one is still that of update 5, and is what is tested
    results = json.loads((save_dir / "results.json").read_text())
    assert (results["update"], results["weights"], results["updates_trained"]) == (5, "best.ckpt", 9)
    assert results["test"]["total_loss"] == evaluated["test"]["total_loss"]


def test_two_runs_at_once_are_one_and_a_killed_one_is_gone_on_with_at_once(
    corpus: Path, tmp_path: Path, forked: Forked
) -> None:
    """The first has a worker, which outlives it for some seconds and must not keep the folder."""
    save_dir = tmp_path / "save"
    options = ["training.max_updates=100000", "training.checkpoint_interval=1", "training.num_workers=1"]
    arguments = command(corpus, save_dir, *options)
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (save_dir / "current.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "another run is at work in this folder" in refusal(forked, [*arguments, "checkpoint.resume=True"])
        assert process.poll() is None, "the first one goes on"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = torch.load(save_dir / "current.ckpt", weights_only=True)["num_updates"]
    output = forked([*arguments, "checkpoint.resume=True", f"training.max_updates={done + 2}"])
    assert f"going on after update {done}" in output
    assert history(save_dir)[-1]["update"] == done + 2
