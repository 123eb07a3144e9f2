"""Stage *retrieve*: for each image the K sentences whose embeddings are nearest to its tags', or K that are given."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from mmf_muvla.artifacts.arrow import ListColumn
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import (
    add_up,
    chunks,
    make_part,
    once,
    part_files,
    part_size,
    publish_part,
    remove_parts,
    run_parts,
)
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.arrays import write_array
from mmf_muvla.pairing.capped import check_max_uses, limit_uses
from mmf_muvla.pairing.config import EmbeddingOptions, PairingOptions, QueryOptions, RetrievalOptions
from mmf_muvla.pairing.csls import ImageEmbeddings, PenalisedEmbeddings, find_penalties, penalised
from mmf_muvla.pairing.embed import Embedder, embedding_workers, start_embedder
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.faiss_search import INDEX_NAME, build_indexes
from mmf_muvla.pairing.pairs import GivenPairs, Owners, digests_of_images
from mmf_muvla.pairing.query import image_query
from mmf_muvla.pairing.search_parts import FOUND, QUERIES, RESULTS, Search, find_given, find_sentences, save_results
from mmf_muvla.pairing.uses import count_uses, hub_warning, measure_uses, use_frequencies
from mmf_muvla.regions.regions import image_digests
from mmf_muvla.regions.store import RegionStore

logger = logging.getLogger(__name__)

SENTENCE_FILE, SCORE_FILE, USED_FILE = "sentence.npy", "score.npy", "used.npy"

_CAPPED = "capped"
# Images whose queries are embedded together; equal queries among them are embedded once.
_IMAGES_PER_PART = 8192
# So many more than K are searched for each image where its own are left out; beyond, the column must be a wrong one.
_MOST_OF_ONE_IMAGE = 1000


def retrieve_sentences(
    store: Path,
    embeddings: Path,
    query: QueryOptions,
    embedding: EmbeddingOptions,
    retrieval: RetrievalOptions,
    work: Work,
    *,
    owners: Path | None = None,
    pairing: PairingOptions | None = None,
) -> dict[str, float]:
    """Find the sentences of every image.

    Written are ``sentence.npy``, int64 [images, K]: numbers of sentences, best first; ``score.npy``, float32
    [images, K]: their cosine similarities, whatever they are ordered by; ``used.npy``, int64 [n]: the sentences that
    were retrieved at all, sorted. With ``scores=csls`` also ``penalty.npy``, see :mod:`mmf_muvla.pairing.csls`.

    Args:
        store, embeddings: as the stages *regions* and *embed* leave them.
        query, embedding, retrieval: how tags become text, how that was and is embedded, and what is searched.
        work: folder, progress, workers.
        owners: table of the images that sentences belong to, where these must not be retrieved for them, or where
            ``pairing`` is given.
        pairing: which images get their own sentences, and which some of others; ``None``: sentences are searched.

    Returns:
        Counts: images, queries (distinct texts, within some thousand images), sentences_used (distinct sentences), and
        how unevenly these are used, see :func:`~mmf_muvla.pairing.uses.measure_uses`.
        Where they are searched, searched_again (queries whose first result could not be proved exact), not_found
        (images for which an approximate index found fewer than K sentences, and that were searched for exactly); else
        with_own (images that got their own).

    Raises:
        InputError: there are too few sentences, an image has too many of its own or lacks some that it should get, or
            the model, a device or FAISS's parameters cannot be used.
    """
    folder = work.folder
    regions = RegionStore(store)
    pool = Embeddings.of_folder(embeddings)
    if len(pool) < retrieval.k:
        problem = f"there are only {len(pool)} sentences"
        raise InputError(f"retrieval.k={retrieval.k}", problem, "Give more text, or lower it")
    # Before anything is embedded: here it is found out whether images have too few or too many sentences of their own.
    own = _owners(owners, regions) if owners and not pairing else None
    given = GivenPairs(regions, owners, len(pool), retrieval.k, pairing) if owners and pairing else None
    is_capped = retrieval.max_uses is not None and not pairing
    if is_capped:
        check_max_uses(retrieval.max_uses or 0, retrieval.k, len(regions), len(pool))
    counts = once(folder, "queries", lambda: _embed_queries(regions, query, embedding, work))
    searched = pool
    if given:
        counts |= once(folder, "searched", lambda: find_given(pool, given, retrieval, work))
    else:
        if retrieval.scores == "csls":
            searched = _penalised(pool, retrieval, work)
        if retrieval.index != "exact":
            once(folder, "index", lambda: build_indexes(searched, retrieval.index, retrieval.faiss, work))
        search = Search(folder, searched, retrieval, own)
        counts |= once(folder, "searched", lambda: find_sentences(search, work))
    results = RESULTS
    if is_capped:
        results = _CAPPED
        make_part(folder, results, 0, partial(_cap, folder, searched, retrieval))
    counts |= once(folder, "joined", lambda: _join(folder, results, retrieval.k, len(pool)))
    for name in (QUERIES, INDEX_NAME, FOUND, RESULTS, _CAPPED):
        remove_parts(folder, name)
    if not pairing and (warning := hub_warning(counts)):
        logger.warning("%s", warning)
    return counts


def _penalised(pool: Embeddings, retrieval: RetrievalOptions, work: Work) -> Embeddings:
    images = ImageEmbeddings(part_files(work.folder, QUERIES, ".safetensors"))
    once(work.folder, "penalties", lambda: find_penalties(images, pool, retrieval.device, work))
    return penalised(pool, work.folder)


def _owners(table: Path, regions: RegionStore) -> Owners:
    owners = Owners(table, digests_of_images(regions))
    if owners.most_of_one_image > _MOST_OF_ONE_IMAGE:
        problem = f"an image of the corpus has {owners.most_of_one_image} sentences of its own"
        remedy = "Name the column that tells images apart, or set retrieval.exclude_own=false"
        raise InputError("sentence_options.image_id_column", problem, remedy)
    return owners


def _embed_queries(
    regions: RegionStore, query: QueryOptions, embedding: EmbeddingOptions, work: Work
) -> dict[str, int]:
    items = enumerate(chunks(_query_texts(regions, query), part_size(len(regions), _IMAGES_PER_PART)))
    parts = run_parts(
        *(work.folder, QUERIES, _embed_part, items, work.executor, start_embedder),
        arguments=(embedding,),
        kind="embed",
        processes=partial(embedding_workers, embedding),
    )
    with work.progress.bar(len(regions), "queries", "image") as progress:
        return add_up(parts, progress, "images")


def _query_texts(regions: RegionStore, options: QueryOptions) -> Iterator[tuple[str, str]]:
    """The id of each image and the text to search with."""
    for batch in regions.blocks():
        columns = [ListColumn(batch.column(name)) for name in ("class_id", "attribute_id", "confidence")]
        for row, image_id in enumerate(batch.column("image_id").to_pylist()):
            classes, attributes, confidence = (column[row] for column in columns)
            yield image_id, image_query(regions, classes, attributes, confidence, options)


def _embed_part(embedder: Embedder, images: list[tuple[str, str]], path: Path) -> dict[str, int]:
    image_ids, texts = zip(*images, strict=True)
    numbers: dict[str, int] = {}
    query_of_image = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
    embedding = embedder.embed(list(numbers))
    arrays = {"embedding": embedding, "query_of_image": query_of_image, "image": image_digests(image_ids)}
    with publish_part(path, ".safetensors") as file:
        save_file(arrays, file)
    return {"images": len(texts), "queries": len(numbers)}


def _cap(folder: Path, pool: Embeddings, options: RetrievalOptions, path: Path) -> dict[str, int]:
    from mmf_muvla.pairing.search import inner_products  # loads torch

    queries, candidates = (part_files(folder, name, ".safetensors") for name in (QUERIES, RESULTS))
    ids, scores = limit_uses(queries, candidates, pool, options)
    if isinstance(pool, PenalisedEmbeddings):
        first = 0
        for file in queries:
            part = load_file(file)
            images = slice(first, first + len(part["image"]))
            scores[images] = inner_products(part["embedding"][part["query_of_image"]], pool.plain, ids[images])
            first = images.stop
    save_results(path, ids, scores)
    return {}


def _join(folder: Path, name_of_parts: str, k: int, pool_size: int) -> dict[str, float]:
    """Write the results of all parts to single files, and count how the sentences are used, without holding these."""
    files = part_files(folder, name_of_parts, ".safetensors")

    def values(name: str) -> Iterator[np.ndarray]:
        for file in files:
            with safe_open(str(file), "numpy") as part:
                yield part.get_tensor(name)

    write_array(folder / SENTENCE_FILE, values("sentence"), np.int64, k)
    write_array(folder / SCORE_FILE, values("score"), np.float32, k)
    frequencies = Counter[int]()

    def used() -> Iterator[np.ndarray]:
        for first, uses in count_uses(lambda: values("sentence"), pool_size):
            frequencies.update(use_frequencies(uses))
            yield np.flatnonzero(uses) + first

    num_used = write_array(folder / USED_FILE, used(), np.int64)
    return {"sentences_used": num_used, **measure_uses(frequencies, pool_size)}
