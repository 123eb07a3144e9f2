"""The demo's summary and report page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from rich.table import Table

from mmf_muvla.artifacts.files import as_json
from mmf_muvla.artifacts.outputs import write_output
from mmf_muvla.pairing.store import Corpus, RegionStore
from mmf_muvla.report import scores
from mmf_muvla.report.history import RunHistory, read_history, read_results
from mmf_muvla.report.matching import Matching, evaluate_matching, read_pairs
from mmf_muvla.report.plots import decile_fan, small_multiples
from mmf_muvla.report.scenes import scene_example
from mmf_muvla.run_config import read_run_config
from mmf_muvla.terminal import terminal_console

LOSSES = {"mlm": "MLM", "mrc": "MRC", "mrfr": "MRFR", "p_mrtc": "p-MRTC", "itm": "ITM"}
EXAMPLES = 10
FILES = ("summary.json", "report.html")
TASKS = {"visual_entailment": "hypotheses", "refcoco_plus": "referring expressions"}
STARTS = {"base": "from BERT (Base)", "muvla": "from μ-VLA"}


def write_report(out: Path, seconds: Mapping[str, float], seed: int) -> dict[str, Any]:
    """Write ``summary.json`` and ``report.html`` into a demo's folder, and print the summary.

    Args:
        out: the folder that the demo's steps wrote to.
        seconds: step -> seconds.
        seed: the demo's seed.

    Returns:
        The summary.
    """
    from mmf_muvla.trainers.loading import load_run

    pretraining = read_history(out / "pretrain")
    corpus = Corpus(out / "corpus")
    config: Any = read_run_config(out / "pretrain" / "config.yaml")
    matching = evaluate_matching(
        load_run(out / "pretrain"),
        RegionStore(out / "regions_heldout"),
        read_pairs(out / "toyworld" / "heldout_pairs.jsonl"),
        tokenizer=config.model_config.muvla.trunk.pretrained,
        seed=seed,
    )
    accuracy = {
        task: {
            start: round(read_results(out / f"{task}_{start}")["test"][scores.TASK_NAMED[task].metric], 4)
            for start in STARTS
        }
        for task in TASKS
    }
    summary = {
        "seed": seed,
        "stages_s": dict(seconds),
        "counts": corpus.counts,
        "losses": first_and_last(pretraining),
        "itm_accuracy": round(matching.accuracy, 4),
        "itm_ranking_accuracy": round(matching.ranking, 4),
        "itm_pairs": matching.pairs,
        "accuracy": accuracy,
    }
    texts = (as_json(summary), render_page(summary, matching, pretraining, corpus, out))
    for name, text in zip(FILES, texts, strict=True):
        write_output(out / name, text)
    print_summary(summary, out)
    return summary


def first_and_last(history: RunHistory) -> dict[str, list[float]]:
    """Each loss at the first and the last log line of a pre-training."""
    curves = {name: history.curve(name)[1] for name in LOSSES}
    return {name: [round(values[0], 4), round(values[-1], 4)] for name, values in curves.items() if values}


def render_page(
    summary: Mapping[str, Any], matching: Matching, pretraining: RunHistory, corpus: Corpus, out: Path
) -> str:
    """The page, self-contained: styles, plots and pictures are inside."""
    losses = {
        title: {split: pretraining.curve(name, split) for split in ("train", "val")} for name, title in LOSSES.items()
    }
    updates, deciles = pretraining.curve("w_itm_deciles")
    weights = decile_fan(updates, deciles, pretraining.curve("w_itm")[1], "match probability of retrieved pairs")  # type: ignore[arg-type]
    histories = {task: {start: read_history(out / f"{task}_{start}") for start in STARTS} for task in TASKS}
    fine_tuning = small_multiples(
        {
            name: {
                STARTS[start]: history.curve(scores.TASK_NAMED[task].metric, "val")
                for start, history in histories[task].items()
            }
            for task, name in TASKS.items()
        }
    )
    step = max(1, min(len(corpus), 60) // EXAMPLES)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmf_muvla.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("demo.html.j2").render(
        summary=summary,
        matching=matching,
        losses_svg=small_multiples(losses),
        weights_svg=weights,
        tasks=TASKS,
        fine_tuning_svg=fine_tuning,
        scenes=[
            scene_example(corpus, i * step, out / "toyworld" / "pictures") for i in range(min(EXAMPLES, len(corpus)))
        ],
        k=corpus.k,
    )


def print_summary(summary: Mapping[str, Any], out: Path) -> None:
    """Print the summary as tables."""
    console = terminal_console()
    table = Table(title="μ-VLA on the toy world", title_justify="left")
    table.add_column("what")
    table.add_column("result", justify="right")
    for name, (first, last) in summary["losses"].items():
        table.add_row(f"{LOSSES[name]} loss, first → last", f"{first:.3f} → {last:.3f}")
    table.add_row("matching accuracy, held-out true against random pairs", f"{summary['itm_accuracy']:.1%}")
    for task, name in TASKS.items():
        values = summary["accuracy"][task]
        table.add_row(
            f"{name}, fine-tuned from BERT alone → from μ-VLA", f"{values['base']:.1%} → {values['muvla']:.1%}"
        )
    table.add_row("seconds in all", f"{sum(summary['stages_s'].values()):.0f}")
    console.print(table)
    console.print(f"{out / 'summary.json'}\n{out / 'report.html'}")
