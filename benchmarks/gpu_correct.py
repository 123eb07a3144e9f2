"""Whole runs on a GPU, as users start them: do they go through, and do they agree?

Each job is a process of its own with a folder of its own, so that they can run beside each other.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

TASKS = ("vqa2", "nlvr2", "visual_entailment", "refcoco_plus")
# Losses of the same updates, computed by one process and by several: only rounding differs.
AGREEMENT = 1e-3
WEIGHTS = "muvla_final.safetensors"
KILL_AFTER = 10  # updates
LINES_OF_ERROR = 25


@dataclass(frozen=True)
class Jobs:
    """How commands are run: ``run`` stands before them (see ``gpu.py``); of ``tiny`` ones there is little."""

    run: list[str]
    work: Path
    device: str
    tiny: bool = False

    def mmf_run(self, config: str, name: str, *options: str, launcher: tuple[str, ...] = ()) -> list[str]:
        """A command that trains, and leaves its results in the folder ``name``."""
        command = [*launcher, shutil.which("mmf_run") or "mmf_run"]
        where = [f"env.save_dir={self.work / name}", f"training.device={self.device}", "training.num_workers=1"]
        return [
            *self.run,
            *command,
            f"config=projects/muvla/{config}.yaml",
            *options,
            *where,
        ]

    def updates(self, count: int) -> list[str]:
        """Options for a run of so many updates that is not validated before its end."""
        count = max(4, count // 10) if self.tiny else count
        return [
            f"training.max_updates={count}",
            f"training.log_interval={max(1, count // 5)}",
            "training.evaluation_interval=1000000",
            "training.checkpoint_interval=1000000",
            *(["training.batch_size=8"] if self.tiny else []),
        ]

    def precision(self, name: str) -> str:
        """On a CPU, on which this is only tried, always float32."""
        return f"training.precision={'fp32' if self.device == 'cpu' else name}"


Job = Callable[[Jobs], dict[str, Any]]


def correct_jobs() -> dict[str, Job]:
    """Name -> what is done, slow ones first. Returned is what there is to say; what fails raises."""
    jobs: dict[str, Job] = {
        "tests_compiled": lambda jobs: pytest(jobs, "tests/gpu/test_numbers.py", "-k", "compiled"),
        "tests_numbers": lambda jobs: pytest(jobs, "tests/gpu/test_numbers.py", "-k", "not compiled"),
        "tests_killed": lambda jobs: pytest(jobs, "tests/gpu/test_training.py", "-k", "killed"),
        "tests_waiting": lambda jobs: pytest(jobs, "tests/gpu/test_training.py", "-k", "not killed"),
        "tests_others": lambda jobs: pytest(jobs, "tests/gpu/test_layout.py", "tests/gpu/test_search.py"),
        "resume": kill_and_resume,
        "torchrun": torchrun,
    }
    for precision in ("bf16", "fp16"):
        jobs[f"pretraining_{precision}"] = partial(pretraining, precision=precision)
        jobs |= {f"{task}_{precision}": partial(fine_tuning, task=task, precision=precision) for task in TASKS}
    return jobs


def pytest(jobs: Jobs, *arguments: str) -> dict[str, Any]:
    """The tests for GPUs; on a CPU they test themselves."""
    environment = {**os.environ, **({"GPU_TESTS_ON": "cpu"} if jobs.device == "cpu" else {})}
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short", "--durations=3"]
    text = finish(start([*jobs.run, sys.executable, "-m", "pytest", *options, *arguments], environment))
    return {"result": text.strip().splitlines()[-1].strip("= ")}


def pretraining(jobs: Jobs, precision: str) -> dict[str, Any]:
    """The pre-training on the toy world; its loss must fall."""
    name = f"pretraining_{precision}"
    finish(start(jobs.mmf_run("pretrain_toyworld", name, "@pretrain", *jobs.updates(50), jobs.precision(precision))))
    told = told_by_history(jobs.work / name)
    if not told["last_loss"] < told["first_loss"]:
        raise ValueError(f"the loss does not fall: {told}")
    return told


def fine_tuning(jobs: Jobs, task: str, precision: str) -> dict[str, Any]:
    """A task, trained and tested."""
    name = f"{task}_{precision}"
    options = [f"@{task}", *jobs.updates(50), jobs.precision(precision)]
    finish(start(jobs.mmf_run(f"finetune/toyworld_{task}", name, *options)))
    results = json.loads((jobs.work / name / "results.json").read_text(encoding="utf-8"))
    return {**told_by_history(jobs.work / name), "test": results["test"]}


def kill_and_resume(jobs: Jobs) -> dict[str, Any]:
    """A run that is killed and gone on with ends with the same weights, to the bit, as one left alone."""
    options = ["@pretrain", *jobs.updates(60), "training.checkpoint_interval=2", "training.deterministic=true"]
    options += [jobs.precision("bf16")]
    if jobs.tiny:
        options += [f"training.max_updates={2 * KILL_AFTER}"]
    whole = start(jobs.mmf_run("pretrain_toyworld", "resume_whole", *options))
    killed = start(jobs.mmf_run("pretrain_toyworld", "resume_killed", *options))
    reached = wait_for_checkpoint(killed, jobs.work / "resume_killed", KILL_AFTER)
    stop(killed)
    if (jobs.work / "resume_killed" / WEIGHTS).exists():
        raise ValueError("the run was through before it could be killed")
    text = finish(start(jobs.mmf_run("pretrain_toyworld", "resume_killed", *options, "checkpoint.resume=True")))
    if "going on after update" not in text:
        raise ValueError(f"the run has begun anew:\n{text[-2000:]}")
    finish(whole)
    first, second = (weights_of(jobs.work / name) for name in ("resume_whole", "resume_killed"))
    if others := [name for name in first if first[name] != second[name]]:
        raise ValueError(f"killed after update {reached} and resumed, a run has other weights: {', '.join(others)}")
    return {"killed_after_update": reached, "same_bits": True}


def torchrun(jobs: Jobs) -> dict[str, Any]:
    """One process on NCCL, and two on one card with gloo, give the losses of a process by itself."""

    def processes(count: int) -> tuple[str, ...]:
        return sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"

    options = ["@pretrain", *jobs.updates(20), jobs.precision("fp32")]
    runs = {
        "alone": start(jobs.mmf_run("pretrain_toyworld", "alone", *options)),
        "nccl_1": start(jobs.mmf_run("pretrain_toyworld", "nccl_1", *options, launcher=processes(1))),
        "gloo_2": start(
            jobs.mmf_run("pretrain_toyworld", "gloo_2", *options, "distributed.backend=gloo", launcher=processes(2))
        ),
    }
    losses, problems = {}, []
    for name, started in runs.items():
        try:
            finish(started)
            losses[name] = told_by_history(jobs.work / name)["last_loss"]
        except ValueError as error:
            problems.append(f"{name}: {error}")
        else:
            if abs(losses[name] / losses.get("alone", math.nan) - 1) > AGREEMENT:
                problems.append(f"{name}: the losses are not the same, {losses}")
    if problems:
        raise ValueError("\n".join(problems))
    return {"last_losses": losses}


# ------------------------------------------------------------------------------------------------------- processes


@dataclass
class Started:
    """A command that runs, in a process group of its own."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]  # a file: nobody reads it until the end


