"""Jobs on a cluster of two nodes: what holds on one machine holds there, and what gets lost is done again."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.options.executors import JobExecutorOptions, WorkerOptions
from mmf_muvla.studies.jobs import Job, Jobs
from mmf_muvla.studies.processes import completion, lock_of
from mmf_muvla.studies.ray_jobs import RayJobs
from mmf_muvla.studies.records import Records
from mmf_muvla.studies.runner import Runner
from mmf_muvla.studies.study import Step, Study
from tests.ray_cluster import TwoNodes, two_nodes
from tests.tiny_world import TINY_WORLD

from mmf_muvla.artifacts import ray_executor  # isort: skip # only where there is Ray

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600

# A job with a child that writes; both go on until there is a file, or they are ended.
ENDLESS = """
import pathlib, subprocess, sys, time
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
out, until = pathlib.Path(options["out"]), pathlib.Path(options["until"])
write = "import pathlib, sys, time\\nwhile not pathlib.Path(sys.argv[1]).exists():\\n"
write += "    print(file=open(sys.argv[2], 'a'))\\n    time.sleep(0.02)"
with open(out.with_name(out.name + ".runs"), "a") as runs:
    runs.write("run\\n")
out.mkdir(exist_ok=True)
subprocess.Popen([sys.executable, "-c", write, str(until), str(out / "written.txt")])
while not until.exists():
    time.sleep(0.05)
