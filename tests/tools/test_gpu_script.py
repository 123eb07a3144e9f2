"""The script for GPUs, where there is none: lines of JSON whatever happens to a step, and the arithmetic of costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``module(name)`` imports a file of ``benchmarks/``."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "gpu.jsonl").read_text().splitlines()]


def take(module: Any, out: Path, program: str, limit: float = 60.0) -> list[dict[str, Any]]:
    """What is kept of a step whose process runs this program."""
    gpu = module("gpu")
    gpu.run_step("step", [sys.executable, "-c", program], limit, gpu.Report(out))
    return lines(out)


def test_results_are_kept_and_printed(module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = """print('words'); print('{"step": "step.a", "ms": 2.5}'); print('{"step": "step.b", "ok": false}')"""
    kept = take(module, tmp_path, program)
    assert kept[:2] == [{"step": "step.a", "ms": 2.5, "ok": True}, {"step": "step.b", "ok": False}]
    assert kept[2].pop("seconds") >= 0
    assert kept[2:] == [{"step": "step.done", "ok": True}]
    assert [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()] == [
        "step.a",
        "step.b",
        "step.done",
    ]
    assert "words" in (tmp_path / "log.txt").read_text()


def test_of_a_step_that_fails_the_last_lines_are_kept(module: Any, tmp_path: Path) -> None:
    program = """print('{"step": "step.a"}', flush=True)
for number in range(40): print('line', number)
raise SystemExit(3)"""
    first, second = take(module, tmp_path, program)
    assert first == {"step": "step.a", "ok": True}
    assert second["ok"] is False
    assert second["error"].splitlines() == ["ended with 3", *(f"line {number}" for number in range(10, 40))]


def test_what_a_step_gave_before_it_was_cut_off_is_kept(module: Any, tmp_path: Path) -> None:
    """Its children are ended with it, those in process groups of their own too."""
    mark = tmp_path / "alive"
    child = f"import time; time.sleep(6); open({str(mark)!r}, 'w')"
    program = f"""import subprocess, sys, time
print('{{"step": "step.a"}}', flush=True)
subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)
time.sleep(60)"""
    started = time.monotonic()
    first, second = take(module, tmp_path, program, limit=3.0)
    assert first["step"] == "step.a"
    assert second["ok"] is False and second["error"].splitlines()[0] == "stopped after 3 s"
    assert time.monotonic() - started < 30
    time.sleep(4)
    assert not mark.exists()


def test_hours_and_money_by_hand(module: Any) -> None:
    costs = module("gpu_cost")
    eight = costs.Machine("eight", 8, 989.0, 3.0)
    # 3,000,000 x 20 samples by 8 x 2,000 x 0.9 a second: 4,166.7 s.
    result = costs.cost(2_000.0, eight, "NVIDIA H100 80GB HBM3", images=3_000_000, epochs=20)
    assert result.hours == pytest.approx(60e6 / 14_400 / 3600)
    assert result.gpu_hours == pytest.approx(8 * 1.157407, rel=1e-5)
    assert result.dollars == pytest.approx(27.77778, rel=1e-5)
    # On a card of half the rate, twice the time.
    half = costs.Machine("half", 8, 989.0 / 2, 3.0)
    assert costs.cost(2_000.0, half, "NVIDIA H200").hours == pytest.approx(2 * result.hours)
    # A card that is not known is taken for the machine's own.
    assert costs.cost(2_000.0, half, "another card").hours == pytest.approx(result.hours)


def test_the_cost_is_of_the_speed_with_each_machines_share_of_the_batch(tmp_path: Path) -> None:
    """480 samples an update are 120 for each of four GPUs, and 60 for each of eight."""
    kept = [
        {"step": "speed", "batch": 120, "samples_per_s": 1.0, "card": "NVIDIA H100", "ok": True},
        {"step": "variants.batch_60", "batch": 60, "samples_per_s": 1800.0, "ok": True},
        {"step": "variants.batch_240", "batch": 240, "samples_per_s": 9.0, "ok": True},
        {"step": "variants.batch_480", "batch": 480, "ok": False, "error": "out of memory"},
        {"step": "speed", "batch": 120, "samples_per_s": 2000.0, "card": "NVIDIA H100", "ok": True},
    ]
    (tmp_path / "gpu.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    command = [sys.executable, "benchmarks/gpu.py", "--steps", "cost", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *_, result, end = lines(tmp_path)
    assert end["step"] == "cost.done"
    machines = result["machines"]
    assert [machines[name]["measured_with_batch"] for name in machines] == [120, 60]
    four, eight = machines.values()
    assert four["hours"] == pytest.approx(60e6 / (4 * 2000 * 312 / 989 * 0.9) / 3600, abs=0.006)
    assert eight["hours"] == pytest.approx(60e6 / (8 * 1800 * 0.9) / 3600, abs=0.006)


def test_without_a_speed_there_is_no_cost(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--steps", "cost", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    (only,) = lines(tmp_path)
    assert only["ok"] is False and "take the step speed first" in only["error"].splitlines()[-1]


def test_time_in_which_nothing_runs(module: Any, tmp_path: Path) -> None:
    """Two streams at once, a gap of 5 and one of 20 microseconds, in 100."""
    profile = module("gpu_profile")
    content = [
        {"cat": "kernel", "name": "gemm", "ts": 1000.0, "dur": 40.0},
        {"cat": "gpu_memcpy", "name": "copy", "ts": 1010.0, "dur": 45.0},
        {"cat": "kernel", "name": "gemm", "ts": 1060.0, "dur": 10.0},
        {"cat": "kernel", "name": "norm", "ts": 1090.0, "dur": 10.0},
        {"cat": "cpu_op", "name": "aten::mm", "ts": 900.0, "dur": 500.0},
        {"cat": "kernel", "name": "without duration", "ts": 1095.0},
    ]
    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": content[::-1]}))
    events = profile.read_trace(tmp_path / "trace.json")
    assert [event.name for event in events] == ["gemm", "copy", "gemm", "norm"]
    share = profile.busy_share(events, steps=2)
    assert share["busy_share"] == pytest.approx(0.75)
    assert share["ms_per_step"] == pytest.approx(0.05)
    assert share["gap_ms_per_step"] == pytest.approx(0.0125)
    assert share["long_gaps_per_step"] == 0.5
    table = profile.kernel_table(events, steps=2)
    assert [(row["kernel"], row["calls_per_step"]) for row in table.rows] == [
        ("gemm", 1.0),
        ("copy", 0.5),
        ("norm", 0.5),
    ]
    assert table.rows[0]["share"] == pytest.approx(50 / 105, abs=1e-4)


def test_the_last_result_of_each_step_is_kept_for_the_repository(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, machine = module("gpu"), module("machine")
    monkeypatch.setattr(machine, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--keep", "--out", str(tmp_path)])
    kept = [
        {"step": "speed", "ms": 2.0, "ok": True},
        {"step": "profile", "ok": False},
        {"step": "speed", "ms": 1.0, "ok": True},
    ]
    (tmp_path / "gpu.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    monkeypatch.chdir(ROOT)  # the script goes there
    assert gpu.main() == 0
    assert json.loads((tmp_path / "results" / "gpu.json").read_text()) == {"speed": kept[2], "profile": kept[1]}
