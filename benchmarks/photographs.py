"""The table of docs/results/photographs, from measures that tools/evaluate_matching.py has made of runs of several
seeds.

    python benchmarks/photographs.py keep SYSTEM SEED FOLDER   # FOLDER: the out= of tools/evaluate_matching.py
    python benchmarks/photographs.py                           # make the table of what is kept

What is kept of a run is a line in measures.jsonl: the measures, and nothing of the folders that they were made in.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

KEPT = Path(__file__).resolve().parents[1] / "docs" / "results" / "photographs"
MEASURES, RETRIEVAL, TABLE = "measures.jsonl", "retrieval.json", "table.md"
RETRIEVAL_TITLE = (
    "Zero-shot retrieval by the matching head of the model with CSLS, K = 20 and the words of a larger BERT: 500 "
    "images and their 2,501 captions; percent, and median ranks, with 95 percent intervals."
)
SYSTEMS = {
    "start": "the start: a small BERT, untrained on images",
    "u_visualbert": "U-VisualBERT",
    "k5": "published recipe, K = 5",
    "csls20": "CSLS, K = 20",
    "k5_words": "K = 5, words of a larger BERT, dropout",
    "csls20_words": "CSLS, K = 20, words of a larger BERT",
    "csls20_words_long": "the same, dropout, twice as long",
    "csls20_words_hard": "CSLS, K = 20, words of a larger BERT, mismatched sentences of images with like tags",
    "csls20_minilm": "CSLS, K = 20, a trunk of MiniLM's 6 layers of 384",
    "second_round": "CSLS, K = 50, the best 20 by a model and Sentence-BERT together, words of a larger BERT",
    "csls50_words": "CSLS, K = 50, words of a larger BERT, dropout",
}
COLUMNS = {
    "pair_accuracy": "own caption above another's",
    "auc": "AUC",
    "image_to_text_r1": "image → text R@1",
    "image_to_text_r10": "R@10",
    "text_to_image_r1": "text → image R@1",
    "text_to_image_r10": "R@10",
}


def keep(system: str, seed: int, folder: Path) -> dict[str, Any]:
    """What is kept of a run's ``results.json``: the measures, and by what they were made."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    run = json.loads((Path(results["options"]["run"]) / "results.json").read_text(encoding="utf-8"))
    return {
        "system": system,
        "seed": seed,
        "update": run["updates_trained"],
        "images": results["images"],
        "candidates": results["candidates"],
        **{
            name: {who: it[who] for who in ("model", "sentence_bert", "together", "gain")}
            for name, it in results["matching"].items()
        },
        "noun_gap": results["nouns"]["all"]["gap"],
        "noun_gap_detected": results["nouns"]["detected"]["gap"],
    }


def table(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Rows of Markdown: Sentence-BERT with its interval, and each system with mean and standard error over seeds."""
    first = lines[0]
    yield (
        f"{first['images']} images that were not trained on, each with one of its captions, compared with "
        f"{first['candidates'] - 1} others; percent, and nats. Together with Sentence-BERT: how often the own caption "
        "has the higher sum of both scores, each divided by its standard deviation. Mean ± standard error over seeds "
        "(their number), or, of one thing, a 95 percent interval by bootstrap over images."
    )
    yield ""
    more = ("together with Sentence-BERT", "gap of masked nouns", "of detected ones")
    yield f"| system | updates | {' | '.join([*COLUMNS.values(), *more])} |"
    yield "| --- " + "| ---: " * (len(COLUMNS) + len(more) + 1) + "|"
    cells = [_interval(first[name]["sentence_bert"], 100) for name in COLUMNS]
    yield f"| Sentence-BERT on the tags | | {' | '.join(cells)} | | | |"
    by_system: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        by_system[line["system"]].append(line)
    for system, label in SYSTEMS.items():
        if runs := by_system.pop(system, None):
            cells = [_mean([it[name]["model"] for it in runs], 100) for name in COLUMNS]
            cells.append(_mean([it["pair_accuracy"]["together"] for it in runs], 100))
            cells += [_mean([it[name] for it in runs], 1) for name in ("noun_gap", "noun_gap_detected")]
            (updates,) = {it["update"] for it in runs}
            yield f"| {label} | {updates:,} | {' | '.join(cells)} |"
    assert not by_system, f"unknown systems: {[*by_system]}"


def retrieval_table(results: dict[str, Any]) -> Iterator[str]:
    """Rows of Markdown, from the results.json of tools/evaluate_retrieval.py."""
    names = {"model": "this model", "start": "its start", "sentence_bert": "Sentence-BERT on the tags"}
    yield f"| | {' | '.join(names.values())} | by chance |"
    yield "|---|---:|---:|---:|---:|"
    for pool, measures in results["pools"].items():
        of = "all captions" if pool == "all" else f"pools of {pool}"
        for name, by in measures.items():
            scale = 1 if name.endswith("rank") else 100
            way = name.replace("image_to_text_", "image → text ").replace("text_to_image_", "text → image ")
            cells = " | ".join(_interval(by[who], scale, 1) for who in names)
            yield f"| {of}: {way.replace('_', ' ').replace('r@', 'R@')} | {cells} | {scale * by['by_chance']:.1f} |"


def _interval(measure: dict[str, float], scale: int, digits: int | None = None) -> str:
    digits = digits or (1 if scale == 100 else 2)
    value, low, high = (f"{scale * measure[it]:.{digits}f}" for it in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _mean(measures: list[dict[str, float]], scale: int) -> str:
    if None in measures:  # of a system that does not learn to match
        return ""
    if len(measures) == 1:
        return _interval(measures[0], scale)
    values = scale * np.array([it["value"] for it in measures])
    digits = 1 if scale == 100 else 2
    error = values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.{digits}f} ± {error:.{digits}f} ({len(values)})"


def main() -> None:
    arguments = sys.argv[1:]
    kept = KEPT / MEASURES
    lines = [json.loads(it) for it in kept.read_text(encoding="utf-8").splitlines()] if kept.is_file() else []
    if arguments:
        command, system, seed, folder = arguments
        if command != "keep" or system not in SYSTEMS:
            sys.exit(f"{__doc__}\nSystems: {', '.join(SYSTEMS)}")
        lines = [it for it in lines if (it["system"], it["seed"]) != (system, int(seed))]
        lines = sorted([*lines, keep(system, int(seed), Path(folder))], key=lambda it: (it["system"], it["seed"]))
        KEPT.mkdir(parents=True, exist_ok=True)
        kept.write_text("".join(f"{json.dumps(it)}\n" for it in lines), encoding="utf-8")
    found = json.loads((KEPT / RETRIEVAL).read_text(encoding="utf-8"))
    text = "\n".join([*table(lines), "", RETRIEVAL_TITLE, "", *retrieval_table(found)]) + "\n"
    (KEPT / TABLE).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
