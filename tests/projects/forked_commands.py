"""Runs command lines of Python as forks of this process. Run by the fixture ``forked``.

    python tests/projects/forked_commands.py OUTPUT

Reads a command line from each line of stdin, a JSON list; what it says goes to the file OUTPUT, and its exit status to
stdout. The processes that a study starts are forks, too: PyTorch, MMF, spaCy and the like take longer to import than a
tiny job to run, and are imported once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import IO, Any

from mmf.utils.env import setup_imports

from mmf_muvla.studies import runner

ALSO_WANTED = (
    *("matplotlib.pyplot", "mmf_cli.run", "scipy.stats", "sentence_transformers", "spacy"),
    *("mmf_muvla.pairing.build", "mmf_muvla.studies.command", "mmf_muvla.toyworld.command"),
)


class Fork:
    """As much of ``subprocess.Popen`` as a study needs, for ``python FILE …`` and ``python -m MODULE …``."""

    def __init__(self, command: Sequence[str], *, stdout: IO[bytes], env: dict[str, str], **_: Any):
        arguments = (list(command[1:]), stdout.fileno(), env)
        self._process = multiprocessing.get_context("fork").Process(target=_work, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0.0)
        return self._process.exitcode


def _work(arguments: list[str], output: int, env: dict[str, str]) -> None:
    os.setsid()
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.clear()
    os.environ.update(env)
    is_module = arguments[0] == "-m"
    sys.argv = arguments[is_module:]
    (runpy.run_module if is_module else runpy.run_path)(sys.argv[0], run_name="__main__")


def main() -> None:
    for name in ALSO_WANTED:
        import_module(name)
    setup_imports()
    runner.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": Fork})  # type: ignore[assignment]
    with open(sys.argv[1], "ab") as output:
        for line in sys.stdin:
            print(Fork(json.loads(line), stdout=output, env=dict(os.environ)).wait(), flush=True)


if __name__ == "__main__":
    main()
