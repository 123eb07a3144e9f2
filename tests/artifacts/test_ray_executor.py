from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.artifacts.executors import Executor, LocalExecutor
from mmf_muvla.artifacts.parts import part_files, publish_part, run_parts
from mmf_muvla.errors import InputError
from mmf_muvla.options.executors import ExecutorOptions, WorkerOptions
from tests.ray_cluster import TwoNodes, ray, two_nodes

from mmf_muvla.artifacts import ray_executor  # isort: skip # only where there is Ray
from mmf_muvla.artifacts.ray_executor import RayExecutor  # isort: skip


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as nodes:
        yield nodes


# --- What runs in workers ---------------------------------------------------------------------------------------------


def begin(folder: Path) -> Path:
    with (folder / f"{os.getpid()}.begun").open("a") as log:
        log.write("once\n")
    return folder


def square(folder: Path, item: int) -> int:
    with (folder / "asked.log").open("a") as log:
        log.write(f"{item} {os.getpid()}\n")
    time.sleep(0.2)
    return item * item


def square_late(folder: Path, item: int) -> int:
    time.sleep(0 if item else 3)
    return item * item


def write_square(folder: Path, item: int, path: Path) -> dict[str, Any]:
    """Write a part, unless this worker is to be killed at it once more."""
    square(folder, item)
    left = folder / f"{item}.kills"
    if left.exists() and (kills := int(left.read_text())):
        left.write_text(str(kills - 1))
        # Half a part is left behind, under its temporary name.
        with publish_part(path, ".txt") as file:
            file.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    with publish_part(path, ".txt") as file:
        file.write_text(f"{item * item}\n" * item)
    return {"item": item}


def fail_at_three(_: Any, item: int) -> int:
    if item == 3:
        raise InputError("file.txt, line 3", "is odd: 3", "Even it")
    return item


def refuse(_: Any) -> None:
    raise InputError("model=x", "cannot be loaded", "Name another")


def look_for(path: Path, _: int) -> None:
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))


def echo(state: Any, _: int) -> Any:
    return state


# --- Helpers ----------------------------------------------------------------------------------------------------------


def asked(folder: Path) -> Counter[int]:
    """How often each item was begun."""
    return Counter(int(line.split()[0]) for line in (folder / "asked.log").read_text().splitlines())


def run(folder: Path, executor: Executor, count: int = 12) -> list[tuple[int, dict[str, Any]]]:
    return list(parts(folder, executor, count))


def parts(folder: Path, executor: Executor, count: int = 12) -> Iterator[tuple[int, dict[str, Any]]]:
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    function: Any = write_square
    place = (folder / "parts", "part", function, enumerate(range(count)), executor, begin)
    return run_parts(*place, arguments=(folder,), kind="link")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "parts").iterdir() if ".muvla-tmp-" not in path.name}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """What one process makes."""
    run(tmp_path / "whole", LocalExecutor())
    return contents(tmp_path / "whole")


# --- Results ----------------------------------------------------------------------------------------------------------


def test_results_are_those_of_local_workers(nodes: TwoNodes, tmp_path: Path) -> None:
    items = range(12)
    made = RayExecutor(nodes.options()).map(square, iter(items), begin, (tmp_path,), kind="link", folder=tmp_path)
    assert list(made) == [item * item for item in items]
    assert asked(tmp_path) == Counter(items)
    # Each worker was set up once, and only what it writes to is there.
    workers = {line.split()[1] for line in (tmp_path / "asked.log").read_text().splitlines()}
    begun = {path.stem: path.read_text() for path in tmp_path.glob("*.begun")}
    assert workers <= set(begun) and set(begun.values()) == {"once\n"}
    assert {path.suffix for path in tmp_path.iterdir()} == {".begun", ".log"}


def test_nothing_is_set_up_for_nothing(tmp_path: Path) -> None:
    # Not even a cluster is looked for.
    executor = RayExecutor(ExecutorOptions(address="nowhere:1"))
    assert list(executor.map(square, [], refuse, (1,), kind="link", folder=tmp_path)) == []


def test_what_is_on_its_way_is_bounded(nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "_RESULTS_KEPT", 3)
    taken = []

    def items() -> Iterator[int]:
        for item in range(60):
            taken.append(item)
            yield item

    executor = RayExecutor(nodes.options(), 2)
    results = executor.map(square_late, items(), begin, (tmp_path,), kind="link", folder=tmp_path)
    assert next(results) == 0
    # Four with workers, six whose results wait for the first one's, and what was handed out before these were counted.
    assert len(taken) <= 2 * 2 + 3 * 2
    assert list(results) == [item * item for item in range(1, 60)]


# --- What gets lost ---------------------------------------------------------------------------------------------------


def test_killed_workers_cost_their_parts_only(nodes: TwoNodes, tmp_path: Path, whole: dict[str, bytes]) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    kills = {2: 1, 5: 10, 11: 1}
    for item, number in kills.items():
        (folder / f"{item}.kills").write_text(str(number))
    notes = run(folder, RayExecutor(nodes.options()))
    assert notes == [(number, {"item": number}) for number in range(12)]
    assert contents(folder) == whole
    assert asked(folder) == Counter(range(12)) + Counter(kills)


