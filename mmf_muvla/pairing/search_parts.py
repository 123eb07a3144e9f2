"""Search in parts: each of a group of images and a shard of the sentences, of whose best sentences the best are kept.

Where sentences are not divided, one part searches for a group of images in all of them, and there is nothing to merge.
Else every part leaves the best K of its shard for each query (``found``), and a second kind of part merges those of a
group of images (``results``). Which sentences are best does not depend on how they were divided: scores are compared as
single precision numbers that were rounded from double precision, and of equal ones the first sentence is the best.

Parts of the same shard come one after the other, so that whoever makes some of them can keep the shard in memory: the
operating system's cache does that where it has room for one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import (
    chunks,
    forget_steps,
    once,
    part_files,
    part_path,
    publish_part,
    remove_parts,
    run_large_parts,
)
from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.capped import num_candidates
from mmf_muvla.pairing.config import RetrievalOptions
from mmf_muvla.pairing.csls import PenalisedEmbeddings
from mmf_muvla.pairing.embeddings import Embeddings, shards_of
from mmf_muvla.pairing.faiss_search import INDEX_NAME, num_fetched, search_indexes
from mmf_muvla.pairing.pairs import GivenPairs, Owners

QUERIES, FOUND, RESULTS = "queries", "found", "results"

_GROUPED = "grouped"


class Queries(NamedTuple):
    """The queries of a group of images.

    Attributes:
        embedding: float32 [q, d].
        query_of_image: the query of each image, int64 [n].
        images: their digests, uint64 [n].
    """

    embedding: np.ndarray
    query_of_image: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class Search:
    """What is searched for groups of images, and how; all that makers of parts need to know.

    Attributes:
        folder: for the parts, and where those of queries and indexes are.
        pool: the sentences.
        options: how they are searched.
        owners: the sentences of each image, where these must not be retrieved for it.
    """

    folder: Path
    pool: Embeddings
    options: RetrievalOptions
    owners: Owners | None = None

    @property
    def k(self) -> int:
        """How many sentences are searched for each query; an image may have to go without some of them."""
        wanted = num_candidates(self.options.k, len(self.pool)) if self.options.max_uses else self.options.k
        return min(wanted + (self.owners.most_of_one_image if self.owners else 0), len(self.pool))

    def shards(self) -> list[range]:
        """The sentences that are searched at once: of an index, whole files."""
        options, size = self.options, self.options.sentences_at_once or len(self.pool)
        if options.index != "exact":
            per_index = options.faiss.sentences_per_index
            size = max(1, size // per_index) * per_index
        return shards_of(len(self.pool), size)

    def find(
        self, plain: np.ndarray, shard: range, progress: Any = None
    ) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        """The best K sentences of a shard for each query, or all where it has fewer; scores; and counts."""
        if self.options.index != "exact":
            return *self._find_by_index(self._as_searched(plain), shard, progress), {"searched_again": 0}
        return self._find_exactly(self._as_searched(plain), shard, progress)

    def find_anywhere(self, plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best K of all sentences by exact search."""
        return self._find_exactly(self._as_searched(plain), range(len(self.pool)), None)[:2]

    def _as_searched(self, plain: np.ndarray) -> np.ndarray:
        return self.pool.queries(plain) if isinstance(self.pool, PenalisedEmbeddings) else plain

    def _find_exactly(
        self, queries: np.ndarray, shard: range, progress: Any
    ) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        from mmf_muvla.pairing.search import exact_top_k  # loads torch

        devices = devices_of(self.options.device, "retrieval.device")
        k, rows = min(self.k, len(shard)), self.pool.shard(shard)
        ids, scores, repeated = exact_top_k(queries, rows, k, devices, progress=progress)
        return ids + shard.start, scores, {"searched_again": repeated}

    def _find_by_index(self, queries: np.ndarray, shard: range, progress: Any) -> tuple[np.ndarray, np.ndarray]:
        from mmf_muvla.pairing.search import keep_best, rescore  # loads torch

        faiss = self.options.faiss
        numbers = range(shard.start // faiss.sentences_per_index, -(-shard.stop // faiss.sentences_per_index))
        files = [part_path(self.folder, INDEX_NAME, number, ".faiss") for number in numbers]
        first, best = shard.start, (np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32))
        wanted = num_fetched(self.options.index, faiss, self.k)
        for rows, count in search_indexes(files, queries, wanted, faiss):
            found = rescore(queries, self.pool, np.where(rows >= 0, rows + first, -1), self.k)
            best = keep_best(*_side_by_side(best, found), self.k)
            first += count
            if progress is not None:
                progress.update(count)
        return best


