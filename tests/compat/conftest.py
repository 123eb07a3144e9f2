"""Real processes: each test of the layer needs an interpreter of its own, since MMF is patched while it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``python`` with the given arguments in an empty folder, and return what it printed."""

    def run_python(
        *arguments: str, skip: str = "", cwd: Path = tmp_path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MMF_MUVLA_COMPAT_SKIP": skip, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run_python
