"""Exact search: for each query the K rows with the highest inner product, provably those that brute force finds.

A scan compares blocks of queries with blocks of rows, in the number format in which this machine multiplies matrices
fastest, and keeps some more candidates than K for each query. The candidates are then compared in double precision. How
far a score of the scan can be off is known from the data: with ``r`` the rounding error of a vector,
``|q·s - score| <= |r(q)| |s| + |q + r(q)| |r(s)|``, plus what summation and the rounding of the result add. Where the
K-th candidate's exact score lies further than that above every score that the scan dropped, no dropped row can belong
to the best K, and the result is proved. The few queries for which this fails are searched again in single precision,
and those few of them for which that fails as well, keeping every row that comes near enough.
"""

from __future__ import annotations

import threading
import timeit
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch

from mmf_muvla.pairing.embeddings import Embeddings

# Candidates beyond K. More make the proof succeed for more queries, fewer are sorted faster.
SPARE = 27
# Scores are first looked at in groups of so many, by their maximum.
_TILE = 128
_ROWS_AT_ONCE = 65536
_SCORES_AT_ONCE = 2**25
# Rows gathered for the exact comparison at once.
_GATHERED = 2**12
# Where every row that comes near is compared exactly: all of these pairs may.
_NEAR_QUERIES, _NEAR_ROWS = 256, 16384
_CPU = (torch.device("cpu"),)


class TopK(NamedTuple):
    """What a search found.

    Attributes:
        ids: rows, best first, of equal ones the earlier first, int64 [queries, k].
        scores: their inner products, float32 [queries, k].
        num_repeated: queries whose first result could not be proved and that were searched again.
    """

    ids: np.ndarray
    scores: np.ndarray
    num_repeated: int


def exact_top_k(
    queries: np.ndarray,
    rows: Embeddings,
    k: int,
    devices: Sequence[torch.device] = _CPU,
    dtype: torch.dtype | None = None,
    progress: Any = None,
) -> TopK:
    """The ``k`` rows with the highest inner product, for every query, whatever the devices and ``dtype``.

    Args:
        queries: float32 [q, d].
        rows: what is searched, at least ``k``.
        k: how many rows to find.
        devices: where to compute; several share the rows.
        dtype: number format of the scan; ``None`` is the fastest on the first device.
        progress: a progress bar, advanced by the number of rows compared.
    """
    if dtype is None:
        dtype = fastest_dtype(devices[0], rows.dimensions)
    ids, scores, unproved = _search(queries, rows, k, devices, dtype, progress=progress)
    num_repeated = len(unproved)
    if num_repeated and dtype != torch.float32:
        ids[unproved], scores[unproved], still = _search(queries[unproved], rows, k, devices, torch.float32)
        unproved = unproved[still]
    if len(unproved):
        ids[unproved], scores[unproved] = _keep_all_near(queries[unproved], rows, scores[unproved, -1], k, devices[0])
    return TopK(ids, scores, num_repeated)


