"""Runs jobs: several at a time, each once, to the end."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from mmf_muvla.artifacts.files import read_json, write_json
from mmf_muvla.errors import MuvlaError
from mmf_muvla.studies.jobs import WEIGHTS, Job, with_needs
from mmf_muvla.studies.records import Records, record_of
from mmf_muvla.terminal import printable, terminal_console

logger = logging.getLogger(__name__)

_DONE = "done.json"
_POLL_SECONDS = 0.5
# Weights and optimizer states of a run that is on record; its configuration, history, log and results stay.
_REMOVED_AFTERWARDS = ("models", "current.ckpt", "best.ckpt")


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    lock: IO[bytes]
    place: int  # which of the jobs at the same time it is
    before: float  # seconds of earlier parts
    start: float


class Runner:
    """Runs jobs.

    A job is finished when its folder says so (``done.json``); what is finished is not run again. Its process holds a
    lock, so that a job which outlived a killed runner is waited for and never runs twice at the same time.

    Args:
        records: where the results of runs are kept.
        num_workers: jobs at the same time.
        console: where progress is shown.
        gpus: the GPUs, as ``CUDA_VISIBLE_DEVICES`` names them. Jobs at the same time share them, and have one at least;
            a single job at a time has all of them.
    """

    def __init__(self, records: Records, num_workers: int, console: Console | None = None, gpus: Sequence[str] = ()):
        self.records = records
        self.num_workers = num_workers
        self.console = console or terminal_console()
        self.gpus = gpus
        self._threads = max(1, (os.cpu_count() or 1) // num_workers)

    def missing(self, wanted: Iterable[Job]) -> list[Job]:
        """What has to run for the wanted jobs to be on record, in an order in which it can.

        A job that only others need, such as a pre-training whose fine-tunings are all on record, is left out.
        """
        chosen: dict[str, Job] = {}

        def add(job: Job) -> None:
            if job.digest in chosen or self._is_done(job):
                return
            chosen[job.digest] = job
            for other in job.needs:
                add(other)

        for job in wanted:
            if self.records.get(job) is None:
                add(job)
        return [job for job in with_needs(chosen.values()) if job.digest in chosen]

    def run(self, wanted: Iterable[Job], title: str) -> None:
        """Run what is missing.

        Raises:
            MuvlaError: some jobs failed. All others that could be run have been.
        """
        wanted = list(wanted)
        self._recall(wanted)
        waiting = self.missing(wanted)
        if not waiting:
            return
        running: list[_Running] = []
        failed: list[Job] = []
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        bars = Progress(*columns, TimeRemainingColumn(), console=self.console, speed_estimate_period=3600)
        with _signals() as received, bars as progress:
            bar = progress.add_task(printable(title), total=len(waiting))
            try:
                while waiting or running:
                    ended = [it for it in running if it.process.poll() is not None]
                    for it in ended:
                        running.remove(it)
                        if self._finish(it):
                            progress.advance(bar)
                        else:
                            failed.append(it.job)
                    waiting = self._start_what_can(waiting, running, failed, lambda: progress.advance(bar))
                    names = ", ".join(it.job.name for it in running)
                    progress.update(bar, description=printable(f"{title}: {names}" if names else title))
                    time.sleep(_POLL_SECONDS)
                    if received:
                        raise KeyboardInterrupt(received[0])
            except BaseException:
                self._stop(running)
                raise
        if failed:
            listed = "; ".join(f"{job.kind} {job.name} (see {job.log})" for job in failed)
            raise MuvlaError(
                f"{len(failed)} of the jobs failed: {listed}. What is finished is kept; start again to go on"
            )

    def _recall(self, wanted: Iterable[Job]) -> None:
        """Put on record what other studies have run."""
        for job in with_needs(wanted):
            done = read_json(job.folder / _DONE) if job.kind != "step" and self.records.get(job) is None else None
            if done is not None:
                self.records.add(record_of(job, float(done["seconds"])))

    def _is_done(self, job: Job) -> bool:
        if not (job.folder / _DONE).is_file():
            return False
        # The weights of a fine-tuning are not kept, and nobody needs them.
        return job.kind != "pretrain" or (job.folder / WEIGHTS).is_file()

    def _start_what_can(
        self, waiting: list[Job], running: list[_Running], failed: list[Job], finished: Callable[[], None]
    ) -> list[Job]:
        """Start jobs whose needs are met, as long as there is room; what remains."""
        still: list[Job] = []
        in_the_way = {job.digest for job in [*waiting, *(it.job for it in running)]}
        broken = {job.digest for job in failed}
        for job in waiting:
            if any(need.digest in broken for need in job.needs):
                logger.warning("%s %s is left out: what it needs has failed", job.kind, job.name)
                failed.append(job)
                broken.add(job.digest)
            elif len(running) >= self.num_workers or any(need.digest in in_the_way for need in job.needs):
                still.append(job)
            elif (started := self._start(job, self._free_place(running))) is None:
                # Another runner, or a job that has outlived one, is at it.
                if self._is_done(job):
                    finished()
                else:
                    still.append(job)
            else:
                running.append(started)
        return still

    def _free_place(self, running: Iterable[_Running]) -> int:
        return min({*range(self.num_workers)} - {it.place for it in running})

    def _environment(self, place: int) -> dict[str, str]:
        """A job's share of the cores and GPUs."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads)}
        if self.gpus:
            share = self.gpus[place :: self.num_workers] or [self.gpus[place % len(self.gpus)]]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share)
        return environment

    def _start(self, job: Job, place: int) -> _Running | None:
        """Start a job; ``None`` where another process has it."""
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(job.folder.with_name(f"{job.folder.name}.lock"), "ab+")  # noqa: SIM115 - open as long as the job runs
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        if self._is_done(job):
            lock.close()
            return None
        before = _seconds_before(job, lock)
        _note(lock, {"seconds": before, "start": time.time()})
        with open(job.log, "ab") as log:
            log.write((json.dumps(job.command) + "\n").encode())
            log.flush()
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(place),
                pass_fds=[lock.fileno()],  # the lock is held until the process itself has ended
                start_new_session=True,
            )
        return _Running(job, process, lock, place, before, time.perf_counter())

    def _finish(self, it: _Running) -> bool:
        """Put a job that has ended on record; whether it ended well."""
        seconds = it.before + time.perf_counter() - it.start
        job = it.job
        with it.lock:  # until it is marked as done: another runner would start it
            if it.process.returncode != 0:
                self._print_failure(f"{job.kind} {job.name}, status {it.process.returncode}: {job.log}")
                return False
            _note(it.lock, {})  # were it run again, it would count from nought
            if job.kind != "step":
                try:
                    self.records.add(record_of(job, round(seconds, 1)))
                except MuvlaError as error:
                    self._print_failure(str(error))
                    return False
                _remove(job.folder, (*_REMOVED_AFTERWARDS, *(() if job.kind == "pretrain" else (WEIGHTS,))))
            job.folder.mkdir(exist_ok=True)
            write_json(job.folder / _DONE, {"command": list(job.command), "seconds": round(seconds, 1)})
        if not self.console.is_terminal:
            self.console.print(f"{job.kind} {job.name}: {seconds:.0f} s")
        return True

    def _print_failure(self, what: str) -> None:
        self.console.print(Text.assemble(("failed", "red"), f" {what}"))

    def _stop(self, running: list[_Running]) -> None:
        """End all jobs; their checkpoints stay, and the next start goes on from them."""
        for it in running:
            os.killpg(it.process.pid, signal.SIGTERM)
        for it in running:
            try:
                it.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(it.process.pid, signal.SIGKILL)
                it.process.wait()
            it.lock.close()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    import torch  # takes longer than all else that a study's command does before it starts a job

    return [str(number) for number in range(torch.cuda.device_count())]


def _note(lock: IO[bytes], content: dict[str, float]) -> None:
    lock.truncate(0)
    lock.write(json.dumps(content).encode())
    lock.flush()


def _seconds_before(job: Job, lock: IO[bytes]) -> float:
    """What the parts of a job took that were interrupted: each from its start, as its lock says, to its last output."""
    noted = read_json(Path(lock.name))
    if not noted or not job.log.is_file():
        return 0.0
    return float(noted["seconds"] + max(0.0, job.log.stat().st_mtime - noted["start"]))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, which a shell or a scheduler sends, until somebody has time for them.

    A signal that broke into the start of a job would leave its process behind.
    """
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
