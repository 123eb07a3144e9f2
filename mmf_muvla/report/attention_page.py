"""The command ``tools/show_attention.py``: which regions each word looks at, beside controls, drawn and as a page."""

from __future__ import annotations

import io
import logging
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.outputs import check_outputs, output_folder, publish_output, write_output
from mmf_muvla.errors import InputError
from mmf_muvla.interface import ImageRegions, Model, load
from mmf_muvla.interface.attention_figure import Panel, draw, write
from mmf_muvla.interface.command import Texts
from mmf_muvla.options.kinds import CountOrNone, Name, Options, Seed
from mmf_muvla.options.reading import read_options
from mmf_muvla.report.pictures import Pictures, check_pictures, png_uri, with_picture
from mmf_muvla.report.tables import Table, html_page
from mmf_muvla.terminal import printable

FILES = ("attention.png", "attention.html")
_log = logging.getLogger(__name__)


@dataclass
class ShowAttentionOptions(Options):
    """The options of the command, which says what they mean."""

    run: Name
    image: Name
    text: Texts
    other: Name | None = None
    regions: Name | None = None
    images: Name | None = None
    control: Name | None = None
    out: Name | None = None
    layer: CountOrNone | None = None
    head: CountOrNone | None = None
    weights: Name | None = None
    detector: Name | None = None
    seed: Seed = 0
    device: Name = "auto"


def show_attention_command(arguments: Sequence[str]) -> None:
    """``run=FOLDER image=PICTURE text=SENTENCE [other=FOLDER] [key=value …]``: draw which regions each word looks at,
    and write ``attention.png`` and ``attention.html``."""
    options = read_options(ShowAttentionOptions, arguments)
    check_pictures(options.images, options.regions, ", or image=PICTURE alone")
    pictures = Pictures(options.images) if options.images else None
    if pictures and pictures.is_link:
        raise InputError(f"images={options.images}", "is an address, and pictures are drawn on", "Name a folder")
    runs = [options.run, *([options.other] if options.other else [])]
    read = [Path(name) for name in (*runs, options.regions, options.images) if name]
    out = output_folder("out", options.out or Path(options.run) / "attention", read, may_be_inside=True)
    check_outputs(out, FILES)
    panels = [panel for run in runs for panel in _panels(run, options, pictures)]
    buffer = io.BytesIO()
    write(draw(panels, options.layer, options.head), buffer, "png")
    out.mkdir(parents=True, exist_ok=True)
    with publish_output(out / FILES[0]) as temporary:
        temporary.write_bytes(buffer.getvalue())
    page = html_page(
        f"Where the words look: {'; '.join(options.text)}",
        [*_tables(panels, options.layer, options.head)],
        picture=png_uri(buffer.getvalue()),
        reading=[
            "Shades, and the figures below, are shares of a word's attention to regions; to the right of them stands "
            "how much of its attention goes to regions at all. Where that is next to nothing, shares say nothing. With "
            "another image, the same words show what draws attention whatever is said."
        ],
        command=printable(f"python tools/show_attention.py {shlex.join(arguments)}"),
    )
    write_output(out / FILES[1], page)
    for name in FILES:
        print(printable(str(out / name)))


def _panels(run: str, options: ShowAttentionOptions, pictures: Pictures | None) -> Iterator[Panel]:
    """A run's attention to the image, and, where there is a control, to another one; of one text after the other."""
    model = load(run, weights=options.weights, device=options.device, detector=options.detector)
    name = Path(run).name or run
    seen = {f"{name}: ": _image(model, options.image, options, pictures)}
    if control := options.control or _drawn(model, options):
        seen[f"{name}, another image: "] = _image(model, control, options, pictures)
    else:
        _log.info("no other image to look at for control: name one with control=")
    for text in options.text:
        for title, image in seen.items():
            yield Panel(title + Path(image.regions.image_id).name, model.attention(image, text))


def _image(model: Model, name: str, options: ShowAttentionOptions, pictures: Pictures | None) -> ImageRegions:
    if options.regions is None:
        found: ImageRegions = model.detect(name)
        return found
    return with_picture(model.regions(options.regions)[name], name, pictures)


def _drawn(model: Model, options: ShowAttentionOptions) -> str | None:
    """Another image of the store, at random, the same for every run; ``None`` where there is no list of them."""
    if options.regions is None:
        return None
    try:
        ids = [it for it in model.regions(options.regions) if it != options.image]
    except InputError:  # features of MMF, whose images are not listed
        return None
    return ids[np.random.default_rng(options.seed).integers(len(ids))] if ids else None


def _tables(panels: Sequence[Panel], layer: int | None, head: int | None) -> Iterator[Table]:
    for title, attention in panels:
        of, shares = attention.of(layer, head).sum(axis=1), attention.shares(layer, head)
        tags = [f"{number} {tag}".strip() for number, tag in enumerate(attention.image.tags)]
        rows: list[Sequence[Any]] = [
            [word, *(f"{100 * it:.0f}" for it in line), f"{100 * total:.0f}"]
            for word, line, total in zip(attention.words, shares, of, strict=True)
        ]
        yield Table(("per cent", *tags, "to regions"), rows, title)
