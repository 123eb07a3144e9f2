"""Runs jobs: several at a time, each once, to the end."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from mmf_muvla.artifacts.artifact import Artifact
from mmf_muvla.artifacts.lock import Claim
from mmf_muvla.errors import MuvlaError
from mmf_muvla.studies.jobs import WEIGHTS, Job, with_needs
from mmf_muvla.studies.records import Records, record_of
from mmf_muvla.terminal import printable, terminal_console

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    claim: Claim
    place: int  # which of the jobs at the same time it is


@dataclass(eq=False)
class Runner:
    """Runs jobs, ``num_workers`` at the same time.

    A job is finished when a manifest beside its folder says so; what is finished is not run again. Its process holds
    its :class:`~mmf_muvla.artifacts.lock.Claim`, so that a job that outlived a killed runner is waited for and never
    runs twice at the same time. Jobs at the same time share the GPUs, which have the names that they have in
    ``CUDA_VISIBLE_DEVICES``; each has one at least, and a single one all of them.
    """

    records: Records
    num_workers: int
    console: Console = field(default_factory=terminal_console)
    gpus: Sequence[str] = ()

    def missing(self, wanted: Iterable[Job]) -> list[Job]:
        """What has to run for the wanted jobs to be on record, in an order in which it can, and nothing else."""
        return with_needs((job for job in wanted if self.records.get(job) is None), but=_is_done)

    def run(self, wanted: Iterable[Job], title: str) -> None:
        """Run what is missing; a :class:`MuvlaError` at the end where jobs have failed."""
        wanted = list(wanted)
        for job in with_needs(wanted):  # what other studies have run
            if job.kind != "step" and self.records.get(job) is None and _is_done(job):
                self.records.add(record_of(job, float(completion(job).state().seconds or 0)))
        missing = self.missing(wanted)
        if not missing:
            return
        waiting, running, failed = list(missing), list[_Running](), list[Job]()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        bars = Progress(*columns, *times, console=self.console, speed_estimate_period=3600)
        with _signals() as received, bars as progress:
            bar = progress.add_task(printable(title), total=len(missing))
            try:
                while waiting or running:
                    for it in [it for it in running if it.process.poll() is not None]:
                        running.remove(it)
                        if not self._finish(it):
                            failed.append(it.job)
                    waiting = self._start_what_can(waiting, running, failed)
                    names = ", ".join(it.job.name for it in running)
                    done = len(missing) - len(waiting) - len(running) - len(failed)
                    progress.update(bar, completed=done, description=printable(f"{title}: {names}" if names else title))
                    time.sleep(_POLL_SECONDS)
                    if received:
                        raise KeyboardInterrupt(received[0])
            except BaseException:
                _stop(running)
                raise
        if failed:
            listed = "; ".join(f"{job.kind} {job.name} (see {job.log})" for job in failed)
            remedy = "What is finished is kept; start again to go on"
            raise MuvlaError(f"{len(failed)} of the jobs failed: {listed}. {remedy}")

    def _start_what_can(self, waiting: list[Job], running: list[_Running], failed: list[Job]) -> list[Job]:
        """Start jobs whose needs are met, as long as there is room; what remains."""
        still: list[Job] = []
        in_the_way = {job.digest for job in [*waiting, *(it.job for it in running)]}
        for job in waiting:
            needs = {need.digest for need in job.needs}
            if not needs.isdisjoint(it.digest for it in failed):
                logger.warning("%s %s is left out: what it needs has failed", job.kind, job.name)
                failed.append(job)
            elif len(running) >= self.num_workers or not needs.isdisjoint(in_the_way):
                still.append(job)
            elif started := self._start(job, min({*range(self.num_workers)} - {it.place for it in running})):
                running.append(started)
            elif not _is_done(job):  # another runner, or a job that has outlived one, is at it
                still.append(job)
        return still

    def _start(self, job: Job, place: int) -> _Running | None:
        """Start a job; ``None`` where another process has it, or it is done by now."""
        claim = Claim.take(job.folder.with_name(f"{job.folder.name}.lock"), job.log)
        if claim is None:
            return None
        if _is_done(job):
            claim.finish()
            claim.release()
            return None
        with open(job.log, "ab") as log:
            log.write((json.dumps(job.command) + "\n").encode())
            log.flush()
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(place),
                pass_fds=[claim.fileno()],  # the lock is held until the process itself has ended
                start_new_session=True,
            )
        return _Running(job, process, claim, place)

    def _environment(self, place: int) -> dict[str, str]:
        """A job's share of the cores and GPUs. OMP_NUM_THREADS of the caller's counts: where others work on the same
        cores, several threads wait for each other, and a job can take eight times as long."""
        threads = str(max(1, (os.cpu_count() or 1) // self.num_workers))
        environment = {"OMP_NUM_THREADS": threads, **os.environ}
        if self.gpus:
            share = self.gpus[place :: self.num_workers] or [self.gpus[place % len(self.gpus)]]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share)
        return environment

    def _finish(self, it: _Running) -> bool:
        """Put a job that has ended on record; whether it ended well."""
        job, seconds = it.job, round(it.claim.seconds(), 1)
        try:
            if it.process.returncode != 0:
                raise MuvlaError(f"{job.kind} {job.name}, status {it.process.returncode}: {job.log}")
            it.claim.finish()
            keeps_weights = job.kind == "pretrain"
            if job.kind != "step":
                self.records.add(record_of(job, seconds))
                shutil.rmtree(job.folder / "models", ignore_errors=True)
                for name in ("current.ckpt", "best.ckpt", *([] if keeps_weights else [WEIGHTS])):
                    (job.folder / name).unlink(missing_ok=True)
            job.folder.mkdir(exist_ok=True)
            completion(job).seal({}, seconds, [f"../{job.folder.name}/{WEIGHTS}"] if keeps_weights else [])
        except MuvlaError as error:
            self.console.print(Text.assemble(("failed", "red"), f" {error}"))
            return False
        finally:
            it.claim.release()  # not before it is marked as done: another runner would start it
        if not self.console.is_terminal:
            self.console.print(f"{job.kind} {job.name}: {seconds:.0f} s")
        return True


def completion(job: Job) -> Artifact:
    """What says that a job is done, in a folder beside its own, and describes the weights of a pre-training."""
    return Artifact(job.folder.with_name(f"{job.folder.name}.done"), name="job", parameters={"digest": job.digest})


def _is_done(job: Job) -> bool:
    return job.folder.is_dir() and completion(job).state().done


def _stop(running: Iterable[_Running]) -> None:
    """End all jobs; their checkpoints stay, and the next start goes on from them."""
    for it in running:
        os.killpg(it.process.pid, signal.SIGTERM)
    for it in running:
        try:
            it.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(it.process.pid, signal.SIGKILL)
            it.process.wait()
        it.claim.release()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    import torch  # takes longer than all else that a study's command does before it starts a job

    return [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM for later: one that broke into the start of a job would leave its process behind."""
    received: list[int] = []
    stops = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(stop, lambda number, frame: received.append(number)) for stop in stops]
    try:
        yield received
    finally:
        for stop, handler in zip(stops, before, strict=True):
            signal.signal(stop, handler)
