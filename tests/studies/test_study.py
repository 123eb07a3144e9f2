"""Studies as files: what they include, what is like what, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.paths import resource_path
from mmf_muvla.studies.jobs import Jobs
from mmf_muvla.studies.study import Step, read_study

SMALL = """
title: Two systems
reference: a
steps:
  world: {command: make_toyworld.py, arguments: ["out={out}", scenes=10]}
  larger: {like: world, arguments: [scenes=20]}
tasks:
  nlvr2: {config: projects/muvla/finetune/toyworld_nlvr2.yaml, rates: [1.0e-4]}
systems:
  a: {label: A, pretrain: a.yaml, corpus: world, arguments: [x=1]}
  _like_a: {like: a, arguments: [x=2], rates_of: a}
  b: {like: _like_a, arguments: [y=3]}
"""


def _write(folder: Path, text: str, name: str = "two.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_what_is_like_another_says_only_what_differs(tmp_path: Path) -> None:
    study = read_study(_write(tmp_path, SMALL))
    assert study.name == "two"
    assert study.steps["larger"] == Step("make_toyworld.py", ("out={out}", "scenes=10", "scenes=20"))
    assert list(study.systems) == ["a", "b"]
    b = study.systems["b"]
    assert (b.label, b.pretrain, b.corpus, b.arguments, b.rates_of) == (
        "b",
        "a.yaml",
        "world",
        ("x=1", "x=2", "y=3"),
        "a",
    )


def test_systems_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = SMALL + "  z: {like: b}\n  y: {like: x}\n  x: {label: X}\n"
    assert list(read_study(_write(tmp_path, text)).systems) == ["a", "b", "z", "y", "x"]


def test_included_files_come_first_and_the_command_line_last(tmp_path: Path) -> None:
    _write(tmp_path, SMALL, "base.yaml")
    path = _write(tmp_path, "includes: [base.yaml]\ntitle: Mine\nsystems: {c: {label: C}}\n")
    study = read_study(path, ["reference=c", "tasks.nlvr2.rates=[1e-3,2e-3]"])
    assert (study.title, study.reference, list(study.systems)) == ("Mine", "c", ["a", "b", "c"])
    assert study.tasks["nlvr2"].rates == (0.001, 0.002)


def test_a_study_can_be_taken_to_another_setting(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = _write(tmp_path, SMALL + "prefix: small_\n", "here.yaml")
    text = SMALL.replace("[1.0e-4]", "[3.0e-4]") + "prefix: ''\n"
    there = _write(tmp_path / "elsewhere", text, "there.yaml")
    study = 'setting: here.yaml\nsystems: {c: {pretrain: "${prefix}c.yaml", corpus: world}}\n'
    path = _write(tmp_path, study, "mine.yaml")
    usual = read_study(path)
    assert (usual.name, usual.systems["c"].pretrain, usual.tasks["nlvr2"].rates) == ("mine", "small_c.yaml", (1e-4,))
    other = read_study(path, [f"setting={there}"])
    assert (other.name, other.systems["c"].pretrain, other.tasks["nlvr2"].rates) == ("mine-there", "c.yaml", (3e-4,))
    with pytest.raises(InputError, match=r"here.yaml has none that could be another"):
        read_study(here, [f"setting={there}"])
    with pytest.raises(InputError, match="no such file"):
        read_study(path, ["setting=nowhere.yaml"])


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("reference: a", "reference: z", "z is no system"),
        ("corpus: world", "corpus: wrld", "wrld is no step"),
        ("like: world", "like: wrld", "no such entry"),
        ("like: _like_a", "like: b", "like each other"),
        ("nlvr2:", "gqa:", "no such task"),
        ("rates: [1.0e-4]", "rates: []", "is empty"),
        ("label: A", "lable: A", "unknown key 'lable'"),
        ("command: make_toyworld.py, ", "", "is not complete"),
        ("title: Two systems", "", "is not complete"),
        ("rates_of: a", "rates_of: b", "has no rates of its own"),
        ('{command: make_toyworld.py, arguments: ["out={out}", scenes=10]}', "5", "steps.world: is 5"),
        ("arguments: [scenes=20]", "arguments: scenes", "is not a list"),
        ("like: world", "like: [world]", "no such entry"),
        ("_like_a:", "3:", "no such entry"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in SMALL
    with pytest.raises(InputError, match=problem):
        read_study(_write(tmp_path, SMALL.replace(old, new)))


def test_a_missing_file_and_a_missing_include_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_study(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="there is no other.yaml"):
        read_study(_write(tmp_path, "includes: [other.yaml]\n"))


STUDIES = ("main", "joint_vs_round_robin", "alignment_ratio", "ablation", "num_retrieved", "text_source")


OWN_STUDIES = ("alignment_ratio_matching", "conditions", "pretraining_schedule")


@pytest.mark.parametrize("name", [*STUDIES, *OWN_STUDIES])
def test_every_study_of_the_project_can_be_read(name: str) -> None:
    study = read_study(f"projects/muvla/studies/{name}.yaml")
    assert set(study.tasks) == {"vqa2", "nlvr2", "visual_entailment", "refcoco_plus"}
    assert bool(study.claims) == (name in STUDIES), "a claim is one of the paper"
    for system in study.systems.values():
        if system.pretrain is not None:
            assert Path(resource_path(system.pretrain)).is_file()


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_of_the_paper_has_the_setting_of_the_paper_too(name: str, tmp_path: Path) -> None:
    file = f"projects/muvla/studies/{name}.yaml"
    here, there = read_study(file), read_study(file, ["setting=projects/muvla/studies/paper.yaml"])
    assert there.name == f"{name}-paper"
    assert list(here.systems) == list(there.systems) and list(here.tasks) == list(there.tasks)
    assert {step for step in here.steps if here.steps[step].command == "build_corpus.py"} == set(there.steps)
    jobs = Jobs(there, tmp_path, tmp_path)
    for system, plan in there.systems.items():
        job = jobs.pretraining(system, 0)
        if job is not None:
            small = here.systems[system].pretrain
            assert small is not None and plan.pretrain == small.replace("toyworld_", "")
            assert "toyworld" not in " ".join(job.command)
            (corpus,) = job.needs
            assert [it for it in job.command if it.endswith(f".corpus={corpus.folder}")]
        for task in there.tasks:
            assert "toyworld" not in " ".join(jobs.finetuning(system, task, 0, 1e-4).command)


def test_the_main_study_has_all_nine_systems() -> None:
    assert set(read_study("projects/muvla/studies/main.yaml").systems) == {
        "base", "u_visualbert", "muvla_cc", "muvla_bc", "aligned_vlp", "supervised_visualbert", "vilbert", "vl_bert",
        "uniter",
    }  # fmt: skip
