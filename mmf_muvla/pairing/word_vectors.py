"""Word vectors, from the formats that they are published in."""

from __future__ import annotations

import gzip
import logging
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained
from mmf_muvla.reading.restricted_pickle import PickleProblem, Record, load_pickle

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

logger = logging.getLogger(__name__)

_OPTION = "link.vectors"
_FORMATS = (
    "Give package:…, a folder with an .npy [words, dimensions] and a .parquet with the words, a word2vec file "
    "(.bin, also .bin.gz), a word2vec or GloVe text file, or what gensim's KeyedVectors.save has written"
)
_SAVE_VECTORS = "Save the vectors alone, model.wv.save(path) or model.wv.save_word2vec_format(path, binary=True)"
_SAVED_CLASSES = {
    ("gensim.models.keyedvectors", name)
    for name in ("KeyedVectors", "Word2VecKeyedVectors", "EuclideanKeyedVectors", "Vocab")
}
# Lines that the number of dimensions is taken from, where no first line says it.
_LINES_TO_COUNT = 100
_LONGEST_LINE = 2**20
_ROWS_AT_ONCE = 2**16
_UNREADABLE = (ValueError, TypeError, EOFError, OSError, OverflowError, MemoryError, zlib.error, pa.ArrowException)
_PUNCTUATION = ".,;:!?\"'`()[]{}“”‘’…-–—"


class WordVectors:
    """Directions of words.

    Args:
        vectors: the words' vectors; their lengths, which tell how frequent a word is, are not used.

    Attributes:
        keyed_vectors: as given.
        dimensions: numbers per vector.
    """

    def __init__(self, vectors: KeyedVectors):
        self.keyed_vectors = vectors
        self.dimensions: int = vectors.vector_size

    def known_words(self, text: str) -> Iterator[str]:
        """The words of a text that have a vector; of a compound that has none ("black-and-white"), its parts."""
        for token in text.replace("’", "'").split():
            word = token.strip(_PUNCTUATION).removesuffix("'s")
            known = self._spelling(word)
            if known is not None:
                yield known
            elif "-" in word:
                yield from (part for piece in word.split("-") if (part := self._spelling(piece)) is not None)

    def mean(self, text: str, head: str = "", head_weight: float = 1.0) -> np.ndarray:
        """The weighted mean direction of a text's words.

        Args:
            text: the text.
            head: the part of the text whose words have the weight ``head_weight``; others have 1.
            head_weight: see there.

        Returns:
            A vector of length 1, or of zeros where no word is known, float32 [dimensions].
        """
        total = np.zeros(self.dimensions, np.float32)
        heads = set(self.known_words(head))
        for word in self.known_words(text):
            total += (head_weight if word in heads else 1.0) * self.keyed_vectors.get_vector(word, norm=True)
        length = np.linalg.norm(total)
        return total / length if length > 0 else total

    def _spelling(self, word: str) -> str | None:
        """The word as the vectors know it: as it stands, or in lower case."""
        if not word:
            return None
        for spelling in (word, word.lower()):
            if spelling in self.keyed_vectors:
                return spelling
        return None


def load_word_vectors(name: str, max_words: int = 0) -> WordVectors:
    """Read word vectors.

    Args:
        name: see ``link.vectors`` in :class:`mmf_muvla.pairing.config.LinkOptions`.
        max_words: read only so many, the first in the file; 0 is all.

    Raises:
        InputError: there is nothing under this name, it is in no format that is known, it holds no words, or numbers
            that are not finite.
    """
    path = Path(resolve_pretrained(name, _OPTION))
    if not path.exists():
        raise InputError(f"{_OPTION}={name}", "no such file or folder", _FORMATS)
    try:
        if path.is_dir():
            vectors = _read_folder(path, max_words)
        else:
            vectors = _read_saved(path, max_words) if _is_pickle(path) else _read_file(path, max_words)
        _check(vectors, path)
        return WordVectors(vectors)
    except PickleProblem as error:
        raise InputError(f"{_OPTION}={name}", error.problem, _SAVE_VECTORS) from error
    except InputError:
        raise
    except _UNREADABLE as error:
        said = str(error) or type(error).__name__
        raise InputError(f"{_OPTION}={name}", f"cannot be read as word vectors ({said})", _FORMATS) from error


def _check(vectors: KeyedVectors, path: Path) -> None:
    matrix = vectors.vectors
    if not len(matrix) or not vectors.vector_size:
        raise InputError(f"{_OPTION}={path}", "cannot be read as word vectors (it holds none)", _FORMATS)
    # A block at a time: what says which numbers are finite would take a quarter of the memory of the numbers.
    for first in range(0, len(matrix), _ROWS_AT_ONCE):
        is_finite = np.isfinite(matrix[first : first + _ROWS_AT_ONCE]).all(axis=1)
        if not is_finite.all():
            row = first + int(np.argmin(is_finite))
            raise InputError(
                f"{_OPTION}={path}",
                f"the vector of {vectors.index_to_key[row]!r}, word {row + 1}, has a number that is not finite",
                "Take that word out, or use other vectors",
            )


def _keyed(words: Sequence[str], matrix: np.ndarray, path: Path) -> KeyedVectors:
    """Vectors by word; of words that are there twice, the first counts."""
    from gensim.models import KeyedVectors

    counts = Counter(words)
    if len(counts) < len(words):
        repeated = [word for word, count in counts.items() if count > 1]
        logger.warning(
            "%s=%s: %d words stand there more than once, of which the first counts: %s",
            *(_OPTION, path, len(repeated), ", ".join(map(repr, repeated[:5]))),
        )
        first = {word: row for row, word in reversed(list(enumerate(words)))}
        rows = sorted(first.values())
        words, matrix = [words[row] for row in rows], matrix[rows]
    vectors = KeyedVectors(matrix.shape[1])
    vectors.add_vectors(list(words), np.asarray(matrix, np.float32))
    return vectors


