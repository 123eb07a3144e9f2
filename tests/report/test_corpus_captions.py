from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmf_muvla.artifacts.arrow import TableWriter
from mmf_muvla.errors import InputError
from mmf_muvla.pairing import own_captions
from mmf_muvla.pairing.store import SENTENCES_FILE, Corpus
from mmf_muvla.report import corpus_captions
from mmf_muvla.report.corpus_captions import (
    KnownCaptions,
    known_captions,
    measure_captions,
    noun_agreement,
    read_captions,
)
from tests.small_corpus import write_small_corpus


def write_lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def all_known(captions: dict[int, list[str]], unknown: int = 0) -> KnownCaptions:
    return KnownCaptions(captions, len(captions), sum(map(len, captions.values())), unknown)


class TestNounAgreement:
    def test_each_noun_determines_the_other(self) -> None:
        measured = noun_agreement([["a"], ["b"], ["c"]], [["x"], ["y"], ["z"]])
        assert measured["nmi"] == pytest.approx(1) and measured["images"] == 3

    def test_independent(self) -> None:
        measured = noun_agreement([["a"], ["a"], ["b"], ["b"]], [["x"], ["y"], ["x"], ["y"]])
        assert measured["nmi"] == pytest.approx(0, abs=1e-12)

    def test_by_hand(self) -> None:
        # p(a, x) = p(a, y) = 1/4, p(b, y) = 1/2; p(a) = p(b) = 1/2; p(x) = 1/4, p(y) = 3/4
        information = math.log(0.25 / 0.125) / 4 + math.log(0.25 / 0.375) / 4 + math.log(0.5 / 0.375) / 2
        entropies = math.log(2), -(math.log(0.25) / 4 + 3 * math.log(0.75) / 4)
        measured = noun_agreement([["a"], ["b"]], [["x", "y"], ["y"]])
        assert measured["nmi"] == pytest.approx(information / math.sqrt(entropies[0] * entropies[1]), abs=1e-6)
        assert (measured["true_nouns"], measured["retrieved_nouns"]) == (2, 2)

    def test_occurrences_count(self) -> None:
        # In the first image a has three times the weight of b, whatever the second says: p(a) = 3/8, p(b) = 5/8.
        joint = {("a", "x"): 3 / 8, ("b", "x"): 1 / 8, ("b", "y"): 1 / 2}
        p_x, p_y = {"a": 3 / 8, "b": 5 / 8}, {"x": 1 / 2, "y": 1 / 2}
        information = sum(p * math.log(p / (p_x[x] * p_y[y])) for (x, y), p in joint.items())
        entropies = [-sum(p * math.log(p) for p in side.values()) for side in (p_x, p_y)]
        measured = noun_agreement([["a", "a", "a", "b"], ["b", "b"]], [["x"], ["y", "y"]])
        assert measured["nmi"] == pytest.approx(information / math.sqrt(entropies[0] * entropies[1]), abs=1e-6)

    def test_chance_shows_when_images_are_shuffled(self) -> None:
        rng = np.random.default_rng(0)
        nouns = rng.integers(50, size=(200, 2, 4)).astype(str)
        unrelated = noun_agreement(nouns[:, 0].tolist(), nouns[:, 1].tolist())
        assert unrelated["nmi"] > 0.1 and abs(unrelated["difference"]) < 0.02
        related = noun_agreement(nouns[:, 0].tolist(), nouns[:, 0].tolist())
        assert related["difference"] > 0.1
        assert related["difference"] == pytest.approx(related["nmi"] - related["shuffled"], abs=2e-6)

    def test_images_without_nouns_take_no_part(self) -> None:
        measured = noun_agreement([["a"], [], ["b"], ["c"]], [["x"], ["y"], ["y"], []])
        assert measured["images"] == 2 and measured["nmi"] == pytest.approx(1)
        assert noun_agreement([[]], [["x"]])["nmi"] is None

    def test_a_single_noun_tells_nothing(self) -> None:
        assert noun_agreement([["a"], ["a"]], [["x"], ["y"]])["nmi"] == 0


class TestReadCaptions:
    def test_lines(self, tmp_path: Path) -> None:
        path = write_lines(
            tmp_path / "c.jsonl",
            {"image_id": 7, "caption": " two\tblanks  and cafe\u0301\n"},
            {"image_id": "a/b", "caption": "x", "more": None},
        )
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
        assert list(read_captions(path)) == [("7", "two blanks and caf\u00e9"), ("a/b", "x")]

    def test_gzip(self, tmp_path: Path) -> None:
        path = tmp_path / "c.jsonl.gz"
        path.write_bytes(gzip.compress(b'{"image_id": 1, "caption": "one"}\n'))
        assert list(read_captions(path)) == [("1", "one")]
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(InputError, match="not a whole gzip file"):
            list(read_captions(path))
        path.write_bytes(b"plain")
        with pytest.raises(InputError, match="not a whole gzip file"):
            list(read_captions(path))

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            (b"{", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b'{"image_id": 1, "caption": "\xff"}', "not JSON"),
            (b"[1, 2]", "not a JSON object"),
            (b'"caption"', "not a JSON object"),
            (b'{"image_id": "\\ud800", "caption": "x"}', "half of a surrogate pair"),
            (b'{"caption": "x"}', "image_id is None"),
            (b'{"image_id": 1.5, "caption": "x"}', "image_id is 1.5"),
            (b'{"image_id": true, "caption": "x"}', "image_id is True"),
            (b'{"image_id": "", "caption": "x"}', "image_id is ''"),
            (b'{"image_id": 1}', "caption is None"),
            (b'{"image_id": 1, "caption": " "}', "caption is ' '"),
            (b'{"image_id": 1, "caption": "\\u200b"}', "caption is"),
            (b'{"image_id": 1, "caption": ["x"]}', "caption is"),
        ],
    )
    def test_damaged_line_is_named(self, tmp_path: Path, line: bytes, problem: str) -> None:
        path = tmp_path / "c.jsonl"
        path.write_bytes(b'{"image_id": 1, "caption": "fine"}\n' + line + b"\n")
        with pytest.raises(InputError, match=problem) as caught:
            list(read_captions(path))
        assert caught.value.where == f"{path}, line 2"

    @pytest.mark.parametrize("name", ["absent.jsonl", "absent.jsonl.gz", ""])
    def test_no_file(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match="no such file"):
            list(read_captions(tmp_path / name))


