"""Reads LXMERT's TSV files: those of bottom-up-attention, with classes and attributes.

Classes and attributes are numbers from 0, those of the lines of Visual Genome's ``objects_vocab.txt`` and
``attributes_vocab.txt``, int64 [n] in base64; their confidences are float32 [n].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mmf_muvla.regions.bottom_up_tsv import BottomUpTsv


class LxmertTsv(BottomUpTsv):
    """A file, or a folder with one."""

    columns: ClassVar[tuple[str, ...]] = (
        *("img_id", "img_h", "img_w", "objects_id", "objects_conf"),
        *("attrs_id", "attrs_conf", "num_boxes", "boxes", "features"),
    )
    arrays: ClassVar[Mapping[str, tuple[str, str]]] = {
        "objects_id": ("objects", "<i8"),
        "objects_conf": ("conf", "<f4"),
        "attrs_id": ("attrs_id", "<i8"),
        "attrs_conf": ("attrs_conf", "<f4"),
    }
