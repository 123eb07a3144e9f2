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
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmf_muvla.errors import InputError
from mmf_muvla.pairing.embeddings import Embeddings

if TYPE_CHECKING:
    import torch

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


@dataclass(frozen=True)
class TopK:
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
    devices: Sequence[torch.device] | None = None,
    dtype: torch.dtype | None = None,
    progress: Any = None,
) -> TopK:
    """The ``k`` rows with the highest inner product, for every query.

    Neither the devices nor ``dtype`` change the result.

    Args:
        queries: float32 [q, d].
        rows: what is searched.
        k: how many rows to find.
        devices: where to compute; several share the rows. ``None`` is the CPU.
        dtype: number format of the scan; ``None`` is the fastest on the first device.
        progress: a progress bar, advanced by the number of rows compared.

    Raises:
        InputError: there are fewer than ``k`` rows.
    """
    import torch

    check_that_enough(rows, k)
    devices = devices or [torch.device("cpu")]
    if dtype is None:
        dtype = fastest_dtype(devices[0], rows.dimensions)
    ids, scores, unproved = _search(queries, rows, k, devices, dtype, progress)
    num_repeated = len(unproved)
    if num_repeated and dtype != torch.float32:
        ids[unproved], scores[unproved], still = _search(queries[unproved], rows, k, devices, torch.float32)
        unproved = unproved[still]
    if len(unproved):
        ids[unproved], scores[unproved] = _keep_all_near(queries[unproved], rows, scores[unproved, -1], k, devices[0])
    return TopK(ids, scores, num_repeated)


