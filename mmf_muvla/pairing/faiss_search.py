"""Approximate search with FAISS: indexes of some million sentences each, kept in files, each a part of the work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import add_up, publish_part, run_large_parts
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import FaissOptions
from mmf_muvla.pairing.embeddings import Embeddings, shards_of

INDEX_NAME = "index"
# FAISS advises 39 vectors a cell to learn cells from; fewer than that, and cells are drawn almost at random.
_TRAINING_PER_CELL = 39
# What a byte of a code can stand for.
_CODE_WORDS = 256
# An approximate index ranks by rounded vectors, one of codes by coarse ones: so many more than K are fetched.
_CANDIDATES, _CANDIDATES_OF_CODES = 15, 200


def build_indexes(embeddings: Embeddings, kind: str, options: FaissOptions, work: Work) -> dict[str, int]:
    """Write ``index-000000.faiss`` …, those that are not there yet.

    Args:
        embeddings: what is to be searched.
        kind: ``flat``, ``ivf``, ``ivfpq`` or ``hnsw``.
        options: FAISS's parameters.
        work: folder for the files, who makes them, and a progress bar.

    Returns:
        A count: sentences.

    Raises:
        InputError: FAISS does not understand ``factory`` or ``quantizer``.
    """
    shards = shards_of(len(embeddings), options.sentences_per_index)
    state = (embeddings, kind, options)
    place = (work.folder, INDEX_NAME, _build_part, enumerate(shards), work.executor, state)
    with work.progress.bar(len(embeddings), "index", "sentence") as progress:
        return add_up(run_large_parts(*place, kind="retrieve"), progress, "sentences")


def _build_part(state: tuple[Embeddings, str, FaissOptions], shard: range, path: Path, progress: Any) -> dict[str, int]:
    import faiss

    index = build_index(*state, shard.start, shard.stop)
    with publish_part(path, ".faiss") as file:
        faiss.write_index(index, str(file))
    return {"sentences": len(shard)}


def build_index(embeddings: Embeddings, kind: str, options: FaissOptions, start: int, stop: int) -> Any:
    """An index of the rows from ``start`` to ``stop``, which it numbers from 0."""
    import faiss

    text = str(options.factory or factory(kind, options, stop - start, embeddings.dimensions))
    with _explained(text, "does not understand"):
        index = faiss.index_factory(embeddings.dimensions, text, faiss.METRIC_INNER_PRODUCT)
    inner = _inner(index)
    if hasattr(inner, "hnsw"):
        inner.hnsw.efConstruction = options.efConstruction
    if not index.is_trained:
        size = min(options.train_size, stop - start)
        chosen = np.random.default_rng(0).choice(np.arange(start, stop), size, replace=False)
        sample = embeddings.gather(np.sort(chosen)).astype(np.float32)
        with _explained(text, f"cannot learn from {size} sentences"):
            index.train(sample)
    for _, block in embeddings.blocks(2**17, start, stop):
        index.add(np.ascontiguousarray(block, np.float32))
    return index


def search_index(index: Any, queries: np.ndarray, k: int, options: FaissOptions) -> np.ndarray:
    """The rows that an index finds, int64 [queries, k]; -1 where it finds fewer."""
    inner = _inner(index)
    if hasattr(inner, "nprobe"):
        inner.nprobe = options.nprobe
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = max(options.efSearch, k)
    return index.search(np.ascontiguousarray(queries, np.float32), min(k, index.ntotal))[1]


def _inner(index: Any) -> Any:
    """The index that has the parameters: not one that only turns vectors, or ranks again what that finds."""
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _inner(index.index)
    return _inner(index.base_index) if isinstance(index, faiss.IndexRefine) else index


@contextmanager
def _explained(text: str, problem: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        remedy = "See faiss.index_factory for what factory and quantizer can be"
        raise InputError("retrieval.faiss", f"FAISS {problem}: {text!r} ({reason})", remedy) from error


def search_indexes(
    files: Iterable[Path], queries: np.ndarray, k: int, options: FaissOptions
) -> Iterator[tuple[np.ndarray, int]]:
    """What each of some index files finds; one of them is in memory at a time.

    Yields:
        Rows, in no order, numbered from the first row of the index, int64 [queries, at most k], -1 is none; and how
        many rows that has.
    """
    import faiss

    for file in files:
        index = faiss.read_index(str(file))
        yield search_index(index, queries, k, options), index.ntotal


def num_fetched(kind: str, options: FaissOptions, k: int) -> int:
    """How many an index is asked for where ``k`` are wanted: what it finds is ranked again exactly."""
    return k + (options.candidates or (_CANDIDATES_OF_CODES if kind == "ivfpq" else _CANDIDATES))


def factory(kind: str, options: FaissOptions, count: int, dimensions: int) -> str:
    """FAISS's description of an index of so many sentences; see ``faiss.index_factory``."""
    if kind == "flat":
        return "Flat"
    if kind == "hnsw":
        return f"HNSW{options.M},{options.quantizer}"
    wanted = options.nlist or 2 ** round(math.log2(8 * math.sqrt(count)))
    learned_from = min(options.train_size, count)
    cells = max(1, min(wanted, learned_from // _TRAINING_PER_CELL))
    # Codes have to be learned as well; a last index of few sentences takes little room without.
    if kind == "ivf" or learned_from < _CODE_WORDS * _TRAINING_PER_CELL:
        return f"IVF{cells},{options.quantizer}"
    # A byte stands for as many numbers of a vector as another.
    code_size = max(size for size in range(1, min(options.code_size, dimensions) + 1) if dimensions % size == 0)
    # "np": not to be compared by their bits, which would take most of the time of learning them.
    return f"IVF{cells},PQ{code_size}np"