def test_a_part_that_kills_whoever_makes_it_is_given_up(
    nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "_LOSSES", 2)
    (tmp_path / "3.kills").write_text("100")
    with pytest.raises(InputError, match="the same work has lost its worker 2 times") as caught:
        run(tmp_path, RayExecutor(nodes.options()))
    assert caught.value.where == "executor_options.link"
    assert "executor_options.link.memory" in caught.value.remedy


def test_a_killed_node_costs_its_part_only(nodes: TwoNodes, tmp_path: Path, whole: dict[str, bytes]) -> None:
    made = parts(tmp_path, RayExecutor(nodes.options()))
    # By then both are at work.
    first = [next(made) for _ in range(5)]
    try:
        nodes.kill_second()
        rest = list(made)
    finally:
        nodes.add_second()
    assert [number for number, _ in [*first, *rest]] == list(range(12))
    assert contents(tmp_path) == whole
    again = asked(tmp_path) - Counter(range(12))
    assert again.total() <= 1


DRIVER = """
import sys
from pathlib import Path
from mmf_muvla.artifacts.ray_executor import RayExecutor
from mmf_muvla.options.executors import ExecutorOptions
from tests.artifacts.test_ray_executor import run
if __name__ == "__main__":
    run(Path(sys.argv[1]), RayExecutor(ExecutorOptions(address=sys.argv[2])))
"""


def test_a_driver_that_was_killed_goes_on(
    nodes: TwoNodes, tmp_path: Path, whole: dict[str, bytes], offline_environment: dict[str, str]
) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    command = [sys.executable, str(script), str(tmp_path), nodes.options().address]
    finished: dict[int, int] = {}
    for wanted in (3, 7):
        driver = subprocess.Popen(command, env=offline_environment)
        deadline = time.monotonic() + 120
        while len(part_files(tmp_path / "parts", "part", ".json")) < wanted:
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        notes = [int(path.stem.rpartition("-")[2]) for path in part_files(tmp_path / "parts", "part", ".json")]
        begun = asked(tmp_path)
        finished |= {item: begun[item] for item in notes}
        driver.kill()
        driver.wait()
    subprocess.run(command, env=offline_environment, check=True)
    assert contents(tmp_path) == whole
    begun = asked(tmp_path)
    # What was finished before the driver was killed is not made again; each time, two workers were at a part.
    assert len(finished) >= 7 and {item: begun[item] for item in finished} == finished
    assert (begun - Counter(range(12))).total() <= 2 * 2


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_errors_come_through(nodes: TwoNodes, tmp_path: Path) -> None:
    executor = RayExecutor(nodes.options())
    with pytest.raises(InputError, match="file.txt, line 3: is odd: 3. Even it"):
        list(executor.map(fail_at_three, range(10), kind="link", folder=tmp_path))
    with pytest.raises(InputError, match="model=x: cannot be loaded"):
        list(executor.map(echo, range(10), refuse, (1,), kind="link", folder=tmp_path))
    with pytest.raises(InputError, match="is there on this machine, but a node of the cluster does not see it"):
        list(executor.map(look_for, range(1), Path, (tmp_path,), kind="link", folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_other_versions_on_a_node(nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {**ray_executor.versions(), "torch": "1.5.0"}
    monkeypatch.setattr(ray_executor, "versions", lambda: here)
    with pytest.raises(InputError, match=r"the node \S+ has torch [\d.]+ instead of 1\.5\.0\. Install the same"):
        list(RayExecutor(nodes.options()).map(square, range(3), kind="link", folder=tmp_path))


def test_a_folder_that_a_node_does_not_see(nodes: TwoNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def unseen(folder: Path) -> Iterator[Path]:
        yield folder / "elsewhere"

    monkeypatch.setattr(ray_executor, "_file_to_see", unseen)
    with pytest.raises(InputError, match=f"does not see the folder {tmp_path}. Use a file system"):
        list(RayExecutor(nodes.options()).map(square, range(3), kind="link", folder=tmp_path))


@pytest.mark.parametrize(
    ("needed", "problem"),
    [
        (WorkerOptions(gpus=3), "no node of the cluster has 1 CPU, 3 GPUs"),
        (WorkerOptions(cpus=2, memory=0.5), "no node of the cluster has 2 CPUs, 0.5 GiB of memory"),
        (WorkerOptions(memory=4096), "no node of the cluster has 1 CPU, 4096 GiB of memory"),
        (WorkerOptions(gpus=1.5), "no node of the cluster has 1 CPU, 1.5 GPUs"),
    ],
)
def test_no_room(needed: WorkerOptions, problem: str, nodes: TwoNodes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(problem)) as caught:
        list(RayExecutor(nodes.options(link=needed)).map(square, range(3), kind="link", folder=tmp_path))
    assert caught.value.where == "executor_options.link"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "nowhere"])
def test_no_cluster(address: str, tmp_path: Path) -> None:
    ray.shutdown()
    with pytest.raises(InputError) as caught:
        executor = RayExecutor(ExecutorOptions(address=address))
        list(executor.map(square, range(3), kind="link", folder=tmp_path))
    assert caught.value.where == f"executor_options.address={address}"
