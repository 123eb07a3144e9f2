from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts import progress
from mmf_muvla.artifacts.progress import PROGRESS_FILE, ProgressRecord, progress_bar


def test_bars_have_the_lock_of_all_bars_even_if_they_are_the_first() -> None:
    """Whoever sets the lock of ``tqdm``, in a child of a fork for one, sets theirs."""
    script = (
        "import threading; from tqdm import tqdm; from mmf_muvla.artifacts.progress import progress_bar\n"
        "progress_bar(1, 'first', 'step').close()\n"
        "lock = threading.RLock(); tqdm.set_lock(lock)\n"
        "bar = progress_bar(1, 'second', 'step'); assert bar.get_lock() is lock and bar._lock is lock; bar.close()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / PROGRESS_FILE


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``clock(seconds)`` lets time pass."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_what_is_recorded_outlives_the_process(path: Path, clock: Any) -> None:
    record = ProgressRecord(path)
    assert (record.seconds_before, record.describe()) == (0, "begun")
    with record.bar(5000, "embed", "sentence") as bar:
        clock(10)
        bar.update(1250)
    assert record.seconds() == 10

    later = ProgressRecord(path)
    assert later.describe() == "embed: 1,250 of 5,000 (25%) sentences after 10 s, some 30 s of this step left"
    assert later.seconds_before == 10
    with later.bar(5000, "embed", "sentence", initial=1250) as bar:
        clock(90)
        bar.update(1250)
    assert later.seconds() == 100

    # What was there when this bar began says nothing about the speed.
    assert (
        ProgressRecord(path).describe()
        == "embed: 2,500 of 5,000 (50%) sentences after 100 s, some 180 s of this step left"
    )
    assert ProgressRecord(path).seconds_before == 100


def test_until_the_speed_is_known_it_is_that_of_the_first_steps(path: Path, clock: Any) -> None:
    with ProgressRecord(path).bar(5000, "embed", "sentence", initial=1250) as bar:
        clock(5)
        bar.update(250)
    assert ProgressRecord(path).describe().endswith("after 5 s, some 70 s of this step left")


def test_of_steps_the_last_is_told(path: Path, clock: Any) -> None:
    record = ProgressRecord(path)
    for step in ("clean", "pool"):
        with record.bar(3, step, "line") as bar:
            clock(5)
            bar.update(2)
    assert ProgressRecord(path).describe() == "pool: 2 of 3 (67%) lines after 10 s, some 2 s of this step left"


def test_where_the_whole_is_not_known(path: Path, clock: Any) -> None:
    record = ProgressRecord(path)
    with record.bar(None, "sentences", "line") as bar:
        clock(1234.5)
        bar.update(123456)
    assert ProgressRecord(path).describe() == "sentences: 123,456 lines after 1,234 s"


def test_it_is_not_recorded_at_every_step(path: Path, clock: Any) -> None:
    record = ProgressRecord(path)
    with record.bar(100, "x", "line") as bar:
        for number in range(100):
            clock(0.5)
            bar.update()
            # Every two seconds, the first step at once.
            assert json.loads(path.read_text())["done"] == number // 4 * 4 + 1


def test_numbers_of_numpy_are_recorded(path: Path) -> None:
    with ProgressRecord(path).bar(np.int64(10), "x", "line") as bar:
        bar.update(np.int64(3))
    assert json.loads(path.read_text())["done"] == 3


def test_nothing_is_recorded_without_steps(path: Path) -> None:
    with ProgressRecord(path).bar(0, "x", "line"):
        pass
    assert not path.exists()


GOOD = {"step": "embed", "done": 5, "total": 10, "unit": "sentence", "seconds": 3.5, "left": 7.25}


def test_a_whole_file(path: Path) -> None:
    path.write_text(json.dumps(GOOD))
    assert ProgressRecord(path).describe() == "embed: 5 of 10 (50%) sentences after 4 s, some 7 s of this step left"
    path.write_text(json.dumps({**GOOD, "left": None, "total": None}))
    assert ProgressRecord(path).describe() == "embed: 5 sentences after 4 s"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        json.dumps(GOOD).encode()[:-9],
        b"\xff\xfe",
        b"null",
        b"[1, 2]",
        b'"text"',
        b"{}",
        json.dumps({**GOOD, "seconds": "3"}).encode(),
        json.dumps({**GOOD, "done": None}).encode(),
        json.dumps({**GOOD, "total": [10]}).encode(),
        json.dumps({**GOOD, "left": "soon"}).encode(),
        json.dumps({key: value for key, value in GOOD.items() if key != "unit"}).encode(),
    ],
)
def test_a_torn_file_is_none(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    record = ProgressRecord(path)
    assert (record.describe(), record.seconds_before) == ("begun", 0)
    # And it is replaced.
    with record.bar(10, "x", "line") as bar:
        bar.update(5)
    assert ProgressRecord(path).describe().startswith("x: 5 of 10 (50%) lines after 0 s")


def test_bars_tell_rate_and_remaining_time(capsys: pytest.CaptureFixture[str], clock: Any) -> None:
    with progress_bar(200, "links", "image", initial=50) as bar:
        bar.update(50)
    shown = capsys.readouterr().err
    assert re.search(r"links: +50%\|.*100/200", shown) and "image/s" in shown


def test_in_a_log_file_bars_are_rarely_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(10000, "links", "image") as bar:
        for _ in range(10000):
            bar.update()
    assert capsys.readouterr().err.count("links") <= 3
    assert progress._looks()["mininterval"] == 30
