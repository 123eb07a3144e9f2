from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.corpus.stages import MANIFEST, Pipeline, Stage


class Recorder:
    """Two stages, of which the second builds on the first; remembers which of them ran."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ran: list[str] = []

    def pipeline(self, first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> Pipeline:
        return Pipeline(self.folder, [self._stage("first", (), first), self._stage("second", ("first",), second)])

    def _stage(self, name: str, after: tuple[str, ...], changes: dict[str, Any] | None) -> Stage:
        def run(folder: Path) -> dict[str, int]:
            self.ran.append(name)
            (folder / "result").write_text(name)
            return {"things": 3}

        options: dict[str, Any] = {
            "version": 1,
            "inputs": {"file": "a"},
            "parameters": {"p": 1},
            "settings": {"batch": 1},
            "libraries": ["numpy"],
        }
        return Stage(name=name, after=after, run=run, **{**options, **(changes or {})})

    def build(self, **changes: Any) -> list[str]:
        self.ran.clear()
        pipeline = self.pipeline(**changes)
        for stage in pipeline.stages:
            if not pipeline.state(stage).done:
                pipeline.run(stage)
        return list(self.ran)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "build")


def test_what_is_done_is_skipped(recorder: Recorder) -> None:
    assert recorder.build() == ["first", "second"]
    assert recorder.build() == []
    manifest = json.loads((recorder.folder / "first" / MANIFEST).read_text())
    assert manifest["counts"] == {"things": 3}
    assert manifest["made_from"]["parameters"] == {"p": 1}
    assert manifest["settings"] == {"batch": 1}
    assert manifest["outputs"] == {"first/result": 5}
    assert set(manifest["libraries"]) == {"numpy"}
    assert manifest["seconds"] >= 0


@pytest.mark.parametrize(
    ("changes", "redone", "reason"),
    [
        ({"first": {"parameters": {"p": 2}}}, ["first", "second"], "p: 1 became 2"),
        ({"first": {"inputs": {"file": "b"}}}, ["first", "second"], "input changed: file"),
        ({"first": {"version": 2}}, ["first", "second"], "version: 1 became 2"),
        ({"second": {"parameters": {"p": 1, "q": 1}}}, ["second"], "q: None became 1"),
        # Speed is no reason.
        ({"first": {"settings": {"batch": 2}, "libraries": []}}, [], ""),
    ],
)
def test_what_has_changed_is_redone_with_what_follows(
    recorder: Recorder, changes: dict[str, Any], redone: list[str], reason: str
) -> None:
    recorder.build()
    pipeline = recorder.pipeline(**changes)
    reasons = [pipeline.state(stage).reason for stage in pipeline.stages]
    assert next((text for text in reasons if text), "") == reason
    if redone == ["first", "second"]:
        assert reasons[1] == "the stage first has changed"
    assert recorder.build(**changes) == redone
    assert recorder.build(**changes) == []


def test_lost_or_cut_outputs_are_made_again(recorder: Recorder) -> None:
    recorder.build()
    (recorder.folder / "first" / "result").unlink()
    assert recorder.build() == ["first"]
    (recorder.folder / "second" / "result").write_text("sec")
    pipeline = recorder.pipeline()
    assert pipeline.state(pipeline.stages[1]).reason == "second/result is missing or has another size"
    assert recorder.build() == ["second"]


def test_broken_manifest_counts_as_none(recorder: Recorder) -> None:
    recorder.build()
    (recorder.folder / "first" / MANIFEST).write_text("{")
    assert recorder.build() == ["first"]


def test_stage_that_fails_leaves_nothing(recorder: Recorder) -> None:
    def fail(folder: Path) -> dict[str, int]:
        (folder / "half").touch()
        raise RuntimeError

    pipeline = recorder.pipeline()
    stage = Stage("first", 1, {}, {}, {}, (), (), fail)
    with pytest.raises(RuntimeError):
        pipeline.run(stage)
    assert list(recorder.folder.iterdir()) == []
