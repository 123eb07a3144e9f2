"""Whatever an ``out=`` points to, nothing is replaced that this project has not made."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.artifacts.outputs import (
    MARK,
    check_outputs,
    foreign_in_marked,
    mark_folder,
    output_folder,
    publish_output,
    write_output,
)
from mmf_muvla.datasets.tasks.conversion.command import convert_command
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.commands import build_command, import_command
from mmf_muvla.regions.store import RegionStore

TOOLS = Path(__file__).resolve().parents[2] / "tools"
RECORD = {
    "digest": "0" * 32, "kind": "finetune", "system": "base", "task": "nlvr2", "seed": 0, "rate": 1e-4,
    "values": {}, "updates": 1, "seconds": 1.0,
}  # fmt: skip


def tree(folder: Path) -> dict[str, str]:
    """What is in a folder, at any depth: kinds and contents by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            content = f"link to {os.readlink(path)}"
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = content
    return found


def call(monkeypatch: pytest.MonkeyPatch, tool: str, *arguments: str) -> int:
    """Run a tool as a shell would, but in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", [tool, *arguments])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / tool), run_name="__main__")
    return int(stop.value.code or 0) if isinstance(stop.value.code, int | None) else 1


# --- every out= of every tool


@dataclass(frozen=True)
class Case:
    """An option of a tool that names an output.

    Attributes:
        tool: the script.
        arguments: made in a folder, with what they name.
        read: what is read, an output that must be refused, where there is such a thing.
        written: names in the output's folder that would be replaced; with ``notes.txt`` the folder as a whole.
        option: the option.
    """

    tool: str
    arguments: Callable[[Path], list[str]]
    read: str
    written: tuple[str, ...]
    option: str = "out"


def regions_of(folder: Path) -> list[str]:
    (folder / "source").mkdir()
    for name in ("features.tsv", "predictions.tsv"):
        (folder / "source" / name).write_text("1\t0\t{}\n")
    return [f"source={folder / 'source'}"]


def corpus_of(folder: Path) -> list[str]:
    regions_of(folder)
    (folder / "texts.txt").write_text("A dog.\n")
    (folder / "model").mkdir()  # only looked at where a stage needs it
    parts = [f"embedding.model={folder / 'model'}", f"link.vectors={folder / 'texts.txt'}"]
    return [f"regions={folder / 'source'}", f"sentences={folder / 'texts.txt'}", *parts]


def stories_of(folder: Path) -> list[str]:
    (folder / "stories.txt").write_text("A dog.\nIt sleeps.\n\n" * 40)
    return [f"texts={folder / 'stories.txt'}"]


def published(folder: Path) -> list[str]:
    (folder / "source").mkdir()
    (folder / "source" / "test1.json").write_text(
        json.dumps({"sentence": "Two.", "identifier": "test1-1-0-0", "label": "True"}) + "\n"
    )
    return ["task=nlvr2", f"source={folder / 'source'}"]


def other_published(folder: Path) -> list[str]:
    (folder / "source").mkdir()
    for name in ("refs(unc).p", "instances.json"):
        (folder / "source" / name).write_text("{}")
    return ["task=refcoco_plus", f"source={folder / 'source'}"]


def questions(folder: Path) -> list[str]:
    (folder / "source").mkdir()
    (folder / "source" / "v2_OpenEnded_mscoco_test2015_questions.json").write_text("{}")
    return ["task=vqa2", f"source={folder / 'source'}"]


def results(folder: Path) -> list[str]:
    (folder / "results").mkdir()
    (folder / "results" / "runs.jsonl").write_text(json.dumps(RECORD) + "\n")
    return [f"results={folder / 'results'}"]


def inspected(folder: Path) -> list[str]:
    (folder / "corpus").mkdir()
    (folder / "corpus" / "corpus.json").write_text("{}")
    return [f"corpus={folder / 'corpus'}"]


def runs(folder: Path) -> list[str]:
    (folder / "runs" / "one").mkdir(parents=True)
    (folder / "runs" / "one" / "config.yaml").write_text("datasets: nlvr2\n")
    return [f"runs={folder / 'runs'}"]


def watched(folder: Path) -> list[str]:
    (folder / "run" / "models").mkdir(parents=True)
    (folder / "run" / "models" / "model_1.ckpt").write_text("")
    return [f"run={folder / 'run'}", f"world={folder}"]


def evaluated(folder: Path) -> list[str]:
    (folder / "run").mkdir()
    (folder / "regions").mkdir()
    (folder / "captions.jsonl").write_text("")
    return [f"run={folder / 'run'}", f"regions={folder / 'regions'}", f"captions={folder / 'captions.jsonl'}"]


def study(folder: Path) -> list[str]:
    (folder / "jobs").mkdir()
    return ["config=projects/muvla/studies/main.yaml", f"work={folder / 'jobs'}", "report_only=true"]


def nothing(folder: Path) -> list[str]:
    (folder / "source").mkdir()
    (folder / "source" / "mine").write_text("")
    return []


CASES = {
    "import_regions": Case("import_regions.py", regions_of, "source", ("notes.txt", "data.mdb", "deep/data.mdb")),
    "build_corpus": Case(
        "build_corpus.py", corpus_of, "source",
        ("corpus.json", "regions/data.mdb", "sentences.arrow", "pairs.arrow", "build/link/notes.txt",
         "build/embed.work/notes.txt", "build"),
    ),
    "make_small_bert": Case("make_small_bert.py", stories_of, "stories.txt", ("notes.txt", "config.json")),
    "make_toyworld": Case("make_toyworld.py", nothing, "", ("notes.txt", "manifest.json")),
    "convert nlvr2": Case("convert_annotations.py", published, "source", ("test.jsonl",)),
    "convert refcoco": Case("convert_annotations.py", other_published, "source", ("val.jsonl", "testB.jsonl")),
    "convert vqa2": Case("convert_annotations.py", questions, "source", ("imdb_test.npy", "answers_vqa.txt")),
    "inspect_corpus": Case("inspect_corpus.py", inspected, "corpus", ("quality.json", "corpus.html")),
    "score_table": Case("score_table.py", runs, "runs/one/config.yaml", ("scores.md", "scores.csv", "scores.html")),
    "evaluate_matching": Case("evaluate_matching.py", evaluated, "run", ("results.json", "matching.html")),
    "evaluate_retrieval": Case("evaluate_retrieval.py", evaluated, "run", ("results.json", "retrieval.html")),
    "watch_alignment": Case("watch_alignment.py", watched, "run", ("alignment.json", "alignment.svg")),
    "check_world": Case("check_world.py", results, "results/runs.jsonl", ("world.md", "world.json")),
    "run_study": Case(
        "run_study.py", study, "",
        ("table.md", "table.csv", "plot.svg", "plot.png", "index.html", "runs.jsonl"),
    ),
    "run_study work": Case("run_study.py", lambda folder: study(folder)[:1], "", (), "work"),
    "demo": Case(
        "demo.py", nothing, "",
        ("summary.json", "report.html", "logs/pretrain.log", "matching/results.json", "toyworld/notes.txt",
         "bert/config.json", "regions_tasks/notes.txt", "regions_heldout/notes.txt", "corpus/pairs.arrow"),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to be in, a home, and a file and a link that are in the way."""
    for name in ("here/below", "home", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "elsewhere" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path / "here" / "below")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def refused(case: Case, out: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """Call the tool with an output that it must refuse; the message."""
    before = tree(folder)
    arguments = case.arguments(folder)
    before |= tree(folder)
    status = call(monkeypatch, case.tool, *arguments, f"{case.option}={out}")
    message = capsys.readouterr().err
    assert status == 2, message
    assert "error: " in message and "Traceback" not in message
    assert tree(folder) == before
    return message


WAYS = (".", "..", "{}/here", "~/", "{}/file", "{}/file/deep/er", "{}/link", "{}/dangling")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_a_place_that_is_no_folder_of_its_own_is_refused(
    name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = way.format(tmp_path)
    message = refused(CASES[name], out, tmp_path, monkeypatch, capsys)
    assert f"error: {CASES[name].option}={out}: " in message


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.read])
def test_an_input_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / CASES[name].read)
    assert out in refused(CASES[name], out, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("name", "written"), [(name, written) for name, case in CASES.items() for written in case.written]
)
def test_a_file_that_is_not_ours_is_refused(
    name: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / written).parent.mkdir(parents=True)
    (out / written).write_text("mine")
    message = refused(CASES[name], str(out), tmp_path, monkeypatch, capsys)
    assert str(out) in message and "move it away" in message