class TestKnownCaptions:
    def test_unknown_images_are_counted(self, corpus: Corpus, tmp_path: Path) -> None:
        path = write_lines(
            tmp_path / "c.jsonl",
            {"image_id": 1003, "caption": "one"},
            {"image_id": 99, "caption": "none"},
            {"image_id": "1001", "caption": "two"},
            {"image_id": "1003", "caption": "three"},
        )
        captions = known_captions(corpus, path)
        assert captions == KnownCaptions({1: ["two"], 3: ["one", "three"]}, images=2, captions=3, unknown=1)

    def test_none_known(self, corpus: Corpus, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "c.jsonl", {"image_id": 1, "caption": "x"})
        with pytest.raises(InputError, match=r"none of its 1 captions.*named like 1000, 1001"):
            known_captions(corpus, path)

    def test_sample(self, corpus: Corpus, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "c.jsonl", *({"image_id": 1000 + n, "caption": str(n)} for n in range(40)))
        captions = known_captions(corpus, path, seed=1, wanted=10)
        assert (len(captions.by_image), captions.images, captions.captions) == (10, 40, 40)
        assert all(own == [str(number)] for number, own in captions.by_image.items())
        assert list(captions.by_image) == sorted(captions.by_image)
        assert captions == known_captions(corpus, path, seed=1, wanted=10)
        assert captions != known_captions(corpus, path, seed=2, wanted=10)


class TestCaptions:
    def test_recall_of_own_captions(self, corpus: Corpus) -> None:
        texts = {image: [corpus.sentence(n).text for n in corpus.sentence_ids(image)] for image in range(4)}
        own = {0: [texts[0][0]], 1: ["nowhere", texts[1][2]], 2: ["no such sentence"], 3: [texts[3][1], texts[3][2]]}
        measured = measure_captions(corpus, all_known(own, unknown=7), seed=0)
        assert measured["recall_at"] == {"1": 0.25, "2": 0.5, "3": 0.75}
        assert measured["sampled_images"] == 4 and measured["captions_of_unknown_images"] == 7
        assert measured["distinct_captions"] == len({caption for captions in own.values() for caption in captions})
        assert measured["captions_in_used"] == measured["distinct_captions"] - 2
        assert measured["images_with_caption_in_used"] == 3
        # There is no build folder.
        assert measured["captions_in_pool"] is measured["images_with_caption_in_pool"] is measured["pool"] is None
        assert measured["nouns"]["images"] >= 2

    def test_ranks_in_the_pool(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        corpus = Corpus(write_small_corpus(tmp_path / "small", images=8))
        for stage in ("sentences", "embed", "retrieve"):
            (corpus.path / "build" / stage).mkdir(parents=True)
        schema = pa.schema([("sentence", pa.string())])
        with TableWriter(corpus.path / "build" / "sentences" / SENTENCES_FILE, schema) as writer:
            writer.write(["one", "two"])
            writer.write(["three"])
        asked: list[Any] = []

        def ranks(folder: Path, captions: dict[str, list[str]]) -> dict[str, int]:
            asked.append((folder, captions))
            return {"1000": 5, "1001": 101, "1003": 6}

        monkeypatch.setattr(own_captions, "own_caption_ranks", ranks)
        own = {0: ["one"], 1: ["three", "four"], 2: ["five"], 3: ["two"]}
        measured = measure_captions(corpus, all_known(own), seed=0)
        assert asked == [(corpus.path, {"1000": ["one"], "1001": ["three", "four"], "1002": ["five"], "1003": ["two"]})]
        assert measured["captions_in_pool"] == 3 and measured["images_with_caption_in_pool"] == 3
        assert measured["pool"] == {
            "ranked": 3,
            "recall_at": {"5": 0.25, "10": 0.5, "100": 0.5},
            "recall_at_of_ranked": {"5": 0.333333, "10": 0.666667, "100": 0.666667},
            "median_rank": 6.0,
        }

    def test_head_nouns(self) -> None:
        found = list(corpus_captions._head_nouns(["A red Car is near two dogs.", "Yes."]))
        assert found == [["car", "dogs"], []]
