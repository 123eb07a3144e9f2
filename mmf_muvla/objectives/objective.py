"""The base of all objectives, and what they make their rows from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmf_muvla.objectives.masking import Ints, MaskingConfig, Row, Vocabulary
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.store import Corpus, CorpusItem, Sentence

# A stream of random numbers for each use, so that one objective's masks do not depend on which others there are. These
# numbers stay as they are; other uses have one made from their name.
STREAMS = {
    **{"sentence": 0, "region_tag": 1, "region_phrase": 2, "matched": 3, "mismatched": 4, "negative": 5},
    **{"text_only": 6, "region_only": 7, "masked_pair": 8, "masked_text": 9, "masked_regions": 10},
}
_POOL_WORDS = 4  # of SeedSequence, which fills up with zeros before a spawn key


@dataclass(frozen=True)
class RowOptions:
    """What rows depend on, beside the image and its sentence; see ``configs/datasets/muvla/defaults.yaml``."""

    masking: MaskingConfig
    max_text_tokens: int
    max_tag_tokens: int
    tag_positions: str


def seed_words(numbers: Sequence[int]) -> np.ndarray:
    """Whole numbers from 0 as uint32 words, and a last one that is 0. With ``k`` in its place they seed a generator as
    ``SeedSequence(numbers, spawn_key=(k,))`` does, in a third of the time, and every sample has six of them."""
    words: list[int] = []
    for number in map(int, numbers):
        words.append(number & 0xFFFFFFFF)  # the lowest word first
        while number := number >> 32:
            words.append(number & 0xFFFFFFFF)
    return np.array([*words, *[0] * (_POOL_WORDS - len(words)), 0], np.uint32)


class Material:
    """An image and one of its K sentences, drawn at random: what objectives make rows from.

    ``seed`` and the image's number decide everything that is drawn. ``tokens``, int [t], are the sentence's word pieces
    without [CLS] and [SEP]; ``offsets``, int [t, 2], the first and one-past-last character of each.
    """

    def __init__(self, corpus: Corpus, number: int, words: WordPieces, options: RowOptions, seed: tuple[int, ...]):
        self.corpus, self.words, self.options = corpus, words, options
        self.vocabulary: Vocabulary = words.vocabulary
        self.masking: MaskingConfig = options.masking
        self._entropy = seed_words((*seed, number))
        self.item: CorpusItem = corpus[number]
        self.num_regions = len(self.item.regions.bbox)
        self.rank = int(self.rng("sentence").integers(len(self.item.sentence_ids)))
        self.sentence: Sentence = corpus.sentence(int(self.item.sentence_ids[self.rank]))
        self.tokens, self.offsets = words(self.sentence.text, options.max_text_tokens)

    @cached_property
    def tags(self) -> list[Ints]:
        """The word pieces of each region's tag."""
        return [self.words.tag(tag) for tag in self.item.tags]

    def rng(self, use: str) -> np.random.Generator:
        """The random numbers of one use, from their beginning."""
        words = self._entropy.copy()
        words[-1] = STREAMS[use] if use in STREAMS else zlib.crc32(use.encode())
        return np.random.default_rng(words)


class Objective:
    """One thing to learn from an image and a sentence, by one row of input or several."""

    name: str  # in dataset_config.NAME.objectives
    rows: tuple[str, ...]  # their names
    weighted: bool = False  # whether the curriculum weighs its losses pair by pair (section 3.4)
    losses: tuple[str, ...] = ()  # those that its rows can have targets for, by name, whatever the masking

    def predicts(self, masking: MaskingConfig) -> tuple[str, ...]:
        """The losses that its rows can have targets for, by name."""
        return self.losses

    def make(self, material: Material) -> dict[str, Row]:
        """The rows, by name."""
        raise NotImplementedError
