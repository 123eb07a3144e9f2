"""The order in which samples are seen: a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from mmf_muvla.errors import InputError


class TrainingBatches(Sampler[list[tuple[int, int]]]):
    """Batches without end, as lists of ``(epoch, item)``, starting anywhere in the run.

    Every epoch is a new permutation, cut into whole batches (what is left over is seen in other epochs). Each
    process takes its own slice of every batch, so that the union does not depend on their number.

    Args:
        num_items: size of the data set.
        batch_size: samples per batch, all processes together.
        seed: seed of the permutations.
        rank, world_size: this process among all.
        start_batch: batches already seen in this run, over all epochs.

    Raises:
        InputError: the batch is larger than the data set, or not divisible among the processes.
    """

    def __init__(
        self, num_items: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, start_batch: int = 0
    ):
        if batch_size > num_items:
            raise InputError(
                f"training.batch_size={batch_size}", f"the data set has {num_items} items", "Choose a smaller batch"
            )
        if batch_size % world_size:
            raise InputError(
                f"training.batch_size={batch_size}",
                f"not divisible among {world_size} processes",
                f"Choose a multiple of {world_size}",
            )
        self.num_items = num_items
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start_batch = start_batch
        self.batches_per_epoch = num_items // batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self.batch_size // self.world_size
        epoch, first = divmod(self.start_batch, self.batches_per_epoch)
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.num_items)
            for batch in range(first, self.batches_per_epoch):
                start = batch * self.batch_size + self.rank * share
                yield [(epoch, int(item)) for item in order[start : start + share]]
            epoch, first = epoch + 1, 0


class EvaluationBatches(Sampler[list[tuple[int, int]]]):
    """Every item once, in order, as lists of ``(0, item)``; each process takes every ``world_size``-th item.

    Epoch 0 throughout: evaluations of the same model see the same sentences and masks.

    Args:
        num_items: size of the data set.
        batch_size: samples per batch of this process.
        rank, world_size: this process among all.
    """

    def __init__(self, num_items: int, batch_size: int, rank: int = 0, world_size: int = 1):
        self.items = list(range(rank, num_items, world_size))
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for start in range(0, len(self.items), self.batch_size):
            yield [(0, item) for item in self.items[start : start + self.batch_size]]

    def __len__(self) -> int:
        return -(-len(self.items) // self.batch_size)
