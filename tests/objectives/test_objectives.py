"""Every loss against a slow, obvious reference in plain Python, on random input; and the curriculum's sum."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from mmf_muvla.objectives.curriculum import pair_weights, view_weights
from mmf_muvla.objectives.loss import Predictions, PretrainingOutput
from mmf_muvla.objectives.objective import seed_words
from mmf_muvla.objectives.registry import LOSSES, OBJECTIVES

SAMPLES = 6
VIEWS = len(OBJECTIVES)


def loss_modules():
    return {name: LOSSES[name] for name in ("mlm", "mrc", "mrfr", "p_mrtc", "itm")}


def reference_target_loss(name: str, prediction: list, target) -> float:
    if name in ("mlm", "mrc"):
        return math.log(sum(math.exp(x) for x in prediction)) - prediction[target]
    if name == "mrfr":
        return sum((p - t) ** 2 for p, t in zip(prediction, target, strict=True)) / len(target)
    if name == "p_mrtc":
        pieces = [piece for piece in target if piece != -100]
        log_sum = math.log(sum(math.exp(x) for x in prediction))
        return sum((log_sum - prediction[piece]) / len(pieces) for piece in pieces)
    probability = 1 / (1 + math.exp(-prediction))
    return -math.log(probability if target == 1 else 1 - probability)


def random_predictions(name: str, seed: int, num_targets: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    picker = random.Random(seed)
    group = torch.tensor([picker.randrange(VIEWS * SAMPLES) for _ in range(num_targets)], dtype=torch.long)
    prediction = torch.randn(num_targets, 7, generator=generator, dtype=torch.float64)
    if name in ("mlm", "mrc"):
        target = torch.randint(0, 7, (num_targets,), generator=generator)
    elif name == "mrfr":
        target = torch.randn(num_targets, 7, generator=generator, dtype=torch.float64)
    elif name == "p_mrtc":
        target = torch.randint(0, 7, (num_targets, 4), generator=generator)
        for row in range(num_targets):
            target[row, picker.randint(1, 4) :] = -100
    else:
        prediction = prediction[:, 0]
        target = torch.randint(0, 2, (num_targets,), generator=generator).double()
    return Predictions(prediction, target, group)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["mlm", "mrc", "mrfr", "p_mrtc", "itm"])
def test_loss_equals_the_reference(name: str, seed: int) -> None:
    predictions = random_predictions(name, seed, num_targets=20)
    weights = torch.rand(VIEWS * SAMPLES, generator=torch.Generator().manual_seed(seed))
    output = PretrainingOutput(SAMPLES, weights, torch.ones(SAMPLES), predictions={name: predictions})
    loss = loss_modules()[name](weight=2.0)({}, {"pretraining": output})

    by_group: dict[int, list[float]] = {}
    for p, t, g in zip(
        predictions.prediction.tolist(), predictions.target.tolist(), predictions.group.tolist(), strict=True
    ):
        by_group.setdefault(g, []).append(reference_target_loss(name, p, t))
    means = {g: sum(values) / len(values) for g, values in by_group.items()}
    expected = 2.0 * sum(weights[g].item() * mean for g, mean in means.items()) / SAMPLES
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    total, count = output.statistics[name]
    assert total.item() == pytest.approx(sum(means.values()), rel=1e-5)
    assert count.item() == len(means)


@pytest.mark.parametrize("name", ["mlm", "mrc", "mrfr", "p_mrtc", "itm"])
def test_a_batch_without_targets_adds_zero_and_keeps_the_graph(name: str) -> None:
    predictions = random_predictions(name, seed=0, num_targets=0)
    weight = torch.ones(1, requires_grad=True)
    predictions = Predictions(predictions.prediction * weight, predictions.target, predictions.group)
    output = PretrainingOutput(
        SAMPLES, torch.ones(VIEWS * SAMPLES), torch.ones(SAMPLES), predictions={name: predictions}
    )
    loss = loss_modules()[name]()({}, {"pretraining": output})
    assert loss.item() == 0
    loss.backward()
    assert weight.grad is not None and weight.grad.item() == 0


@pytest.mark.parametrize("name", ["mlm", "itm"])
def test_a_view_that_is_switched_off_adds_zero(name: str) -> None:
    output = PretrainingOutput(SAMPLES, torch.ones(VIEWS * SAMPLES), torch.ones(SAMPLES))
    assert loss_modules()[name]()({}, {"pretraining": output}).item() == 0


def test_pair_weights_are_one_during_warm_up_then_the_match_probability_without_gradient() -> None:
    logits = torch.tensor([0.0, 2.0, -2.0, 5.0], requires_grad=True)
    weights = pair_weights(logits, epoch=torch.tensor([0, 1, 2, 0]), warmup_epochs=1)
    expected = [1.0, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2)), 1.0]
    assert weights.tolist() == pytest.approx(expected)
    assert not weights.requires_grad
    assert pair_weights(logits, torch.tensor([0, 1, 2, 3]), warmup_epochs=0)[0].item() == 0.5


def test_the_sum_is_the_papers_equation_pair_by_pair() -> None:
    """L = L_RT + w · (L_RP + L_IS) with one w per pair: recomputed from single values."""
    pair_weight = torch.tensor([0.2, 1.0, 0.7])
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 4, generator=generator)
    labels = torch.randint(0, 4, (9,), generator=generator)
    group = torch.arange(9)  # one MLM target for each of three samples in each of the three views
    output = PretrainingOutput(
        3, view_weights(pair_weight), pair_weight, predictions={"mlm": Predictions(logits, labels, group)}
    )
    loss = loss_modules()["mlm"]()({}, {"pretraining": output})
    single = [reference_target_loss("mlm", logits[i].tolist(), int(labels[i])) for i in range(9)]
    region_tag, region_phrase, image_sentence = single[:3], single[3:6], single[6:]
    expected = sum(region_tag[i] + pair_weight[i].item() * (region_phrase[i] + image_sentence[i]) for i in range(3))
    assert loss.item() == pytest.approx(expected / 3, rel=1e-5)


def test_two_half_batches_average_to_the_whole_batch() -> None:
    """What makes distributed training and accumulation equal to one large batch, whoever has the targets."""
    whole = random_predictions("mlm", seed=3, num_targets=15)
    sample = whole.group % SAMPLES
    view = whole.group // SAMPLES

    def loss_of(first: int, last: int) -> float:
        chosen = (sample >= first) & (sample < last)
        size = last - first
        group = view[chosen] * size + sample[chosen] - first
        predictions = Predictions(whole.prediction[chosen], whole.target[chosen], group)
        output = PretrainingOutput(size, torch.ones(VIEWS * size), torch.ones(size), predictions={"mlm": predictions})
        return loss_modules()["mlm"]()({}, {"pretraining": output}).item()

    assert (loss_of(0, 3) + loss_of(3, 6)) / 2 == pytest.approx(loss_of(0, 6), rel=1e-6)


@pytest.mark.parametrize("numbers", [(0, 0, 0), (1, 3, 12345), (2**32, 0, 7), (2**32 - 1, 1, 2, 2**40, 5), (9,)])
@pytest.mark.parametrize("key", [0, 5, 2**32 - 1])
def test_streams_of_a_sample_are_those_of_numpy(numbers: tuple[int, ...], key: int) -> None:
    theirs = np.random.default_rng(np.random.SeedSequence(numbers, spawn_key=(key,)))
    words = seed_words(numbers)
    assert words[-1] == 0
    words[-1] = key
    ours = np.random.default_rng(words)
    assert ours.integers(2**63, size=4).tolist() == theirs.integers(2**63, size=4).tolist()
