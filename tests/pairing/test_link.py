from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import KeyedVectors

from mmf_muvla.artifacts.arrow import MappedTable, TableWriter, list_array
from mmf_muvla.errors import InputError
from mmf_muvla.pairing import link
from mmf_muvla.pairing.config import LinkOptions
from mmf_muvla.pairing.link import Linker, link_regions
from mmf_muvla.pairing.phrases import PHRASES_SCHEMA
from mmf_muvla.pairing.store import Regions, RegionStoreWriter
from mmf_muvla.pairing.word_vectors import WordVectors

# gensim leaves the text file open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

WORDS = {
    "car": [1.0, 0.0, 0.0],
    "truck": [0.8, 0.6, 0.0],
    "dog": [0.0, 1.0, 0.0],
    "red": [0.0, 0.0, 1.0],
    "anti": [-1.0, 0.0, 0.0],
}
CLASSES = ["car", "dog", "unheard"]


@pytest.fixture
def vectors() -> WordVectors:
    keyed = KeyedVectors(3)
    keyed.add_vectors(list(WORDS), np.array(list(WORDS.values()), np.float32))
    return WordVectors(keyed)


def best_phrases(linker: Linker, sentences: list[list[tuple[str, str]]]) -> tuple[np.ndarray, np.ndarray]:
    """The best phrase of each sentence for each class [sentences, classes]: those of an image with a region of each."""
    retrieved, class_ids = np.arange(len(sentences))[None], np.arange(len(linker._classes))
    phrases, similarities = linker.link(sentences, retrieved, [class_ids])
    return phrases.reshape(len(sentences), -1), similarities.reshape(len(sentences), -1)


def test_best_phrase_of_each_sentence_by_hand(vectors: WordVectors) -> None:
    linker = Linker(CLASSES, vectors, LinkOptions(head_weight=3.0, threshold=0.5))
    phrase, similarity = best_phrases(
        linker,
        [
            [("red truck", "truck"), ("red car", "car"), ("dog", "dog")],
            [],
            [("unheard of", "of"), ("truck", "truck")],
            [("car", "car"), ("car", "car"), ("anti", "anti")],
        ],
    )
    # red car = 3 * (1, 0, 0) + (0, 0, 1) has the cosine 3 / sqrt(10) with car; truck has 0.8 with car, 0.6 with dog.
    np.testing.assert_array_equal(phrase, [[1, 2, -1], [-1, -1, -1], [1, 1, -1], [0, -1, -1]])
    expected = [[3 / np.sqrt(10), 1, 0], [0, 0, 0], [0.8, 0.6, 0], [1, 0, 0]]
    np.testing.assert_allclose(similarity, expected, rtol=1e-6)
    assert (similarity <= 1).all()
    assert (phrase.dtype, similarity.dtype) == (np.int16, np.float32)
    assert linker.unknown_classes == ["unheard"]
    assert linker.num_unknown_phrases == 1


def test_threshold(vectors: WordVectors) -> None:
    sentences = [[("truck", "truck")]]
    for threshold, linked in ((0.59, True), (0.61, False)):
        phrase, similarity = best_phrases(Linker(["dog"], vectors, LinkOptions(threshold=threshold)), sentences)
        assert (phrase[0, 0] == 0) == linked
        assert (similarity[0, 0] > 0) == linked
    # Without a threshold, opposites and what has no vector are still no link.
    linker = Linker(["car"], vectors, LinkOptions(threshold=0.0))
    assert best_phrases(linker, [[("anti", "anti")], [("unheard", "unheard")]])[0].tolist() == [[-1], [-1]]


def test_head_of_a_class_name_is_its_last_word(vectors: WordVectors) -> None:
    linker = Linker(["red car"], vectors, LinkOptions(head_weight=3.0, threshold=0.5))
    _, similarity = best_phrases(linker, [[("red car", "car")], [("car", "car")]])
    np.testing.assert_allclose(similarity[:, 0], [1, 3 / np.sqrt(10)], rtol=1e-6)


