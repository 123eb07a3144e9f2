"""The progress bar of a training: updates, loss, samples per second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_WINDOW = 20  # updates over which the speed is taken: enough to be steady, few enough to be current


class UpdateBar:
    """A bar that advances with every update; use it in a ``with`` statement.

    ``done`` of the ``total`` updates were before this start. The speed is the clock's: no device is waited for.
    """

    def __init__(self, total: int, done: int, samples_per_update: int, shown: bool):
        self._samples_per_update = samples_per_update
        self._ends: deque[float] = deque(maxlen=_WINDOW + 1)
        self._loss = ""
        self._bar = tqdm(total=total, initial=done, unit="update", disable=None if shown else True)

    def __enter__(self) -> UpdateBar:
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()

    def update(self) -> None:
        """Advance by one update."""
        self._ends.append(time.perf_counter())
        self._write()
        self._bar.update()

    def show_loss(self, loss: float) -> None:
        """Show a loss from now on (to read one from the device at every update would make the device wait)."""
        self._loss = f"{loss:.3f}"
        self._write()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out of the speed what is done in between: a validation, a checkpoint."""
        yield
        self._ends.clear()

    def _write(self) -> None:
        shown = {"loss": self._loss} if self._loss else {}
        if len(self._ends) > 1:
            seconds = max(self._ends[-1] - self._ends[0], 1e-9)
            shown["samples_per_s"] = f"{self._samples_per_update * (len(self._ends) - 1) / seconds:.0f}"
        self._bar.set_postfix(shown, refresh=False)
