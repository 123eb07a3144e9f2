"""Scores that sentences which are close to very many images lose by: cross-domain similarity local scaling (CSLS).

Conneau et al. (2018, "Word translation without parallel data") compare ``2 cos(x, y) - r(x) - r(y)``, where ``r`` is
the mean cosine to the nearest neighbours on the other side. For the order of an image's sentences ``r`` of the image
does not count, and half of the rest is an inner product with one number more: ``(x, 1) · (y, -r(y) / 2)``. So sentences
are searched exactly, or by an index, as they are by cosine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import add_up, part_files, publish_part, remove_parts, run_large_parts
from mmf_muvla.devices import devices_of
from mmf_muvla.pairing.arrays import write_array
from mmf_muvla.pairing.embeddings import Embeddings, shards_of

PENALTY_FILE = "penalty.npy"
_PART = "penalty"
# As in the paper; from 5 to 50 the results are about the same.
_NEIGHBOURS = 10
_SENTENCES_AT_ONCE = 2**17
# For one number; with so many, matrices keep a width that GPUs multiply fast.
_COLUMNS = 8


class PenalisedEmbeddings(Embeddings):
    """Embeddings of sentences whose inner product with :meth:`queries` is a cosine less the sentence's penalty.

    Args:
        plain: the embeddings, n of them.
        penalty: what each loses, float32 [n], or a ``.npy`` file of it, which is mapped.
    """

    def __init__(self, plain: Embeddings, penalty: np.ndarray | Path):
        self.plain, self._penalty = plain, penalty
        self.dimensions = plain.dimensions + _COLUMNS

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def penalty(self) -> np.ndarray:
        """What each sentence loses, float32 [n]. A map is made anew each time: pages that were read do not stay."""
        if isinstance(self._penalty, np.ndarray):
            return self._penalty
        return np.load(self._penalty, mmap_mode="r", allow_pickle=False)

    def queries(self, queries: np.ndarray) -> np.ndarray:
        """What to compare them with, float32 [q, dimensions]."""
        return _widened(queries, np.ones(len(queries), np.float32))

    def blocks(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """As :meth:`Embeddings.blocks`, float32."""
        for first, block in self.plain.blocks(size, start, stop):
            yield first, _widened(block, -self.penalty[first : first + len(block)])

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """As :meth:`Embeddings.gather`, float32."""
        return _widened(self.plain.gather(rows), -self.penalty[rows])


def _widened(rows: np.ndarray, column: np.ndarray) -> np.ndarray:
    wide = np.zeros((len(rows), rows.shape[1] + _COLUMNS), np.float32)
    wide[:, : rows.shape[1]] = rows
    wide[:, rows.shape[1]] = column
    return wide


class ImageEmbeddings(Embeddings):
    """The embeddings of all images' queries, one an image, out of the parts that the stage *retrieve* makes."""

    def _part(self, number: int) -> np.ndarray:
        part = load_file(str(self._parts[number]))
        return part["embedding"][part["query_of_image"]]


def find_penalties(images: Embeddings, pool: Embeddings, device: str, work: Work) -> dict[str, int]:
    """Write ``penalty.npy``, float32 [sentences]: half of each one's mean cosine to the images that are nearest to it.

    Every sentence is compared with every image, once: as much work as the search itself.

    Args:
        images, pool: what is compared, rows of length 1.
        device: where to compute, as ``retrieval.device`` says it.
        work: folder for the file, and the parts that it is made of; who makes these.

    Returns:
        A count: sentences.
    """
    shards = shards_of(len(pool), _SENTENCES_AT_ONCE)
    state = (images, pool, device)
    place = (work.folder, _PART, _find_part, enumerate(shards), work.executor, state)
    with work.progress.bar(len(pool), "penalties", "sentence") as progress:
        counts = add_up(run_large_parts(*place, kind="retrieve"), progress, "sentences")
    parts = (np.load(file, allow_pickle=False) for file in part_files(work.folder, _PART, ".npy"))
    write_array(work.folder / PENALTY_FILE, parts, np.float32)
    remove_parts(work.folder, _PART)
    return counts


def _find_part(state: tuple[Embeddings, Embeddings, str], shard: range, path: Path, progress: Any) -> dict[str, int]:
    from mmf_muvla.pairing.search import exact_top_k  # loads torch

    images, pool, device = state
    neighbours, devices = min(_NEIGHBOURS, len(images)), devices_of(device, "retrieval.device")
    sentences = np.concatenate([block for _, block in pool.blocks(len(shard), shard.start, shard.stop)])
    nearest = exact_top_k(sentences.astype(np.float32), images, neighbours, devices).scores
    with publish_part(path, ".npy") as file, file.open("wb") as stream:
        np.save(stream, (nearest.mean(axis=1, dtype=np.float64) / 2).astype(np.float32))
    return {"sentences": len(sentences)}


def penalised(pool: Embeddings, folder: Path) -> PenalisedEmbeddings:
    """The embeddings with what :func:`find_penalties` has written into a folder."""
    return PenalisedEmbeddings(pool, folder / PENALTY_FILE)
