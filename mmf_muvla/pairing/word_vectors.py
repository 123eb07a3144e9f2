"""Word vectors, from the formats that they are published in."""

from __future__ import annotations

import gzip
import logging
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
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
# Published files begin with the frequent words; among the rare ones, any two letters are somebody's name.
_FREQUENT_WORDS = 100_000
_PUNCTUATION = ".,;:!?\"'`()[]{}“”‘’…-–—"


class WordVectors:
    """Directions of words: the lengths of their vectors, which tell how frequent a word is, are not used."""

    def __init__(self, vectors: KeyedVectors):
        self.keyed_vectors = vectors
        self.dimensions: int = vectors.vector_size

    def known_words(self, text: str) -> Iterator[str]:
        """The words of a text that have a vector; of a compound that has none ("black-and-white"), its parts."""
        for token in text.replace("’", "'").split():
            word = token.strip(_PUNCTUATION).removesuffix("'s")
            spellings = [self._spelling(word)]
            if spellings == [None]:
                spellings = [self._spelling(part) for part in word.split("-")]
            yield from (spelling for spelling in spellings if spelling is not None)

    def mean(self, text: str, head: str = "", head_weight: float = 1.0) -> np.ndarray:
        """The weighted mean direction of a text's words; those of ``head`` have ``head_weight``, others 1.

        Returns:
            A vector of length 1, or of zeros where no word is known, float32 [dimensions].
        """
        total = np.zeros(self.dimensions, np.float32)
        heads = set(self.known_words(head))
        for word in self.known_words(text):
            total += (head_weight if word in heads else 1.0) * self.keyed_vectors.get_vector(word, norm=True)
        length = np.linalg.norm(total)
        return total / length if length > 0 else total

    def split_compounds(self, text: str) -> str:
        """The text with each word that has no vector, and is two frequent ones in a row ("diningtable"), taken apart.

        Of several ways, the one whose rarer part is the most frequent is taken; frequent words come first in a file.
        """
        return " ".join(word if any(self.known_words(word)) else self._parts(word) for word in text.split())

    def _parts(self, word: str) -> str:
        number_of, lower = self.keyed_vectors.key_to_index, word.lower()
        splits = [(lower[:end], lower[end:]) for end in range(2, len(word) - 1)] if word.isalpha() else []
        rarest = {parts: max(number_of.get(part, _FREQUENT_WORDS) for part in parts) for parts in splits}
        best = min(rarest, key=rarest.__getitem__, default=None)
        return " ".join(best) if best and rarest[best] < _FREQUENT_WORDS else word

    def _spelling(self, word: str) -> str | None:
        """The word as the vectors know it: as it stands, or in lower case."""
        return next((it for it in (word, word.lower()) if it and it in self.keyed_vectors), None)


def load_word_vectors(name: str, max_words: int = 0) -> WordVectors:
    """Read word vectors.

    Args:
        name: ``package:…``, or a file or folder in one of the formats that ``_FORMATS`` lists.
        max_words: read only so many, the first in the file; 0 is all.

    Raises:
        InputError: there is nothing under this name, it is in no format that is known, it holds no words, or numbers
            that are not finite.
    """
    where = f"{_OPTION}={name}"
    path = Path(resolve_pretrained(name, _OPTION))
    if not path.exists():
        raise InputError(where, "no such file or folder", _FORMATS)
    try:
        vectors = _read(path, max_words)
        if not vectors.vectors.size:
            raise ValueError("it holds none")
    except PickleProblem as error:
        raise InputError(where, error.problem, _SAVE_VECTORS) from error
    except InputError:
        raise
    except _UNREADABLE as error:
        said = str(error) or type(error).__name__
        raise InputError(where, f"cannot be read as word vectors ({said})", _FORMATS) from error
    _refuse_infinite(vectors, where)
    return WordVectors(vectors)


def _read(path: Path, max_words: int) -> KeyedVectors:
    from gensim.models import KeyedVectors

    if path.is_dir():
        words, matrix = _read_folder(path, max_words)
    elif _is_pickle(path):
        words, matrix = _read_saved(path, max_words)
    elif ".bin" in path.suffixes:
        return KeyedVectors.load_word2vec_format(str(path), binary=True, limit=max_words or None)
    else:
        words, matrix = _read_text(path, max_words)
    first = {word: row for row, word in reversed(list(enumerate(words)))}
    if len(first) < len(words):
        repeated = [word for word, count in Counter(words).items() if count > 1]
        logger.warning(
            "%s=%s: %d words stand there more than once, of which the first counts: %s",
            *(_OPTION, path, len(repeated), ", ".join(map(repr, repeated[:5]))),
        )
        rows = sorted(first.values())
        words, matrix = [words[row] for row in rows], matrix[rows]
    vectors = KeyedVectors(matrix.shape[1])
    vectors.add_vectors(list(words), np.asarray(matrix, np.float32))
    return vectors


