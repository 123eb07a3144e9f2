"""What can be read from the text alone, or from the picture alone: simple learners that a fair task gives no chance.

They look at the truth (objects, colours, boxes), not at noisy features: what they cannot find is not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from mmf_muvla.regions.boxes import intersection_over_union
from mmf_muvla.toyworld.detector import Detection, Region
from mmf_muvla.toyworld.expressions import Expression
from mmf_muvla.toyworld.questions import KIND_SHARES
from mmf_muvla.toyworld.scenes import Box, Scene
from mmf_muvla.toyworld.tasks import Tasks

Data = tuple[Sequence[str], Sequence[str]]  # texts and labels
Shown = tuple[Sequence[Counter[str]], Sequence[str]]  # what images show, and labels
# The kind of a text if that tells which labels there are, the text, its label, and what its images show.
_Example = tuple[str, str, str, Counter[str]]


def majority(train: Sequence[str], test: Sequence[str]) -> float:
    """How often the commonest training label is right."""
    answer = Counter(train).most_common(1)[0][0]
    return sum(label == answer for label in test) / len(test)


def text_accuracies(train: Data, test: Data) -> dict[str, float]:
    """Logistic regression on words, and on words and pairs of words."""
    found = {}
    for longest in (1, 2):
        vectorizer = CountVectorizer(ngram_range=(1, longest))
        model = LogisticRegression(max_iter=150, C=0.3).fit(vectorizer.fit_transform(train[0]), train[1])
        found[f"{longest}-grams"] = float(model.score(vectorizer.transform(test[0]), test[1]))
    return found


def image_accuracies(train: Shown, test: Shown) -> dict[str, float]:
    """Logistic regression and five nearest neighbours on what the images show."""
    vectorizer = DictVectorizer()
    counts, test_counts = vectorizer.fit_transform(train[0]), vectorizer.transform(test[0])
    models = {"regression": LogisticRegression(max_iter=500, C=0.1), "neighbours": KNeighborsClassifier(5)}
    return {name: float(m.fit(counts, train[1]).score(test_counts, test[1])) for name, m in models.items()}


def shown(scenes: Iterable[tuple[str, Scene]]) -> Counter[str]:
    """How many objects there are of each category, of each colour, of both, and at all; names begin with a prefix."""
    counts: Counter[str] = Counter()
    for prefix, scene in scenes:
        for it in scene.objects:
            for fact in (it.category, it.colour, f"{it.colour} {it.category}", "all"):
                counts[f"{prefix}{fact}"] += 1
    return counts


def grounding_chance(expressions: Sequence[Expression], detections: dict[str, Detection]) -> float:
    """How often a region at random is the one that is meant."""
    return float(np.mean([_hits(detections[it.image_id].regions, it.box).mean() for it in expressions]))


def _hits(regions: Sequence[Region], target: Box) -> NDArray[np.bool_]:
    """Which regions are the target [n]."""
    return intersection_over_union([region.box for region in regions], target) > 0.5


def grounding_image_accuracies(
    train: Sequence[Expression], test: Sequence[Expression], detections: dict[str, Detection]
) -> dict[str, float]:
    """How often one rule for all pictures finds the region that is meant, and how often a regression on its facts."""

    def accuracy(score: Callable[[Region, Scene], float]) -> float:
        chosen = {name: max(it.regions, key=lambda r: score(r, it.scene)) for name, it in detections.items()}
        return float(np.mean([_hits([chosen[it.image_id]], it.box) for it in test]))

    regions = [(r, detections[it.image_id].scene, it) for it in train for r in detections[it.image_id].regions]
    vectorizer = DictVectorizer(sparse=False)
    inputs = vectorizer.fit_transform([_facts(region, scene) for region, scene, _ in regions])
    model = LogisticRegression(max_iter=200, C=0.1)
    model.fit(inputs, [bool(_hits([region], it.box)) for region, _, it in regions])

    def learned(region: Region, scene: Scene) -> float:
        return float(model.decision_function(vectorizer.transform([_facts(region, scene)]))[0])

    return {name: accuracy(rule) for name, rule in (_RULES | {"kind of region": learned}).items()}


def grounding_text_accuracy(
    train: Sequence[Expression], test: Sequence[Expression], scene_of: dict[str, Scene]
) -> float:
    """How often a box that is guessed from the words, in a picture that is not looked at, is the right one."""

    def scaled(expressions: Sequence[Expression]) -> np.ndarray:
        sides = [[scene_of[it.image_id].width, scene_of[it.image_id].height] * 2 for it in expressions]
        return np.array([it.box for it in expressions]) / sides

    vectorizer = CountVectorizer(ngram_range=(1, 2))
    model = Ridge(alpha=3.0).fit(vectorizer.fit_transform([it.text for it in train]), scaled(train))
    guesses = model.predict(vectorizer.transform([it.text for it in test]))
    return float(np.mean([intersection_over_union(*pair) > 0.5 for pair in zip(guesses, scaled(test), strict=True)]))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


_RULES: dict[str, Callable[[Region, Scene], float]] = {
    "largest": lambda r, s: _area(r.box),
    "smallest": lambda r, s: -_area(r.box),
    "leftmost": lambda r, s: -r.box[0] - r.box[2],
    "rightmost": lambda r, s: r.box[0] + r.box[2],
    "highest": lambda r, s: -r.box[1],
    "lowest": lambda r, s: r.box[3],
    "central": lambda r, s: -abs(r.box[0] + r.box[2] - s.width),
    "surest": lambda r, s: r.confidence,
}


def _facts(region: Region, scene: Scene) -> dict[str, float]:
    """What the picture says of a region: what it is, how it looks, where it is, and how many are like it."""
    it = region.truth
    x1, y1, x2, y2 = region.box
    return {
        it.category: 1.0,
        it.colour: 1.0,
        f"size {it.size}": 1.0,
        f"like {sum(other.category == it.category for other in scene.objects)}": 1.0,
        f"of colour {sum(other.colour == it.colour for other in scene.objects)}": 1.0,
        "x": (x1 + x2) / 2 / scene.width,
        "y": (y1 + y2) / 2 / scene.height,
        "area": _area(region.box) / scene.width / scene.height,
        "confidence": region.confidence,
    }


@dataclass(frozen=True)
class BlindScore:
    """What blind learners reach on a task.

    Attributes:
        task: name of the task.
        sees: ``"text"`` or ``"image"``.
        best: accuracy of the best of them on the test split.
        commonest: that of the commonest answer: of each kind of question for those who see the text (the kind is plain
            to see), of all for those who see the image; of a random region in referring expressions.
        count: examples of the test split.
    """

    task: str
    sees: str
    best: float
    commonest: float
    count: int


def blind_scores(tasks: Tasks, detections: dict[str, Detection]) -> list[BlindScore]:
    """Let blind learners try every task; ``detections`` are of the images of referring expressions, by image id."""
    scene_of = {scene.image_id: scene for scenes in tasks.scenes.values() for scene in scenes}

    def alone(image_id: str) -> Counter[str]:
        return shown([("", scene_of[image_id])])

    def both(pair: str) -> Counter[str]:
        return shown((f"{side} ", scene_of[f"{pair}-img{side}"]) for side in (0, 1))

    train, test = tasks.expressions["train"], tasks.expressions["test"]
    chance = grounding_chance(test, detections)
    by_image = max(grounding_image_accuracies(train, test, detections).values())
    return [
        *_scores("vqa2", tasks.questions, lambda q: (q.kind, q.text, q.answer, alone(q.image_id)), tuple(KIND_SHARES)),
        *_scores("nlvr2", tasks.comparisons, lambda c: ("", c.sentence, str(c.label), both(c.pair))),
        *_scores("visual_entailment", tasks.entailments, lambda e: ("", e.hypothesis, e.label, alone(e.image_id))),
        BlindScore("refcoco_plus", "text", grounding_text_accuracy(train, test, scene_of), chance, len(test)),
        BlindScore("refcoco_plus", "image", by_image, chance, len(test)),
    ]


def _scores(
    task: str, examples: Mapping[str, Sequence[Any]], describe: Callable[[Any], _Example], kinds: Sequence[str] = ("",)
) -> list[BlindScore]:
    splits = [[describe(it) for it in examples[split]] for split in ("train", "test")]
    (_, _, labels, images), (_, _, test_labels, test_images) = (list(zip(*split, strict=True)) for split in splits)
    by_text = commonest = 0.0
    for kind in kinds:
        train, test = ([it[1:3] for it in split if it[0] == kind] for split in splits)
        (words, answers), (test_words, test_answers) = (list(zip(*it, strict=True)) for it in (train, test))
        by_text += max(text_accuracies((words, answers), (test_words, test_answers)).values()) * len(test)
        commonest += majority(answers, test_answers) * len(test)
    count = len(test_labels)
    by_image = max(image_accuracies((images, labels), (test_images, test_labels)).values())
    return [
        BlindScore(task, "text", by_text / count, commonest / count, count),
        BlindScore(task, "image", by_image, majority(labels, test_labels), count),
    ]
