"""What happens to an input record that cannot be used: stop with an error, or leave it out, count it and list it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf_muvla import errors
from mmf_muvla.errors import InputError
from mmf_muvla.terminal import printable

# Records that a filter leaves out on purpose (an empty line, say) can be many; this many of each kind are listed.
LISTED_PER_FILTER = 1000


def shown(value: Any, length: int = 60, quoted: bool = False) -> str:
    """As :func:`mmf_muvla.errors.shown`, with text as it is unless ``quoted``."""
    return errors.shown(value, length, quoted)


def place(file: Path, line: int | None) -> str:
    """A file with the number of a line, where that is known."""
    return str(file) if line is None else f"{file}, line {line}"


@dataclass(eq=False)
class BadRecord(Exception):
    """A record of an input file that cannot be used. Give all values by position, so that it can be pickled."""

    file: Path
    line: int | None  # from 1; ``None`` where the file has no lines
    record_id: str  # image id, or ``""`` where the record has none
    reason: str  # the same words for all records of this kind; the summary counts by them
    value: str  # the offending value
    remedy: str

    def __str__(self) -> str:
        return printable(f"{place(self.file, self.line)}: {self.reason}: {self.value}")

    def as_input_error(self) -> InputError:
        identity = f" (image {self.record_id})" if self.record_id else ""
        return InputError(f"{place(self.file, self.line)}{identity}", f"{self.reason}: {self.value}", self.remedy)

    def to_json(self) -> list[Any]:
        """As JSON for :meth:`from_json`; halves of characters, which UTF-8 does not have, become escapes."""
        file, *texts = (
            it.encode("utf-8", "backslashreplace").decode()
            for it in (str(self.file), self.record_id, self.reason, self.value, self.remedy)
        )
        return [file, self.line, *texts]

    @classmethod
    def from_json(cls, content: list[Any]) -> BadRecord:
        file, *others = content
        return cls(Path(file), *others)


class SkipLog:
    """Counts the records that were left out, and lists them in a JSON-lines file.

    Two kinds are kept apart. *Bad* records are damage: they follow the policy, and too many of them are an error.
    *Filtered* records are left out on purpose, or are whole and of no use, and there may be any number of them.

    Args:
        path: the JSON-lines file to write; one object a record: file, line, id, reason, value.
        on_bad_record: ``"error"`` raises at the first bad record, ``"skip"`` leaves it out.
        max_skipped_fraction: with ``"skip"``, the share of bad records beyond which :meth:`check` raises.
    """

    def __init__(self, path: Path, on_bad_record: str, max_skipped_fraction: float):
        self.bad: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self._policy = on_bad_record
        self._max_fraction = max_skipped_fraction
        self._first: BadRecord | None = None
        self._file = path.open("wb")

    def __enter__(self) -> SkipLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def num_bad(self) -> int:
        return self.bad.total()

    def add_bad(self, record: BadRecord) -> None:
        """Leave a bad record out, or raise an InputError where the policy is ``"error"``."""
        if self._policy == "error":
            raise record.as_input_error() from record
        self._first = self._first or record
        self.bad[record.reason] += 1
        self._list(record)

    def add_filtered(self, file: Path, line: int, reason: str, value: str) -> None:
        """Count a record that a filter leaves out; the first 1,000 of a kind are listed."""
        self.filtered[reason] += 1
        if self.filtered[reason] <= LISTED_PER_FILTER:
            self._list(BadRecord(file, line, "", reason, value, ""))

    def add_useless(self, record: BadRecord) -> None:
        """Count a record that is not damaged but of no use, an image without regions say; all of them are listed."""
        self.filtered[record.reason] += 1
        self._list(record)

    def check(self, total: int) -> None:
        """Refuse a source with more than ``max_skipped_fraction`` of its ``total`` records bad: an InputError."""
        if self._first is None or self.num_bad <= self._max_fraction * total:
            return
        kinds = ", ".join(f"{reason} ({count})" for reason, count in self.bad.most_common(5))
        raise InputError(
            place(self._first.file, self._first.line),
            f"{self.num_bad} of {total} records are bad, more than max_skipped_fraction={self._max_fraction} allows: "
            f"{kinds}; the first is at this line: {self._first.reason}: {self._first.value}",
            f"{self._first.remedy}; or raise max_skipped_fraction if so many losses are acceptable",
        )

    def _list(self, record: BadRecord) -> None:
        entry = {
            "file": str(record.file),
            "line": record.line,
            "id": record.record_id,
            "reason": record.reason,
            "value": record.value[:200],
        }
        # What cannot be encoded (a file's name need not be text) is not worth an error while errors are listed.
        self._file.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        # Flushed at once, so that a run that stops with an error leaves a full list behind.
        self._file.flush()
