from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.artifacts import artifact
from mmf_muvla.artifacts.artifact import MANIFEST, Artifact, Work
from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.artifacts.files import read_record, write_record
from mmf_muvla.artifacts.lock import Claim
from mmf_muvla.artifacts.parts import once, publish_part, run_parts
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
            with publish_part(path, ".txt") as file:
                file.write_text(f"{parameters} {number}")
            return {"value": number}

        counts = {}
        with work.progress.bar(5, "making", "part") as bar:
            for _, note in run_parts(work.folder, "part", make, enumerate(range(5)), LocalExecutor(), kind="link"):
                counts["last"] = note["value"]
                bar.update()
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


# --- damage, and what is somebody else's


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def test_verify_names_what_is_damaged(recorder: Recorder) -> None:
    recorder.build()
    first = recorder.both()[0]
    assert first.verify() == []
    flip(first.folder / "result")
    assert first.state().done  # nothing is read for that
    assert first.verify() == [first.folder / "result"]
    (first.folder / "result").unlink()
    assert first.verify() == [first.folder / "result"]
    (first.folder / MANIFEST).write_text((first.folder / MANIFEST).read_text().replace("things", "thinks"))
    assert first.verify() == [first.folder / MANIFEST]
    assert first.state().reason == "its manifest is damaged"


def test_nothing_is_made_of_what_is_damaged(recorder: Recorder) -> None:
    recorder.build()
    file = recorder.folder / "first" / "result"
    flip(file)
    with pytest.raises(InputError, match="first/result: is damaged or missing"):
        recorder.build(second={"parameters": {"p": 2}})
    assert recorder.ran == []
    file.unlink()
    assert recorder.build(second={"parameters": {"p": 2}}) == ["first", "second"]


def test_a_changed_file_is_never_lost(recorder: Recorder) -> None:
    recorder.build()
    file = recorder.folder / "first" / "result"
    for text in ("fis,t", "first, and more"):
        file.write_text(text)
        with pytest.raises(InputError, match="would be replaced, but .*result .* has been changed since"):
            recorder.build(first={"parameters": {"p": 2}})
        assert file.read_text() == text
    file.write_text("first")  # as it was, but younger
    assert recorder.build(first={"parameters": {"p": 2}}) == ["first", "second"]


def test_another_kind_of_artifact_is_never_replaced(tmp_path: Path) -> None:
    Artifact(tmp_path / "it", name="world").run()
    with pytest.raises(InputError, match="it: is there already"):
        Artifact(tmp_path / "it", name="store").check()
    Artifact(tmp_path / "it", name="world", version=2).check()


@pytest.mark.parametrize(
    "content", [{"outputs": {}}, {"stage": "it"}, {"stage": "it", "outputs": [1]}, {"name": "it", "outputs": {"a": 3}}]
)
def test_a_manifest_of_somebody_else_is_none(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / MANIFEST).write_text(json.dumps(content))
    artifact = Artifact(tmp_path / "it")
    assert not artifact.state().done and artifact.verify() == [tmp_path / "it" / MANIFEST]
    with pytest.raises(InputError, match="it: is there already"):
        artifact.check()


def test_what_an_older_version_has_built_is_still_done(recorder: Recorder) -> None:
    recorder.build()
    path = recorder.folder / "first" / MANIFEST
    manifest = json.loads(path.read_text())
    former = {key: value for key, value in manifest.items() if key not in ("name", "checksum")}
    path.write_text(json.dumps({"stage": "first", **former, "outputs": {"first/result": 5}}))
    assert recorder.build() == []
    first = recorder.both()[0]
    assert first.verify() == [] and first.foreign_in(first.folder) is None
    assert recorder.build(first={"parameters": {"p": 2}}) == ["first", "second"]


@pytest.mark.parametrize("damaged", ["part-000001.arrow", "part-000001.json", "counted.done.json"])
def test_damaged_parts_are_made_again(damaged: str, tmp_path: Path) -> None:
    made: list[int] = []
    steps: list[str] = []

    def make_part(_: None, number: int, path: Path) -> dict[str, int]:
        made.append(number)
        with publish_part(path, ".arrow") as file:
            file.write_text(f"part {number}")
        return {"number": number}

    def make(work: Work) -> dict[str, int]:
        notes = list(run_parts(work.folder, "part", make_part, enumerate(range(3)), LocalExecutor(), kind="link"))
        once(work.folder, "counted", lambda: {"parts": len(notes) + len(steps.append("counted") or "")})
        if len(steps) == 1:
            raise KeyboardInterrupt
        return {}

    artifact = Artifact(tmp_path / "it", make)
    with pytest.raises(KeyboardInterrupt):
        artifact.run()
    flip(artifact.work_folder / damaged)
    steps.append("before")
    made.clear()
    artifact.run()
    assert made == ([1] if "part" in damaged else [])
    assert steps == ["counted", "before", "counted"]
    assert (artifact.folder / "part-000001.arrow").read_text() == "part 1"


