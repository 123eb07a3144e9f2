"""Ranks of what belongs together among all candidates, and the recalls that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
DIRECTIONS = ("image_to_text", "text_to_image")
RECALLS = (1, 5, 10)  # K of R@K
_SCORES_AT_ONCE = 2**24


@dataclass(frozen=True)
class Standing:
    """How many candidates of each query have a higher score than the best right one, and how many the same, int [q]."""

    higher: Ints
    equal: Ints

    @property
    def rank(self) -> Ints:
        """The rank, from 1, if ties count against the model."""
        return 1 + self.higher + self.equal

    def in_first(self, k: int) -> Floats:
        """The probability to be among the first ``k`` if equal scores are put in random order, float [q]."""
        return np.clip((k - self.higher) / (self.equal + 1), 0.0, 1.0)


@dataclass(frozen=True)
class Captions:
    """The captions of some images.

    Texts are those of different words: captions that differ in capitals and blanks only are one text, which all images
    own that have such a caption.

    Attributes:
        image_ids: keys of the images.
        texts: the texts.
        image: number of each caption's image, int [captions].
        text: number of each caption's text, int [captions].
        caption_ids: the data set's numbers of the captions.
    """

    image_ids: list[str]
    texts: list[str]
    image: Ints
    text: Ints
    caption_ids: list[int]

    @classmethod
    def of(cls, captions: list[tuple[str, str, int]]) -> Captions:
        """From image key, caption and the caption's number, in this order, of each caption."""
        images: dict[str, int] = {}
        texts: dict[str, tuple[int, str]] = {}
        image = [images.setdefault(key, len(images)) for key, _, _ in captions]
        text = [texts.setdefault(words_of(caption), (len(texts), caption))[0] for _, caption, _ in captions]
        ids = [caption_id for _, _, caption_id in captions]
        spellings = [spelling for _, spelling in texts.values()]
        return cls([*images], spellings, np.array(image, np.int64), np.array(text, np.int64), ids)

    def __len__(self) -> int:
        return len(self.text)

    def owned(self) -> Bools:
        """Which texts each image owns, bool [images, texts]."""
        owned = np.zeros((len(self.image_ids), len(self.texts)), bool)
        owned[self.image, self.text] = True
        return owned

    def part(self, images: Ints) -> Captions:
        """The captions of some of the images, numbered anew."""
        chosen = np.flatnonzero(np.isin(self.image, images))
        triples = zip(self.image[chosen].tolist(), self.text[chosen].tolist(), chosen.tolist(), strict=True)
        return Captions.of([(self.image_ids[i], self.texts[t], self.caption_ids[number]) for i, t, number in triples])

    def folds(self, count: int) -> list[Captions]:
        """The captions of equally many consecutive images at a time."""
        parts = np.array_split(np.arange(len(self.image_ids)), count)
        return [self] if count == 1 else [self.part(images) for images in parts]


def words_of(text: str) -> str:
    """A text without what makes no difference to a reader: capitals and blanks."""
    return " ".join(text.casefold().split())


def standings(scores: NDArray[np.float32], captions: Captions, direction: str, owned: Bools | None = None) -> Standing:
    """Where the right ones stand, for each image (its best caption) or for each caption (its image).

    Captions that an image owns compete neither with each other nor with the same words of another image.

    Args:
        scores: of all images with all texts, float [images, texts]; minus infinity is last.
        captions: of these images.
        direction: one of :data:`DIRECTIONS`.
        owned: bool [images, texts], where images own more of the texts than these captions say.
    """
    owned = captions.owned() if owned is None else owned
    if direction == "image_to_text":
        weight = np.bincount(captions.text, minlength=len(captions.texts))
        queries = np.arange(len(scores))
        best = np.where(owned, scores, -np.inf).max(axis=1)
    else:
        # A text stands in the same place for each image that owns it, but each has a score of its own.
        scores, owned, weight = scores.T, owned.T, np.ones(len(scores), np.int64)
        queries, best = captions.text, scores[captions.text, captions.image]
    higher, equal = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.int64)
    rows = max(1, _SCORES_AT_ONCE // scores.shape[1])
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        line, of_others, own = scores[queries[part]], ~owned[queries[part]], best[part, None]
        higher[part] = ((line > own) & of_others) @ weight
        equal[part] = ((line == own) & of_others) @ weight
    return Standing(higher, equal)


def recalls(rank: Ints, direction: str) -> dict[str, float]:
    """``R@1``, ``R@5`` and ``R@10``, shares of the queries, and the ``median_rank``; of ranks from 1, int [q]."""
    found = {f"{direction}_r@{k}": float((rank <= k).mean()) for k in RECALLS}
    return {**found, f"{direction}_median_rank": float(np.median(rank))}


def best_of(scores: NDArray[np.float32], direction: str, count: int) -> tuple[Ints, NDArray[np.float32]]:
    """The ``count`` best texts of each image, or images of each text, and their scores, the best first: [q, count].

    The first of equal ones comes first.
    """
    lines = scores if direction == "image_to_text" else scores.T
    order = np.empty((len(lines), min(count, lines.shape[1])), np.int64)
    rows = max(1, _SCORES_AT_ONCE // lines.shape[1])
    for start in range(0, len(lines), rows):
        part = slice(start, start + rows)
        order[part] = np.argsort(-lines[part], axis=1, kind="stable")[:, : order.shape[1]]
    return order, np.take_along_axis(lines, order, axis=1)
