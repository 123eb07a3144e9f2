"""What nouns name, and which regions show it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mmf_muvla.toyworld.config import ToyWorldConfig
from mmf_muvla.toyworld.naming import named_objects, objects_shown
from mmf_muvla.toyworld.scenes import Scene, SceneObject
from mmf_muvla.toyworld.world import detections_in, pretraining_scenes

SCENE = Scene(
    "1", "park", 100, 100,
    (
        SceneObject("dog", "brown", None, (0, 0, 20, 20)),
        SceneObject("tree", "green", None, (40, 0, 100, 60)),
        SceneObject("tree", "green", "small", (40, 70, 60, 100)),
        SceneObject("ball", "red", None, (10, 80, 20, 90)),
    ),
)  # fmt: skip
# The dog twice, the first tree, and something that is nothing.
BOXES = np.array([[1, 0, 21, 20], [40, 2, 100, 60], [0, 1, 20, 22], [0, 40, 20, 60]], np.float32)


def test_regions_show_what_they_overlap() -> None:
    assert objects_shown(SCENE, BOXES).tolist() == [0, 1, 0, -1]


def test_nouns_that_are_sure_are_found_and_others_counted() -> None:
    sentence = "A puppy under a tree, a red ball and a cat"
    (found,), left_out = named_objects(SCENE, sentence, BOXES)
    assert sentence[found.start : found.end] == "puppy" and found.category == "dog"
    assert found.shown.tolist() == [True, False, True, False]
    assert left_out == Counter(several=1, not_detected=1, absent=1)


def test_the_detector_knows_the_same() -> None:
    """Boxes alone tell nearly all regions to the objects that they were made of."""
    config = ToyWorldConfig(scenes=60)
    right: list[bool] = []
    for detection in detections_in(config, "regions", pretraining_scenes(config)):
        scene = detection.scene
        shown = objects_shown(scene, [it.box for it in detection.regions])
        for number, region in zip(shown.tolist(), detection.regions, strict=True):
            right.append(number >= 0 and scene.objects[number] is region.truth)
    assert len(right) > 250 and np.mean(right) > 0.985
