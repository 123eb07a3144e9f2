"""The table of scores, with figures worked out by hand."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmf_muvla.errors import InputError
from mmf_muvla.report.runs import LeftOut, Run, collect_runs, read_run, scores_of
from mmf_muvla.report.score_page import score_command
from mmf_muvla.report.scores import META

VQA, NLVR2, ENTAILMENT, REFCOCO = "vqa2", "nlvr2", "visual_entailment", "refcoco_plus"
METRICS = {
    VQA: "muvla_vqa_accuracy",
    NLVR2: "muvla_nlvr2_accuracy",
    ENTAILMENT: "muvla_entailment_accuracy",
    REFCOCO: "muvla_grounding_accuracy",
}


def write_run(
    folder: Path,
    task: str = VQA,
    seed: Any = 1,
    score: Any = 0.5,
    resume_file: str | None = None,
    details: dict[str, float] | None = None,
    **top_level: Any,
) -> Path:
    """A run's folder, as a training leaves it behind."""
    folder.mkdir(parents=True)
    config = {
        "datasets": task,
        "training": {"seed": seed, "early_stop": {"criteria": f"{task}/{METRICS.get(task)}", "minimize": False}},
        "checkpoint": {"resume_file": resume_file},
        **top_level,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    test = {"total_loss": 1.5, METRICS.get(task, "accuracy"): score, **(details or {})}
    (folder / "results.json").write_text(json.dumps({"update": 40, "test": test}))
    return folder


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """``base``: four tasks, seeds 1 and 2. ``muvla_cc``: VQA with seeds 1 to 3, the others with 1. ``other``: VQA."""
    scores: dict[str, dict[str, list[float]]] = {
        "muvla_cc": {VQA: [0.66, 0.68, 0.70], NLVR2: [0.60], ENTAILMENT: [0.75], REFCOCO: [0.55]},
        "base": {VQA: [0.60, 0.62], NLVR2: [0.50, 0.54], ENTAILMENT: [0.70, 0.70], REFCOCO: [0.40, 0.50]},
        "other": {VQA: [0.65]},
    }
    for system, tasks in scores.items():
        for task, of_seeds in tasks.items():
            for seed, score in enumerate(of_seeds, start=1):
                file = None if system == "base" else f"/pretrained/{system}/muvla_final.safetensors"
                write_run(tmp_path / "runs" / system / f"{task}_{seed}", task, seed, score, file)
    return tmp_path / "runs"


def test_means_and_spreads(comparison: Path) -> None:
    runs, left_out = collect_runs(comparison)
    assert (len(runs), left_out) == (15, [])
    rows = scores_of(runs)
    assert list(rows) == ["base", "muvla_cc", "other"]

    def values(system: str, task: str) -> tuple[float, float | None, tuple[int, ...]]:
        score = rows[system][task]
        assert score is not None
        return score.mean, score.deviation, tuple(score.values)

    # Two values a distance d apart have the sample standard deviation d / sqrt(2).
    assert values("base", VQA) == (pytest.approx(61), pytest.approx(2**0.5), (1, 2))
    assert values("base", NLVR2) == (pytest.approx(52), pytest.approx(4 / 2**0.5), (1, 2))
    assert values("base", ENTAILMENT) == (pytest.approx(70), pytest.approx(0), (1, 2))
    assert values("base", REFCOCO) == (pytest.approx(45), pytest.approx(10 / 2**0.5), (1, 2))
    assert values("muvla_cc", VQA) == (pytest.approx(68), pytest.approx(2), (1, 2, 3))
    assert values("muvla_cc", NLVR2) == (pytest.approx(60), None, (1,))
    assert rows["other"][NLVR2] is None


def test_meta_ave_is_of_the_seeds_that_have_all_four(comparison: Path) -> None:
    base, muvla, other = (scores[META] for scores in scores_of(collect_runs(comparison)[0]).values())
    assert base is not None and muvla is not None
    # Seed 1: (60 + 50 + 70 + 40) / 4 = 55; seed 2: (62 + 54 + 70 + 50) / 4 = 59.
    assert (base.mean, tuple(base.values)) == (pytest.approx(57), (1, 2))
    assert base.deviation == pytest.approx(4 / 2**0.5)
    # Seed 1 alone: (66 + 60 + 75 + 55) / 4.
    assert (muvla.mean, muvla.deviation, tuple(muvla.values)) == (pytest.approx(64), None, (1,))
    assert other is None


def test_no_meta_ave_where_no_seed_has_all_four(tmp_path: Path) -> None:
    for seed, task in enumerate(METRICS):
        write_run(tmp_path / task, task, seed)
    (scores,) = scores_of(collect_runs(tmp_path)[0]).values()
    assert [column for column, score in scores.items() if score is None] == [META]


def test_systems_can_be_chosen_and_ordered(comparison: Path) -> None:
    runs, _ = collect_runs(comparison)

    def systems(*patterns: str) -> list[str]:
        return list(scores_of(runs, patterns))

    assert systems("o*", "base") == ["other", "base"]
    assert systems("muvla_cc", "*") == ["muvla_cc", "base", "other"]
    with pytest.raises(InputError, match=r"systems=base,u-\*: no system is called u-\*. There are base, muvla_cc, oth"):
        systems("base", "u-*")


@pytest.mark.parametrize(
    ("changes", "system"),
    [
        ({}, "base"),
        ({"resume_file": "outputs/muvla_cc/muvla_final.safetensors"}, "muvla_cc"),
        ({"resume_file": "outputs/muvla_bc/models/model_200.ckpt"}, "muvla_bc"),
        ({"system": "U-VisualBERT"}, "U-VisualBERT"),
        ({"system": "round-robin", "resume_file": "outputs/muvla_cc/best.ckpt"}, "round-robin"),
        ({"system": None}, "base"),
    ],
)
def test_what_a_system_is_called(changes: dict[str, Any], system: str, tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", **changes))
    assert isinstance(run, Run)
    assert run.system == system


@pytest.mark.parametrize("checkpoint", ["muvla_final.safetensors", "best.ckpt", "models/model_20.ckpt"])
def test_a_pretraining_that_names_its_system_names_it_for_what_starts_from_it(checkpoint: str, tmp_path: Path) -> None:
    write_run(tmp_path / "cc-0", task="muvla_cc", system="ours")
    run = read_run(write_run(tmp_path / "run", resume_file=str(tmp_path / "cc-0" / checkpoint)))
    assert isinstance(run, Run) and run.system == "ours"
    write_run(tmp_path / "cc-1", task="muvla_cc", system=None)
    run = read_run(write_run(tmp_path / "run1", resume_file=str(tmp_path / "cc-1" / checkpoint)))
    assert isinstance(run, Run) and run.system == "cc-1"


def test_a_checkpoint_in_no_folder_names_no_system(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"resume_file=best.ckpt does not say .*\(system: NAME\)"):
        read_run(write_run(tmp_path / "run", resume_file="best.ckpt"))


def test_details_of_a_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", NLVR2, 7, 0.51, details={"muvla_nlvr2_consistency": 0.125})
    lines = [{"split": "train", "update": 10, "total_loss": 1}]
    lines += [
        {"split": "val", "update": update, "muvla_nlvr2_accuracy": value}
        for update, value in [(10, 0.50), (20, 0.56), (30, 0.56), (40, 0.52)]
    ]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = read_run(folder)
    assert isinstance(run, Run)
    assert (run.task, run.seed, run.score, run.updates) == (NLVR2, 7, pytest.approx(51), 40)
    assert run.details == {"muvla_nlvr2_consistency": pytest.approx(12.5)}
    assert run.best_update == 20, "the first of equals, which the trainer keeps"


def test_runs_without_test_scores_are_told(comparison: Path) -> None:
    unfinished = write_run(comparison / "unfinished")
    (unfinished / "results.json").rename(unfinished / "history.jsonl")
    untested = write_run(comparison / "untested")
    (untested / "results.json").write_text('{"update": 3, "val": {"muvla_vqa_accuracy": 0.5}}')
    hidden = write_run(comparison / "hidden")
    (hidden / "results.json").write_text('{"update": 3, "test": {}}')
    write_run(comparison / "pretraining", "muvla_cc")
    (comparison / "no_run").mkdir()
    (comparison / "no_run" / "config.yaml").write_text("datasets: vqa2\n")
    runs, left_out = collect_runs(comparison)
    assert len(runs) == 15
    assert left_out == [
        LeftOut(hidden, "its test scores have no muvla_vqa_accuracy"),
        LeftOut(
            comparison / "pretraining",
            "datasets is muvla_cc, not one of vqa2, nlvr2, visual_entailment, refcoco_plus, flickr30k_retrieval, "
            "coco_retrieval",
        ),
        LeftOut(unfinished, "it has not finished (no results.json)"),
        LeftOut(untested, "results.json has no test scores"),
    ]


def test_two_runs_of_the_same_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "one", seed=3)
    write_run(tmp_path / "b" / "two", seed=3)
    write_run(tmp_path / "b" / "another_seed", seed=4)
    with pytest.raises(InputError, match=r"b/two: is of system base, task vqa2 and seed 3, as .*a/one is"):
        collect_runs(tmp_path)


def _set_score(value: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "results.json").write_text(
        f'{{"update": 1, "test": {{"muvla_vqa_accuracy": {value}}}}}'
    )


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "too large": (_set_score("72.1"), "muvla_vqa_accuracy is 72.1, not between 0 and 1"),
    "NaN": (_set_score("NaN"), "muvla_vqa_accuracy is nan"),
    "text": (_set_score('"0.5"'), "muvla_vqa_accuracy is '0.5'"),
    "cut": (lambda folder: (folder / "results.json").write_text('{"update"'), r"results\.json: is no JSON object"),
    "no updates": (
        lambda folder: (folder / "results.json").write_text('{"test": {"muvla_vqa_accuracy": 0.5}}'),
        "update is None, not a whole number",
    ),
    "no yaml": (lambda folder: (folder / "config.yaml").write_text("a: [b"), r"config\.yaml: cannot be read"),
    "a list": (
        lambda folder: (folder / "config.yaml").write_text("- a\n"),
        r"it does not hold keys and values",
    ),
    "no seed": (
        lambda folder: (folder / "config.yaml").write_text("datasets: vqa2\n"),
        "training.seed is None, not a whole number",
    ),
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_damaged_runs(kind: str, tmp_path: Path) -> None:
    damage, message = DAMAGE[kind]
    damage(write_run(tmp_path / "run"))
    with pytest.raises(InputError, match=message):
        collect_runs(tmp_path)


def test_folders_without_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no run in it"):
        collect_runs(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        collect_runs(tmp_path / "nothing")


def test_the_files(comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a<b>|[red]"
    write_run(comparison / "named", VQA, 1, 0.25, system=hostile, details={"muvla_vqa_accuracy_yes_no": 0.75})
    write_run(comparison / "pretraining", "muvla_cc")
    score_command([f"runs={comparison}", f"out={tmp_path / 'scores'}"])
    printed = capsys.readouterr().out
    assert "57.00 ± 2.83 (2)" in printed and "1 run without test scores:" in printed and "pretraining: datas" in printed

    markdown = (tmp_path / "scores" / "scores.md").read_text()
    assert (
        "| base | 61.00 ± 1.41 (2) | 52.00 ± 2.83 (2) | 70.00 ± 0.00 (2) | 45.00 ± 7.07 (2) | 57.00 ± 2.83 (2) |\n"
        "| a\\<b\\>\\|\\[red\\] | 25.00 (1) | – | – | – | – |\n"
        "| muvla_cc | 68.00 ± 2.00 (3) | 60.00 (1) | 75.00 (1) | 55.00 (1) | 64.00 (1) |\n"
    ) in markdown
    assert "| a\\<b\\>\\|\\[red\\] | 1 | 25.00 | 75.00 | – | 40 | named |" in markdown
    assert "- pretraining: datasets is muvla_cc" in markdown

    with (tmp_path / "scores" / "scores.csv").open(newline="") as file:
        cells = {(line["system"], line["task"]): line for line in csv.DictReader(file)}
    assert len(cells) == 4 * 5
    assert cells["base", "refcoco_plus"] == {
        "system": "base",
        "task": "refcoco_plus",
        "metric": "muvla_grounding_accuracy",
        "mean_per_cent": "45.0000",
        "standard_deviation": "7.0711",
        "num_seeds": "2",
        "seeds": "1 2",
    }
    assert cells["muvla_cc", "meta_ave"]["mean_per_cent"] == "64.0000"
    assert (cells[hostile, "nlvr2"]["mean_per_cent"], cells[hostile, "nlvr2"]["num_seeds"]) == ("", "0")

    page = (tmp_path / "scores" / "scores.html").read_text()
    assert "a&lt;b&gt;|[red]" in page and hostile not in page
    assert page.count('class="best"') == 5, "one in each column"
    assert '<span class="best">64.00</span>' in page
    assert "<script" not in page and "http:" not in page.replace("http-equiv", "")


def test_retrieval_has_a_column_of_its_own_and_no_part_in_meta_ave(comparison: Path, tmp_path: Path) -> None:
    retrieval, recall = "flickr30k_retrieval", "muvla_mean_recall"
    folder = write_run(comparison / "retrieval", retrieval, 1, 0.5, system="muvla_cc")
    details = {"muvla_text_to_image_r@1": 0.125, "muvla_text_to_image_median_rank": 4.0}
    (folder / "results.json").write_text(json.dumps({"update": 40, "test": {recall: 0.375, **details}}))
    score_command([f"runs={comparison}", f"out={tmp_path / 'scores'}"])
    markdown = (tmp_path / "scores" / "scores.md").read_text()
    assert "| system | VQA 2.0 | NLVR2 | SNLI-VE | RefCOCO+ | Meta-Ave | Flickr30k retrieval |" in markdown
    assert "| 45.00 ± 7.07 (2) | 57.00 ± 2.83 (2) | – |" in markdown
    assert "| 60.00 (1) | 75.00 (1) | 55.00 (1) | 64.00 (1) | 37.50 (1) |" in markdown
    assert (
        "## Flickr30k retrieval, every run" in markdown and "| system | seed | score | text → image R@1 |" in markdown
    )
    assert "| muvla\_cc | 1 | 37.50 | 12.50 |" in markdown.replace("muvla_cc", "muvla\_cc")
    with (tmp_path / "scores" / "scores.csv").open(newline="") as file:
        cells = {(line["system"], line["task"]): line for line in csv.DictReader(file)}
    assert cells["muvla_cc", retrieval]["metric"] == recall
    assert (cells["muvla_cc", retrieval]["mean_per_cent"], cells["base", retrieval]["mean_per_cent"]) == ("37.5000", "")


def test_only_the_chosen_systems_are_in_the_files(comparison: Path, tmp_path: Path) -> None:
    score_command([f"runs={comparison}", f"out={tmp_path / 'scores'}", "systems=muvla_*"])
    for name in ("scores.md", "scores.csv", "scores.html"):
        text = (tmp_path / "scores" / name).read_text()
        assert "muvla_cc" in text and "other/vqa2_1" not in text and "61.00" not in text


def test_the_tool(comparison: Path) -> None:
    tool = Path(__file__).parents[2] / "tools" / "score_table.py"
    done = subprocess.run(
        [sys.executable, str(tool), f"runs={comparison}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (comparison / "scores.html").is_file(), "by default beside the runs"
    assert "muvla_cc" in done.stdout
    failed = subprocess.run(
        [sys.executable, str(tool), "runs=/no/such"], capture_output=True, text=True, timeout=120, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr == "error: /no/such: no such folder. Name the folder of the runs: runs=FOLDER\n"