def find_sentences(search: Search, work: Work) -> dict[str, int]:
    """Find the sentences of all images: parts ``results-000000.safetensors`` …, one of each group of images.

    They have ``sentence``, int64, and ``score``, float32 [images, K], best first; where the use of sentences is
    limited, all candidates of queries instead [queries, candidates].

    Returns:
        Counts: searched_again, not_found, see :func:`~mmf_muvla.pairing.retrieve.retrieve_sentences`.
    """
    shards = search.shards()
    groups = _groups(work, search.options, {"sentences": len(shards[0])} if len(shards) > 1 else {})
    if len(shards) == 1:
        return _make_parts(_search_part, search, groups, [len(search.pool)] * len(groups), work=work)
    pairs = [(files, shard) for shard in shards for files in groups]
    counts = Counter(_make_parts(_search_shard, search, pairs, [len(it) for _, it in pairs], name=FOUND, work=work))
    found = [part_path(work.folder, FOUND, number, ".safetensors") for number in range(len(pairs))]
    to_merge = [(files, found[number :: len(groups)]) for number, files in enumerate(groups)]
    counts.update(_make_parts(_merge_part, search, to_merge, [1] * len(groups), work=work, step=("merge", "part")))
    return dict(counts)


def find_given(pool: Embeddings, pairs: GivenPairs, options: RetrievalOptions, work: Work) -> dict[str, int]:
    """As :func:`find_sentences`, of pairs that are given: only their scores are computed. Counts: with_own."""
    groups = _groups(work, options, {})
    return _make_parts(_pair_part, (pool, pairs), groups, [len(pool)] * len(groups), work=work)


def load_queries(files: Sequence[Path]) -> Queries:
    """The queries of some parts together."""
    parts = [load_file(file) for file in files]
    firsts = np.cumsum([0, *(len(part["embedding"]) for part in parts)])
    return Queries(
        np.concatenate([part["embedding"] for part in parts]),
        np.concatenate([part["query_of_image"] + first for part, first in zip(parts, firsts[:-1], strict=True)]),
        np.concatenate([part["image"] for part in parts]),
    )


def save_results(path: Path, ids: np.ndarray, scores: np.ndarray) -> None:
    """Publish a part of results."""
    arrays = {"sentence": np.ascontiguousarray(ids), "score": np.ascontiguousarray(scores)}
    with publish_part(path, ".safetensors") as file:
        save_file(arrays, file)


