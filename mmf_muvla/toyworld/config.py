"""The settings of a toy world."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.comparisons import PAIRS_PER_SET
from mmf_muvla.toyworld.detector import DetectorConfig
from mmf_muvla.toyworld.entailment import EXAMPLES_PER_ROUND
from mmf_muvla.toyworld.scenes import MAX_OBJECTS

SPLITS = ("train", "val", "test")

_LEAST_NUMBERS = {
    ("task", "scenes"): 1,
    ("vqa", "questions"): 1,
    ("entailment", "examples"): EXAMPLES_PER_ROUND,
    ("refcoco", "expressions"): MAX_OBJECTS,
    ("nlvr2", "sentences"): 2,
    ("nlvr2", "examples"): PAIRS_PER_SET * 2,
}
"""What every split has a number of, with the least that can be made."""


@dataclass(frozen=True)
class ToyWorldConfig:
    """Settings of a world. Equal settings make equal bytes.

    Attributes:
        seed: of everything but the detector's network, which is always the same.
        scenes: images of the image-only corpus (``regions/``).
        true_captions: captions of each of them, for systems that learn from true pairs.
        captions: sentences of the caption corpus, told of scenes that no image shows.
        books: sentences of the book-like corpus.
        heldout_scenes: images for held-out image-sentence matching (``regions_heldout/``).
        heldout_captions: true captions of each of them.
        task_train_scenes, task_val_scenes, task_test_scenes: images of the splits of the tasks on one image
            (``regions_tasks/``): questions, hypotheses and referring expressions.
        vqa_train_questions, …: questions on them.
        entailment_train_examples, …: hypotheses on them, at most; they come in nines.
        refcoco_train_expressions, …: expressions for objects in them, at most; all objects of an image, or none.
        nlvr2_train_examples, …: sentences about two images (``regions_nlvr2/``), at most; they come in sets of four
            pairs of images.
        nlvr2_train_sentences, …: sentences that are told of each set, an even number. The more, the fewer images.
        pictures: how many scenes of ``regions/`` are drawn, beside all held-out ones.
        colour_habit: probability that an object has a usual colour of its category; in the tasks' scenes
            all colours are equally likely, so that a colour must be seen.
        crowd_probability: probability that a scene has a group of one category; the tasks have twice as many.
        stray_probability: probability that an object is of any category, wherever it lives. Without strays the kind of
            place alone tells nearly all pairs of image and sentence apart, and matching learns nothing about objects.
            The tasks' scenes have none: there the kind of place must not help.
        detector: how good the simulated detector is.
    """

    seed: int = 0
    scenes: int = 6000
    true_captions: int = 2
    captions: int = 6000
    books: int = 6000
    heldout_scenes: int = 300
    heldout_captions: int = 2
    task_train_scenes: int = 240
    task_val_scenes: int = 150
    task_test_scenes: int = 280
    vqa_train_questions: int = 1800
    vqa_val_questions: int = 700
    vqa_test_questions: int = 1300
    entailment_train_examples: int = 2700
    entailment_val_examples: int = 600
    entailment_test_examples: int = 1200
    refcoco_train_expressions: int = 1200
    refcoco_val_expressions: int = 500
    refcoco_test_expressions: int = 1000
    nlvr2_train_examples: int = 2160
    nlvr2_val_examples: int = 600
    nlvr2_test_examples: int = 1200
    nlvr2_train_sentences: int = 18
    nlvr2_val_sentences: int = 6
    nlvr2_test_sentences: int = 6
    pictures: int = 60
    colour_habit: float = 0.5
    crowd_probability: float = 0.4
    stray_probability: float = 0.75
    detector: DetectorConfig = field(default_factory=DetectorConfig)

    def of_split(self, task: str, things: str, split: str) -> int:
        """The number of a task's things in one split: ``("vqa", "questions", "val")``."""
        number: int = getattr(self, f"{task}_{split}_{things}")
        return number

    @property
    def task_crowd_probability(self) -> float:
        """Probability that a scene of a task has a group of one category."""
        return min(1.0, 2 * self.crowd_probability)

    def __post_init__(self) -> None:
        for name in ("scenes", "true_captions", "captions", "books", "heldout_scenes", "heldout_captions"):
            _check(name, getattr(self, name), 1, 900_000)
        for name in ("seed", "pictures"):
            _check(name, getattr(self, name), 0, 2**31 - 1)
        for (task, things), least in _LEAST_NUMBERS.items():
            for split in SPLITS:
                _check(f"{task}_{split}_{things}", self.of_split(task, things, split), least, 900_000)
        for split in SPLITS:
            if (sentences := self.of_split("nlvr2", "sentences", split)) % 2:
                raise InputError(f"nlvr2_{split}_sentences={sentences}", "not an even number", "Give an even number")
            if (examples := self.of_split("nlvr2", "examples", split)) < PAIRS_PER_SET * sentences:
                remedy = f"Give {PAIRS_PER_SET * sentences} or more, or a smaller nlvr2_{split}_sentences"
                raise InputError(f"nlvr2_{split}_examples={examples}", "less than one set of pairs has", remedy)
        for name in ("colour_habit", "crowd_probability", "stray_probability"):
            _check(name, getattr(self, name), 0.0, 1.0)
        for name in ("missed", "doubled", "misnamed", "attributes"):
            _check(f"detector.{name}", getattr(self.detector, name), 0.0, 1.0)
        for name in ("box_jitter", "surroundings", "viewpoint", "feature_noise"):
            _check(f"detector.{name}", getattr(self.detector, name), 0.0, 100.0)


def _check(name: str, value: Any, least: float, most: float) -> None:
    """Raise InputError unless ``value`` is a number of the limits' type between them."""
    kinds = (int,) if isinstance(least, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        what = "a whole number" if isinstance(least, int) else "a number"
        raise InputError(f"{name}={value}", "not a usable value", f"Give {what} from {least} to {most}")
