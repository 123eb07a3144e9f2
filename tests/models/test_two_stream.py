"""Two streams: the text's is BERT, the regions' knows of it by co-attention alone, and every head stands on both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import load_bert
from mmf_muvla.models.cpu.ragged import RaggedLayout
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.layout import Layout
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.models.two_stream import CrossAttention, TwoStreamShape, TwoStreamTrunk
from tests.datasets.small_tasks import DIM, TASKS, make
from tests.models.test_tasks import heads_of
from tests.models.test_trunk import small_bert, through_trunk

SHAPE = TwoStreamShape(region_layers=2, co_layers=2)
CONFIG = TrunkConfig(
    vocab_size=50, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=20, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
SAMPLES, WORDS, REGIONS, FEATURES = 3, 6, 5, 8


def encoder_of(shape: TwoStreamShape = SHAPE, config: TrunkConfig = CONFIG, feature_dim: int = FEATURES) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(config, feature_dim, two_streams=shape).eval()
    for parameter in encoder.parameters():  # at BERT's small initial values all states would be nearly alike
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return encoder


def batch_of(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(0, 50, (SAMPLES, 1, WORDS), generator=generator),
        "attention_mask": torch.arange(WORDS) < torch.tensor([6, 3, 4]).view(3, 1, 1),
        "image_feature_0": torch.randn(SAMPLES, REGIONS, FEATURES, generator=generator),
        "bbox": torch.rand(SAMPLES, REGIONS, 4, generator=generator) * 40,
        "image_size": torch.full((SAMPLES, 2), 40.0),
        "region_mask": torch.arange(REGIONS) < torch.tensor([2, 5, 1]).unsqueeze(1),
    }


def test_padding_and_the_company_of_other_samples_change_nothing() -> None:
    encoder, batch = encoder_of(), batch_of()
    text, regions = encoder(**batch)
    changed = {name: value.clone() for name, value in batch.items()}
    changed["input_ids"][~batch["attention_mask"]] = 7
    changed["image_feature_0"][~batch["region_mask"]] = 99.0
    changed["bbox"][~batch["region_mask"]] = 3.0
    for other, expected in zip(encoder(**changed), (text, regions), strict=True):
        torch.testing.assert_close(other, expected, atol=1e-5, rtol=0)
    for sample in range(SAMPLES):
        words, n = int(batch["attention_mask"][sample].sum()), int(batch["region_mask"][sample].sum())
        alone = {name: value[sample : sample + 1] for name, value in batch.items()}
        alone |= {name: alone[name][:, :, :words] for name in ("input_ids", "attention_mask")}
        alone |= {name: alone[name][:, :n] for name in ("image_feature_0", "bbox", "region_mask")}
        alone_text, alone_regions = encoder(**alone)
        torch.testing.assert_close(alone_text[0], text[sample, :, :words], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone_regions[0], regions[sample, :, :n], atol=1e-5, rtol=0)
        assert not text[sample, :, words:].any() and not regions[sample, :, n:].any()


def test_only_what_is_wanted_is_given() -> None:
    encoder, batch = encoder_of(), batch_of()
    everything = encoder(**batch)
    wanted = (torch.zeros(SAMPLES, 1, WORDS, dtype=torch.bool), torch.rand(SAMPLES, 1, REGIONS) < 0.5)
    wanted[0][..., 0] = True
    masks = (batch["attention_mask"], batch["region_mask"].unsqueeze(1))
    for some, every, asked, mask in zip(encoder(**batch, wanted=wanted), everything, wanted, masks, strict=True):
        torch.testing.assert_close(some, every * (asked & mask).unsqueeze(-1), atol=1e-5, rtol=0)


def cut_off(encoder: Encoder, direction: str) -> None:
    """Let a stream see nothing of the other: its co-attention gives zero."""
    for co_layer in encoder.trunk.co_layers:
        attention = co_layer.get_submodule(direction).attention
        nn.init.zeros_(attention.key_value.weight)
        nn.init.zeros_(attention.key_value.bias)


def test_streams_know_of_each_other_by_co_attention_alone() -> None:
    encoder, batch = encoder_of(), batch_of()
    other_text = {**batch, "input_ids": (batch["input_ids"] + 1) % 50}
    other_image = {**batch, "image_feature_0": batch["image_feature_0"].flip(1) + 1}
    text, regions = encoder(**batch)
    assert (encoder(**other_text)[1] - regions).abs().max() > 0.1
    assert (encoder(**other_image)[0] - text).abs().max() > 0.1
    cut_off(encoder, "regions")
    regions = encoder(**batch)[1]
    torch.testing.assert_close(encoder(**other_text)[1], regions, atol=1e-6, rtol=0)
    assert (encoder(**other_image)[0] - encoder(**batch)[0]).abs().max() > 0.1
    cut_off(encoder, "text")
    torch.testing.assert_close(encoder(**other_image)[0], encoder(**batch)[0], atol=1e-6, rtol=0)


def test_co_attention_follows_the_last_layers_alone() -> None:
    """With one block, the text before it is BERT's: the block sees the states of all text layers."""
    encoder, batch = encoder_of(TwoStreamShape(region_layers=2, co_layers=1)), batch_of()
    seen: list[torch.Tensor] = []
    trunk = encoder.trunk
    assert isinstance(trunk, TwoStreamTrunk) and len(trunk.co_layers) == 1
    hook = trunk.co_layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(**batch)
    hook.remove()
    single = Encoder(CONFIG, FEATURES).eval()
    single.load_state_dict(encoder.state_dict(), strict=False)
    mask = batch["attention_mask"].flatten(0, 1)
    alone = through_trunk(single, single.embeddings.embed_text(batch["input_ids"].flatten(0, 1)), mask)[mask]
    torch.testing.assert_close(seen[0][: len(alone)], alone, atol=1e-5, rtol=0)