def start(command: list[str], environment: dict[str, str] | None = None) -> Started:
    print("$", *command, file=sys.stderr, flush=True)
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
    options: dict[str, Any] = {"env": environment, "stderr": subprocess.STDOUT, "start_new_session": True}
    return Started(subprocess.Popen(command, stdout=output, **options), output)


def finish(started: Started) -> str:
    """Wait for the end; what was printed, or a ValueError with its last lines if the command has failed."""
    code = started.process.wait()
    started.output.seek(0)
    text = started.output.read().decode(errors="replace")
    print(text, file=sys.stderr, flush=True)
    if code:
        lines = text.splitlines()
        # torchrun's own report stands behind what its processes say.
        end = next((number for number, line in enumerate(lines) if "failed (exitcode:" in line), len(lines))
        raise ValueError(f"ended with {code}:\n" + "\n".join(lines[:end][-LINES_OF_ERROR:]))
    return text


def stop(started: Started) -> None:
    """Kill a command with all that it has started."""
    os.killpg(started.process.pid, signal.SIGKILL)
    started.process.wait()


def wait_for_checkpoint(started: Started, folder: Path, update: int) -> int:
    """Wait until there is a checkpoint of this update or a later one; returns its number."""
    while True:
        reached = max((int(file.stem.rpartition("_")[2]) for file in folder.glob("models/model_*.ckpt")), default=0)
        if reached >= update:
            return reached
        if started.process.poll() is not None:
            finish(started)
            raise ValueError(f"the run ended without a checkpoint of update {update}")
        time.sleep(0.01)


def weights_of(folder: Path) -> dict[str, bytes]:
    """The bits of each of a run's weights, by name."""
    from safetensors.numpy import load_file

    return {name: value.tobytes() for name, value in load_file(folder / WEIGHTS).items()}


def told_by_history(folder: Path) -> dict[str, float]:
    """The first and the last loss of a training, and its samples a second at the end; all are finite."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line["split"] == "train"]
    losses = [line["total_loss"] for line in lines]
    if not losses or not all(map(math.isfinite, losses)):
        raise ValueError(f"{folder}: losses are missing or not finite: {losses}")
    last = lines[-1]
    return {
        "updates": last["update"],
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "samples_per_s": last["samples_per_s"],
    }
