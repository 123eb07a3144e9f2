"""Locks that end with the process that holds them, however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mmf_muvla.artifacts.files import read_json
from mmf_muvla.errors import InputError


@contextmanager
def locked(path: Path, refusal: InputError) -> Iterator[None]:
    """Lock a folder or a file that is there; raise ``refusal`` where another process has, or has just renamed it."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal from error
        if not path.exists() or not os.path.samestat(os.fstat(handle), path.stat()):
            raise refusal
        yield
    finally:
        os.close(handle)


@dataclass
class Claim:
    """A job that one process at a time works on, in parts where it is interrupted.

    The lock is held until the last process has ended that has its file open. Give :meth:`fileno` to a child process,
    and a job that outlives the process that started it is not begun a second time.
    """

    file: IO[bytes]  # the lock, in which the claim's start is noted
    before: float  # seconds of the parts that were interrupted
    started: float  # of this part, by ``time.perf_counter``

    @classmethod
    def take(cls, path: Path, last_sign: Path) -> Claim | None:
        """Claim a job by its lock's file; ``None`` where another process has it.

        An interrupted part ended when ``last_sign``, its log say, was last written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab+")  # noqa: SIM115 - open as long as the job runs
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        noted = read_json(path)
        before = 0.0
        if noted and last_sign.is_file():
            before = float(noted["seconds"] + max(0.0, last_sign.stat().st_mtime - noted["start"]))
        claim = cls(file, before, time.perf_counter())
        claim._note({"seconds": before, "start": time.time()})
        return claim

    def fileno(self) -> int:
        """For ``pass_fds`` of a child process."""
        return self.file.fileno()

    def seconds(self) -> float:
        """What the job has taken so far, interrupted parts included."""
        return self.before + time.perf_counter() - self.started

    def finish(self) -> None:
        """The job has ended well: were it done again, it would count from zero. The lock is still held."""
        self._note({})

    def release(self) -> None:
        """Let another process have it, unless a child still does."""
        self.file.close()

    def _note(self, content: dict[str, float]) -> None:
        self.file.truncate(0)
        self.file.write(json.dumps(content).encode())
        self.file.flush()
