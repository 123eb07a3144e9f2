"""The conditions of a comparison: hand-made measurements are judged rightly, and the whole command runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.studies.conditions import (
    Condition,
    as_markdown,
    blindness,
    conditions_command,
    flatness,
    searching,
    telling_apart,
)
from mmf_muvla.studies.jobs import Jobs
from mmf_muvla.studies.plan import Plan
from mmf_muvla.studies.records import Record, Records
from mmf_muvla.studies.study import Study
from mmf_muvla.toyworld.blind import BlindScore
from mmf_muvla.toyworld.probe import LABELS, LabelledRegions, probe
from mmf_muvla.toyworld.scenes import SceneObject


def record(kind: str, system: str, seed: int, score: float, rate: float = 2e-4) -> Record:
    digest = f"{kind}{system}{seed}{rate}"
    return Record(digest, kind, system, "nlvr2", seed, rate, {"muvla_nlvr2_accuracy": score / 100}, 10, 1.0)


def test_three_points_are_the_limit_of_the_blind() -> None:
    condition = blindness([BlindScore("nlvr2", "text", 0.529, 0.5, 100), BlindScore("nlvr2", "image", 0.54, 0.5, 100)])
    assert list(condition.holds) == [True, False]
    assert condition.rows[1][-3:] == ("54.0%", "50.0%", "+4.0")


def test_a_loss_is_flat_when_its_last_quarter_brings_a_tenth_at_most(tmp_path: Path) -> None:
    run = replace(record("pretrain", "upper", 7, 0), digest="abcdef1234")
    folder = tmp_path / "pretrain" / "some_config-7-abcdef12"
    folder.mkdir(parents=True)
    curves = {"mlm": (9.0, 4.0, 2.0, 1.5), "mrc": (5.0, 4.0, 3.0, 2.0)}
    # from 11.5 and 7 on, the last quarter brings 0.5 of 10 and 1 of 5
    lines: list[dict[str, object]] = [{"split": "train", "update": 20, "mlm": 11.5, "mrc": 7.0}]
    lines += [
        {"split": "val", "update": 100 * (i + 1), **{name: values[i] for name, values in curves.items()}}
        for i in range(4)
    ]
    (folder / "history.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    others = [record("pretrain", "lower", 7, 0), record("finetune", "upper", 7, 0)]
    condition = flatness([*others, run], tmp_path, "upper")
    assert [(row[0], row[1], row[-1]) for row in condition.rows] == [
        ("upper-7", "mlm", "5.0%"),
        ("upper-7", "mrc", "20.0%"),
    ]
    assert list(condition.holds) == [True, False]
    with pytest.raises(InputError, match="does not hold the pre-training of upper, seed 8"):
        flatness([run, replace(run, seed=8, digest="0123456789")], tmp_path, "upper")


def test_one_rate_is_no_search() -> None:
    records = [record("search", "a", 1000, 60), record("search", "a", 1000, 70, 4e-4), record("search", "b", 1000, 5)]
    condition = searching(records)
    assert [row[-1] for row in condition.rows] == ["0.0004", "0.0002"]
    assert list(condition.holds) == [True, False]


def test_standard_errors_are_those_of_paired_differences() -> None:
    scores = {"lower": (50.0, 52.0, 54.0), "upper": (60.0, 63.0, 66.0)}  # differ by 10, 11, 12: 11 ± 1 / sqrt(3)
    records = [record("finetune", name, seed, values[seed]) for name, values in scores.items() for seed in range(3)]
    condition = telling_apart(records, "lower", "upper")
    assert condition.rows == [("NLVR2", "3", "52.0", "63.0", "+11.0 ± 0.6", "19.1")]
    assert list(condition.holds) == [True]
    assert list(telling_apart(records, "upper", "lower").holds) == [False]


def test_the_page_says_what_does_not_hold() -> None:
    text = as_markdown([Condition("Something", ("a",), [("x",), ("y",)], [True, False])])
    assert "## 1. Something" in text
    assert [line.split("|")[2].strip() for line in text.splitlines()[-2:]] == ["yes", "**no**"]


def test_a_study_that_has_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"runs\.jsonl"):
        conditions_command([f"results={tmp_path}"])


def _put_on_record(records: Records, plan: Plan, score: float) -> None:
    """Every run of the plan, one after the other, as rates are chosen by what is on record."""
    for jobs in (plan.searches, plan.compared):
        for job in jobs(plan.study.systems):
            start = plan.jobs.pretraining(job.system, job.seed)
            for it in filter(None, (start, job)):
                values = {"muvla_nlvr2_accuracy": score}
                records.add(Record(it.digest, it.kind, it.system, it.task, it.seed, it.rate, values, 1, 1.0))


def test_only_runs_of_the_study_as_it_is_count(study: Study, tools: Path, tmp_path: Path) -> None:
    study = replace(study, systems={name: study.systems[name] for name in ("base", "one")})
    records, jobs = Records(tmp_path / "runs.jsonl"), Jobs(study, tmp_path / "work", tools)
    rates = replace(study.tasks["nlvr2"], rates=(3e-4, 4e-4))
    former = replace(study, tasks={"nlvr2": rates}, finetune=("max_updates=5",), pretrain=("x=1", *study.pretrain))
    _put_on_record(records, Plan(former, Jobs(former, tmp_path / "work", tools), records, [7, 8]), 0.1)
    plan = Plan(study, jobs, records, [7])
    assert plan.on_record() == []
    _put_on_record(records, Plan(study, jobs, records, [7, 9]), 0.5)
    found = plan.on_record()
    assert {it.values["muvla_nlvr2_accuracy"] for it in found} == {0.5}
    kinds = {kind: [(it.system, it.seed) for it in found if it.kind == kind] for kind in ("search", "finetune")}
    assert kinds == {"search": [("base", 1000)] * 2 + [("one", 1000)] * 2, "finetune": [("base", 7), ("one", 7)]}
    assert sorted(it.seed for it in found if it.kind == "pretrain") == [7, 1000], "each once, that of the search too"
    assert len(records.all()) > len(found)
    renamed = replace(study, systems={"base": study.systems["base"], "again": study.systems["one"]})
    again = Plan(renamed, Jobs(renamed, tmp_path / "work", tools), records, [7]).on_record()
    assert {it.system for it in again} == {"base", "again"}, "they are called as the study calls them"


def test_results_of_former_configurations_alone_are_refused(tmp_path: Path) -> None:
    Records(tmp_path / "runs.jsonl").add(record("finetune", "base", 10, 50))
    with pytest.raises(
        InputError, match=r"has no fine-tuning of projects/.*conditions.yaml with its present .*config="
    ):
        conditions_command([f"results={tmp_path}"])
    with pytest.raises(
        InputError, match=r"upper=uniter: is no system of .*conditions.yaml. There are base, aligned_vlp"
    ):
        conditions_command([f"results={tmp_path}", "upper=uniter"])


def test_a_probe_reads_what_is_in_the_features_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    categories, sizes = LABELS["category"], LABELS["size"]

    def regions(count: int) -> LabelledRegions:
        objects = [
            SceneObject(str(rng.choice(categories[:4])), "red", sizes[rng.integers(3)], (0.0, 0.0, 9.0, 9.0))
            for _ in range(count)
        ]
        features = rng.normal(0, 0.3, (count, 12))
        for feature, it in zip(features, objects, strict=True):
            feature[categories.index(it.category)] += 3.0
        return LabelledRegions(features.astype(np.float32), objects)

    found = probe(regions(600), regions(200), regions(600))
    assert found["category"] > 0.98
    assert found["colour"] == 1.0  # all are red
    assert found["size"] == pytest.approx(1 / 3, abs=0.08)
