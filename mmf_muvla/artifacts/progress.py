"""Progress bars that suit a terminal and a log file, and a record of them that outlives the process."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmf_muvla.artifacts.files import read_json
from mmf_muvla.terminal import printable

PROGRESS_FILE = "progress.json"
_SECONDS_BETWEEN_RECORDS = 2.0


def progress_bar(total: int | None, description: str, unit: str, initial: int = 0) -> Any:
    """A progress bar with rate and remaining time; advance it with ``update``, close it with ``with``."""
    return _Bar(total=total, desc=printable(description), unit=unit, initial=initial, **_looks())


class ProgressRecord:
    """How far a stage is, in a file, so that another process can tell, and a later one goes on counting."""

    def __init__(self, path: Path):
        self._path = path
        self._started = time.monotonic()
        self._written = 0.0
        last = read_json(path) or {}
        try:
            self._words, self.seconds_before = _in_words(last), float(last["seconds"])
        except (KeyError, TypeError, ValueError):  # there is none, or it is torn
            self._words, self.seconds_before = "begun", 0.0

    def seconds(self) -> float:
        """How long the stage has been worked on, killed runs included."""
        return self.seconds_before + time.monotonic() - self._started

    def bar(self, total: int | None, description: str, unit: str, initial: int = 0) -> Any:
        """As :func:`progress_bar`, and recorded every few seconds."""
        bar = progress_bar(total, description, unit, initial)
        bar.record = self
        return bar

    def write(self, bar: tqdm) -> None:
        """Record how far a bar is, unless that has just been done."""
        now = time.monotonic()
        if now - self._written < _SECONDS_BETWEEN_RECORDS:
            return
        self._written = now
        # Counts may come from NumPy.
        done, total = int(bar.n), None if bar.total is None else int(bar.total)
        rate = bar.format_dict["rate"] or (done - bar.initial) / max(bar.format_dict["elapsed"], 1e-9)
        content = {
            "step": bar.desc,
            "done": done,
            "total": total,
            "unit": bar.unit,
            "seconds": self.seconds(),
            "left": max(0.0, (total - done) / rate) if total and rate else None,
        }
        # Not more than a convenience: that a torn file is read as none is enough, and cheaper than a careful one.
        self._path.write_text(json.dumps(content), encoding="utf-8")

    def describe(self) -> str:
        """How far a killed run was, in words."""
        return self._words


def _in_words(last: dict[str, Any]) -> str:
    text = f"{last['step']}: {last['done']:,}"
    if last["total"]:
        text += f" of {last['total']:,} ({last['done'] / last['total']:.0%})"
    text += f" {last['unit']}s after {last['seconds']:,.0f} s"
    return f"{text}, some {last['left']:,.0f} s of this step left" if last["left"] is not None else text


class _Bar(tqdm):
    record: ProgressRecord | None = None

    @classmethod
    def get_lock(cls) -> Any:
        """The lock of all bars. A subclass that is the first to ask would get one of its own."""
        return tqdm.get_lock()

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        if self.record:
            self.record.write(self)
        return shown


def _looks() -> dict[str, Any]:
    # In a log file every refresh is a line of its own.
    return {"mininterval": 0.2 if sys.stderr.isatty() else 30.0, "dynamic_ncols": True, "smoothing": 0.05}
