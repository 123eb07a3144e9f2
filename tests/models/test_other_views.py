"""The encoder and the heads on rows without regions or without a sentence, and on several rows with masked regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mmf_muvla.datasets.collate import PretrainingSample, collate_pretraining
from mmf_muvla.models.cpu.linear import ROWS_TOGETHER
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.models.two_stream import TwoStreamShape
from mmf_muvla.objectives.masking import MaskingConfig, Vocabulary
from mmf_muvla.objectives.mlm import MaskedLanguageModelling
from mmf_muvla.objectives.plain import PlainObjective, plain_row
from mmf_muvla.objectives.region_tag import (
    MaskedRegionClassification,
    MaskedRegionClassificationKL,
    MaskedRegionFeatureRegression,
    detector_divergence,
    region_tag_row,
)
from mmf_muvla.objectives.registry import OBJECTIVES
from mmf_muvla.regions.regions import Regions

PLAIN_VIEWS = {name: it for name, it in OBJECTIVES.items() if isinstance(it, PlainObjective)}

SAMPLES, FEATURES, CLASSES, WORDS = 6, 6, 7, 60
VOCABULARY = Vocabulary(cls_id=1, sep_id=2, mask_id=3, pad_id=0, ordinary_ids=np.arange(10, WORDS))
MASKING = MaskingConfig(token_rate=0.4, region_rate=0.5)
STREAMS = [None, TwoStreamShape(region_layers=1, co_layers=1)]


def model(shape: TwoStreamShape | None = None) -> tuple[Encoder, PretrainingHeads]:
    torch.manual_seed(0)
    config = TrunkConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    encoder = Encoder(config, FEATURES, two_streams=shape)
    heads = PretrainingHeads(encoder, FEATURES, CLASSES, warmup_epochs=1)
    for module in (encoder, heads):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return encoder.eval(), heads.eval()


def batch_of(views: list[str], image_seed: int = 0, words_seed: int = 0) -> dict[str, Any]:
    """Rows of these views; images and sentences are drawn from seeds of their own, masks from the sample's number."""
    images, sentences = np.random.default_rng(image_seed), np.random.default_rng((1, words_seed))
    samples = []
    for number in range(SAMPLES):
        n, t = int(images.integers(2, 6)), int(sentences.integers(4, 9))
        words = sentences.integers(10, WORDS, size=t)
        corner = images.random((n, 2)) * 50
        image = Regions(
            image_id=str(number),
            width=90,
            height=120,
            image_feature_0=images.normal(size=(n, FEATURES)).astype(np.float16),
            bbox=np.concatenate([corner, corner + 20], axis=1).astype(np.float32),
            class_id=images.integers(0, CLASSES, size=n).astype(np.int32),
            attribute_id=np.full(n, -1, np.int32),
            confidence=images.random(n).astype(np.float32),
        )
        rows = {}
        for view in views:
            rng = np.random.default_rng((number, list(OBJECTIVES).index(view)))
            if view == "region_tag":
                rows[view] = region_tag_row([np.array([10 + i]) for i in range(n)], rng, VOCABULARY, MASKING, 20)
            else:
                rows[view] = plain_row(PLAIN_VIEWS[view], words, n, rng, VOCABULARY, MASKING)
        samples.append(PretrainingSample(image, rows, epoch=3))
    return collate_pretraining(samples, VOCABULARY.pad_id)


