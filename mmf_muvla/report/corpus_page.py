"""Measures a corpus, and writes a page to browse it."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from rich.console import Console
from rich.table import Table

from mmf_muvla.artifacts.files import as_json
from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import CountOrNone, Name, Options, Seed
from mmf_muvla.options.reading import read_options
from mmf_muvla.pairing.store import Corpus, CorpusItem, Sentence
from mmf_muvla.report import plots
from mmf_muvla.report.corpus_captions import KnownCaptions, known_captions
from mmf_muvla.report.corpus_quality import measure_corpus
from mmf_muvla.report.corpus_sample import sample_images
from mmf_muvla.sentences.cleaning import clean_sentence
from mmf_muvla.terminal import printable, terminal_console

PICTURE_SIDE = 400
_FILES = ("quality.json", "corpus.html")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# In a pattern: {image_id}, or {image_id:012} for ids that files have with leading zeros.
_PLACEHOLDER = re.compile(r"\{image_id(?::0(\d{1,3}))?\}")
_DECILES = (("10 %", 1), ("median", 5), ("90 %", 9))

_log = logging.getLogger(__name__)


@dataclass
class InspectOptions(Options):
    """The options of the command.

    Attributes:
        corpus: the folder of the corpus.
        out: where the page goes; ``None``: ``report`` in the corpus.
        captions: a file with true captions.
        images: a folder with pictures, or a pattern of their names.
        num_images: how many images can be browsed.
        seed: chooses them.
    """

    corpus: Name
    out: Name | None = None
    captions: Name | None = None
    images: Name | None = None
    num_images: CountOrNone = 300
    seed: Seed = 0


def inspect_command(arguments: Sequence[str]) -> None:
    """``corpus=FOLDER [out=FOLDER] [captions=FILE] [images=FOLDER or pattern] [num_images=300] [seed=0]``: measure a
    corpus, print the result, and write ``quality.json`` and ``corpus.html``.

    Raises:
        InputError: an option cannot be used, there is no whole corpus, or the captions are damaged.
    """
    options = read_options(InspectOptions, arguments)
    pictures = Pictures(options.images) if options.images else None
    folder = Path(options.corpus)
    inputs = [folder, *(Path(name) for name in (options.captions, options.images) if name)]
    out = output_folder("out", options.out or folder / "report", inputs, may_be_inside=True)
    check_outputs(out, _FILES)
    corpus = Corpus(folder)
    captions = known_captions(corpus, options.captions, options.seed) if options.captions else None
    quality = measure_corpus(corpus, captions, options.seed)
    write_report(corpus, quality, captions, pictures, options.num_images, out)
    print_quality(quality, terminal_console(markup=True))
    print(printable(f"{out / 'quality.json'}\n{out / 'corpus.html'}", keep="\n"))


def write_report(
    corpus: Corpus,
    quality: Mapping[str, Any],
    captions: KnownCaptions | None,
    pictures: Pictures | None,
    num_images: int,
    out: Path,
) -> None:
    """Write ``quality.json`` and ``corpus.html`` into a folder, each whole or not at all.

    Args:
        corpus: the corpus.
        quality: what :func:`measure_corpus` found.
        captions: true captions, where they are known; images that have some are shown first of all.
        pictures: where pictures are, or ``None`` for none.
        num_images: how many images can be browsed.
        out: the folder.
    """
    chosen = choose_images(len(corpus), captions, num_images, quality["seed"])
    images = []
    for number in chosen:
        own = captions.by_image.get(number) if captions else None
        images.append(page_image(corpus, number, own, pictures))
    if pictures:
        found = sum(image["picture"] is not None for image in images)
        _log.log(logging.INFO if found else logging.WARNING, "%d of %d images have a picture", found, len(images))
    page = render_page(quality, images, links_to_pictures=pictures is not None and pictures.is_link)
    for name, text in zip(_FILES, (as_json(quality), page), strict=True):
        write_output(out / name, text)


def choose_images(num_images: int, captions: KnownCaptions | None, wanted: int, seed: int) -> list[int]:
    """Numbers of images to show, ascending: a random sample of those with true captions, then of the others."""
    captioned = np.array(list(captions.by_image) if captions else [], np.int64)
    chosen = captioned[sample_images(len(captioned), wanted, seed)]
    if len(chosen) < wanted:
        # So many more than are missing that enough of them are new.
        others = np.setdiff1d(sample_images(num_images, wanted + len(chosen), seed), chosen)
        missing = min(wanted - len(chosen), len(others))
        chosen = np.concatenate([chosen, others[sample_images(len(others), missing, seed)]])
    return sorted(chosen.tolist())


# --- Pictures -----------------------------------------------------------------------------------------------------


class Pictures:
    """Finds the pictures of images.

    Args:
        place: a folder with ``IMAGE_ID.jpg`` (.jpeg, .png, .webp), or a file name or an address with ``{image_id}`` in
            it (``{image_id:012}``: with zeros in front to twelve digits).

    Attributes:
        is_link: whether pages link to the pictures, instead of containing them.

    Raises:
        InputError: there is no such folder, or the pattern has no ``{image_id}``.
    """

    def __init__(self, place: str):
        self._pattern = place
        scheme = place.partition("://")[0].lower() if "://" in place else ""
        self.is_link = bool(scheme)
        if scheme not in ("", "http", "https", "file"):
            raise InputError(f"images={place}", f"cannot show pictures from {scheme}://", "Use http, https or file")
        placeholder = _PLACEHOLDER.search(place)
        if self.is_link:
            if not placeholder:
                raise InputError(f"images={place}", "the address has no {image_id}", "Put {image_id} where the id goes")
            return
        self._folder = Path(place[: placeholder.start()] + "x").parent if placeholder else Path(place)
        if not self._folder.is_dir():
            raise InputError(
                f"images={place}",
                f"there is no folder {self._folder}",
                "Name a folder with IMAGE_ID.jpg or .png, or a pattern with {image_id}",
            )
        if not placeholder:
            self._pattern = f"{place}/{{image_id}}"

    def find(self, image_id: str) -> str | None:
        """What an ``<img>`` shows: a link, or a small copy as a data URI. ``None`` where there is no picture."""
        if self.is_link:
            return self._fill(urllib.parse.quote(image_id, safe="/"))
        path = Path(self._fill(image_id))
        for candidate in (path, *(path.with_name(path.name + suffix) for suffix in _SUFFIXES)):
            # An id like ../../secret must not lead out of the folder.
            if candidate.suffix.lower() in _SUFFIXES and _is_file_below(candidate, self._folder):
                return _small_jpeg(candidate)
        return None

    def _fill(self, image_id: str) -> str:
        return _PLACEHOLDER.sub(lambda match: image_id.zfill(int(match[1] or 0)), self._pattern)


def _is_file_below(path: Path, folder: Path) -> bool:
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # a name that is too long, or has a null in it
        return False


def _small_jpeg(path: Path) -> str | None:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (PICTURE_SIDE, PICTURE_SIDE))  # JPEG can be decoded small
            small = picture.convert("RGB")
        small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        _log.warning("%s: cannot be read as a picture (%s); it is left out", path, error)
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


# --- What the browser shows ---------------------------------------------------------------------------------------


def page_image(
    corpus: Corpus, number: int, captions: Sequence[str] | None = None, pictures: Pictures | None = None
) -> dict[str, Any]:
    """Everything that the page shows of one image, as JSON.

    Args:
        corpus: the corpus.
        number: which image.
        captions: its true captions, where they are known.
        pictures: where pictures are.

    Returns:
        ``id``, ``width``, ``height``, ``picture``; ``boxes`` (x1, y1, x2, y2 in pixels), ``tags`` and ``confidence`` of
        the regions; ``sentences``; ``captions``; ``strength``, the mean similarity over all pairs of region and
        sentence (0 where there is no link); ``linked``, the share of regions linked in any sentence.
    """
    item = corpus[number]
    regions = item.regions
    own = {clean_sentence(caption) for caption in captions or ()}
    sentences = []
    for rank, sentence_id in enumerate(item.sentence_ids.tolist()):
        sentence = corpus.sentence(sentence_id)
        sentences.append(
            {
                "score": round(float(item.scores[rank]), 4),
                "own": sentence.text in own,
                "parts": sentence_parts(sentence),
                "links": _links(item, rank, len(sentence.phrases)),
            }
        )
    linked = item.link_phrase >= 0
    similarity = np.where(linked, item.link_similarity, 0)
    return {
        "id": regions.image_id,
        "width": regions.width,
        "height": regions.height,
        "picture": pictures.find(regions.image_id) if pictures else None,
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

    Cut here, because positions are in characters, which are not what JavaScript counts.
    """
    parts, position = [], 0
    spans = [(start, end, number) for number, (start, end) in enumerate(sentence.phrases.tolist())]
    for start, end, number in sorted(spans):
        if start < position:
            continue  # overlaps with the one before
        parts += [(sentence.text[position:start], -1), (sentence.text[start:end], number)]
        position = end
    parts.append((sentence.text[position:], -1))
    return [part for part in parts if part[0]]


