"""What a run writes about w_ITM: mean and deciles, in the log's values, in history.jsonl and in TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmf_muvla.objectives.loss import PretrainingOutput
from mmf_muvla.trainers.history import History, RunningMeans


class Recorder:
    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}

    def add_scalar(self, name: str, value: float, update: int) -> None:
        assert update == 7
        self.scalars[name] = value


def test_match_probabilities_of_an_interval_are_told_as_mean_and_deciles(tmp_path: Path) -> None:
    means = RunningMeans(torch.device("cpu"))
    probabilities = torch.rand(30, generator=torch.Generator().manual_seed(0))
    for part in probabilities.split(10):
        output = PretrainingOutput(10, torch.ones(30), torch.ones(10), match_probability=part)
        batch = {"image_feature_0": torch.zeros(10, 1, 1)}
        means.add_batch({}, torch.tensor(1.5), {"pretraining": output}, batch)
    values = means.collect()
    assert values["w_itm"] == pytest.approx(probabilities.mean().item())
    assert values["total_loss"] == 1.5
    expected = np.quantile(probabilities.numpy(), np.arange(1, 10) / 10)
    assert values["w_itm_deciles"] == pytest.approx(expected.tolist(), abs=1e-4)

    recorder = Recorder()
    history = History(tmp_path, enabled=True, watchers=[recorder.add_scalar])
    history.write("train", 7, 0.5, values)
    line = json.loads(history.path.read_text())
    assert line["w_itm_deciles"] == values["w_itm_deciles"] and line["update"] == 7
    assert [recorder.scalars[f"train/w_itm_deciles/{n}"] for n in range(1, 10)] == values["w_itm_deciles"]
    assert recorder.scalars["train/w_itm"] == values["w_itm"]


def test_an_interval_starts_anew() -> None:
    means = RunningMeans(torch.device("cpu"))
    output = PretrainingOutput(2, torch.ones(6), torch.ones(2), match_probability=torch.tensor([0.1, 0.3]))
    batch = {"image_feature_0": torch.zeros(2, 1, 1)}
    means.add_batch({}, torch.tensor(1.0), {"pretraining": output}, batch)
    means.collect()
    means.add_batch({}, torch.tensor(2.0), {"pretraining": PretrainingOutput(2, torch.ones(6), torch.ones(2))}, batch)
    values = means.collect()
    assert values["total_loss"] == 2 and "w_itm" not in values


def test_the_losses_of_a_task_are_means_over_labelled_samples() -> None:
    means = RunningMeans(torch.device("cpu"))
    for labelled, loss, reachable in (([True, True, True], 1.0, 2), ([True, False, False], 5.0, 1)):
        batch = {"image_feature_0": torch.zeros(3, 1, 1), "labelled": torch.tensor(labelled)}
        output = {"statistics": {"reachable": (torch.tensor(reachable), torch.tensor(sum(labelled)))}}
        means.add_batch({"train/vqa2/muvla_answer_bce": torch.tensor(loss)}, torch.tensor(loss), output, batch)
    values = means.collect()
    # Three samples with a mean of 1 and one with 5.
    assert values["total_loss"] == values["muvla_answer_bce"] == pytest.approx(2.0)
    assert values["reachable"] == pytest.approx(3 / 4)


def test_a_task_without_labels_has_no_loss() -> None:
    means = RunningMeans(torch.device("cpu"))
    batch = {"image_feature_0": torch.zeros(2, 1, 1), "labelled": torch.tensor([False, False])}
    means.add_batch({"test/nlvr2/muvla_cross_entropy": torch.tensor(0.0)}, torch.tensor(0.0), {}, batch)
    assert set(means.collect()) == {"samples_per_s"}


def test_a_pause_does_not_slow_the_logged_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 110.0, 120.0, 120.0])
    monkeypatch.setattr("mmf_muvla.trainers.history.time.perf_counter", lambda: next(clock))
    means = RunningMeans(torch.device("cpu"))
    batch = {"image_feature_0": torch.zeros(40, 1, 1)}
    with means.paused():  # from 10 to 110
        pass
    means.add_batch({}, torch.tensor(1.0), {}, batch)
    assert means.collect()["samples_per_s"] == pytest.approx(40 / 20)
