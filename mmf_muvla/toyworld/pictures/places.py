"""Backgrounds: one kind of place for each theme."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from mmf_muvla.toyworld.pictures.brush import RGB, Brush, blended, darker


def _gradient(b: Brush, v1: float, v2: float, top: RGB, bottom: RGB) -> None:
    steps = 24
    for step in range(steps):
        y1, y2 = v1 + (v2 - v1) * step / steps, v1 + (v2 - v1) * (step + 1) / steps
        b.rectangle(0, y1, 1, y2 + 0.002, blended(top, bottom, step / (steps - 1)), outline=False)


def _sky(b: Brush, horizon: float) -> None:
    _gradient(b, 0, horizon, (150, 200, 236), (224, 240, 248))
    for _ in range(b.rng.randint(1, 3)):
        u, v, size = b.rng.uniform(0.02, 0.85), b.rng.uniform(0.07, horizon * 0.55), b.rng.uniform(0.03, 0.05)
        for du, dv, r in ((0, 0, 0.8), (0.05, -0.015, 1.1), (0.1, 0, 0.8)):
            b.circle(u + du, v + dv, size * r, (250, 252, 254), outline=False)
        b.rectangle(u - 0.01, v, u + 0.11, v + size * 0.8, (250, 252, 254), radius=0.5, outline=False)


def _indoors(b: Brush, horizon: float, *, wall: RGB, floor: RGB, skirting: RGB) -> None:
    b.rectangle(0, 0, 1, horizon, wall, outline=False)
    _gradient(b, horizon, 1, darker(floor, 0.92), floor)
    b.rectangle(0, horizon - 0.02, 1, horizon, skirting, outline=False)
    u = b.rng.uniform(0.08, 0.68)
    window = b.part(u, 0.07, u + 0.24, horizon - 0.14)
    window.rectangle(0, 0, 1, 1, (252, 252, 250))
    for u1, u2 in ((0.06, 0.48), (0.52, 0.94)):
        for v1, v2 in ((0.06, 0.48), (0.52, 0.94)):
            window.rectangle(u1, v1, u2, v2, (190, 220, 240))
    for step in range(1, 7):  # boards that run to the spectator
        x = step / 7
        b.line([(0.5 + (x - 0.5) * 0.8, horizon), (0.5 + (x - 0.5) * 1.7, 1)], darker(floor, 0.88), 0.003)


def _street(b: Brush, horizon: float) -> None:
    _sky(b, horizon)
    u = -0.02
    while u < 1:  # a skyline far away
        width, height = b.rng.uniform(0.07, 0.13), b.rng.uniform(0.08, 0.2)
        wall = b.rng.choice(((188, 194, 204), (200, 204, 210), (178, 186, 198)))
        b.rectangle(u, horizon - height, u + width, horizon, wall, outline=False)
        u += width
    b.rectangle(0, horizon, 1, horizon + 0.09, (196, 192, 184), outline=False)
    _gradient(b, horizon + 0.09, 1, (128, 130, 134), (150, 152, 156))
    for step in range(6):
        b.rectangle(step / 5 - 0.05, 0.76, step / 5 + 0.05, 0.775, (236, 232, 220), outline=False)


def _meadow(b: Brush, horizon: float, *, far: RGB, near: RGB, hills: RGB, fence: bool = True) -> None:
    _sky(b, horizon)
    for _ in range(3):
        u, width, height = b.rng.uniform(-0.2, 0.8), b.rng.uniform(0.4, 0.8), b.rng.uniform(0.05, 0.12)
        b.ellipse(u, horizon - height, u + width, horizon + height, hills, outline=False)
    _gradient(b, horizon, 1, far, near)
    for _ in range(40):
        u, v = b.rng.random(), b.rng.uniform(horizon + 0.04, 0.98)
        b.line([(u, v), (u + 0.004, v - 0.014)], darker(near, 0.85), 0.004)
    if fence:
        b.lines([[(0, horizon + v), (1, horizon + v)] for v in (0.035, 0.06)], (150, 118, 88), 0.008)
        posts = [[(step / 14, horizon + 0.015), (step / 14, horizon + 0.085)] for step in range(15)]
        b.lines(posts, (134, 104, 76), 0.012)


def _beach(b: Brush, horizon: float) -> None:
    _sky(b, horizon)
    shore = horizon + 0.14
    _gradient(b, horizon, shore, (70, 140, 184), (128, 192, 208))
    for _ in range(12):
        u, v = b.rng.random(), b.rng.uniform(horizon + 0.01, shore - 0.02)
        b.line([(u, v), (u + 0.04, v)], (176, 214, 226), 0.005)
    _gradient(b, shore, 1, (240, 224, 178), (226, 200, 148))
    b.line([(step / 20, shore + 0.006 * math.sin(step)) for step in range(21)], (250, 248, 240), 0.014)


BACKGROUNDS: dict[str, Callable[[Brush, float], None]] = {
    "kitchen": partial(_indoors, wall=(244, 232, 206), floor=(206, 176, 142), skirting=(250, 246, 236)),
    "living room": partial(_indoors, wall=(220, 226, 214), floor=(190, 152, 116), skirting=(246, 244, 236)),
    "office": partial(_indoors, wall=(222, 228, 236), floor=(178, 182, 188), skirting=(248, 248, 250)),
    "street": _street,
    "farm": partial(_meadow, far=(176, 198, 112), near=(142, 178, 90), hills=(160, 186, 122)),
    "park": partial(_meadow, far=(154, 202, 122), near=(120, 180, 96), hills=(132, 178, 116), fence=False),
    "beach": _beach,
    "zoo": partial(_meadow, far=(214, 200, 150), near=(198, 180, 126), hills=(150, 176, 116)),
}