def write_inputs(tmp_path: Path, classes: list[str], words: dict[str, list[float]]) -> LinkOptions:
    """Two images, and two sentences that both have."""
    with RegionStoreWriter(tmp_path / "store", classes, ["red"], 1) as store:
        for image_id, class_ids in (("1", [1, 0]), ("2", [2, 1, 0])):
            n = len(class_ids)
            features, boxes = np.zeros((n, 1), np.float16), np.zeros((n, 4), np.float32)
            classes, attributes = np.array(class_ids, np.int32), np.full(n, -1, np.int32)
            store.put(Regions(image_id, 9, 9, features, boxes, classes, attributes, np.full(n, 0.5, np.float32)))
    with TableWriter(tmp_path / "phrases.arrow", PHRASES_SCHEMA) as phrases:
        phrases.write(["a car, dog"], [1], [7], [[2, 7]], [[5, 10]], [[2, 7]], [[5, 10]])
        phrases.write(["a red truck"], [9], [30], [[2]], [[11]], [[6]], [[11]])
    np.save(tmp_path / "used.npy", np.array([7, 30]))
    np.save(tmp_path / "sentence.npy", np.array([[7, 30], [30, 7]]))
    text = tmp_path / "vectors.txt"
    text.write_text("".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in words.items()))
    return LinkOptions(vectors=str(text), head_weight=1.0, threshold=0.5)


def inputs(folder: Path) -> list[Path]:
    return [folder / name for name in ("phrases.arrow", "used.npy", "sentence.npy")]


