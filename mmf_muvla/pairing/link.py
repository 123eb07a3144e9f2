"""Stage *link*: which noun phrase of a sentence means each region, by word vectors."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmf_muvla.artifacts.arrow import ListColumn, MappedTable, TableWriter
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import chunks, join_parts, once, publish_part, run_parts
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import LinkOptions
from mmf_muvla.pairing.word_vectors import WordVectors, load_word_vectors
from mmf_muvla.regions.store import RegionStore

logger = logging.getLogger(__name__)

LINKS_SCHEMA = pa.schema([("link_phrase", pa.list_(pa.int16())), ("link_similarity", pa.list_(pa.float32()))])
LINKS_FILE = "links.arrow"
# Class names without a word vector, one a line, those of most regions first; only where there are any.
UNKNOWN_CLASSES_FILE = "unknown_classes.txt"
_NAMES_SAID = 10
_PART = "part"
_IMAGES_PER_PART = 16384
_IMAGES_AT_ONCE = 256


def link_regions(
    store: Path, phrases: Path, used: Path, retrieved: Path, options: LinkOptions, work: Work
) -> dict[str, int]:
    """Link every region of every image to a noun phrase of each of the image's sentences: ``links.arrow``.

    The similarity is that of the region's class name to the phrase. Attributes take no part: the detector's would
    otherwise outweigh the object ("red car" is nearer to "red dress" than to "car").

    Per image the table has, row-major [K, regions]: ``link_phrase``, index into the sentence's phrases (-1: none), and
    ``link_similarity``, 0 to 1 (0: none). Of a class name without a word vector that is two words in a row
    ("diningtable") these are compared; names that are not are listed in ``unknown_classes.txt``.

    Args:
        store: region store, for the classes of the regions.
        phrases: table of sentences with phrases, as the stage *phrases* writes it.
        used: .npy with the row of the pool that each of these sentences is, sorted, int64 [n].
        retrieved: .npy with the rows of the pool that were retrieved, int64 [images, K].
        options: word vectors, weight of heads, threshold.
        work: folder, progress.

    Returns:
        Counts: links, possible (pairs of region and sentence), split_classes (class names taken for two words),
        unknown_classes (class names without a word vector), unknown_regions (regions of these classes),
        phrases_unknown (looked-up phrases without a word vector).

    Raises:
        InputError: the word vectors cannot be read, or know none of the classes, or none of the phrases.
    """
    regions = RegionStore(store)

    def link_all() -> dict[str, int]:
        arguments = (regions.object_names, phrases, used, retrieved, options)
        items = enumerate(_classes(regions))
        parts = run_parts(
            *(work.folder, _PART, _link_part, items, work.executor, _Inputs),
            arguments=arguments,
            kind="link",
            # Linking a million images takes a minute: of this machine one process does it.
            processes=lambda _: 1,
        )
        notes = []
        with work.progress.bar(len(regions), "link", "image") as progress:
            for _, note in parts:
                progress.update(note["images"])
                notes.append(note)
        total = {name: sum(it[name] for it in notes) for name in ("links", "possible", "phrases", "phrases_unknown")}
        if total["phrases"] and total["phrases_unknown"] == total["phrases"]:
            lost = dict.fromkeys(phrase for note in notes for phrase in note["unknown_phrases"])
            raise _knows_nothing(options, "phrases", list(lost))
        apart: dict[str, str] = notes[0]["split_classes"]
        if apart:
            _name_split_classes(apart)
        # Of equally many regions in the order of the names: every note has all of them.
        unknown = Counter[str]()
        for note in notes:
            unknown.update(note["unknown_classes"])
        if unknown:
            _list_unknown_classes(work.folder, options, unknown, len(regions.object_names))
        return {
            "links": total["links"],
            "possible": total["possible"],
            "split_classes": len(apart),
            "unknown_classes": len(unknown),
            "unknown_regions": unknown.total(),
            "phrases_unknown": total["phrases_unknown"],
        }

    counts = once(work.folder, "linked", link_all)
    join_parts(work.folder, _PART, LINKS_SCHEMA, LINKS_FILE)
    return counts


class _Inputs:
    """What a part is linked with. That no class has a word vector is an ``InputError``."""

    def __init__(self, object_names: list[str], phrases: Path, used: Path, retrieved: Path, options: LinkOptions):
        self._table = MappedTable(phrases)
        self._texts = self._table.strings("sentence")
        self._spans = [self._table.lists(name) for name in ("phrase_start", "phrase_end", "head_start", "head_end")]
        self.pool_rows, self.sentences = (np.load(it, mmap_mode="r", allow_pickle=False) for it in (used, retrieved))
        self.linker = Linker(object_names, load_word_vectors(options.vectors, options.max_words), options)
        if len(self.linker.unknown_classes) + len(self.linker.split_classes) == len(object_names):
            raise _knows_nothing(options, f"{len(object_names)} class names", object_names)

    def phrases(self, row: int) -> list[tuple[str, str]]:
        """The phrases of a row of the table, each with its head."""
        batch, row = self._table.locate(row)
        text = self._texts[batch][row]
        spans = (column[batch][row].tolist() for column in self._spans)
        return [(text[start:end], text[head:head_end]) for start, end, head, head_end in zip(*spans, strict=True)]


def _link_part(inputs: _Inputs, item: tuple[int, list[np.ndarray]], path: Path) -> dict[str, Any]:
    first, class_ids = item
    linker = inputs.linker
    links = possible = 0
    regions_of = np.bincount(np.concatenate(class_ids), minlength=len(linker.object_names)).tolist()
    # So that what is counted does not depend on where a killed process stopped.
    linker.forget()
    with publish_part(path, ".arrow") as file, TableWriter(file, LINKS_SCHEMA) as writer:
        for classes in chunks(class_ids, _IMAGES_AT_ONCE):
            sentences = inputs.sentences[first : first + len(classes)]
            rows, local = np.unique(sentences, return_inverse=True)
            phrases = [inputs.phrases(row) for row in np.searchsorted(inputs.pool_rows, rows)]
            linked, similarities = linker.link(phrases, local.reshape(sentences.shape), classes)
            offsets = pa.array(np.cumsum([0, *(len(ids) * sentences.shape[1] for ids in classes)]), pa.int32())
            writer.write(*(pa.ListArray.from_arrays(offsets, pa.array(it)) for it in (linked, similarities)))
            links += int((linked >= 0).sum())
            possible += len(linked)
            first += len(classes)
    return {
        "images": len(class_ids),
        "links": links,
        "possible": possible,
        "split_classes": linker.split_classes,
        "unknown_classes": {
            name: count
            for name, count in zip(linker.object_names, regions_of, strict=True)
            if name in linker.unknown_classes
        },
        "phrases": linker.num_phrases,
        "phrases_unknown": linker.num_unknown_phrases,
        "unknown_phrases": linker.unknown_phrases,
    }


def _knows_nothing(options: LinkOptions, what: str, unknown: Sequence[str]) -> InputError:
    remedy = "Use vectors of the language of the texts, with words in lower case, and enough of them (link.max_words)"
    return InputError(f"link.vectors={options.vectors}", f"knows none of the {what} ({_said(unknown)})", remedy)


def _name_split_classes(apart: Mapping[str, str]) -> None:
    names = list(apart)
    shown = ", ".join(f"{name}: {apart[name]}" for name in names[:_NAMES_SAID]) + " …" * (len(names) > _NAMES_SAID)
    logger.warning(
        "%d class names without a word vector are linked as two words. In tags and queries they stay as they are; "
        "region_options.rename={%s} changes them there as well",
        *(len(names), shown),
    )


def _list_unknown_classes(folder: Path, options: LinkOptions, unknown: Counter[str], num_classes: int) -> None:
    names = [name for name, _ in unknown.most_common()]
    (folder / UNKNOWN_CLASSES_FILE).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    logger.warning(
        "%d of %d classes have no word vector in %s, so that their %d regions get no links: %s (all in %s). "
        "region_options.rename gives a class a name of words that have one",
        *(len(names), num_classes, options.vectors, unknown.total(), _said(names), UNKNOWN_CLASSES_FILE),
    )


def _said(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMES_SAID])) + " …" * (len(names) > _NAMES_SAID)


class Linker:
    """Finds the phrase that is most similar to each object class.

    Args:
        object_names: class names [c].
        vectors: word vectors.
        options: weight of the head of a phrase or class name, threshold.

    Attributes:
        object_names: the class names.
        split_classes: of class names without a word vector that are two words in a row, these words.
        unknown_classes: all others that have no word vector.
        num_unknown_phrases: phrases that were looked up and have no word vector, each counted once.
        unknown_phrases: the first of them.
    """

    def __init__(self, object_names: Sequence[str], vectors: WordVectors, options: LinkOptions):
        self._vectors = vectors
        self._options = options
        self.object_names = object_names
        apart = {name: vectors.split_compounds(name) for name in object_names if not self._direction(name).any()}
        self._classes = np.stack([self._direction(apart.get(name, name)) for name in object_names])
        self.split_classes = {name: words for name, words in apart.items() if self._direction(words).any()}
        self.unknown_classes = [name for name in apart if name not in self.split_classes]
        self.forget()

    def _direction(self, name: str) -> np.ndarray:
        # The head of a class name is its last word ("traffic light"), so that a phrase of the same words is the same.
        return self._vectors.mean(name, name.split()[-1], self._options.head_weight)

    def forget(self) -> None:
        """Begin anew to remember phrases, and to count those without a word vector."""
        # Number 0 stands for no phrase.
        self._phrase_vectors = [np.zeros(self._vectors.dimensions, np.float32)]
        self._numbers: dict[tuple[str, str], int] = {}
        self.num_unknown_phrases = 0
        self.unknown_phrases: list[str] = []

    @property
    def num_phrases(self) -> int:
        return len(self._numbers)

    def link(
        self, sentences: Sequence[list[tuple[str, str]]], retrieved: np.ndarray, class_ids: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best phrase of each of an image's sentences for each of its regions.

        The similarity of a class and a phrase is computed once for all images, whatever the regions and sentences that
        have them.

        Args:
            sentences: the phrases of each sentence [s], each a phrase and its head.
            retrieved: the sentences of each image, int [images, K].
            class_ids: the classes of each image's regions, int [n] per image.

        Returns:
            Image after image, row-major [K * n]: the phrase's number in its sentence (-1: none is similar enough; the
            first of equal ones), int16, and its cosine similarity, at most 1 (0 where there is none), float32.
        """
        numbers, phrase = np.unique(self._phrase_numbers(sentences), return_inverse=True)
        phrase = phrase.reshape(len(sentences), -1)
        lengths = np.array([len(ids) for ids in class_ids])
        most = int(lengths.max())
        is_region = np.arange(most) < lengths[:, None]
        classes, place = np.unique(np.concatenate(class_ids), return_inverse=True)
        region = np.zeros((len(class_ids), most), np.int64)
        region[is_region] = place
        cosines = np.stack([self._phrase_vectors[number] for number in numbers]) @ self._classes[classes].T
        # What fills up a sentence of few phrases is never the most similar.
        cosines[numbers == 0] = -2
        # [images, K, regions], phrase by phrase: of equal ones the first stays.
        highest = np.full((*retrieved.shape, most), -2, np.float32)
        best = np.zeros(highest.shape, np.int16)
        flat = cosines.reshape(-1)
        for number in range(phrase.shape[1]):
            first_pair = phrase[:, number] * len(classes)
            found = flat.take(first_pair[retrieved][:, :, None] + region[:, None, :])
            best[found > highest] = number
            np.maximum(highest, found, out=highest)
        linked = (highest >= self._options.threshold) & (highest > 0)
        wanted = np.broadcast_to(is_region[:, None, :], linked.shape)
        best[~linked] = -1
        highest[~linked] = 0
        return best[wanted], np.minimum(highest, 1)[wanted]

    def _phrase_numbers(self, sentences: Sequence[list[tuple[str, str]]]) -> np.ndarray:
        """The numbers of each sentence's phrases, 0 behind its last, int [sentences, most phrases]."""
        most, known = max(1, *map(len, sentences)), self._numbers
        return np.array(
            [[known.get(it) or self._add(it) for it in phrases] + [0] * (most - len(phrases)) for phrases in sentences]
        )

    def _add(self, phrase: tuple[str, str]) -> int:
        vector = self._vectors.mean(*phrase, self._options.head_weight)
        if not vector.any():
            self.num_unknown_phrases += 1
            if len(self.unknown_phrases) < _NAMES_SAID:
                self.unknown_phrases.append(phrase[0])
        self._phrase_vectors.append(vector)
        self._numbers[phrase] = len(self._phrase_vectors) - 1
        return self._numbers[phrase]


def _classes(regions: RegionStore) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Of each part the number of its first image, and the classes of the regions of each image."""
    columns = ((ListColumn(batch.column("class_id")), batch.num_rows) for batch in regions.blocks())
    first = 0
    for part in chunks((column[row] for column, count in columns for row in range(count)), _IMAGES_PER_PART):
        yield first, part
        first += len(part)