@pytest.mark.parametrize("kind", ["file", "folder", "source"])
def test_files_beside_a_store_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case, name = CASES["import_regions"], "store.work"
    if kind == "file":
        (tmp_path / name).write_text('{"mine": 1}\n')
    elif kind == "folder":
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.txt").write_text("mine")
    else:
        (tmp_path / name).symlink_to("source")
    assert name in refused(case, str(tmp_path / "store"), tmp_path, monkeypatch, capsys)


def test_a_store_is_not_written_into_its_source_nor_over_a_folder_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES["import_regions"]
    assert "is inside" in refused(case, str(tmp_path / "source" / "store"), tmp_path, monkeypatch, capsys)
    (tmp_path / "around").mkdir()
    around = Case(case.tool, lambda folder: regions_of(folder / "around"), "", ())
    assert "is read" in refused(around, str(tmp_path / "around"), tmp_path, monkeypatch, capsys)


def test_the_root_is_refused() -> None:
    with pytest.raises(InputError, match="out=/: is the folder that you are in, or holds it"):
        output_folder("out", "/")


# --- what is ours is replaced


def test_a_store_is_replaced_unless_something_else_is_in_it(
    vinvl: Callable[..., Path], fake_image: Any, tmp_path: Path
) -> None:
    def imported(*names: str) -> None:
        source = vinvl([fake_image(name) for name in names])
        import_command([f"source={source}", f"out={tmp_path / 'store'}", "region_options.feature_dim=8"])

    (tmp_path / "store").mkdir()  # an empty folder is in nobody's way
    imported("1")
    imported("1", "2")
    assert RegionStore(tmp_path / "store").ids == ["1", "2"]
    (tmp_path / "store" / "notes.txt").write_text("mine")
    before = tree(tmp_path / "store")
    with pytest.raises(InputError, match=r"store: would be replaced, but .*notes.txt was not made with it"):
        imported("1", "2", "3")
    assert tree(tmp_path / "store") == before


