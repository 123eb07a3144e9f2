"""The simulated detector errs as often as it says, and its features are as hard as they should be."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mmf_muvla.toyworld.detector import FEATURE_DIM, Detection, DetectorConfig, Region, detect
from mmf_muvla.toyworld.probe import LabelledRegions, probe
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.vocabulary import CATEGORIES


def make_scenes(seed: int, count: int) -> list[Scene]:
    return list(generate_scenes(random.Random(seed), count, 1, colour_habit=0.0, crowd_probability=0.4))


@pytest.fixture(scope="module")
def detections() -> list[Detection]:
    return detect(make_scenes(0, 500), "a", DetectorConfig())


def all_regions(detections: list[Detection]) -> list[Region]:
    return [region for detection in detections for region in detection.regions]


def share(values: list[bool]) -> float:
    return sum(values) / len(values)


def test_features_look_like_pooled_features(detections):
    for detection in detections:
        assert detection.features.shape == (len(detection.regions), FEATURE_DIM)
        assert detection.features.dtype == np.float32
    features = np.concatenate([d.features for d in detections])
    assert features.min() == 0.0
    active = features > 0
    assert 0.15 < active.mean() < 0.3
    assert 0.7 < features[active].mean() < 1.6


def test_errors_are_as_frequent_as_the_settings_say(detections):
    found = all_regions(detections)
    objects = sum(len(d.scene.objects) for d in detections)
    seen = [len({id(r.truth) for r in d.regions}) for d in detections]
    assert 1 - sum(seen) / objects == pytest.approx(0.05, abs=0.015)
    assert len(found) / sum(seen) - 1 == pytest.approx(0.06, abs=0.015)
    assert share([r.name != r.truth.category for r in found]) == pytest.approx(0.10, abs=0.02)
    assert share([bool(r.attributes) for r in found]) == pytest.approx(0.125, abs=0.02)


def test_wrong_names_are_mostly_names_of_things_that_look_alike(detections):
    wrong = [r for r in all_regions(detections) if r.name != r.truth.category]
    assert share([CATEGORIES[r.name].family == CATEGORIES[r.truth.category].family for r in wrong]) > 0.5


def test_confidence_knows_about_correctness(detections):
    found = all_regions(detections)
    right = [r.confidence for r in found if r.name == r.truth.category]
    wrong = [r.confidence for r in found if r.name != r.truth.category]
    assert np.mean(right) > np.mean(wrong) + 0.2
    assert min(right + wrong) > 0 and max(right + wrong) < 1


def test_boxes_stay_in_the_picture_and_near_the_truth(detections):
    for detection in detections:
        for region in detection.regions:
            x1, y1, x2, y2 = region.box
            assert 0 <= x1 < x2 <= detection.scene.width and 0 <= y1 < y2 <= detection.scene.height
            width = region.truth.box[2] - region.truth.box[0]
            assert abs(x1 - region.truth.box[0]) < max(6 * 0.03 * width, 4)


def test_regions_come_by_falling_confidence(detections):
    for detection in detections:
        confidences = [region.confidence for region in detection.regions]
        assert confidences == sorted(confidences, reverse=True)


def test_every_image_has_a_region_even_if_all_objects_are_missed():
    detections = detect(make_scenes(0, 5), "a", DetectorConfig(missed=1.0))
    assert [len(d.regions) for d in detections] == [1] * 5


def test_equal_seeds_give_equal_features_and_others_do_not():
    scenes = make_scenes(0, 5)
    one, same, other = (detect(scenes, seed, DetectorConfig()) for seed in ("a", "a", "b"))
    assert all(np.array_equal(x.features, y.features) for x, y in zip(one, same, strict=True))
    assert not np.array_equal(one[0].features[:1], other[0].features[:1])


def probes(config: DetectorConfig) -> tuple[dict[str, float], dict[str, float]]:
    """What a linear probe learns from 150 scenes and from 1,000, by label."""
    train = detect(make_scenes(1, 1000), "train", config)
    test = detect(make_scenes(2, 250), "test", config)
    choose = detect(make_scenes(3, 100), "choose", config)
    return tuple(
        probe(LabelledRegions.of(train[:count]), LabelledRegions.of(choose), LabelledRegions.of(test))
        for count in (150, 1000)
    )


def test_few_scenes_teach_less_than_many():
    few, many = probes(DetectorConfig())
    assert few["colour"] < 0.69
    assert many["colour"] > 0.70
    assert many["colour"] > few["colour"] + 0.08


def test_features_tell_the_named_classes_apart_as_those_of_a_real_detector():
    few, _ = probes(DetectorConfig())
    assert few["category"] > 0.85  # 10 percent are misnamed
    few, many = probes(DetectorConfig(class_evidence=0))
    assert few["category"] < 0.65
    assert many["category"] > 0.75
    assert many["category"] > few["category"] + 0.08


def test_evidence_speaks_for_the_name_and_not_for_the_truth():
    scenes = make_scenes(0, 200)
    one, same = (detect(scenes, "a", DetectorConfig(class_evidence=strength, misnamed=1.0)) for strength in (0.0, 30.0))
    assert [d.regions for d in one] == [d.regions for d in same]
    named: dict[str, list[np.ndarray]] = {}
    for detection in same:
        for region, features in zip(detection.regions, detection.features, strict=True):
            named.setdefault(region.name, []).append(features > 0)
    for active in named.values():
        assert (active[0] == np.array(active)).mean() > 0.9