def rescore(queries: np.ndarray, rows: Embeddings, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best of each query's candidates by inner products in double precision.

    Args:
        queries: float32 [q, d].
        rows: what was searched.
        candidates: distinct rows per query, int64 [q, c]; -1 is none.
        k: how many to return.

    Returns:
        Rows, best first, of equal ones the earlier first, int64 [q, k] (-1: fewer candidates than ``k``), and their
        scores, float32 [q, k] (-inf there).
    """
    # Equal sentences have equal scores: their order must not depend on the last bit of a sum.
    return keep_best(candidates, inner_products(queries, rows, candidates), k)


def inner_products(queries: np.ndarray, rows: Embeddings, candidates: np.ndarray) -> np.ndarray:
    """Those of each query and its candidates, int64 [q, c], float32 [q, c]; -inf where the candidate is -1, none."""
    flat = candidates.reshape(-1)
    # In the order of the rows, so that the embeddings are read once from their beginning to their end.
    order = np.argsort(flat, kind="stable")
    order = order[np.searchsorted(flat, 0, sorter=order) :]
    exact = np.full(flat.shape, -np.inf, np.float32)
    for start in range(0, len(order), _GATHERED):
        part = order[start : start + _GATHERED]
        vectors = rows.gather(flat[part]).astype(np.float64)
        exact[part] = np.einsum("nd,nd->n", queries[part // candidates.shape[1]].astype(np.float64), vectors)
    return exact.reshape(candidates.shape)


@cache
def fastest_dtype(device: torch.device, dimensions: int) -> torch.dtype:
    """The number format in which a device multiplies matrices fastest; on a CPU that is tried, once, for an instant."""
    if device.type != "cpu":
        return torch.float16
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.ones(size, dimensions, dtype=dtype) for size in (256, 2048))
        seconds[dtype] = min(timeit.repeat(partial(torch.mm, left, right.T), repeat=4, number=1))
    return min(seconds, key=lambda dtype: seconds[dtype])


def _search(
    queries: np.ndarray,
    rows: Embeddings,
    k: int,
    devices: Sequence[torch.device],
    dtype: torch.dtype,
    *,
    progress: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and scores [q, k], and the queries for which they are not proved to be the best."""
    kept = min(k + SPARE, len(rows))
    scanners = [_Scanner(queries, kept, device, dtype) for device in devices]
    blocks, lock = rows.blocks(_ROWS_AT_ONCE), threading.Lock()

    def scan(scanner: _Scanner) -> None:
        while True:
            with lock:
                block = next(blocks, None)
            if block is None:
                return
            scanner.compare(*block)
            if progress is not None:
                progress.update(len(block[1]))

    # Sums in half precision, which cuBLAS may form, would not be within the bound.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_tf32 = False
    with ThreadPoolExecutor(len(scanners)) as pool:
        list(pool.map(scan, scanners))
    found, order = torch.cat([scanner.scores.cpu() for scanner in scanners], dim=1).topk(kept, dim=1)
    candidates = torch.cat([scanner.ids.cpu() for scanner in scanners], dim=1).gather(1, order)
    ids, scores = rescore(queries, rows, candidates.numpy(), k)
    # What was dropped scores at most as the worst candidate in the scan, so at most `error` more in truth.
    error = np.max([scanner.error() for scanner in scanners], axis=0)
    is_proved = (kept == len(rows)) | (scores[:, -1] > found[:, -1].numpy() + error)
    return ids, scores, np.flatnonzero(~is_proved)


class _Scanner:
    """The best rows of all blocks that one device has compared: ``ids`` and ``scores``, best first, [q, kept]."""

    def __init__(self, queries: np.ndarray, kept: int, device: torch.device, dtype: torch.dtype):
        exact = torch.from_numpy(queries)
        self._queries = exact.to(device, dtype)
        rounded = self._queries.cpu().double()
        self._query_length = rounded.norm(dim=1).numpy()
        self._query_error = (rounded - exact.double()).norm(dim=1).numpy()
        # Of the rows: greatest length, greatest rounding error.
        self._row_length = self._row_error = 0.0
        self._kept, self._device, self._dtype = kept, device, dtype
        # Of what has not been found yet, -inf.
        self.scores = torch.full((len(queries), kept), -torch.inf, device=device)
        self.ids = torch.full((len(queries), kept), -1, dtype=torch.int64, device=device)

    def error(self) -> np.ndarray:
        """A bound on how far a score is from the true inner product, float64 [q]."""
        product = self._query_length * (self._row_length + self._row_error)
        rounding = self._query_error * self._row_length + self._query_length * self._row_error
        # Sums are kept in single precision, in an unknown order; the result is rounded once more.
        summation = 1.1 * self._queries.shape[1] * 2.0**-24 * product
        return rounding + summation + torch.finfo(self._dtype).eps / 2 * (product + rounding + summation) + 1e-7

    def compare(self, first: int, block: np.ndarray) -> None:
        """Take a block of rows, float [n, d], into account; ``first`` is the number of the first of them."""
        exact = torch.from_numpy(np.ascontiguousarray(block)).to(self._device)
        rows = exact.to(self._dtype)
        exact = exact.float()
        self._row_error = max(self._row_error, (rows.float() - exact).norm(dim=1).max().item() * (1 + 1e-5))
        self._row_length = max(self._row_length, exact.norm(dim=1).max().item() * (1 + 1e-5))
        padded = -(-len(rows) // _TILE) * _TILE
        step = max(1, _SCORES_AT_ONCE // padded)
        scores = torch.full((min(step, len(self._queries)), padded), -torch.inf, dtype=self._dtype, device=self._device)
        for start in range(0, len(self._queries), step):
            queries = self._queries[start : start + step]
            torch.mm(queries, rows.T, out=scores[: len(queries), : len(rows)])
            self._keep_best(slice(start, start + len(queries)), scores[: len(queries)], first)

    def _keep_best(self, part: slice, scores: torch.Tensor, first: int) -> None:
        """Merge the scores of some queries with one block into the candidates."""
        tiles = scores.view(len(scores), -1, _TILE)
        # The highest scores are in the tiles with the highest maxima.
        tile = tiles.amax(2).topk(min(self._kept, tiles.shape[1]), dim=1).indices[:, :, None]
        chosen = tiles.gather(1, tile.expand(-1, -1, _TILE)).flatten(1).float()
        ids = (first + _TILE * tile + torch.arange(_TILE, device=self._device)).flatten(1)
        self.scores[part], order = torch.cat([self.scores[part], chosen], dim=1).topk(self._kept, dim=1)
        self.ids[part] = torch.cat([self.ids[part], ids], dim=1).gather(1, order)


def _keep_all_near(
    queries: np.ndarray, rows: Embeddings, at_least: np.ndarray, k: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """The best ``k`` rows: every row that scores near ``at_least``, which the K-th best reaches, compared exactly."""
    ids, scores = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    for start in range(0, len(queries), _NEAR_QUERIES):
        part = slice(start, start + _NEAR_QUERIES)
        group = torch.from_numpy(queries[part]).to(device)
        for first, block in rows.blocks(_NEAR_ROWS):
            single = torch.from_numpy(np.ascontiguousarray(block)).to(device).float()
            longest = single.norm(dim=1).max().item()
            # Twice: the floor was rounded to single precision, and so is each score.
            slack = 2.2 * queries.shape[1] * 2.0**-24 * lengths[part] * longest + 1e-6
            floor = torch.from_numpy((at_least[part] - slack).astype(np.float32)).to(device)
            is_near = group @ single.T >= floor[:, None]
            most = int(is_near.sum(dim=1).max())
            if most:
                near = torch.where(is_near, torch.arange(len(block), device=device), -1).topk(most, dim=1).values
                found, exact = rescore(queries[part], Embeddings([block]), near.cpu().numpy(), k)
                found[found >= 0] += first
                ids[part], scores[part] = keep_best(
                    np.concatenate([ids[part], found], axis=1), np.concatenate([scores[part], exact], axis=1), k
                )
    return ids, scores


def keep_best(ids: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best of each row, best first, of equal ones the one with the lower id, and their scores.

    In which pieces candidates come, of which the best are kept each time, makes no difference.
    """
    best = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(ids, best, axis=1), np.take_along_axis(scores, best, axis=1)
