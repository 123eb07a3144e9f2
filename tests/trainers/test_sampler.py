"""The order of samples: the same for any number of processes, and after any restart."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.trainers.sampler import TrainingBatches, evaluation_batches, in_order_of_items


def take(sampler: TrainingBatches, count: int) -> list[list[tuple[int, int]]]:
    return list(islice(iter(sampler), count))


def test_every_epoch_is_another_permutation_cut_into_whole_batches() -> None:
    batches = take(TrainingBatches(num_items=11, batch_size=3, seed=0), 6)
    assert [batch[0][0] for batch in batches] == [0, 0, 0, 1, 1, 1]
    for epoch in (0, 1):
        items = [item for batch in batches[3 * epoch : 3 * epoch + 3] for _, item in batch]
        assert len(set(items)) == 9 and set(items) <= set(range(11))
    assert [item for _, item in batches[0]] != [item for _, item in batches[3]]


@pytest.mark.parametrize("start", range(8))
def test_starting_later_gives_the_rest_of_the_same_run(start: int) -> None:
    whole = take(TrainingBatches(11, 3, seed=5), 12)
    rest = take(TrainingBatches(11, 3, seed=5, start_batch=start), 12 - start)
    assert rest == whole[start:]


def test_processes_share_the_same_batches() -> None:
    whole = take(TrainingBatches(20, 4, seed=1), 10)
    parts = [take(TrainingBatches(20, 4, seed=1, rank=rank, world_size=2), 10) for rank in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole


def test_seeds_differ() -> None:
    assert take(TrainingBatches(20, 4, seed=1), 5) != take(TrainingBatches(20, 4, seed=2), 5)


def test_bad_batch_sizes_are_named() -> None:
    with pytest.raises(InputError, match="batch_size=21.*the data set has 20 items"):
        TrainingBatches(20, 21, seed=0)
    with pytest.raises(InputError, match="batch_size=5.*not divisible among 2 processes"):
        TrainingBatches(20, 5, seed=0, world_size=2)


def test_a_batch_that_the_data_are_too_few_for_is_named() -> None:
    """Zero batches to an epoch are zero updates in any number of epochs; that is not what is wrong."""
    from mmf_muvla.trainers.building import run_length

    for length in ({"max_updates": None, "max_epochs": 20}, {"max_updates": 500, "max_epochs": None}):
        training = OmegaConf.create({"batch_size": 480, **length})
        with pytest.raises(InputError, match="training.batch_size=480: the data set has 100 items. Choose a smaller"):
            run_length(training, range(100), 1)


def test_processes_without_a_sample_are_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmf_muvla.trainers import evaluation

    monkeypatch.setattr(evaluation, "get_world_size", lambda: 4)
    evaluator = SimpleNamespace(datasets={"val": range(3), "test": None}, dataset_name="nlvr2")
    with pytest.raises(InputError, match="dataset_config.nlvr2: 'val' has 3 samples, and 4 processes share them"):
        evaluation.Evaluator.refuse_what_cannot_be_measured(evaluator)  # type: ignore[arg-type]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_sees_every_item_once(world_size: int) -> None:
    parts = [evaluation_batches(10, 4, rank, world_size) for rank in range(world_size)]
    items = [item for batches in parts for batch in batches for _, item in batch]
    assert sorted(items) == list(range(10))
    assert all(len(batch) <= 4 for batches in parts for batch in batches)


def test_views_take_turns() -> None:
    """Each batch has one view, in turn, over the ends of epochs and restarts; two batches an update here."""
    options = {"turns": 3, "batches_per_update": 2}
    whole = take(TrainingBatches(14, 3, seed=0, **options), 14)
    assert [{turn for _, _, turn in batch} for batch in whole] == [{n // 2 % 3} for n in range(14)]
    joint = take(TrainingBatches(14, 3, seed=0), 14)
    assert [[key[:2] for key in batch] for batch in whole] == joint
    for start in (1, 4, 7):
        assert take(TrainingBatches(14, 3, seed=0, start_batch=start, **options), 14 - start) == whole[start:]


def test_items_of_similar_length_come_together_and_every_epoch_stays_a_permutation() -> None:
    lengths = np.random.default_rng(0).integers(10, 100, size=1000)
    grouped = take(TrainingBatches(1000, 10, seed=2, lengths=lengths), 200)
    plain = take(TrainingBatches(1000, 10, seed=2), 200)

    def spread(batches: list[list[tuple[int, int]]]) -> float:
        return float(np.mean([np.ptp(lengths[[item for _, item in batch]]) for batch in batches]))

    assert spread(grouped) < 0.1 * spread(plain)
    for epoch in (0, 1):
        items = [item for batch in grouped[100 * epoch : 100 * epoch + 100] for _, item in batch]
        assert sorted(items) == list(range(1000))
    # The order of batches says nothing about their length.
    first = [float(lengths[[item for _, item in batch]].mean()) for batch in grouped[:64]]
    assert abs(np.corrcoef(first, range(64))[0, 1]) < 0.4
    assert take(TrainingBatches(1000, 10, seed=2, lengths=lengths, start_batch=57), 100) == grouped[57:157]
    parts = [take(TrainingBatches(1000, 10, 2, rank, 2, lengths=lengths), 20) for rank in range(2)]
    assert [one + other for one, other in zip(*parts, strict=True)] == grouped[:20]


def test_accumulated_small_batches_see_what_large_ones_see() -> None:
    """Over the ends of epochs: 22 items are two updates of eight, in one batch or in four."""
    large = take(TrainingBatches(22, 8, seed=3), 7)
    small = take(TrainingBatches(22, 2, seed=3, batches_per_update=4), 28)
    assert [[key for batch in small[4 * n : 4 * n + 4] for key in batch] for n in range(7)] == large
    # Fewer items than an update needs: whole batches are all that can be had.
    assert TrainingBatches(5, 2, seed=0, batches_per_update=4).batches_per_epoch == 2


@pytest.mark.parametrize(("items", "processes"), [(10, 1), (10, 2), (11, 4), (3, 4), (8, 4)])
def test_what_processes_make_of_their_items_comes_back_in_the_items_order(items: int, processes: int) -> None:
    parts = []
    for rank in range(processes):
        batches = evaluation_batches(items, batch_size=2, rank=rank, world_size=processes)
        parts.append([f"of {item}" for batch in batches for _, item in batch])
    assert in_order_of_items(parts) == [f"of {item}" for item in range(items)]


def test_nothing_made_of_an_item_keeps_its_place() -> None:
    assert in_order_of_items([[None, 2], [1]]) == [None, 1, 2]


def test_the_order_of_an_epoch_is_that_of_numpy() -> None:
    batches = take(TrainingBatches(1000, 10, seed=2), 200)
    for epoch in range(2):
        expected = np.random.default_rng((2, epoch)).permutation(1000).tolist()
        found = [key for batch in batches[100 * epoch : 100 * (epoch + 1)] for key in batch]
        assert found == [(epoch, item) for item in expected]
