"""Everything that has to be seen on a GPU, in some minutes: is it correct, how fast is it, and what follows.

    python benchmarks/gpu.py [--steps STEP …] [--out FOLDER] [--run COMMAND] [--device cpu] [--tiny]
    python benchmarks/gpu.py --keep [--out FOLDER]

Steps:
    machine        what this runs on
    correct        the tests marked gpu; pre-training and tasks in bf16 and fp16; kill and resume; torchrun: all at the
                   same time, and each also a step by itself, as correct.resume
    speed          a step at BERT-base's size beside the authors' formulation and a matrix product
    variants       the same with other batch sizes and precisions, and with activation checkpointing
    compiled, deterministic   the same with trunk.compile, and with deterministic algorithms
    profile, profile_compiled   the kernels of a step, and when the GPU does nothing
    loader         how many loader workers keep the GPU busy
    cost           hours and money for the paper's pre-training, from the speed

Every result is one line of JSON, printed and appended to ``gpu.jsonl`` in the folder --out as soon as it is there, so
that whatever ends this early, what was done is kept. A step runs in a process of its own with a limit of time; one that
fails, or does not end, says so in a line of its own, with the last 30 lines of what it printed; all of it goes to
``log.txt``. --run is what stands before commands that need data, as ``bash bundle/run.sh`` of a bundle made by
tools/make_bundle.py; this script is best run by it too. --device cpu with --tiny tries the script where there is no
GPU. --keep takes no step, but writes the last result of each into ``benchmarks/results/gpu.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gpu_correct import Jobs, correct_jobs
from gpu_cost import cost_report

ROOT = Path(__file__).resolve().parents[1]
LINES_OF_ERROR = 30
LOG = "log.txt"
RESULTS = "gpu.jsonl"
# Step -> seconds after which it is stopped, in the order in which they are taken.
LIMITS = {
    "machine": 60,
    "correct": 150,
    "speed": 90,
    "profile": 60,
    "profile_compiled": 100,
    "variants": 120,
    "compiled": 120,
    "deterministic": 60,
    "loader": 180,
    "cost": 30,
}
CORRECT = [f"correct.{name}" for name in correct_jobs()]
AT_THE_SAME_TIME = 14


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=[*LIMITS, *CORRECT], default=list(LIMITS), metavar="STEP")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "gpu", help="folder of the results")
    parser.add_argument("--run", default="", help="what stands before commands, as 'bash bundle/run.sh'")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="as little as possible of everything")
    parser.add_argument("--limit", type=float, default=1.0, help="factor of the limits of time")
    parser.add_argument("--keep", action="store_true", help="write the results file")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the step of this process
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)  # configurations are named from there
    if arguments.keep:
        from machine import keep_results

        print(keep_results("gpu", {line["step"]: line for line in read_results(arguments.out)}))
        return 0
    if arguments.one:
        for result in one_step(arguments):
            print(json.dumps(result), flush=True)
        return 0
    with tempfile.TemporaryDirectory() as work:
        report = Report(arguments.out)
        for step in LIMITS:
            names = [step] if step in arguments.steps else []
            if step == "correct":
                names = CORRECT if names else [name for name in CORRECT if name in arguments.steps]
            with ThreadPoolExecutor(min(AT_THE_SAME_TIME, len(os.sched_getaffinity(0)))) as pool:
                commands = [own_command(name, Path(work) / name, arguments.out) for name in names]
                limits = [LIMITS[step] * arguments.limit] * len(names)
                list(pool.map(run_step, names, commands, limits, [report] * len(names)))
    return int(report.failed > 0)


@dataclass
class Report:
    """Takes lines of JSON from several threads, prints and keeps them."""

    out: Path
    failed: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def add(self, result: dict[str, Any]) -> None:
        line = json.dumps({**result, "ok": result.get("ok", True)})
        with self._lock:
            self.failed += not result.get("ok", True)
            print(line, flush=True)
            with open(self.out / RESULTS, "a", encoding="utf-8") as file:
                file.write(line + "\n")

    def log(self, step: str, text: str) -> None:
        with self._lock, open(self.out / LOG, "a", encoding="utf-8") as file:
            file.write(f"======== {step}\n{text}\n")


def own_command(step: str, work: Path, out: Path) -> list[str]:
    """The command by which this script takes one step."""
    return [sys.executable, __file__, *sys.argv[1:], "--one", step, "--work", str(work), "--out", str(out)]


def run_step(step: str, command: Sequence[str], limit: float, report: Report) -> None:
    """Run a step's process, and report each result as soon as it comes, and how it ended."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
    )
    lines: list[str] = []
    assert process.stdout is not None
    # In a thread: what a step leaves behind could hold the pipe open.
    reader = threading.Thread(target=pass_on, args=(process.stdout, lines, report), daemon=True)
    reader.start()
    try:
        problem = f"ended with {code}" if (code := process.wait(limit)) else ""
    except subprocess.TimeoutExpired:
        problem = f"stopped after {limit:g} s"
        stop_all(process.pid)
    reader.join(5.0)
    seconds = round(time.perf_counter() - started, 1)
    report.log(step, "\n".join(lines))
    if problem:
        error = "\n".join([problem, *lines[-LINES_OF_ERROR:]])
        report.add({"step": step, "ok": False, "seconds": seconds, "error": error})
    else:
        report.add({"step": f"{step}.done", "seconds": seconds})


