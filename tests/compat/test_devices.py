"""Which GPU a process has set before MMF's first collective, by whoever has started it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError

TORCHRUN = {"LOCAL_RANK": "2"}
SLURM = {"SLURM_LOCALID": "1"}


class Reached(Exception):
    """The first collective."""


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``gpus(n)`` makes this a machine with n of them; it returns a list of devices as they are set, and of groups."""

    def make(number: int, for_cpu: bool = False) -> list[Any]:
        done: list[Any] = []

        def collective(tensor: torch.Tensor) -> None:
            assert tensor.device.type == "cpu"  # also where there is a GPU
            raise Reached

        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(torch.cuda, "init", lambda: None)
        monkeypatch.setattr(torch.cuda, "set_device", done.append)
        if not for_cpu:
            monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
        monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
        monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **_: done.append(backend))
        monkeypatch.setattr(torch.distributed, "all_reduce", collective)
        return done

    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    return make


def start(device: str = "cuda", backend: str = "nccl", spawned: int | None = None) -> None:
    """What mmf_cli/run.py does in a process that torchrun or SLURM, or with ``spawned`` MMF itself, has started."""
    from mmf.utils.configuration import Configuration
    from mmf_cli.run import distributed_main

    configuration = Configuration.__new__(Configuration)
    configuration.import_user_dir = lambda: None
    group = {"backend": backend, "world_size": 4, "rank": 0, "init_method": "env://", "no_spawn": spawned is None}
    configuration.config = OmegaConf.create({"distributed": group, "training": {"device": device}})
    distributed_main(spawned or 0, configuration)


@pytest.mark.parametrize(
    ("environment", "options", "number", "expected"),
    [
        (TORCHRUN, {}, 4, 2),
        (SLURM, {}, 4, 1),
        (SLURM | TORCHRUN, {}, 4, 2),
        ({}, {"spawned": 3}, 4, 3),
        # two and more processes share a GPU
        (TORCHRUN, {"backend": "gloo"}, 1, 0),
        (TORCHRUN, {"backend": "gloo"}, 2, 0),
        ({"LOCAL_RANK": "3"}, {"backend": "gloo"}, 2, 1),
        (TORCHRUN, {"device": "cuda:1"}, 4, 1),
    ],
)
def test_each_process_has_its_gpu_before_the_first_collective(
    gpus: Any,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    options: dict[str, Any],
    number: int,
    expected: int,
) -> None:
    done = gpus(number)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Reached):
        start(**options)
    assert done == [expected, options.get("backend", "nccl")]


def test_a_run_for_the_cpu_leaves_the_gpus_of_its_machine_alone(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = gpus(2, for_cpu=True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(Reached):
        start(device="cpu")
    assert done == [-1, "gloo"]  # for -1 nothing is set


def test_a_build_for_gpus_without_any_uses_gloo(gpus: Any) -> None:
    done = gpus(0, for_cpu=True)
    with pytest.raises(Reached):
        start()
    assert done == ["gloo"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "Start 1, or share by distributed.backend=gloo"),
        ({"device": "cuda:1"}, "training.device=cuda:1: this process"),
    ],
)
def test_a_gpu_that_is_not_there_is_named(
    gpus: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], named: str
) -> None:
    gpus(1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match=named):
        start(**options)


@pytest.mark.parametrize(("device", "processes"), [("cuda", 4), ("cuda:2", 1), ("cpu", 1)])
def test_mmf_starts_a_process_for_each_gpu_of_a_run(gpus: Any, device: str, processes: int) -> None:
    from mmf.utils.configuration import Configuration

    gpus(4)
    configuration = Configuration.__new__(Configuration)
    content = {"distributed": {"world_size": "${device_count:}", "no_spawn": False}, "training": {"device": device}}
    configuration.config = OmegaConf.create(content)
    config = configuration.get_config()
    assert (config.distributed.world_size, config.distributed.no_spawn) == (processes, device != "cuda")
