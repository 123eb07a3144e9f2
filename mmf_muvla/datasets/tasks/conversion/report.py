"""Which records of a benchmark are written, and what is worth saying about all its splits together."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.datasets.tasks.conversion import image_keys
from mmf_muvla.datasets.tasks.conversion.published import Counts, Options
from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.reading.json_values import GET_AGAIN

C = TypeVar("C", bound=Counts)
# Says of a record, given with its place, which images it is about, its text, and whether it has a label.
Check = Callable[[dict[str, Any], str], tuple[tuple[str, ...], str, bool]]

_LOG = logging.getLogger(__name__)
_LOGGED_BAD_RECORDS = 20
_PAIRS, _IMAGES = "texts with their images", "images"


class Report:
    """Collects what the splits of a benchmark have in common, and what is wrong with them."""

    def __init__(self, part_of: Collection[tuple[str, str]] = ()):
        self._part_of = [set(pair) for pair in part_of]  # one of these splits is a part of the other by design
        self._left_out: list[tuple[str, InputError]] = []
        self._overlaps: dict[tuple[str, str, str], tuple[int, str]] = {}
        self.sieves: list[Sieve[Any]] = []

    def leave_out(self, split: str, error: InputError) -> None:
        """List a damaged record; the first ones are logged as well."""
        self._left_out.append((split, error))
        if len(self._left_out) <= _LOGGED_BAD_RECORDS:
            _LOG.warning("left out: %s", error)

    def is_elsewhere(self, split: str, kind: str, key: Hashable, example: str) -> bool:
        """Whether other splits have written a key as well; they are noted."""
        others = [it.split for it in self.sieves if it.split != split and key in it.written[kind]]
        others = [other for other in others if {other, split} not in self._part_of]
        for other in others:
            count, first = self._overlaps.get((other, split, kind), (0, example))
            self._overlaps[other, split, kind] = count + 1, first
        return bool(others)

    def check_images(self, source: str, source_says: str | None) -> None:
        """Judge by the good records whether the annotations belong to the images of a source, which has such keys.

        Raises:
            InputError: there are records, but none whose images are all known.
        """
        good = sum(sieve.good for sieve in self.sieves)
        if good and good == sum(sieve.counts.unknown_images for sieve in self.sieves):
            ours = next(sieve.unknown_image for sieve in self.sieves if sieve.unknown_image)
            problem = f"none of the {good:,} records is of images there"
            difference = image_keys.difference(ours, source, source_says)
            raise InputError(source, f"{problem}: {difference}", image_keys.remedy(ours, source_says))
        for sieve in self.sieves:
            if 2 * sieve.counts.unknown_images > sieve.good:
                difference = image_keys.difference(sieve.unknown_image, source, source_says)
                counts = f"{sieve.counts.unknown_images:,} of {sieve.good:,}"
                _LOG.warning("%s: %s records are of images that are not there: %s", sieve.split, counts, difference)

    def warn_of_overlaps(self) -> None:
        """Log which splits have pairs of text and images, or images, in common."""
        for (first, second, kind), (count, example) in self._overlaps.items():
            _LOG.warning(
                "%s of the %s in %s are in %s as well, e.g. %s: "
                "scores on the one may come from learning the other by heart",
                *(f"{count:,}", kind, second, first, example),
            )

    def write_left_out(self, path: Path) -> bool:
        """List the damaged records in a JSON lines file, if there are any; say whether there are."""
        listed = [{"split": split, "where": it.where, "problem": it.problem} for split, it in self._left_out]
        if listed:
            path.write_text("".join(f"{json.dumps(record)}\n" for record in listed), encoding="utf-8")
        return bool(listed)


class Sieve(Generic[C]):
    """Decides which records of a split are written, and counts.

    Args:
        split: the split's name.
        counts: is kept up to date; ``records`` only by :meth:`lines`.
        options: what is to be decided.
        report: collects what concerns all splits; by default this one's own.
        unlabelled: what suits the task where the options leave it open, ``keep`` or ``skip``.
    """

    def __init__(self, split: str, counts: C, options: Options | None, report: Report | None, unlabelled: str = "keep"):
        self.split = split
        self.counts = counts
        self.options = options or Options()
        self._report = report or Report()
        self._report.sieves.append(self)
        self._keeps_unlabelled = (self.options.unlabelled or unlabelled) == "keep"
        self.written: dict[str, set[Hashable]] = {_PAIRS: set(), _IMAGES: set()}
        self.good = 0  # records that are not damaged
        self.unknown_image = ""  # one of those that are not known

    @property
    def num_images(self) -> int:
        return len(self.written[_IMAGES])

    def lines(self, path: Path, check: Check) -> Iterator[dict[str, Any]]:
        """The records to be written, of a file with a JSON object a line; ``check`` may mend or refuse a record.

        Raises:
            InputError: the file is missing, or a line is damaged and the options do not say that such are left out.
        """

        def leave_out_line(error: InputError) -> None:
            self.counts.records += 1
            self.leave_out(error)

        size = path.stat().st_size if path.is_file() else 0
        with progress_bar(size, path.name, "B") as progress:
            lines = read_json_lines(path, remedy=GET_AGAIN, leave_out=leave_out_line, advance=progress.update)
            for number, record in lines:
                self.counts.records += 1
                with self.leaving_out():
                    if self.admits(*check(record, f"{path}, line {number}")):
                        yield record

    @contextmanager
    def leaving_out(self) -> Iterator[None]:
        """Inside, an InputError is that of a damaged record, which ends the block and is left out."""
        try:
            yield
        except InputError as error:
            self.leave_out(error)

    def leave_out(self, error: InputError) -> None:
        """Leave out a damaged record, or raise ``error`` if that is what the options say."""
        if self.options.on_bad_record == "error":
            raise error
        self.counts.bad_records += 1
        self._report.leave_out(self.split, error)

    def admits(self, images: tuple[str, ...], text: str, is_labelled: bool = True) -> bool:
        """Whether a good record is written; it is counted here."""
        self.good += 1
        self.counts.unlabelled += not is_labelled
        known = self.options.image_ids
        unknown = "" if known is None else next((image for image in images if image not in known), "")
        if unknown:
            self.counts.unknown_images += 1
            self.unknown_image = self.unknown_image or unknown
            if self.options.unknown_images == "skip":
                return False
        if not (is_labelled or self._keeps_unlabelled):
            return False
        self.counts.written += 1
        # Known by 64 bits, since texts would be too much; those that differ in capitals or blanks only are the same.
        pair = hash((images, " ".join(text.casefold().split())))
        self.counts.repeated += pair in self.written[_PAIRS]
        self.counts.pairs_in_other_splits += self._overlaps(_PAIRS, pair, f"{text[:80]!r} about {images[0]!r}")
        for image in images:
            self.counts.images_in_other_splits += self._overlaps(_IMAGES, image, repr(image))
        return True

    def _overlaps(self, kind: str, key: Hashable, example: str) -> bool:
        """Whether a key that is new in this split is in another one."""
        is_new = key not in self.written[kind]
        self.written[kind].add(key)
        return is_new and self._report.is_elsewhere(self.split, kind, key, example)
