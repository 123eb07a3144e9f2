"""Runs command lines of Python as forks of this process. Run by the fixture ``forked``.

    python tests/forked_commands.py

Each line of stdin is a request in JSON (see :func:`answer`), and each of stdout a command's exit status. The processes
that a study starts are forks, too: PyTorch, MMF, spaCy and the like take longer to import than a tiny job to run, and
are imported once.
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
from multiprocessing.connection import wait
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from mmf.utils.env import setup_imports

from mmf_muvla.studies import runner

ALSO_WANTED = (
    *("matplotlib.pyplot", "mmf_cli.predict", "mmf_cli.run", "scipy.stats", "sentence_transformers", "spacy"),
    *("mmf_muvla.pairing.build", "mmf_muvla.studies.command", "mmf_muvla.toyworld.command"),
)


class Fork:
    """As much of ``subprocess.Popen`` as a study needs, for ``python FILE …``, ``python -m MODULE …`` and scripts of
    Python that are called by their name."""

    def __init__(self, command: Sequence[str], *, stdout: IO[Any], stderr: Any, env: dict[str, str], **others: Any):
        arguments = list(command[1:] if command[0] == sys.executable else command)
        streams = (stdout.fileno(), (stdout if stderr == subprocess.STDOUT else stderr).fileno())
        given = (arguments, streams, env, others.get("cwd"))
        self.process = multiprocessing.get_context("fork").Process(target=_work, args=given)
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0.0)
        return self.process.exitcode


def _work(arguments: list[str], streams: tuple[int, int], env: dict[str, str], cwd: str | None) -> None:
    os.setsid()
    for stream, file in zip((1, 2), streams, strict=True):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd or ".")
    is_module = arguments[0] == "-m"
    sys.argv = arguments[is_module:]
    sys.path[0] = os.getcwd() if is_module else str(Path(sys.argv[0]).resolve().parent)
    try:
        (runpy.run_module if is_module else runpy.run_path)(sys.argv[0], run_name="__main__")
    except Exception:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]  # as Python does; MMF's errors are one line by that
        sys.exit(1)


def answer(request: dict[str, Any]) -> int:
    """Run a command in the folder ``cwd``, once with each of the ``environments`` at the same time, with its output in
    the files ``stdout`` and ``stderr``. Where one of the processes fails the others are ended; its status, or 0."""
    with open(request["stdout"], "ab") as stdout, open(request["stderr"], "ab") as stderr:
        forks = [
            Fork(request["command"], stdout=stdout, stderr=stderr, env={**os.environ, **more}, cwd=request["cwd"])
            for more in request["environments"]
        ]
    running = {fork.process.sentinel: fork for fork in forks}
    while running:
        for sentinel in wait(list(running)):
            status = running.pop(sentinel).wait()  # type: ignore[arg-type]
            if status:
                for other in running.values():
                    other.process.kill()
                    other.wait()
                return status
    return 0


def main() -> None:
    for name in ALSO_WANTED:
        import_module(name)
    setup_imports()
    runner.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": Fork})  # type: ignore[assignment]
    for line in sys.stdin:
        print(answer(json.loads(line)), flush=True)
    os._exit(0)  # an interpreter that has imported all this takes seconds to end


if __name__ == "__main__":
    main()