def _links(item: CorpusItem, rank: int, num_phrases: int) -> list[list[tuple[int, float]]]:
    """The links of each phrase of a sentence: region and similarity."""
    links: list[list[tuple[int, float]]] = [[] for _ in range(num_phrases)]
    for region, phrase in enumerate(item.link_phrase[rank].tolist()):
        if phrase >= 0:
            links[phrase].append((region, round(float(item.link_similarity[rank, region]), 3)))
    return links


def script_json(value: Any) -> str:
    """JSON that can stand in a ``<script>`` element: nothing in it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- The page -----------------------------------------------------------------------------------------------------


def render_page(
    quality: Mapping[str, Any], images: Sequence[Mapping[str, Any]], links_to_pictures: bool = False
) -> str:
    """The page, self-contained: styles, plots, pictures and data are inside.

    Args:
        quality: what :func:`measure_corpus` found.
        images: what :func:`page_image` made.
        links_to_pictures: whether pictures are links. Otherwise the page may not load anything.
    """
    weakest = quality["links"]["similarity"]["deciles"]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmf_muvla.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("corpus.html.j2").render(
        quality=quality,
        cards=headline_numbers(quality),
        sections=list(sections(quality)),
        plots=[_themed(svg) for svg in draw_plots(quality)],
        num_shown=len(images),
        num_captioned=sum(image["captions"] is not None for image in images),
        links_to_pictures=links_to_pictures,
        # Similarities below the threshold of the links do not occur: colours start there.
        data=script_json({"images": images, "weakest": min(weakest[0], 0.9) if weakest else 0.5}),
        percent=percent,
    )


def percent(share: float | None) -> str:
    """A share as a percentage; a dash where there is none."""
    return "–" if share is None else f"{share:.1%}".replace("%", "\u00a0%")


def headline_numbers(quality: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The numbers on top of the page, each with what it is."""
    links, sentences, mentions, captions = (quality[name] for name in ("links", "sentences", "mentions", "captions"))
    cards = [
        (f"{quality['images']:,}", f"images with {quality['k']} sentences each"),
        (percent(links["of_regions"]), "of regions are linked to a phrase of at least one sentence"),
        (percent(links["of_phrases"]), "of noun phrases are linked to a region"),
    ]
    if mentions["images"]:
        retrieved, random = mentions["retrieved"]["any"], mentions["random"]["any"]
        cards.append((percent(retrieved), f"of tags are mentioned (by random sentences: {percent(random)})"))
    if captions:
        nouns = captions["nouns"]
        if nouns["nmi"] is not None:
            cards.append(
                (f"{nouns['difference']:+.3f}", "mutual information of true and retrieved nouns, above chance")
            )
    elif sentences["of_pool"] is not None:
        cards.append((percent(sentences["of_pool"]), "of the pool's sentences are used"))
    return cards


