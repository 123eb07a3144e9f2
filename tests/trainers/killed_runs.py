"""Trains a small model again and again, and kills the process at random places. Run by ``test_killed_runs.py``.

    python tests/trainers/killed_runs.py FOLDER KILLS SEED OPTION=VALUE …

One run is left alone; others are killed, and resumed with another number of workers, until they are through. MMF is
imported once; every run is a fork of this process. Printed is, as JSON, how many runs came to their end, where
processes were killed, and which runs ended with another state than the one that was left alone.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import transformers  # noqa: F401 - loaded once, for all children
from mmf_cli.run import run

from mmf_muvla.trainers import checkpoints, run_folder, trainer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.forks import fork

UPDATES = 20
PLACES = ("before the update", "after the gradient", "in the middle of the file", "before current.ckpt")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(update: int, place: str) -> None:
    """Make this process kill itself, without warning, at a place of its ``update``-th update."""
    own_update, own_save, own_link = trainer.MuVLATrainer._update, torch.save, run_folder.link_atomically
    current = 0

    def _update(self: Any, *arguments: Any) -> None:
        nonlocal current
        current = self.num_updates + 1
        if current == update and place == "before the update":
            die()
        if current == update and place == "after the gradient":
            self.optimizer.step = lambda *_: die()
        own_update(self, *arguments)

    def save(content: Any, path: Path) -> None:
        if current == update and place == "in the middle of the file":
            whole = io.BytesIO()
            own_save(content, whole)
            path.write_bytes(whole.getvalue()[: random.randrange(whole.tell())])
            die()
        own_save(content, path)

    def link(existing: Path, path: Path) -> None:
        if current == update and place == "before current.ckpt":
            die()
        own_link(existing, path)

    trainer.MuVLATrainer._update = _update
    checkpoints.torch.save = save
    run_folder.link_atomically = link


def start(save_dir: Path, workers: int, arguments: list[str], fate: tuple[int, str] | None = None) -> bool:
    """One process; False where it was killed."""

    def train() -> None:
        if fate:
            die_at(*fate)
        run([*arguments, f"env.save_dir={save_dir}", f"training.num_workers={workers}"])

    status = os.waitpid(fork(train), 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, f"the run failed with {status}"
    return status == 0


def state(save_dir: Path) -> dict[str, Any]:
    # Not onto a GPU: a process that has used one has no forks that can.
    saved = torch.load(save_dir / "current.ckpt", map_location="cpu", weights_only=True)
    return {name: saved[name] for name in ("model", "optimizer", "scheduler", "num_updates")}


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def main(folder: Path, kills: int, seed: int, arguments: list[str]) -> None:
    arguments = [*arguments, f"training.max_updates={UPDATES}", "training.checkpoint_interval=1"]
    assert start(folder / "whole", 0, arguments)
    whole = state(folder / "whole")
    choose = random.Random(seed)
    killed: Counter[str] = Counter()
    runs, differing = 0, []
    while killed.total() < kills:
        save_dir = folder / f"killed{runs}"
        updates = sorted(choose.sample(range(1, UPDATES + 1), min(5, kills - killed.total())))
        for number, update in enumerate([*updates, None]):
            fate = None if update is None else (update, PLACES[killed.total() % len(PLACES)])
            finished = start(save_dir, (runs + number) % 3, [*arguments, "checkpoint.resume=True"], fate)
            assert finished == (fate is None), f"killed {killed}, but not at {fate}"
            if fate:
                killed[fate[1]] += 1
        runs += 1
        if not same(state(save_dir), whole):
            differing.append(save_dir.name)
    print(json.dumps({"runs": runs, "killed": killed, "differing": differing}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
