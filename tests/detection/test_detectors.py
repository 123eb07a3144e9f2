"""Boxes, names, scores and features of detectors against what their library says of the same picture."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
)
from transformers.image_transforms import center_to_corners_format

from mmf_muvla.detection.detectors.detector import Detections, Detector, open_detector
from mmf_muvla.errors import InputError
from mmf_muvla.regions.store import RegionStore
from tests.detection.quartered import extract
from tests.detection.tiny_detectors import CLOSED, NAMES, OPEN, save_detector


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``saved(name)`` is the folder of a detector."""
    return cache(lambda name: save_detector(name, tmp_path_factory.mktemp("detectors") / name))


def picture(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


# Two have the same size, with which a third is seen alone.
PICTURES = [picture(160, 120, 0), picture(160, 120, 1), picture(100, 140, 2)]


def opened(folder: Path, vocabulary: list[str] | None = None, dtype: torch.dtype = torch.float32) -> Detector:
    detector = open_detector(str(folder), vocabulary, {})
    detector.load(torch.device("cpu"), dtype)
    return detector


def detected(detector: Detector, *pictures: Image.Image) -> list[Detections]:
    prepared = [detector.prepare(it) for it in pictures]
    inputs = {name: torch.cat([it[name] for it in prepared]) for name in prepared[0]}
    return detector.detect(inputs, [it.size for it in pictures])


def seen_by_the_head(model: Any, inputs: Any) -> tuple[Any, torch.Tensor]:
    """What a model says, and the states that its last classifier was given."""
    seen: list[torch.Tensor] = []
    heads = [
        module
        for name, module in model.named_modules()
        if re.search(r"class_labels_classifier$|(?<!enc_)class_embed\.\d+$", name)
    ]
    hooks = [head.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for head in heads]
    with torch.inference_mode():
        outputs = model(**inputs)
    for hook in hooks:
        hook.remove()
    return outputs, seen[-1][:, -outputs.logits.shape[1] :]


def same_query(found: Detections, boxes: torch.Tensor, states: torch.Tensor, size: tuple[int, int]) -> None:
    """Every detection has the state of a query with its box."""
    scale = torch.tensor([*size, *size])
    of_queries = (center_to_corners_format(boxes) * scale).numpy()
    for box, feature in zip(found.boxes, found.features, strict=True):
        fitting = np.abs(of_queries - box).max(-1) < 1e-3
        assert fitting.any()
        assert np.abs(states.numpy()[fitting] - feature).max(-1).min() < 1e-5


@pytest.mark.parametrize("name", CLOSED)
def test_equal_to_the_library(name: str, saved: Any) -> None:
    folder = saved(name)
    model = AutoModelForObjectDetection.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    detector = opened(folder)
    assert list(detector.names) == NAMES
    for shown in PICTURES:
        outputs, states = seen_by_the_head(model, processor(images=[shown], return_tensors="pt"))
        (found,) = detected(detector, shown)
        assert found.features.shape == (len(found), detector.feature_dim)
        for threshold in (0.0, float(np.median(found.scores))):
            sizes = [(shown.height, shown.width)]
            (expected,) = processor.post_process_object_detection(outputs, threshold, sizes)
            chosen = found[np.flatnonzero(found.scores > threshold)]
            assert np.array_equal(chosen.scores, expected["scores"].numpy())
            assert np.array_equal(chosen.labels, expected["labels"].numpy())
            assert np.allclose(chosen.boxes, expected["boxes"].numpy(), atol=1e-4)
        same_query(found, outputs.pred_boxes[0], states[0], shown.size)
        assert len({tuple(it) for it in found.features.round(4).tolist()}) > 2, "queries see different things"


@pytest.mark.parametrize("name", [*CLOSED, *OPEN])
def test_batches_change_nothing(name: str, saved: Any) -> None:
    detector = opened(saved(name), NAMES if name in OPEN else None)
    together = detected(detector, *PICTURES[:2])
    for shown, found in zip(PICTURES[:2], together, strict=True):
        (alone,) = detected(detector, shown)
        assert len(alone) == len(found)
        assert np.allclose(alone.scores, found.scores, atol=1e-4)
        assert np.allclose(alone.boxes, found.boxes, atol=1e-4 * max(shown.size))
        assert np.allclose(alone.features, found.features, atol=1e-4)
    assert not np.allclose(together[0].features, together[1].features, atol=1e-3), "pictures are different"


def of_library(folder: Path) -> tuple[Any, Any]:
    """Model and processor of an open-vocabulary detector."""
    return AutoModelForZeroShotObjectDetection.from_pretrained(folder), AutoProcessor.from_pretrained(folder)


def test_owl_equals_the_library(saved: Any) -> None:
    folder = saved("owlv2")
    model, processor = of_library(folder)
    detector = opened(folder, NAMES)
    for shown in PICTURES:
        with torch.inference_mode():
            outputs = model.eval()(**processor(text=[NAMES], images=[shown], return_tensors="pt"))
        sizes = [(shown.height, shown.width)]
        (expected,) = processor.post_process_grounded_object_detection(outputs, 0.0, sizes, text_labels=[NAMES])
        (found,) = detected(detector, shown)
        assert np.allclose(found.scores, expected["scores"].numpy(), atol=1e-5)
        assert [detector.names[label] for label in found.labels] == expected["text_labels"]
        assert np.allclose(found.boxes, expected["boxes"].numpy(), atol=1e-3)
        # A query is a patch, and all of them are detections.
        assert np.allclose(found.features, outputs.image_embeds[0].flatten(0, 1).numpy(), atol=1e-5)


def test_grounding_dino_equals_the_library(saved: Any) -> None:
    folder = saved("grounding_dino")
    model, processor = of_library(folder)
    detector = opened(folder, NAMES)
    for shown in PICTURES:
        inputs = processor(images=[shown], text=[NAMES], return_tensors="pt")
        with torch.inference_mode():
            outputs = model.eval()(**inputs)
        (found,) = detected(detector, shown)
        tokens = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
        # What is said of periods, and of the beginning and the end, is no name.
        words = [number for number, token in enumerate(tokens) if token.isalpha()]
        logits = outputs.logits[0][:, words]
        assert np.allclose(found.scores, logits.max(-1).values.sigmoid().numpy(), atol=1e-6)
        name_of = ["dog", "cat", "red car", "red car", "horse", "chair"]
        assert [detector.names[it] for it in found.labels] == [name_of[it] for it in logits.argmax(-1).tolist()]
        same_query(found, outputs.pred_boxes[0], outputs.last_hidden_state[0], shown.size)
        outputs.logits = torch.full_like(outputs.logits, -torch.inf)
        outputs.logits[0][:, words] = logits
        sizes = [(shown.height, shown.width)]
        (expected,) = processor.post_process_grounded_object_detection(outputs, threshold=0.0, target_sizes=sizes)
        assert np.allclose(found.boxes, expected["boxes"].numpy(), atol=1e-4)
        assert np.allclose(found.scores, expected["scores"].numpy(), atol=1e-6)


def test_more_names_than_a_model_reads_at_once(saved: Any) -> None:
    folder = saved("grounding_dino")
    whole = open_detector(str(folder), NAMES, {})
    whole.config.max_text_len = 9  # [CLS] dog . cat . red car . [SEP], and the others
    whole.load(torch.device("cpu"), torch.float32)
    (found,) = detected(whole, PICTURES[0])
    parts = [detected(opened(folder, names), PICTURES[0])[0] for names in (NAMES[:3], NAMES[3:])]
    assert len(found) == sum(map(len, parts)) == 24
    expected = sorted(
        [*zip(parts[0].scores, parts[0].labels, strict=True), *zip(parts[1].scores, parts[1].labels + 3, strict=True)],
        reverse=True,
    )
    assert np.allclose(found.scores, [score for score, _ in expected], atol=1e-6)
    assert found.labels.tolist() == [label for _, label in expected]


@pytest.mark.parametrize("name", ["detr", "yolos", "owlv2"])
def test_half_precision_finds_nearly_the_same(name: str, saved: Any) -> None:
    vocabulary = NAMES if name in OPEN else None
    (full,) = detected(opened(saved(name), vocabulary), PICTURES[0])
    (half,) = detected(opened(saved(name), vocabulary, torch.bfloat16), PICTURES[0])
    assert half.features.dtype == half.boxes.dtype == np.float32
    assert np.abs(np.sort(full.scores) - np.sort(half.scores)).max() < 0.1


def test_a_detector_that_does_not_exist_is_named(tmp_path: Path, saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="no such file or folder"):
        open_detector(str(tmp_path / "absent"), None, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no detector can be loaded from there"):
        open_detector(str(tmp_path / "empty"), None, {})
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="is a bert, which is no detector that is understood"):
        open_detector(str(tmp_path / "empty"), None, {})
    with pytest.raises(InputError, match="cannot be imported"):
        open_detector("tests.detection.own_detector:Absent", None, {})
    with pytest.raises(InputError, match="is no subclass of"):
        open_detector("tests.detection.own_detector:np", None, {})


def test_a_vocabulary_is_for_those_that_need_one(saved: Any) -> None:
    with pytest.raises(InputError, match="knows names of its own"):
        open_detector(str(saved("yolos")), NAMES, {})
    with pytest.raises(InputError, match="has to be told what to look for"):
        open_detector(str(saved("owlv2")), None, {})
    with pytest.raises(InputError, match=r"detector_options\.colour"):
        open_detector(str(saved("yolos")), None, {"colour": "red"})
    with pytest.raises(InputError, match="has 30 tokens, at most 21 can be used"):
        opened(saved("grounding_dino"), ["dog " * 30])


def test_photographs_of_a_package(saved: Any, tmp_path: Path) -> None:
    photographs = Path(sklearn.__file__).parent / "datasets" / "images"
    counts = extract(tmp_path / "store", photographs, detector=str(saved("rt_detr")), min_regions=5, thumbnails=64)
    assert counts["images"] == 2
    store = RegionStore(tmp_path / "store")
    assert sorted(store.ids) == ["china", "flower"] and set(store.object_names) == set(NAMES)
    for image_id in store.ids:
        regions = store.get(image_id)
        assert (regions.width, regions.height) == (640, 427)
        assert 1 <= len(regions) <= 12 and regions.image_feature_0.shape[1] == 32
        assert store.thumbnail(image_id)
