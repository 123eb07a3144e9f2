"""Where the jobs of a study run."""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mmf_muvla.artifacts.lock import Claim
from mmf_muvla.studies.jobs import Job
from mmf_muvla.studies.processes import Outcome, claim_of, finish, start_process

_SECONDS_TO_END = 10


class RunningJob(ABC):
    """A job that has been started."""

    job: Job

    @abstractmethod
    def poll(self) -> Outcome | None:
        """How it has ended, once it has."""


class JobExecutor(ABC):
    """Runs jobs, several at the same time, somewhere."""

    @abstractmethod
    def has_room(self, job: Job, running: Sequence[RunningJob]) -> bool:
        """Whether one more can be started beside those that run; an :class:`InputError` where it never can."""

    @abstractmethod
    def start(self, job: Job, running: Sequence[RunningJob]) -> RunningJob | None:
        """Start a job; ``None`` where another process has it, or it is done by now."""

    @abstractmethod
    def stop(self, running: Iterable[RunningJob]) -> None:
        """End jobs: when this returns, none writes any more. Their checkpoints stay, and the next start goes on."""


@dataclass(eq=False)
class _LocalJob(RunningJob):
    job: Job
    claim: Claim
    process: subprocess.Popen[bytes]
    place: int  # which of the jobs at the same time it is

    def poll(self) -> Outcome | None:
        status = self.process.poll()
        return None if status is None else finish(self.job, self.claim, status)


@dataclass(frozen=True)
class LocalJobs(JobExecutor):
    """Processes of this machine.

    They hold their :class:`~mmf_muvla.artifacts.lock.Claim`, so that a job that outlived a killed runner is waited for
    and never runs twice at the same time. Jobs at the same time share the GPUs, which have the names that they have in
    ``CUDA_VISIBLE_DEVICES``; each has one at least, and a single one all of them.
    """

    num_workers: int = 1
    gpus: Sequence[str] = field(default=())

    def has_room(self, job: Job, running: Sequence[RunningJob]) -> bool:
        return len(running) < self.num_workers

    def start(self, job: Job, running: Sequence[RunningJob]) -> RunningJob | None:
        claim = claim_of(job)
        if claim is None:
            return None
        place = min({*range(self.num_workers)} - {it.place for it in running if isinstance(it, _LocalJob)})
        return _LocalJob(job, claim, start_process(job, claim, self.environment(place)), place)

    def stop(self, running: Iterable[RunningJob]) -> None:
        jobs = [it for it in running if isinstance(it, _LocalJob)]
        for it in jobs:
            if it.process.poll() is None:
                os.killpg(it.process.pid, signal.SIGTERM)
        for it in jobs:
            try:
                it.process.wait(timeout=_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                os.killpg(it.process.pid, signal.SIGKILL)
                it.process.wait()
            it.claim.release()

    def environment(self, place: int) -> dict[str, str]:
        """A job's share of the cores and GPUs. OMP_NUM_THREADS of the caller's counts: where others work on the same
        cores, several threads wait for each other, and a job can take eight times as long."""
        threads = str(max(1, (os.cpu_count() or 1) // self.num_workers))
        environment = {"OMP_NUM_THREADS": threads, **os.environ}
        if self.gpus:
            share = self.gpus[place :: self.num_workers] or [self.gpus[place % len(self.gpus)]]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share)
        return environment


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    import torch  # takes longer than all else that a study's command does before it starts a job

    return [str(number) for number in range(torch.cuda.device_count())]
