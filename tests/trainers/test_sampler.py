"""The order of samples: the same for any number of processes, and after any restart."""

from __future__ import annotations

from itertools import islice

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.trainers.sampler import EvaluationBatches, TrainingBatches


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


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_sees_every_item_once(world_size: int) -> None:
    samplers = [EvaluationBatches(10, 4, rank, world_size) for rank in range(world_size)]
    items = [item for sampler in samplers for batch in sampler for _, item in batch]
    assert sorted(items) == list(range(10))
    assert all(len(list(sampler)) == len(sampler) for sampler in samplers)
