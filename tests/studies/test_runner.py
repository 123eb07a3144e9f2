"""The runner: each job once, needs first, several at a time, and on with the rest after a failure or a kill."""

from __future__ import annotations

import fcntl
import io
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mmf_muvla.artifacts.artifact import Artifact
from mmf_muvla.errors import MuvlaError
from mmf_muvla.studies.executors import LocalJobs, visible_gpus
from mmf_muvla.studies.jobs import Job, Jobs
from mmf_muvla.studies.processes import completion
from mmf_muvla.studies.records import Records
from mmf_muvla.studies.runner import Runner
from mmf_muvla.studies.study import Step, Study


def _runner(tmp_path: Path, num_workers: int = 2) -> Runner:
    return Runner(Records(tmp_path / "runs.jsonl"), LocalJobs(num_workers), Console(file=io.StringIO()))


def _runs(job: Job) -> int:
    path = job.folder.with_name(f"{job.folder.name}.runs")
    return len(path.read_text().splitlines()) if path.is_file() else 0


def _start_runner(tmp_path: Path, job: Job) -> subprocess.Popen[bytes]:
    """A runner in a process of its own, which has started the job when this returns."""
    script = tmp_path / "a_runner.py"
    script.write_text(
        "import pickle, sys, pathlib\n"
        "from mmf_muvla.studies.executors import LocalJobs\n"
        "from mmf_muvla.studies.records import Records\n"
        "from mmf_muvla.studies.runner import Runner\n"
        "job = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "Runner(Records(pathlib.Path(sys.argv[2])), LocalJobs(1)).run([job], 'first')\n"
    )
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    runner = subprocess.Popen([sys.executable, str(script), str(tmp_path / "job"), str(tmp_path / "runs.jsonl")])
    while not job.log.is_file() or not job.log.read_text().strip():
        time.sleep(0.05)
        assert runner.poll() is None
    return runner


def _jobs_with(study: Study, tmp_path: Path, tools: Path, **steps: Step) -> Jobs:
    return Jobs(replace(study, steps={**study.steps, **steps}), tmp_path / "work", tools)


def test_needs_run_first_and_nothing_runs_twice(jobs: Jobs, tmp_path: Path) -> None:
    wanted = [jobs.step("corpus_one"), jobs.step("corpus_two"), jobs.step("corpus_one")]
    for _ in range(2):
        _runner(tmp_path).run(wanted, "test")
    assert [_runs(jobs.step(name)) for name in ("world", "corpus_one", "corpus_two")] == [1, 1, 1]
    assert (jobs.step("corpus_two").folder / "made.txt").read_text() == "two"


