"""Jobs that run on a Ray cluster.

Each has a worker of its own on one of the nodes, for as long as it runs. The worker claims the job there, runs its
process, and marks the job as done; this process only says what is to run, and keeps the records. A job whose worker or
node is lost is given to another worker, and goes on from its checkpoint.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmf_muvla.artifacts.executors import GivenUp, open_ray_executor
from mmf_muvla.artifacts.lock import Claim
from mmf_muvla.artifacts.workers import worker_cores
from mmf_muvla.options.executors import JobExecutorOptions
from mmf_muvla.studies.executors import JobExecutor, RunningJob
from mmf_muvla.studies.jobs import Job
from mmf_muvla.studies.processes import Outcome, claim_of, finish, guarded_status, is_done, lock_of

if TYPE_CHECKING:
    from mmf_muvla.artifacts.ray_executor import Errand

# After its worker is lost, a job's processes end, and a file server notices that the node is gone and unlocks.
_SECONDS_TO_UNLOCK = 120
_SECONDS_TO_END = 30
_POLL_SECONDS = 0.2
# Variables that say which GPUs a process has; Ray sets them.
_GPUS = "_VISIBLE_DEVICES"


@dataclass(eq=False)
class _RemoteJob(RunningJob):
    job: Job
    errand: Errand[Outcome]

    def poll(self) -> Outcome | None:
        try:
            outcome = self.errand.poll()
        except GivenUp as error:
            outcome = Outcome(problem=f"{self.job.kind} {self.job.name}: {error}")
        if outcome is not None:
            self.errand.end()
        return outcome


class RayJobs(JobExecutor):
    """Processes on the nodes of a cluster, which have all files under the same paths.

    Args:
        options: the cluster, and what jobs need.
        num_workers: jobs at the same time; ``auto``: as many of a kind as the cluster has room for when the first of
            them is started.

    Raises:
        InputError: Ray is not installed.
    """

    def __init__(self, options: JobExecutorOptions, num_workers: object):
        self._executor = open_ray_executor(options, num_workers)
        self._room: dict[str, int] = {}

    def has_room(self, job: Job, running: Sequence[RunningJob]) -> bool:
        if self._executor.num_workers:
            return len(running) < self._executor.num_workers
        kind = _kind(job)
        if kind not in self._room:
            self._room[kind] = self._executor.room(kind)
        return sum(_kind(it.job) == kind for it in running) < self._room[kind]

    def start(self, job: Job, running: Sequence[RunningJob]) -> RunningJob | None:
        claim = claim_of(job)
        if claim is None:
            return None
        claim.release()  # the worker claims it
        task = (job, dict(os.environ))
        return _RemoteJob(job, self._executor.start(_run_job, task, kind=_kind(job), file=lock_of(job)))

    def stop(self, running: Iterable[RunningJob]) -> None:
        jobs = [it for it in running if isinstance(it, _RemoteJob)]
        for it in jobs:
            it.errand.end()
        deadline = time.monotonic() + _SECONDS_TO_END
        for it in jobs:
            if claim := _claim_by(deadline, it.job):
                claim.release()


def _kind(job: Job) -> str:
    return "finetune" if job.kind == "search" else job.kind


def _claim_by(deadline: float, job: Job) -> Claim | None:
    """Claim a job as soon as nobody has it; ``None`` where it is done, or somebody has it for longer."""
    while (claim := claim_of(job)) is None and not is_done(job) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return claim


def _run_job(_: None, task: tuple[Job, dict[str, str]]) -> Outcome:
    """What a worker does."""
    job, environment = task
    claim = _claim_by(time.monotonic() + _SECONDS_TO_UNLOCK, job)
    if claim is None:
        return Outcome(is_taken=True)
    environment = {"OMP_NUM_THREADS": str(worker_cores()), **environment}
    environment = {name: value for name, value in environment.items() if not name.endswith(_GPUS)}
    environment |= {name: value for name, value in os.environ.items() if name.endswith(_GPUS)}
    # The interpreter whose versions were compared.
    job = replace(job, command=(sys.executable, *job.command[1:]))
    return finish(job, claim, guarded_status(job, claim, environment))
