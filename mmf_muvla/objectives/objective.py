"""The base of all objectives, and what they make their rows from."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from mmf_muvla.objectives.masking import Ints, MaskingConfig, Row, Vocabulary
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.store import Corpus, CorpusItem, Sentence

# A stream of random numbers for each use, so that one objective's masks do not depend on which others there are. The
# numbers decide what is drawn: they stay as they are. Other uses have a number made from their name.
STREAMS = {
    **{"sentence": 0, "region_tag": 1, "region_phrase": 2, "matched": 3, "mismatched": 4, "negative": 5},
    **{"text_only": 6, "region_only": 7, "masked_pair": 8, "masked_text": 9, "masked_regions": 10},
}


@dataclass(frozen=True)
class RowOptions:
    """What rows depend on, beside the image and its sentence; see ``configs/datasets/muvla/defaults.yaml``."""

    masking: MaskingConfig
    max_text_tokens: int
    max_tag_tokens: int
    tag_positions: str


class Material:
    """An image and one of its sentences, drawn at random: what objectives make rows from.

    ``seed`` and the image's number decide everything that is drawn.

    Attributes:
        item: the image's regions and tags, its sentences and their links.
        rank, sentence: which of the K sentences it is.
        tokens: int [t], its word pieces, without [CLS] and [SEP].
        offsets: int [t, 2], first and one-past-last character of each word piece.
    """

    def __init__(self, corpus: Corpus, number: int, words: WordPieces, options: RowOptions, seed: tuple[int, ...]):
        self.corpus, self.words, self.options = corpus, words, options
        self._entropy = (*seed, number)
        self.item: CorpusItem = corpus[number]
        self.rank = int(self.rng("sentence").integers(len(self.item.sentence_ids)))
        self.sentence: Sentence = corpus.sentence(int(self.item.sentence_ids[self.rank]))
        self.tokens, self.offsets = words(self.sentence.text, options.max_text_tokens)

    @property
    def num_regions(self) -> int:
        return len(self.item.regions.bbox)

    @property
    def masking(self) -> MaskingConfig:
        return self.options.masking

    @property
    def vocabulary(self) -> Vocabulary:
        return self.words.vocabulary

    @cached_property
    def tags(self) -> list[Ints]:
        """The word pieces of each region's tag."""
        return [self.words.tag(tag) for tag in self.item.tags]

    def rng(self, use: str) -> np.random.Generator:
        """The random numbers of one use, from their beginning."""
        number = STREAMS.get(use, zlib.crc32(use.encode()))
        return np.random.default_rng(np.random.SeedSequence(self._entropy, spawn_key=(number,)))


class Objective:
    """One thing to learn from an image and a sentence, by one row of input or several.

    Attributes:
        name: its name in ``dataset_config.NAME.objectives``.
        rows: names of the rows.
        weighted: whether the curriculum weighs its losses pair by pair (section 3.4).
        losses: those that its rows can have targets for, by name, whatever the masking.
    """

    name: ClassVar[str]
    rows: ClassVar[tuple[str, ...]]
    weighted: ClassVar[bool] = False
    losses: ClassVar[tuple[str, ...]] = ()

    def predicts(self, masking: MaskingConfig) -> tuple[str, ...]:
        """The losses that its rows can have targets for, by name."""
        return self.losses

    def make(self, material: Material) -> dict[str, Row]:
        """The rows, by name."""
        raise NotImplementedError
