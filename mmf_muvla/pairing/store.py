"""Reads a weakly aligned corpus: images by their regions, their retrieved sentences, and the links between the two.

The folder has the ``regions`` (see :mod:`mmf_muvla.regions.store`), the tables of ``SENTENCES_SCHEMA``, sentences that
were retrieved at least once, and of ``PAIRS_SCHEMA``, the images. ``corpus.json``, with names, counts and checksums, is
written last: a folder without it is not a whole corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.artifacts.files import (
    damaged_files,
    describe_files,
    read_json,
    read_record,
    refuse_foreign,
    write_record,
)
from mmf_muvla.artifacts.outputs import refuse_file
from mmf_muvla.errors import InputError
from mmf_muvla.regions.index import foreign_in_store
from mmf_muvla.regions.store import Regions, RegionStore, RegionStoreWriter

__all__ = ["Corpus", "CorpusItem", "RegionStore", "RegionStoreWriter", "Regions", "Sentence"]

FORMAT = {"format": "muvla-corpus", "version": 2}
CORPUS_FILE, REGIONS_FOLDER = "corpus.json", "regions"
# Of version 1, an LMDB; a build can begin with it.
FORMER_REGIONS_FOLDER = "regions.lmdb"
SENTENCES_FILE, PAIRS_FILE = "sentences.arrow", "pairs.arrow"
SENTENCES_SCHEMA = pa.schema(
    [
        ("sentence", pa.string()),
        ("source", pa.int64()),  # line of the input
        ("phrase_start", pa.list_(pa.int32())),  # in characters
        ("phrase_end", pa.list_(pa.int32())),
    ]
)
PAIRS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("sentence", pa.list_(pa.int32())),  # K rows of the other table, best first
        ("score", pa.list_(pa.float32())),
        ("link_phrase", pa.list_(pa.int16())),  # [K, regions], row-major
        ("link_similarity", pa.list_(pa.float32())),
    ]
)
# Metadata of both tables: the build that they belong to.
BUILD_KEY = "build"

_REBUILD = "Remove it, and build it again with tools/build_corpus.py"


@dataclass(frozen=True)
class Sentence:
    """A sentence of the corpus.

    Attributes:
        text: the sentence.
        phrases: start and end of each noun phrase, in characters, int32 [p, 2].
    """

    text: str
    phrases: np.ndarray


@dataclass(frozen=True)
class CorpusItem:
    """An image with its K retrieved sentences. The arrays are the caller's own.

    Attributes:
        regions: the image's n regions.
        tags: the object tag of every region [n].
        sentence_ids: what to ask :meth:`Corpus.sentence` for, best first, int64 [K]; distinct where they were searched.
        scores: cosine similarity of tags and sentence, float32 [K].
        link_phrase: for every region the phrase of the sentence that means it, -1 where none does, int16 [K, n].
        link_similarity: how similar that phrase is to the region's class, 0 to 1, float32 [K, n].
    """

    regions: Regions
    tags: list[str]
    sentence_ids: np.ndarray
    scores: np.ndarray
    link_phrase: np.ndarray
    link_similarity: np.ndarray


class Corpus:
    """A weakly aligned corpus, memory-mapped. It can be pickled, and used on both sides of a fork.

    Args:
        path: the corpus's folder.
        verify: read both tables once, and compare them with their checksums (about a second a gigabyte); the records of
            regions are verified when they are read.

    Attributes:
        k: sentences per image.
        feature_dim: numbers per region feature.
        object_names, attribute_names: what class and attribute ids stand for.
        counts: what the build counted.
        regions: the region store.
        num_sentences: sentences that were retrieved at least once.

    Raises:
        InputError: ``path`` is not a whole corpus, or is damaged.
    """

    def __init__(self, path: str | Path, verify: bool = True):
        self.path = Path(path)
        meta = _read_meta(self.path)
        for file in damaged_files(self.path, meta["files"]) if verify else ():
            problem = "cannot be read as an Arrow file: it is missing, or damaged (it does not fit its checksum)"
            raise InputError(str(file), problem, _REBUILD)
        self.k: int = meta["k"]
        self.feature_dim: int = meta["feature_dim"]
        self.object_names: list[str] = meta["object_names"]
        self.attribute_names: list[str] = meta["attribute_names"]
        self.counts: dict[str, int] = meta["counts"]
        self.regions = RegionStore(self.path / REGIONS_FOLDER, verify)
        self._pairs = MappedTable(self.path / PAIRS_FILE)
        self._sentence_table = MappedTable(self.path / SENTENCES_FILE)
        for name, build, expected in (
            (PAIRS_FILE, _build_of(self._pairs.schema), meta[BUILD_KEY]),
            (SENTENCES_FILE, _build_of(self._sentence_table.schema), meta[BUILD_KEY]),
            (REGIONS_FOLDER, self.regions.content, meta["regions_content"]),
        ):
            if build != expected:
                raise InputError(str(self.path / name), f"is of another build than {CORPUS_FILE}", _REBUILD)
        self.num_sentences = len(self._sentence_table)
        self._image_ids = self._pairs.strings("image_id")
        self._sentence_ids, self._scores, self._link_phrases, self._link_similarities = (
            self._pairs.lists(name) for name in ("sentence", "score", "link_phrase", "link_similarity")
        )
        self._texts = self._sentence_table.strings("sentence")
        self._phrase_starts = self._sentence_table.lists("phrase_start")
        self._phrase_ends = self._sentence_table.lists("phrase_end")

    def __reduce__(self) -> tuple[type[Corpus], tuple[Path, bool]]:
        return (type(self), (self.path, False))

    def __len__(self) -> int:
        return len(self._pairs)

    @cached_property
    def image_ids(self) -> list[str]:
        """The images' names, in the corpus's order; all of them in memory, unlike :meth:`image_id_blocks`."""
        return [image_id for block in self.image_id_blocks() for image_id in block]

    def image_id_blocks(self) -> Iterator[list[str]]:
        """The images' names, in the corpus's order, some at a time."""
        return self._pairs.blocks("image_id")

    def __getitem__(self, index: int) -> CorpusItem:
        """An image by its number; an ``IndexError`` where there is none."""
        batch, row = self._pairs.locate(index)
        regions = self.regions.get(self._image_ids[batch][row])
        shape = (self.k, len(regions))
        return CorpusItem(
            regions=regions,
            tags=regions.tags(self.object_names, self.attribute_names),
            sentence_ids=self._sentence_ids[batch][row].astype(np.int64),
            scores=self._scores[batch][row].copy(),
            link_phrase=self._link_phrases[batch][row].reshape(shape).copy(),
            link_similarity=self._link_similarities[batch][row].reshape(shape).copy(),
        )

    def spread(self, num_images: int) -> list[int]:
        """At most so many images, evenly spread over the corpus, by their numbers."""
        return np.unique(np.linspace(0, len(self) - 1, min(num_images, len(self))).astype(int)).tolist()

    def sentence_ids(self, index: int) -> np.ndarray:
        """An image's sentences alone, best first, int64 [K]: as in its item, without reading its regions."""
        batch, row = self._pairs.locate(index)
        return self._sentence_ids[batch][row].astype(np.int64)

    @property
    def region_counts(self) -> np.ndarray:
        """How many regions each image has, int32 [len(self)], without reading their features."""
        return np.concatenate([np.diff(column.offsets) // self.k for column in self._link_phrases])

    def sentence(self, number: int) -> Sentence:
        """A sentence by its number; an ``IndexError`` where there is none."""
        batch, row = self._sentence_table.locate(int(number))
        phrases = np.stack([self._phrase_starts[batch][row], self._phrase_ends[batch][row]], axis=1)
        return Sentence(self._texts[batch][row], phrases)


def refuse_foreign_corpus(folder: Path) -> None:
    """Refuse, with an ``InputError``, to write a corpus over files that are no corpus's."""
    refuse_file(folder / CORPUS_FILE, (read_json(folder / CORPUS_FILE) or {}).get("format") == FORMAT["format"])
    for table in (folder / SENTENCES_FILE, folder / PAIRS_FILE):
        refuse_file(table, table.is_file() and _is_of_a_corpus(table))
    refuse_foreign(folder / REGIONS_FOLDER, foreign_in_store)


def _is_of_a_corpus(table: Path) -> bool:
    try:
        with pa.memory_map(str(table)) as file, pa.ipc.open_file(file) as reader:
            return bool(_build_of(reader.schema))
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError):
        return False


def _build_of(schema: pa.Schema) -> str:
    """The build that a table belongs to; empty where it is no table of a corpus."""
    return (schema.metadata or {}).get(BUILD_KEY.encode(), b"").decode()


def write_meta(folder: Path, k: int, counts: dict[str, int], build: str) -> None:
    """Write ``corpus.json``, which makes a folder that has the regions and both tables a whole corpus."""
    regions = RegionStore(folder / REGIONS_FOLDER)
    meta = {
        **FORMAT,
        "k": k,
        "feature_dim": regions.feature_dim,
        "counts": counts,
        BUILD_KEY: build,
        "regions_content": regions.content,
        "object_names": regions.object_names,
        "attribute_names": regions.attribute_names,
        "files": describe_files(folder, [folder / PAIRS_FILE, folder / SENTENCES_FILE]),
    }
    write_record(folder / CORPUS_FILE, meta)


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / CORPUS_FILE
    if not file.is_file():
        raise InputError(str(path), f"is not a whole corpus (it has no {CORPUS_FILE})", _REBUILD)
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(str(file), f"is not JSON ({error})", _REBUILD) from error
    found = {key: meta.get(key) for key in FORMAT}
    if found != FORMAT:
        former = path / FORMER_REGIONS_FOLDER
        remedy = f"{_REBUILD}; regions={former} gives it the same regions" if former.is_dir() else _REBUILD
        raise InputError(str(file), f"is not a corpus of this version (it says {found})", remedy)
    if read_record(file) is None:
        raise InputError(str(file), "is damaged, or has been changed", _REBUILD)
    return meta
