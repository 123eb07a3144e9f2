"""How many of an exact search's sentences approximate indexes find for the images of a corpus, and how large they are.

    python benchmarks/indexes.py CORPUS [--images N] [--code-sizes 32 64 96]

``CORPUS`` is a folder that ``tools/build_corpus.py`` has built, with its ``build`` in it: its sentences are searched
with the tags of its images, of all or of so many drawn at random. Each index is built over all sentences and searched
as the stage *retrieve* does it: so many candidates are fetched, and ranked again by their exact scores. A Markdown
table is printed: recall@5, bytes that a sentence takes in the index, and its factory.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.artifact import read_manifest
from mmf_muvla.pairing.config import EmbeddingOptions, FaissOptions, QueryOptions
from mmf_muvla.pairing.embed import Embedder
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.own_captions import image_queries
from mmf_muvla.regions.store import RegionStore

K = 5
PROBES = (4, 8, 16, 32, 64)
WIDTHS = (32, 64, 128)
CANDIDATES = (15, 50, 100, 200, 400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--images", type=int, default=0, help="how many are searched for; 0: all")
    parser.add_argument("--code-sizes", type=int, nargs="+", default=[32, 64, 96], help="of ivfpq, in bytes")
    arguments = parser.parse_args()
    build = arguments.corpus / "build"
    embed, retrieve = ((read_manifest(build / name) or {})["made_from"]["parameters"] for name in ("embed", "retrieve"))
    regions = RegionStore(build / "regions")
    ids = regions.ids
    if arguments.images:
        ids = np.random.default_rng(0).choice(ids, arguments.images, replace=False).tolist()
    query = QueryOptions(**{name: retrieve[name] for name in QueryOptions.__dataclass_fields__})
    embedder = Embedder(EmbeddingOptions(model=embed["model"], compute_dtype=embed["compute_dtype"]))
    queries = embedder.embed(image_queries(regions, ids, query))
    print("| index | recall@5 | bytes a sentence | |\n|---|---|---|---|")
    for row in measure(Embeddings.of_folder(build / "embed"), queries, arguments.code_sizes):
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def measure(pool: Embeddings, queries: np.ndarray, code_sizes: list[int]) -> Iterator[tuple[str, str, int, str]]:
    """The rows of the table."""
    from mmf_muvla.pairing.search import exact_top_k

    truth = exact_top_k(queries, pool, K).ids
    built = _Built(pool, queries, truth)
    for kind, name, values in (("ivf", "nprobe", PROBES), ("hnsw", "efSearch", WIDTHS)):
        built.build(kind, FaissOptions())
        for value in values:
            yield built.row(f"{kind}, {name}={value}", FaissOptions(**{name: value}), kind)
    for code_size in code_sizes:
        built.build("ivfpq", FaissOptions(code_size=code_size))
        for candidates in CANDIDATES:
            yield built.row(f"ivfpq, candidates={candidates}", FaissOptions(candidates=candidates), "ivfpq")


class _Built:
    """One index at a time, and what an exact search finds."""

    def __init__(self, pool: Embeddings, queries: np.ndarray, truth: np.ndarray):
        self._pool, self._queries, self._truth = pool, queries, truth
        self._index: Any = None
        self._factory, self._bytes = "", 0

    def build(self, kind: str, options: FaissOptions) -> None:
        import faiss

        from mmf_muvla.pairing.faiss_search import build_index, factory

        count = len(self._pool)
        self._factory = factory(kind, options, count, self._pool.dimensions)
        self._index = build_index(self._pool, kind, options, 0, count)
        self._bytes = round(len(faiss.serialize_index(self._index)) / count)

    def row(self, name: str, options: FaissOptions, kind: str) -> tuple[str, str, int, str]:
        from mmf_muvla.pairing.faiss_search import num_fetched, search_index
        from mmf_muvla.pairing.search import rescore

        candidates = search_index(self._index, self._queries, num_fetched(kind, options, K), options)
        found, _ = rescore(self._queries, self._pool, candidates, K)
        recall = np.mean([np.isin(best, own).mean() for best, own in zip(self._truth, found, strict=True)])
        return name, f"{recall:.3f}", self._bytes, self._factory


if __name__ == "__main__":
    main()