def test_cross_attention_by_hand() -> None:
    """Softmax of scaled products over the other's real positions, and zero where it has none."""
    torch.manual_seed(0)
    attention = CrossAttention(CONFIG).eval()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    other_mask = torch.tensor([[True, False], [False, False]])
    layout, other_layout = (Layout(m, None) for m in (mask, other_mask))
    hidden, other = torch.randn(4, 24), torch.randn(1, 24)
    result = attention(hidden, layout, other, other_layout)
    # With one position to look at, all attention goes there: the context is its value.
    value = attention.key_value(other)[0, 24:]
    context = torch.stack([value, value, value, torch.zeros(24)])
    torch.testing.assert_close(result, attention.norm(hidden + attention.output(context)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sees", [[True, False, True], [False, False, False]])
def test_rows_without_regions_give_numbers_and_gradients(sees: list[bool]) -> None:
    encoder, batch = encoder_of().train(), batch_of()
    text, regions = encoder(**batch, sees_regions=torch.tensor(sees).unsqueeze(1))
    (text.square().sum() + regions.square().sum()).backward()
    assert text.isfinite().all() and regions.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    for sample, seen in enumerate(sees):
        assert bool(regions[sample].any()) == seen


def test_padded_and_ragged_streams_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does and what a CPU does, states and gradients."""
    encoder, batch = encoder_of(), batch_of()
    results = []
    for padded in (False, True):
        monkeypatch.setattr(
            "mmf_muvla.models.two_stream.layout_for", lambda _, padded=padded: Layout if padded else RaggedLayout
        )
        encoder.zero_grad()
        states = encoder(**batch)
        (states[0].square().sum() + states[1].sin().sum()).backward()
        results.append((*states, encoder.embeddings.word.weight.grad, encoder.embeddings.feature.weight.grad.clone()))
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=1e-4)


def test_gradients_reach_both_streams_from_either_side() -> None:
    for part in (0, 1):
        encoder, batch = encoder_of(), batch_of()
        encoder(**batch)[part].sin().sum().backward()
        for name in ("trunk.layers.0.expand", "trunk.region_layers.0.expand", "embeddings.word", "embeddings.feature"):
            assert encoder.get_submodule(name).weight.grad.abs().max() > 0, (part, name)


def test_the_text_stream_is_the_checkpoints_and_the_report_tells_the_rest(tmp_path: Path) -> None:
    bert = small_bert(tmp_path)
    options = {"pretrained": str(tmp_path), "random_init": False, "feature_dim": 8, "streams": 2}
    encoder = Encoder.from_options(options).eval()
    report, trunk = load_bert(encoder, str(tmp_path)), encoder.trunk
    assert isinstance(trunk, TwoStreamTrunk)
    assert (len(trunk.layers), len(trunk.region_layers), len(trunk.co_layers)) == (3, 1, 1)
    assert len(report.loaded) == 5 + 3 * 12
    for ours, theirs in zip(trunk.layers, bert.encoder.layer, strict=True):
        torch.testing.assert_close(ours.expand.weight.data, theirs.intermediate.dense.weight.data)
    missing = {".".join(name.split(".")[:2]) for name in report.missing}
    assert missing == {
        *("trunk.region_layers", "trunk.co_layers"),
        *("embeddings.feature_norm", "embeddings.feature", "embeddings.location"),
    }
    assert "trunk.region_layers.0.expand" in str(report)


def test_a_single_stream_is_what_it_was() -> None:
    assert TwoStreamShape.from_options({}, text_layers=12) is None
    assert TwoStreamShape.from_options({"streams": 1, "region_layers": None, "compile": True}, 12) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (6, 6)),  # ViLBERT's
        ({"region_layers": 4}, (4, 4)),
        ({"co_layers": 2}, (6, 2)),
        ({"region_layers": 12, "co_layers": 1}, (12, 1)),
    ],
)
def test_the_shape(options: dict[str, Any], expected: tuple[int, int]) -> None:
    shape = TwoStreamShape.from_options({"streams": 2, **options}, text_layers=12)
    assert shape is not None and (shape.region_layers, shape.co_layers) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region_layers": 2}, "trunk.region_layers=2: a single stream has no such layers"),
        ({"streams": 1, "co_layers": 2}, "trunk.co_layers=2: a single stream"),
        ({"streams": 2, "region_layers": 4}, "trunk.region_layers=4: not a possible number .* from 1 to 3"),
        ({"streams": 2, "region_layers": 2, "co_layers": 3}, "trunk.co_layers=3: .* from 1 to 2"),
        ({"streams": 2, "compile": True}, "trunk.compile=true: not available with streams=2"),
        ({"streams": 2, "activation_checkpointing": True}, "trunk.activation_checkpointing=true: not available"),
    ],
)
def test_impossible_combinations_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    small_bert(tmp_path)
    with pytest.raises(InputError, match=message):
        Encoder.from_options({"pretrained": str(tmp_path), "random_init": False, "feature_dim": 8, **options})


@pytest.mark.parametrize("task", TASKS)
def test_the_heads_of_the_tasks_stand_on_two_streams(tmp_path: Path, task: str) -> None:
    config = TrunkConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)
    encoder = encoder_of(TwoStreamShape(region_layers=1, co_layers=1), config, DIM)
    dataset = make(tmp_path, task)
    together = dataset.__getitems__(range(6))
    heads = heads_of(task, encoder)
    values = heads(encoder, together)["scores"]
    for item in range(6):
        one = heads(encoder, dataset.__getitems__([item]))["scores"][0]
        torch.testing.assert_close(values[item, : len(one)], one, atol=1e-5, rtol=0)
    values[torch.isfinite(values)].square().sum().backward()
    # None without a gradient: distributed training would wait for it.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*heads.parameters(), *encoder.parameters()])
    assert encoder.embeddings.feature.weight.grad.abs().max() > 0
