"""Shows images of a corpus with the sentences that were retrieved for them, and what is linked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from mmf_muvla.pairing.store import Corpus, CorpusItem
from mmf_muvla.terminal import printable

# Linked phrases and the tags that they are linked to have the same colour.
_COLOURS = ("green", "cyan", "magenta", "yellow", "blue", "red", "bright_green", "bright_cyan", "bright_magenta")


def show_retrieval(corpus: Corpus, indices: list[int], console: Console) -> None:
    """Print images: their tags, and their sentences with scores, linked phrases in colour and with their tag."""
    for index in indices:
        item = corpus[index]
        colours = {
            tag: _COLOURS[place % len(_COLOURS)] for place, (tag, _) in enumerate(Counter(item.tags).most_common())
        }
        lines = [_tag_line(item, colours), *_sentence_lines(corpus, item, colours)]
        regions = item.regions
        title = f"image {regions.image_id}, {regions.width} x {regions.height}, {len(regions)} regions"
        console.print(Panel(Group(*lines), title=Text(printable(title)), title_align="left"))


def _tag_line(item: CorpusItem, colours: dict[str, str]) -> Text:
    line = Text("tags  ")
    for tag, count in Counter(item.tags).most_common():
        line.append(printable(tag), style=colours[tag])
        line.append(f" x{count}  " if count > 1 else "  ", style="dim")
    return line


def _sentence_lines(corpus: Corpus, item: CorpusItem, colours: dict[str, str]) -> Iterator[Text]:
    for place, number in enumerate(item.sentence_ids.tolist()):
        sentence = corpus.sentence(number)
        line = Text(f"{item.scores[place]:.3f} ", style="dim")
        position = 0
        for phrase, (start, end) in enumerate(sentence.phrases.tolist()):
            line.append(printable(sentence.text[position:start]), style="default not dim")
            linked = np.flatnonzero(item.link_phrase[place] == phrase)
            if len(linked):
                best = linked[item.link_similarity[place, linked].argmax()]
                tag, similarity = item.tags[best], item.link_similarity[place, best]
                line.append(printable(sentence.text[start:end]), style=f"bold underline not dim {colours[tag]}")
                line.append(f"[{printable(tag)} {similarity:.2f}]", style="dim")
            else:
                line.append(printable(sentence.text[start:end]), style="underline not dim")
            position = end
        line.append(printable(sentence.text[position:]), style="default not dim")
        yield line
