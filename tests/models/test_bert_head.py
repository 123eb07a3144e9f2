"""BERT's heads start those of pre-training, and the report tells what was taken."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining, BertModel

from mmf_muvla.models.checkpoint import load_bert
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.tasks import ClassificationHeads
from mmf_muvla.models.trunk import TrunkConfig
from tests.models.test_trunk import through_trunk

CONFIG = BertConfig(
    vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=20,
)  # fmt: skip


def saved(folder: Path, kind: Any) -> Any:
    torch.manual_seed(0)
    model = kind(CONFIG)
    for parameter in model.parameters():  # biases and norms of a fresh BERT are 0 and 1: give them values
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return model.eval()


def old_names(folder: Path, model: Any, prefix: bool = True) -> None:
    """The same checkpoint as the first releases had it: a ``.bin``, gamma and beta, the tied matrix twice; with
    ``bert.`` before the names of the encoder, or without."""
    (folder / "model.safetensors").unlink()
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = {}
    for name, value in model.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        name = name.removeprefix("bert.")
        state[f"bert.{name}" if prefix and not name.startswith("cls.") else name] = value.clone()
    torch.save(state, folder / "pytorch_model.bin")


def model(folder: Path, **options: Any) -> tuple[Encoder, PretrainingHeads, nn.ModuleDict]:
    """Encoder, heads, and both together, as in ``muvla``."""
    torch.manual_seed(1)
    encoder = Encoder(TrunkConfig.from_checkpoint(str(folder)), feature_dim=8).eval()
    heads = PretrainingHeads(encoder, feature_dim=8, num_object_classes=3, warmup_epochs=1, **options).eval()
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
        states = through_trunk(encoder, encoder.embeddings.embed_text(input_ids), mask)[mask]
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


# What else a checkpoint may be of, and what it lacks then.
LACKING: dict[Any, list[str]] = {
    BertForPreTraining: [],
    BertForNextSentencePrediction: ["masked-token head"],
    BertForMaskedLM: ["pooler", "next-sentence head"],
    BertModel: ["next-sentence head", "masked-token head"],
}
GRADIENTS = {
    "heads.itm.seq_relationship.weight": "cls.seq_relationship.weight",
    "heads.pooler.cls_dense.weight": "pooler.dense.weight",
    "heads.mlm.dense.weight": "cls.predictions.transform.dense.weight",
    "encoder.embeddings.word.weight": "embeddings.word_embeddings.weight",
    "encoder.trunk.layers.0.expand.weight": "encoder.layer.0.intermediate.dense.weight",
}


@pytest.mark.parametrize("form", ["as saved today", "old", "old, without prefix"])
@pytest.mark.parametrize("kind", LACKING, ids=lambda kind: kind.__name__)
def test_what_a_checkpoint_has_equals_transformers_and_what_it_lacks_is_said(
    tmp_path: Path, kind: Any, form: str
) -> None:
    bert = saved(tmp_path, kind)
    if form != "as saved today":
        old_names(tmp_path, bert, prefix=form == "old")
    encoder, heads, both = model(tmp_path, itm_pooling="bert", share_vocabulary_head=True)
    before = {name: value.clone() for name, value in both.state_dict().items()}
    report = load_bert(both, str(tmp_path))
    lacking = LACKING[kind]
    assert report.notes == tuple(f"no {part}: starts at random" for part in lacking)
    assert all(note in str(report) for note in report.notes)
    assert not report.unused
    modules = {"pooler": "pooler", "next-sentence head": "itm", "masked-token head": "mlm"}
    absent = {modules[part] for part in lacking}
    assert {name.split(".")[1] for name in report.missing if name.startswith("heads.")} == {"mrc", "mrfr", *absent}
    for name in report.missing:
        assert torch.equal(both.state_dict()[name], before[name])

    generator = torch.Generator().manual_seed(1)
    # transformers gives [PAD], which is 0, no gradient as an input
    input_ids = torch.randint(1, 50, (3, 9), generator=generator)
    mask = torch.arange(9) < torch.tensor([9, 4, 6]).unsqueeze(1)
    regions = torch.zeros(3, 1, 24)
    states = through_trunk(encoder, encoder.embeddings.embed_text(input_ids), mask)
    pooled = heads.pooler(states, mask, regions, torch.ones(3, 1, dtype=torch.bool))
    theirs = bert(input_ids, attention_mask=mask.long())
    close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)
    belongs = torch.tensor([1.0, 0.0, 1.0])
    ours_loss, their_loss = torch.zeros(()), torch.zeros(())
    if "mlm" not in absent:
        words, their_words = heads.mlm(states[mask]), getattr(theirs, "prediction_logits", theirs[0])[mask]
        close(words, their_words)
        ours_loss = ours_loss + F.cross_entropy(words, input_ids[mask])
        their_loss = their_loss + F.cross_entropy(their_words, input_ids[mask])
    if "itm" not in absent:
        matching = heads.itm(pooled).squeeze(-1)
        their_matching = theirs["seq_relationship_logits" if kind is BertForPreTraining else "logits"]
        together, apart = their_matching.unbind(1)
        close(matching, together - apart)
        # Binary cross-entropy of the difference is the cross-entropy of both, where 0 means: they belong together.
        ours_loss = ours_loss + F.binary_cross_entropy_with_logits(matching, belongs)
        their_loss = their_loss + F.cross_entropy(their_matching, 1 - belongs.long())
    elif "pooler" not in absent:
        close(pooled, theirs.pooler_output)
        ours_loss, their_loss = ours_loss + pooled.square().sum(), their_loss + theirs.pooler_output.square().sum()
    close(ours_loss, their_loss)
    ours_loss.backward()
    their_loss.backward()
    parameters = {name.removeprefix("bert."): value for name, value in bert.named_parameters()}
    for ours_name, theirs_name in GRADIENTS.items():
        if ours_name in report.loaded:
            close(both.get_parameter(ours_name).grad, parameters[theirs_name].grad, msg=ours_name)


def test_a_bias_that_is_there_by_its_second_name_alone_is_found(tmp_path: Path) -> None:
    bert = saved(tmp_path, BertForMaskedLM)
    state = bert.state_dict()
    del state["cls.predictions.bias"]
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    _, heads, both = model(tmp_path)
    assert not load_bert(both, str(tmp_path)).notes
    assert torch.equal(heads.mlm.decoder.bias, bert.cls.predictions.bias)


def test_a_task_goes_on_with_the_pooler_that_matching_has_trained(tmp_path: Path) -> None:
    bert = saved(tmp_path, BertForPreTraining)
    encoder, _, _ = model(tmp_path)
    task = nn.ModuleDict({"encoder": encoder, "heads": ClassificationHeads(encoder, 3, 0.0, pooling="bert")})
    assert "heads.pooler.cls_dense.weight" in load_bert(task, str(tmp_path)).loaded
    assert torch.equal(task.get_parameter("heads.pooler.cls_dense.weight"), bert.bert.pooler.dense.weight)
    _, pretraining, _ = model(tmp_path, itm_pooling="bert")
    names = {name for name in task["heads"].state_dict() if name.startswith("pooler")}
    assert names and names <= set(pretraining.state_dict())


def test_with_one_vocabulary_head_words_and_regions_train_the_same(tmp_path: Path) -> None:
    saved(tmp_path, BertForPreTraining)
    _, heads, _ = model(tmp_path, share_vocabulary_head=True)
    assert not any(name.startswith("p_mrtc") for name in heads.state_dict())
