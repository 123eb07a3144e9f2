"""A corpus that is built on a cluster of two nodes is the same, byte for byte, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.artifacts.artifact import MANIFEST
from tests.ray_cluster import TwoNodes, two_nodes

# The stages that have parts, with the kinds of these.
PARTS = {
    "regions": "regions-*",
    "sentences": "clean-*",
    "embed": "embeddings-*",
    "retrieve": "queries-*",
    "phrases": "part-*",
    "link": "part-*",
}
SECONDS = 300


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def start(world: Any, offline_environment: dict[str, str]) -> Callable[..., subprocess.Popen[bytes]]:
    """``start(out, *options)`` starts a build in small parts, as a process."""
    script = str(Path(__file__).with_name("ray_builds.py"))

    def start(out: Path, *options: str) -> subprocess.Popen[bytes]:
        arguments = [it for it in world.arguments(out) if not it.startswith("num_workers=")]
        # Two passes over the sentences in the search, and what is left out of them.
        arguments += ["retrieval.images_at_once=32", "sentence_options.min_words=9", "on_bad_record=skip"]
        return subprocess.Popen([sys.executable, script, *arguments, *options], env=offline_environment)

    return start


def contents(out: Path) -> dict[str, bytes]:
    """What a build leaves, in the corpus and of all stages, but how long these took."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name not in (MANIFEST, ".lock"))
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process builds."""
    out = tmp_path_factory.mktemp("whole") / "corpus"
    assert start(out, "num_workers=1").wait() == 0
    return contents(out)


def wait_for_parts(out: Path, stage: str, build: subprocess.Popen[bytes]) -> None:
    """Wait until a stage has finished a part, or is finished."""
    folder = out / "build" / f"{stage}.work"
    deadline = time.monotonic() + SECONDS
    while not any(folder.glob(f"{PARTS[stage]}.json")) and not folder.with_name(stage).exists():
        assert build.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("options", [["num_workers=2"], ["executor=ray", "retrieval.sentences_at_once=40"]])
def test_executors_make_no_difference(
    options: list[str], start: Any, whole: dict[str, bytes], nodes: TwoNodes, tmp_path: Path
) -> None:
    address = [f"executor_options.address={nodes.options().address}"]
    assert start(tmp_path / "corpus", *options, *address).wait() == 0
    assert contents(tmp_path / "corpus") == whole


def test_a_node_is_killed_in_every_stage(start: Any, whole: dict[str, bytes], nodes: TwoNodes, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    build = start(out, "executor=ray", f"executor_options.address={nodes.options().address}")
    try:
        for stage in PARTS:
            wait_for_parts(out, stage, build)
            nodes.kill_second()
            nodes.add_second()
        assert build.wait(SECONDS) == 0
    finally:
        build.kill()
    assert contents(out) == whole


def test_the_build_is_killed_in_every_stage(
    start: Any, whole: dict[str, bytes], nodes: TwoNodes, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    killed = 0
    for stage in PARTS:
        build = start(out, "executor=ray", f"executor_options.address={nodes.options().address}")
        try:
            wait_for_parts(out, stage, build)
            kept = {path: path.stat().st_ino for path in (out / "build" / f"{stage}.work").glob(f"{PARTS[stage]}.json")}
        finally:
            build.send_signal(signal.SIGKILL)
            build.wait()
        killed += bool(kept)
        assert {path: path.stat().st_ino for path in kept if path.exists()}.items() <= kept.items()
    assert start(out, "executor=ray", f"executor_options.address={nodes.options().address}").wait() == 0
    assert contents(out) == whole
    # A stage may be finished by the time that its first part is seen.
    assert killed >= 4 and os.listdir(out / "build")
