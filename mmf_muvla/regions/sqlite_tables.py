"""Tables that are made once and read by every worker."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any


def open_table(file: Path, is_finished: bool, **options: Any) -> sqlite3.Connection:
    """Open a table without locks, which not every file system has; a finished one is only read.

    ``options`` are those of :func:`sqlite3.connect`.
    """
    parameters = "&mode=ro&immutable=1" if is_finished else ""
    return sqlite3.connect(f"{file.absolute().as_uri()}?nolock=1{parameters}", uri=True, **options)
