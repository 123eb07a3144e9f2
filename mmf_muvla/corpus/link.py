"""Stage *link*: which noun phrase of a sentence means each region, by word vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmf_muvla.corpus.arrow import MappedTable, TableWriter, list_array
from mmf_muvla.corpus.config import LinkOptions
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.corpus.region_store import RegionStore
from mmf_muvla.corpus.word_vectors import WordVectors, load_word_vectors

LINKS_SCHEMA = pa.schema([("link_phrase", pa.list_(pa.int16())), ("link_similarity", pa.list_(pa.float32()))])
IMAGES_PER_BATCH = 1024
# Phrases whose vectors are remembered; the same ones come again and again.
_REMEMBERED_PHRASES = 500_000


def link_regions(
    store: Path, tags: Path, phrases: Path, retrieved: Path, options: LinkOptions, target: Path
) -> dict[str, int]:
    """Link every region of every image to a noun phrase of each of the image's sentences.

    The similarity is that of the region's class name to the phrase. Attributes take no part: the detector's would
    otherwise outweigh the object ("red car" is nearer to "red dress" than to "car").

    Args:
        store: region store, for the class names.
        tags: table of tags, as the stage *regions* writes it.
        phrases: table of sentences with phrases, as the stage *phrases* writes it.
        retrieved: .npy with the rows of the pool that were retrieved, int64 [images, K].
        options: word vectors, weight of the head, threshold.
        target: the Arrow file to write. Per image, row-major [K, regions]: ``link_phrase``, index into the sentence's
            phrases (-1: none), ``link_similarity``, 0 to 1 (0: none).

    Returns:
        Counts: links, possible (pairs of region and sentence), unknown_classes (class names without a word vector),
        phrases_unknown (looked-up phrases without a word vector).
    """
    linker = Linker(RegionStore(store).object_names, load_word_vectors(options.vectors, options.max_words), options)
    table = MappedTable(phrases)
    pool_rows = np.concatenate([batch.column("pool_row").to_numpy() for batch in table.batches])
    sentences = np.load(retrieved, mmap_mode="r", allow_pickle=False)
    counts = {"links": 0, "possible": 0}
    reader = _PhraseReader(table)
    with TableWriter(target, LINKS_SCHEMA) as writer, progress_bar(len(sentences), "link", "image") as progress:
        first = 0
        for class_ids in _blocks_of_classes(MappedTable(tags)):
            rows, local = np.unique(sentences[first : first + len(class_ids)], return_inverse=True)
            best_phrase, similarity = linker.best_phrases([reader[row] for row in np.searchsorted(pool_rows, rows)])
            local = local.reshape(len(class_ids), -1)
            chosen = [np.ix_(local[image], classes) for image, classes in enumerate(class_ids)]
            linked_phrases = [best_phrase[index].reshape(-1) for index in chosen]
            writer.write(
                list_array(linked_phrases, np.int16),
                list_array([similarity[index].reshape(-1) for index in chosen], np.float32),
            )
            counts["links"] += sum(int((linked >= 0).sum()) for linked in linked_phrases)
            counts["possible"] += sum(map(len, linked_phrases))
            first += len(class_ids)
            progress.update(len(class_ids))
    return counts | {"unknown_classes": linker.num_unknown_classes, "phrases_unknown": linker.num_unknown_phrases}


class Linker:
    """Finds the phrase that is most similar to each object class.

    Args:
        object_names: class names [c].
        vectors: word vectors.
        options: weight of the head of a phrase or class name, threshold.
    """

    def __init__(self, object_names: Sequence[str], vectors: WordVectors, options: LinkOptions):
        self._vectors = vectors
        self._options = options
        # The head of a class name is its last word ("traffic light"), so that a phrase of the same words is the same.
        heads = [name.split()[-1] for name in object_names]
        self._classes = np.stack(
            [vectors.mean(name, head, options.head_weight) for name, head in zip(object_names, heads, strict=True)]
        )
        self._remembered: dict[tuple[str, str], np.ndarray] = {}
        self.num_unknown_classes = int((~self._classes.any(axis=1)).sum())
        self.num_unknown_phrases = 0

    def best_phrases(self, sentences: Sequence[list[tuple[str, str]]]) -> tuple[np.ndarray, np.ndarray]:
        """The best phrase of each sentence for each class.

        Args:
            sentences: the phrases of each sentence [s], each a phrase and its head.

        Returns:
            Number of the phrase in its sentence (-1: none is similar enough; the first of equal ones), int16 [s, c],
            and its cosine similarity, at most 1 (0 where there is none), float32 [s, c].
        """
        shape = (len(sentences), len(self._classes))
        best_phrase, similarity = np.full(shape, -1, np.int16), np.zeros(shape, np.float32)
        lengths = np.array([len(phrases) for phrases in sentences])
        has_phrases = lengths > 0
        if not has_phrases.any():
            return best_phrase, similarity
        vectors = np.stack([self._phrase_vector(phrase) for phrases in sentences for phrase in phrases])
        cosines = vectors @ self._classes.T
        # Segments of the phrases of one sentence; reduceat needs them without empty ones.
        lengths = lengths[has_phrases]
        starts = np.cumsum(lengths) - lengths
        highest = np.maximum.reduceat(cosines, starts)
        number = np.arange(len(cosines)) - np.repeat(starts, lengths)
        is_highest = cosines == np.repeat(highest, lengths, axis=0)
        first_highest = np.minimum.reduceat(np.where(is_highest, number[:, None], len(cosines)), starts)
        linked = (highest >= self._options.threshold) & (highest > 0)
        best_phrase[has_phrases] = np.where(linked, first_highest, -1)
        similarity[has_phrases] = np.where(linked, np.minimum(highest, 1), 0)
        return best_phrase, similarity

    def _phrase_vector(self, phrase: tuple[str, str]) -> np.ndarray:
        vector = self._remembered.get(phrase)
        if vector is None:
            text, head = phrase
            vector = self._vectors.mean(text, head, self._options.head_weight)
            self.num_unknown_phrases += not vector.any()
            if len(self._remembered) == _REMEMBERED_PHRASES:
                self._remembered.clear()
            self._remembered[phrase] = vector
        return vector


class _PhraseReader:
    """The phrases of a sentence, each with its head, as text."""

    def __init__(self, table: MappedTable):
        self._table = table
        self._sentences = table.strings("sentence")
        self._spans = [table.lists(name) for name in ("phrase_start", "phrase_end", "head_start", "head_end")]

    def __getitem__(self, row: int) -> list[tuple[str, str]]:
        batch, row = self._table.locate(row)
        text = self._sentences[batch][row]
        spans = [column[batch][row].tolist() for column in self._spans]
        return [
            (text[start:end], text[head_start:head_end])
            for start, end, head_start, head_end in zip(*spans, strict=True)
        ]


def _blocks_of_classes(tags: MappedTable) -> Iterator[list[np.ndarray]]:
    """Class ids of the regions of each image, a block of images at a time."""
    for batch, column in zip(tags.batches, tags.lists("class_id"), strict=True):
        for start in range(0, batch.num_rows, IMAGES_PER_BATCH):
            yield [column[row] for row in range(start, min(start + IMAGES_PER_BATCH, batch.num_rows))]
