"""Runs jobs: several at a time, each once, to the end."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from mmf_muvla.errors import MuvlaError
from mmf_muvla.studies.executors import JobExecutor, RunningJob
from mmf_muvla.studies.jobs import Job, with_needs
from mmf_muvla.studies.processes import Outcome, completion, is_done
from mmf_muvla.studies.records import Records, record_of
from mmf_muvla.terminal import printable, terminal_console

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


@dataclass(eq=False)
class Runner:
    """Runs jobs, each when what it needs is done.

    A job is finished when a manifest beside its folder says so; what is finished is not run again.
    """

    records: Records
    executor: JobExecutor
    console: Console = field(default_factory=terminal_console)

    def missing(self, wanted: Iterable[Job]) -> list[Job]:
        """What has to run for the wanted jobs to be on record, in an order in which it can, and nothing else."""
        return with_needs((job for job in wanted if self.records.get(job) is None), but=is_done)

    def run(self, wanted: Iterable[Job], title: str) -> None:
        """Run what is missing; a :class:`MuvlaError` at the end where jobs have failed."""
        wanted = list(wanted)
        self._take_over(wanted)
        missing = self.missing(wanted)
        if not missing:
            return
        waiting, running, failed = list(missing), list[RunningJob](), list[Job]()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        bars = Progress(*columns, *times, console=self.console, speed_estimate_period=3600)
        with _signals() as received, bars as progress:
            bar = progress.add_task(printable(title), total=len(missing))
            try:
                while waiting or running:
                    for it in list(running):
                        outcome = it.poll()
                        if outcome is None:
                            continue
                        running.remove(it)
                        if outcome.is_taken:
                            waiting.insert(0, it.job)
                        elif not self._put_on_record(it.job, outcome):
                            failed.append(it.job)
                    waiting = self._start_what_can(waiting, running, failed)
                    names = ", ".join(it.job.name for it in running)
                    done = len(missing) - len(waiting) - len(running) - len(failed)
                    progress.update(bar, completed=done, description=printable(f"{title}: {names}" if names else title))
                    time.sleep(_POLL_SECONDS)
                    if received:
                        raise KeyboardInterrupt(received[0])
            except BaseException:
                self.executor.stop(running)
                raise
        self._take_over(wanted)
        if failed:
            listed = "; ".join(f"{job.kind} {job.name} (see {job.log})" for job in failed)
            remedy = "What is finished is kept; start again to go on"
            raise MuvlaError(f"{len(failed)} of the jobs failed: {listed}. {remedy}")

    def _start_what_can(self, waiting: list[Job], running: list[RunningJob], failed: list[Job]) -> list[Job]:
        """Start jobs whose needs are met, as long as there is room; what remains."""
        still: list[Job] = []
        in_the_way = {job.digest for job in [*waiting, *(it.job for it in running)]}
        for job in waiting:
            needs = {need.digest for need in job.needs}
            if not needs.isdisjoint(it.digest for it in failed):
                logger.warning("%s %s is left out: what it needs has failed", job.kind, job.name)
                failed.append(job)
            elif not needs.isdisjoint(in_the_way) or not self.executor.has_room(job, running):
                still.append(job)
            elif started := self.executor.start(job, running):
                running.append(started)
            elif not is_done(job):  # another runner, or a job that has outlived one, is at it
                still.append(job)
        return still

    def _put_on_record(self, job: Job, outcome: Outcome) -> bool:
        """Note how a job has ended; whether it ended well."""
        if outcome.problem:
            self.console.print(Text.assemble(("failed", "red"), f" {outcome.problem}"))
            return False
        if outcome.record:
            self.records.add(outcome.record)
        if not self.console.is_terminal:
            self.console.print(f"{job.kind} {job.name}: {outcome.seconds:.0f} s")
        return True

    def _take_over(self, wanted: Iterable[Job]) -> None:
        """Put on record what other runners have done."""
        for job in with_needs(wanted):
            if job.kind != "step" and self.records.get(job) is None and is_done(job):
                self.records.add(record_of(job, float(completion(job).state().seconds or 0)))


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
