"""Shows images of a corpus, on a page or a terminal: their regions, retrieved sentences, and the links between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import ShowConfig, load_config
from mmf_muvla.pairing.store import Corpus, Sentence
from mmf_muvla.report.own_pictures import add_pictures
from mmf_muvla.report.pages import render
from mmf_muvla.report.pictures import Pictures
from mmf_muvla.sentences.cleaning import clean_sentence
from mmf_muvla.terminal import printable, terminal_console

_PAGE = "retrieval.html"

# On a terminal, linked phrases and the tags that they are linked to have the same colour.
_COLOURS = ("green", "cyan", "magenta", "yellow", "blue", "red", "bright_green", "bright_cyan", "bright_magenta")


def page_data(images: Sequence[dict[str, Any]], similarities: Sequence[float] | None) -> dict[str, Any]:
    """What ``viewer.js.j2`` reads: images, and where the colours of links start, from the deciles of similarities."""
    return {"images": images, "weakest": min(similarities[0], 0.9) if similarities else 0.5}


def page_image(corpus: Corpus, number: int, captions: Sequence[str] | None = None) -> dict[str, Any]:
    """Everything that a page shows of an image, as JSON, with its true captions, if they are known, and without its
    picture (see :func:`~mmf_muvla.report.own_pictures.add_pictures`).

    ``boxes`` are x1, y1, x2, y2 in pixels, ``strength`` is the mean similarity over all pairs of region and sentence (0
    if they are not linked), ``linked`` the share of regions linked in any sentence.
    """
    item = corpus[number]
    regions = item.regions
    own = {clean_sentence(caption) for caption in captions or ()}
    sentences = []
    for rank, sentence in enumerate(map(corpus.sentence, item.sentence_ids)):
        links: list[list[tuple[int, float]]] = [[] for _ in sentence.phrases]
        for region, phrase in enumerate(item.link_phrase[rank].tolist()):
            if phrase >= 0:
                links[phrase].append((region, round(float(item.link_similarity[rank, region]), 3)))
        shown = {"score": round(float(item.scores[rank]), 4), "own": sentence.text in own}
        sentences.append({**shown, "parts": sentence_parts(sentence), "links": links})
    linked = item.link_phrase >= 0
    similarity = np.where(linked, item.link_similarity, 0)
    return {
        "id": regions.image_id,
        "width": regions.width,
        "height": regions.height,
        "picture": None,
        "boxes": np.round(regions.bbox.astype(float), 1).tolist(),
        "tags": item.tags,
        "confidence": np.round(regions.confidence.astype(float), 3).tolist(),
        "sentences": sentences,
        "captions": None if captions is None else list(captions),
        "strength": round(float(similarity.mean()), 4) if similarity.size else 0.0,
        "linked": round(float(linked.any(axis=0).mean()), 4) if linked.size else 0.0,
    }


def sentence_parts(sentence: Sentence) -> list[tuple[str, int]]:
    """A sentence cut into texts, each with the number of its noun phrase, or -1 between phrases.

    JavaScript could not cut it: positions are in characters, which it counts differently.
    """
    parts, position = [], 0
    for start, end, number in sorted((start, end, number) for number, (start, end) in enumerate(sentence.phrases)):
        if start >= position:  # otherwise it overlaps with the one before
            parts += [(sentence.text[position:start], -1), (sentence.text[start:end], number)]
            position = end
    parts.append((sentence.text[position:], -1))
    return [part for part in parts if part[0]]


def show_command(arguments: Sequence[str]) -> None:
    """``corpus=FOLDER [num_images=10] [seed=0] [out=FOLDER] [images=FOLDER or pattern]``: print some images with their
    sentences, and write a page that shows them."""
    config = load_config(ShowConfig, arguments)
    pictures = Pictures(config.images) if config.images else None
    if pictures and not config.out:
        problem = "pictures go on a page, and no folder is given for one"
        raise InputError(f"images={config.images}", problem, "Give out=FOLDER as well")
    if config.out:
        inputs = [Path(name) for name in (config.corpus, config.images) if name]
        out = output_folder("out", config.out, inputs, may_be_inside=True)
        check_outputs(out, [_PAGE])
    corpus, console = Corpus(config.corpus), terminal_console()
    chosen = sorted(np.random.default_rng(config.seed).permutation(len(corpus))[: config.num_images].tolist())
    for number in chosen:
        show_image(corpus, number, console)
    if config.out:
        write_output(out / _PAGE, retrieval_page(corpus, chosen, pictures))
        print(printable(str(out / _PAGE)))


def retrieval_page(corpus: Corpus, numbers: Sequence[int], pictures: Pictures | None = None) -> str:
    """A page of some images with their sentences, one below the other; self-contained but for pictures that are links.

    Args:
        corpus: the corpus.
        numbers: the images.
        pictures: where their pictures are; not given: what the corpus has of its own.
    """
    images = [page_image(corpus, number) for number in numbers]
    add_pictures(images, corpus, pictures)
    found = [link[1] for image in images for it in image["sentences"] for links in it["links"] for link in links]
    return render(
        "retrieval.html.j2",
        corpus=str(corpus.path),
        num_images=len(corpus),
        k=corpus.k,
        links_to_pictures=pictures is not None and pictures.is_link,
        data=page_data(images, [min(found)] if found else None),
    )


def show_image(corpus: Corpus, number: int, console: Console) -> None:
    """Print an image: its tags, and its sentences with scores, linked phrases in colour and with their tag."""
    item = corpus[number]
    regions = item.regions
    counts = Counter(item.tags).most_common()
    colours = {tag: _COLOURS[place % len(_COLOURS)] for place, (tag, _) in enumerate(counts)}
    tags = Text("tags  ")
    for tag, count in counts:
        tags.append(tag, style=colours[tag])
        tags.append(f" x{count}  " if count > 1 else "  ", style="dim")
    title = f"image {regions.image_id}, {regions.width} x {regions.height}, {len(regions)} regions"
    lines = [tags]
    for rank, number in enumerate(item.sentence_ids):
        line = Text(f"{item.scores[rank]:.3f} ", style="dim")
        for text, phrase in sentence_parts(corpus.sentence(number)):
            linked = np.flatnonzero(item.link_phrase[rank] == phrase)
            style = "not dim" if phrase < 0 else "underline not dim"
            if phrase >= 0 and len(linked):
                best = linked[item.link_similarity[rank, linked].argmax()]
                tag, similarity = item.tags[best], item.link_similarity[rank, best]
                line.append(text, style=f"bold {style} {colours[tag]}")
                line.append(f"[{tag} {similarity:.2f}]", style="dim")
            else:
                line.append(text, style=style)
        lines.append(line)
    console.print(Panel(Group(*lines), title=Text(title), title_align="left"))
