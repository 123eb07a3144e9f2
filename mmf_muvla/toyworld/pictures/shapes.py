"""The shapes of things: one drawing for each category, in the unit square of its box."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from mmf_muvla.toyworld.pictures.brush import (
    GLASS,
    HAIR,
    INK,
    METAL,
    PAINT,
    RGB,
    SKIN,
    TYRE,
    WOOD,
    Brush,
    darker,
    lighter,
)

_Shape = Callable[[Brush, RGB, random.Random], None]


def _person(dress: bool) -> _Shape:
    def paint(b: Brush, c: RGB, rng: random.Random) -> None:
        hair = rng.choice(HAIR)
        trousers = (70, 76, 96) if c != PAINT["black"] else (110, 104, 96)
        if dress:
            for u in (0.34, 0.54):
                b.rectangle(u, 0.80, u + 0.12, 0.98, SKIN)
            b.rectangle(0.28, 0.1, 0.72, 0.3, hair, radius=0.4)
            for u1, u2 in ((0.30, 0.08), (0.70, 0.92)):
                b.line([(u1, 0.3), (u2, 0.55)], SKIN, 0.13)
            b.polygon([(0.34, 0.25), (0.66, 0.25), (0.72, 0.5), (0.94, 0.84), (0.06, 0.84), (0.28, 0.5)], c)
        else:
            for u in (0.26, 0.52):
                b.rectangle(u, 0.56, u + 0.22, 0.97, trousers, radius=0.15)
                b.rectangle(u - 0.03, 0.95, u + 0.24, 1, INK)
            for u1, u2 in ((0.2, 0.06), (0.8, 0.94)):
                b.line([(u1, 0.28), (u2, 0.54)], darker(c, 0.85), 0.16)
                b.circle(u2, 0.555, 0.025, SKIN)
            b.rectangle(0.18, 0.24, 0.82, 0.6, c, radius=0.25)
        b.rectangle(0.44, 0.19, 0.56, 0.26, SKIN, outline=False)
        b.circle(0.5, 0.115, 0.1, SKIN)
        (x, y), r = b.at(0.5, 0.11), 0.107 * b.height
        b.draw.pieslice([x - r, y - r, x + r, y + r], 180, 360, hair)
        for u in (0.42, 0.58):
            b.circle(u, 0.125, 0.011, INK, outline=False)
        b.arc(0.4, 0.11, 0.6, 0.165, 30, 150, darker(SKIN, 0.6), 0.03)

    return paint


def _legs(b: Brush, c: RGB, top: float, us: Sequence[float], thickness: float) -> None:
    for number, u in enumerate(us):
        b.rectangle(u, top, u + thickness, 1, darker(c, 0.82) if number % 2 else c)


def _eye(b: Brush, u: float, v: float, radius: float = 0.022) -> None:
    b.circle(u, v, radius, INK, outline=False)


def _dog(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.14, 0.5), (0.04, 0.2)], c, 0.09)
    _legs(b, c, 0.6, (0.16, 0.26, 0.58, 0.68), 0.08)
    b.rectangle(0.1, 0.38, 0.76, 0.74, c, radius=0.45)
    b.ellipse(0.62, 0.06, 0.92, 0.52, c)
    b.rectangle(0.8, 0.24, 1.0, 0.46, c, radius=0.4)
    b.ellipse(0.62, 0.08, 0.72, 0.44, darker(c, 0.7))
    _eye(b, 0.82, 0.22)
    b.circle(0.97, 0.29, 0.04, INK, outline=False)


def _cat(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.12, 0.6), (0.05, 0.3), (0.12, 0.12)], c, 0.1)
    _legs(b, c, 0.7, (0.16, 0.27, 0.56, 0.67), 0.09)
    b.ellipse(0.08, 0.38, 0.78, 0.86, c)
    for u in (0.62, 0.84):
        b.polygon([(u, 0.22), (u + 0.02, 0), (u + 0.13, 0.2)], c)
    b.ellipse(0.58, 0.1, 1.0, 0.58, c)
    for u in (0.72, 0.88):
        _eye(b, u, 0.3, 0.03)
    b.polygon([(0.77, 0.39), (0.83, 0.39), (0.8, 0.45)], (220, 140, 140), outline=False)
    for v in (0.4, 0.46):
        b.line([(0.56, v), (0.7, v + 0.01)], darker(c, 0.5), 0.012)
        b.line([(0.9, v + 0.01), (1.04, v)], darker(c, 0.5), 0.012)


def _hoofed(
    b: Brush, c: RGB, mane: RGB | None, stripes: bool = False, spots: RGB | None = None, horns: bool = False
) -> None:
    b.line([(0.1, 0.4), (0.03, 0.68)], mane or darker(c), 0.06)
    _legs(b, c, 0.55, (0.12, 0.22, 0.56, 0.66), 0.07)
    for u in (0.12, 0.22, 0.56, 0.66):
        b.rectangle(u, 0.95, u + 0.07, 1, INK)
    b.rectangle(0.08, 0.32, 0.76, 0.64, c, radius=0.45)
    if spots:
        for u, v, r in ((0.24, 0.42, 0.07), (0.42, 0.52, 0.06), (0.58, 0.42, 0.05)):
            b.ellipse(u - r, v - r * 0.9, u + r, v + r * 0.9, spots, outline=False)
    b.polygon([(0.6, 0.42), (0.76, 0.08), (0.88, 0.14), (0.77, 0.55)], c)
    if mane:
        b.polygon([(0.58, 0.38), (0.73, 0.06), (0.79, 0.08), (0.67, 0.4)], mane)
    if stripes:
        for step in range(6):
            u = 0.17 + 0.08 * step
            b.line([(u, 0.34), (u + 0.02, 0.61)], INK if sum(c) > 240 else PAINT["white"], 0.03)
        for step in range(3):
            u, v = 0.71 + 0.03 * step, 0.36 - 0.1 * step
            b.line([(u - 0.05, v - 0.03), (u + 0.09, v + 0.02)], INK if sum(c) > 240 else PAINT["white"], 0.025)
    b.polygon([(0.74, 0.06), (0.86, 0.04), (0.99, 0.26), (0.94, 0.33), (0.78, 0.24)], c)
    if horns:
        b.line([(0.78, 0.06), (0.74, 0)], (232, 224, 200), 0.03)
        b.line([(0.84, 0.05), (0.88, 0)], (232, 224, 200), 0.03)
    b.polygon([(0.75, 0.07), (0.74, 0), (0.8, 0.05)], darker(c, 0.8))
    _eye(b, 0.85, 0.13, 0.016)


def _horse(b: Brush, c: RGB, rng: random.Random) -> None:
    _hoofed(b, c, mane=darker(c, 0.5))


def _zebra(b: Brush, c: RGB, rng: random.Random) -> None:
    _hoofed(b, c, mane=INK, stripes=True)


def _cow(b: Brush, c: RGB, rng: random.Random) -> None:
    b.ellipse(0.42, 0.58, 0.56, 0.72, (240, 190, 190))
    _hoofed(b, c, mane=None, spots=darker(c, 0.55) if sum(c) > 300 else lighter(c, 0.7), horns=True)


def _sheep(b: Brush, c: RGB, rng: random.Random) -> None:
    face = (84, 76, 72) if sum(c) > 300 else (222, 212, 200)
    _legs(b, face, 0.66, (0.2, 0.3, 0.6, 0.7), 0.06)
    for u, v in ((0.12, 0.36), (0.3, 0.22), (0.5, 0.2), (0.66, 0.34), (0.2, 0.56), (0.42, 0.6), (0.62, 0.56)):
        b.ellipse(u - 0.12, v - 0.16, u + 0.18, v + 0.2, c)
    b.rectangle(0.14, 0.28, 0.7, 0.66, c, radius=0.5, outline=False)
    b.ellipse(0.74, 0.14, 0.98, 0.52, face)
    b.ellipse(0.7, 0.18, 0.8, 0.3, face)
    b.ellipse(0.72, 0.08, 0.9, 0.24, c)
    _eye(b, 0.88, 0.28, 0.025)


def _pig(b: Brush, c: RGB, rng: random.Random) -> None:
    b.arc(0, 0.3, 0.12, 0.55, 100, 420, darker(c), 0.04)
    _legs(b, c, 0.7, (0.18, 0.29, 0.58, 0.69), 0.08)
    b.ellipse(0.06, 0.16, 0.8, 0.86, c)
    b.ellipse(0.62, 0.16, 0.96, 0.68, c)
    b.polygon([(0.66, 0.26), (0.68, 0.04), (0.78, 0.18)], darker(c, 0.85))
    b.ellipse(0.88, 0.36, 1.0, 0.6, (232, 160, 160))
    for u in (0.92, 0.96):
        _eye(b, u, 0.48, 0.022)
    _eye(b, 0.82, 0.34)


def _chicken(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.42, 0.56):
        b.line([(u, 0.76), (u, 0.97), (u + 0.1, 0.98)], (226, 160, 50), 0.04)
    b.polygon([(0.06, 0.2), (0.3, 0.42), (0.3, 0.66)], darker(c, 0.85))
    b.ellipse(0.14, 0.34, 0.78, 0.84, c)
    b.ellipse(0.58, 0.08, 0.88, 0.46, c)
    b.polygon([(0.62, 0.5), (0.6, 0.24), (0.86, 0.26), (0.78, 0.56)], c, outline=False)
    for u in (0.66, 0.73, 0.8):
        b.circle(u, 0.08, 0.055, (210, 50, 46))
    b.polygon([(0.86, 0.2), (1.0, 0.27), (0.86, 0.32)], (236, 170, 50))
    b.ellipse(0.82, 0.32, 0.9, 0.46, (210, 50, 46))
    b.arc(0.24, 0.36, 0.6, 0.72, 20, 160, darker(c, 0.6), 0.03)
    _eye(b, 0.77, 0.22, 0.028)


def _duck(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.4, 0.54):
        b.line([(u, 0.8), (u, 0.97), (u + 0.1, 0.98)], (232, 140, 40), 0.05)
    b.polygon([(0.0, 0.42), (0.24, 0.52), (0.2, 0.76)], c)
    b.ellipse(0.08, 0.44, 0.76, 0.88, c)
    b.rectangle(0.56, 0.2, 0.72, 0.64, c, radius=0.5, outline=False)
    b.ellipse(0.52, 0.04, 0.82, 0.36, c)
    b.rectangle(0.78, 0.16, 1.0, 0.27, (240, 164, 40), radius=0.5)
    b.ellipse(0.22, 0.5, 0.58, 0.76, darker(c, 0.85))
    _eye(b, 0.7, 0.15, 0.03)


def _pigeon(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.0, 0.5), (0.22, 0.46), (0.2, 0.64), (0.04, 0.68)], darker(c, 0.85))
    b.polygon([(0.4, 0.52), (0.22, 0.02), (0.66, 0.46)], darker(c, 0.8))
    b.ellipse(0.14, 0.4, 0.8, 0.78, c)
    b.ellipse(0.66, 0.3, 0.92, 0.62, c)
    b.polygon([(0.91, 0.42), (1.0, 0.48), (0.9, 0.53)], (236, 170, 60))
    b.polygon([(0.36, 0.56), (0.3, 0.98), (0.62, 0.58)], lighter(c, 0.25))
    _eye(b, 0.83, 0.42, 0.03)


def _elephant(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.05, 0.35), (0.02, 0.6)], darker(c), 0.04)
    _legs(b, c, 0.6, (0.1, 0.24, 0.48, 0.6), 0.12)
    b.ellipse(0.03, 0.1, 0.76, 0.8, c)
    b.line([(0.9, 0.4), (0.95, 0.7), (0.92, 0.86)], darker(c, 0.9), 0.11)
    b.ellipse(0.62, 0.1, 0.98, 0.6, c)
    b.ellipse(0.54, 0.12, 0.78, 0.58, darker(c, 0.85))
    b.line([(0.88, 0.54), (0.99, 0.62)], (244, 238, 222), 0.04)
    _eye(b, 0.87, 0.28, 0.018)


def _giraffe(b: Brush, c: RGB, rng: random.Random) -> None:
    patch = darker(c, 0.62) if sum(c) > 240 else lighter(c, 0.4)
    b.line([(0.1, 0.55), (0.04, 0.72)], patch, 0.04)
    _legs(b, c, 0.62, (0.14, 0.27, 0.5, 0.62), 0.08)
    b.rectangle(0.1, 0.5, 0.72, 0.7, c, radius=0.45)
    b.polygon([(0.52, 0.56), (0.66, 0.1), (0.8, 0.1), (0.74, 0.6)], c)
    for u, v in ((0.2, 0.56), (0.36, 0.6), (0.52, 0.57), (0.62, 0.44), (0.68, 0.3), (0.71, 0.19), (0.26, 0.64)):
        b.ellipse(u - 0.05, v - 0.022, u + 0.05, v + 0.022, patch, outline=False)
    for u in (0.68, 0.76):
        b.line([(u, 0.06), (u - 0.02, 0.0)], patch, 0.04)
    b.polygon([(0.62, 0.05), (0.82, 0.04), (1.0, 0.13), (0.98, 0.17), (0.68, 0.15)], c)
    _eye(b, 0.8, 0.085, 0.009)


def _lion(b: Brush, c: RGB, rng: random.Random) -> None:
    mane = darker(c, 0.6) if sum(c) > 240 else lighter(c, 0.4)
    b.line([(0.1, 0.5), (0.03, 0.28)], c, 0.05)
    b.circle(0.03, 0.24, 0.06, mane)
    _legs(b, c, 0.62, (0.14, 0.25, 0.56, 0.66), 0.08)
    b.rectangle(0.08, 0.38, 0.76, 0.76, c, radius=0.45)
    b.ellipse(0.54, 0.02, 0.98, 0.68, mane)
    b.ellipse(0.63, 0.14, 0.9, 0.56, c)
    for u in (0.71, 0.82):
        _eye(b, u, 0.3, 0.025)
    b.polygon([(0.73, 0.4), (0.8, 0.4), (0.765, 0.46)], INK, outline=False)


def _monkey(b: Brush, c: RGB, rng: random.Random) -> None:
    face = (226, 190, 156)
    b.arc(0.0, 0.42, 0.34, 0.96, 60, 270, c, 0.06)
    for u in (0.2, 0.58):
        b.ellipse(u, 0.66, u + 0.24, 1.0, c)
    b.ellipse(0.24, 0.36, 0.78, 0.94, c)
    b.ellipse(0.36, 0.5, 0.66, 0.86, face)
    for u1, u2 in ((0.3, 0.16), (0.72, 0.86)):
        b.line([(u1, 0.46), (u2, 0.7)], c, 0.1)
    for u in (0.2, 0.82):
        b.circle(u, 0.22, 0.08, face)
    b.ellipse(0.24, 0.02, 0.78, 0.44, c)
    b.ellipse(0.33, 0.14, 0.69, 0.42, face)
    for u in (0.43, 0.59):
        _eye(b, u, 0.23, 0.024)
    b.arc(0.42, 0.26, 0.6, 0.37, 20, 160, darker(face, 0.5), 0.025)


def _wheels(b: Brush, us: Sequence[float], v: float, radius: float) -> None:
    for u in us:
        b.circle(u, v, radius, TYRE)
        b.circle(u, v, radius * 0.5, (196, 198, 202))


def _car(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.2, 0.48), (0.32, 0.08), (0.68, 0.08), (0.82, 0.48)], c)
    b.polygon([(0.27, 0.46), (0.35, 0.16), (0.49, 0.16), (0.49, 0.46)], GLASS)
    b.polygon([(0.53, 0.46), (0.53, 0.16), (0.65, 0.16), (0.75, 0.46)], GLASS)
    b.rectangle(0.02, 0.44, 0.98, 0.82, c, radius=0.35)
    b.ellipse(0.92, 0.52, 0.98, 0.64, (250, 236, 150))
    b.rectangle(0.02, 0.52, 0.06, 0.64, (190, 40, 40))
    b.line([(0.51, 0.5), (0.51, 0.78)], darker(c), 0.015)
    _wheels(b, (0.23, 0.77), 0.82, 0.18)


def _truck(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.01, 0.06, 0.64, 0.8, c, radius=0.05)
    for u in (0.17, 0.33, 0.49):
        b.line([(u, 0.1), (u, 0.76)], darker(c, 0.85), 0.012)
    b.polygon([(0.66, 0.82), (0.66, 0.26), (0.86, 0.26), (0.98, 0.54), (0.98, 0.82)], lighter(c, 0.2))
    b.polygon([(0.72, 0.52), (0.72, 0.33), (0.84, 0.33), (0.92, 0.52)], GLASS)
    _wheels(b, (0.16, 0.36, 0.82), 0.85, 0.15)


def _bus(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.01, 0.06, 0.99, 0.84, c, radius=0.16)
    for step in range(5):
        b.rectangle(0.06 + step * 0.16, 0.18, 0.19 + step * 0.16, 0.46, GLASS)
    b.rectangle(0.87, 0.18, 0.96, 0.8, GLASS)
    b.rectangle(0.02, 0.56, 0.86, 0.62, lighter(c, 0.5), outline=False)
    _wheels(b, (0.2, 0.74), 0.85, 0.15)


def _tractor(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.62, 0.12, 0.66, 0.44, METAL)
    b.polygon([(0.2, 0.46), (0.24, 0.04), (0.5, 0.04), (0.54, 0.46)], GLASS)
    b.rectangle(0.18, 0.0, 0.56, 0.07, c)
    b.line([(0.24, 0.06), (0.21, 0.46)], c, 0.04)
    b.line([(0.5, 0.06), (0.53, 0.46)], c, 0.04)
    b.rectangle(0.18, 0.42, 0.94, 0.7, c, radius=0.15)
    for step in range(3):
        b.line([(0.74 + step * 0.06, 0.47), (0.74 + step * 0.06, 0.64)], darker(c), 0.02)
    b.circle(0.28, 0.71, 0.29, TYRE)
    b.circle(0.28, 0.71, 0.14, (236, 200, 80))
    b.circle(0.82, 0.83, 0.17, TYRE)
    b.circle(0.82, 0.83, 0.08, (236, 200, 80))


def _rim(b: Brush, u: float, v: float, radius: float, thickness: float) -> None:
    (x, y), r = b.at(u, v), radius * b.height
    b.draw.ellipse([x - r, y - r, x + r, y + r], None, TYRE, max(3, round(thickness * b.height)))


def _bicycle(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.22, 0.78):
        _rim(b, u, 0.68, 0.31, 0.045)
        for angle in range(0, 180, 45):
            du, dv = 0.3 * math.cos(math.radians(angle)) * b.height / b.width, 0.3 * math.sin(math.radians(angle))
            b.line([(u - du, 0.68 - dv), (u + du, 0.68 + dv)], METAL, 0.01)
    b.line([(0.22, 0.68), (0.38, 0.3), (0.68, 0.3), (0.48, 0.68), (0.22, 0.68)], c, 0.065)
    b.line([(0.34, 0.2), (0.48, 0.68)], c, 0.065)
    b.line([(0.78, 0.68), (0.66, 0.12), (0.76, 0.08)], c, 0.06)
    b.rectangle(0.26, 0.15, 0.42, 0.21, INK, radius=0.5)
    b.circle(0.48, 0.68, 0.06, METAL)


def _motorcycle(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.2, 0.8):
        _rim(b, u, 0.7, 0.28, 0.09)
        b.circle(u, 0.7, 0.08, METAL)
    b.rectangle(0.38, 0.5, 0.62, 0.82, METAL, radius=0.2)
    b.line([(0.8, 0.7), (0.66, 0.14), (0.74, 0.06)], METAL, 0.05)
    b.polygon([(0.06, 0.42), (0.4, 0.38), (0.72, 0.32), (0.68, 0.56), (0.34, 0.62)], c)
    b.rectangle(0.14, 0.28, 0.44, 0.42, INK, radius=0.5)
    b.ellipse(0.44, 0.2, 0.68, 0.48, c)
    b.circle(0.72, 0.26, 0.08, (250, 240, 170))
    b.line([(0.36, 0.82), (0.06, 0.86)], (190, 192, 196), 0.06)


def _boat(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.02), (0.5, 0.74)], WOOD, 0.03)
    b.polygon([(0.53, 0.04), (0.53, 0.64), (0.92, 0.64)], (250, 248, 240))
    b.polygon([(0.47, 0.12), (0.47, 0.64), (0.16, 0.64)], (240, 234, 220))
    b.polygon([(0.02, 0.7), (0.98, 0.7), (0.82, 0.98), (0.18, 0.98)], c)
    b.polygon([(0.04, 0.74), (0.96, 0.74), (0.94, 0.79), (0.06, 0.79)], lighter(c, 0.5), outline=False)


def _airplane(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.02, 0.06), (0.12, 0.06), (0.24, 0.46), (0.08, 0.5)], c)
    b.polygon([(0.44, 0.46), (0.3, 0.04), (0.4, 0.04), (0.62, 0.46)], darker(c, 0.8))
    b.rectangle(0.05, 0.38, 0.99, 0.72, c, radius=0.5)
    b.polygon([(0.42, 0.6), (0.24, 0.98), (0.36, 0.98), (0.64, 0.62)], darker(c, 0.88))
    for step in range(7):
        b.circle(0.3 + step * 0.08, 0.5, 0.045, GLASS)
    b.polygon([(0.9, 0.44), (0.95, 0.46), (0.97, 0.54), (0.89, 0.54)], GLASS)


def _chair(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.1, 0.8):
        b.rectangle(u, 0.55, u + 0.1, 1.0, darker(c, 0.8))
    b.rectangle(0.12, 0.0, 0.88, 0.12, c, radius=0.3)
    b.rectangle(0.12, 0.2, 0.88, 0.3, c, radius=0.3)
    for u in (0.1, 0.8):
        b.rectangle(u, 0.0, u + 0.1, 0.58, c)
    b.polygon([(0.1, 0.5), (0.9, 0.5), (1.0, 0.64), (0.0, 0.64)], lighter(c, 0.2))
    for u in (0.0, 0.88):
        b.rectangle(u, 0.64, u + 0.12, 1.0, c)


def _table(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.18, 0.76):
        b.rectangle(u, 0.2, u + 0.05, 0.86, darker(c, 0.7))
    b.polygon([(0.06, 0.0), (0.94, 0.0), (1.0, 0.14), (0.0, 0.14)], lighter(c, 0.2))
    b.rectangle(0.0, 0.13, 1.0, 0.24, c)
    for u in (0.03, 0.9):
        b.rectangle(u, 0.24, u + 0.07, 1.0, c)


def _desk(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.04, 0.2, 0.1, 1.0, c)
    b.rectangle(0.1, 0.22, 0.64, 0.42, darker(c, 0.75))
    b.rectangle(0.62, 0.18, 0.96, 1.0, c)
    for step in range(3):
        b.rectangle(0.65, 0.26 + step * 0.24, 0.93, 0.46 + step * 0.24, lighter(c, 0.15))
        b.rectangle(0.75, 0.34 + step * 0.24, 0.83, 0.38 + step * 0.24, METAL)
    b.polygon([(0.05, 0.0), (0.95, 0.0), (1.0, 0.12), (0.0, 0.12)], lighter(c, 0.2))
    b.rectangle(0.0, 0.11, 1.0, 0.2, c)


def _couch(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.08, 0.88):
        b.rectangle(u, 0.86, u + 0.04, 1.0, WOOD)
    b.rectangle(0.06, 0.0, 0.94, 0.66, c, radius=0.25)
    for u in (0.12, 0.51):
        b.rectangle(u, 0.12, u + 0.37, 0.5, lighter(c, 0.15), radius=0.2)
        b.rectangle(u, 0.46, u + 0.37, 0.68, lighter(c, 0.25), radius=0.3)
    b.rectangle(0.04, 0.64, 0.96, 0.92, c, radius=0.2)
    for u in (0.0, 0.88):
        b.rectangle(u, 0.3, u + 0.12, 0.92, c, radius=0.45)


def _bench(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.1, 0.84):
        b.rectangle(u, 0.05, u + 0.05, 1.0, METAL)
    for v in (0.0, 0.18):
        b.rectangle(0.0, v, 1.0, v + 0.13, c, radius=0.2)
    b.polygon([(0.04, 0.42), (0.96, 0.42), (1.0, 0.58), (0.0, 0.58)], lighter(c, 0.2))
    b.rectangle(0.0, 0.56, 1.0, 0.66, c)
    for u in (0.03, 0.9):
        b.rectangle(u, 0.66, u + 0.06, 1.0, METAL)


def _lamp(b: Brush, c: RGB, rng: random.Random) -> None:
    b.ellipse(0.22, 0.9, 0.78, 1.0, METAL)
    b.rectangle(0.45, 0.44, 0.55, 0.95, METAL)
    b.polygon([(0.28, 0.0), (0.72, 0.0), (1.0, 0.48), (0.0, 0.48)], c)
    b.ellipse(0.02, 0.42, 0.98, 0.54, lighter(c, 0.6))


def _cup(b: Brush, c: RGB, rng: random.Random) -> None:
    b.arc(0.6, 0.24, 1.0, 0.72, 270, 450, darker(c, 0.8), 0.12)
    b.polygon([(0.04, 0.1), (0.78, 0.1), (0.7, 0.94), (0.12, 0.94)], c)
    b.ellipse(0.12, 0.88, 0.7, 1.0, c, outline=False)
    b.ellipse(0.04, 0.0, 0.78, 0.2, lighter(c, 0.3))
    b.ellipse(0.11, 0.05, 0.71, 0.17, (112, 74, 50), outline=False)


def _bowl(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.32, 0.84, 0.68, 1.0, darker(c, 0.8))
    x1, y1 = b.at(0, -0.56)
    x2, y2 = b.at(1, 0.94)
    b.draw.pieslice([x1, y1, x2, y2], 0, 180, c, darker(c), b.line_width)
    b.ellipse(0.0, 0.04, 1.0, 0.36, lighter(c, 0.35))
    b.ellipse(0.08, 0.1, 0.92, 0.32, darker(c, 0.85), outline=False)


def _bottle(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.34, 0.0, 0.66, 0.08, (190, 60, 50))
    b.polygon([(0.36, 0.07), (0.64, 0.07), (0.66, 0.26), (0.98, 0.42), (0.02, 0.42), (0.34, 0.26)], c)
    b.rectangle(0.02, 0.4, 0.98, 1.0, c, radius=0.2)
    b.rectangle(0.02, 0.56, 0.98, 0.8, (250, 246, 232))
    b.line([(0.16, 0.46), (0.16, 0.52)], lighter(c, 0.7), 0.08)


def _apple(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.26), (0.56, 0.02)], WOOD, 0.08)
    b.ellipse(0.54, 0.02, 0.86, 0.2, (104, 168, 84))
    b.ellipse(0.02, 0.18, 0.64, 1.0, c)
    b.ellipse(0.36, 0.18, 0.98, 1.0, c)
    b.ellipse(0.2, 0.24, 0.8, 0.96, c, outline=False)
    b.ellipse(0.16, 0.34, 0.3, 0.56, lighter(c, 0.6), outline=False)


def _banana(b: Brush, c: RGB, rng: random.Random) -> None:
    upper = [(0.1 + 0.8 * t, 0.1 + 0.55 * math.sin(math.pi * t)) for t in (i / 12 for i in range(13))]
    lower = [(0.02 + 0.96 * t, 0.14 + 0.84 * math.sin(math.pi * t)) for t in (i / 12 for i in range(12, -1, -1))]
    b.polygon(upper + lower, c)
    b.line([(0.12, 0.2), (0.3, 0.58), (0.5, 0.72), (0.7, 0.58)], darker(c, 0.8), 0.04)
    b.polygon([(0.0, 0.0), (0.1, 0.0), (0.12, 0.16), (0.03, 0.18)], WOOD)


def _book(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.06, 0.1), (0.82, 0.02), (0.96, 0.12), (0.96, 0.98), (0.06, 0.98)], (248, 244, 230))
    b.rectangle(0.0, 0.08, 0.86, 1.0, c, radius=0.06)
    b.line([(0.12, 0.1), (0.12, 0.98)], darker(c), 0.04)
    b.rectangle(0.28, 0.28, 0.72, 0.38, lighter(c, 0.7), outline=False)
    b.rectangle(0.34, 0.48, 0.66, 0.55, lighter(c, 0.7), outline=False)


def _laptop(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.12, 0.0, 0.88, 0.76, c, radius=0.06)
    b.rectangle(0.18, 0.07, 0.82, 0.68, (176, 212, 232))
    b.polygon([(0.12, 0.76), (0.88, 0.76), (1.0, 1.0), (0.0, 1.0)], lighter(c, 0.15))
    b.polygon([(0.2, 0.81), (0.8, 0.81), (0.84, 0.9), (0.16, 0.9)], darker(c, 0.6))


def _phone(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.04, 0.0, 0.96, 1.0, c, radius=0.2)
    b.rectangle(0.14, 0.12, 0.86, 0.8, (168, 208, 230))
    b.circle(0.5, 0.9, 0.05, lighter(c, 0.5))


def _television(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.0, 0.0, 1.0, 0.92, c, radius=0.05)
    b.rectangle(0.05, 0.07, 0.95, 0.83, (110, 150, 180))
    b.polygon([(0.12, 0.78), (0.3, 0.12), (0.42, 0.12), (0.24, 0.78)], (150, 184, 208), outline=False)
    b.rectangle(0.38, 0.92, 0.62, 1.0, darker(c))


def _clock(b: Brush, c: RGB, rng: random.Random) -> None:
    b.ellipse(0.0, 0.0, 1.0, 1.0, c)
    b.ellipse(0.1, 0.1, 0.9, 0.9, (252, 250, 242))
    for hour in range(12):
        angle = math.radians(hour * 30)
        s, k = math.sin(angle), math.cos(angle)
        b.line([(0.5 + 0.34 * s, 0.5 - 0.34 * k), (0.5 + 0.38 * s, 0.5 - 0.38 * k)], INK, 0.03)
    minute, hour_angle = math.radians(rng.randrange(360)), math.radians(rng.randrange(360))
    b.line([(0.5, 0.5), (0.5 + 0.3 * math.sin(minute), 0.5 - 0.3 * math.cos(minute))], INK, 0.035)
    b.line([(0.5, 0.5), (0.5 + 0.2 * math.sin(hour_angle), 0.5 - 0.2 * math.cos(hour_angle))], INK, 0.055)


def _tree(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.44, 0.52), (0.56, 0.52), (0.6, 1.0), (0.4, 1.0)], WOOD)
    crown = ((0.28, 0.44), (0.72, 0.44), (0.5, 0.46), (0.36, 0.25), (0.64, 0.25), (0.5, 0.18))
    for u, v in crown:
        r = 0.18
        b.ellipse(u - 1.35 * r, v - r, u + 1.35 * r, v + r, c)
    b.ellipse(0.18, 0.14, 0.82, 0.56, c, outline=False)
    for _ in range(9):
        u, v = rng.uniform(0.2, 0.8), rng.uniform(0.14, 0.54)
        b.arc(u - 0.06, v - 0.03, u + 0.06, v + 0.05, 200, 340, darker(c, 0.8), 0.02)


def _flower(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.36), (0.48, 1.0)], (86, 146, 74), 0.07)
    b.ellipse(0.1, 0.66, 0.5, 0.8, (104, 168, 84))
    b.ellipse(0.5, 0.58, 0.9, 0.72, (104, 168, 84))
    for step in range(6):
        angle = math.radians(step * 60)
        u, v = 0.5 + 0.3 * math.cos(angle), 0.25 + 0.165 * math.sin(angle)
        b.ellipse(u - 0.2, v - 0.115, u + 0.2, v + 0.115, c)
    b.ellipse(0.32, 0.15, 0.68, 0.35, (244, 196, 64) if c != PAINT["yellow"] else (150, 96, 50))


def _house(b: Brush, c: RGB, rng: random.Random) -> None:
    roof = (166, 74, 60) if c != PAINT["red"] else (96, 84, 80)
    b.rectangle(0.74, 0.04, 0.84, 0.34, darker(roof, 0.85))
    b.rectangle(0.08, 0.38, 0.92, 1.0, c)
    b.polygon([(0.0, 0.42), (0.5, 0.0), (1.0, 0.42)], roof)
    b.rectangle(0.42, 0.64, 0.58, 1.0, WOOD)
    for u in (0.16, 0.66):
        b.rectangle(u, 0.54, u + 0.18, 0.74, GLASS)
        b.line([(u + 0.09, 0.54), (u + 0.09, 0.74)], INK, 0.01)
        b.line([(u, 0.64), (u + 0.18, 0.64)], INK, 0.01)


def _umbrella(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.08), (0.5, 0.94)], WOOD, 0.035)
    b.arc(0.5, 0.86, 0.62, 1.0, 0, 180, WOOD, 0.035)
    x1, y1 = b.at(0.0, 0.04)
    x2, y2 = b.at(1.0, 0.98)
    for start, colour in ((180, c), (216, lighter(c, 0.45)), (252, c), (288, lighter(c, 0.45)), (324, c)):
        b.draw.pieslice([x1, y1, x2, y2], start, start + 36, colour, darker(c), b.line_width)
    b.line([(0.5, 0.0), (0.5, 0.06)], WOOD, 0.035)


def _ball(b: Brush, c: RGB, rng: random.Random) -> None:
    b.ellipse(0.0, 0.0, 1.0, 1.0, c)
    stripe = lighter(c, 0.65) if sum(c) < 690 else (206, 206, 200)
    b.arc(-0.5, 0.04, 0.42, 0.96, 300, 420, stripe, 0.09)
    b.arc(0.58, 0.04, 1.5, 0.96, 120, 240, stripe, 0.09)


def _kite(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.72), (0.42, 0.8), (0.56, 0.88), (0.46, 1.0)], INK, 0.02)
    for u, v in ((0.44, 0.81), (0.54, 0.89)):
        bow = [(u - 0.08, v - 0.03), (u + 0.08, v + 0.03), (u + 0.08, v - 0.03), (u - 0.08, v + 0.03)]
        b.polygon(bow, lighter(c, 0.4))
    b.polygon([(0.5, 0.0), (1.0, 0.3), (0.5, 0.74), (0.0, 0.3)], c)
    b.polygon([(0.5, 0.0), (1.0, 0.3), (0.5, 0.3)], lighter(c, 0.35), outline=False)
    b.polygon([(0.5, 0.3), (0.0, 0.3), (0.5, 0.74)], lighter(c, 0.35), outline=False)
    b.line([(0.5, 0.0), (0.5, 0.74)], darker(c), 0.02)
    b.line([(0.0, 0.3), (1.0, 0.3)], darker(c), 0.02)


SHAPES: dict[str, _Shape] = {
    "man": _person(dress=False),
    "woman": _person(dress=True),
    "boy": _person(dress=False),
    "girl": _person(dress=True),
    "dog": _dog,
    "cat": _cat,
    "horse": _horse,
    "cow": _cow,
    "sheep": _sheep,
    "pig": _pig,
    "chicken": _chicken,
    "duck": _duck,
    "pigeon": _pigeon,
    "elephant": _elephant,
    "giraffe": _giraffe,
    "zebra": _zebra,
    "lion": _lion,
    "monkey": _monkey,
    "car": _car,
    "truck": _truck,
    "bus": _bus,
    "tractor": _tractor,
    "bicycle": _bicycle,
    "motorcycle": _motorcycle,
    "boat": _boat,
    "airplane": _airplane,
    "chair": _chair,
    "table": _table,
    "couch": _couch,
    "bench": _bench,
    "desk": _desk,
    "lamp": _lamp,
    "cup": _cup,
    "bowl": _bowl,
    "bottle": _bottle,
    "apple": _apple,
    "banana": _banana,
    "book": _book,
    "laptop": _laptop,
    "phone": _phone,
    "television": _television,
    "clock": _clock,
    "tree": _tree,
    "flower": _flower,
    "house": _house,
    "umbrella": _umbrella,
    "ball": _ball,
    "kite": _kite,
}
