"""Examples of the corpus for a page: picture, boxes, tags, and retrieved sentences with their phrases marked."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from pathlib import Path

from mmf_muvla.pairing.store import Corpus

# Well told apart on white and on pictures.
PALETTE = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#0b9bb5", "#c217a6", "#7a8b00", "#b5651d", "#00695c")


@dataclass(frozen=True)
class Box:
    """One region: pixels, tag, and the colour that its phrase has too."""

    x: float
    y: float
    width: float
    height: float
    tag: str
    colour: str


@dataclass(frozen=True)
class RetrievedSentence:
    """One retrieved sentence: its score, and its text with the linked phrases marked (HTML)."""

    score: float
    marked: str


@dataclass(frozen=True)
class SceneExample:
    """Everything that a page shows of one image. ``picture`` is a data URI, or None where there is no picture."""

    image_id: str
    width: int
    height: int
    picture: str | None
    boxes: list[Box]
    sentences: list[RetrievedSentence]


def scene_example(corpus: Corpus, number: int, pictures: Path | None) -> SceneExample:
    """Collect one image of a corpus.

    Args:
        corpus: the corpus.
        number: which image.
        pictures: folder with ``IMAGE_ID.png``, where there are pictures.
    """
    item = corpus[number]
    regions = item.regions
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(item.tags))]
    boxes = [
        Box(float(x1), float(y1), float(x2 - x1), float(y2 - y1), tag, colour)
        for (x1, y1, x2, y2), tag, colour in zip(regions.bbox, item.tags, colours, strict=True)
    ]
    sentences = []
    for rank, sentence_id in enumerate(item.sentence_ids):
        sentence = corpus.sentence(int(sentence_id))
        best: dict[int, tuple[float, int]] = {}  # phrase -> its best link: similarity, region
        for region, (phrase, similarity) in enumerate(
            zip(item.link_phrase[rank], item.link_similarity[rank], strict=True)
        ):
            if phrase >= 0:
                best[int(phrase)] = max(best.get(int(phrase), (0.0, 0)), (float(similarity), region))
        spans = [
            (
                int(sentence.phrases[phrase][0]),
                int(sentence.phrases[phrase][1]),
                colours[region],
                item.tags[region],
                similarity,
            )
            for phrase, (similarity, region) in best.items()
        ]
        sentences.append(RetrievedSentence(float(item.scores[rank]), mark_spans(sentence.text, spans)))
    path = None if pictures is None else pictures / f"{regions.image_id}.png"
    picture = None
    if path is not None and path.is_file():
        picture = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return SceneExample(regions.image_id, regions.width, regions.height, picture, boxes, sentences)


def mark_spans(text: str, spans: list[tuple[int, int, str, str, float]]) -> str:
    """HTML of a sentence with phrases marked.

    Args:
        text: the sentence.
        spans: start, end (characters), colour, tag and similarity of each linked phrase; they do not overlap.
    """
    parts, position = [], 0
    for start, end, colour, tag, similarity in sorted(spans):
        parts.append(html.escape(text[position:start]))
        title = html.escape(f"linked to the region '{tag}', similarity {similarity:.2f}", quote=True)
        shade = f"{round(30 + 60 * similarity):02x}"
        parts.append(
            f'<mark style="background:{colour}{shade};border-bottom:2px solid {colour}" title="{title}">'
            f"{html.escape(text[start:end])}</mark>"
        )
        position = end
    parts.append(html.escape(text[position:]))
    return "".join(parts)