def test_what_a_step_has_written_is_verified(tmp_path: Path) -> None:
    def make(work: Work) -> dict[str, int]:
        once(work.folder, "written", lambda: {"characters": (work.folder / "table.arrow").write_text("whole")})
        if not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        return {}

    artifact = Artifact(tmp_path / "it", make)
    with pytest.raises(KeyboardInterrupt):
        artifact.run()
    flip(artifact.work_folder / "table.arrow")
    (tmp_path / "again").touch()
    artifact.run()
    assert (artifact.folder / "table.arrow").read_text() == "whole"


# --- ways to be made


def test_one_process_works_at_a_time(tmp_path: Path) -> None:
    def make(_: Work) -> dict[str, int]:
        with pytest.raises(InputError, match="another process is working here"):
            Artifact(tmp_path / "it").run()
        return {}

    Artifact(tmp_path / "it", make).run()
    assert os.listdir(tmp_path) == ["it"]


@pytest.mark.parametrize("fails", [True, False])
def test_what_cannot_be_resumed_leaves_nothing_behind(fails: bool, tmp_path: Path) -> None:
    def make(work: Work) -> dict[str, int]:
        (work.folder / "notes.txt").write_text("made")
        if fails:
            raise RuntimeError
        return {"notes": 1}

    artifact = Artifact(tmp_path / "it", make, resumes=False)
    artifact.check()
    if fails:
        with pytest.raises(RuntimeError):
            artifact.run()
        assert os.listdir(tmp_path) == []
    else:
        assert artifact.run().counts == {"notes": 1}
        assert sorted(os.listdir(tmp_path / "it")) == [MANIFEST, "notes.txt"]
        assert artifact.state().done and artifact.verify() == []


def test_files_elsewhere_are_outputs(tmp_path: Path) -> None:
    def make(_: Work) -> dict[str, int]:
        (tmp_path / "folder").mkdir()
        for name in ("table", "folder/inner"):
            (tmp_path / name).write_text("made")
        return {}

    artifact = Artifact(tmp_path / "build" / "it", make, elsewhere=["../../table", "../../folder"])
    artifact.run()
    assert artifact.state().done
    flip(tmp_path / "folder" / "inner")
    assert [path.resolve() for path in artifact.verify()] == [tmp_path / "folder" / "inner"]
    (tmp_path / "table").unlink()
    assert artifact.state().reason == "../table is missing or has another size"


def test_a_job_writes_its_folder_itself(tmp_path: Path) -> None:
    job = Artifact(tmp_path / "job", parameters={"seed": 1})
    claim = Claim.take(tmp_path / "job.lock", last_sign=tmp_path / "job.log")
    assert claim is not None and Claim.take(tmp_path / "job.lock", tmp_path / "job.log") is None
    job.folder.mkdir()
    for name in ("weights", "log"):
        (job.folder / name).write_text(name)
    assert not job.state().done
    job.seal({"updates": 5}, claim.seconds(), outputs=["weights"])
    assert job.state().done and job.state().counts == {"updates": 5}
    (job.folder / "log").write_text("more")
    assert job.state().done and job.verify() == []
    flip(job.folder / "weights")
    assert job.verify() == [job.folder / "weights"]
    (job.folder / "weights").unlink()
    assert not job.state().done
    assert not Artifact(tmp_path / "job", parameters={"seed": 2}).state().done
    claim.release()


def test_a_claim_counts_the_seconds_of_parts_that_were_interrupted(tmp_path: Path) -> None:
    lock, log = tmp_path / "job.lock", tmp_path / "job.log"
    claim = Claim.take(lock, log)
    assert claim is not None and claim.before == 0
    log.touch()
    start = json.loads(lock.read_text())["start"]
    os.utime(log, (start + 10, start + 10))
    claim.release()
    claim = Claim.take(lock, log)
    assert claim is not None and claim.before == pytest.approx(10) and claim.seconds() > 10
    claim.finish()
    claim.release()
    claim = Claim.take(lock, log)
    assert claim is not None and claim.before == 0
    claim.release()


@pytest.mark.parametrize("bit", range(0, 400, 7))
def test_a_record_knows_when_it_is_damaged(bit: int, tmp_path: Path) -> None:
    value = {"a": {"size": 12, "crc32": "00ff00ff"}, "text": "café"}
    write_record(tmp_path / "record.json", value)
    content = bytearray((tmp_path / "record.json").read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    (tmp_path / "record.json").write_bytes(content)
    found = read_record(tmp_path / "record.json")
    assert found is None or {key: found.get(key) for key in value} == value
