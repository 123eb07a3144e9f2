"""The progress bar of a training: updates, loss, samples per second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_WINDOW = 20  # updates over which the speed is taken: enough to be steady, few enough to be current


class Throughput:
    """Samples per second over the last ``window`` updates, from the clock alone: no device is waited for."""

    def __init__(self, window: int = _WINDOW):
        self._ends: deque[tuple[float, int]] = deque(maxlen=window + 1)
        self._samples = 0

    def add(self, samples: int, now: float) -> None:
        """Take in an update of so many samples that ended ``now`` (seconds of any clock)."""
        self._samples += samples
        self._ends.append((now, self._samples))

    def forget(self) -> None:
        """Start anew: what comes next is not to be measured with what was before."""
        self._ends.clear()

    def per_second(self) -> float | None:
        """Samples per second; ``None`` before there are two updates to measure between."""
        if len(self._ends) < 2:
            return None
        (start, before), (end, after) = self._ends[0], self._ends[-1]
        return (after - before) / max(end - start, 1e-9)


class UpdateBar:
    """A bar that advances with every update; use it in a ``with`` statement.

    Args:
        total: updates of the whole run.
        done: updates before this start.
        samples_per_update: of all processes together.
        shown: False on all processes but the first.
    """

    def __init__(self, total: int, done: int, samples_per_update: int, shown: bool):
        self._samples_per_update = samples_per_update
        self._throughput = Throughput()
        self._loss = ""
        self._bar = tqdm(total=total, initial=done, unit="update", disable=None if shown else True)

    def __enter__(self) -> UpdateBar:
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()

    def update(self) -> None:
        """Advance by one update."""
        self._throughput.add(self._samples_per_update, time.perf_counter())
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
        self._throughput.forget()

    def _write(self) -> None:
        speed = self._throughput.per_second()
        shown = {"loss": self._loss, "samples_per_s": "" if speed is None else f"{speed:.0f}"}
        self._bar.set_postfix({name: value for name, value in shown.items() if value}, refresh=False)
