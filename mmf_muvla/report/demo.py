"""The demo's summary and report page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.files import as_json
from mmf_muvla.artifacts.outputs import write_output
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.corpus_tables import measure_tables
from mmf_muvla.report.history import RunHistory, read_history
from mmf_muvla.report.images import page_data, page_image
from mmf_muvla.report.matching_page import explained, matching_tables, shown
from mmf_muvla.report.measures_page import RESULTS
from mmf_muvla.report.own_pictures import add_pictures
from mmf_muvla.report.pages import render
from mmf_muvla.report.pictures import Pictures, png_uri
from mmf_muvla.report.plots import Curve, decile_fan, share_over_updates, small_multiples, themed
from mmf_muvla.report.scores import TASK_NAMED
from mmf_muvla.report.tables import Table, print_table
from mmf_muvla.terminal import terminal_console

LOSSES = {"mlm": "MLM", "mrc": "MRC", "mrfr": "MRFR", "p_mrtc": "p-MRTC", "itm": "ITM"}
EXAMPLES = 10
FILES = ("summary.json", "report.html")
MATCHING = "muvla_itm_accuracy"  # of validations
TASKS = {"visual_entailment": "hypotheses", "refcoco_plus": "referring expressions"}
STARTS = {"base": "from BERT (Base)", "muvla": "from μ-VLA"}


def write_report(out: Path, seconds: Mapping[str, float], seed: int) -> None:
    """Write :data:`FILES` into the folder that a demo's steps wrote to, and print the summary; seconds are by step."""
    pretraining, corpus = read_history(out / "pretrain"), Corpus(out / "corpus")
    matching, attention = read_results(out / "matching"), read_results(out / "attention")
    curves = {name: pretraining.curve(name)[1] for name in LOSSES}
    summary: dict[str, Any] = {
        "seed": seed,
        "stages_s": dict(seconds),
        "counts": corpus.counts,
        "losses": {name: [round(values[0], 4), round(values[-1], 4)] for name, values in curves.items() if values},
        "matching": {name: measured["model"] for name, measured in matching["matching"].items()},
        "attention": {
            "layer": best_layer(attention),
            "on_named_object": [it["value"] for it in _by_layer(attention)],
            "without_preference": attention["uniform"]["value"],
        },
        "matching_on_validation": dict(zip(*pretraining.curve(MATCHING, "val"), strict=True)),
        "accuracy": {task: {start: _accuracy(out / f"{task}_{start}", task) for start in STARTS} for task in TASKS},
    }
    for name, text in zip(
        FILES, (as_json(summary), render_page(summary, matching, attention, pretraining, corpus, out)), strict=True
    ):
        write_output(out / name, text)
    rows = [
        (f"{LOSSES[name]} loss, first → last", f"{first:.3f} → {last:.3f}")
        for name, (first, last) in summary["losses"].items()
    ]
    rows.append(("held-out scenes: own caption above another's, percent", shown(summary["matching"]["pair_accuracy"])))
    for task, name in TASKS.items():
        base, muvla = (f"{summary['accuracy'][task][start]:.1%}" for start in STARTS)
        rows.append((f"{name}, fine-tuned from BERT alone → from μ-VLA", f"{base} → {muvla}"))
    rows.append(("seconds in all", f"{sum(summary['stages_s'].values()):.0f}"))
    console = terminal_console()
    print_table(Table(("what", "result"), rows, "μ-VLA on the toy world"), console)
    console.print(f"{out / 'summary.json'}\n{out / 'report.html'}")


def best_layer(attention: Mapping[str, Any]) -> int:
    """The layer, from 0, whose words look at what they name most, of what ``tools/evaluate_attention.py`` measures."""
    return int(np.argmax([it["value"] for it in _by_layer(attention)]))


def _by_layer(attention: Mapping[str, Any], measure: str = "mean_of_heads") -> Sequence[Mapping[str, float]]:
    return next(iter(attention["systems"].values()))["measures"][measure][:-1]  # the last is that of the best layer


def _attention_table(attention: Mapping[str, Any]) -> Table:
    names = {"mean_of_heads": "on the named object", "mean_of_heads_shuffled": "shuffled picture"}
    names |= {"to_regions": "attention to regions"}
    columns = zip(*(map(shown, _by_layer(attention, name)) for name in names), strict=True)
    return Table(("percent, layer", *names.values()), [(layer, *cells) for layer, cells in enumerate(columns)])


def read_results(folder: Path) -> dict[str, Any]:
    """The ``results.json`` of a run, or of what a tool has measured."""
    return json.loads((folder / RESULTS).read_text(encoding="utf-8"))


def _accuracy(run: Path, task: str) -> float:
    return round(read_results(run)["test"][TASK_NAMED[task].metric], 4)


def render_page(
    summary: Mapping[str, Any],
    matching: Mapping[str, Any],
    attention: Mapping[str, Any],
    pretraining: RunHistory,
    corpus: Corpus,
    out: Path,
) -> str:
    """The page, self-contained: styles, plots and pictures are inside."""
    losses = {
        title: {split: pretraining.curve(name, split) for split in ("train", "val")} for name, title in LOSSES.items()
    }
    updates, deciles = pretraining.curve("w_itm_deciles")
    weights = decile_fan(updates, deciles, pretraining.curve("w_itm")[1], "match probability of retrieved pairs")  # type: ignore[arg-type]
    fine_tuning: dict[str, dict[str, Curve]] = {name: {} for name in TASKS.values()}
    for (task, name), (start, label) in itertools.product(TASKS.items(), STARTS.items()):
        fine_tuning[name][label] = read_history(out / f"{task}_{start}").curve(TASK_NAMED[task].metric, "val")
    folder = out / "toyworld" / "pictures"
    pictures = Pictures(str(folder)) if folder.is_dir() else None
    step = max(1, min(len(corpus), 60) // EXAMPLES)
    images = [page_image(corpus, i * step) for i in range(min(EXAMPLES, len(corpus)))]
    add_pictures(images, corpus, pictures)
    return render(
        "demo.html.j2",
        summary=summary,
        loss_names=LOSSES,
        losses_svg=themed(small_multiples(losses)),
        begins_svg=themed(share_over_updates(pretraining.curve(MATCHING, "val"), "validation pairs told right")),
        tables=[*matching_tables(matching)],
        compared=explained(matching)[0],
        weights_svg=themed(weights),
        attention_tables=[_attention_table(attention)],
        attention_drawn=png_uri((out / "attention" / "drawn" / "attention.png").read_bytes()),
        tasks=TASKS,
        fine_tuning_svg=themed(small_multiples(fine_tuning)),
        data=page_data(images, measure_tables(corpus)["links"]["similarity"]["deciles"]),
        k=corpus.k,
    )