def check_that_enough(rows: Embeddings, k: int) -> None:
    """Refuse to find more rows than there are.

    Raises:
        InputError: there are fewer than ``k``.
    """
    if len(rows) < k:
        raise InputError(f"retrieval.k={k}", f"there are only {len(rows)} sentences", "Give more text, or lower it")


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
    flat = candidates.reshape(-1)
    # In the order of the rows, so that the embeddings are read once from their beginning to their end.
    order = np.argsort(flat, kind="stable")
    order = order[np.searchsorted(flat, 0, sorter=order) :]
    exact = np.full(flat.shape, -np.inf)
    for start in range(0, len(order), _GATHERED):
        part = order[start : start + _GATHERED]
        vectors = rows.gather(flat[part]).astype(np.float64)
        exact[part] = np.einsum("nd,nd->n", queries[part // candidates.shape[1]].astype(np.float64), vectors)
    # Equal sentences have equal scores: their order must not depend on the last bit of a sum.
    scores = exact.reshape(candidates.shape).astype(np.float32)
    best = _best(candidates, scores, k)
    return np.take_along_axis(candidates, best, axis=1), np.take_along_axis(scores, best, axis=1)


def fastest_dtype(device: torch.device, dimensions: int) -> torch.dtype:
    """The number format in which a device multiplies matrices fastest; on a CPU that is tried, for an instant."""
    import torch

    if device.type != "cpu":
        return torch.float16
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.ones(size, dimensions, dtype=dtype) for size in (256, 2048))
        torch.mm(left, right.T)
        tries = []
        for _ in range(3):
            started = time.perf_counter()
            torch.mm(left, right.T)
            tries.append(time.perf_counter() - started)
        seconds[dtype] = min(tries)
    return min(seconds, key=lambda dtype: seconds[dtype])


def _search(
    queries: np.ndarray,
    rows: Embeddings,
    k: int,
    devices: Sequence[torch.device],
    dtype: torch.dtype,
    progress: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and scores [q, k], and the queries for which they are not proved to be the best."""
    candidates, dropped, error = _scan(queries, rows, min(k + SPARE, len(rows)), devices, dtype, progress)
    ids, scores = rescore(queries, rows, candidates, k)
    # What was dropped scores at most `dropped` in the scan, so at most `dropped + error` in truth.
    return ids, scores, np.flatnonzero(~(scores[:, -1] > dropped + error))


def _scan(
    queries: np.ndarray,
    rows: Embeddings,
    kept: int,
    devices: Sequence[torch.device],
    dtype: torch.dtype,
    progress: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates.

    Returns:
        Rows, int64 [q, kept]; what no row that is not among them scored more than, float32 [q]; and how far a score can
        be from the true inner product, float64 [q].
    """
    import torch

    blocks = _Shared(rows.blocks(_ROWS_AT_ONCE))
    scanners = [_Scanner(queries, kept, device, dtype) for device in devices]

    def work(scanner: _Scanner) -> None:
        while (block := blocks.take()) is not None:
            scanner.compare(*block)
            if progress is not None:
                progress.update(len(block[1]))

    # Sums in half precision, which cuBLAS may form, would not be within the bound.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_tf32 = False
    with ThreadPoolExecutor(len(scanners)) as pool:
        for future in [pool.submit(work, scanner) for scanner in scanners]:
            future.result()
    scores = torch.cat([scanner.scores.cpu() for scanner in scanners], dim=1)
    ids = torch.cat([scanner.ids.cpu() for scanner in scanners], dim=1)
    # Each scanner drops what its own worst candidate excludes; then those that are beyond the common number.
    dropped = torch.stack([scanner.dropped().cpu() for scanner in scanners]).amax(0)
    if len(scanners) > 1:
        scores, order = scores.topk(min(kept + 1, scores.shape[1]), dim=1)
        dropped = torch.maximum(dropped, scores[:, kept]) if scores.shape[1] > kept else dropped
        ids = ids.gather(1, order[:, :kept])
    error = np.max([scanner.error() for scanner in scanners], axis=0)
    return ids.numpy(), dropped.numpy(), error


class _Shared:
    """An iterator that several threads take from."""

    def __init__(self, items: Iterator[tuple[int, np.ndarray]]):
        self._items = items
        self._lock = threading.Lock()

    def take(self) -> tuple[int, np.ndarray] | None:
        with self._lock:
            return next(self._items, None)


class _Scanner:
    """The best rows of all blocks that one device has compared.

    Attributes:
        scores: of the candidates, float32 [q, kept], -inf where there are none yet.
        ids: the candidates, int64 [q, kept].
    """

    def __init__(self, queries: np.ndarray, kept: int, device: torch.device, dtype: torch.dtype):
        import torch

        exact = torch.from_numpy(queries)
        self._queries = exact.to(device, dtype)
        rounded = self._queries.cpu().double()
        self._query_length = rounded.norm(dim=1).numpy()
        self._query_error = (rounded - exact.double()).norm(dim=1).numpy()
        # Of the rows: greatest length, greatest rounding error.
        self._row_length = self._row_error = 0.0
        self._kept = kept
        self._device, self._dtype = device, dtype
        self._num_rows = 0
        self.scores = torch.full((len(queries), kept), -torch.inf, device=device)
        self.ids = torch.full((len(queries), kept), -1, dtype=torch.int64, device=device)

    def dropped(self) -> torch.Tensor:
        """No dropped row scored more; -inf where nothing has been dropped."""
        import torch

        return self.scores[:, -1] if self._num_rows > self._kept else torch.full_like(self.scores[:, -1], -torch.inf)

    def error(self) -> np.ndarray:
        """A bound on how far a score is from the true inner product, float64 [q]."""
        import torch

        dimensions = self._queries.shape[1]
        product = self._query_length * (self._row_length + self._row_error)
        rounding = self._query_error * self._row_length + self._query_length * self._row_error
        # Sums are kept in single precision, in an unknown order; the result is rounded once more.
        summation = 1.1 * dimensions * 2.0**-24 * product
        return rounding + summation + torch.finfo(self._dtype).eps / 2 * (product + rounding + summation) + 1e-7

    def compare(self, first: int, block: np.ndarray) -> None:
        """Take a block of rows into account.

        Args:
            first: number of the first row.
            block: rows, float [n, d].
        """
        import torch

        exact = torch.from_numpy(np.ascontiguousarray(block)).to(self._device)
        rows = exact.to(self._dtype)
        if exact.dtype != self._dtype:
            exact = exact.float()
            self._row_error = max(self._row_error, (rows.float() - exact).norm(dim=1).max().item() * (1 + 1e-5))
        self._row_length = max(self._row_length, exact.float().norm(dim=1).max().item() * (1 + 1e-5))
        self._num_rows += len(rows)
        padded = -(-len(rows) // _TILE) * _TILE
        step = max(1, _SCORES_AT_ONCE // padded)
        buffer = torch.empty(min(step, len(self._queries)), padded, dtype=self._dtype, device=self._device)
        for start in range(0, len(self._queries), step):
            queries = self._queries[start : start + step]
            scores = buffer[: len(queries)]
            if padded == len(rows):
                torch.mm(queries, rows.T, out=scores)
            else:
                scores[:, : len(rows)] = queries @ rows.T
                scores[:, len(rows) :] = -torch.inf
            self._keep_best(start, scores, first, len(rows))

    def _keep_best(self, start: int, scores: torch.Tensor, first: int, num_rows: int) -> None:
        """Merge the scores of some queries with one block into the candidates."""
        import torch

        part = slice(start, start + len(scores))
        tiles = scores.view(len(scores), -1, _TILE)
        highest = tiles.amax(2)
        # Exact: what the candidates score was computed in this number format.
        threshold = self.scores[part, -1].to(self._dtype)
        query, tile = (highest > threshold[:, None]).nonzero(as_tuple=True)
        if not len(query):
            return
        if len(query) > len(scores) * self._kept:
            # Most tiles count, as at the beginning: those with the highest maxima hold the best scores.
            tile_of = highest.topk(min(self._kept, highest.shape[1]), dim=1).indices
            chosen = tiles.gather(1, tile_of[:, :, None].expand(-1, -1, _TILE)).reshape(len(scores), -1)
            values, places = chosen.float().topk(min(self._kept, chosen.shape[1]), dim=1)
            columns = tile_of.gather(1, places // _TILE) * _TILE + places % _TILE
            values = torch.where(columns < num_rows, values, -torch.inf)
            self._merge(torch.arange(start, start + len(scores), device=self._device), values, columns + first)
            return
        chosen = tiles[query, tile]
        hit, place = (chosen > threshold[query][:, None]).nonzero(as_tuple=True)
        # Hits are in the order of the queries: each query's hits become a row of a padded matrix.
        query_of_hit = query[hit]
        queries, counts = query_of_hit.unique_consecutive(return_counts=True)
        column = torch.arange(len(hit), device=self._device) - torch.repeat_interleave(
            counts.cumsum(0) - counts, counts
        )
        row = torch.repeat_interleave(torch.arange(len(queries), device=self._device), counts)
        values = torch.full((len(queries), int(counts.max())), -torch.inf, device=self._device)
        ids = torch.full(values.shape, -1, dtype=torch.int64, device=self._device)
        values[row, column] = chosen[hit, place].float()
        ids[row, column] = tile[hit] * _TILE + place + first
        self._merge(queries + start, values, ids)

    def _merge(self, queries: torch.Tensor, values: torch.Tensor, ids: torch.Tensor) -> None:
        import torch

        values = torch.cat([self.scores[queries], values], dim=1)
        values, order = values.topk(self._kept, dim=1)
        self.ids[queries] = torch.cat([self.ids[queries], ids], dim=1).gather(1, order)
        self.scores[queries] = values


def _keep_all_near(
    queries: np.ndarray, rows: Embeddings, at_least: np.ndarray, k: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """The best ``k`` rows: every row that scores near ``at_least``, which the K-th best reaches, compared exactly."""
    import torch

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
            query, row = (group @ single.T >= floor[:, None]).nonzero(as_tuple=True)
            if len(query):
                found = _rescore_block(queries[part], block, query.cpu().numpy(), row.cpu().numpy(), k)
                all_ids = np.concatenate([ids[part], np.where(found[0] >= 0, found[0] + first, -1)], axis=1)
                all_scores = np.concatenate([scores[part], found[1]], axis=1)
                best = _best(all_ids, all_scores, k)
                ids[part] = np.take_along_axis(all_ids, best, axis=1)
                scores[part] = np.take_along_axis(all_scores, best, axis=1)
    return ids, scores


def _rescore_block(
    queries: np.ndarray, block: np.ndarray, query: np.ndarray, row: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`rescore`, for pairs of a query and a row of the block, sorted by query."""
    counts = np.bincount(query, minlength=len(queries))
    candidates = np.full((len(queries), counts.max()), -1, np.int64)
    candidates[query, np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)] = row
    return rescore(queries, Embeddings.of_array(block), candidates, k)


def _best(ids: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Places of the ``k`` best of each row, best first, of equal ones the one with the lower id."""
    return np.lexsort((ids, -scores), axis=1)[:, :k]
