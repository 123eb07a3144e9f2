"""What is worth saying about a whole conversion: images that nobody knows, texts in two splits, damaged records."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from pathlib import Path

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.datasets.tasks.conversion import image_keys
from mmf_muvla.errors import InputError

_LOG = logging.getLogger(__name__)
_LOGGED_BAD_RECORDS = 20


@dataclass
class _Images:
    """Of one split's good records: how many there are, how many are of unknown images, and one of these images."""

    records: int = 0
    unknown: int = 0
    example: str = ""


class Report:
    """Collects what the splits of a benchmark have in common, and what is wrong with them.

    Args:
        part_of: pairs of splits, one of which is a part of the other by design.
    """

    def __init__(self, part_of: Collection[tuple[str, str]] = ()):
        self._part_of = [set(pair) for pair in part_of]
        self._left_out: list[tuple[str, InputError]] = []
        self._images: dict[str, _Images] = {}
        self._splits: list[str] = []
        # In which splits they are: bit i stands for split i. A pair is known by 64 bits, since texts would be too much.
        self._seen: dict[Hashable, int] = {}
        self._overlaps: Counter[tuple[str, str, str]] = Counter()
        self._examples: dict[tuple[str, str, str], str] = {}

    def leave_out(self, split: str, error: InputError) -> None:
        """List a damaged record; the first ones are logged as well."""
        self._left_out.append((split, error))
        if len(self._left_out) <= _LOGGED_BAD_RECORDS:
            _LOG.warning("left out: %s", error)

    def look_up(self, split: str, unknown_image: str | None) -> None:
        """Count a good record, and which of its images is unknown, if any."""
        images = self._images.setdefault(split, _Images())
        images.records += 1
        if unknown_image is not None:
            images.unknown += 1
            images.example = images.example or unknown_image

    def add(self, split: str, images: tuple[str, ...], text: str) -> Counter[str]:
        """Register a record that is written. Texts that differ in capitals or blanks only are the same.

        Returns:
            What is to be counted, by the fields of :class:`~mmf_muvla.datasets.tasks.conversion.published.Counts`.
        """
        found: Counter[str] = Counter()
        is_repeated, others = self._register(split, hash((images, " ".join(text.casefold().split()))))
        found["repeated"] = is_repeated
        for other in others:
            found["pairs_in_other_splits"] = 1
            self._note(other, split, "texts with their images", f"{text[:80]!r} about {images[0]!r}")
        for image in images:
            _, others = self._register(split, image)
            for other in others:
                self._note(other, split, "images", repr(image))
            found["images_in_other_splits"] += bool(others)
        return found

    def check_images(self, source: str, source_says: str | None) -> None:
        """Judge by what :meth:`look_up` was told whether the annotations belong to the images that there are.

        Args:
            source: where the images should be, for messages.
            source_says: one of the keys there.

        Raises:
            InputError: there are records, but none whose images are all known.
        """
        records = sum(images.records for images in self._images.values())
        if records and records == sum(images.unknown for images in self._images.values()):
            ours = next(images.example for images in self._images.values() if images.example)
            problem = f"none of the {records:,} records is of images there"
            difference = image_keys.difference(ours, source, source_says)
            raise InputError(source, f"{problem}: {difference}", image_keys.remedy(ours, source_says))
        for split, images in self._images.items():
            if 2 * images.unknown > images.records:
                difference = image_keys.difference(images.example, source, source_says)
                _LOG.warning(
                    "%s: %s of %s records are of images that are not there: %s",
                    *(split, f"{images.unknown:,}", f"{images.records:,}", difference),
                )

    def warn_of_overlaps(self) -> None:
        """Log which splits have pairs of text and images, or images, in common."""
        for (first, second, kind), count in self._overlaps.items():
            _LOG.warning(
                "%s of the %s in %s are in %s as well, e.g. %s: "
                "scores on the one may come from learning the other by heart",
                *(f"{count:,}", kind, second, first, self._examples[first, second, kind]),
            )

    def write_left_out(self, path: Path) -> bool:
        """List the damaged records in a JSON lines file, if there are any; say whether there are."""
        if not self._left_out:
            return False
        with publish_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for split, error in self._left_out:
                file.write(json.dumps({"split": split, "where": error.where, "problem": error.problem}) + "\n")
        return True

    def _register(self, split: str, key: Hashable) -> tuple[bool, list[str]]:
        """Whether a split has had a key before; if not, the other splits that have it."""
        if split not in self._splits:
            self._splits.append(split)
        before, here = self._seen.get(key, 0), 1 << self._splits.index(split)
        if before & here:
            return True, []
        self._seen[key] = before | here
        if not before:
            return False, []
        others = [other for number, other in enumerate(self._splits) if before >> number & 1]
        return False, [other for other in others if {other, split} not in self._part_of]

    def _note(self, first: str, second: str, kind: str, example: str) -> None:
        self._overlaps[first, second, kind] += 1
        self._examples.setdefault((first, second, kind), example)