def _refuse_infinite(vectors: KeyedVectors, where: str) -> None:
    # A block at a time: what says which numbers are finite would take a quarter of the memory of the numbers.
    for first in range(0, len(vectors.vectors), _ROWS_AT_ONCE):
        is_finite = np.isfinite(vectors.vectors[first : first + _ROWS_AT_ONCE]).all(axis=1)
        if not is_finite.all():
            row = first + int(np.argmin(is_finite))
            problem = f"the vector of {vectors.index_to_key[row]!r}, word {row + 1}, has a number that is not finite"
            raise InputError(where, problem, "Take that word out, or use other vectors")


def _read_folder(folder: Path, max_words: int) -> tuple[Sequence[str], np.ndarray]:
    arrays, lists = sorted(folder.glob("*.npy")), sorted(folder.glob("*.parquet"))
    if len(arrays) != 1 or len(lists) != 1:
        raise ValueError(f"it holds {len(arrays)} .npy and {len(lists)} .parquet files, not one of each")
    matrix = np.load(arrays[0], mmap_mode="r", allow_pickle=False)
    table = pa.parquet.read_table(lists[0])
    columns = [name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)]
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or len(columns) != 1 or len(table) != len(matrix):
        raise ValueError(
            f"{arrays[0].name} holds {matrix.dtype} and has the shape {matrix.shape}, {lists[0].name} has {len(table)} "
            f"rows and {len(columns)} columns of text"
        )
    count = max_words or len(matrix)
    return ["" if word is None else word for word in table.column(columns[0])[:count].to_pylist()], matrix[:count]


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        # How pickles begin that were written in the last twenty years: a protocol's number, at least 2.
        begin = file.read(2)
    return begin[:1] == b"\x80" and begin[1:] >= b"\x02"


def _read_saved(path: Path, max_words: int) -> tuple[Sequence[str], np.ndarray]:
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
    return words[:count], matrix[:count]


def _read_text(path: Path, max_words: int) -> tuple[Sequence[str], np.ndarray]:
    """Vectors as GloVe and word2vec write them as text.

    The last numbers of a line are the vector, and what stands before them is the word: GloVe's largest files have words
    with blanks in them.
    """
    words: list[str] = []
    numbers = array("f")
    total = None
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        lines = _lines(path, file)
        begin = list(islice(lines, _LINES_TO_COUNT))
        # word2vec's text opens with two counts, GloVe's with the first word.
        header = begin[0][1].split() if begin else []
        if len(header) == 2 and all(map(bytes.isdigit, header)):
            total, dimensions = map(int, header)
            begin.pop(0)
        else:
            widths = Counter(len(line.split()) - 1 for _, line in begin)
            # Words with blanks in them are the exception.
            dimensions = max(widths, key=lambda width: (widths[width], -width), default=0)
        if not 1 <= dimensions <= _LONGEST_LINE:
            raise ValueError(f"its lines have {dimensions} numbers" if begin else "it holds no words")
        for number, line in islice(chain(begin, lines), max_words or total):
            word, *values = line.rsplit(None, dimensions)
            *before, last = word.split()
            try:
                if len(values) != dimensions or (before and _is_number(last)):
                    found = sum(1 for _ in takewhile(_is_number, reversed(line.split())))
                    raise ValueError(f"it has {found} numbers, not {dimensions}")
                numbers.extend(map(float, values))
            except ValueError as error:
                problem = f"cannot be read as word vectors ({error}, in {line[:60]!r})"
                remedy = f"Correct the line, or download the file again. {_FORMATS}"
                raise InputError(f"{_OPTION}={path}, line {number}", problem, remedy) from error
            words.append(word.decode("utf-8", "backslashreplace"))
    if total is not None and len(words) < min(total, max_words or total):
        problem = f"has {len(words)} words, not {total}, as its first line says"
        raise InputError(f"{_OPTION}={path}", problem, "Download it again")
    return words, np.frombuffer(numbers, np.float32).reshape(-1, dimensions)


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lines(path: Path, file: BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1."""
    for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE + 1), b""), start=1):
        if len(line) > _LONGEST_LINE:
            problem = f"cannot be read as word vectors ({line[:20]!r} … is too long)"
            raise InputError(f"{_OPTION}={path}, line {number}", problem, _FORMATS)
        if line.strip():
            yield number, line
