"""What the options against much-used sentences do to retrieval: how evenly sentences are used, how often images' own
captions are found, and how well own captions are told from others'.

    python benchmarks/hubs.py captions=OWN.jsonl config=projects/muvla/corpus/cc.yaml regions=[A,B] \\
        sentences=[POOL.txt,OWN.jsonl] sentence_options.format=auto out=FOLDER

The options are those of ``tools/build_corpus.py``, of which the stages regions, sentences and embed are run, and
``captions``: JSON lines {"image_id", "caption"} of some of the images, which are measured; all images compete for the
sentences. Every caption that is measured must be among ``sentences`` as well. A Markdown table is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.artifacts.files import remove_as_a_whole
from mmf_muvla.artifacts.progress import ProgressRecord
from mmf_muvla.pairing.build import make_stages
from mmf_muvla.pairing.config import BuildConfig, load_config
from mmf_muvla.pairing.csls import penalised
from mmf_muvla.pairing.embed import Embedder
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.own_captions import image_queries, pool_ranks
from mmf_muvla.pairing.phrases import PhraseFinder
from mmf_muvla.pairing.retrieve import SENTENCE_FILE, retrieve_sentences
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.report.corpus_captions import read_captions
from mmf_muvla.sentences.importing import SENTENCES_FILE

VARIANTS: list[dict[str, Any]] = [
    {},
    {"k": 10},
    {"k": 20},
    {"k": 50},
    {"max_uses": 50},
    {"max_uses": 20},
    {"max_uses": 10},
    {"scores": "csls"},
    {"scores": "csls", "max_uses": 20},
]
COLUMNS = ("options", "sentences used", "top 100", "most uses", "skewness", "own @K", "own @5", "own @100", "pairs")
COLUMNS += ("nouns",)


class Measured:
    """The images with captions of their own, and what retrieval finds for them."""

    def __init__(self, config: BuildConfig, captions: str):
        build = Path(config.out) / "build"
        self.config, self.store, self.embeddings = config, build / "regions", build / "embed"
        self.pool, regions = Embeddings.of_folder(self.embeddings), RegionStore(self.store)
        self.texts = list(chain.from_iterable(MappedTable(build / "sentences" / SENTENCES_FILE).blocks("sentence")))
        row_of = {text: row for row, text in enumerate(self.texts)}
        number_of = {image_id: number for number, image_id in enumerate(regions.ids)}
        own: dict[str, set[int]] = {}
        for image_id, caption in read_captions(captions):
            if image_id in number_of and caption in row_of:
                own.setdefault(image_id, set()).add(row_of[caption])
        self.images = np.array([number_of[image_id] for image_id in own])
        self.own = [np.array(sorted(rows)) for rows in own.values()]
        self.queries = Embedder(config.embedding).embed(image_queries(regions, own, config.query))
        self._finder = PhraseFinder(config.phrases)
        self._nouns: dict[int, set[str]] = {}

    def row(self, options: dict[str, Any]) -> list[str]:
        """The cells of a variant."""
        retrieval = replace(self.config.retrieval, **options)
        folder = Path(self.config.out) / "build" / "variant"
        remove_as_a_whole(folder)
        folder.mkdir(parents=True)
        work = Work(folder, ProgressRecord(folder / "progress.json"), LocalExecutor())
        query, embedding = self.config.query, self.config.embedding
        counts = retrieve_sentences(self.store, self.embeddings, query, embedding, retrieval, work)
        found = np.load(folder / SENTENCE_FILE)[self.images]
        first = [not set(rows).isdisjoint(own) for rows, own in zip(found.tolist(), map(list, self.own), strict=True)]
        pool, queries = self.pool, self.queries
        if retrieval.scores == "csls":
            pool = penalised(pool, folder)
            queries = pool.queries(queries)
        ranks = pool_ranks(queries, pool, self.own)
        # A limit, or another K, does not change the order of the whole pool.
        is_order = not retrieval.max_uses and retrieval.k == self.config.retrieval.k
        return [
            ", ".join(f"`{name}={value}`" for name, value in options.items()) or "none",
            f"{counts['sentences_used']:,}",
            f"{counts['share_of_top_100']:.0%}",
            f"{counts['max_uses']:,}",
            f"{counts['skewness']:.1f}",
            percent(first),
            *([percent(ranks <= 5), percent(ranks <= 100)] if is_order else ["", ""]),
            percent(list(self.told_apart(queries, pool))) if is_order else "",
            percent(list(self.shared_nouns(found))),
        ]

    def told_apart(self, queries: np.ndarray, pool: Embeddings) -> Iterator[float]:
        """Of the pairs of an own caption and one of another image, the share in which the own one scores higher."""
        rows = np.unique(np.concatenate(self.own))
        scores = queries @ pool.gather(rows).astype(np.float32).T
        for own, of_query in zip(self.own, scores, strict=True):
            is_own = np.isin(rows, own)
            yield float((of_query[is_own][:, None] > of_query[~is_own]).mean())

    def shared_nouns(self, found: np.ndarray) -> Iterator[float]:
        """The share of the head nouns of an image's retrieved sentences that its own captions say as well."""
        missing = sorted({*found.reshape(-1).tolist(), *chain.from_iterable(self.own)} - self._nouns.keys())
        texts = [self.texts[row] for row in missing]
        for row, text, spans in zip(missing, texts, self._finder.find(texts), strict=True):
            self._nouns[row] = {text[start:end].lower() for _, _, start, end in spans.tolist()}
        for own, rows in zip(self.own, found.tolist(), strict=True):
            said = set().union(*(self._nouns[row] for row in own))
            shares = [len(nouns & said) / len(nouns) for nouns in map(self._nouns.__getitem__, rows) if nouns]
            yield float(np.mean(shares)) if shares else 0.0


def percent(values: Any) -> str:
    """A mean over images as a percentage, with its standard error."""
    values = np.asarray(values, float)
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1) / len(values) ** 0.5:.1f}"


def main(arguments: list[str]) -> None:
    """See the module."""
    captions = [argument.partition("=")[2] for argument in arguments if argument.startswith("captions=")]
    if len(captions) != 1:
        sys.exit(__doc__)
    config = load_config(BuildConfig, [it for it in arguments if not it.startswith("captions=")])
    for stage in make_stages(config)[:3]:
        if not stage.state().done:
            stage.run()
    measured = Measured(config, captions[0])
    print(f"{len(measured.images)} of {len(RegionStore(measured.store))} images have own captions among "
          f"{len(measured.texts)} sentences\n")  # fmt: skip
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for options in VARIANTS:
        print(f"| {' | '.join(measured.row(options))} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