@pytest.mark.parametrize("images_per_part", [1, 100])
def test_links_of_images(images_per_part: int, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_IMAGES_PER_PART", images_per_part)
    options = write_inputs(tmp_path, CLASSES, WORDS)
    counts = link_regions(tmp_path / "store", *inputs(tmp_path), options, work())
    table = MappedTable(work().folder / "links.arrow")
    rows = [row for block in table.blocks("link_phrase") for row in block]
    # Row-major [K, regions]. red truck = (0.8, 0.6, 1) / sqrt(2): 0.57 with car, 0.42 with dog.
    assert rows == [[1, 0, -1, 0], [-1, -1, 0, -1, 1, 0]]
    similarities = [row for block in table.blocks("link_similarity") for row in block]
    np.testing.assert_allclose(similarities[0], [1, 1, 0, 0.8 / np.sqrt(2)], rtol=1e-6)
    assert counts == {
        "links": 6,
        "possible": 10,
        "split_classes": 0,
        "unknown_classes": 1,
        "unknown_regions": 1,
        "phrases_unknown": 0,
    }


def test_a_class_of_two_words_in_a_row_is_linked_as_these(vectors: WordVectors) -> None:
    linker = Linker(["redcar", "red car", "carheard", "big redcar"], vectors, LinkOptions(threshold=0.5))
    assert linker.split_classes == {"redcar": "red car", "big redcar": "big red car"}
    assert linker.unknown_classes == ["carheard"]
    phrase, similarity = best_phrases(linker, [[("dog", "dog"), ("car", "car")]])
    assert phrase.tolist() == [[1, 1, -1, 1]]
    assert similarity[0, 0] == similarity[0, 1] == similarity[0, 3] > 0.8
    # A phrase is taken as it stands.
    assert best_phrases(linker, [[("redcar", "redcar")]])[0].tolist() == [[-1, -1, -1, -1]]


def test_classes_that_are_split_or_unknown_are_named_with_the_remedy(
    work: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = write_inputs(tmp_path, ["nowhere", "unheard", "redcar", "dog"], WORDS)
    counts = link_regions(tmp_path / "store", *inputs(tmp_path), options, work())
    # Class 0 and 1 have two regions each, class 2 has one.
    assert (counts["split_classes"], counts["unknown_classes"], counts["unknown_regions"]) == (1, 2, 4)
    assert "region_options.rename={redcar: red car} changes them there as well" in caplog.text
    assert "their 4 regions get no links: 'nowhere', 'unheard' (all in" in caplog.text
    assert "region_options.rename gives a class a name of words that have one" in caplog.text


@pytest.mark.parametrize("images_per_part", [1, 100])
def test_unknown_classes_of_most_regions_come_first(
    images_per_part: int, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_IMAGES_PER_PART", images_per_part)
    options = write_inputs(tmp_path, ["dog", "xy", "unheard", "unseen"], WORDS)
    with RegionStoreWriter(tmp_path / "store2", ["dog", "xy", "unheard", "unseen"], [], 1) as store:
        for image_id, ids in (("1", [1, 2, 2]), ("2", [2, 3, 3])):
            features, boxes = np.zeros((3, 1), np.float16), np.zeros((3, 4), np.float32)
            attributes, confidence = np.full(3, -1, np.int32), np.full(3, 0.5, np.float32)
            store.put(Regions(image_id, 9, 9, features, boxes, np.array(ids, np.int32), attributes, confidence))
    counts = link_regions(tmp_path / "store2", *inputs(tmp_path), options, work())
    assert (work().folder / "unknown_classes.txt").read_text().split() == ["unheard", "unseen", "xy"]
    assert counts["unknown_regions"] == 6


@pytest.mark.parametrize("images_per_part", [1, 100])
@pytest.mark.parametrize(
    ("classes", "words", "problem"),
    [
        (["Hund", "rotes Auto", "Katze"], WORDS, r"none of the 3 class names \('Hund', 'rotes Auto', 'Katze'\)"),
        ([f"n0{number}" for number in range(40)], WORDS, r"none of the 40 class names \('n00', .*'n09' …\)"),
        (CLASSES, {"unheard": [1.0, 0.0]}, r"none of the phrases \('car', 'dog', 'red truck'\)"),
        # Not two of these words in a row, either: such classes alone would be an accident.
        (["reddog", "cardog", "Hund"], WORDS, "none of the 3 class names"),
        (["cat", "cow", "hen"], {"hen": [1.0], "cow": [2.0]}, r"none of the phrases"),
    ],
)
def test_vectors_that_know_nothing(
    classes: list[str],
    words: dict[str, list[float]],
    problem: str,
    images_per_part: int,
    work: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "_IMAGES_PER_PART", images_per_part)
    options = write_inputs(tmp_path, classes, words)
    with pytest.raises(InputError, match=problem) as caught:
        link_regions(tmp_path / "store", *inputs(tmp_path), options, work())
    assert caught.value.where == f"link.vectors={options.vectors}"
    assert "language" in caught.value.remedy


@pytest.mark.parametrize(("num_unknown", "said"), [(2, "'n0', 'n1' (all"), (30, "'n8', 'n9' … (all")])
def test_unknown_classes_are_named(
    num_unknown: int, said: str, work: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = [f"n{number}" for number in range(num_unknown)]
    options = write_inputs(tmp_path, ["car", "dog", *unknown], WORDS)
    counts = link_regions(tmp_path / "store", *inputs(tmp_path), options, work())
    assert counts["unknown_classes"] == num_unknown
    assert (work().folder / "unknown_classes.txt").read_text().splitlines() == unknown
    assert f"{num_unknown} of {num_unknown + 2} classes have no word vector" in caplog.text
    assert said in caplog.text


def test_a_killed_run_names_unknown_classes_as_well(work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_IMAGES_PER_PART", 1)
    options = write_inputs(tmp_path, CLASSES, WORDS)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(link, "_list_unknown_classes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        link_regions(tmp_path / "store", *inputs(tmp_path), options, work())
    assert not (work().folder / "unknown_classes.txt").exists()
    link_regions(tmp_path / "store", *inputs(tmp_path), options, work())
    assert (work().folder / "unknown_classes.txt").read_text() == "unheard\n"


def test_many_images_equal_pair_by_pair(vectors: WordVectors) -> None:
    random = np.random.default_rng(0)
    linker = Linker(list(WORDS), vectors, LinkOptions(threshold=0.3))
    sentences = [[(word, word) for word in random.choice(list(WORDS), random.integers(0, 5))] for _ in range(30)]
    retrieved = random.integers(30, size=(20, 3))
    class_ids = [random.integers(len(WORDS), size=random.integers(1, 7)) for _ in range(20)]
    expected = []
    for image in range(20):
        for row in retrieved[image]:
            for class_id in class_ids[image]:
                scores = [
                    np.float32(vectors.keyed_vectors.similarity(list(WORDS)[class_id], word))
                    for word, _ in sentences[row]
                ]
                best = int(np.argmax(scores)) if scores else 0
                expected.append((best, scores[best]) if scores and scores[best] >= 0.3 else (-1, 0))
    phrases, similarities = linker.link(sentences, retrieved, class_ids)
    assert phrases.tolist() == [number for number, _ in expected]
    np.testing.assert_allclose(similarities, [similarity for _, similarity in expected], rtol=1e-6)


def test_list_array_of_nothing() -> None:
    assert list_array([], np.int16).to_pylist() == []
    assert list_array([np.array([]), np.array([3])], np.int16).to_pylist() == [[], [3]]
