"""What all converters share: reading published files, writing task files, and deciding which records go in."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf_muvla.annotations.vqa_answers import MIN_OCCURRENCES
from mmf_muvla.corpus.outputs import publish_output
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.errors import InputError

_LOG = logging.getLogger(__name__)
_LOGGED_BAD_RECORDS = 20
_GET_AGAIN = "Get the file again from its source"


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
    """

    image_ids: Collection[str] | None = None
    unknown_images: str = "keep"
    unlabelled: str | None = None
    on_bad_record: str = "error"
    image_key: str = "{name}"
    min_occurrences: int = MIN_OCCURRENCES

    def __post_init__(self) -> None:
        choices = {
            "unknown_images": ("keep", "skip"),
            "unlabelled": ("keep", "skip", None),
            "on_bad_record": ("error", "skip"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                texts = " or ".join(choice for choice in allowed if choice)
                raise InputError(f"{name}={getattr(self, name)}", "unknown value", f"Use {texts}")
        if len({self.key_of("a", 1), self.key_of("b", 2)}) < 2:
            raise InputError(
                f"image_key={self.image_key}", "is the same for all images", "Write {name} or {image_id} into it"
            )

    def key_of(self, name: str, image_id: int) -> str:
        """The key of a COCO image with this file name (no ending) and number."""
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
    """

    records: int = 0
    written: int = 0
    unlabelled: int = 0
    unknown_images: int = 0
    bad_records: int = 0


class Sieve:
    """Decides which records are written, and counts.

    Args:
        options: what is to be decided.
        unlabelled: what suits the task where ``options`` leave it open, ``keep`` or ``skip``.
        counts: is kept up to date, but for ``records``, which the reader counts.
    """

    def __init__(self, options: Options, unlabelled: str, counts: Counts):
        self._options = options
        self._keeps_unlabelled = (options.unlabelled or unlabelled) == "keep"
        self.counts = counts

    def leave_out(self, error: InputError) -> None:
        """Leave out a record that is damaged, or raise ``error`` if that is what the options say."""
        if self._options.on_bad_record == "error":
            raise error
        self.counts.bad_records += 1
        if self.counts.bad_records <= _LOGGED_BAD_RECORDS:
            _LOG.warning("left out: %s", error)

    def admits(self, image_ids: Iterable[str], is_labelled: bool) -> bool:
        """Whether a good record is written; it is counted here."""
        known = self._options.image_ids
        is_known = known is None or all(image_id in known for image_id in image_ids)
        self.counts.unlabelled += not is_labelled
        self.counts.unknown_images += not is_known
        is_admitted = (is_labelled or self._keeps_unlabelled) and (is_known or self._options.unknown_images == "keep")
        self.counts.written += is_admitted
        return is_admitted


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(str(path), f"cannot be read as JSON ({error})", _GET_AGAIN) from error
    if not isinstance(content, dict):
        raise InputError(str(path), f"holds a {type(content).__name__}, not a JSON object", "Give the published file")
    return content


def read_records(path: Path, key: str, content: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The list of objects that a JSON file has under ``key``.

    Args:
        path: the file.
        key: where in the file's object the list is.
        content: the file's object, where it has been read already.

    Raises:
        InputError: the file is missing, is no JSON object, or has no list of objects there.
    """
    records = (read_json_object(path) if content is None else content).get(key)
    if not isinstance(records, list):
        raise InputError(str(path), f"has no list {key!r}", "Give the published file")
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(f"{path}, {key}[{number}]", f"is {record!r:.40}, not an object", _GET_AGAIN)
    return records


def read_json_lines(path: Path, sieve: Sieve) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a file with a JSON object a line; empty lines are passed over.

    Yields:
        Where it stands (file and line, for error messages), and the object.

    Raises:
        InputError: the file is missing, or a line is no JSON object and ``sieve`` does not leave such out.
    """
    if not path.is_file():
        raise InputError(str(path), "no such file", "Check the path")
    with path.open("rb") as file, progress_bar(path.stat().st_size, path.name, "B") as progress:
        for number, line in enumerate(file, 1):
            progress.update(len(line))
            if not line.strip():
                continue
            sieve.counts.records += 1
            where = f"{path}, line {number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                sieve.leave_out(InputError(where, f"is not JSON ({error})", _GET_AGAIN))
                continue
            if isinstance(record, dict):
                yield where, record
            else:
                sieve.leave_out(InputError(where, f"is {record!r:.40}, not a JSON object", _GET_AGAIN))


def write_json_lines(path: Path, records: Iterable[dict[str, Any]], source: Path) -> None:
    """Write a JSON object a line; the file appears whole, or not at all.

    Raises:
        InputError: ``records`` are none; ``source`` is where they would have come from. Or ``path`` is not ours.
    """
    with publish_output(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                # Lone surrogates, which JSON may contain, can only be written as escapes.
                file.write(json.dumps(record) + "\n")
            is_empty = file.tell() == 0
        if is_empty:
            raise nothing_left(source)


def nothing_left(source: Path) -> InputError:
    """The error for a file of which no record is to be written."""
    return InputError(
        str(source), "none of its records is to be written", "Check that it is the right file, image_ids and unlabelled"
    )


def text_of(record: dict[str, Any], key: str, where: str) -> str:
    """A text that must be there and not empty.

    Raises:
        InputError: it is not.
    """
    text = record.get(key)
    if not isinstance(text, str) or not text.strip():
        raise InputError(where, f"{key} is {text!r:.40}, not a text", _GET_AGAIN)
    return text


def number_of(record: dict[str, Any], key: str, where: str) -> int:
    """A whole number, 0 or more, that must be there.

    Raises:
        InputError: it is not.
    """
    number = record.get(key)
    if type(number) is not int or number < 0:
        raise InputError(where, f"{key} is {number!r:.40}, not a whole number", _GET_AGAIN)
    return number