def _groups(work: Work, options: RetrievalOptions, division: dict[str, int]) -> list[list[Path]]:
    """The parts of queries that are searched for at once; parts of results of another division are removed."""
    queries = part_files(work.folder, QUERIES, ".safetensors")
    together = max(1, options.images_at_once // len(load_file(queries[0])["image"]))
    grouping = {"parts": together, **division}
    if once(work.folder, _GROUPED, lambda: grouping) != grouping:
        # Of a run that was told to search for more at once, or for fewer: its parts hold other images or sentences.
        for name in (RESULTS, FOUND):
            remove_parts(work.folder, name)
        forget_steps(work.folder, _GROUPED)
        once(work.folder, _GROUPED, lambda: grouping)
    return list(chunks(queries, together))


def _make_parts(
    function: Callable[[Any, Any, Path, Any], dict[str, int]],
    state: Any,
    items: Sequence[Any],
    sizes: Sequence[int],
    *,
    work: Work,
    name: str = RESULTS,
    step: tuple[str, str] = ("retrieve", "sentence"),
) -> dict[str, int]:
    """Make parts, of such sizes for the progress bar of a step, in its unit, and add up what they count."""
    totals, done = Counter[str](), 0
    with work.progress.bar(sum(sizes), *step) as progress:
        place = (work.folder, name, function, enumerate(items), work.executor, state)
        for number, note in run_large_parts(*place, kind="retrieve", progress=progress):
            totals.update(note)
            done += sizes[number]
            # For what was there, or does not advance it.
            progress.update(done - progress.n)
    return dict(totals)


def _search_part(search: Search, files: Sequence[Path], path: Path, progress: Any) -> dict[str, int]:
    queries = load_queries(files)
    ids, scores, counts = search.find(queries.embedding, range(len(search.pool)), progress)
    return counts | _finish(search, queries, ids, scores, path)


def _search_shard(search: Search, item: tuple[Sequence[Path], range], path: Path, progress: Any) -> dict[str, int]:
    files, shard = item
    ids, scores, counts = search.find(load_queries(files).embedding, shard, progress)
    save_results(path, ids, scores)
    return counts


def _merge_part(search: Search, item: tuple[Sequence[Path], Sequence[Path]], path: Path, _: Any) -> dict[str, int]:
    from mmf_muvla.pairing.search import keep_best  # loads torch

    files, found = item
    shards = ((part["sentence"], part["score"]) for part in map(load_file, found))
    ids, scores = reduce(lambda best, other: keep_best(*_side_by_side(best, other), search.k), shards)
    return _finish(search, load_queries(files), ids, scores, path)


def _finish(search: Search, queries: Queries, ids: np.ndarray, scores: np.ndarray, path: Path) -> dict[str, int]:
    """Write the sentences of each image, out of those of its query."""
    from mmf_muvla.pairing.search import inner_products  # loads torch

    lacking = np.flatnonzero((ids < 0).any(axis=1))
    if len(lacking):
        ids[lacking], scores[lacking] = search.find_anywhere(queries.embedding[lacking])
    of_image = queries.query_of_image
    if not search.options.max_uses:
        ids, scores = ids[of_image], scores[of_image]
        if search.owners:
            ids, scores = _leave_out(search.owners, queries.images, ids, scores, search.options.k)
        if isinstance(search.pool, PenalisedEmbeddings):
            # Cosines are kept, whatever the order: they can be compared between corpora.
            scores = inner_products(queries.embedding[of_image], search.pool.plain, ids)
    save_results(path, ids, scores)
    return {"not_found": int(np.isin(of_image, lacking).sum())}


def _pair_part(state: tuple[Embeddings, GivenPairs], files: Sequence[Path], path: Path, _: Any) -> dict[str, int]:
    from mmf_muvla.pairing.search import rescore  # loads torch

    (pool, pairs), queries = state, load_queries(files)
    given = pairs.sentences(queries.images)
    save_results(path, *rescore(queries.embedding[queries.query_of_image], pool, given, given.shape[1]))
    return {"with_own": int(pairs.get_own(queries.images).sum())}


def _side_by_side(*found: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    ids, scores = zip(*found, strict=True)
    return np.concatenate(ids, axis=1), np.concatenate(scores, axis=1)


def _leave_out(
    owners: Owners, images: np.ndarray, ids: np.ndarray, scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first ``k`` of each image's sentences that are not its own, of what was found for it, best first."""
    begins, ends = owners.spans(images)
    own = np.zeros(ids.shape, bool)
    for place in range(owners.most_of_one_image):
        has = begins + place < ends
        own[has] |= ids[has] == owners.rows[(begins + place)[has]][:, None]
    # Stable: what is not its own comes first, in the order of the scores.
    order = np.argsort(own, axis=1, kind="stable")[:, :k]
    if np.take_along_axis(own, order, axis=1).any():
        problem = f"an image has {owners.most_of_one_image} sentences of its own, and fewer than {k} others are left"
        remedy = "Give more text, lower retrieval.k, or set retrieval.exclude_own=false"
        raise InputError(f"retrieval.k={k}", problem, remedy)
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
