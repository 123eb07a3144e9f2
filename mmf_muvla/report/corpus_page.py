"""Measures a corpus, and writes a page to browse it: the command of ``tools/inspect_corpus.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.files import as_json
from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.options.kinds import CountOrNone, Name, Options, Seed
from mmf_muvla.options.reading import read_options
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.pairing.uses import hub_warning
from mmf_muvla.report.corpus_captions import KnownCaptions, known_captions, measure_captions
from mmf_muvla.report.corpus_plots import draw_plots
from mmf_muvla.report.corpus_sample import SAMPLED_IMAGES, measure_mentions, measure_tags, sample_images
from mmf_muvla.report.corpus_tables import measure_tables
from mmf_muvla.report.corpus_text import headline_numbers, percent, print_quality, sections
from mmf_muvla.report.images import page_data, page_image
from mmf_muvla.report.own_pictures import add_pictures
from mmf_muvla.report.pages import render
from mmf_muvla.report.pictures import Pictures
from mmf_muvla.report.plots import themed
from mmf_muvla.terminal import printable, terminal_console

_FILES = ("quality.json", "corpus.html")


@dataclass
class InspectOptions(Options):
    """The options of the command, which says what they mean."""

    corpus: Name
    out: Name | None = None
    captions: Name | None = None
    images: Name | None = None
    num_images: CountOrNone = 300
    seed: Seed = 0


def inspect_command(arguments: Sequence[str]) -> None:
    """``corpus=FOLDER [out=FOLDER] [captions=FILE] [images=FOLDER or pattern] [num_images=300] [seed=0]``: measure a
    corpus, print the result, and write ``quality.json`` and ``corpus.html``."""
    options = read_options(InspectOptions, arguments)
    pictures = Pictures(options.images) if options.images else None
    folder = Path(options.corpus)
    inputs = [folder, *(Path(name) for name in (options.captions, options.images) if name)]
    out = output_folder("out", options.out or folder / "report", inputs, may_be_inside=True)
    check_outputs(out, _FILES)
    corpus = Corpus(folder)
    captions = known_captions(corpus, options.captions, options.seed) if options.captions else None
    quality = measure_corpus(corpus, captions, options.seed)
    images = [
        page_image(corpus, number, captions.by_image.get(number) if captions else None)
        for number in choose_images(len(corpus), captions, options.num_images, options.seed)
    ]
    add_pictures(images, corpus, pictures)
    page = render_page(quality, images, links_to_pictures=pictures is not None and pictures.is_link)
    for name, text in zip(_FILES, (as_json(quality), page), strict=True):
        write_output(out / name, text)
    print_quality(quality, terminal_console())
    print(printable("\n".join(str(out / name) for name in _FILES), keep="\n"))


def measure_corpus(
    corpus: Corpus, captions: KnownCaptions | None = None, seed: int = 0, sampled_images: int = SAMPLED_IMAGES
) -> dict[str, Any]:
    """What ``quality.json`` holds: ``links``, ``scores``, ``sentences``, ``regions_per_image`` (the whole corpus),
    ``tags`` and ``mentions`` (a sample of ``sampled_images``), and ``captions``, ``None`` without true ones."""
    sample = sample_images(len(corpus), sampled_images, seed)
    compared = list(captions.by_image) if captions else sample.tolist()
    return {
        "corpus": str(corpus.path),
        "images": len(corpus),
        "k": corpus.k,
        "counts": corpus.counts,
        "seed": seed,
        "sampled_images": len(sample),
        **measure_tables(corpus),
        "tags": measure_tags(corpus, sample.tolist()),
        "mentions": measure_mentions(corpus, compared, captions.by_image if captions else None, seed),
        "captions": measure_captions(corpus, captions, seed) if captions else None,
    }


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


def render_page(quality: Mapping[str, Any], images: Sequence[dict[str, Any]], links_to_pictures: bool = False) -> str:
    """The page, self-contained but for pictures that are links; without these it may not load anything."""
    return render(
        "corpus.html.j2",
        quality=quality,
        cards=headline_numbers(quality),
        sections=list(sections(quality)),
        warning=hub_warning(quality["sentences"]),
        plots=[themed(svg) for svg in draw_plots(quality)],
        num_captioned=sum(image["captions"] is not None for image in images),
        links_to_pictures=links_to_pictures,
        data=page_data(images, quality["links"]["similarity"]["deciles"]),
        percent=percent,
    )