def encode(encoder: Encoder, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    names = ("input_ids", "attention_mask", "image_feature_0", "bbox", "image_size", "region_mask", "token_region")
    with torch.no_grad():
        return encoder(**{name: batch[name] for name in (*names, "hidden_regions", "sees_regions")})


@pytest.mark.parametrize("shape", STREAMS)
def test_text_alone_does_not_depend_on_the_image_at_all(shape: TwoStreamShape | None) -> None:
    """Other images with other numbers of regions, and other views beside it, change nothing."""
    encoder, heads = model(shape)
    states = []
    for image_seed in (0, 1):
        batch = batch_of(["text_only", "masked_text"], image_seed)
        text, regions = encode(encoder, batch)
        assert not regions[:, 0].any()
        states.append((text[:, 0], text[:, 1], heads(encoder, batch)["pretraining"].predictions["mlm"]))
    torch.testing.assert_close(states[0][0], states[1][0], atol=1e-6, rtol=0)
    assert (states[0][1] - states[1][1]).abs().max() > 0.01  # where regions are seen, they matter
    of_text = states[0][2].group < SAMPLES * (list(OBJECTIVES).index("text_only") + 1)
    torch.testing.assert_close(states[0][2].prediction[of_text], states[1][2].prediction[of_text], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", STREAMS)
def test_regions_alone_do_not_depend_on_the_sentence(shape: TwoStreamShape | None) -> None:
    encoder, _ = model(shape)
    states = [encode(encoder, batch_of(["region_only", "masked_regions"], words_seed=seed))[1] for seed in (0, 1)]
    torch.testing.assert_close(states[0][:, 0], states[1][:, 0], atol=1e-6, rtol=0)
    assert (states[0][:, 1] - states[1][:, 1]).abs().max() > 0.01


def test_text_alone_costs_no_region_positions() -> None:
    encoder, heads = model()
    batch = batch_of(["text_only"])
    sizes: list[int] = []
    hook = encoder.trunk.layers[0].norm.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    heads(encoder, batch)
    hook.remove()
    words = int(batch["attention_mask"].sum())
    assert sizes == [words + -words % ROWS_TOGETHER]


def test_rows_of_regions_are_learned_sample_by_sample_and_view_by_view() -> None:
    """MRC, MRFR and MRC-KL: a mean over a row's own masked regions, summed over views, averaged over samples."""
    encoder, heads = model()
    batch = batch_of(["region_tag", "region_only", "masked_pair", "masked_regions", "text_only"])
    output = heads(encoder, batch)
    _, states = encode(encoder, batch)
    expected = {"mrc": 0.0, "mrfr": 0.0, "mrc_kl": 0.0}
    for sample in range(SAMPLES):
        for row in range(5):
            masked = batch["region_targets"][sample, row].nonzero().squeeze(1)
            assert row < 4 or not len(masked)
            if not len(masked):
                continue
            of_row = states[sample, row, masked]
            classes, confidence = batch["object_class"][sample, masked], batch["object_confidence"][sample, masked]
            logits = heads.mrc(of_row)
            log_probability = logits.log_softmax(1)[torch.arange(len(masked)), classes]
            difference = heads.mrfr(of_row) - batch["image_feature_0"][sample, masked].float()
            expected["mrc"] -= log_probability.mean().item() / SAMPLES
            expected["mrfr"] += difference.square().mean().item() / SAMPLES
            expected["mrc_kl"] += detector_divergence(logits, classes, confidence).mean().item() / SAMPLES
    for loss in (MaskedRegionClassification(), MaskedRegionFeatureRegression(), MaskedRegionClassificationKL()):
        assert loss({}, output).item() == pytest.approx(expected[loss.name], rel=1e-5), loss.name


def test_words_of_all_views_are_learned() -> None:
    encoder, heads = model()
    batch = batch_of(["text_only", "masked_pair", "masked_text"])
    output = heads(encoder, batch)
    text, _ = encode(encoder, batch)
    expected = 0.0
    for sample in range(SAMPLES):
        for row in range(3):
            labels = batch["mlm_labels"][sample, row]
            chosen = labels != -100
            if chosen.any():
                log_probability = heads.mlm(text[sample, row, chosen]).log_softmax(1)
                expected -= log_probability.gather(1, labels[chosen].unsqueeze(1)).mean().item() / SAMPLES
    assert MaskedLanguageModelling()({}, output).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("views", "absent"),
    [
        (["text_only"], {"mrc", "mrfr", "p_mrtc", "itm"}),
        (["masked_text"], {"mrc", "mrfr", "p_mrtc", "itm"}),
        (["region_only"], {"mlm", "p_mrtc", "itm"}),
        (["masked_regions"], {"mlm", "p_mrtc", "itm"}),
        (["masked_pair"], {"p_mrtc", "itm"}),
    ],
)
def test_what_a_batch_cannot_ask_for_is_not_predicted(views: list[str], absent: set[str]) -> None:
    encoder, heads = model()
    output = heads(encoder, batch_of(views))["pretraining"]
    assert {name for name in ("mlm", "mrc", "mrfr", "p_mrtc", "itm") if name not in output.predictions} == absent
    assert output.match_probability is None and (output.view_weight == 1).all()


@pytest.mark.parametrize(
    ("learned", "predicted"),
    [
        (None, {"mlm", "mrc", "mrfr"}),
        ({"mlm", "mrc", "itm"}, {"mlm", "mrc"}),
        ({"mrfr"}, {"mrfr"}),
        (set(), set()),
    ],
)
def test_heads_without_a_loss_predict_nothing(learned: set[str] | None, predicted: set[str]) -> None:
    """Distributed training takes what is predicted for trained, and would wait for gradients."""
    encoder, heads = model()
    heads.learned = learned
    output = heads(encoder, batch_of(["masked_pair"]))["pretraining"]
    assert {name for name in ("mlm", "mrc", "mrfr", "p_mrtc", "itm") if name in output.predictions} == predicted


def test_a_matching_head_without_a_loss_weighs_nothing() -> None:
    encoder, heads = model()
    batch = batch_of(["masked_text", "masked_pair"])
    batch["rows"] = ["matched", "mismatched"]  # the same rows under the names that the matching head knows
    batch["predicts"], batch["weight_row"] = ["itm", "mlm"], "matched"
    weighed = heads(encoder, batch)
    assert (weighed["pretraining"].pair_weight != 1).all() and "itm" in weighed["pretraining"].predictions
    heads.learned = {"mlm"}
    plain = heads(encoder, batch)
    assert (plain["pretraining"].view_weight == 1).all() and "itm" not in plain["pretraining"].predictions
    torch.testing.assert_close(plain["scores"], weighed["scores"])
    assert not plain["scores"].requires_grad
    assert plain["pretraining"].match_probability is None
