"""The process of a job, on the machine that it runs on, from the claim to the mark that says that the job is done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmf_muvla.artifacts.artifact import Artifact
from mmf_muvla.artifacts.lock import Claim
from mmf_muvla.errors import MuvlaError
from mmf_muvla.studies.jobs import WEIGHTS, Job
from mmf_muvla.studies.records import Record, record_of

# A process of the job's group that ends it all when a pipe is closed at its other end, and goes when that says a word.
# The pipe is the shell's standard input, which a process in the background is not given.
_GUARDED = 'exec {n}<&0 </dev/null; (read -r _ <&{n} || kill -KILL 0) & exec "$@" {n}<&-'

_SECONDS_TO_BE_KILLED = 30


@dataclass(frozen=True)
class Outcome:
    """How a job has ended."""

    seconds: float = 0.0  # interrupted parts included
    record: Record | None = None  # steps have none
    problem: str = ""  # why it has failed, if it has
    is_taken: bool = False  # it was not run: another process has it, or it was done by then


def claim_of(job: Job) -> Claim | None:
    """Claim a job; ``None`` where another process has it, or it is done."""
    claim = Claim.take(lock_of(job), job.log)
    if claim is not None and is_done(job):
        claim.finish()
        claim.release()
        return None
    return claim


def start_process(
    job: Job, claim: Claim, environment: Mapping[str, str], guard: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a job in a session of its own, with its output added to the job's log.

    Args:
        job: what to start.
        claim: the job's, which is held until the process has ended, whatever becomes of this one.
        environment: all variables.
        guard: end of a pipe to read from; where its other end is closed without a word, all processes of the job end.
    """
    command = job.command
    if guard is not None:
        free = 8 if claim.fileno() == 9 else 9
        command = ("/bin/sh", "-c", _GUARDED.format(n=free), "sh", *command)
    with open(job.log, "ab") as log:
        log.write((json.dumps(job.command) + "\n").encode())
        log.flush()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if guard is None else guard,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[claim.fileno()],
            start_new_session=True,
        )


def guarded_status(job: Job, claim: Claim, environment: Mapping[str, str]) -> int:
    """Run a job to its end; its exit status. However this process ends, all of the job's processes end with it."""
    to_read, to_write = os.pipe()
    try:
        status = start_process(job, claim, environment, to_read).wait()
        if status == -signal.SIGKILL:
            # Ray kills the children of a worker before the worker itself: then nothing comes after this.
            time.sleep(_SECONDS_TO_BE_KILLED)
        else:
            os.write(to_write, b"\n")
    finally:
        os.close(to_write)
        os.close(to_read)
    return status


def finish(job: Job, claim: Claim, status: int) -> Outcome:
    """Read what a job has left, remove what nobody needs, mark it as done, and release it."""
    seconds, record = round(claim.seconds(), 1), None
    try:
        if status != 0:
            raise MuvlaError(f"{job.kind} {job.name}, status {status}: {job.log}")
        claim.finish()
        keeps_weights = job.kind == "pretrain"
        if job.kind != "step":
            record = record_of(job, seconds)
            shutil.rmtree(job.folder / "models", ignore_errors=True)
            for name in ("current.ckpt", "best.ckpt", *([] if keeps_weights else [WEIGHTS])):
                (job.folder / name).unlink(missing_ok=True)
        job.folder.mkdir(exist_ok=True)
        completion(job).seal({}, seconds, [f"../{job.folder.name}/{WEIGHTS}"] if keeps_weights else [])
    except MuvlaError as error:
        return Outcome(problem=str(error))
    finally:
        claim.release()  # not before it is marked as done: another runner would start it
    return Outcome(seconds, record)


def lock_of(job: Job) -> Path:
    """The file that a claim locks."""
    return job.folder.with_name(f"{job.folder.name}.lock")


def completion(job: Job) -> Artifact:
    """What says that a job is done, in a folder beside its own, and describes the weights of a pre-training."""
    return Artifact(job.folder.with_name(f"{job.folder.name}.done"), name="job", parameters={"digest": job.digest})


def is_done(job: Job) -> bool:
    """Whether a job has been run to its end, and what it left is there."""
    return job.folder.is_dir() and completion(job).state().done
