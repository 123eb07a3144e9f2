"""Checkpoints are whole or absent, carry no code, and say what of them was used."""

from __future__ import annotations

import errno
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from mmf_muvla.errors import InputError
from mmf_muvla.trainers.checkpoints import (
    first_not_finite,
    link_atomically,
    load_matching,
    read_checkpoint_file,
    save_atomically,
)


class Refuses:
    """Cannot be saved: stands for a process that dies in the middle of writing."""

    def __reduce__(self):
        raise RuntimeError("killed")


def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "current.ckpt"
    save_atomically({"model": {"a": torch.ones(2)}}, path)
    with pytest.raises(RuntimeError, match="killed"):
        save_atomically({"model": {"a": torch.zeros(2)}, "rest": Refuses()}, path)
    assert read_checkpoint_file(path)["model"]["a"].tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["current.ckpt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "evil.ckpt"
    torch.save({"model": Touch()}, path, pickle_module=pickle)
    with pytest.raises(InputError, match="evil.ckpt: cannot be read as a checkpoint of weights"):
        read_checkpoint_file(path)
    assert not (tmp_path / "executed").exists()


def test_a_cut_checkpoint_and_a_missing_one_are_named(tmp_path: Path) -> None:
    path = tmp_path / "current.ckpt"
    save_atomically({"model": {"a": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="current.ckpt: cannot be read"):
        read_checkpoint_file(path)
    with pytest.raises(InputError, match="none.ckpt: no such checkpoint"):
        read_checkpoint_file(tmp_path / "none.ckpt")


class Model(nn.Module):
    def __init__(self, width: int, labels: int):
        super().__init__()
        self.encoder = nn.Linear(width, 2)
        self.head = nn.Linear(2, labels)


def test_matching_weights_are_taken_and_the_rest_is_listed() -> None:
    source, target = Model(3, 5), Model(3, 4)
    state = source.state_dict() | {"other.weight": torch.zeros(1)}
    before = target.head.weight.clone()
    report = load_matching(target, state, "x.ckpt")
    assert torch.equal(target.encoder.weight, source.encoder.weight)
    assert torch.equal(target.head.weight, before)
    assert report.mismatched == ("head.weight", "head.bias")
    assert report.unused == ("other.weight",)
    assert str(report) == "2 tensors loaded; 2 of another shape: head; 1 not in the model: other"


def test_a_checkpoint_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(InputError, match="holds no encoder that fits"):
        load_matching(Model(3, 5), Model(4, 5).state_dict(), "x.ckpt")


def kinds_in(value: Any) -> set[type]:
    if isinstance(value, dict):
        return {type(value)}.union(*(kinds_in(part) for pair in value.items() for part in pair))
    if isinstance(value, list | tuple):
        return {type(value)}.union(*map(kinds_in, value))
    return {type(value)}


def test_a_checkpoint_holds_tensors_and_plain_values_alone(tmp_path: Path) -> None:
    """Whatever the configuration's containers are: PyTorch 2.4 reads no others."""
    parameter = nn.Parameter(torch.ones(3))
    betas = OmegaConf.create([0.8, 0.9])
    optimizer = torch.optim.AdamW([parameter], betas=(0.8, 0.9))
    optimizer.param_groups[0]["betas"] = betas  # as MMF hands them on
    parameter.sum().backward()
    optimizer.step()
    content = {
        "model": Model(3, 5).state_dict(),
        "optimizer": optimizer.state_dict(),
        "config": OmegaConf.create({"a": {"b": [1, "c"]}, "d": "${a.b}"}),
        "best_metric_value": np.float64(0.5),
        "nested": (OmegaConf.create({"x": 1}), [np.int64(3)]),
    }
    save_atomically(content, tmp_path / "x.ckpt")
    read = torch.load(tmp_path / "x.ckpt", weights_only=False)
    plain = {dict, OrderedDict, list, tuple, str, int, float, bool, type(None), torch.Tensor}
    assert kinds_in(read) <= plain
    assert read["optimizer"]["param_groups"][0]["betas"] == [0.8, 0.9]
    assert read["config"]["d"] == [1, "c"] and read["nested"] == ({"x": 1}, [3])


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV])
def test_a_file_system_without_hard_links_gets_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    for value in (1.0, 2.0):
        save_atomically({"model": {"a": torch.full((2,), value)}}, tmp_path / "model_1.ckpt")
        link_atomically(tmp_path / "model_1.ckpt", tmp_path / "current.ckpt")
        assert read_checkpoint_file(tmp_path / "current.ckpt")["model"]["a"].tolist() == [value, value]
    assert {path.name for path in tmp_path.iterdir()} == {"model_1.ckpt", "current.ckpt"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_found_and_named(value: float) -> None:
    state = {"model": {"a": torch.ones(3), "ids": torch.arange(3)}, "optimizer": {0: {"exp_avg": torch.zeros(2, 2)}}}
    assert first_not_finite(state) is None
    assert first_not_finite({"a": torch.full((2,), 3e38), "b": torch.full((2,), -3e38)}) is None  # large, but numbers
    state["optimizer"][0]["exp_avg"][1, 0] = value
    assert first_not_finite(state) == "optimizer.0.exp_avg"
