"""Runs that are watched: what TensorBoard and Weights & Biases are told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.trainers.history import History
from mmf_muvla.trainers.watching import open_watchers

WATCHED = {"training": {"tensorboard": False, "seed": 3, "wandb": {"enabled": True, "project": "mmf"}}}


def config(**wandb: Any) -> Any:
    """A configuration with Weights & Biases."""
    return OmegaConf.merge(WATCHED, {"training": {"wandb": {"entity": None, "name": None, **wandb}}})


class FakeWandb(SimpleNamespace):
    """Remembers the runs that were begun, and what each was told."""

    class Error(Exception):
        pass

    def __init__(self) -> None:
        super().__init__(started=[], logged=[])

    def init(self, **options: Any) -> FakeWandb:
        self.started.append(options)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((values, step))


def test_weights_and_biases_is_told_what_history_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    folder = tmp_path / "muvla_cc"
    folder.mkdir()
    watchers = open_watchers(folder, config(entity="us"), update=0)
    history = History(folder, enabled=True, watchers=watchers)
    history.write("val", 200, 0.5, {"itm": 0.6, "w_itm_deciles": [0.1, 0.9]})
    assert wandb.logged == [
        ({"val/itm": 0.6}, 200), ({"val/w_itm_deciles/1": 0.1}, 200), ({"val/w_itm_deciles/2": 0.9}, 200),
    ]  # fmt: skip
    (begun,) = wandb.started
    assert (begun["project"], begun["entity"], begun["name"]) == ("mmf", "us", "muvla_cc")
    assert begun["config"]["training"]["seed"] == 3 and begun["dir"] == str(folder)


def test_a_run_that_goes_on_is_the_same_run_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for update in (0, 500, 0):
        open_watchers(tmp_path, config(name="mine"), update)
    first, same, another = (it["id"] for it in wandb.started)
    assert first == same != another
    assert {it["name"] for it in wandb.started} == {"mine"}


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_watchers(tmp_path, config(enabled=False), 0) == []
    assert open_watchers(tmp_path, OmegaConf.create({"training": {"tensorboard": False}}), 0) == [], "of older runs"
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"training.wandb.enabled=true: Weights & Biases cannot be imported.*pip inst"):
        open_watchers(tmp_path, config(), 0)
    wandb = FakeWandb()

    def refuse(**_: Any) -> None:
        raise wandb.Error("no API key")

    wandb.init = refuse
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(InputError, match=r"does not start \(no API key\). Log in .*WANDB_MODE=offline"):
        open_watchers(tmp_path, config(), 0)


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real one, where it is installed: what was logged lies in the run's folder."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (watch,) = open_watchers(tmp_path, config(), 0)
    watch("val/itm", 0.5, 100)
    import wandb

    wandb.finish()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"val/itm" in file.read_bytes()