def sections(quality: Mapping[str, Any]) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """The measures as text, for the terminal and the page alike.

    Yields:
        A title, on what it was measured, and lines of name and value.
    """
    whole = f"all {quality['images']:,} images"
    sample = _sample(quality["tags"]["images"], quality["images"], quality["seed"])
    links, sentences, tags, mentions = (quality[name] for name in ("links", "sentences", "tags", "mentions"))
    yield (
        "Links",
        whole,
        [
            ("pairs of region and sentence that are linked", percent(links["of_pairs"])),
            ("regions linked in at least one sentence", percent(links["of_regions"])),
            ("noun phrases linked to a region", percent(links["of_phrases"])),
            ("similarity of links", _spread(links["similarity"])),
            ("regions per image", _spread(quality["regions_per_image"])),
        ],
    )
    yield "Retrieval scores", whole, [(f"rank {r}", _spread(s)) for r, s in enumerate(quality["scores"], start=1)]
    pool = "" if sentences["pool"] is None else f" of {sentences['pool']:,} ({percent(sentences['of_pool'])})"
    yield (
        "Sentences",
        whole,
        [
            ("distinct sentences used", f"{sentences['used']:,}{pool}"),
            ("as uneven as so many, equally used", f"{sentences['as_many_as']:,}"),
            ("used once", f"{sentences['used_once']:,}"),
            ("retrievals of the most used 1 %", percent(sentences["share_of_top_1_percent"])),
            ("retrievals of the most used 10 %", percent(sentences["share_of_top_10_percent"])),
            ("words per sentence", _spread(sentences["words"])),
            ("noun phrases per sentence", _spread(sentences["phrases"])),
        ],
    )
    never = (
        f"{tags['never_linked_classes']:,} of {tags['classes']:,}, {percent(tags['never_linked_regions'])} of regions"
    )
    yield "Tags", sample, [("classes never linked", never)]
    yield (
        "Tags mentioned, whole words, singular or plural",
        _sample(mentions["images"], quality["images"], quality["seed"])
        + (", those with true captions" if quality["captions"] else ""),
        [
            (_KINDS[kind], _mention_text(mentions[kind]))
            for kind in ("retrieved", "random", "true")
            if mentions[kind] is not None
        ],
    )
    if quality["captions"]:
        yield from _caption_sections(quality["captions"], quality["seed"])


