"""Stage *retrieve*: for each image the K sentences whose embeddings are nearest to its tags'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmf_muvla.corpus.arrow import MappedTable
from mmf_muvla.corpus.config import EmbeddingOptions, QueryOptions, RetrievalOptions
from mmf_muvla.corpus.embed import Embedder, choose_device
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.corpus.query import query_text
from mmf_muvla.corpus.region_store import RegionStore, tag_texts
from mmf_muvla.errors import InputError

if TYPE_CHECKING:
    import torch

# Candidates beyond K that take part in the exact comparison at the end. Single-precision scores are off by some 1e-7,
# and this many sentences would have to lie that close together for the result to be any but the exact one.
_SPARE = 16


def retrieve_sentences(
    store: Path,
    tags: Path,
    embeddings: Path,
    query: QueryOptions,
    embedding: EmbeddingOptions,
    retrieval: RetrievalOptions,
    target: Path,
) -> dict[str, int]:
    """Find the sentences of every image.

    Args:
        store: region store, for the names of classes and attributes.
        tags: table of tags, as the stage *regions* writes it.
        embeddings: .npy of the sentences' embeddings, float [sentences, dimensions].
        query: how tags become text.
        embedding: the model that the sentences were embedded with.
        retrieval: how many sentences.
        target: folder for ``sentence.npy``, int64 [images, K]: rows of ``embeddings``, best first, and
            ``score.npy``, float32 [images, K]: their cosine similarities.

    Returns:
        Counts: images, queries (distinct texts), sentences_used (distinct sentences).
    """
    texts, query_of_image = _distinct_queries(RegionStore(store), MappedTable(tags), query)
    embedder = Embedder(embedding)
    queries = np.empty((len(texts), embedder.dimensions), np.float32)
    with progress_bar(len(texts), "queries", "query") as progress:
        for start in range(0, len(texts), embedding.block_size):
            block = texts[start : start + embedding.block_size]
            queries[start : start + len(block)] = embedder.embed(block)
            progress.update(len(block))
    ids, scores = top_k(queries, np.load(embeddings, mmap_mode="r", allow_pickle=False), retrieval)
    sentences = ids[query_of_image]
    np.save(target / "sentence.npy", sentences)
    np.save(target / "score.npy", scores[query_of_image])
    return {"images": len(sentences), "queries": len(texts), "sentences_used": len(np.unique(sentences))}


def _distinct_queries(store: RegionStore, table: MappedTable, options: QueryOptions) -> tuple[list[str], np.ndarray]:
    """The distinct query texts, and which of them each image has, int64 [images]."""
    numbers: dict[str, int] = {}
    query_of_image = np.empty(len(table), np.int64)
    row = 0
    attribute_lists = table.lists("attribute_id")
    confidence_lists = table.lists("confidence")
    for batch, class_ids in enumerate(table.lists("class_id")):
        for image in range(table.batches[batch].num_rows):
            attribute_ids = attribute_lists[batch][image]
            if not options.attributes:
                attribute_ids = np.full_like(attribute_ids, -1)
            tags = tag_texts(class_ids[image], attribute_ids, store.object_names, store.attribute_names)
            text = query_text(tags, confidence_lists[batch][image].tolist(), options)
            query_of_image[row] = numbers.setdefault(text, len(numbers))
            row += 1
    return list(numbers), query_of_image


def top_k(queries: np.ndarray, sentences: np.ndarray, options: RetrievalOptions) -> tuple[np.ndarray, np.ndarray]:
    """The K rows of ``sentences`` with the highest inner product, for every query; exact.

    A block of sentences is compared with a block of queries at a time, and the best so far are kept, with some to
    spare. In the end these are compared once more in double precision. So the result does not depend on the size of the
    blocks, and of equal sentences the one that comes first wins.

    Args:
        queries: float32 [q, d].
        sentences: float [n, d], may be memory-mapped.
        options: K, the blocks' sizes, the device.

    Returns:
        Rows of ``sentences``, best first, int64 [q, K], and their scores, float32 [q, K].

    Raises:
        InputError: there are fewer than K sentences.
    """
    import torch

    if len(sentences) < options.k:
        raise InputError(
            f"retrieval.k={options.k}",
            f"there are only {len(sentences)} sentences",
            "Give more text, or lower retrieval.k",
        )
    device = choose_device(options.device, "retrieval.device")
    kept = min(options.k + _SPARE, len(sentences))
    best_scores = torch.full((len(queries), kept), -torch.inf)
    best_ids = torch.zeros((len(queries), kept), dtype=torch.int64)
    with progress_bar(len(sentences), "retrieve", "sentence") as progress:
        for start in range(0, len(sentences), options.sentence_block):
            rows = np.asarray(sentences[start : start + options.sentence_block], np.float32)
            block = torch.from_numpy(rows).to(device)
            for first in range(0, len(queries), options.query_block):
                part = slice(first, first + options.query_block)
                scores = torch.from_numpy(queries[part]).to(device) @ block.T
                values, columns = _first_highest(scores, min(kept, len(rows)))
                # Those kept so far come from earlier sentences, and stand first: a stable sort lets them win a tie.
                all_scores = torch.cat([best_scores[part], values.cpu()], dim=1)
                all_ids = torch.cat([best_ids[part], columns.cpu() + start], dim=1)
                order = all_scores.sort(dim=1, descending=True, stable=True).indices[:, :kept]
                best_scores[part] = all_scores.gather(1, order)
                best_ids[part] = all_ids.gather(1, order)
            progress.update(len(rows))
    return _compare_exactly(queries, sentences, best_ids.numpy(), options.k)


def _first_highest(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k highest scores of each row and their columns; of equal ones those that come first, in that order."""
    import torch

    values, columns = scores.topk(k, dim=1)
    # topk may choose any of several equal scores at the end. Such rows are rare, and are sorted as a whole.
    ambiguous = (scores >= values[:, -1:]).sum(dim=1) > k
    if ambiguous.any():
        order = scores[ambiguous].sort(dim=1, descending=True, stable=True)
        values[ambiguous], columns[ambiguous] = order.values[:, :k], order.indices[:, :k]
    columns, by_column = columns.sort(dim=1)
    values, by_value = values.gather(1, by_column).sort(dim=1, descending=True, stable=True)
    return values, torch.gather(columns, 1, by_value)


def _compare_exactly(
    queries: np.ndarray, sentences: np.ndarray, candidates: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    ids = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    rows_at_once = 1024
    for start in range(0, len(queries), rows_at_once):
        part = slice(start, start + rows_at_once)
        vectors = np.asarray(sentences[candidates[part].reshape(-1)], np.float64)
        vectors = vectors.reshape(*candidates[part].shape, -1)
        # einsum adds up every product in the same order, so that equal sentences have equal scores to the last bit.
        exact = np.einsum("qd,qkd->qk", queries[part].astype(np.float64), vectors).astype(np.float32)
        order = np.lexsort((candidates[part], -exact), axis=1)[:, :k]
        ids[part] = np.take_along_axis(candidates[part], order, axis=1)
        scores[part] = np.take_along_axis(exact, order, axis=1)
    return ids, scores
