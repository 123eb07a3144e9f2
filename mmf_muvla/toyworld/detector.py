"""A simulated object detector: what a pooled-feature detector would say about a scene.

Features come out of a fixed random network of three layers, the same in worlds of all seeds. Its input mixes the
object's category (one of a few prototypes), its colour (in one of several lights) and its size with the place around
it, of which a pooled feature sees a little, and with latent factors that mean nothing (viewpoint, pose). Before the
last rectifier joins evidence for the class that the detector names, since a real one reads its classes off its features
by a linear layer, and noise. So classes can be told apart after some examples, colours after some hundreds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mmf_muvla.options.kinds import Number, Options, Share
from mmf_muvla.toyworld.scenes import LABELS, Box, Scene, SceneObject, numbers_of
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, SIZES, THEMES

FEATURE_DIM = 2048

_NETWORK_SEED = 2048
_PROTOTYPES, _LIGHTS = 3, 4
_CATEGORY_DIM, _COLOUR_DIM, _SIZE_DIM, _THEME_DIM, _VIEWPOINT_DIM = 48, 24, 8, 16, 64
_CODE_DIM = _CATEGORY_DIM + _COLOUR_DIM + _SIZE_DIM
_HIDDEN_DIM = 512
_THRESHOLD = 1.2
_BLOCK = 2048

Floats = NDArray[np.float32]
Strength = Annotated[Number, Field(ge=0, le=100)]


@dataclass(frozen=True)
class DetectorConfig(Options):
    """How good the detector is. Probabilities are per object.

    Attributes:
        missed: the object gets no region.
        doubled: the object gets a second, overlapping region.
        misnamed: the region's class is another category.
        attributes: the region carries attribute words.
        box_jitter: standard deviation of each box side, as a share of the box's width or height.
        surroundings: strength of the place around the object, which a pooled feature sees a little of; what the
            object is and looks like has 1.
        viewpoint: strength of the meaningless latent factors.
        class_evidence: strength of what speaks for the named class. With it 16 percent of a feature's variance lies
            between classes; with 0 it is 3 percent, as with a weak detector, and matching begins much later.
        feature_noise: standard deviation of the noise that joins before the last rectifier.
    """

    missed: Share = 0.05
    doubled: Share = 0.06
    misnamed: Share = 0.10
    attributes: Share = 0.125
    box_jitter: Strength = 0.03
    surroundings: Strength = 0.7
    viewpoint: Strength = 2.3
    class_evidence: Strength = 0.7
    feature_noise: Strength = 0.4


@dataclass(frozen=True)
class Region:
    """One detection. ``box`` is in pixels, inside the picture; ``truth`` is the object that it shows."""

    box: Box
    name: str
    confidence: float
    attributes: tuple[str, ...]
    truth: SceneObject


@dataclass(frozen=True)
class Detection:
    """The detector's output on one scene: regions by falling confidence, and their features [n, 2048]."""

    scene: Scene
    regions: tuple[Region, ...]
    features: Floats


def detect(scenes: list[Scene], seed: str, config: DetectorConfig) -> list[Detection]:
    """Run the simulated detector, whose random choices derive from ``seed``: at least one region in each scene."""
    rng = random.Random(seed)
    regions = [_find_regions(rng, scene, config) for scene in scenes]
    shown = [(scene.theme, region) for scene, found in zip(scenes, regions, strict=True) for region in found]
    features = _features(shown, np.random.default_rng(list(seed.encode())), config)
    by_scene = np.split(features, np.cumsum([len(found) for found in regions])[:-1])
    return [Detection(scene, tuple(found), rows) for scene, found, rows in zip(scenes, regions, by_scene, strict=True)]


def _find_regions(rng: random.Random, scene: Scene, config: DetectorConfig) -> list[Region]:
    found = []
    for it in scene.objects:
        if rng.random() >= config.missed:
            found.append(_region(rng, scene, it, config))
            if rng.random() < config.doubled:
                found.append(_region(rng, scene, it, config, confidence_factor=0.75))
    # An image without regions would be of no use to anybody.
    found = found or [_region(rng, scene, scene.objects[-1], config)]
    return sorted(found, key=lambda region: -region.confidence)


def _region(
    rng: random.Random, scene: Scene, truth: SceneObject, config: DetectorConfig, confidence_factor: float = 1.0
) -> Region:
    misnamed = rng.random() < config.misnamed
    name = _confused_with(rng, truth.category, scene.theme) if misnamed else truth.category
    confidence = rng.betavariate(3, 4) if misnamed else rng.betavariate(7, 2)
    confidence = round(min(max(confidence * confidence_factor, 0.05), 0.999), 4)
    attributes: tuple[str, ...] = ()
    if rng.random() < config.attributes:
        size = (truth.size,) if truth.size and rng.random() < 0.5 else ()
        attributes = (*size, truth.colour if rng.random() < 0.95 else rng.choice(COLOURS))
    return Region(_jittered(rng, scene, truth.box, config.box_jitter), name, confidence, attributes, truth)


def _confused_with(rng: random.Random, name: str, theme: str) -> str:
    """Another category: mostly one that looks alike, else one that fits the place."""
    family = CATEGORIES[name].family
    alike = [other for other, category in CATEGORIES.items() if category.family == family and other != name]
    if alike and rng.random() < 0.7:
        return rng.choice(alike)
    return rng.choice([other for other in THEMES[theme].categories if other != name])


