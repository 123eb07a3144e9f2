from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.artifacts import artifact
from mmf_muvla.artifacts.artifact import MANIFEST, Artifact, Work
from mmf_muvla.artifacts.parts import remove_notes, run_parts
from mmf_muvla.errors import InputError


class Recorder:
    """Two artifacts, of which the second builds on the first; remembers which of them ran."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ran: list[str] = []

    def both(self, first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> list[Artifact]:
        one = self._artifact("first", (), first)
        return [one, self._artifact("second", (one,), second)]

    def _artifact(self, name: str, after: tuple[Artifact, ...], changes: dict[str, Any] | None) -> Artifact:
        def run(work: Work) -> dict[str, int]:
            self.ran.append(name)
            assert sorted(path.name for path in work.folder.iterdir()) == ["made_from.json"]
            (work.folder / "result").write_text(name)
            return {"things": 3}

        options: dict[str, Any] = {
            "version": 1,
            "inputs": {"file": "a"},
            "parameters": {"p": 1},
            "settings": {"batch": 1},
            "libraries": ["numpy"],
        }
        return Artifact(self.folder / name, run, after=after, **{**options, **(changes or {})})

    def build(self, **changes: Any) -> list[str]:
        self.ran.clear()
        for it in self.both(**changes):
            if not it.state().done:
                it.run()
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
    assert manifest["settings"] == {"batch": 1, "num_workers": 1}
    assert manifest["outputs"] == {"result": {"size": 5, "crc32": f"{zlib.crc32(b'first'):08x}"}}
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
    reasons = [it.state().reason for it in recorder.both(**changes)]
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
    assert recorder.both()[1].state().reason == "second/result is missing or has another size"
    assert recorder.build() == ["second"]


def test_broken_manifest_counts_as_none(recorder: Recorder) -> None:
    recorder.build()
    first = recorder.folder / "first"
    (first / MANIFEST).write_text("{")
    with pytest.raises(InputError, match="build/first: is there already.*move it away"):
        recorder.build()  # nothing says whose folder it is
    first.rename(first.with_name("moved"))
    assert recorder.build() == ["first"]


@pytest.mark.parametrize("name", ["notes.txt", "mine/thesis.tex"])
def test_what_somebody_put_into_a_stage_is_never_lost(recorder: Recorder, name: str) -> None:
    recorder.build()
    file = recorder.folder / "first" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    with pytest.raises(InputError, match="build/first: would be replaced, but .* was not made with it"):
        recorder.build(first={"parameters": {"p": 2}})
    assert file.read_text() == "mine"


@pytest.mark.parametrize("step", ["forget_steps", "write_record", "put_folder_in_place"])
def test_a_stage_that_is_killed_at_its_end_is_done_again(
    step: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(artifact, step)

    def killed(path: Path, *arguments: Any) -> None:
        if step != "write_record" or path.name == MANIFEST:
            raise KeyboardInterrupt
        original(path, *arguments)

    monkeypatch.setattr(artifact, step, killed)
    with pytest.raises(KeyboardInterrupt):
        recorder.build()
    monkeypatch.undo()
    assert recorder.build() == ["first", "second"]


def test_a_working_folder_of_somebody_else_is_never_lost(recorder: Recorder) -> None:
    for name in ("first.work", "first.old-stuff", "first.work.old-20231105"):
        (recorder.folder / name).mkdir(parents=True)
        (recorder.folder / name / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"first\.work: is there already"):
        recorder.build()
    assert all((recorder.folder / name / "notes.txt").exists() for name in os.listdir(recorder.folder))


def stopping(folder: Path, parameters: dict[str, Any], parts: list[int], stop_at: int) -> Artifact:
    """An artifact of five parts, which remembers in ``parts`` those it has made, and is stopped before one of them."""

    def run(work: Work) -> dict[str, int]:
        def make(_: None, number: int, path: Path) -> dict[str, int]:
            if number == stop_at:
                raise KeyboardInterrupt
            parts.append(number)
            path.with_suffix(".txt").write_text(f"{parameters} {number}")
            return {"value": number}

        counts = {}
        with work.progress.bar(5, "making", "part") as bar:
            for _, note in run_parts(work.folder, "part", make, enumerate(range(5)), 1):
                counts["last"] = note["value"]
                bar.update()
        remove_notes(work.folder, "part")
        return counts

    return Artifact(folder / "build" / "only", run, parameters=parameters)


def test_stopped_stage_goes_on_where_it_was(tmp_path: Path) -> None:
    parts: list[int] = []
    for stop_at, made in ((3, [0, 1, 2]), (4, [3])):
        parts.clear()
        only = stopping(tmp_path, {"p": 1}, parts, stop_at)
        with pytest.raises(KeyboardInterrupt):
            only.run()
        assert parts == made
        state = only.state()
        assert (state.done, state.reason) == (False, "not run yet")
        assert not (tmp_path / "build" / "only").exists()
    assert "making: 1 of 5 (20%) parts after" in state.begun
    parts.clear()
    only = stopping(tmp_path, {"p": 1}, parts, 9)
    assert only.run().counts == {"last": 4}
    assert parts == [4]
    assert only.state().done
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["only"]
    names = [f"part-{number:06d}.txt" for number in range(5)]
    assert sorted(path.name for path in (tmp_path / "build" / "only").iterdir()) == [MANIFEST, *names]


def test_stopped_stage_of_other_parameters_begins_anew(tmp_path: Path) -> None:
    parts: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        stopping(tmp_path, {"p": 1}, parts, 3).run()
    parts.clear()
    only = stopping(tmp_path, {"p": 2}, parts, 9)
    assert only.state().begun == ""
    only.run()
    assert parts == [0, 1, 2, 3, 4]
    assert (tmp_path / "build" / "only" / "part-000000.txt").read_text() == "{'p': 2} 0"


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "build" / "first.work"
    recorder = Recorder(tmp_path / "build")
    (tmp_path / "build" / "second.work.muvla-old-1").mkdir(parents=True)
    folder.mkdir()
    wanted = {"after": {}, "inputs": {"file": "a"}, "parameters": {"p": 1}, "version": 1}
    (folder / "made_from.json").write_text(json.dumps(wanted))
    (folder / "part-000000.txt.muvla-tmp-1").write_text("half")
    assert recorder.build() == ["first", "second"]
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["first", "second"]
