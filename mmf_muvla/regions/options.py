"""How detector output is read: the options ``region_options``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from mmf_muvla.options.kinds import DetectorSize, Name, Options, Text, Whole


@dataclass
class RegionOptions(Options):
    """How detector output is read.

    Attributes:
        format: one of :data:`~mmf_muvla.regions.sources.REGION_FORMATS`, a class of yours as
            ``my_package.my_format:MyFormat``, or ``auto``: found out from what is there.
        feature_dim: numbers per region feature; rows of this many numbers, or of six more (the box), are understood.
        max_regions: of an image with more regions, the most confident ones are kept.
        rect_scale: the scale of the boxes called ``rect``, where rows have no box of their own: ``original``,
            ``detector`` (the image as the detector saw it), or ``auto``: decided once for a source, from all of its
            images; see :mod:`~mmf_muvla.regions.rect_scale`.
            Boxes in MMF's formats are always the original's; there, ``original`` says that images' sizes are so too.
        detector_size: what the detector resized images to, in pixels: the short side, unless the long side would
            exceed the second number. ``null``: 800 and 1333, and ``auto`` recognises 600 and 1000 as well.
        rename: other names for object classes, e.g. ``{tvmonitor: tv monitor}``.
        label_map: a file with the names of object classes by number, where the detector gives numbers (MMF's features
            do); see :func:`~mmf_muvla.regions.label_map.read_label_map` for the formats.
        label_offset: what to add to the detector's numbers to get those of ``label_map``: -1 where classes begin with
            the background, which the map leaves out (MMF's extraction with ``--background``); 1 the other way round.
        image_sizes: a file of images' sizes, where the detector's output does not say them; see
            :mod:`~mmf_muvla.regions.image_sizes`. Not given: the ``hw.tsv`` or ``X.hw.tsv`` beside it, if there is one.
    """

    format: Name = "auto"
    feature_dim: Annotated[Whole, Field(ge=1, le=2**20)] = 2048
    # links store the number of a phrase in 16 bits, and nothing good comes of more regions than that either
    max_regions: Annotated[Whole, Field(ge=1, le=2**15)] = 100
    rect_scale: Literal["auto", "original", "detector"] = "auto"
    detector_size: DetectorSize | None = None
    rename: dict[str, Text] = field(default_factory=dict)
    label_map: Name | None = None
    label_offset: Annotated[Whole, Field(ge=-(2**31), le=2**31)] = 0
    image_sizes: Name | None = None
