"""The command ``tools/evaluate_matching.py``: how a run matches images with captions, printed and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.outputs import check_outputs, output_folder
from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, RECALLS
from mmf_muvla.report.matching_evaluation import MatchingEvaluation, MatchingOptions
from mmf_muvla.report.measures_page import RESULTS, publish_measures
from mmf_muvla.report.retrieval_options import read_retrieval_options
from mmf_muvla.report.tables import MISSING, Table

_PAGE = "matching.html"
FILES = (RESULTS, _PAGE)
_TITLES = {
    "pair_accuracy": "own caption above another image's",
    "auc": "AUC of own against other pairs",
    "accuracy": "on the right side of probability 0.5",
    **{f"{it}_r{k}": f"{it.replace('_to_', ' → ')} R@{k}" for it in DIRECTIONS for k in RECALLS},
}
_NOUNS = {"all": "all", "detected": "detected in the image", "not_detected": "not detected in it"}


def matching_command(arguments: Sequence[str]) -> None:
    """``run=FOLDER captions=FILE regions=FOLDER [key=value …]``: measure a run, print the measures, and write
    ``results.json`` and ``matching.html``."""
    options = read_retrieval_options(MatchingOptions, arguments)
    run = Path(options.run)
    inputs = [run, Path(options.captions), Path(options.regions)]
    out = output_folder("out", options.out or run / "matching", inputs, may_be_inside=True)
    check_outputs(out, FILES)
    results = MatchingEvaluation(options).results()
    publish_measures(
        out,
        _PAGE,
        results,
        [*matching_tables(results)],
        title="Matching images with captions",
        about=explained(results),
        tool="evaluate_matching.py",
        arguments=arguments,
    )


def matching_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Of the measures, and of masked nouns, as far as there are any."""
    matching, counts = results["matching"], f"{results['images']:,} images, {results['candidates']:,} candidates"
    rows = [
        (
            _TITLES[name],
            *(shown(of[it]) for it in ("model", "sentence_bert", "difference")),
            f"{100 * of['by_chance']:.1f}",
        )
        for name, of in matching.items()
    ]
    if rows:
        header = ("per cent", "this run", "Sentence-BERT on tags", "difference", "by chance")
        yield Table(header, rows, f"Matching, {counts}")
    both = [
        (_TITLES[name], *(shown(of[it]) for it in ("together", "gain")))
        for name, of in matching.items()
        if of["together"]
    ]
    if both:
        columns = ("per cent", "both together", "more than Sentence-BERT")
        yield Table(columns, both, f"This run and Sentence-BERT together, {counts}")
    nouns = [
        (_NOUNS[kind], f"{of['count']:,}", *(shown(of[it], 1, 3) for it in ("with_own", "with_another", "gap")))
        for kind, of in results["nouns"].items()
    ]
    if nouns:
        header = ("masked nouns", "number", "nats with the own image", "with another image", "gap")
        yield Table(header, nouns, "Masked nouns")


def shown(measured: Mapping[str, float] | None, factor: float = 100, digits: int = 1) -> str:
    """A measure with its interval: "86.1 (83.0 to 89.2)"."""
    if measured is None:
        return MISSING
    value, low, high = (f"{factor * measured[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def explained(results: Mapping[str, Any]) -> list[str]:
    """What was compared, what was left out, and what the figures mean, a paragraph each."""
    counts, rest = results["counts"], []
    if left := counts["images"] - results["images"]:
        rest.append(f"Further images with captions, not drawn: {left:,}.")
    if unknown := counts["captions_of_unknown_images"]:
        rest.append(
            f"Captions of images without regions, left out: {unknown:,}, of {counts['unknown_images']:,} images."
        )
    if repeated := counts["repeated_captions"]:
        rest.append(f"Captions that an image has twice, left out: {repeated:,}.")
    compared = (
        f"{results['images']:,} images, each with one of its captions, compared with {results['candidates'] - 1:,} "
        f"others (seed {results['options']['seed']}). In brackets: 95 % intervals, by {results['resamples']:,} "
        "bootstrap samples of the images."
    )
    meanings = [" ".join([compared, *rest])]
    if not any(of["model"] for of in results["matching"].values()):
        meanings.append("This run does not learn matching: its matching head is as it was at the start.")
    if not any(of["sentence_bert"] for of in results["matching"].values()):
        meanings.append(
            "Sentence-BERT has no tags to go by: only a region store (tools/import_regions.py) has names of classes."
        )
    if any(of["together"] for of in results["matching"].values()):
        meanings.append(
            "Both together: the sum of the two scores, each divided by its standard deviation. What this is ahead of "
            "Sentence-BERT is what the run knows beyond the retrieval that it learned from."
        )
    if results["nouns"]:
        meanings.append(
            "The gap is by how much a masked noun of a caption is easier to predict beside its own image than beside "
            "another: above 0, the model uses the image."
        )
    return [*meanings, _hint(results["last_validation"])]


def _hint(validation: Mapping[str, float] | None) -> str:
    hint = (
        "The validations of a pre-training ask about retrieved pairs, of which many do not belong together: what they "
        "say is a hint, not a truth."
    )
    if validation is None:
        return hint
    accuracy, itm = f"{validation['muvla_itm_accuracy']:.1%}", f"{validation['itm']:.3f}"
    return (
        f"{hint} The last one of this run told {accuracy} of them right (ITM {itm}, update {validation['update']:,})."
    )
