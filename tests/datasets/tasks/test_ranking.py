"""Ranks against a slow and obvious reference: ties, images with the same captions, and a first pass."""

from __future__ import annotations

import numpy as np
import pytest

from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, Captions, Standing, best_of, recalls, standings
from mmf_muvla.trainers.retrieval import RankedPool, mean_values


def pool(images: int = 30, captions: int = 5, seed: int = 0) -> tuple[Captions, np.ndarray]:
    """30 images with 5 captions each, some of them with the words of others, and scores with many ties."""
    rng = np.random.default_rng(seed)
    told = [(f"image{i}", f"caption {rng.integers(140)}", 1000 + i * captions + j) for i in range(images)
            for j in range(captions)]  # fmt: skip
    told[3] = ("image0", "A  Caption", 1003)
    told[7] = ("image1", "a caption", 1007)
    found = Captions.of(told)
    # Images come in the order of their numbers, texts are numbered by the words that are seen first.
    return found, rng.integers(0, 12, size=(images, len(found.texts))).astype(np.float32)


def words(text: str) -> str:
    return " ".join(text.lower().split())


def slow_ranks(captions: Captions, scores: np.ndarray, direction: str) -> list[int]:
    """One query at a time: its score is compared with that of every candidate, one after the other."""
    lines = [
        (captions.image_ids[i], captions.texts[t]) for i, t in zip(captions.image, captions.text, strict=True)
    ]  # every caption of the file
    number = {words(text): place for place, text in enumerate(captions.texts)}
    place = {key: number for number, key in enumerate(captions.image_ids)}

    def score(image: str, text: str) -> float:
        return float(scores[place[image], number[words(text)]])

    def own(image: str) -> set[str]:
        return {words(text) for key, text in lines if key == image}

    ranks = []
    for query in captions.image_ids if direction == "image_to_text" else lines:
        if isinstance(query, str):
            best = max(score(query, text) for text in own(query))
            rivals = [score(query, text) for _, text in lines if words(text) not in own(query)]
        else:
            image, text = query
            best = score(image, text)
            rivals = [score(other, text) for other in captions.image_ids if words(text) not in own(other)]
        rank = 1
        for rival in rivals:
            if rival >= best:
                rank += 1
        ranks.append(rank)
    return ranks


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_30_images_with_150_captions(direction: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    captions, scores = pool(seed=seed)
    assert (len(captions.image_ids), len(captions)) == (30, 150) and len(captions.texts) < 120
    expected = slow_ranks(captions, scores, direction)
    assert standings(scores, captions, direction).rank.tolist() == expected
    # Whatever is compared at a time.
    monkeypatch.setattr("mmf_muvla.datasets.tasks.retrieval.ranking._SCORES_AT_ONCE", 7 * scores.shape[1])
    assert standings(scores, captions, direction).rank.tolist() == expected
    found = recalls(np.array(expected), direction)
    assert found == {
        f"{direction}_r@1": sum(rank <= 1 for rank in expected) / len(expected),
        f"{direction}_r@5": sum(rank <= 5 for rank in expected) / len(expected),
        f"{direction}_r@10": sum(rank <= 10 for rank in expected) / len(expected),
        f"{direction}_median_rank": float(np.median(expected)),
    }


def test_by_hand() -> None:
    captions = Captions.of([("a", "one", 1), ("a", "two", 2), ("b", "three", 3), ("c", "Two", 4), ("c", "four", 5)])
    assert captions.texts == ["one", "two", "three", "four"] and captions.text.tolist() == [0, 1, 2, 1, 3]
    scores = np.array([[0.0, 3.0, 5.0, 3.0], [9.0, 1.0, 4.0, 2.0], [7.0, 6.0, 7.0, 0.0]], np.float32)
    # a: best own 3; three (5) is higher, four (3) equal; the "Two" of c is its own, too. b: only one is higher, 9.
    # c: best own 6; one and three are higher.
    assert standings(scores, captions, "image_to_text").rank.tolist() == [3, 2, 3]
    # one: b and c are above a. two of a (3): b is below, c owns it, too. three of b (4): two above. Two of c: first.
    # four of c (0): a and b above.
    assert standings(scores, captions, "text_to_image").rank.tolist() == [3, 1, 3, 1, 3]


def test_a_model_that_says_the_same_of_all_pairs_is_last() -> None:
    captions, scores = pool()
    rank = standings(np.zeros_like(scores), captions, "text_to_image").rank
    owners = captions.owned().sum(axis=0)[captions.text]
    assert rank.tolist() == (1 + 30 - owners).tolist()
    assert recalls(rank, "text_to_image")["text_to_image_r@10"] == 0


def test_ties_against_the_model_and_in_random_order() -> None:
    standing = Standing(np.array([0, 0, 1]), np.array([0, 3, 1]))
    assert standing.rank.tolist() == [1, 4, 3]
    assert standing.in_first(2).tolist() == [1.0, 0.5, 0.5]


def test_the_best_in_order() -> None:
    scores = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, -np.inf, 5.0, -np.inf]], np.float32)
    order, values = best_of(scores, "image_to_text", 3)
    assert order[0].tolist() == [1, 2, 3] and values[0].tolist() == [3, 3, 2] and order[1, :2].tolist() == [2, 0]
    order, _ = best_of(scores, "text_to_image", 5)
    assert order.tolist() == [[0, 1], [0, 1], [1, 0], [0, 1]]


