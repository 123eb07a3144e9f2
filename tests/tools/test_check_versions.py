"""What the script for the oldest and newest releases refuses; making an environment takes too long for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("set=oldest", "command line: set=oldest: unknown value. Use one of lowest, newest"),
        ("python=python1.4", "python=python1.4: no such interpreter"),
        ("mmf=tests", "mmf=tests: is no clone of MMF"),
    ],
)
def test_options_that_cannot_be_used_are_named(option: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "tools/check_versions.py", option], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")


def test_the_tests_that_it_runs_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from check_versions import TESTS

    assert [name for name in TESTS if not (ROOT / name).exists()] == []
