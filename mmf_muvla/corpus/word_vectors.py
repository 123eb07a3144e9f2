"""Word vectors, from the formats that they are published in."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from mmf_muvla.corpus.restricted_pickle import PickleProblem, Record, load_pickle
from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

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
        name: see ``link.vectors`` in :class:`mmf_muvla.corpus.config.LinkOptions`.
        max_words: read only so many, the first in the file; 0 is all.

    Raises:
        InputError: there is nothing under this name, or it is in no format that is known.
    """
    path = Path(resolve_pretrained(name, _OPTION))
    if not path.exists():
        raise InputError(f"{_OPTION}={name}", "no such file or folder", _FORMATS)
    try:
        if path.is_dir():
            return WordVectors(_read_folder(path, max_words))
        return WordVectors(_read_saved(path, max_words) if _is_pickle(path) else _read_file(path, max_words))
    except PickleProblem as error:
        raise InputError(f"{_OPTION}={name}", error.problem, _SAVE_VECTORS) from error
    except (ValueError, TypeError, EOFError, OSError, pa.ArrowInvalid) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{_OPTION}={name}", f"cannot be read as word vectors ({error})", _FORMATS) from error


def _read_folder(folder: Path, max_words: int) -> KeyedVectors:
    from gensim.models import KeyedVectors

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
    if matrix.ndim != 2 or len(columns) != 1 or len(table) != len(matrix):
        raise InputError(
            f"{_OPTION}={folder}",
            f"{arrays[0].name} has the shape {matrix.shape}, {lists[0].name} has {len(table)} rows and "
            f"{len(columns)} columns of text",
            _FORMATS,
        )
    count = max_words or len(matrix)
    words = ["" if word is None else word for word in table.column(columns[0])[:count].to_pylist()]
    vectors = KeyedVectors(matrix.shape[1])
    vectors.add_vectors(words, np.asarray(matrix[:count], np.float32))
    return vectors


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        # How pickles begin that were written in the last twenty years: a protocol's number, at least 2.
        begin = file.read(2)
    return len(begin) == 2 and begin[0] == 0x80 and begin[1] >= 2


def _read_saved(path: Path, max_words: int) -> KeyedVectors:
    """Vectors as gensim's ``KeyedVectors.save`` writes them: a pickle, and large arrays in a file beside it."""
    from gensim.models import KeyedVectors

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
    vectors = KeyedVectors(matrix.shape[1])
    vectors.add_vectors(words[:count], np.asarray(matrix[:count], np.float32))
    return vectors


def _read_file(path: Path, max_words: int) -> KeyedVectors:
    from gensim.models import KeyedVectors

    limit = max_words or None
    if ".bin" in path.suffixes:
        return KeyedVectors.load_word2vec_format(str(path), binary=True, limit=limit)
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        # word2vec's text opens with two counts, GloVe's with the first word.
        has_header = len(file.readline().split()) == 2
    return KeyedVectors.load_word2vec_format(str(path), binary=False, no_header=not has_header, limit=limit)
