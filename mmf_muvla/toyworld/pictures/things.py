"""Vehicles, furniture and other things: one drawing for each category, in the unit square of its box."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from mmf_muvla.toyworld.pictures.brush import (
    GLASS,
    INK,
    METAL,
    PAINT,
    RGB,
    TYRE,
    WOOD,
    Brush,
    darker,
    lighter,
)


def _wheels(b: Brush, us: Sequence[float], v: float, radius: float) -> None:
    for u in us:
        b.circle(u, v, radius, TYRE)
        b.circle(u, v, radius * 0.5, (196, 198, 202))


def car(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.2, 0.48), (0.32, 0.08), (0.68, 0.08), (0.82, 0.48)], c)
    b.polygon([(0.27, 0.46), (0.35, 0.16), (0.49, 0.16), (0.49, 0.46)], GLASS)
    b.polygon([(0.53, 0.46), (0.53, 0.16), (0.65, 0.16), (0.75, 0.46)], GLASS)
    b.rectangle(0.02, 0.44, 0.98, 0.82, c, radius=0.35)
    b.ellipse(0.92, 0.52, 0.98, 0.64, (250, 236, 150))
    b.rectangle(0.02, 0.52, 0.06, 0.64, (190, 40, 40))
    b.line([(0.51, 0.5), (0.51, 0.78)], darker(c), 0.015)
    _wheels(b, (0.23, 0.77), 0.82, 0.18)


def truck(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.01, 0.06, 0.64, 0.8, c, radius=0.05)
    for u in (0.17, 0.33, 0.49):
        b.line([(u, 0.1), (u, 0.76)], darker(c, 0.85), 0.012)
    b.polygon([(0.66, 0.82), (0.66, 0.26), (0.86, 0.26), (0.98, 0.54), (0.98, 0.82)], lighter(c, 0.2))
    b.polygon([(0.72, 0.52), (0.72, 0.33), (0.84, 0.33), (0.92, 0.52)], GLASS)
    _wheels(b, (0.16, 0.36, 0.82), 0.85, 0.15)


def bus(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.01, 0.06, 0.99, 0.84, c, radius=0.16)
    for step in range(5):
        b.rectangle(0.06 + step * 0.16, 0.18, 0.19 + step * 0.16, 0.46, GLASS)
    b.rectangle(0.87, 0.18, 0.96, 0.8, GLASS)
    b.rectangle(0.02, 0.56, 0.86, 0.62, lighter(c, 0.5), outline=False)
    _wheels(b, (0.2, 0.74), 0.85, 0.15)


def tractor(b: Brush, c: RGB, rng: random.Random) -> None:
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


def bicycle(b: Brush, c: RGB, rng: random.Random) -> None:
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


def motorcycle(b: Brush, c: RGB, rng: random.Random) -> None:
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


def boat(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.02), (0.5, 0.74)], WOOD, 0.03)
    b.polygon([(0.53, 0.04), (0.53, 0.64), (0.92, 0.64)], (250, 248, 240))
    b.polygon([(0.47, 0.12), (0.47, 0.64), (0.16, 0.64)], (240, 234, 220))
    b.polygon([(0.02, 0.7), (0.98, 0.7), (0.82, 0.98), (0.18, 0.98)], c)
    b.polygon([(0.04, 0.74), (0.96, 0.74), (0.94, 0.79), (0.06, 0.79)], lighter(c, 0.5), outline=False)


def airplane(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.02, 0.06), (0.12, 0.06), (0.24, 0.46), (0.08, 0.5)], c)
    b.polygon([(0.44, 0.46), (0.3, 0.04), (0.4, 0.04), (0.62, 0.46)], darker(c, 0.8))
    b.rectangle(0.05, 0.38, 0.99, 0.72, c, radius=0.5)
    b.polygon([(0.42, 0.6), (0.24, 0.98), (0.36, 0.98), (0.64, 0.62)], darker(c, 0.88))
    for step in range(7):
        b.circle(0.3 + step * 0.08, 0.5, 0.045, GLASS)
    b.polygon([(0.9, 0.44), (0.95, 0.46), (0.97, 0.54), (0.89, 0.54)], GLASS)


def chair(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.1, 0.8):
        b.rectangle(u, 0.55, u + 0.1, 1.0, darker(c, 0.8))
    b.rectangle(0.12, 0.0, 0.88, 0.12, c, radius=0.3)
    b.rectangle(0.12, 0.2, 0.88, 0.3, c, radius=0.3)
    for u in (0.1, 0.8):
        b.rectangle(u, 0.0, u + 0.1, 0.58, c)
    b.polygon([(0.1, 0.5), (0.9, 0.5), (1.0, 0.64), (0.0, 0.64)], lighter(c, 0.2))
    for u in (0.0, 0.88):
        b.rectangle(u, 0.64, u + 0.12, 1.0, c)


def table(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.18, 0.76):
        b.rectangle(u, 0.2, u + 0.05, 0.86, darker(c, 0.7))
    b.polygon([(0.06, 0.0), (0.94, 0.0), (1.0, 0.14), (0.0, 0.14)], lighter(c, 0.2))
    b.rectangle(0.0, 0.13, 1.0, 0.24, c)
    for u in (0.03, 0.9):
        b.rectangle(u, 0.24, u + 0.07, 1.0, c)


def desk(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.04, 0.2, 0.1, 1.0, c)
    b.rectangle(0.1, 0.22, 0.64, 0.42, darker(c, 0.75))
    b.rectangle(0.62, 0.18, 0.96, 1.0, c)
    for step in range(3):
        b.rectangle(0.65, 0.26 + step * 0.24, 0.93, 0.46 + step * 0.24, lighter(c, 0.15))
        b.rectangle(0.75, 0.34 + step * 0.24, 0.83, 0.38 + step * 0.24, METAL)
    b.polygon([(0.05, 0.0), (0.95, 0.0), (1.0, 0.12), (0.0, 0.12)], lighter(c, 0.2))
    b.rectangle(0.0, 0.11, 1.0, 0.2, c)


def couch(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.08, 0.88):
        b.rectangle(u, 0.86, u + 0.04, 1.0, WOOD)
    b.rectangle(0.06, 0.0, 0.94, 0.66, c, radius=0.25)
    for u in (0.12, 0.51):
        b.rectangle(u, 0.12, u + 0.37, 0.5, lighter(c, 0.15), radius=0.2)
        b.rectangle(u, 0.46, u + 0.37, 0.68, lighter(c, 0.25), radius=0.3)
    b.rectangle(0.04, 0.64, 0.96, 0.92, c, radius=0.2)
    for u in (0.0, 0.88):
        b.rectangle(u, 0.3, u + 0.12, 0.92, c, radius=0.45)


def bench(b: Brush, c: RGB, rng: random.Random) -> None:
    for u in (0.1, 0.84):
        b.rectangle(u, 0.05, u + 0.05, 1.0, METAL)
    for v in (0.0, 0.18):
        b.rectangle(0.0, v, 1.0, v + 0.13, c, radius=0.2)
    b.polygon([(0.04, 0.42), (0.96, 0.42), (1.0, 0.58), (0.0, 0.58)], lighter(c, 0.2))
    b.rectangle(0.0, 0.56, 1.0, 0.66, c)
    for u in (0.03, 0.9):
        b.rectangle(u, 0.66, u + 0.06, 1.0, METAL)


def lamp(b: Brush, c: RGB, rng: random.Random) -> None:
    b.ellipse(0.22, 0.9, 0.78, 1.0, METAL)
    b.rectangle(0.45, 0.44, 0.55, 0.95, METAL)
    b.polygon([(0.28, 0.0), (0.72, 0.0), (1.0, 0.48), (0.0, 0.48)], c)
    b.ellipse(0.02, 0.42, 0.98, 0.54, lighter(c, 0.6))


def cup(b: Brush, c: RGB, rng: random.Random) -> None:
    b.arc((0.6, 0.24, 1.0, 0.72), 270, 450, darker(c, 0.8), 0.12)
    b.polygon([(0.04, 0.1), (0.78, 0.1), (0.7, 0.94), (0.12, 0.94)], c)
    b.ellipse(0.12, 0.88, 0.7, 1.0, c, outline=False)
    b.ellipse(0.04, 0.0, 0.78, 0.2, lighter(c, 0.3))
    b.ellipse(0.11, 0.05, 0.71, 0.17, (112, 74, 50), outline=False)


def bowl(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.32, 0.84, 0.68, 1.0, darker(c, 0.8))
    x1, y1 = b.at(0, -0.56)
    x2, y2 = b.at(1, 0.94)
    b.draw.pieslice([x1, y1, x2, y2], 0, 180, c, darker(c), b.line_width)
    b.ellipse(0.0, 0.04, 1.0, 0.36, lighter(c, 0.35))
    b.ellipse(0.08, 0.1, 0.92, 0.32, darker(c, 0.85), outline=False)


def bottle(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.34, 0.0, 0.66, 0.08, (190, 60, 50))
    b.polygon([(0.36, 0.07), (0.64, 0.07), (0.66, 0.26), (0.98, 0.42), (0.02, 0.42), (0.34, 0.26)], c)
    b.rectangle(0.02, 0.4, 0.98, 1.0, c, radius=0.2)
    b.rectangle(0.02, 0.56, 0.98, 0.8, (250, 246, 232))
    b.line([(0.16, 0.46), (0.16, 0.52)], lighter(c, 0.7), 0.08)


def apple(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.26), (0.56, 0.02)], WOOD, 0.08)
    b.ellipse(0.54, 0.02, 0.86, 0.2, (104, 168, 84))
    b.ellipse(0.02, 0.18, 0.64, 1.0, c)
    b.ellipse(0.36, 0.18, 0.98, 1.0, c)
    b.ellipse(0.2, 0.24, 0.8, 0.96, c, outline=False)
    b.ellipse(0.16, 0.34, 0.3, 0.56, lighter(c, 0.6), outline=False)


def banana(b: Brush, c: RGB, rng: random.Random) -> None:
    upper = [(0.1 + 0.8 * t, 0.1 + 0.55 * math.sin(math.pi * t)) for t in (i / 12 for i in range(13))]
    lower = [(0.02 + 0.96 * t, 0.14 + 0.84 * math.sin(math.pi * t)) for t in (i / 12 for i in range(12, -1, -1))]
    b.polygon(upper + lower, c)
    b.line([(0.12, 0.2), (0.3, 0.58), (0.5, 0.72), (0.7, 0.58)], darker(c, 0.8), 0.04)
    b.polygon([(0.0, 0.0), (0.1, 0.0), (0.12, 0.16), (0.03, 0.18)], WOOD)


def book(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.06, 0.1), (0.82, 0.02), (0.96, 0.12), (0.96, 0.98), (0.06, 0.98)], (248, 244, 230))
    b.rectangle(0.0, 0.08, 0.86, 1.0, c, radius=0.06)
    b.line([(0.12, 0.1), (0.12, 0.98)], darker(c), 0.04)
    b.rectangle(0.28, 0.28, 0.72, 0.38, lighter(c, 0.7), outline=False)
    b.rectangle(0.34, 0.48, 0.66, 0.55, lighter(c, 0.7), outline=False)


def laptop(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.12, 0.0, 0.88, 0.76, c, radius=0.06)
    b.rectangle(0.18, 0.07, 0.82, 0.68, (176, 212, 232))
    b.polygon([(0.12, 0.76), (0.88, 0.76), (1.0, 1.0), (0.0, 1.0)], lighter(c, 0.15))
    b.polygon([(0.2, 0.81), (0.8, 0.81), (0.84, 0.9), (0.16, 0.9)], darker(c, 0.6))


def phone(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.04, 0.0, 0.96, 1.0, c, radius=0.2)
    b.rectangle(0.14, 0.12, 0.86, 0.8, (168, 208, 230))
    b.circle(0.5, 0.9, 0.05, lighter(c, 0.5))


def television(b: Brush, c: RGB, rng: random.Random) -> None:
    b.rectangle(0.0, 0.0, 1.0, 0.92, c, radius=0.05)
    b.rectangle(0.05, 0.07, 0.95, 0.83, (110, 150, 180))
    b.polygon([(0.12, 0.78), (0.3, 0.12), (0.42, 0.12), (0.24, 0.78)], (150, 184, 208), outline=False)
    b.rectangle(0.38, 0.92, 0.62, 1.0, darker(c))


def clock(b: Brush, c: RGB, rng: random.Random) -> None:
    b.ellipse(0.0, 0.0, 1.0, 1.0, c)
    b.ellipse(0.1, 0.1, 0.9, 0.9, (252, 250, 242))
    for hour in range(12):
        angle = math.radians(hour * 30)
        s, k = math.sin(angle), math.cos(angle)
        b.line([(0.5 + 0.34 * s, 0.5 - 0.34 * k), (0.5 + 0.38 * s, 0.5 - 0.38 * k)], INK, 0.03)
    minute, hour_angle = math.radians(rng.randrange(360)), math.radians(rng.randrange(360))
    b.line([(0.5, 0.5), (0.5 + 0.3 * math.sin(minute), 0.5 - 0.3 * math.cos(minute))], INK, 0.035)
    b.line([(0.5, 0.5), (0.5 + 0.2 * math.sin(hour_angle), 0.5 - 0.2 * math.cos(hour_angle))], INK, 0.055)


def tree(b: Brush, c: RGB, rng: random.Random) -> None:
    b.polygon([(0.44, 0.52), (0.56, 0.52), (0.6, 1.0), (0.4, 1.0)], WOOD)
    crown = ((0.28, 0.44), (0.72, 0.44), (0.5, 0.46), (0.36, 0.25), (0.64, 0.25), (0.5, 0.18))
    for u, v in crown:
        r = 0.18
        b.ellipse(u - 1.35 * r, v - r, u + 1.35 * r, v + r, c)
    b.ellipse(0.18, 0.14, 0.82, 0.56, c, outline=False)
    for _ in range(9):
        u, v = rng.uniform(0.2, 0.8), rng.uniform(0.14, 0.54)
        b.arc((u - 0.06, v - 0.03, u + 0.06, v + 0.05), 200, 340, darker(c, 0.8), 0.02)


def flower(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.36), (0.48, 1.0)], (86, 146, 74), 0.07)
    b.ellipse(0.1, 0.66, 0.5, 0.8, (104, 168, 84))
    b.ellipse(0.5, 0.58, 0.9, 0.72, (104, 168, 84))
    for step in range(6):
        angle = math.radians(step * 60)
        u, v = 0.5 + 0.3 * math.cos(angle), 0.25 + 0.165 * math.sin(angle)
        b.ellipse(u - 0.2, v - 0.115, u + 0.2, v + 0.115, c)
    b.ellipse(0.32, 0.15, 0.68, 0.35, (244, 196, 64) if c != PAINT["yellow"] else (150, 96, 50))


def house(b: Brush, c: RGB, rng: random.Random) -> None:
    roof = (166, 74, 60) if c != PAINT["red"] else (96, 84, 80)
    b.rectangle(0.74, 0.04, 0.84, 0.34, darker(roof, 0.85))
    b.rectangle(0.08, 0.38, 0.92, 1.0, c)
    b.polygon([(0.0, 0.42), (0.5, 0.0), (1.0, 0.42)], roof)
    b.rectangle(0.42, 0.64, 0.58, 1.0, WOOD)
    for u in (0.16, 0.66):
        b.rectangle(u, 0.54, u + 0.18, 0.74, GLASS)
        b.line([(u + 0.09, 0.54), (u + 0.09, 0.74)], INK, 0.01)
        b.line([(u, 0.64), (u + 0.18, 0.64)], INK, 0.01)


def umbrella(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.08), (0.5, 0.94)], WOOD, 0.035)
    b.arc((0.5, 0.86, 0.62, 1.0), 0, 180, WOOD, 0.035)
    x1, y1 = b.at(0.0, 0.04)
    x2, y2 = b.at(1.0, 0.98)
    for start, colour in ((180, c), (216, lighter(c, 0.45)), (252, c), (288, lighter(c, 0.45)), (324, c)):
        b.draw.pieslice([x1, y1, x2, y2], start, start + 36, colour, darker(c), b.line_width)
    b.line([(0.5, 0.0), (0.5, 0.06)], WOOD, 0.035)


def ball(b: Brush, c: RGB, rng: random.Random) -> None:
    b.ellipse(0.0, 0.0, 1.0, 1.0, c)
    stripe = lighter(c, 0.65) if sum(c) < 690 else (206, 206, 200)
    b.arc((-0.5, 0.04, 0.42, 0.96), 300, 420, stripe, 0.09)
    b.arc((0.58, 0.04, 1.5, 0.96), 120, 240, stripe, 0.09)


def kite(b: Brush, c: RGB, rng: random.Random) -> None:
    b.line([(0.5, 0.72), (0.42, 0.8), (0.56, 0.88), (0.46, 1.0)], INK, 0.02)
    for u, v in ((0.44, 0.81), (0.54, 0.89)):
        bow = [(u - 0.08, v - 0.03), (u + 0.08, v + 0.03), (u + 0.08, v - 0.03), (u - 0.08, v + 0.03)]
        b.polygon(bow, lighter(c, 0.4))
    b.polygon([(0.5, 0.0), (1.0, 0.3), (0.5, 0.74), (0.0, 0.3)], c)
    b.polygon([(0.5, 0.0), (1.0, 0.3), (0.5, 0.3)], lighter(c, 0.35), outline=False)
    b.polygon([(0.5, 0.3), (0.0, 0.3), (0.5, 0.74)], lighter(c, 0.35), outline=False)
    b.line([(0.5, 0.0), (0.5, 0.74)], darker(c), 0.02)
    b.line([(0.0, 0.3), (1.0, 0.3)], darker(c), 0.02)


_SHAPES = (
    *(car, truck, bus, tractor, bicycle, motorcycle, boat, airplane),
    *(chair, table, desk, couch, bench, lamp, cup, bowl, bottle, apple, banana, book, laptop, phone, television, clock),
    *(tree, flower, house, umbrella, ball, kite),
)
THINGS = {shape.__name__: shape for shape in _SHAPES}