_KINDS = {"retrieved": "retrieved sentences", "random": "random sentences of the corpus", "true": "true captions"}


def _caption_sections(captions: Mapping[str, Any], seed: int) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    sample = _sample(captions["sampled_images"], captions["images"], seed) + " with true captions"
    in_pool = captions["captions_in_pool"]
    lines = [
        ("captions of images that the corpus lacks", f"{captions['captions_of_unknown_images']:,}"),
        ("distinct captions", f"{captions['distinct_captions']:,}"),
        ("… among the sentences used", f"{captions['captions_in_used']:,}"),
        ("… in the pool", "unknown: there is no build/sentences" if in_pool is None else f"{in_pool:,}"),
        ("images with a caption in the pool", _count(captions["images_with_caption_in_pool"])),
        *((f"recall at {rank}, of all images", percent(share)) for rank, share in captions["recall_at"].items()),
    ]
    yield "Own captions retrieved", sample, lines
    pool = captions["pool"]
    if pool:
        every_image = pool["ranked"] == captions["sampled_images"]
        yield (
            "Own captions in the whole pool",
            sample,
            [
                *((f"recall at {rank}, of all images", percent(share)) for rank, share in pool["recall_at"].items()),
                *(
                    (f"recall at {rank}, of the {pool['ranked']:,} images with a caption there", percent(share))
                    for rank, share in pool["recall_at_of_ranked"].items()
                    if not every_image
                ),
                ("median rank of the best own caption", _count(pool["median_rank"])),
            ],
        )
    nouns = captions["nouns"]
    if nouns["nmi"] is not None:
        yield (
            "Nouns of true captions and of retrieved sentences",
            f"{nouns['images']:,} images; {nouns['true_nouns']:,} and {nouns['retrieved_nouns']:,} distinct nouns",
            [
                ("normalised mutual information", f"{nouns['nmi']:.4f}"),
                ("… with images shuffled, which is chance", f"{nouns['shuffled']:.4f}"),
                ("difference", f"{nouns['difference']:+.4f}"),
            ],
        )


def _sample(part: int, whole: int, seed: int) -> str:
    return f"all {whole:,} images" if part >= whole else f"{part:,} of {whole:,} images (seed {seed})"


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.10g}"


def _spread(summary: Mapping[str, Any]) -> str:
    if not summary["count"]:
        return "–"
    points = ", ".join(f"{name} {summary['deciles'][place]:.4g}".replace(" ", "\u00a0") for name, place in _DECILES)
    return f"mean {summary['mean']:.4g} ({points})"


def _mention_text(mention: Mapping[str, float]) -> str:
    return (
        f"{percent(mention['any'])} in any of {mention['sentences']:.3g} sentences, "
        f"{percent(mention['single'])} in a single one"
    )


def print_quality(quality: Mapping[str, Any], console: Console) -> None:
    """Print the measures as tables."""
    table = Table(title=_plain(f"Quality of {quality['corpus']}"), title_justify="left")
    table.add_column("what")
    table.add_column("result")
    for title, measured_on, lines in sections(quality):
        table.add_section()
        table.add_row(f"[bold]{title}[/]", f"[dim]{measured_on}[/]")
        for name, value in lines:
            table.add_row(f"  {name}", value)
    console.print(table)
    tags = quality["tags"]
    for title, rows in (
        ("Most frequent tags", tags["most_frequent"][:15]),
        ("Never linked: without a word vector, or never called so", tags["never_linked"][:15]),
    ):
        if rows:
            console.print(_tag_table(title, rows))
    table = Table(title="Most used sentences", title_justify="left")
    table.add_column("uses", justify="right")
    table.add_column("sentence")
    for row in quality["sentences"]["most_used"][:10]:
        table.add_row(f"{row['uses']:,}", _plain(row["sentence"]))
    console.print(table)


