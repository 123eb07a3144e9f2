"""What happens to an input record that cannot be used: stop with an error, or leave it out, count it and list it."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from mmf_muvla import errors
from mmf_muvla.errors import InputError
from mmf_muvla.terminal import printable

ON_BAD_RECORD = ("error", "skip")

# Records that a filter leaves out on purpose (an empty line, say) can be many; this many of each kind are listed.
LISTED_PER_FILTER = 1000


def shown(value: Any, length: int = 60, quoted: bool = False) -> str:
    """As :func:`mmf_muvla.errors.shown`, with text as it is unless ``quoted``."""
    return errors.shown(value, length, quoted)


class BadRecord(Exception):
    """A record of an input file that cannot be used.

    Args:
        file: the input file.
        line: its line, counted from 1; ``None`` where the file has no lines.
        record_id: image id, or ``""`` where the record has none.
        reason: what is wrong, the same words for all records of this kind; the summary counts by them.
        value: the offending value.
        remedy: what the user can do about it.
    """

    def __init__(self, file: Path, line: int | None, record_id: str, reason: str, value: str, remedy: str):
        super().__init__(f"{place(file, line)}: {reason}: {value}")
        self.file = file
        self.line = line
        self.record_id = record_id
        self.reason = reason
        self.value = value
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[BadRecord], tuple[Path, int | None, str, str, str, str]]:
        # They cross process boundaries; the default rebuilds from one argument.
        return (type(self), (self.file, self.line, self.record_id, self.reason, self.value, self.remedy))

    def __str__(self) -> str:
        return printable(super().__str__())

    def as_input_error(self) -> InputError:
        identity = f" (image {self.record_id})" if self.record_id else ""
        return InputError(f"{place(self.file, self.line)}{identity}", f"{self.reason}: {self.value}", self.remedy)

    def to_json(self) -> list[Any]:
        """As JSON that can be written as UTF-8, which halves of characters cannot."""
        texts = (self.record_id, self.reason, self.value, self.remedy)
        return [str(self.file), self.line, *map(_encodable, texts)]

    @classmethod
    def from_json(cls, content: list[Any]) -> BadRecord:
        """What :meth:`to_json` gave."""
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
        state: go on from this :meth:`state` of an earlier log; what that listed later is forgotten.

    Raises:
        InputError: the file does not hold what the earlier log had listed.
    """

    def __init__(
        self, path: Path, on_bad_record: str, max_skipped_fraction: float, state: dict[str, Any] | None = None
    ):
        self.bad: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self._policy = on_bad_record
        self._max_fraction = max_skipped_fraction
        self._path = path
        self._first: BadRecord | None = None
        if state:
            self.bad.update(state["bad"])
            self.filtered.update(state["filtered"])
            self._first = BadRecord.from_json(state["first"]) if state["first"] else None
            _cut(path, state["length"])
        self._file = path.open("ab" if state else "wb")
        self._changed = False

    def __enter__(self) -> SkipLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def state(self) -> dict[str, Any]:
        """What a log needs to go on from here, as JSON. What is listed so far is on disk when this returns."""
        if self._changed:
            os.fsync(self._file.fileno())
            self._changed = False
        return {
            "length": self._file.tell(),
            "bad": dict(self.bad),
            "filtered": dict(self.filtered),
            "first": self._first.to_json() if self._first else None,
        }

    @property
    def num_bad(self) -> int:
        return sum(self.bad.values())

    def add_bad(self, record: BadRecord) -> None:
        """Leave a bad record out.

        Raises:
            InputError: the policy is ``"error"``.
        """
        if self._policy == "error":
            raise record.as_input_error() from record
        self._first = self._first or record
        self.bad[record.reason] += 1
        self._list(str(record.file), record.line, record.record_id, record.reason, record.value)

    def add_filtered(self, file: Path, line: int, reason: str, value: str) -> None:
        """Count a record that a filter leaves out; the first 1,000 of a kind are listed."""
        self.filtered[reason] += 1
        if self.filtered[reason] <= LISTED_PER_FILTER:
            self._list(str(file), line, "", reason, value)

    def add_useless(self, record: BadRecord) -> None:
        """Count a record that is not damaged but of no use, an image without regions say; all of them are listed."""
        self.filtered[record.reason] += 1
        self._list(str(record.file), record.line, record.record_id, record.reason, record.value)

    def check(self, total: int) -> None:
        """Refuse a source of which too much is damaged.

        Args:
            total: how many records the source has, bad ones included.

        Raises:
            InputError: more than ``max_skipped_fraction`` of ``total`` are bad.
        """
        if self._first is None or self.num_bad <= self._max_fraction * total:
            return
        kinds = ", ".join(f"{reason} ({count})" for reason, count in self.bad.most_common(5))
        raise InputError(
            place(self._first.file, self._first.line),
            f"{self.num_bad} of {total} records are bad, more than max_skipped_fraction={self._max_fraction} allows: "
            f"{kinds}; the first is at this line: {self._first.reason}: {self._first.value}",
            f"{self._first.remedy}; or raise max_skipped_fraction if so many losses are acceptable",
        )

    def _list(self, file: str, line: int | None, record_id: str, reason: str, value: str) -> None:
        entry = {"file": file, "line": line, "id": record_id, "reason": reason, "value": value[:200]}
        # What cannot be encoded (a file's name need not be text) is not worth an error while errors are listed.
        self._file.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        # Flushed at once, so that a run that stops with an error leaves a full list behind.
        self._file.flush()
        self._changed = True


def _encodable(text: str) -> str:
    """Text with halves of characters, which JSON and names of files can have, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def place(file: Path, line: int | None) -> str:
    """A file with the number of a line, where that is known."""
    return str(file) if line is None else f"{file}, line {line}"


def _cut(path: Path, length: int) -> None:
    size = path.stat().st_size if path.exists() else 0
    if size < length:
        raise InputError(
            str(path),
            f"has {size} bytes, fewer than the {length} that an interrupted run had written",
            "It cannot be continued: remove what it left behind, and start again",
        )
    os.truncate(path, length)
