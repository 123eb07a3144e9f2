"""Stage *retrieve*: for each image the K sentences whose embeddings are nearest to its tags', or K that are given."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from mmf_muvla.artifacts.arrow import ListColumn
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.artifacts.parts import (
    add_up,
    chunks,
    forget_steps,
    make_part,
    once,
    part_files,
    part_size,
    publish_part,
    remove_parts,
    run_parts,
)
from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.capped import check_max_uses, limit_uses, num_candidates
from mmf_muvla.pairing.config import EmbeddingOptions, PairingOptions, QueryOptions, RetrievalOptions
from mmf_muvla.pairing.csls import ImageEmbeddings, PenalisedEmbeddings, find_penalties, penalised
from mmf_muvla.pairing.embed import Embedder, embedding_workers, start_embedder
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.faiss_search import INDEX_NAME, build_indexes, search_indexes
from mmf_muvla.pairing.pairs import GivenPairs, Owners, digests_of_images
from mmf_muvla.pairing.query import image_query
from mmf_muvla.pairing.uses import hub_warning, measure_uses
from mmf_muvla.regions.regions import image_digests
from mmf_muvla.regions.store import RegionStore

logger = logging.getLogger(__name__)

SENTENCE_FILE, SCORE_FILE, USED_FILE = "sentence.npy", "score.npy", "used.npy"

_QUERIES, _RESULTS, _CAPPED = "queries", "results", "capped"
_GROUPED = "grouped"
# Images whose queries are embedded together; equal queries among them are embedded once.
_IMAGES_PER_PART = 8192
# An approximate index ranks by rounded vectors: so many more than K are fetched, and ranked again exactly.
_FETCHED_BESIDES_K = 15
# So many more than K are searched for each image where its own are left out; beyond, the column must be a wrong one.
_MOST_OF_ONE_IMAGE = 1000

# ``find(files, progress, path)`` writes the results for these parts of the queries, and returns counts. It may advance
# the progress bar by the sentences that it has compared.
_Find = Callable[[Sequence[Path], Any, Path], dict[str, int]]


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
    find: _Find
    searched = pool
    if given:
        find = partial(_pair_part, pool, given)
    else:
        if retrieval.scores == "csls":
            searched = _penalised(pool, retrieval, work)
        if retrieval.index != "exact":
            once(folder, "index", lambda: _build_indexes(searched, retrieval, work))
        find = partial(_search_part, searched, own, retrieval)
    counts |= once(folder, "searched", lambda: _find(find, len(pool), retrieval.images_at_once, work))
    results = _RESULTS
    if is_capped:
        results = _CAPPED
        make_part(folder, results, 0, partial(_cap, folder, searched, retrieval))
    counts |= once(folder, "joined", lambda: _join(folder, results, (len(regions), retrieval.k), len(pool)))
    for name in (_QUERIES, INDEX_NAME, _RESULTS, _CAPPED):
        remove_parts(folder, name)
    if not pairing and (warning := hub_warning(counts)):
        logger.warning("%s", warning)
    return counts


def _penalised(pool: Embeddings, retrieval: RetrievalOptions, work: Work) -> Embeddings:
    images = ImageEmbeddings(part_files(work.folder, _QUERIES, ".safetensors"))
    devices = devices_of(retrieval.device, "retrieval.device")

    def find() -> dict[str, int]:
        with work.progress.bar(len(pool), "penalties", "sentence") as progress:
            find_penalties(images, pool, devices, work.folder, progress)
        return {}

    once(work.folder, "penalties", find)
    return penalised(pool, work.folder)


def _build_indexes(pool: Embeddings, retrieval: RetrievalOptions, work: Work) -> dict[str, int]:
    with work.progress.bar(len(pool), "index", "sentence") as progress:
        return {"indexes": build_indexes(pool, retrieval.index, retrieval.faiss, work.folder, progress)}


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
        *(work.folder, _QUERIES, _embed_part, items, work.executor, start_embedder),
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


def _find(find: _Find, pool_size: int, images_at_once: int, work: Work) -> dict[str, int]:
    """Find the sentences of all images, so many at once; each time the embeddings are read once."""
    queries = part_files(work.folder, _QUERIES, ".safetensors")
    together = max(1, images_at_once // len(load_file(queries[0])["image"]))
    grouping = {"parts": together}
    if once(work.folder, _GROUPED, lambda: grouping) != grouping:
        # Of a run that was told to search for more at once, or for fewer: its parts hold other images.
        remove_parts(work.folder, _RESULTS)
        forget_steps(work.folder, _GROUPED)
        once(work.folder, _GROUPED, lambda: grouping)
    groups = list(chunks(queries, together))
    totals = Counter[str]()
    with work.progress.bar(pool_size * len(groups), "retrieve", "sentence") as progress:
        for number, note in _find_groups(find, groups, progress, work):
            totals.update(note)
            # For what was there, or does not advance it.
            progress.update(pool_size * (number + 1) - progress.n)
    return dict(totals)


def _find_groups(
    find: _Find, groups: Sequence[Sequence[Path]], progress: Any, work: Work
) -> Iterator[tuple[int, dict[str, Any]]]:
    if not isinstance(work.executor, LocalExecutor):
        place = (work.folder, _RESULTS, _find_group, enumerate(groups), work.executor, _give)
        yield from run_parts(*place, arguments=(find,), kind="retrieve")
        return
    # One process of a machine computes with all of its cores or GPUs.
    for number, files in enumerate(groups):
        yield number, make_part(work.folder, _RESULTS, number, partial(find, files, progress))


def _give(find: _Find) -> _Find:
    return find


def _find_group(find: _Find, files: Sequence[Path], path: Path) -> dict[str, int]:
    return find(files, None, path)


def _search_part(
    pool: Embeddings,
    owners: Owners | None,
    options: RetrievalOptions,
    files: Sequence[Path],
    progress: Any,
    path: Path,
) -> dict[str, int]:
    from mmf_muvla.pairing.search import exact_top_k, inner_products, rescore  # loads torch

    plain, query_of_image, images = _load_queries(files)
    queries = pool.queries(plain) if isinstance(pool, PenalisedEmbeddings) else plain
    wanted = num_candidates(options.k, len(pool)) if options.max_uses else options.k
    k = min(wanted + (owners.most_of_one_image if owners else 0), len(pool))
    note = {"searched_again": 0, "not_found": 0}
    if options.index == "exact":
        devices = devices_of(options.device, "retrieval.device")
        ids, scores, note["searched_again"] = exact_top_k(queries, pool, k, devices, progress=progress)
    else:
        candidates = search_indexes(path.parent, queries, k + _FETCHED_BESIDES_K, options.faiss, progress)
        ids, scores = rescore(queries, pool, candidates, k)
        lacking = np.flatnonzero((ids < 0).any(axis=1))
        if len(lacking):
            devices = devices_of(options.device, "retrieval.device")
            ids[lacking], scores[lacking], _ = exact_top_k(queries[lacking], pool, k, devices)
        note["not_found"] = int(np.isin(query_of_image, lacking).sum())
    if not options.max_uses:
        ids, scores = ids[query_of_image], scores[query_of_image]
        if owners:
            ids, scores = _leave_out(owners, images, ids, scores, options.k)
        if isinstance(pool, PenalisedEmbeddings):
            # Cosines are kept, whatever the order: they can be compared between corpora.
            scores = inner_products(plain[query_of_image], pool.plain, ids)
    _save_results(path, ids, scores)
    return note


def _cap(folder: Path, pool: Embeddings, options: RetrievalOptions, path: Path) -> dict[str, int]:
    from mmf_muvla.pairing.search import inner_products  # loads torch

    queries, candidates = (part_files(folder, name, ".safetensors") for name in (_QUERIES, _RESULTS))
    ids, scores = limit_uses(queries, candidates, pool, options)
    if isinstance(pool, PenalisedEmbeddings):
        first = 0
        for file in queries:
            part = load_file(file)
            images = slice(first, first + len(part["image"]))
            scores[images] = inner_products(part["embedding"][part["query_of_image"]], pool.plain, ids[images])
            first = images.stop
    _save_results(path, ids, scores)
    return {}


def _pair_part(pool: Embeddings, pairs: GivenPairs, files: Sequence[Path], _: Any, path: Path) -> dict[str, int]:
    from mmf_muvla.pairing.search import rescore  # loads torch

    queries, query_of_image, images = _load_queries(files)
    given = pairs.sentences(images)
    _save_results(path, *rescore(queries[query_of_image], pool, given, given.shape[1]))
    return {"with_own": int(pairs.get_own(images).sum())}


def _load_queries(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of queries, float32 [q, d]; the query of each image, int64 [n]; the images' digests, uint64 [n]."""
    parts = [load_file(file) for file in files]
    firsts = np.cumsum([0, *(len(part["embedding"]) for part in parts)])
    return (
        np.concatenate([part["embedding"] for part in parts]),
        np.concatenate([part["query_of_image"] + first for part, first in zip(parts, firsts[:-1], strict=True)]),
        np.concatenate([part["image"] for part in parts]),
    )


def _save_results(path: Path, ids: np.ndarray, scores: np.ndarray) -> None:
    arrays = {"sentence": np.ascontiguousarray(ids), "score": np.ascontiguousarray(scores)}
    with publish_part(path, ".safetensors") as file:
        save_file(arrays, file)


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


def _join(folder: Path, name_of_parts: str, shape: tuple[int, int], pool_size: int) -> dict[str, float]:
    """Write the results of all parts to single files, arrays of that shape, without holding these in memory."""
    files = part_files(folder, name_of_parts, ".safetensors")
    uses = np.zeros(pool_size, np.int32)
    for name, target, dtype in (("sentence", SENTENCE_FILE, np.int64), ("score", SCORE_FILE, np.float32)):
        with publish_file(folder / target) as path, path.open("wb") as stream:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for file in files:
                values = load_file(file)[name]
                stream.write(values.tobytes())
                if name == "sentence":
                    np.add.at(uses, values.reshape(-1), 1)
    rows = np.flatnonzero(uses)
    with publish_file(folder / USED_FILE) as path, path.open("wb") as stream:
        np.save(stream, rows)
    return {"sentences_used": len(rows), **measure_uses(uses[rows], pool_size)}