def _read_folder(folder: Path, max_words: int) -> KeyedVectors:
    arrays, lists = sorted(folder.glob("*.npy")), sorted(folder.glob("*.parquet"))
    if len(arrays) != 1 or len(lists) != 1:
        raise InputError(
            f"{_OPTION}={folder}",
            f"it holds {len(arrays)} .npy and {len(lists)} .parquet files, not one of each",
            _FORMATS,
        )
    matrix = np.load(arrays[0], mmap_mode="r", allow_pickle=False)
    table = pa.parquet.read_table(lists[0])
    columns = [name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)]
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or len(columns) != 1 or len(table) != len(matrix):
        raise InputError(
            f"{_OPTION}={folder}",
            f"{arrays[0].name} holds {matrix.dtype} and has the shape {matrix.shape}, {lists[0].name} has {len(table)} "
            f"rows and {len(columns)} columns of text",
            _FORMATS,
        )
    count = max_words or len(matrix)
    words = ["" if word is None else word for word in table.column(columns[0])[:count].to_pylist()]
    return _keyed(words, matrix[:count], folder)


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        # How pickles begin that were written in the last twenty years: a protocol's number, at least 2.
        begin = file.read(2)
    return len(begin) == 2 and begin[0] == 0x80 and begin[1] >= 2


def _read_saved(path: Path, max_words: int) -> KeyedVectors:
    """Vectors as gensim's ``KeyedVectors.save`` writes them: a pickle, and large arrays in a file beside it."""
    with path.open("rb") as file:
        saved = load_pickle(file, records=_SAVED_CLASSES)
    state = saved.state if isinstance(saved, Record) else None
    if not isinstance(state, dict):
        raise PickleProblem("is a pickle, but not of word vectors", _SAVE_VECTORS)
    words = state.get("index_to_key", state.get("index2word"))
    matrix = state.get("vectors")
    beside = path.with_name(f"{path.name}.vectors.npy")
    if matrix is None and beside.exists():
        matrix = np.load(beside, mmap_mode="r", allow_pickle=False)
    if (
        not isinstance(words, list)
        or not all(isinstance(word, str) for word in words)
        or not isinstance(matrix, np.ndarray)
        or matrix.ndim != 2
        or matrix.dtype.kind != "f"
        or len(matrix) < len(words)
    ):
        raise PickleProblem(f"has no words with a vector each (nor has {beside.name})", _SAVE_VECTORS)
    count = min(max_words or len(words), len(words))
    return _keyed(words[:count], matrix[:count], path)


def _read_file(path: Path, max_words: int) -> KeyedVectors:
    from gensim.models import KeyedVectors

    if ".bin" in path.suffixes:
        return KeyedVectors.load_word2vec_format(str(path), binary=True, limit=max_words or None)
    words, numbers, dimensions = _read_text(path, max_words)
    return _keyed(words, np.frombuffer(numbers, np.float32).reshape(-1, dimensions), path)


def _read_text(path: Path, max_words: int) -> tuple[list[str], array[float], int]:
    """Words, their numbers one word after the other, and how many numbers each has.

    The last numbers of a line are the vector, and what stands before them is the word: GloVe's largest files have words
    with blanks in them.
    """
    words: list[str] = []
    numbers = array("f")
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        lines = _lines(path, file)
        begin = list(islice(lines, _LINES_TO_COUNT))
        # word2vec's text opens with two counts, GloVe's with the first word.
        header = begin[0][1].split() if begin else []
        total = None
        if len(header) == 2 and all(it.isdigit() for it in header):
            total, dimensions = (int(it) for it in header)
            begin.pop(0)
        else:
            widths = Counter(len(line.split()) - 1 for _, line in begin)
            # Words with blanks in them are the exception.
            dimensions = max(widths, key=lambda width: (widths[width], -width), default=0)
        if not 1 <= dimensions <= _LONGEST_LINE:
            raise ValueError(f"its lines have {dimensions} numbers" if begin else "it holds no words")
        wanted = max_words or total
        for number, line in chain(begin, lines):
            if wanted is not None and len(words) == wanted:
                break
            word, *values = line.rsplit(None, dimensions)
            try:
                if len(values) != dimensions or _ends_in_a_number(word):
                    raise ValueError(f"it has {_count_numbers(line)} numbers, not {dimensions}")
                numbers.extend(map(float, values))
            except ValueError as error:
                raise InputError(
                    f"{_OPTION}={path}, line {number}",
                    f"cannot be read as word vectors ({error}, in {line[:60]!r})",
                    f"Correct the line, or download the file again. {_FORMATS}",
                ) from error
            words.append(word.decode("utf-8", "backslashreplace"))
    if total is not None and len(words) < min(total, wanted or total):
        raise InputError(
            f"{_OPTION}={path}", f"has {len(words)} words, not {total}, as its first line says", "Download it again"
        )
    return words, numbers, dimensions


def _ends_in_a_number(word: bytes) -> bool:
    """Whether a word of several parts has more numbers behind it than are read."""
    parts = word.rsplit(None, 1)
    return len(parts) > 1 and _is_number(parts[1])


def _count_numbers(line: bytes) -> int:
    return sum(1 for _ in takewhile(_is_number, reversed(line.split())))


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lines(path: Path, file: BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1."""
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise InputError(
                f"{_OPTION}={path}, line {number}",
                f"cannot be read as word vectors ({line[:20]!r} … is too long)",
                _FORMATS,
            )
        if line.strip():
            yield number, line