def _jittered(rng: random.Random, scene: Scene, box: Box, jitter: float) -> Box:
    """The box with each side moved, cut to the picture, at least four pixels wide and high."""
    x1, y1, x2, y2 = box
    dx, dy = jitter * (x2 - x1), jitter * (y2 - y1)
    left = min(max(x1 + rng.gauss(0, dx), 0.0), scene.width - 4.0)
    top = min(max(y1 + rng.gauss(0, dy), 0.0), scene.height - 4.0)
    right = max(min(x2 + rng.gauss(0, dx), float(scene.width)), left + 4.0)
    bottom = max(min(y2 + rng.gauss(0, dy), float(scene.height)), top + 4.0)
    return (round(left, 2), round(top, 2), round(right, 2), round(bottom, 2))


def _features(shown: list[tuple[str, Region]], rng: np.random.Generator, config: DetectorConfig) -> Floats:
    """Features of n regions with the themes of their scenes, [n, 2048]: a quarter of the entries near 1, others 0."""
    network, count = _Network(), len(shown)
    category, colour, size = (numbers_of([region.truth for _, region in shown], label) for label in LABELS)
    prototype, light = (rng.integers(variants, size=count) for variants in (_PROTOTYPES, _LIGHTS))
    looks = network.prototypes[category, prototype], network.colours[colour, light], network.sizes[size]
    code = np.concatenate(looks, axis=1)
    surroundings = config.surroundings * network.themes[[list(THEMES).index(theme) for theme, _ in shown]]
    evidence = _on_grid(config.class_evidence * network.class_evidence)
    named = np.array([list(CATEGORIES).index(region.name) for _, region in shown], np.intp)
    viewpoint = config.viewpoint * rng.standard_normal((count, _VIEWPOINT_DIM), dtype=np.float32)
    features = np.empty((count, FEATURE_DIM), np.float32)
    for start in range(0, count, _BLOCK):  # a block's working memory is small
        rows = slice(start, start + _BLOCK)
        drive = network.drive(code[rows], _on_grid(surroundings[rows]), _on_grid(viewpoint[rows]))
        drive += evidence[named[rows]]
        drive += config.feature_noise * rng.standard_normal(drive.shape, dtype=np.float32)
        features[rows] = np.maximum(_on_grid(drive) - np.float32(_THRESHOLD), 0)
    return features


def _on_grid(values: Floats) -> Floats:
    """Round to multiples of 1/64, whose products add up exactly in float32, whatever the library and its threads do."""
    return np.rint(values * np.float32(64)) / np.float32(64)


class _Network:
    """The fixed random network. All its weights and activations lie on the grid of :func:`_on_grid`."""

    def __init__(self) -> None:
        rng = np.random.default_rng(_NETWORK_SEED)

        def gaussian(*shape: int, scale: float) -> Floats:
            return _on_grid(np.float32(scale) * rng.standard_normal(shape, dtype=np.float32))

        # Categories of a family are alike; a category's prototypes are more so.
        families = sorted({category.family for category in CATEGORIES.values()})
        family_of = [families.index(category.family) for category in CATEGORIES.values()]
        common = gaussian(len(families), _CATEGORY_DIM, scale=0.7)[family_of]
        own = gaussian(len(CATEGORIES), _CATEGORY_DIM, scale=1.0)
        variants = gaussian(len(CATEGORIES), _PROTOTYPES, _CATEGORY_DIM, scale=0.6)
        self.prototypes = (common + own)[:, None] + variants  # [category, prototype, d]
        # One colour in different lights has nothing in common, so that no single direction means "red".
        self.colours = gaussian(len(COLOURS), _LIGHTS, _COLOUR_DIM, scale=2.2)
        self.themes = gaussian(len(THEMES), _THEME_DIM, scale=1.0)
        self.sizes = gaussian(1 + len(SIZES), _SIZE_DIM, scale=1.0)

        self.code_to_hidden = gaussian(_CODE_DIM, _HIDDEN_DIM, scale=_CODE_DIM**-0.5)
        self.surroundings_to_hidden = gaussian(_THEME_DIM, _HIDDEN_DIM, scale=_THEME_DIM**-0.5)
        self.viewpoint_to_hidden = gaussian(_VIEWPOINT_DIM, _HIDDEN_DIM, scale=_VIEWPOINT_DIM**-0.5)
        self.hidden_to_hidden = gaussian(_HIDDEN_DIM, _HIDDEN_DIM, scale=1.7 * _HIDDEN_DIM**-0.5)
        self.hidden_to_feature = gaussian(_HIDDEN_DIM, FEATURE_DIM, scale=0.7 * _HIDDEN_DIM**-0.5)
        self.class_evidence = gaussian(len(CATEGORIES), FEATURE_DIM, scale=1.0)

    def drive(self, code: Floats, surroundings: Floats, viewpoint: Floats) -> Floats:
        """Input of the last rectifier, [n, 2048], before noise."""
        hidden = code @ self.code_to_hidden + surroundings @ self.surroundings_to_hidden
        hidden = _rectified(hidden + viewpoint @ self.viewpoint_to_hidden)
        hidden = _rectified(hidden @ self.hidden_to_hidden)
        return hidden @ self.hidden_to_feature


def _rectified(values: Floats) -> Floats:
    """ReLU, moved down a little so that its mean does not drown what differs."""
    return _on_grid(np.maximum(values, 0) - np.float32(0.4))
