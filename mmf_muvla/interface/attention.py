"""Which regions of an image each word of a sentence looks at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.errors import InputError
from mmf_muvla.interface.images import ImageRegions
from mmf_muvla.objectives.tokens import WordPieces

Floats = NDArray[np.float32]
_FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True, eq=False)
class Attention:
    """How much each word of a sentence looks at each region of an image.

    Attributes:
        sentence: the sentence.
        words: its words, as the tokenizer tells them apart; what stands behind ``max_text_tokens`` is not read.
        spans: where each begins and ends in the sentence, in characters.
        image: the image: regions, with their ``tags`` and ``bbox``.
        weights: float32 [layers, heads, words, regions]. A word of several pieces has their mean. What is missing to 1
            goes to the text itself; with two streams nothing is, and the layers are those of co-attention.
    """

    sentence: str
    words: list[str]
    spans: list[tuple[int, int]]
    image: ImageRegions
    weights: Floats

    def of(self, layer: int | None = None, head: int | None = None) -> Floats:
        """The weights of a layer and a head, counted from 0, or the mean over all: float32 [words, regions].

        Raises:
            InputError: there is no such layer or head.
        """
        chosen = self.weights
        for name, number, count in (("layer", layer, chosen.shape[0]), ("head", head, chosen.shape[1])):
            if number is not None and not 0 <= number < count:
                problem, remedy = f"there are {count}, counted from 0", f"Give one of 0 to {count - 1}, or None for all"
                raise InputError(f"{name}={number}", problem, remedy)
        chosen = chosen[slice(None) if layer is None else slice(layer, layer + 1)]
        chosen = chosen[:, slice(None) if head is None else slice(head, head + 1)]
        return chosen.mean(axis=(0, 1))

    def shares(self, layer: int | None = None, head: int | None = None) -> Floats:
        """As :meth:`of`, out of what goes to regions: each word's sum to 1."""
        weights = self.of(layer, head)
        return weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)

    def save(self, path: str | Path, layer: int | None = None, head: int | None = None) -> None:
        """Draw it: the regions on the picture, where there is one, and words × regions. A file of before is replaced.

        Raises:
            InputError: the name does not end with .png, .svg or .pdf, its folder is not there, or there is no such
                layer or head.
        """
        from mmf_muvla.interface.attention_figure import Panel, draw, write  # loads matplotlib

        kind = kind_of(path)
        figure = draw([Panel("", self)], layer, head)
        with publish_file(Path(path).expanduser()) as temporary:
            write(figure, temporary, kind)

    def __repr__(self) -> str:
        layers, heads, words, regions = self.weights.shape
        shape = f"{layers} layers, {heads} heads, {words} words, {regions} regions"
        return f"<attention of {self.sentence!r} to {self.image.regions.image_id}: {shape}>"


def kind_of(path: str | Path) -> str:
    """The kind of picture that a file's name asks for.

    Raises:
        InputError: there is none of this name, or no such folder.
    """
    file = Path(path).expanduser()
    kind = file.suffix[1:].lower()
    if kind not in _FORMATS:
        raise InputError(str(path), "is no kind of picture that can be written", "End it with .png, .svg or .pdf")
    if not file.parent.is_dir():
        raise InputError(str(path), f"there is no folder {file.parent}", "Make it, or name another")
    return kind


def attention_of(sentence: str, image: ImageRegions, weights: Floats, words: WordPieces, max_tokens: int) -> Attention:
    """The attention of whole words, out of that of word pieces, float [layers, heads, pieces, regions]."""
    ids, spans = words(sentence, max_tokens)
    continued = [words.piece(piece).startswith("##") for piece in ids.tolist()]
    starts = np.array([number for number, it in enumerate(continued) if not it or number == 0], np.intp)
    ends = np.append(starts[1:], len(ids))[: len(starts)]
    places = [(int(spans[start, 0]), int(spans[end - 1, 1])) for start, end in zip(starts, ends, strict=True)]
    of_words = np.add.reduceat(weights, starts, axis=2) / (ends - starts)[:, None]
    return Attention(sentence, [sentence[a:b] for a, b in places], places, image, of_words.astype(np.float32))
