"""The matching head on pairs: by one planned pass and by the model itself, and the hardest of what is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pair_scoring import PairScorer, _of_one_length
from mmf_muvla.models.retrieval import RetrievalHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.models.two_stream import TwoStreamShape
from tests.datasets.captions import TASK, caption_records
from tests.datasets.small_tasks import DIM, make

CONFIG = TrunkConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captions")


def model_of(pooling: str, streams: int = 1, layers: int = 3, dropout: float = 0.0) -> tuple[Encoder, RetrievalHeads]:
    """At BERT's small initial values all states would be nearly alike."""
    torch.manual_seed(0)
    shape = TwoStreamShape(2, 1) if streams == 2 else None
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = TrunkConfig(**{**vars(CONFIG), **dropouts, "num_hidden_layers": layers})
    encoder = Encoder(config, feature_dim=DIM, two_streams=shape)
    heads = RetrievalHeads(encoder, pooling)
    for module in (encoder, heads):
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1 or name.endswith("bias"):
                nn.init.normal_(parameter, std=0.3)
    return encoder.eval(), heads.eval()


@pytest.mark.parametrize(
    ("pooling", "streams", "layers"),
    [("bert", 1, 3), ("cls", 1, 2), ("bert", 1, 1), ("mean", 1, 3), ("mean", 1, 1), ("bert", 2, 3), ("mean", 2, 3)],
)
def test_planned_scores_are_those_of_the_model(folder: Path, pooling: str, streams: int, layers: int) -> None:
    dataset = make(folder, TASK, caption_records(), negatives=3)
    encoder, heads = model_of(pooling, streams, layers)
    batch = dataset.__getitems__([(0, item) for item in range(0, 60, 5)])
    with torch.no_grad():
        expected = heads(encoder, batch)["scores"]
    captions = dataset.captions
    pairs = []
    for item in range(0, 60, 5):
        (texts, images), text, image = dataset.draw(item, 0, 3), captions.text[item], captions.image[item]
        pairs += [(image, text), *((image, it) for it in texts), *((it, text) for it in images)]
    scorer = PairScorer(encoder, heads.pooler, heads.itm)
    images = scorer.embed_images(map(dataset.images.get, captions.image_ids))
    texts = scorer.embed_texts(map(dataset.tokens, captions.texts))
    assert (len(images), len(texts)) == (32, 64) and len({*texts.lengths}) > 3 and len({*images.lengths}) > 2
    assert expected.std() > 0.1
    for rows in (1, 5, 64):
        found = scorer.score(images, texts, np.array(pairs), rows)
        np.testing.assert_allclose(found, expected.flatten().numpy(), atol=2e-5)
    assert scorer.score(images, texts, np.zeros((0, 2), np.int64)).shape == (0,)


def test_passes_are_of_one_length_and_hold_what_they_may() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, size=(2, 500))
    for kinds in (lengths, lengths.sum(axis=0, keepdims=True)):
        parts = [*_of_one_length(kinds, 600)]
        assert sorted(np.concatenate(parts).tolist()) == list(range(500))
        assert all(len({*map(tuple, kinds[:, part].T)}) == 1 for part in parts)
        assert all(kinds[:, part].sum() <= 600 for part in parts) and len(parts) < 60
    assert [len(part) for part in _of_one_length(np.full((1, 5), 700), 600)] == [1] * 5


def test_a_pair_is_the_own_image_with_a_drawn_text_or_a_drawn_image_with_the_own_text(folder: Path) -> None:
    batch = make(folder, TASK, caption_records(), negatives=2).__getitems__([(0, 3), (0, 8)])
    inputs = RetrievalHeads.inputs(batch)
    assert inputs["input_ids"].shape[:2] == (10, 1)
    shown = inputs["input_ids"].squeeze(1).view(2, 5, -1)
    assert torch.equal(shown, batch["input_ids"][:, [0, 1, 2, 0, 0]])
    assert torch.equal(inputs["bbox"].view(2, 5, -1, 4), batch["bbox"][:, [0, 0, 0, 1, 2]])


def test_the_hardest_of_what_is_drawn_is_learned_from(folder: Path) -> None:
    dataset = make(folder, TASK, caption_records(), negatives=2, hardest_of=3)
    encoder, heads = model_of("bert")
    batch: Any = dataset.__getitems__([(0, item) for item in range(6)])
    assert batch["input_ids"].shape[:2] == (6, 7) and batch["targets"].shape == (6, 5)
    with torch.no_grad():
        every = heads._logits(encoder, batch)  # 1 true pair, 6 with drawn texts, 6 with drawn images
    best = every[:, 1:].view(6, 4, 3).max(dim=2).values
    encoder.train()
    batch["plan"] = heads.planner(encoder)(batch)
    scores = heads(encoder, batch)["scores"]
    torch.testing.assert_close(scores, torch.cat([every[:, :1], best], dim=1), atol=1e-5, rtol=0)
    assert encoder.training and scores.requires_grad


def test_choosing_draws_nothing_and_has_no_dropout(folder: Path) -> None:
    """The choice is the same whatever the state of the generator, which it leaves as it is."""
    encoder, heads = model_of("bert", dropout=0.5)
    batch = make(folder, TASK, caption_records(), hardest_of=4).__getitems__([(0, item) for item in range(8)])
    encoder.train()
    chosen = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        chosen.append(heads._hardest(encoder, batch, 1))
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(chosen[0][name], chosen[1][name]) for name in chosen[0])
    assert chosen[0]["input_ids"].shape[:2] == (8, 2)
