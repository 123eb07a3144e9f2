"""Whole commands as forks of one process that has imported everything: seconds instead of ten each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Forked:
    """Runs command lines as ``subprocess.run`` does: ``python FILE …``, ``-m MODULE …``, or a script of Python."""

    process: subprocess.Popen[str]
    folder: Path
    number: Iterator[int] = field(default_factory=count)

    def run(
        self, command: Sequence[object], cwd: Path = ROOT, num_processes: int = 1
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, and give its status and what it said. Several processes are told of each other as torchrun
        does it, on CPUs."""
        words = [str(word) for word in command]
        stdout, stderr = (self.folder / f"{next(self.number)}.{name}" for name in ("stdout", "stderr"))
        environments = [{}] if num_processes == 1 else _ranks(num_processes)
        files = {"stdout": str(stdout), "stderr": str(stderr)}
        assert self.process.stdin is not None and self.process.stdout is not None
        request = {"command": words, "cwd": str(cwd), "environments": environments, **files}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        status = self.process.stdout.readline()
        assert status, "the process that forks has ended"
        return subprocess.CompletedProcess(words, int(status), stdout.read_text(), stderr.read_text())

    def __call__(self, command: Sequence[object], cwd: Path = ROOT, num_processes: int = 1) -> str:
        """Run a command that has to succeed; what it said."""
        done = self.run(command, cwd, num_processes)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr


def _ranks(world_size: int) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world_size)}
    return [{**group, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world_size)]


@contextmanager
def forking_process(folder: Path) -> Iterator[Forked]:
    """The process that forks, with what commands say kept in a folder."""
    # Where users put the folder of a package of theirs; here, that of the tests.
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    program = [sys.executable, str(Path(__file__).with_name("forked_commands.py"))]
    with subprocess.Popen(
        program, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Forked(process, folder)
        assert process.stdin is not None
        process.stdin.close()
