"""The measures of a corpus as text, for its page and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from mmf_muvla.pairing.uses import MANY, hub_warning
from mmf_muvla.report.tables import Table, print_table

_KINDS = {"retrieved": "retrieved sentences", "random": "random sentences of the corpus", "true": "true captions"}
_DECILES = (("10 %", 1), ("median", 5), ("90 %", 9))
Lines = list[tuple[str, str]]


def percent(share: float | None) -> str:
    """A share as a percentage; a dash for ``None``."""
    return "–" if share is None else f"{share:.1%}".replace("%", "\u00a0%")


def headline_numbers(quality: Mapping[str, Any]) -> Lines:
    """The numbers at the top of the page, each with what it is."""
    links, sentences, mentions, captions = (quality[name] for name in ("links", "sentences", "mentions", "captions"))
    cards = [
        (f"{quality['images']:,}", f"images with {quality['k']} sentences each"),
        (percent(links["of_regions"]), "of regions are linked to a phrase of at least one sentence"),
        (percent(links["of_phrases"]), "of noun phrases are linked to a region"),
    ]
    if mentions["images"]:
        random = percent(mentions["random"]["any"])
        cards.append((percent(mentions["retrieved"]["any"]), f"of tags are mentioned (by random sentences: {random})"))
    if captions and captions["nouns"]["nmi"] is not None:
        above_chance = f"{captions['nouns']['difference']:+.3f}"
        cards.append((above_chance, "mutual information of true and retrieved nouns, above chance"))
    elif not captions and sentences["of_pool"] is not None:
        cards.append((percent(sentences["of_pool"]), "of the pool's sentences are used"))
    return cards


def sections(quality: Mapping[str, Any]) -> Iterator[tuple[str, str, Lines]]:
    """The measures: titles, what was measured, and lines of name and value."""
    images, captions = quality["images"], quality["captions"]
    links, sentences, tags, mentions = (quality[name] for name in ("links", "sentences", "tags", "mentions"))
    whole = f"all {images:,} images"
    lines = [
        ("pairs of region and sentence that are linked", percent(links["of_pairs"])),
        ("regions linked in at least one sentence", percent(links["of_regions"])),
        ("noun phrases linked to a region", percent(links["of_phrases"])),
        ("similarity of links", _spread(links["similarity"])),
        ("regions per image", _spread(quality["regions_per_image"])),
    ]
    yield "Links", whole, lines
    yield "Retrieval scores", whole, [(f"rank {r}", _spread(s)) for r, s in enumerate(quality["scores"], start=1)]
    pool = "" if sentences["pool"] is None else f" of {sentences['pool']:,} ({percent(sentences['of_pool'])})"
    lines = [
        ("distinct sentences used", f"{sentences['used']:,}{pool}"),
        ("as uneven as so many, equally used", f"{sentences['as_many_as']:,}"),
        ("used once", f"{sentences['used_once']:,}"),
        ("images of the most used", f"{sentences['max_uses']:,}"),
        (f"retrievals of the {MANY} most used", percent(sentences["share_of_top_100"])),
        ("retrievals of the most used 1 %", percent(sentences["share_of_top_1_percent"])),
        ("retrievals of the most used 10 %", percent(sentences["share_of_top_10_percent"])),
        ("skewness of uses", f"{sentences['skewness']:.2f}"),
        ("words per sentence", _spread(sentences["words"])),
        ("noun phrases per sentence", _spread(sentences["phrases"])),
    ]
    yield "Sentences", whole, lines
    never, of_regions = tags["never_linked_classes"], percent(tags["never_linked_regions"])
    lines = [("classes never linked", f"{never:,} of {tags['classes']:,}, {of_regions} of regions")]
    yield "Tags", _sample(tags["images"], images, quality["seed"]), lines
    lines = []
    for kind, name in _KINDS.items():
        if (found := mentions[kind]) is not None:
            any_of, single = f"any of {found['sentences']:.3g} sentences", percent(found["single"])
            lines.append((name, f"{percent(found['any'])} in {any_of}, {single} in a single one"))
    sample = _sample(mentions["images"], images, quality["seed"]) + (", those with true captions" if captions else "")
    yield "Tags mentioned, whole words, singular or plural", sample, lines
    if captions:
        yield from _caption_sections(captions, quality["seed"])


def _caption_sections(captions: Mapping[str, Any], seed: int) -> Iterator[tuple[str, str, Lines]]:
    sample = _sample(captions["sampled_images"], captions["images"], seed) + " with true captions"
    in_pool, pool, nouns = (captions[name] for name in ("captions_in_pool", "pool", "nouns"))
    lines = [
        ("captions of images that the corpus lacks", f"{captions['captions_of_unknown_images']:,}"),
        ("distinct captions", f"{captions['distinct_captions']:,}"),
        ("… among the sentences used", f"{captions['captions_in_used']:,}"),
        ("… in the pool", "unknown: there is no build/sentences" if in_pool is None else f"{in_pool:,}"),
        ("images with a caption in the pool", _count(captions["images_with_caption_in_pool"])),
        *_recall(captions["recall_at"], "all images"),
    ]
    yield "Own captions retrieved", sample, lines
    if pool:
        ranked = f"the {pool['ranked']:,} images with a caption there"
        every_image = pool["ranked"] == captions["sampled_images"]
        lines = [
            *_recall(pool["recall_at"], "all images"),
            *([] if every_image else _recall(pool["recall_at_of_ranked"], ranked)),
            ("median rank of the best own caption", _count(pool["median_rank"])),
        ]
        yield "Own captions in the whole pool", sample, lines
    if nouns["nmi"] is not None:
        counts = f"{nouns['true_nouns']:,} and {nouns['retrieved_nouns']:,} distinct nouns"
        lines = [
            ("normalised mutual information", f"{nouns['nmi']:.4f}"),
            ("… with images shuffled, which is chance", f"{nouns['shuffled']:.4f}"),
            ("difference", f"{nouns['difference']:+.4f}"),
        ]
        yield "Nouns of true captions and of retrieved sentences", f"{nouns['images']:,} images; {counts}", lines


def _recall(at: Mapping[str, float], of: str) -> Lines:
    return [(f"recall at {rank}, of {of}", percent(share)) for rank, share in at.items()]


def _sample(part: int, whole: int, seed: int) -> str:
    return f"all {whole:,} images" if part >= whole else f"{part:,} of {whole:,} images (seed {seed})"


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.10g}"


def _spread(summary: Mapping[str, Any]) -> str:
    if not summary["count"]:
        return "–"
    points = ", ".join(f"{name} {summary['deciles'][place]:.4g}".replace(" ", "\u00a0") for name, place in _DECILES)
    return f"mean {summary['mean']:.4g} ({points})"


def print_quality(quality: Mapping[str, Any], console: Console) -> None:
    """Print the measures as tables, on a console on which text from data is text."""
    rows: list[Any] = []
    for title, measured_on, lines in sections(quality):
        rows += [(Text(title, "bold"), Text(measured_on, "dim")), *((f"  {name}", value) for name, value in lines), ()]
    print_table(Table(("what", "result"), rows[:-1], f"Quality of {quality['corpus']}", names=(0, 1)), console)
    never_linked = "Never linked: without a word vector, or never called so"
    for title, key in (("Most frequent tags", "most_frequent"), (never_linked, "never_linked")):
        rows = []
        for row in quality["tags"][key][:15]:
            cells = (row["tag"], f"{row['regions']:,}", percent(row["of_pairs"]), percent(row["of_regions"]))
            rows.append([Text(cell, "" if row["of_pairs"] else "bold red") for cell in cells])
        if rows:
            print_table(Table(("tag", "regions", "linked pairs", "linked regions"), rows, title), console)
    rows = [(f"{row['uses']:,}", row["sentence"]) for row in quality["sentences"]["most_used"][:10]]
    print_table(Table(("uses", "sentence"), rows, "Most used sentences", names=(1,)), console)
    if warning := hub_warning(quality["sentences"]):
        console.print(Text(f"Warning: {warning}", "bold red"))
