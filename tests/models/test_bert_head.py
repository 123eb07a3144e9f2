"""BERT's masked-token head starts the MLM head, and the report tells what was taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertModel

from mmf_muvla.models.checkpoint import load_bert
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.trunk import TrunkConfig

CONFIG = BertConfig(
    vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=20,
)  # fmt: skip


def saved(folder: Path, kind: type[BertModel] | type[BertForMaskedLM]) -> BertModel | BertForMaskedLM:
    torch.manual_seed(0)
    model = kind(CONFIG)
    for parameter in model.parameters():  # biases and norms of a fresh BERT are 0 and 1: give them values
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return model.eval()


def old_names(folder: Path, model: BertForMaskedLM) -> None:
    """The same checkpoint as the first releases had it: a ``.bin``, gamma and beta, the tied matrix twice."""
    (folder / "model.safetensors").unlink()
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = {}
    for name, value in model.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        state[name] = value.clone()
    torch.save(state, folder / "pytorch_model.bin")


def model(folder: Path) -> tuple[Encoder, PretrainingHeads, nn.ModuleDict]:
    """Encoder, heads, and both together, as in ``muvla``."""
    torch.manual_seed(1)
    encoder = Encoder(TrunkConfig.from_checkpoint(str(folder)), feature_dim=8).eval()
    heads = PretrainingHeads(encoder, feature_dim=8, num_object_classes=3, warmup_epochs=1).eval()
    return encoder, heads, nn.ModuleDict({"encoder": encoder, "heads": heads})


@pytest.mark.parametrize("old", [False, True])
def test_logits_equal_those_of_transformers(tmp_path: Path, old: bool) -> None:
    bert = saved(tmp_path, BertForMaskedLM)
    if old:
        old_names(tmp_path, bert)
    encoder, heads, both = model(tmp_path)
    report = load_bert(both, str(tmp_path))
    input_ids = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([9, 4, 6]).unsqueeze(1)
    with torch.no_grad():
        states = encoder.trunk(encoder.embeddings.embed_text(input_ids), mask)[mask]
        theirs = bert(input_ids, attention_mask=mask.long()).logits[mask]
        torch.testing.assert_close(heads.mlm(states), theirs, atol=1e-4, rtol=1e-5)
        assert (heads.p_mrtc(states) - theirs).abs().max() > 0.1
    parts = ("dense.weight", "dense.bias", "norm.weight", "norm.bias", "decoder.bias")
    assert {f"heads.mlm.{part}" for part in parts} <= set(report.loaded)
    assert not any(name.startswith("cls.predictions") for name in report.unused)
    assert not any(name.startswith("heads.mlm") for name in report.missing)
    assert "heads.p_mrtc.dense.weight" in report.missing and "heads.mrc.weight" in report.missing
    assert heads.mlm.decoder.weight is encoder.embeddings.word.weight


def test_a_checkpoint_without_the_head_leaves_it_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path, BertModel)
    encoder, heads, both = model(tmp_path)
    before = {name: value.clone() for name, value in heads.state_dict().items()}
    report = load_bert(both, str(tmp_path))
    before |= {name: encoder.embeddings.word.weight for name in before if name.endswith("decoder.weight")}
    assert all(torch.equal(value, before[name]) for name, value in heads.state_dict().items())
    assert {"heads.mlm.dense.weight", "heads.mlm.decoder.bias"} <= set(report.missing)
    assert not any(name.startswith("heads") for name in report.loaded)
