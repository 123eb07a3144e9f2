"""Every equation of the paper's section 3, recomputed from its definition in NumPy on random batches, to 1e-6.

The numbers in brackets are the paper's subsections:

* [3.0] location vector, and the embeddings of words, tags and regions;
* [3.1] L_RT = L_MLM(tags) + L_MRC + L_MRFR;
* [3.2] L_RP = L_MLM(phrases) + L_pMRTC;
* [3.3] L_IS = L_MLM(matched sentence) + L_ITM;
* [3.4] L = L_RT + L_RP + L_IS before epoch m, then L_RT + w_ITM (L_RP + L_IS) with one w_ITM per pair.

The model gives hidden states; all that follows them (heads, losses, weights, means) is written out here once more,
sample by sample. The model runs in float64, so that 1e-6 tells a wrong formula from rounding.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from mmf_muvla.datasets.collate import PretrainingSample, collate_pretraining
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.objectives.image_sentence import image_sentence_row
from mmf_muvla.objectives.masking import IGNORE, MaskingConfig, Vocabulary
from mmf_muvla.objectives.region_phrase import Links, region_phrase_row
from mmf_muvla.objectives.region_tag import region_tag_row
from mmf_muvla.objectives.registry import HEADS, LOSSES
from mmf_muvla.regions.regions import Regions

PRETRAINING_LOSSES = [LOSSES[name] for name in HEADS]

SAMPLES, FEATURES, CLASSES, WORDS = 5, 6, 7, 60
TAG, PHRASE, MATCHED, MISMATCHED = range(4)  # the rows of a batch
SEEDS = range(5)
WARM_UP = 1  # the paper's m

_erf = np.vectorize(math.erf)


def numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def linear(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ numbers(layer.weight).T + numbers(layer.bias)


def layer_norm(layer: torch.nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.eps)
    return scaled * numbers(layer.weight) + numbers(layer.bias)


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum())


def word_log_probability(head, state: np.ndarray) -> np.ndarray:
    x = linear(head.dense, state)
    x = layer_norm(head.norm, x * 0.5 * (1 + _erf(x / math.sqrt(2))))
    return log_softmax(linear(head.decoder, x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


class Case:
    """A random model with a random batch, its hidden states, and every loss of every sample by the formulas."""

    def __init__(self, seed: int, epoch: int, published: bool = True):
        torch.manual_seed(seed)
        config = TrunkConfig(
            vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
            max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.encoder = Encoder(config, FEATURES)
        # As in the published code; else a layer on [CLS], as the paper says, and a vocabulary head for each modality.
        self.published = published
        kinds: dict[str, Any] = {"itm_pooling": "bert" if published else "cls", "share_vocabulary_head": published}
        self.heads = PretrainingHeads(self.encoder, FEATURES, CLASSES, warmup_epochs=WARM_UP, **kinds)
        for module in (self.encoder, self.heads):
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.4)
            module.double()
        self.batch = random_batch(seed, epoch)
        names = ("input_ids", "attention_mask", "image_feature_0", "bbox", "image_size", "region_mask", "token_region")
        inputs = {name: self.batch[name] for name in (*names, "hidden_regions")}
        self.text, self.regions = (numbers(states) for states in self.encoder(**inputs))
        self.output = self.heads(self.encoder, self.batch)["pretraining"]

    def model_loss(self, views: tuple[int, ...] | None = None) -> float:
        """The sum of the five losses; with ``views``, of these views alone, unweighted."""
        output = self.output
        if views is not None:
            chosen = torch.zeros(3, SAMPLES)
            chosen[list(views)] = 1
            output = replace(output, view_weight=chosen.flatten(), statistics={})
        return sum(loss()({}, {"pretraining": output}).item() for loss in PRETRAINING_LOSSES)

    def mlm(self, i: int, row: int) -> float:
        labels = self.batch["mlm_labels"][i, row].tolist()
        return mean(
            [
                -word_log_probability(self.heads.mlm, self.text[i, row, t])[label]
                for t, label in enumerate(labels)
                if label != IGNORE
            ]
        )

    def masked_regions(self, i: int) -> list[int]:
        return np.flatnonzero(self.batch["region_targets"][i, TAG].numpy()).tolist()

    def region_tag(self, i: int) -> float:
        classes, original = self.batch["object_class"][i].tolist(), numbers(self.batch["image_feature_0"][i])
        states = self.regions[i, TAG]
        mrc = mean([-log_softmax(linear(self.heads.mrc, states[r]))[classes[r]] for r in self.masked_regions(i)])
        mrfr = mean(
            [((linear(self.heads.mrfr, states[r]) - original[r]) ** 2).sum() / FEATURES for r in self.masked_regions(i)]
        )
        return self.mlm(i, TAG) + mrc + mrfr

    def region_phrase(self, i: int) -> float:
        losses = []
        for r, pieces in enumerate(self.batch["phrase_ids"][i].tolist()):
            wanted = [piece for piece in pieces if piece != IGNORE]
            if wanted:
                head = self.heads.mlm if self.published else self.heads.p_mrtc
                log_probability = word_log_probability(head, self.regions[i, PHRASE, r])
                losses.append(-sum(log_probability[piece] / len(wanted) for piece in wanted))
        return self.mlm(i, PHRASE) + mean(losses)

    def match_probability(self, i: int, row: int) -> float:
        state = self.text[i, row, 0]
        if not self.published:
            return 1 / (1 + math.exp(-linear(self.heads.itm, state)[0]))
        pooled = np.tanh(linear(self.heads.pooler.cls_dense, state))
        return np.exp(log_softmax(linear(self.heads.itm.seq_relationship, pooled)))[0]  # 0: they belong together

    def image_sentence(self, i: int) -> float:
        itm = -math.log(self.match_probability(i, MATCHED)) - math.log(1 - self.match_probability(i, MISMATCHED))
        return self.mlm(i, MATCHED) + itm / 2


def random_batch(seed: int, epoch: int) -> dict:
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary(cls_id=1, sep_id=2, mask_id=3, pad_id=0, ordinary_ids=np.arange(10, WORDS))
    masking = MaskingConfig(token_rate=0.3, region_rate=0.3, phrase_rate=0.5)
    samples = []
    for number in range(SAMPLES):
        n, t = int(rng.integers(1, 6)), int(rng.integers(4, 9))
        words, other = (rng.integers(10, WORDS, size=t) for _ in range(2))
        links = Links(np.where(np.arange(t) < 2, 0, 1), rng.integers(-1, 2, size=n), rng.random(n))
        tags = [rng.integers(10, WORDS, size=int(rng.integers(1, 3))) for _ in range(n)]
        rows = {
            "region_tag": region_tag_row(tags, rng, vocabulary, masking, 20),
            "region_phrase": region_phrase_row(words, links, rng, vocabulary, masking),
            "matched": image_sentence_row(words, n, True, rng, vocabulary, masking),
            "mismatched": image_sentence_row(other, n, False, rng, vocabulary, masking),
        }
        corner = rng.random((n, 2)) * 50
        image = Regions(
            image_id=str(number),
            width=90,
            height=120,
            image_feature_0=rng.normal(size=(n, FEATURES)).astype(np.float16),
            bbox=np.concatenate([corner, corner + 20], axis=1).astype(np.float32),
            class_id=rng.integers(0, CLASSES, size=n).astype(np.int32),
            attribute_id=np.full(n, -1, np.int32),
            confidence=np.ones(n, np.float32),
        )
        samples.append(PretrainingSample(image, rows, epoch, "matched"))
    return collate_pretraining(samples, vocabulary.pad_id)


@cache
def case(seed: int, epoch: int = 0, published: bool = True) -> Case:
    return Case(seed, epoch, published)


@pytest.mark.parametrize("seed", SEEDS)
def test_3_0_what_enters_the_trunk(seed: int) -> None:
    """LayerNorm of word + position (tags: location of their region) + segment; feature + location + segment."""
    it = case(seed)
    seen: list[torch.Tensor] = []
    hook = it.encoder.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    it.heads(it.encoder, it.batch)
    hook.remove()
    entered = numbers(seen[0]).reshape(SAMPLES, 4, -1, 16)
    e, b = it.encoder.embeddings, it.batch
    length = b["input_ids"].shape[2]
    for i in range(SAMPLES):
        width, height = b["image_size"][i].tolist()
        for r in np.flatnonzero(b["region_mask"][i].numpy()).tolist():
            x1, y1, x2, y2 = b["bbox"][i, r].tolist()
            place = [x1 / width, y1 / height, x2 / width, y2 / height, (y2 - y1) * (x2 - x1) / (width * height)]
            place_vector = linear(e.location, np.array(place))
            for row in range(4):
                feature = numbers(b["image_feature_0"][i, r]) * (not b["hidden_regions"][i, row, r])
                projected = linear(e.feature, layer_norm(e.feature_norm, feature))
                expected = layer_norm(e.norm, projected + place_vector + numbers(e.segment.weight)[1])
                np.testing.assert_allclose(entered[i, row, length + r], expected, atol=1e-6)
                for t in np.flatnonzero(b["token_region"][i, row].numpy() == r).tolist():
                    tag = numbers(e.word.weight)[b["input_ids"][i, row, t]] + place_vector
                    np.testing.assert_allclose(
                        entered[i, row, t], layer_norm(e.norm, tag + numbers(e.segment.weight)[0]), atol=1e-6
                    )
        for t in np.flatnonzero(b["attention_mask"][i, MATCHED].numpy()).tolist():
            word = numbers(e.word.weight)[b["input_ids"][i, MATCHED, t]] + numbers(e.position.weight)[t]
            np.testing.assert_allclose(
                entered[i, MATCHED, t], layer_norm(e.norm, word + numbers(e.segment.weight)[0]), atol=1e-6
            )


@pytest.mark.parametrize("seed", SEEDS)
def test_3_1_region_tag(seed: int) -> None:
    expected = mean([case(seed).region_tag(i) for i in range(SAMPLES)])
    assert case(seed).model_loss((0,)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_3_2_region_phrase(seed: int, published: bool) -> None:
    it = case(seed, published=published)
    expected = mean([it.region_phrase(i) for i in range(SAMPLES)])
    assert it.model_loss((1,)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_3_3_image_sentence(seed: int, published: bool) -> None:
    it = case(seed, published=published)
    expected = mean([it.image_sentence(i) for i in range(SAMPLES)])
    assert it.model_loss((2,)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("epoch", [0, 1, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_3_4_the_curriculum(seed: int, epoch: int) -> None:
    it = case(seed, epoch)
    total = 0.0
    for i in range(SAMPLES):
        weight = 1.0 if epoch < WARM_UP else it.match_probability(i, MATCHED)
        total += it.region_tag(i) + weight * (it.region_phrase(i) + it.image_sentence(i))
    assert it.model_loss() == pytest.approx(total / SAMPLES, rel=1e-6)


def test_3_4_the_weight_has_no_gradient() -> None:
    it = case(0, epoch=1)
    assert not it.output.view_weight.requires_grad and not it.output.match_probability.requires_grad
    assert it.output.predictions["itm"].prediction.requires_grad