def test_what_the_first_pass_has_lost_is_behind_all_others() -> None:
    captions = Captions.of([("a", "one", 1), ("b", "two", 2), ("c", "three", 3)])
    scores = np.array([[3, 2, 1], [1, 3, 2], [2, 1, 3]], np.float32)
    candidates = {
        "image_to_text": np.array([[1, 1, 0], [1, 0, 1], [0, 0, 1]], bool),  # loses the caption of b
        "text_to_image": np.array([[0, 1, 0], [1, 1, 0], [1, 0, 0]], bool),  # loses the images of one and three
    }
    found = RankedPool(captions, scores, candidates).values()
    assert found["image_to_text_candidate_recall"] == pytest.approx(2 / 3)
    assert found["text_to_image_candidate_recall"] == pytest.approx(1 / 3)
    assert found["image_to_text_r@1"] == pytest.approx(2 / 3) and found["image_to_text_median_rank"] == 1
    assert found["text_to_image_r@1"] == pytest.approx(1 / 3) and found["text_to_image_median_rank"] == 3
    whole = RankedPool(captions, scores).values()
    assert whole["text_to_image_r@1"] == 1 and not any(name.endswith("candidate_recall") for name in whole)
    assert mean_values([RankedPool(captions, scores), RankedPool(captions, -scores)])["image_to_text_r@1"] == 0.5


def test_lists_have_captions_by_their_numbers() -> None:
    captions = Captions.of([("a", "one", 11), ("a", "two", 12), ("b", "Two", 13)])
    scores = np.array([[1.0, 2.5], [4.0, 3.0]], np.float32)
    lines = [*RankedPool(captions, scores).lists(2)]
    assert lines == [
        {"image_id": "a", "sentids": [12, 13], "scores": [2.5, 2.5]},
        {"image_id": "b", "sentids": [11, 12], "scores": [4.0, 3.0]},
        {"sentid": 11, "image_ids": ["b", "a"], "scores": [4.0, 1.0]},
        {"sentid": 12, "image_ids": ["b", "a"], "scores": [3.0, 2.5]},
        {"sentid": 13, "image_ids": ["b", "a"], "scores": [3.0, 2.5]},
    ]


def test_folds_are_consecutive_images_with_their_captions() -> None:
    captions, _ = pool(images=10, captions=2)
    folds = captions.folds(3)
    assert [fold.image_ids for fold in folds] == [
        [f"image{i}" for i in range(4)], [f"image{i}" for i in range(4, 7)], [f"image{i}" for i in range(7, 10)]
    ]  # fmt: skip
    assert [it for fold in folds for it in fold.caption_ids] == captions.caption_ids
    told = [captions.texts[text] for text in captions.text]
    assert [words(fold.texts[text]) for fold in folds for text in fold.text] == [*map(words, told)]
