"""What tests of whole commands share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[[Sequence[str]], None]


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Runs command lines as forks of one process."""
    output = tmp_path_factory.mktemp("forked") / "output"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, str(Path(__file__).with_name("forked_commands.py")), str(output)]
    with subprocess.Popen(
        program, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        status, says = process.stdout, process.stdin

        def run(arguments: Sequence[str]) -> None:
            print(json.dumps(["python", *arguments]), file=says, flush=True)
            assert status.readline() == "0\n", output.read_text()

        yield run
        says.close()
