from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mmf_muvla.artifacts import workers
from mmf_muvla.artifacts.workers import available_cores, count_workers, ordered_map, worker_number
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord

# --- What runs in workers; they import this module, so it must be cheap --------------------------------------------


def square(_: Any, item: int) -> int:
    # Late ones first.
    time.sleep(0.01 * (4 - item % 4))
    return item * item


def state_and_process(state: Any, item: int) -> tuple[Any, int, int, int]:
    time.sleep(0.05)
    return state, item, os.getpid(), worker_number()


def add_up(*numbers: int) -> int:
    return sum(numbers)


class TwoWordsError(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, first: str, second: str):
        super().__init__(f"{first} {second}")


ERRORS = [
    ValueError("three is too much"),
    InputError("file.txt, line 3", "is odd: 3", "Even it"),
    BadRecord(Path("file.txt"), 3, "", "is odd", "3", "Even it"),
]


def fail_at_three(errors: list[Exception], item: int) -> int:
    if item == 3:
        raise errors[0]
    return item


def give(*errors: Exception) -> list[Exception]:
    return list(errors)


def fail(error: Exception) -> None:
    raise error


def raise_two_words(*_: Any) -> Any:
    raise TwoWordsError("what", "now")


def leave(*_: Any) -> None:
    sys.exit("no such model")


def die_at_three(_: Any, item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def process(_: Any, __: int) -> int:
    return os.getpid()


def load_torch() -> Any:
    import torch

    return torch


def threads(torch: Any, _: int) -> tuple[int, set[int]]:
    return torch.get_num_threads(), {pool["num_threads"] for pool in threadpool_info()}


def note_and_sleep(folder: Path, item: int) -> None:
    (folder / f"{os.getpid()}.started").touch()
    time.sleep(1000)


# --- Order and look-ahead -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(num_workers: int) -> None:
    assert list(ordered_map(square, iter(range(20)), num_workers)) == [number * number for number in range(20)]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_every_item_is_worked_on_once_with_the_state_of_setup(num_workers: int) -> None:
    results = list(ordered_map(state_and_process, range(12), num_workers, add_up, (1, 2, 3)))
    assert [(state, item) for state, item, _, _ in results] == [(6, item) for item in range(12)]


def test_workers_are_numbered_from_zero_in_every_pool() -> None:
    for _ in range(2):
        results = list(ordered_map(state_and_process, range(16), 2))
        number_of_process = {process: number for _, _, process, number in results}
        assert set(number_of_process.values()) == {0, 1}
        assert len(number_of_process) == 2 and os.getpid() not in number_of_process
    assert worker_number() == 0


@pytest.mark.parametrize("num_workers", [1, 2])
def test_items_are_taken_only_a_few_ahead(num_workers: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(40):
            taken.append(item)
            yield item

    for number, _ in enumerate(ordered_map(square, items(), num_workers)):
        assert len(taken) <= number + 2 * num_workers
    assert taken == list(range(40))


def test_whoever_stops_early_leaves_nothing_running() -> None:
    results = ordered_map(state_and_process, range(1000), 2)
    _, _, process, _ = next(results)
    results.close()
    assert not is_running(process)


# --- Where the work is done -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("items", "num_workers"), [(range(5), 1), (range(5), 0), (range(1), 4)])
def test_in_this_process(items: range, num_workers: int) -> None:
    # A function of this test alone could not go to another process.
    assert list(ordered_map(lambda state, item: (os.getpid(), state), items, num_workers, add_up, (7,))) == [
        (os.getpid(), 7)
    ] * len(items)


@pytest.mark.parametrize("num_workers", [1, 4])
def test_nothing_is_set_up_for_nothing(num_workers: int) -> None:
    assert list(ordered_map(process, [], num_workers, fail, (ValueError("set up"),))) == []


def test_nothing_is_done_before_a_result_is_asked_for() -> None:
    taken: list[int] = []
    ordered_map(process, (taken.append(item) for item in range(3)), 1)
    assert taken == []


@pytest.mark.parametrize("num_workers", [1, 2])
def test_work_is_done_with_one_thread(num_workers: int) -> None:
    torch = load_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2):
            outside = {pool["num_threads"] for pool in threadpool_info()}
            for result in ordered_map(threads, range(4), num_workers, load_torch):
                assert result == (1, {1})
                # The one who asks has its own threads back.
                assert torch.get_num_threads() == 2
                assert {pool["num_threads"] for pool in threadpool_info()} == outside
    finally:
        torch.set_num_threads(before)


# --- Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_of_the_function_come_through(error: Exception, num_workers: int) -> None:
    results = ordered_map(fail_at_three, range(10), num_workers, give, (error,))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)) as caught:
        next(results)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)
    assert "fail_at_three" in trace_of(caught.value)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_of_setup_come_through(error: Exception, num_workers: int) -> None:
    with pytest.raises(type(error)) as caught:
        list(ordered_map(square, range(10), num_workers, fail, (error,)))
    assert str(caught.value) == str(error)
    assert "in fail" in trace_of(caught.value)


