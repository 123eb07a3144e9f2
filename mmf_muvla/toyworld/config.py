"""The settings of a toy world."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import check
from mmf_muvla.options.kinds import Options, Share, Whole, accept, kind, whole
from mmf_muvla.toyworld.comparisons import PAIRS_PER_SET
from mmf_muvla.toyworld.detector import DetectorConfig
from mmf_muvla.toyworld.entailment import EXAMPLES_PER_ROUND
from mmf_muvla.toyworld.scenes import MAX_OBJECTS

SPLITS = ("train", "val", "test")

Things = Annotated[Whole, Field(ge=1, le=900_000)]
Examples = Annotated[Whole, Field(ge=EXAMPLES_PER_ROUND, le=900_000)]
Expressions = Annotated[Whole, Field(ge=MAX_OBJECTS, le=900_000)]
Sentences = Annotated[Whole, Field(ge=2, le=900_000, multiple_of=2)]
Comparisons = Annotated[Whole, Field(ge=2 * PAIRS_PER_SET, le=900_000)]
Chance = Annotated[Whole, Field(ge=0, le=2**31 - 1)]


def _drawn(value: Any) -> Any:
    value = whole(value)
    return accept(value, value == "all" or (type(value) is int and 0 <= value < 2**31))


_NOT_DRAWN = ("is neither a whole number from 0 nor all", "Say how many scenes to draw, or all")
Drawn = Annotated[int | Literal["all"], kind(_drawn, *_NOT_DRAWN)]


@dataclass(frozen=True)
class WorldOptions(Options):
    """The options of a world.

    Attributes:
        seed: of everything but the detector's network, which is always the same.
        scenes: images of the image-only corpus (``regions/``).
        true_captions: captions of each of them, for systems that learn from true pairs.
        captions: sentences of the caption corpus, told of scenes that no image shows.
        books: sentences of the book-like corpus.
        stories: stories of three sentences each, about any two things, for a BERT that learns language first.
        heldout_scenes: images for held-out image-sentence matching (``regions_heldout/``).
        heldout_captions: true captions of each of them.
        task_train_scenes, …: images of the splits of the tasks on one image (``regions_tasks/``).
        vqa_train_questions, …: questions on them.
        entailment_train_examples, …: hypotheses on them, at most; they come in nines.
        refcoco_train_expressions, …: expressions for objects in them, at most; all objects of an image, or none.
        nlvr2_train_examples, …: sentences about two images (``regions_nlvr2/``), at most; whole sets of four pairs.
        nlvr2_train_sentences, …: sentences that are told of each set, an even number. The more, the fewer images.
        pictures: how many scenes of ``regions/`` are drawn, beside all held-out ones, for people: with labels. ``all``
            draws those of every folder of regions into a folder of its own (``pictures/regions_tasks/``), for
            detectors: without labels.
        colour_habit: probability that an object has a usual colour of its category; in the tasks' scenes
            all colours are equally likely, so that a colour must be seen.
        crowd_probability: probability that a scene has a group of one category; the tasks have twice as many.
        stray_probability: probability that an object is of any category, wherever it lives. Without strays the kind of
            place alone tells nearly all pairs apart, and matching learns nothing about objects. The tasks have none.
        detector: how good the simulated detector is.
    """

    seed: Chance = 0
    scenes: Things = 6000
    true_captions: Things = 2
    captions: Things = 6000
    books: Things = 6000
    stories: Things = 20_000
    heldout_scenes: Things = 300
    heldout_captions: Things = 2
    task_train_scenes: Things = 240
    task_val_scenes: Things = 150
    task_test_scenes: Things = 280
    vqa_train_questions: Things = 1800
    vqa_val_questions: Things = 700
    vqa_test_questions: Things = 1300
    entailment_train_examples: Examples = 2700
    entailment_val_examples: Examples = 600
    entailment_test_examples: Examples = 1200
    refcoco_train_expressions: Expressions = 1200
    refcoco_val_expressions: Expressions = 500
    refcoco_test_expressions: Expressions = 1000
    nlvr2_train_examples: Comparisons = 2160
    nlvr2_val_examples: Comparisons = 600
    nlvr2_test_examples: Comparisons = 1200
    nlvr2_train_sentences: Sentences = 18
    nlvr2_val_sentences: Sentences = 6
    nlvr2_test_sentences: Sentences = 6
    pictures: Drawn = 60
    colour_habit: Share = 0.5
    crowd_probability: Share = 0.4
    stray_probability: Share = 0.75
    detector: DetectorConfig = field(default_factory=DetectorConfig)


@dataclass(frozen=True)
class ToyWorldConfig(WorldOptions):
    """Settings of a world, checked. Equal settings make equal bytes.

    Raises:
        InputError: one of them cannot be used.
    """

    def __post_init__(self) -> None:
        check(WorldOptions, asdict(self), lambda _: "")
        for split in SPLITS:
            sentences, examples = (getattr(self, f"nlvr2_{split}_{things}") for things in ("sentences", "examples"))
            if examples < PAIRS_PER_SET * sentences:
                remedy = f"Give {PAIRS_PER_SET * sentences} or more, or a smaller nlvr2_{split}_sentences"
                raise InputError(f"nlvr2_{split}_examples={examples}", "less than one set of pairs has", remedy)