def test_a_build_goes_on_beside_files_of_others_and_stops_at_its_own_names(
    world: Any, built_corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    shutil.copytree(built_corpus, out)
    (out / "notes.txt").write_text("mine")
    (out / "build" / "pack.my-old-notes").mkdir()
    arguments = world.arguments(out)
    (out / "corpus.json").unlink()
    build_command(arguments)  # the last stage
    assert (out / "corpus.json").is_file()
    assert (out / "notes.txt").read_text() == "mine" and (out / "build" / "pack.my-old-notes").is_dir()
    (out / "regions" / "thesis.tex").write_text("mine")
    build_command(arguments)  # nothing is to be done
    before = tree(out)
    with pytest.raises(InputError, match="thesis.tex"):
        build_command([*arguments, "retrieval.k=2"])
    assert tree(out) == before


def test_converted_files_are_replaced_unless_somebody_has_changed_them(tmp_path: Path) -> None:
    arguments = [*published(tmp_path), f"out={tmp_path / 'out'}"]
    convert_command(arguments)
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    made = (tmp_path / "out" / "test.jsonl").read_text()
    convert_command(arguments)
    (tmp_path / "out" / "test.jsonl").write_text(made + made)
    with pytest.raises(InputError, match=r"test\.jsonl: would be replaced, but .* has been changed since"):
        convert_command(arguments)
    assert (tmp_path / "out" / "test.jsonl").read_text() == made + made


# --- the mark


def test_a_file_that_was_replaced_in_the_meantime_is_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="table: would be replaced"), publish_output(tmp_path / "table") as temporary:
        temporary.write_text("new")
        (tmp_path / "table").write_text("mine")
    assert (tmp_path / "table").read_text() == "mine"


def test_a_kill_before_the_last_step_leaves_a_file_that_is_still_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_output(tmp_path / "table", "old")
    original = os.replace

    def killed(source: Any, target: Any) -> None:
        if Path(target).name == "table":
            raise KeyboardInterrupt
        original(source, target)

    monkeypatch.setattr(os, "replace", killed)
    for text in ("new", "new", "newer"):
        with pytest.raises(KeyboardInterrupt):
            write_output(tmp_path / "table", text)
        check_outputs(tmp_path, ["table"])
    assert (tmp_path / "table").read_text() == "old"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"files": {"table": 3}}', '{"made_by": "mmf-muvla", "files": [1]}']
)
def test_a_damaged_mark_is_none(content: str, tmp_path: Path) -> None:
    write_output(tmp_path / "table", "old")
    (tmp_path / MARK).write_text(content)
    with pytest.raises(InputError, match="table"):
        write_output(tmp_path / "table", "new")


def test_a_marked_folder_knows_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("ours")
    assert foreign_in_marked(folder) == folder
    mark_folder(folder)
    assert foreign_in_marked(folder) is None
    (folder / "empty").mkdir()
    assert foreign_in_marked(folder) == folder / "empty"
    (folder / "empty").rmdir()
    (folder / "deep" / "file").write_text("mine")
    assert foreign_in_marked(folder) == folder / "deep" / "file"
