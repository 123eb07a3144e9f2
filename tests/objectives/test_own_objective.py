"""An objective from a user's own package: one file, and its name in the configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmf.common.registry import registry as mmf_registry
from torch import nn

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.objectives import LOSSES, OBJECTIVES, MaskingConfig
from mmf_muvla.objectives.registry import heads_are_left_out, learned
from tests.datasets.test_pretraining import make
from tests.forked import Forked
from tests.projects.test_baselines import SMALL
from tests.small_corpus import DIM, NAMES, write_small_corpus

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).parent / "region_sizes"
MMF_RUN = str(Path(sys.executable).parent / "mmf_run")


@pytest.fixture
def own() -> Iterator[None]:
    """The package, imported as MMF would do, and forgotten afterwards."""
    name = "tests.objectives.region_sizes"
    __import__(name)
    yield
    del sys.modules[name], OBJECTIVES["whole_pair"], LOSSES["region_size"]
    mmf_registry.unregister("muvla_region_size")
    mmf_registry.mapping["loss_name_mapping"].pop("muvla_region_size")


def test_what_is_learned_follows_from_it(own: None) -> None:
    losses, metrics = learned(["region_tag", "whole_pair"], MaskingConfig())
    assert losses == ["muvla_mlm", "muvla_mrc", "muvla_mrfr", "muvla_region_size"] and metrics == []
    assert heads_are_left_out(losses, ["mlm", "mrc", "mrfr", "region_size"])
    everything, metrics = learned(["region_tag", "region_phrase", "image_sentence", "whole_pair"], MaskingConfig())
    assert metrics == ["muvla_itm_accuracy"]
    assert not heads_are_left_out(everything, ["mlm", "mrc", "mrfr", "p_mrtc", "itm", "region_size"])
    without_phrases = ["mlm", "mrc", "mrfr", "itm", "region_size"]
    assert heads_are_left_out(everything, without_phrases)
    assert not heads_are_left_out(everything, without_phrases, share_vocabulary_head=True)
    assert heads_are_left_out(everything, ["mrc", "mrfr", "itm", "region_size"], share_vocabulary_head=True)


def test_two_updates_of_the_model(own: None, tmp_path: Path) -> None:
    dataset = make(write_small_corpus(tmp_path / "small"), objectives=["region_tag", "whole_pair"])
    batch = dataset.__getitems__([(0, index) for index in range(6)])
    assert batch["rows"] == ["region_tag", "whole_pair"] and "region_size" in batch["predicts"]
    torch.manual_seed(0)
    shape = {"vocab_size": 30522, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = Encoder(TrunkConfig(**shape, intermediate_size=24), DIM).eval()
    heads = PretrainingHeads(encoder, DIM, len(NAMES), warmup_epochs=1, learned={"mlm", "mrc", "mrfr", "region_size"})
    optimizer = torch.optim.SGD({*encoder.parameters(), *heads.parameters()}, lr=0.05)
    values = []
    for _ in range(3):
        output = heads(encoder, batch)
        values.append(LOSSES["region_size"]()({}, output))
        optimizer.zero_grad()
        values[-1].backward()
        optimizer.step()
    predictions = output["pretraining"].predictions["region_size"]
    assert len(predictions.prediction) == int(batch["region_mask"].sum())
    assert values[2] < values[1] < values[0]
    # Recomputed for one sample: a mean over its regions, by the head on their states.
    own_row = predictions.group == 6 * list(OBJECTIVES).index("whole_pair")
    assert int(own_row.sum()) == int(batch["region_mask"][0].sum())
    head = heads.get_submodule("region_size")
    assert isinstance(head, nn.Sequential) and any(p.grad.abs().max() > 0 for p in head.parameters())


def test_a_run_of_mmf_learns_it(tmp_path: Path, forked: Forked) -> None:
    corpus = write_small_corpus(tmp_path / "small")
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"includes: [{ROOT}/projects/muvla/pretrain_toyworld.yaml]\n"
        f"env: {{user_dir: {PACKAGE}}}\n"
        "dataset_config: {muvla_toyworld: {objectives: [region_tag, whole_pair]}}\n"
        "model_config: {muvla: {loss_weights: {muvla_region_size: 2.0}}}\n"
    )
    save_dir, data = tmp_path / "save", "dataset_config.muvla_toyworld"
    options = [f"{data}.corpus={corpus}", f"{data}.held_out_fraction=0.1", f"env.save_dir={save_dir}"]
    forked([MMF_RUN, f"config={config}", *SMALL, *options, "training.max_updates=2"])
    lines = [json.loads(line) for line in (save_dir / "history.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["split"] == "train"]
    assert len(train) == 2 and all(line["region_size"] > 0 and "itm" not in line for line in train)
    weights = torch.load(save_dir / "current.ckpt", weights_only=True)["model"]
    assert "heads.region_size.0.weight" in weights