@pytest.mark.parametrize(
    ("gpus", "num_workers", "shares"),
    [
        ("0123", 1, {"0,1,2,3"}),
        ("0123", 2, {"0,2", "1,3"}),
        ("0123", 4, {"0", "1", "2", "3"}),
        ("0", 2, {"0"}),
        ("", 2, {"none"}),
    ],
)
def test_jobs_at_the_same_time_share_the_gpus(
    study: Study,
    tmp_path: Path,
    tools: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpus: str,
    num_workers: int,
    shares: set[str],
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    steps = {f"step_{number}": Step("write.py", ("out={out}", f"text={number}", "seconds=0.3")) for number in range(4)}
    jobs = _jobs_with(study, tmp_path, tools, **steps)
    wanted = [jobs.step(name) for name in steps]
    executor = LocalJobs(num_workers, list(gpus))
    Runner(Records(tmp_path / "runs.jsonl"), executor, Console(file=io.StringIO())).run(wanted, "test")
    assert {(job.folder / "gpus.txt").read_text() for job in wanted} == shares


@pytest.mark.parametrize(
    ("given", "num_workers", "threads"), [(None, 1, "8"), (None, 3, "2"), (None, 16, "1"), ("5", 2, "5")]
)
def test_jobs_share_the_cores_unless_threads_are_given(
    monkeypatch: pytest.MonkeyPatch, given: str | None, num_workers: int, threads: str
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert LocalJobs(num_workers).environment(0)["OMP_NUM_THREADS"] == threads


def test_gpus_are_those_that_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-abc")
    assert visible_gpus() == ["2", "GPU-abc"]
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_gpus() == ["0", "1"]


def test_after_a_failure_the_rest_is_done_and_a_new_start_goes_on(study: Study, tmp_path: Path, tools: Path) -> None:
    allowed = tmp_path / "allowed"
    jobs = _jobs_with(
        study, tmp_path, tools,
        corpus_one=Step("write.py", ("out={out}", f"fail={allowed}")),
        on_top=Step("write.py", ("out={out}", "of={corpus_one}")),
    )  # fmt: skip
    wanted = [jobs.step("on_top"), jobs.step("corpus_two")]
    with pytest.raises(MuvlaError, match=r"2 of the jobs failed: step corpus_one .*; step on_top"):
        _runner(tmp_path).run(wanted, "test")
    assert "told to fail" in jobs.step("corpus_one").log.read_text()
    assert _runs(jobs.step("corpus_two")) == 1 and _runs(jobs.step("on_top")) == 0
    allowed.touch()
    _runner(tmp_path).run(wanted, "test")
    assert [_runs(jobs.step(name)) for name in ("world", "corpus_one", "corpus_two", "on_top")] == [1, 2, 1, 1]


def test_a_job_that_outlived_its_runner_is_waited_for(study: Study, tmp_path: Path, tools: Path) -> None:
    """A runner is killed outright; its job goes on, and the next runner must not start it a second time."""
    jobs = _jobs_with(study, tmp_path, tools, slow=Step("write.py", ("out={out}", "seconds=3")))
    slow = jobs.step("slow")
    first = _start_runner(tmp_path, slow)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    _runner(tmp_path).run([slow], "second")
    # The killed runner could not say that the job is done, so it runs once more; but after the first, not beside it.
    assert _runs(slow) == 2 and completion(slow).state().done
    # Both parts waited for three seconds, and both count.
    assert (completion(slow).state().seconds or 0) > 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_runner_ends_its_jobs(number: int, study: Study, tmp_path: Path, tools: Path) -> None:
    slow = _jobs_with(study, tmp_path, tools, slow=Step("write.py", ("out={out}", "seconds=60"))).step("slow")
    start = time.monotonic()
    first = _start_runner(tmp_path, slow)
    os.kill(first.pid, number)
    assert first.wait() != 0
    with open(slow.folder.with_name(f"{slow.folder.name}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert time.monotonic() - start < 50
    assert _runs(slow) == 0


def test_a_job_is_locked_until_it_is_marked_as_done(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.step("world")
    marked = []

    def seal(done: Artifact, *_: object) -> None:
        with open(job.folder.with_name(f"{job.folder.name}.lock"), "rb") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        marked.append(done.folder.name)

    monkeypatch.setattr(Artifact, "seal", seal)
    _runner(tmp_path).run([job], "test")
    assert marked == [f"{job.folder.name}.done"]
    with open(job.folder.with_name(f"{job.folder.name}.lock"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_another_study_has_run_is_put_on_record(jobs: Jobs, tmp_path: Path) -> None:
    run = jobs.finetuning("base", "nlvr2", 0, 1e-4)
    run.folder.mkdir(parents=True)
    (run.folder / "results.json").write_text('{"update": 9, "test": {"muvla_nlvr2_accuracy": 0.75}}')
    completion(run).seal({}, 8.5)
    runner = _runner(tmp_path)
    runner.run([run], "test")
    record = Records(tmp_path / "runs.jsonl").get(run)
    assert record is not None and (record.score, record.seconds) == (75.0, 8.5)


def test_what_is_on_record_is_not_run_and_nor_is_what_only_it_needs(jobs: Jobs, tmp_path: Path) -> None:
    from tests.studies.test_records import RECORD

    runner = _runner(tmp_path)
    run = jobs.finetuning("one", "nlvr2", 0, 1e-4)
    assert [job.kind for job in runner.missing([run])] == ["step", "step", "pretrain", "finetune"]
    runner.records.add(replace(RECORD, digest=run.digest))
    assert runner.missing([run]) == []
    other = jobs.finetuning("one", "nlvr2", 0, 2e-4)
    assert [job.kind for job in runner.missing([run, other])] == ["step", "step", "pretrain", "finetune"]