def test_errors_of_the_items_come_through() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise InputError("file", "has ended", "Give more")

    with pytest.raises(InputError, match="file: has ended"):
        list(ordered_map(square, items(), 2))


def test_errors_that_cannot_be_unpickled_are_told() -> None:
    with pytest.raises(RuntimeError, match="TwoWordsError: what now") as caught:
        list(ordered_map(raise_two_words, range(10), 2))
    assert "raise_two_words" in trace_of(caught.value)
    with pytest.raises(RuntimeError, match="TwoWordsError: what now"):
        list(ordered_map(square, range(10), 2, raise_two_words))


def test_a_setup_that_ends_the_process_is_told() -> None:
    with pytest.raises(SystemExit, match="no such model"):
        list(ordered_map(square, range(10), 2, leave))


def trace_of(error: BaseException) -> str:
    """Where an error was raised, in this process or in a worker."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


# --- Processes that are killed --------------------------------------------------------------------------------------


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(InputError) as caught:
        list(ordered_map(die_at_three, range(10), 2))
    assert caught.value.where == "num_workers"
    assert "a worker process was killed" in caught.value.problem
    assert "fewer workers" in caught.value.remedy and "what is done is kept" in caught.value.remedy


def test_a_worker_killed_between_two_results_is_explained() -> None:
    results = ordered_map(state_and_process, range(100), 2)
    _, _, process, _ = next(results)
    os.kill(process, signal.SIGKILL)
    # By now the pool knows.
    wait_until(lambda: not is_running(process))
    time.sleep(0.2)
    with pytest.raises(InputError, match="a worker process was killed"):
        list(results)


PARENT = """
import signal
import sys
from pathlib import Path
from tests.artifacts.test_workers import note_and_sleep
from mmf_muvla.artifacts.workers import ordered_map

if __name__ == "__main__":
    # What a shell starts in the background ignores the keyboard.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    list(ordered_map(note_and_sleep, range(10), 2, Path, (sys.argv[1],)))
"""


@pytest.fixture
def parent(tmp_path: Path, offline_environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process, in a group of its own, whose two workers are at work."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    running = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=offline_environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        yield running
    finally:
        running.kill()
        for worker in workers_of(tmp_path):
            if is_running(worker):
                os.kill(worker, signal.SIGKILL)
        running.communicate()


def test_workers_end_when_their_parent_is_killed(parent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    processes = workers_of(tmp_path)
    assert all(map(is_running, processes)) and parent.pid not in processes
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(map(is_running, processes)))


def test_an_interrupt_from_the_keyboard_ends_all_at_once(parent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    processes = workers_of(tmp_path)
    os.killpg(parent.pid, signal.SIGINT)
    _, printed = parent.communicate(timeout=20)
    assert not any(map(is_running, processes))
    # The parent's own trace, and no worker's.
    assert printed.count(b"KeyboardInterrupt") == 1
    assert b"in note_and_sleep" not in printed


def workers_of(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.started")]


def is_running(process: int) -> bool:
    try:
        # What nobody has waited for still has an entry.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


# --- How many -------------------------------------------------------------------------------------------------------


def test_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_workers(3) == 3
    assert count_workers(1) == 1
    assert count_workers("auto") == available_cores() >= 1
    monkeypatch.setattr(workers, "available_cores", lambda: 7)
    assert count_workers("auto") == 7


@pytest.mark.parametrize("value", [0, -1, True, False, 1.0, 2.5, "2", "all", "", None, [2]])
def test_what_is_no_number_of_processes(value: object) -> None:
    with pytest.raises(InputError, match="is neither 'auto' nor a number of processes") as caught:
        count_workers(value)
    assert caught.value.where == f"num_workers={value}"
