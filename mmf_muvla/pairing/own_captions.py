"""How well retrieval finds what is known to be right: the rank of an image's own captions in the whole pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.artifacts.artifact import read_manifest
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import EmbeddingOptions, QueryOptions
from mmf_muvla.pairing.csls import penalised
from mmf_muvla.pairing.embed import Embedder
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.query import image_query
from mmf_muvla.pairing.store import REGIONS_FOLDER
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.sentences.cleaning import clean_sentence
from mmf_muvla.sentences.importing import SENTENCES_FILE

_QUERIES_AT_ONCE = 256
_ROWS_AT_ONCE = 65536


def own_caption_ranks(corpus: Path, captions: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """At which place of all sentences each image's best own caption is.

    The image's query is compared with every sentence of the pool, with the settings that the corpus was built with, but
    for ``max_uses``.

    Args:
        corpus: folder of a corpus, with what its stages left in ``build``.
        captions: of some images of the corpus; images that it does not have are left out.

    Returns:
        Per image, one more than the number of sentences that score higher than its best own caption, own captions not
        counted. Images of which no caption is in the pool are left out.

    Raises:
        InputError: ``build`` is not there any more.
    """
    build = corpus / "build"
    settings = retrieval_settings(corpus)
    query, embedding = QueryOptions(**settings["query"]), EmbeddingOptions(**settings["embedding"])
    cleaned = {image_id: {clean_sentence(text) for text in texts} for image_id, texts in captions.items()}
    known = set().union(*cleaned.values())
    sentences = chain.from_iterable(MappedTable(build / "sentences" / SENTENCES_FILE).blocks("sentence"))
    row_of = {text: row for row, text in enumerate(sentences) if text in known}
    own = {image_id: sorted(row_of[text] for text in texts if text in row_of) for image_id, texts in cleaned.items()}
    regions = RegionStore(corpus / REGIONS_FOLDER)
    images = [image_id for image_id, rows in own.items() if rows and image_id in regions]
    pool = Embeddings.of_folder(build / "embed")
    queries = Embedder(embedding).embed(image_queries(regions, images, query)) if images else np.zeros((0, 1))
    if _parameters(build / "retrieve").get("scores") == "csls" and images:
        pool = penalised(pool, build / "retrieve")
        queries = pool.queries(queries)
    ranks = pool_ranks(queries, pool, [np.array(own[image_id]) for image_id in images])
    return dict(zip(images, ranks.tolist(), strict=True))


def retrieval_settings(corpus: Path) -> dict[str, dict[str, Any]]:
    """What the retrieval of a corpus depends on, of the options ``query`` and ``embedding`` of its build.

    Raises:
        InputError: ``build`` in the corpus's folder is not there any more.
    """
    query, embedding = (_parameters(corpus / "build" / name) for name in ("retrieve", "embed"))
    return {
        "query": {name: query[name] for name in QueryOptions.__dataclass_fields__},
        "embedding": {name: embedding[name] for name in ("model", "compute_dtype", "dtype")},
    }


def image_queries(regions: RegionStore, images: Iterable[str], options: QueryOptions) -> list[str]:
    """The texts that sentences are searched with for some images."""
    return [
        image_query(regions, found.class_id, found.attribute_id, found.confidence, options)
        for found in map(regions.get, images)
    ]


def tag_similarities(
    regions: RegionStore, images: Sequence[str], texts: Sequence[str], embedding: EmbeddingOptions, query: QueryOptions
) -> np.ndarray:
    """Cosine similarities of images' tags with texts by Sentence-BERT, as in the retrieval, float32 [images, texts]."""
    embedder = Embedder(embedding)
    return embedder.embed(image_queries(regions, images, query)) @ embedder.embed(texts).T


def pool_ranks(queries: np.ndarray, pool: Embeddings, own_rows: Sequence[np.ndarray]) -> np.ndarray:
    """The rank, from 1, of the best own row of each query among all rows that are not its own, int64 [q].

    ``queries`` are float32 [q, d]; each has at least one own row, and none twice.
    """
    best = np.array(
        [(pool.gather(rows).astype(np.float32) @ query).max() for query, rows in zip(queries, own_rows, strict=True)],
        np.float32,
    )
    # An own row that was computed here and again below may differ in the last bits.
    floor = best + 1e-6
    higher = np.zeros(len(queries), np.int64)
    for first, block in pool.blocks(_ROWS_AT_ONCE):
        block = block.astype(np.float32)
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = slice(start, start + _QUERIES_AT_ONCE)
            above = queries[part] @ block.T > floor[part, None]
            for query, rows in enumerate(own_rows[part]):
                own = rows[(rows >= first) & (rows < first + len(block))] - first
                above[query, own] = False
            higher[part] += above.sum(axis=1)
    return higher + 1


def _parameters(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(str(folder), "this stage of the build is not there", "Build the corpus again")
    return manifest["made_from"]["parameters"]
