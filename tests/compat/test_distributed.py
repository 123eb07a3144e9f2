"""Two gloo processes on CPUs through MMF's own command, and the two patches that make them know of each other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.compat.conftest import Run
from tests.compat.test_training import command

# A user package whose trainer writes down what MMF tells it about its processes.
PROBE = """
import json, os
from mmf.common.registry import registry
from mmf.models.base_model import BaseModel
from mmf.utils.distributed import broadcast_scalar, get_rank, get_world_size, is_master, synchronize

@registry.register_model("probe")
class Probe(BaseModel):
    pass

@registry.register_trainer("probe")
class ProbeTrainer:
    def __init__(self, config):
        self.config = config
    def load(self):
        pass
    def train(self):
        print(f"printed by rank {get_rank()}")
        first = broadcast_scalar(100 + get_rank())
        facts = [get_rank(), get_world_size(), is_master(), first, self.config.distributed.backend]
        with open(f"facts{os.environ.get('RANK', self.config.distributed.rank)}.json", "w") as file:
            json.dump(facts, file)
        synchronize()
"""
CONFIG = "model: probe\ndatasets: none\nenv: {user_dir: probe_package}\ntraining: {trainer: probe, seed: 1}\n"
EXPECTED = [[0, 2, True, 100, "gloo"], [1, 2, False, 100, "gloo"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "probe_package").mkdir()
    (tmp_path / "probe_package" / "__init__.py").write_text(PROBE)
    (tmp_path / "probe.yaml").write_text(CONFIG)
    return tmp_path


def facts(folder: Path) -> list[object]:
    return [json.loads((folder / f"facts{rank}.json").read_text()) for rank in (0, 1)]


def test_started_by_torchrun(run: Run, folder: Path) -> None:
    result = run("-m", "torch.distributed.run", "--nproc-per-node=2", command("mmf_run"), "config=probe.yaml")
    assert result.returncode == 0, result.stderr
    assert facts(folder) == EXPECTED
    assert "printed by rank 0" in result.stdout
    assert "printed by rank 1" not in result.stdout
    assert "destroy_process_group" not in result.stderr


def test_started_by_hand(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                command("mmf_run"),
                "config=probe.yaml",
                "distributed.backend=gloo",
                f"distributed.init_method={address}",
                "distributed.world_size=2",
                f"distributed.rank={rank}",
            ],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert facts(folder) == EXPECTED


FORKED = """
import multiprocessing, os
from omegaconf import OmegaConf
from mmf.utils.distributed import distributed_init, is_master

def start(backend, rank, end):
    config = OmegaConf.create({"distributed": {
        "init_method": "file://" + os.path.abspath(backend), "world_size": 2, "rank": rank, "backend": backend}})
    try:
        distributed_init(config)
    except Exception as error:
        os.write(1, f"{backend} {rank} {str(error).splitlines()[0]}\\n".encode())
    os.write(1, f"{backend} {rank} master={is_master()}\\n".encode())
    end.wait(60)  # or the other one, if it is still connecting, meets a process that has gone

fork = multiprocessing.get_context("fork")
for backend in ("nccl", "gloo"):
    end = fork.Barrier(2)
    children = [fork.Process(target=start, args=(backend, rank, end)) for rank in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""


@pytest.mark.skipif(torch.distributed.is_nccl_available(), reason="this torch has NCCL")
def test_without_the_patches_cpus_are_refused_and_every_rank_is_master(run: Run) -> None:
    printed = run("-c", FORKED, skip="distributed_without_nccl,distributed_init_on_cpu").stdout
    for rank in (0, 1):
        assert f"nccl {rank} Distributed package doesn't have NCCL built in" in printed
        assert f"gloo {rank} Torch not compiled with CUDA enabled" in printed
        assert f"gloo {rank} master=True" in printed