def pass_on(output: IO[str], others: list[str], report: Report) -> None:
    """Report a step's results as they come; all other lines go to ``others``."""
    with output:
        for line in output:
            if line.startswith('{"step": '):
                report.add(json.loads(line))
            else:
                others.append(line.rstrip("\n"))


def stop_all(leader: int) -> None:
    """Kill a step's process and all that it has started, in whatever process groups."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    waiting, all_of_them = [leader], []
    while waiting:
        all_of_them.append(waiting.pop())
        waiting += children.get(all_of_them[-1], [])
    for process in all_of_them:
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:
            continue


# ------------------------------------------------------------------------------------- in the process of one step


def one_step(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Take the step of this process."""
    step: str = arguments.one
    arguments.work.mkdir(parents=True, exist_ok=True)
    jobs = Jobs(shlex.split(arguments.run), arguments.work, arguments.device, arguments.tiny)
    if step == "machine":
        yield {"step": step, **machine()}
    elif step.startswith("correct."):
        yield {"step": step, **correct_jobs()[step.removeprefix("correct.")](jobs)}
    elif step == "cost":
        yield {"step": "cost", **cost_report(*measured_speeds(arguments.out))}
    else:
        yield from _with_torch(step, jobs, arguments)


def _with_torch(step: str, jobs: Jobs, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    # Loaded only where they are needed: this takes seconds.
    import gpu_loader
    import gpu_speed
    import torch

    device, scale = torch.device(arguments.device), gpu_speed.TINY if jobs.tiny else gpu_speed.Scale()
    steps: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "speed": lambda: gpu_speed.speed(device, scale),
        "variants": lambda: gpu_speed.compare_variants(device, scale),
        "compiled": lambda: gpu_speed.one_variant("compiled", device, scale),
        "deterministic": lambda: gpu_speed.one_variant("deterministic", device, scale),
        "profile": lambda: gpu_speed.profile(device, scale, arguments.out),
        "profile_compiled": lambda: gpu_speed.profile(device, scale, arguments.out, compiled=True),
        "loader": lambda: gpu_loader.loader(jobs, device, scale),
    }
    yield from steps[step]()


def machine() -> dict[str, Any]:
    """What this runs on."""
    import torch
    from machine import describe_machine

    described = {**describe_machine(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    if torch.cuda.is_available():
        asked = ["nvidia-smi", "--query-gpu=driver_version,memory.total,power.limit", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            described["nvidia_smi"] = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return described


def read_results(out: Path) -> list[dict[str, Any]]:
    """What is in a folder's file of results, if there is one."""
    file = out / RESULTS
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def measured_speeds(out: Path) -> tuple[dict[int, float], str]:
    """Samples a second by the size of the batch, and the card, of what has been measured last.

    Raises:
        ValueError: nothing has.
    """
    lines = [line for line in read_results(out) if line["ok"]]
    speeds = [line for line in lines if line["step"] == "speed"]
    if not speeds:
        raise ValueError(f"{out / RESULTS} has no speed to go by: take the step speed first")
    batches = [line for line in lines if line["step"].startswith("variants.batch_")]
    return {line["batch"]: line["samples_per_s"] for line in (*batches, speeds[-1])}, str(speeds[-1]["card"])


if __name__ == "__main__":
    sys.exit(main())
