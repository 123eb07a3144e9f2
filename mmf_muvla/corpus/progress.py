"""Progress bars that suit a terminal and a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int | None, description: str, unit: str) -> Any:
    """A progress bar with rate and remaining time; advance it with ``update``, close it with ``with``."""
    # In a log file every refresh is a line of its own.
    interval = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, desc=description, unit=unit, mininterval=interval, dynamic_ncols=True, smoothing=0.05)