def _tag_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("tag")
    for name in ("regions", "linked pairs", "linked regions"):
        table.add_column(name, justify="right")
    for row in rows:
        style = "" if row["of_pairs"] else "bold red"
        shares = (percent(row["of_pairs"]), percent(row["of_regions"]))
        table.add_row(_plain(row["tag"]), f"{row['regions']:,}", *shares, style=style)
    return table


def _plain(text: str) -> Any:
    """Text in which rich sees no markup, and a terminal no commands."""
    from rich.text import Text

    return Text(printable(text))


# --- Plots --------------------------------------------------------------------------------------------------------


def draw_plots(quality: Mapping[str, Any]) -> list[str]:
    """Histograms as ``<svg>`` elements, one a row of the page."""
    sentences = quality["sentences"]
    figure, axes = plots.figure_with(3, 10.4, 2.5)
    _draw_histogram(axes[0], quality["links"]["similarity"], "similarity of links")
    _draw_ranks(axes[1], quality["scores"])
    _draw_histogram(axes[2], quality["regions_per_image"], "regions per image")
    first_row = plots.as_svg(figure)
    figure, axes = plots.figure_with(3, 10.4, 2.5)
    _draw_histogram(axes[0], sentences["phrases"], "noun phrases per sentence")
    _draw_histogram(axes[1], sentences["words"], "words per sentence")
    _draw_tags(axes[2], quality["tags"]["most_frequent"][:10])
    return [first_row, plots.as_svg(figure)]


def _draw_histogram(axis: Any, summary: Mapping[str, Any], title: str) -> None:
    axis.set_title(title, fontsize=10, loc="left", color=plots.INK)
    histogram = summary["histogram"]
    if histogram is None:
        return
    width = histogram["width"]
    lefts = histogram["start"] + width * np.arange(len(histogram["counts"]))
    # Bars of whole numbers stand over the number.
    offset = -0.5 if width == 1 else 0
    axis.bar(lefts + offset, histogram["counts"], width, align="edge", color=plots.COLOURS[0], linewidth=0)
    axis.axvline(summary["mean"], color=plots.COLOURS[1], linewidth=1.4)
    axis.annotate(
        f"mean {summary['mean']:.3g}",
        (summary["mean"], 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -8),
        textcoords="offset points",
        fontsize=8,
        color=plots.MUTED,
    )
    axis.grid(axis="x", visible=False)
    axis.set_axisbelow(True)


def _draw_ranks(axis: Any, scores: Sequence[Mapping[str, Any]]) -> None:
    axis.set_title("retrieval score by rank", fontsize=10, loc="left", color=plots.INK)
    axis.set_xlabel("rank; bands between deciles, line: median")
    measured = [(rank, score["deciles"]) for rank, score in enumerate(scores, start=1) if score["deciles"]]
    if not measured:
        return
    ranks, deciles = zip(*measured, strict=True)
    for low in range(1, 5):
        bands = ([d[low] for d in deciles], [d[10 - low] for d in deciles])
        axis.fill_between(ranks, *bands, color=plots.COLOURS[0], alpha=0.16, linewidth=0)
    axis.plot(ranks, [d[5] for d in deciles], color=plots.COLOURS[0], linewidth=1.8, marker="o", markersize=3)
    axis.set_xticks(ranks[:: -(-len(ranks) // 10)])


def _draw_tags(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    axis.set_title("linked pairs of frequent tags", fontsize=10, loc="left", color=plots.INK)
    places = np.arange(len(rows))[::-1]
    axis.barh(places, [row["of_pairs"] for row in rows], color=plots.COLOURS[0], height=0.7, linewidth=0)
    axis.set_yticks(places, [printable(row["tag"][:18]) for row in rows], fontsize=8)
    axis.set_xlim(0, 1)
    axis.grid(axis="y", visible=False)
    axis.set_axisbelow(True)


def _themed(svg: str) -> str:
    """A plot in the colours of the page, which has a light and a dark set of them."""
    names = {plots.INK: "ink", plots.MUTED: "muted", plots.GRID: "line", plots.COLOURS[0]: "accent"}
    names[plots.COLOURS[1]] = "mark"
    for colour, name in names.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
