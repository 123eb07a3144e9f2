"""What all converters share: reading published files, writing task files, and deciding which records are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.datasets.tasks.conversion.report import Report
from mmf_muvla.datasets.tasks.vqa2.answers import MIN_OCCURRENCES
from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.reading.json_values import GET_AGAIN, parse_json, problem_of
from mmf_muvla.regions.regions import id_problem

T = TypeVar("T")
Keep = Literal["keep", "skip"]
OnBadRecord = Literal["error", "skip"]


@dataclass(frozen=True)
class Options:
    """Which records go into the task files.

    Attributes:
        image_ids: keys of the images that there are regions of; ``None`` if that is not to be checked.
        unknown_images: ``keep`` records of other images, which are counted in either case, or ``skip`` them.
        unlabelled: ``keep`` or ``skip`` records without a label; ``None`` is what suits the task.
        on_bad_record: ``error`` stops at a damaged record, ``skip`` leaves it out, counts it and says so in the log.
        image_key: key of a COCO image, made of ``{name}`` (its file's name without ending) or ``{image_id}`` (its
            number; ``{image_id:012d}`` has zeros in front).
        min_occurrences: how many questions an answer must be the most frequent one of, to be in VQA 2.0's vocabulary.
        num_answers: how many answers a question of VQA 2.0 has; ``None`` where it may be any number from 1.
    """

    image_ids: Container[str] | None = None
    unknown_images: str = "keep"
    unlabelled: str | None = None
    on_bad_record: str = "error"
    image_key: str = "{name}"
    min_occurrences: int = MIN_OCCURRENCES
    num_answers: int | None = 10

    def __post_init__(self) -> None:
        for name, choices in (("unknown_images", Keep), ("unlabelled", Keep), ("on_bad_record", OnBadRecord)):
            value = getattr(self, name)
            if value not in get_args(choices) and not (name == "unlabelled" and value is None):
                raise InputError(f"{name}={value}", "unknown value", f"Use {' or '.join(get_args(choices))}")
        if len({self.key_of("a", 1), self.key_of("b", 2)}) < 2:
            raise InputError(
                f"image_key={self.image_key}", "is the same for all images", "Write {name} or {image_id} into it"
            )

    def key_of(self, name: str, image_id: int | str) -> str:
        """The key of an image with this file name (no ending) and number, or whatever else is its id."""
        try:
            return self.image_key.format(name=name, image_id=image_id)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            problem = f"cannot be filled in ({type(error).__name__}: {error})"
            raise InputError(f"image_key={self.image_key}", problem, "Use {name} or {image_id}") from error


@dataclass
class Counts:
    """What became of one split's records.

    Attributes:
        records: how many the published file has.
        written: how many went into the task's file.
        unlabelled: how many have no label, whether written or not.
        unknown_images: how many are of images that are not in ``image_ids``, whether written or not.
        bad_records: how many were left out because they are damaged.
        repeated: how many of the written have images and text of an earlier one.
        pairs_in_other_splits: how many of the written have images and text of one in a split that was read before.
        images_in_other_splits: how many different images are in a split that was read before.
    """

    records: int = 0
    written: int = 0
    unlabelled: int = 0
    unknown_images: int = 0
    bad_records: int = 0
    repeated: int = 0
    pairs_in_other_splits: int = 0
    images_in_other_splits: int = 0


class Sieve:
    """Decides which records are written, and counts.

    Args:
        options: what is to be decided.
        unlabelled: what suits the task where ``options`` leave it open, ``keep`` or ``skip``.
        counts: is kept up to date; ``records`` only by :meth:`good_lines`.
        report: collects what concerns all splits; by default this one's own.
        split: the split's name in it.
    """

    def __init__(
        self, options: Options, unlabelled: str, counts: Counts, report: Report | None = None, split: str = ""
    ):
        self._options = options
        self._keeps_unlabelled = (options.unlabelled or unlabelled) == "keep"
        self._report = report or Report()
        self._split = split
        self.counts = counts

    def good_lines(self, path: Path, check: Callable[[dict[str, Any], str], T]) -> Iterator[tuple[dict[str, Any], T]]:
        """Read a file with a JSON object a line, and leave damaged ones out.

        Args:
            path: the file.
            check: what is to be known of an object, given with the place where it stands, or an InputError.

        Yields:
            The object, and what ``check`` says of it.

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
                try:
                    checked = check(record, f"{path}, line {number}")
                except InputError as error:
                    self.leave_out(error)
                else:
                    yield record, checked

    def leave_out(self, error: InputError) -> None:
        """Leave out a record that is damaged, or raise ``error`` if that is what the options say."""
        if self._options.on_bad_record == "error":
            raise error
        self.counts.bad_records += 1
        self._report.leave_out(self._split, error)

    def admits(self, images: tuple[str, ...], text: str, is_labelled: bool) -> bool:
        """Whether a good record is written; it is counted here."""
        known = self._options.image_ids
        unknown = None if known is None else next((image for image in images if image not in known), None)
        self._report.look_up(self._split, unknown)
        self.counts.unlabelled += not is_labelled
        self.counts.unknown_images += unknown is not None
        is_known = unknown is None or self._options.unknown_images == "keep"
        if not is_known or not (is_labelled or self._keeps_unlabelled):
            return False
        self.counts.written += 1
        for name, count in self._report.add(self._split, images, text).items():
            setattr(self.counts, name, getattr(self.counts, name) + count)
        return True


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"cannot be read as JSON ({error})", GET_AGAIN) from error
    if type(content) is not dict:
        problem = (problem_of(content) if isinstance(content, dict) else None) or (
            f"holds a {type(content).__name__}, not a JSON object"
        )
        raise InputError(str(path), problem, "Give the published file")
    return content


def list_in(content: dict[str, Any], key: str, path: Path) -> list[Any]:
    """The list, of which nothing has been checked, that a file's object has under ``key``; else an InputError."""
    records = content.get(key)
    if not isinstance(records, list):
        raise InputError(str(path), f"has no list {key!r}", "Give the published file")
    return records


def write_json_lines(path: Path, records: Iterable[dict[str, Any]], source: Path) -> None:
    """Write a JSON object a line; the file appears whole, or not at all.

    Raises:
        InputError: there are no records; ``source`` is where they would have come from.
    """
    with publish_file(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                file.write(json.dumps(record) + "\n")
            is_empty = file.tell() == 0
        if is_empty:
            raise nothing_left(source)


def nothing_left(source: Path) -> InputError:
    """The error for a file of which no record is to be written."""
    return InputError(
        str(source), "none of its records is to be written", "Check that it is the right file, image_ids and unlabelled"
    )


def check_key(key: str, where: str) -> str:
    """An image's key, if features can have such a key; else an InputError."""
    if problem := id_problem(key):
        raise InputError(where, problem, "Mend the name of the image")
    return key
