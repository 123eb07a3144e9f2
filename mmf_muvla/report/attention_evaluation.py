"""Whether words look at what they name: measured on the generated world, where the truth is known, for several runs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.datasets.images import ImageSource, open_images
from mmf_muvla.errors import InputError
from mmf_muvla.interface import Attention, Model, load
from mmf_muvla.objectives.masking import Bools, Floats
from mmf_muvla.options.kinds import Count, Name, Options, Paths, Seed, as_paths
from mmf_muvla.report.attention_measures import Targets, at_heads, best_heads, halves, shares_on
from mmf_muvla.report.matching_measures import RESAMPLES, Statistic, difference, measure, resample
from mmf_muvla.report.matching_scores import CaptionedImages, captioned_images, other_images
from mmf_muvla.toyworld.mentions import nouns_said
from mmf_muvla.toyworld.naming import Naming, named_objects, read_scenes

_log = logging.getLogger(__name__)
_WITHOUT_EFFECT = ("out", "batch_size", "device")
Span = tuple[int, int]


@dataclass
class AttentionOptions(Options):
    """The options of the command, which says what they mean."""

    world: Name
    regions: Name
    runs: dict[str, Paths]
    out: Name
    captions: Name | None = None
    weights: Name | None = None
    num_images: Count = 500
    seed: Seed = 0
    batch_size: Count = 64
    device: Name = "auto"


@dataclass(frozen=True)
class Question:
    """An image with its own caption, and with another image's.

    ``named`` are objects that the own caption names, and ``strangers`` where in the other one nouns stand that name
    nothing in the image.
    """

    image_id: str
    own: str
    other: str
    named: list[Naming]
    strangers: list[Span]


@dataclass(frozen=True)
class RunShares:
    """Shares of attention on the target objects in one run, float [targets, layers, heads + 1], see
    :func:`~mmf_muvla.report.attention_measures.shares_on`.

    ``own`` is that of the words that name them, and ``shuffled`` that of the strangers in another image's caption, NaN
    where there are none. ``to_regions``, float [targets, layers], is how much of the naming word's attention goes to
    regions at all. All are NaN where a run does not read the word.
    """

    own: Floats
    shuffled: Floats
    to_regions: Floats

    def chosen(self, rows: Bools) -> RunShares:
        """The shares of some targets, bool [targets]."""
        return RunShares(self.own[rows], self.shuffled[rows], self.to_regions[rows])


def make_questions(
    captioned: CaptionedImages, images: ImageSource, world: Path, seed: int
) -> tuple[list[Question], Counter[str]]:
    """The questions about some captioned images, and how many nouns were left out of each kind.

    Raises:
        InputError: an image is none of the world's.
    """
    scenes = read_scenes(world / "scenes.jsonl")
    other = other_images(len(captioned), seed)
    questions: list[Question] = []
    left_out: Counter[str] = Counter()
    for number, (image_id, caption) in enumerate(zip(captioned.image_ids, captioned.captions, strict=True)):
        if (scene := scenes.get(image_id)) is None:
            problem, remedy = f"has no scene {image_id}", "Give the world that captions and regions are of"
            raise InputError(str(world), problem, remedy)
        named, others = named_objects(scene, caption, images.get(image_id).bbox)
        left_out += others
        there = {it.category for it in scene.objects}
        sentence = captioned.captions[other[number]]
        strangers = [(start, end) for start, end, category in nouns_said(sentence) if category not in there]
        questions.append(Question(image_id, caption, sentence, named, strangers))
    return questions, left_out


def shares_of(model: Model, images: ImageSource, questions: Sequence[Question], batch_size: int) -> RunShares:
    """Measure one run on all questions; a row for each named object."""
    own, shuffled, to_regions = [], [], []
    for start in range(0, len(questions), batch_size):
        part = questions[start : start + batch_size]
        seen = [images.get(it.image_id) for it in part]
        of_own = model.attention(seen, [it.own for it in part], batch_size=batch_size)
        of_other = model.attention(seen, [it.other for it in part], batch_size=batch_size)
        for question, looks, looks_elsewhere in zip(part, of_own, of_other, strict=True):
            found = (_of_noun(looks_elsewhere, span) for span in question.strangers)
            strangers = [weights for weights in found if np.isfinite(weights).all()]
            for named in question.named:
                weights = _of_noun(looks, (named.start, named.end))
                own.append(shares_on(weights, named.shown))
                control = [shares_on(it, named.shown) for it in strangers]
                shuffled.append(np.mean(control, axis=0) if control else np.full_like(own[-1], np.nan))
                to_regions.append(weights.mean(axis=1).sum(axis=1, dtype=np.float64))
    return RunShares(*(np.array(it) for it in (own, shuffled, to_regions)))


def _of_noun(attention: Attention, span: Span) -> Any:
    """The weights of the words of a noun, float [layers, heads, regions]; NaN where the model does not read it."""
    inside = [start < span[1] and end > span[0] for start, end in attention.spans]
    if not any(inside):
        return np.full_like(attention.weights[:, :, 0], np.nan)
    return attention.weights[:, :, inside].mean(axis=2)


class AttentionEvaluation:
    """Runs of one or several systems, and images with captions of a world to measure them on.

    Raises:
        InputError: runs, captions, regions and world do not go together, or nothing can be measured on them.
    """

    def __init__(self, options: AttentionOptions):
        self.options = options
        world = Path(options.world).expanduser()
        self.runs = [(name, path) for name, paths in options.runs.items() for path in as_paths(paths)]
        if not self.runs:
            raise InputError("runs", "none is given", "Name systems and their runs: runs.muvla=[save/0,save/1]")
        if len(set(self.runs)) < len(self.runs):
            (name, path), _ = Counter(self.runs).most_common(1)[0]
            raise InputError(f"runs.{name}", f"has {path} more than once", "Name each run once")
        models = [self._load(path) for _, path in self.runs]
        images = open_images(options.regions, models[0].config.feature_dim)
        captions = options.captions or world / "heldout_pairs.jsonl"
        self.captioned = captioned_images(captions, images, options.num_images, options.seed)
        self.questions, self.left_out = make_questions(self.captioned, images, world, options.seed)
        named = [(number, it) for number, question in enumerate(self.questions) for it in question.named]
        found = [shares_of(model, images, self.questions, options.batch_size) for model in models] if named else []
        read = np.all([np.isfinite(it.to_regions).all(axis=1) for it in found], axis=0) if found else np.zeros(0, bool)
        self.left_out["cut_off"] = len(named) - int(read.sum())
        self.shares = [it.chosen(read) for it in found]
        kept = [it for it, is_read in zip(named, read, strict=True) if is_read] if named else []
        self.targets = Targets(
            np.array([number for number, _ in kept], np.int64), np.array([it.shown.mean() for _, it in kept])
        )
        self.num_images = len(self.captioned)
        self.in_half = halves(self.num_images, options.seed)[self.targets.image]
        if self.in_half.all() or not self.in_half.any():
            problem = f"name {len(kept)} objects that are the only ones of their kind, too few to measure on"
            raise InputError(str(captions), problem, "Give captions of more images")
        self.resamples = resample(self.num_images, options.seed)

    def results(self) -> dict[str, Any]:
        """What ``results.json`` holds: the ``options`` that change figures, how much was measured, ``uniform``, and for
        each system its layers and runs (see :meth:`_system`); and ``differences`` to the first system."""
        by_system: dict[str, list[dict[str, Floats]]] = {}
        for (name, _), shares in zip(self.runs, self.shares, strict=True):
            by_system.setdefault(name, []).append(self._columns(shares))
        return {
            "options": {name: value for name, value in asdict(self.options).items() if name not in _WITHOUT_EFFECT},
            "resamples": RESAMPLES,
            "images": self.num_images,
            "targets": len(self.targets.image),
            "targets_with_shuffled": int(np.isfinite(self.shares[0].shuffled[:, 0, 0]).sum()),
            "left_out": dict(self.left_out),
            "uniform": self._measured(self._mean(self.targets.uniform)),
            "systems": {name: self._system(name, columns) for name, columns in by_system.items()},
            "differences": self._differences(by_system),
        }

    def _columns(self, shares: RunShares) -> dict[str, Floats]:
        """The values of one run for each target, float [targets, layers + 1]: the last one is of the best layer, or of
        the best head of all layers, both chosen on other images."""
        own, shuffled = shares.own[:, :, :-1], shares.shuffled[:, :, :-1]
        heads = best_heads(own, self.in_half)
        best, best_shuffled = (at_heads(it, self.in_half, heads) for it in (own, shuffled))
        means = shares.own[:, :, -1:], shares.shuffled[:, :, -1:], shares.to_regions[:, :, None]
        layers = best_heads(means[0], self.in_half)
        mean, mean_shuffled, to_regions = (at_heads(it, self.in_half, layers) for it in means)
        return {
            "mean_of_heads": mean,
            "mean_of_heads_shuffled": mean_shuffled,
            "best_head": best,
            "best_head_shuffled": best_shuffled,
            "best_head_above_shuffled": best - best_shuffled,
            "to_regions": to_regions,
        }

    def _system(self, name: str, runs: Sequence[Mapping[str, Floats]]) -> dict[str, Any]:
        """``measures``: name -> a value with its interval for each layer, and for the best of all, of the mean over
        runs. ``runs``: the values of each, without intervals."""
        paths = [str(path) for system, path in self.runs if system == name]
        means = _mean_of_runs(runs, name)
        return {
            "measures": {
                column: [self._measured(self._mean(values)) for values in of_layers.T]
                for column, of_layers in means.items()
            },
            "runs": {
                path: {
                    column: [
                        round(float(np.nanmean(values)), 6) if np.isfinite(values).any() else None for values in of.T
                    ]
                    for column, of in columns.items()
                }
                for path, columns in zip(paths, runs, strict=True)
            },
        }

    def _differences(self, by_system: Mapping[str, Sequence[Mapping[str, Floats]]]) -> dict[str, Any]:
        """How much more the first system has of each measure than each other one, on the same targets; by layer where
        both have as many, and at the best of all."""
        first, *others = ((name, _mean_of_runs(runs, name)) for name, runs in by_system.items())
        found: dict[str, Any] = {}
        for name, columns in others:
            found[name] = {}
            for column, of_layers in columns.items():
                one = first[1][column]
                if one.shape != of_layers.shape:
                    one, of_layers = one[:, -1:], of_layers[:, -1:]
                found[name][column] = [
                    self._measured(difference(self._mean(a), self._mean(b)))
                    for a, b in zip(one.T, of_layers.T, strict=True)
                ]
        return found

    def _mean(self, values: Floats) -> Statistic:
        return self.targets.mean(values, self.num_images)

    def _measured(self, statistic: Statistic) -> dict[str, float] | None:
        found = measure(statistic, self.resamples)
        return None if found is None else {name: round(value, 6) for name, value in asdict(found).items()}

    def _load(self, path: Path) -> Model:
        _log.info("loading %s", path)
        return load(path, weights=self.options.weights, device=self.options.device)


def _mean_of_runs(runs: Sequence[Mapping[str, Floats]], name: str) -> dict[str, Floats]:
    depths = {columns["to_regions"].shape[1] - 1 for columns in runs}
    if len(depths) > 1:
        layers = ", ".join(map(str, sorted(depths)))
        raise InputError(f"runs.{name}", f"its runs have different numbers of layers: {layers}", "Give them two names")
    return {column: np.mean([columns[column] for columns in runs], axis=0) for column in runs[0]}
