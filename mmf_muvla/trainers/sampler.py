"""The order in which samples are seen: a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from mmf_muvla.errors import InputError

# Batches within which items are brought together by length: enough that batches are alike in length, few enough that
# an epoch stays well mixed.
BATCHES_PER_GROUP = 64


def batches_per_epoch(num_items: int, batch_size: int, batches_per_update: int) -> int:
    """Whole batches, and whole updates unless the data are too few for one."""
    updates = num_items // (batch_size * batches_per_update)
    return updates * batches_per_update or num_items // batch_size


def refuse_batch_beyond(num_items: int, batch_size: int) -> None:
    """Refuse, with an ``InputError``, a batch that a data set has not enough items for."""
    if batch_size > num_items:
        where, problem = f"training.batch_size={batch_size}", f"the data set has {num_items} items"
        raise InputError(where, problem, "Choose a smaller batch")


class TrainingBatches(Sampler[list[tuple[int, ...]]]):
    """Batches without end, as lists of ``(epoch, item)``, starting anywhere in the run.

    Every epoch is a new permutation, cut into whole batches (what is left over is seen in other epochs). Each
    process takes its own slice of every batch, so that the union does not depend on their number.

    Args:
        batch_size: samples per batch, all processes together.
        start_batch: batches already seen in this run, over all epochs.
        lengths: int [num_items]; items of similar length then come in the same batch.
        turns: if more than 1, kinds of step that take turns; the items become ``(epoch, item, turn)``.
        batches_per_update: batches that are accumulated; they have the same turn, and epochs whole updates only.

    Raises:
        InputError: the batch is larger than the data set, or not divisible among the processes.
    """

    def __init__(
        self,
        num_items: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        *,
        start_batch: int = 0,
        lengths: NDArray[Any] | None = None,
        turns: int = 1,
        batches_per_update: int = 1,
    ):
        refuse_batch_beyond(num_items, batch_size)
        if batch_size % world_size:
            problem = f"not divisible among {world_size} processes"
            raise InputError(f"training.batch_size={batch_size}", problem, f"Choose a multiple of {world_size}")
        self.num_items, self.batch_size, self.seed, self.lengths = num_items, batch_size, seed, lengths
        self.rank, self.world_size, self.start_batch = rank, world_size, start_batch
        self.turns, self.batches_per_update = turns, batches_per_update
        self.batches_per_epoch = batches_per_epoch(num_items, batch_size, batches_per_update)

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        share = self.batch_size // self.world_size
        epoch, first = divmod(self.start_batch, self.batches_per_epoch)
        while True:
            batches = self._epoch(epoch)[:, self.rank * share : (self.rank + 1) * share]
            for number in range(first, len(batches)):
                batch = epoch * self.batches_per_epoch + number
                turn = (batch // self.batches_per_update % self.turns,) if self.turns > 1 else ()
                # As Python's numbers, the items of an epoch would take ten times the memory.
                yield [(epoch, item, *turn) for item in batches[number].tolist()]
            epoch, first = epoch + 1, 0

    def _epoch(self, epoch: int) -> NDArray[Any]:
        """The items of an epoch, int [batches, batch size]."""
        rng = np.random.default_rng((self.seed, epoch))
        # The order does not depend on the type.
        order = np.arange(self.num_items, dtype=np.int32 if self.num_items < 2**31 else np.int64)
        rng.shuffle(order)
        order = order[: self.batches_per_epoch * self.batch_size]
        if self.lengths is not None:
            group = BATCHES_PER_GROUP * self.batch_size
            for start in range(0, len(order), group):
                part = order[start : start + group]
                sorted_part = part[np.argsort(self.lengths[part], kind="stable")].reshape(-1, self.batch_size)
                order[start : start + group] = rng.permutation(sorted_part).flatten()
        return order.reshape(-1, self.batch_size)


def evaluation_batches(num_items: int, batch_size: int, rank: int, world_size: int) -> list[list[tuple[int, int]]]:
    """Every item once, in order, as lists of ``(0, item)``; each process takes every ``world_size``-th item.

    Epoch 0 throughout: evaluations of the same model see the same sentences and masks.
    """
    items = range(rank, num_items, world_size)
    return [[(0, item) for item in items[start : start + batch_size]] for start in range(0, len(items), batch_size)]


def in_order_of_items(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """What each process, in the order of ranks, made of its items from :func:`evaluation_batches`, in their order."""
    nothing = object()
    return [thing for thing in chain.from_iterable(zip_longest(*parts, fillvalue=nothing)) if thing is not nothing]