"""

DRIVER = """
import pickle, sys
from pathlib import Path
from mmf_muvla.options.executors import JobExecutorOptions
from mmf_muvla.studies.ray_jobs import RayJobs
from mmf_muvla.studies.records import Records
from mmf_muvla.studies.runner import Runner
jobs = pickle.loads(Path(sys.argv[1]).read_bytes())
Runner(Records(Path(sys.argv[2])), RayJobs(JobExecutorOptions(address=sys.argv[3]), "auto")).run(jobs, "test")
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture
def start(
    nodes: TwoNodes, tmp_path: Path, offline_environment: dict[str, str]
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """``start(jobs)`` starts a process that runs jobs."""
    started: list[subprocess.Popen[bytes]] = []

    def start(jobs: list[Job]) -> subprocess.Popen[bytes]:
        (tmp_path / "driver.py").write_text(DRIVER)
        (tmp_path / "jobs").write_bytes(pickle.dumps(jobs))
        arguments = [str(tmp_path / "jobs"), str(tmp_path / "runs.jsonl"), nodes.cluster.address]
        command = [sys.executable, str(tmp_path / "driver.py"), *arguments]
        started.append(subprocess.Popen(command, env=offline_environment, cwd=ROOT))
        return started[-1]

    yield start
    for driver in started:
        driver.kill()
        driver.wait()


def runner(nodes: TwoNodes, folder: Path, **changes: Any) -> Runner:
    options = JobExecutorOptions(address=nodes.cluster.address, **changes)
    return Runner(Records(folder / "runs.jsonl"), RayJobs(options, "auto"), Console(file=io.StringIO()))


def endless(study: Study, tmp_path: Path, tools: Path, *names: str) -> list[Job]:
    (tools / "endless.py").write_text(ENDLESS)
    until = f"until={tmp_path / 'until'}"
    steps = {name: Step("endless.py", ("out={out}", until, f"name={name}")) for name in names}
    jobs = Jobs(replace(study, steps={**study.steps, **steps}), tmp_path / "work", tools)
    return [jobs.step(name) for name in names]


def runs(job: Job) -> int:
    path = job.folder.with_name(f"{job.folder.name}.runs")
    return len(path.read_text().splitlines()) if path.is_file() else 0


def is_free(job: Job) -> bool:
    """Whether no process has a job any more."""
    with open(lock_of(job), "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_until(condition: Callable[[], object], driver: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline and (driver is None or driver.poll() is None)
        time.sleep(0.01)


def test_jobs_run_as_on_one_machine(jobs: Jobs, nodes: TwoNodes, tmp_path: Path) -> None:
    wanted = [jobs.step("corpus_one"), jobs.step("corpus_two"), jobs.step("corpus_one")]
    for _ in range(2):
        runner(nodes, tmp_path).run(wanted, "test")
    every = [jobs.step(name) for name in ("world", "corpus_one", "corpus_two")]
    assert [runs(job) for job in every] == [1, 1, 1]
    assert all(completion(job).state().done and is_free(job) for job in every)
    assert (jobs.step("corpus_two").folder / "made.txt").read_text() == "two"
    # Its command is in the log, with what it has printed.
    command, printed = jobs.step("corpus_two").log.read_text().splitlines()
    assert json.loads(command)[1:] == list(jobs.step("corpus_two").command[1:]) and printed == "has waited"


@pytest.mark.parametrize(("gpus", "seen"), [(0, ""), (1, "0")])
def test_a_job_sees_its_own_gpus(
    gpus: int, seen: str, jobs: Jobs, nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")  # this machine's
    runner(nodes, tmp_path, step=WorkerOptions(gpus=gpus)).run([jobs.step("world")], "test")
    assert (jobs.step("world").folder / "gpus.txt").read_text() == seen


def test_after_a_failure_the_rest_is_done(study: Study, nodes: TwoNodes, tmp_path: Path, tools: Path) -> None:
    failing = Step("write.py", ("out={out}", f"fail={tmp_path / 'allowed'}"))
    jobs = Jobs(replace(study, steps={**study.steps, "failing": failing}), tmp_path / "work", tools)
    with pytest.raises(MuvlaError, match="1 of the jobs failed: step failing"):
        runner(nodes, tmp_path).run([jobs.step("failing"), jobs.step("world")], "test")
    assert "told to fail" in jobs.step("failing").log.read_text()
    assert not completion(jobs.step("failing")).state().done and completion(jobs.step("world")).state().done


def test_a_node_with_other_code_is_refused(
    jobs: Jobs, nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {**ray_executor.versions(), "mmf_muvla": "code 0"}
    monkeypatch.setattr(ray_executor, "versions", lambda: here)
    with pytest.raises(InputError, match=r"the node \S+ has mmf_muvla code \w+ instead of code 0"):
        runner(nodes, tmp_path).run([jobs.step("world")], "test")
    assert runs(jobs.step("world")) == 0 and is_free(jobs.step("world"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_of_a_job_outlives_its_runner(
    number: int, study: Study, nodes: TwoNodes, tmp_path: Path, tools: Path, start: Any
) -> None:
    (job,) = endless(study, tmp_path, tools, "slow")
    written = job.folder / "written.txt"
    driver = start([job])
    wait_until(written.is_file, driver)
    driver.send_signal(number)
    driver.wait()
    if number == signal.SIGKILL:
        wait_until(lambda: is_free(job))
    # One that is asked to end has waited for its jobs.
    assert is_free(job)
    size = written.stat().st_size
    time.sleep(0.5)
    assert written.stat().st_size == size
    (tmp_path / "until").touch()
    runner(nodes, tmp_path).run([job], "test")
    assert runs(job) == 2 and completion(job).state().done


def test_the_job_of_a_lost_node_runs_on_another(
    study: Study, nodes: TwoNodes, tmp_path: Path, tools: Path, start: Any
) -> None:
    both = endless(study, tmp_path, tools, "one", "other")
    driver = start(both)
    wait_until(lambda: all((job.folder / "written.txt").is_file() for job in both), driver)
    try:
        nodes.kill_second()
        wait_until(lambda: any(map(is_free, both)), driver)
        (tmp_path / "until").touch()
        assert driver.wait(SECONDS) == 0
    finally:
        nodes.add_second()
    assert sorted(map(runs, both)) == [1, 2]
    assert all(completion(job).state().done for job in both)


# --- A study ----------------------------------------------------------------------------------------------------------

TINY_BERT = [
    "texts=[{world}/stories.txt,{world}/words.txt]", "hidden_size=64", "next_sentence_updates=1", "updates=1",
    "out={out}",
]  # fmt: skip
# Long enough to be interrupted after its first checkpoint.
RUNS = [
    "training.max_updates=60", "training.batch_size=8", "training.log_interval=10", "training.evaluation_interval=30",
    "training.checkpoint_interval=10", "model_config.muvla.trunk.num_hidden_layers=1",
]  # fmt: skip


def study_of_four_jobs(work: Path, *options: str) -> list[str]:
    """A world, a BERT and regions, and what starts from them: a fine-tuning. (With 0, MMF sets no seed at all.)"""
    return [
        "tools/run_study.py", "config=projects/muvla/studies/main.yaml", f"work={work}", "systems=[base]",
        "tasks=[nlvr2]", "tasks.nlvr2.rates=[1e-3]", "seeds=[1]",
        f"steps.world.arguments=[{','.join(map(repr, TINY_WORLD))}]",
        f"steps.bert.arguments=[{','.join(map(repr, TINY_BERT))}]",
        *options, "--", *RUNS,
    ]  # fmt: skip


def records(work: Path) -> dict[str, dict[str, Any]]:
    lines = (work / "results" / "main" / "runs.jsonl").read_text().splitlines()
    return {(it := json.loads(line))["digest"]: {**it, "seconds": 0} for line in lines}


def starts(work: Path) -> dict[str, int]:
    """How often each job was started, by the commands in its log."""
    logs = work.glob("*/*.log")
    return {log.stem: sum(line.startswith('["') for line in log.read_text().splitlines()) for log in logs}


def finished(work: Path) -> set[str]:
    return {path.parent.stem for path in work.glob("*/*.done/manifest.json")}


def processes_of(folder: Path) -> list[int]:
    """The Python processes whose command names a folder as theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            is_one = f"env.save_dir={folder}".encode() in words and words[0] != b"/bin/sh"
            found += [int(entry.name)] if is_one else []
    return found


def test_a_study_that_was_killed_goes_on_and_has_the_records_of_one_machine(
    nodes: TwoNodes, tmp_path: Path, offline_environment: dict[str, str]
) -> None:
    environment = {**offline_environment, "OMP_NUM_THREADS": "1"}
    work = tmp_path / "cluster"
    options = ["executor=ray", f"executor_options.address={nodes.cluster.address}"]
    command = [sys.executable, *study_of_four_jobs(work, *options)]
    driver = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        wait_until(lambda: list(work.glob("finetune/*/current.ckpt")), driver)
        (checkpoint,) = work.glob("finetune/*/current.ckpt")
        # It stays at this point until it is killed.
        for process in processes_of(checkpoint.parent):
            os.kill(process, signal.SIGSTOP)
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not processes_of(checkpoint.parent))
    unfinished = checkpoint.parent.name
    assert finished(work) == starts(work).keys() - {unfinished} and checkpoint.is_file()

    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert len(starts(work)) == 4 and finished(work) == starts(work).keys()
    assert starts(work) == {name: 1 + (name == unfinished) for name in starts(work)}
    log = checkpoint.parent.with_name(f"{unfinished}.log")
    assert "going on after update" in log.read_text()
    # Scores and all else, to the bit, but for the time it took.
    subprocess.run([sys.executable, *study_of_four_jobs(tmp_path / "local")], cwd=ROOT, env=environment, check=True)
    assert records(work) == records(tmp_path / "local") and len(records(work)) == 1
