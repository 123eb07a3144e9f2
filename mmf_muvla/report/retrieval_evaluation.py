"""The command ``tools/evaluate_retrieval.py``: retrieval of captions of one's own by a run, beside what it began with,
what the pairs were made with, and chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from mmf_muvla.artifacts.outputs import check_outputs, output_folder
from mmf_muvla.datasets.images import ImageSource, open_images
from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, RECALLS, Captions
from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError
from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.options.kinds import Count, Flag, Name, Options, Seed, accept, as_list, kind, whole
from mmf_muvla.pairing.config import EmbeddingOptions, QueryOptions
from mmf_muvla.pairing.own_captions import tag_similarities
from mmf_muvla.report.matching import match_logits
from mmf_muvla.report.matching_evaluation import learns, texts_of_matching
from mmf_muvla.report.matching_measures import RESAMPLES, measure, resample
from mmf_muvla.report.matching_scores import captioned_images, store_with_names
from mmf_muvla.report.measures_page import RESULTS, publish_measures
from mmf_muvla.report.retrieval_measures import Scores, by_chance, make_pools, pool_statistics
from mmf_muvla.report.retrieval_options import read_retrieval_options
from mmf_muvla.report.tables import MISSING, Table
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.loading import load_run, load_start

_PAGE = "retrieval.html"
_WITHOUT_EFFECT = ("out", "batch_size", "device")
_SYSTEMS = {"model": "this run", "start": "its untrained start", "sentence_bert": "Sentence-BERT on tags"}
_TITLES = {
    **{f"{it}_r@{k}": f"{it.replace('_to_', ' → ')} R@{k}" for it in DIRECTIONS for k in RECALLS},
    **{f"{it}_median_rank": f"{it.replace('_to_', ' → ')} median rank" for it in DIRECTIONS},
}


def _pools(value: Any) -> list[int | str]:
    found = [whole(it) for it in (as_list(value) if isinstance(value, str | list) else [value])]
    return accept(found, bool(found) and all(it == "all" or (type(it) is int and it >= 2) for it in found))


Pools = Annotated[Any, kind(_pools, "is no list of sizes of pools", "Write numbers from 2, or all: [100,all]")]


@dataclass
class RetrievalOptions(Options):
    """The options of the command, which says what they mean."""

    run: Name
    captions: Name
    regions: Name
    out: Name | None = None
    weights: Name = "muvla_final.safetensors"
    pools: Pools = field(default_factory=lambda: [100, "all"])
    start: Flag = True
    num_images: Count = 1000
    seed: Seed = 0
    batch_size: Count = 64
    device: Name = "auto"
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    query: QueryOptions = field(default_factory=QueryOptions)


def retrieval_command(arguments: Sequence[str]) -> None:
    """``run=FOLDER captions=FILE regions=FOLDER [key=value …]``: rank images and captions by a run, print recalls, and
    write ``results.json`` and ``retrieval.html``."""
    options = read_retrieval_options(RetrievalOptions, arguments)
    run = Path(options.run)
    inputs = [run, Path(options.captions), Path(options.regions)]
    out = output_folder("out", options.out or run / "retrieval", inputs, may_be_inside=True)
    check_outputs(out, (RESULTS, _PAGE))
    results = evaluate_retrieval(options)
    publish_measures(
        out,
        _PAGE,
        results,
        [*_tables(results)],
        title="Retrieval",
        about=_explained(results),
        tool="evaluate_retrieval.py",
        arguments=arguments,
    )


def evaluate_retrieval(options: RetrievalOptions) -> dict[str, Any]:
    """What ``results.json`` holds: the ``options`` that change figures, how much was compared, and for each of the
    ``pools`` each measure of each system, and what is expected ``by_chance``.

    Raises:
        InputError: the run has no matching head, or files cannot be used.
    """
    run, device = Path(options.run), devices_of(options.device, "device")[0]
    model = load_run(run, options.weights).to(device)
    words, max_tokens = texts_of_matching(model, run)
    images = open_images(options.regions, model.options["trunk"]["feature_dim"])
    chosen = captioned_images(options.captions, images, options.num_images, options.seed)
    own = [(key, text) for key, texts in zip(chosen.image_ids, chosen.own, strict=True) for text in sorted(texts)]
    captions = Captions.of([(key, text, number) for number, (key, text) in enumerate(own)])

    def score(one: MuVLA) -> Scores:
        return _scores(one, words, images, captions, (options.batch_size, max_tokens))

    scores: dict[str, Scores] = {}
    if learns(model, "itm"):
        scores["model"] = score(model)
    else:
        log_message(f"{run}: it has not learned matching, and is left out", "warning")
    if options.start:
        scores["start"] = score(load_start(run).to(device))
    if (store := store_with_names(Path(options.regions))) is not None:
        ids = captions.image_ids
        scores["sentence_bert"] = tag_similarities(store, ids, captions.texts, options.embedding, options.query)
    return {
        "options": {name: value for name, value in asdict(options).items() if name not in _WITHOUT_EFFECT},
        "resamples": RESAMPLES,
        "images": len(captions.image_ids),
        "captions": len(captions),
        "counts": chosen.counts,
        "pools": {str(size): _measured(scores, captions, size, options.seed) for size in options.pools},
    }


def _measured(
    scores: Mapping[str, Scores], captions: Captions, size: int | str, seed: int
) -> dict[str, dict[str, Any]]:
    pools, count = make_pools(captions, size, seed), len(captions.image_ids)
    resamples = resample(count, seed)
    chance = by_chance(pools)
    found: dict[str, dict[str, Any]] = {name: {} for name in chance}
    for system in _SYSTEMS:
        statistics = pool_statistics(scores[system], pools, count) if system in scores else {}
        for name in chance:
            it = measure(statistics[name], resamples) if name in statistics else None
            found[name][system] = it and {part: round(value, 6) for part, value in asdict(it).items()}
    return {name: {**of, "by_chance": round(chance[name], 6)} for name, of in found.items()}


def _scores(model: MuVLA, words: WordPieces, images: ImageSource, captions: Captions, sizes: tuple[int, int]) -> Scores:
    pairs = [(key, text) for key in captions.image_ids for text in captions.texts]
    found = match_logits(model, words, images, pairs, *sizes).numpy().reshape(-1, len(captions.texts))
    if not np.isfinite(found).all():
        raise InputError("run", "what the model says is not finite", "Use weights of before the run diverged")
    return found


def _tables(results: Mapping[str, Any]) -> Iterator[Table]:
    header = ("per cent, and ranks", *_SYSTEMS.values(), "by chance")
    for size, measured in results["pools"].items():
        rows = [
            (_TITLES[name], *(_shown(of[it], name) for it in _SYSTEMS), _number(of["by_chance"], name))
            for name, of in measured.items()
        ]
        what = (
            f"{results['captions']:,} captions of {results['images']:,} images"
            if size == "all"
            else f"Pools of {min(int(size), results['images']):,} images with a caption each"
        )
        yield Table(header, rows, what)


def _shown(measured: Mapping[str, float] | None, name: str) -> str:
    """A measure with its interval: "8.6 (6.0 to 11.2)"."""
    if measured is None:
        return MISSING
    value, low, high = (_number(measured[part], name) for part in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _number(value: float, name: str) -> str:
    return f"{value:,.1f}" if name.endswith("_median_rank") else f"{100 * value:.1f}"


def _explained(results: Mapping[str, Any]) -> list[str]:
    counts = results["counts"]
    lead = (
        f"{results['images']:,} images with {results['captions']:,} captions (seed {results['options']['seed']}). In "
        f"brackets: 95 % intervals, by {results['resamples']:,} bootstrap samples of the images."
    )
    if unknown := counts["captions_of_unknown_images"]:
        lead += f" Captions of images without regions, left out: {unknown:,}, of {counts['unknown_images']:,} images."
    about = (
        "R@K is how often a right one is among the first K, the median rank its usual place. Equal scores count "
        "against whoever gives them. Of several captions of an image the best counts; its others do not compete."
    )
    return [lead, about]
