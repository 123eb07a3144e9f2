"""The command ``tools/evaluate_attention.py``: whether words look at what they name, printed and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.outputs import check_outputs, output_folder
from mmf_muvla.options.kinds import as_paths
from mmf_muvla.options.reading import read_options
from mmf_muvla.report.attention_evaluation import AttentionEvaluation, AttentionOptions
from mmf_muvla.report.matching_page import shown
from mmf_muvla.report.measures_page import RESULTS, publish_measures
from mmf_muvla.report.tables import MISSING, Table

_WIDTH_OF_FILES = 180  # the columns of one table
_PAGE = "attention.html"
FILES = (RESULTS, _PAGE)
_COLUMNS = {
    "mean_of_heads": "mean of heads",
    "mean_of_heads_shuffled": "shuffled picture",
    "best_head": "best head",
    "best_head_shuffled": "its shuffled picture",
    "best_head_above_shuffled": "best head above shuffled",
    "to_regions": "attention to regions",
}
_LEFT_OUT = {
    "absent": "the scene has no such object",
    "several": "it has several",
    "not_detected": "no region shows it",
    "cut_off": "a run does not read that far",
}


def evaluate_command(arguments: Sequence[str]) -> None:
    """``world=FOLDER regions=FOLDER runs.NAME=[RUN,…] out=FOLDER [key=value …]``: measure runs, print the measures, and
    write ``results.json`` and ``attention.html``."""
    options = read_options(AttentionOptions, arguments)
    runs = [path for paths in options.runs.values() for path in as_paths(paths)]
    out = output_folder("out", options.out, [Path(options.world), Path(options.regions), *runs], may_be_inside=True)
    check_outputs(out, FILES)
    results = AttentionEvaluation(options).results()
    publish_measures(
        out,
        _PAGE,
        results,
        [*attention_tables(results)],
        title="Do words look at what they name?",
        about=explained(results),
        tool="evaluate_attention.py",
        arguments=arguments,
        width=_WIDTH_OF_FILES,
    )


def attention_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Of all systems by layer, of the differences to the first one, and, where there are several runs, of each."""
    first, *_ = results["systems"]
    header = ("per cent", "layer", *_COLUMNS.values())
    rows = [row for name, it in results["systems"].items() for row in _by_layer(name, it["measures"])]
    yield Table(header, rows, f"Attention on the named object (without a preference: {shown(results['uniform'])})")
    if results["differences"]:
        rows = [row for name, of in results["differences"].items() for row in _by_layer(f"{first} – {name}", of)]
        yield Table(("points", *header[1:]), rows, "Differences, on the same words")
    if any(len(it["runs"]) > 1 for it in results["systems"].values()):
        rows = [row for name, it in results["systems"].items() for row in _runs(name, it["runs"])]
        yield Table(
            ("per cent", "run", *_COLUMNS.values()),
            rows,
            "Single runs, best layer and best head",
            names=(0, 1),
        )


def _by_layer(name: str, measures: Mapping[str, Sequence[Any]]) -> Iterator[list[str]]:
    """A row for each layer, from 0, and one for the best of all."""
    columns = [[shown(it) for it in measures[column]] for column in _COLUMNS]
    longest = len(columns[0])
    for layer, cells in enumerate(zip(*columns, strict=True)):
        yield [name, "best" if layer == longest - 1 else str(layer), *cells]


def _runs(name: str, runs: Mapping[str, Mapping[str, Sequence[float | None]]]) -> Iterator[list[str]]:
    """A row for each run, and below several their mean and standard deviation."""
    lines = [[columns[column][-1] for column in _COLUMNS] for columns in runs.values()]
    for path, line in zip(runs, lines, strict=True):
        yield [name, path, *(MISSING if it is None else f"{100 * it:.1f}" for it in line)]
    if len(lines) > 1 and not any(it is None for line in lines for it in line):
        values = 100 * np.array(lines, np.float64)
        cells = zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True)
        yield [name, f"mean of {len(lines)}", *(f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in cells)]


def explained(results: Mapping[str, Any]) -> list[str]:
    """What was measured, what was left out, and what the figures mean, a paragraph each."""
    left_out = "; ".join(
        f"{_LEFT_OUT[kind]}: {count:,}" for kind, count in sorted(results["left_out"].items()) if count
    )
    rest = f" Nouns left out – {left_out}." if left_out else ""
    seeds = max(len(it["runs"]) for it in results["systems"].values())
    return [
        f"{results['targets']:,} nouns in captions of {results['images']:,} images, each of which names the only "
        f"object of its kind in its image (seed {results['options']['seed']}).{rest} In brackets: 95 % intervals, by "
        f"{results['resamples']:,} bootstrap samples of the images"
        + (
            ", of the mean over a system's runs; what runs scatter is in the last table."
            if seeds > 1
            else "; they say nothing of how runs of other seeds would scatter, since each system has one run."
        ),
        "Of what a noun's attention gives to regions, this is the share on those that show the object. The mean of "
        "heads is that of weights, so that heads that look at regions more count more: it can be above each of them. "
        "The best head of a layer, and the best of all layers, are chosen on one half of the images and measured on "
        "the other.",
        "Shuffled picture: the same regions, looked at by the nouns of another image's caption that name nothing in "
        f"the image ({results['targets_with_shuffled']:,} of the objects have such). It shows what draws "
        "attention whatever is named.",
    ]
