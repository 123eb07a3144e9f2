"""Vehicles, furniture and other things: one drawing for each category, in the unit square of its box."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmf_muvla.toyworld.pictures.brush import GLASS, INK, METAL, PAINT, RGB, TYRE, WOOD, Brush, darker, lighter


class Things(Brush):
    """Paints things; public methods are categories."""

    def _wheels(self, us: Sequence[float], v: float, radius: float) -> None:
        for u in us:
            self.circle(u, v, radius, TYRE)
            self.circle(u, v, radius * 0.5, (196, 198, 202))

    def car(self, c: RGB) -> None:
        self.polygon([(0.2, 0.48), (0.32, 0.08), (0.68, 0.08), (0.82, 0.48)], c)
        self.polygon([(0.27, 0.46), (0.35, 0.16), (0.49, 0.16), (0.49, 0.46)], GLASS)
        self.polygon([(0.53, 0.46), (0.53, 0.16), (0.65, 0.16), (0.75, 0.46)], GLASS)
        self.rectangle(0.02, 0.44, 0.98, 0.82, c, radius=0.35)
        self.ellipse(0.92, 0.52, 0.98, 0.64, (250, 236, 150))
        self.rectangle(0.02, 0.52, 0.06, 0.64, (190, 40, 40))
        self.line([(0.51, 0.5), (0.51, 0.78)], darker(c), 0.015)
        self._wheels((0.23, 0.77), 0.82, 0.18)

    def truck(self, c: RGB) -> None:
        self.rectangle(0.01, 0.06, 0.64, 0.8, c, radius=0.05)
        self.lines([[(u, 0.1), (u, 0.76)] for u in (0.17, 0.33, 0.49)], darker(c, 0.85), 0.012)
        self.polygon([(0.66, 0.82), (0.66, 0.26), (0.86, 0.26), (0.98, 0.54), (0.98, 0.82)], lighter(c, 0.2))
        self.polygon([(0.72, 0.52), (0.72, 0.33), (0.84, 0.33), (0.92, 0.52)], GLASS)
        self._wheels((0.16, 0.36, 0.82), 0.85, 0.15)

    def bus(self, c: RGB) -> None:
        self.rectangle(0.01, 0.06, 0.99, 0.84, c, radius=0.16)
        for step in range(5):
            self.rectangle(0.06 + step * 0.16, 0.18, 0.19 + step * 0.16, 0.46, GLASS)
        self.rectangle(0.87, 0.18, 0.96, 0.8, GLASS)
        self.rectangle(0.02, 0.56, 0.86, 0.62, lighter(c, 0.5), outline=False)
        self._wheels((0.2, 0.74), 0.85, 0.15)

    def tractor(self, c: RGB) -> None:
        self.rectangle(0.62, 0.12, 0.66, 0.44, METAL)
        self.polygon([(0.2, 0.46), (0.24, 0.04), (0.5, 0.04), (0.54, 0.46)], GLASS)
        self.rectangle(0.18, 0.0, 0.56, 0.07, c)
        self.lines([[(0.24, 0.06), (0.21, 0.46)], [(0.5, 0.06), (0.53, 0.46)]], c, 0.04)
        self.rectangle(0.18, 0.42, 0.94, 0.7, c, radius=0.15)
        self.lines([[(0.74 + step * 0.06, 0.47), (0.74 + step * 0.06, 0.64)] for step in range(3)], darker(c), 0.02)
        for u, v, tyre, hub in ((0.28, 0.71, 0.29, 0.14), (0.82, 0.83, 0.17, 0.08)):
            self.circle(u, v, tyre, TYRE)
            self.circle(u, v, hub, (236, 200, 80))

    def _rim(self, u: float, v: float, radius: float, thickness: float) -> None:
        (x, y), r = self.at(u, v), radius * self.height
        self.draw.ellipse([x - r, y - r, x + r, y + r], None, TYRE, max(3, round(thickness * self.height)))

    def bicycle(self, c: RGB) -> None:
        for u in (0.22, 0.78):
            self._rim(u, 0.68, 0.31, 0.045)
            for angle in map(math.radians, range(0, 180, 45)):
                du, dv = 0.3 * math.cos(angle) * self.height / self.width, 0.3 * math.sin(angle)
                self.line([(u - du, 0.68 - dv), (u + du, 0.68 + dv)], METAL, 0.01)
        self.line([(0.22, 0.68), (0.38, 0.3), (0.68, 0.3), (0.48, 0.68), (0.22, 0.68)], c, 0.065)
        self.line([(0.34, 0.2), (0.48, 0.68)], c, 0.065)
        self.line([(0.78, 0.68), (0.66, 0.12), (0.76, 0.08)], c, 0.06)
        self.rectangle(0.26, 0.15, 0.42, 0.21, INK, radius=0.5)
        self.circle(0.48, 0.68, 0.06, METAL)

    def motorcycle(self, c: RGB) -> None:
        for u in (0.2, 0.8):
            self._rim(u, 0.7, 0.28, 0.09)
            self.circle(u, 0.7, 0.08, METAL)
        self.rectangle(0.38, 0.5, 0.62, 0.82, METAL, radius=0.2)
        self.line([(0.8, 0.7), (0.66, 0.14), (0.74, 0.06)], METAL, 0.05)
        self.polygon([(0.06, 0.42), (0.4, 0.38), (0.72, 0.32), (0.68, 0.56), (0.34, 0.62)], c)
        self.rectangle(0.14, 0.28, 0.44, 0.42, INK, radius=0.5)
        self.ellipse(0.44, 0.2, 0.68, 0.48, c)
        self.circle(0.72, 0.26, 0.08, (250, 240, 170))
        self.line([(0.36, 0.82), (0.06, 0.86)], (190, 192, 196), 0.06)

    def boat(self, c: RGB) -> None:
        self.line([(0.5, 0.02), (0.5, 0.74)], WOOD, 0.03)
        self.polygon([(0.53, 0.04), (0.53, 0.64), (0.92, 0.64)], (250, 248, 240))
        self.polygon([(0.47, 0.12), (0.47, 0.64), (0.16, 0.64)], (240, 234, 220))
        self.polygon([(0.02, 0.7), (0.98, 0.7), (0.82, 0.98), (0.18, 0.98)], c)
        self.polygon([(0.04, 0.74), (0.96, 0.74), (0.94, 0.79), (0.06, 0.79)], lighter(c, 0.5), outline=False)

    def airplane(self, c: RGB) -> None:
        self.polygon([(0.02, 0.06), (0.12, 0.06), (0.24, 0.46), (0.08, 0.5)], c)
        self.polygon([(0.44, 0.46), (0.3, 0.04), (0.4, 0.04), (0.62, 0.46)], darker(c, 0.8))
        self.rectangle(0.05, 0.38, 0.99, 0.72, c, radius=0.5)
        self.polygon([(0.42, 0.6), (0.24, 0.98), (0.36, 0.98), (0.64, 0.62)], darker(c, 0.88))
        for step in range(7):
            self.circle(0.3 + step * 0.08, 0.5, 0.045, GLASS)
        self.polygon([(0.9, 0.44), (0.95, 0.46), (0.97, 0.54), (0.89, 0.54)], GLASS)

    def chair(self, c: RGB) -> None:
        self.rectangles((0.1, 0.8), 0.55, 0.1, 1.0, darker(c, 0.8))
        self.rectangle(0.12, 0.0, 0.88, 0.12, c, radius=0.3)
        self.rectangle(0.12, 0.2, 0.88, 0.3, c, radius=0.3)
        self.rectangles((0.1, 0.8), 0.0, 0.1, 0.58, c)
        self.polygon([(0.1, 0.5), (0.9, 0.5), (1.0, 0.64), (0.0, 0.64)], lighter(c, 0.2))
        self.rectangles((0.0, 0.88), 0.64, 0.12, 1.0, c)

    def table(self, c: RGB) -> None:
        self.rectangles((0.18, 0.76), 0.2, 0.05, 0.86, darker(c, 0.7))
        self.polygon([(0.06, 0.0), (0.94, 0.0), (1.0, 0.14), (0.0, 0.14)], lighter(c, 0.2))
        self.rectangle(0.0, 0.13, 1.0, 0.24, c)
        self.rectangles((0.03, 0.9), 0.24, 0.07, 1.0, c)

    def desk(self, c: RGB) -> None:
        self.rectangle(0.04, 0.2, 0.1, 1.0, c)
        self.rectangle(0.1, 0.22, 0.64, 0.42, darker(c, 0.75))
        self.rectangle(0.62, 0.18, 0.96, 1.0, c)
        for step in range(3):
            self.rectangle(0.65, 0.26 + step * 0.24, 0.93, 0.46 + step * 0.24, lighter(c, 0.15))
            self.rectangle(0.75, 0.34 + step * 0.24, 0.83, 0.38 + step * 0.24, METAL)
        self.polygon([(0.05, 0.0), (0.95, 0.0), (1.0, 0.12), (0.0, 0.12)], lighter(c, 0.2))
        self.rectangle(0.0, 0.11, 1.0, 0.2, c)

    def couch(self, c: RGB) -> None:
        self.rectangles((0.08, 0.88), 0.86, 0.04, 1.0, WOOD)
        self.rectangle(0.06, 0.0, 0.94, 0.66, c, radius=0.25)
        for u in (0.12, 0.51):
            self.rectangle(u, 0.12, u + 0.37, 0.5, lighter(c, 0.15), radius=0.2)
            self.rectangle(u, 0.46, u + 0.37, 0.68, lighter(c, 0.25), radius=0.3)
        self.rectangle(0.04, 0.64, 0.96, 0.92, c, radius=0.2)
        self.rectangles((0.0, 0.88), 0.3, 0.12, 0.92, c, radius=0.45)

    def bench(self, c: RGB) -> None:
        self.rectangles((0.1, 0.84), 0.05, 0.05, 1.0, METAL)
        for v in (0.0, 0.18):
            self.rectangle(0.0, v, 1.0, v + 0.13, c, radius=0.2)
        self.polygon([(0.04, 0.42), (0.96, 0.42), (1.0, 0.58), (0.0, 0.58)], lighter(c, 0.2))
        self.rectangle(0.0, 0.56, 1.0, 0.66, c)
        self.rectangles((0.03, 0.9), 0.66, 0.06, 1.0, METAL)

    def lamp(self, c: RGB) -> None:
        self.ellipse(0.22, 0.9, 0.78, 1.0, METAL)
        self.rectangle(0.45, 0.44, 0.55, 0.95, METAL)
        self.polygon([(0.28, 0.0), (0.72, 0.0), (1.0, 0.48), (0.0, 0.48)], c)
        self.ellipse(0.02, 0.42, 0.98, 0.54, lighter(c, 0.6))

    def cup(self, c: RGB) -> None:
        self.arc((0.6, 0.24, 1.0, 0.72), 270, 450, darker(c, 0.8), 0.12)
        self.polygon([(0.04, 0.1), (0.78, 0.1), (0.7, 0.94), (0.12, 0.94)], c)
        self.ellipse(0.12, 0.88, 0.7, 1.0, c, outline=False)
        self.ellipse(0.04, 0.0, 0.78, 0.2, lighter(c, 0.3))
        self.ellipse(0.11, 0.05, 0.71, 0.17, (112, 74, 50), outline=False)

    def bowl(self, c: RGB) -> None:
        self.rectangle(0.32, 0.84, 0.68, 1.0, darker(c, 0.8))
        x1, y1 = self.at(0, -0.56)
        x2, y2 = self.at(1, 0.94)
        self.draw.pieslice([x1, y1, x2, y2], 0, 180, c, darker(c), self.line_width)
        self.ellipse(0.0, 0.04, 1.0, 0.36, lighter(c, 0.35))
        self.ellipse(0.08, 0.1, 0.92, 0.32, darker(c, 0.85), outline=False)

    def bottle(self, c: RGB) -> None:
        self.rectangle(0.34, 0.0, 0.66, 0.08, (190, 60, 50))
        self.polygon([(0.36, 0.07), (0.64, 0.07), (0.66, 0.26), (0.98, 0.42), (0.02, 0.42), (0.34, 0.26)], c)
        self.rectangle(0.02, 0.4, 0.98, 1.0, c, radius=0.2)
        self.rectangle(0.02, 0.56, 0.98, 0.8, (250, 246, 232))
        self.line([(0.16, 0.46), (0.16, 0.52)], lighter(c, 0.7), 0.08)

    def apple(self, c: RGB) -> None:
        self.line([(0.5, 0.26), (0.56, 0.02)], WOOD, 0.08)
        self.ellipse(0.54, 0.02, 0.86, 0.2, (104, 168, 84))
        self.ellipse(0.02, 0.18, 0.64, 1.0, c)
        self.ellipse(0.36, 0.18, 0.98, 1.0, c)
        self.ellipse(0.2, 0.24, 0.8, 0.96, c, outline=False)
        self.ellipse(0.16, 0.34, 0.3, 0.56, lighter(c, 0.6), outline=False)

    def banana(self, c: RGB) -> None:
        upper = [(0.1 + 0.8 * t, 0.1 + 0.55 * math.sin(math.pi * t)) for t in (i / 12 for i in range(13))]
        lower = [(0.02 + 0.96 * t, 0.14 + 0.84 * math.sin(math.pi * t)) for t in (i / 12 for i in range(12, -1, -1))]
        self.polygon(upper + lower, c)
        self.line([(0.12, 0.2), (0.3, 0.58), (0.5, 0.72), (0.7, 0.58)], darker(c, 0.8), 0.04)
        self.polygon([(0.0, 0.0), (0.1, 0.0), (0.12, 0.16), (0.03, 0.18)], WOOD)

    def book(self, c: RGB) -> None:
        self.polygon([(0.06, 0.1), (0.82, 0.02), (0.96, 0.12), (0.96, 0.98), (0.06, 0.98)], (248, 244, 230))
        self.rectangle(0.0, 0.08, 0.86, 1.0, c, radius=0.06)
        self.line([(0.12, 0.1), (0.12, 0.98)], darker(c), 0.04)
        self.rectangle(0.28, 0.28, 0.72, 0.38, lighter(c, 0.7), outline=False)
        self.rectangle(0.34, 0.48, 0.66, 0.55, lighter(c, 0.7), outline=False)

    def laptop(self, c: RGB) -> None:
        self.rectangle(0.12, 0.0, 0.88, 0.76, c, radius=0.06)
        self.rectangle(0.18, 0.07, 0.82, 0.68, (176, 212, 232))
        self.polygon([(0.12, 0.76), (0.88, 0.76), (1.0, 1.0), (0.0, 1.0)], lighter(c, 0.15))
        self.polygon([(0.2, 0.81), (0.8, 0.81), (0.84, 0.9), (0.16, 0.9)], darker(c, 0.6))

    def phone(self, c: RGB) -> None:
        self.rectangle(0.04, 0.0, 0.96, 1.0, c, radius=0.2)
        self.rectangle(0.14, 0.12, 0.86, 0.8, (168, 208, 230))
        self.circle(0.5, 0.9, 0.05, lighter(c, 0.5))

    def television(self, c: RGB) -> None:
        self.rectangle(0.0, 0.0, 1.0, 0.92, c, radius=0.05)
        self.rectangle(0.05, 0.07, 0.95, 0.83, (110, 150, 180))
        self.polygon([(0.12, 0.78), (0.3, 0.12), (0.42, 0.12), (0.24, 0.78)], (150, 184, 208), outline=False)
        self.rectangle(0.38, 0.92, 0.62, 1.0, darker(c))

    def clock(self, c: RGB) -> None:
        self.ellipse(0.0, 0.0, 1.0, 1.0, c)
        self.ellipse(0.1, 0.1, 0.9, 0.9, (252, 250, 242))
        for hour in range(12):
            angle = math.radians(hour * 30)
            s, k = math.sin(angle), math.cos(angle)
            self.line([(0.5 + 0.34 * s, 0.5 - 0.34 * k), (0.5 + 0.38 * s, 0.5 - 0.38 * k)], INK, 0.03)
        minute, hour_angle = math.radians(self.rng.randrange(360)), math.radians(self.rng.randrange(360))
        self.line([(0.5, 0.5), (0.5 + 0.3 * math.sin(minute), 0.5 - 0.3 * math.cos(minute))], INK, 0.035)
        self.line([(0.5, 0.5), (0.5 + 0.2 * math.sin(hour_angle), 0.5 - 0.2 * math.cos(hour_angle))], INK, 0.055)

    def tree(self, c: RGB) -> None:
        self.polygon([(0.44, 0.52), (0.56, 0.52), (0.6, 1.0), (0.4, 1.0)], WOOD)
        crown = ((0.28, 0.44), (0.72, 0.44), (0.5, 0.46), (0.36, 0.25), (0.64, 0.25), (0.5, 0.18))
        for u, v in crown:
            r = 0.18
            self.ellipse(u - 1.35 * r, v - r, u + 1.35 * r, v + r, c)
        self.ellipse(0.18, 0.14, 0.82, 0.56, c, outline=False)
        for _ in range(9):
            u, v = self.rng.uniform(0.2, 0.8), self.rng.uniform(0.14, 0.54)
            self.arc((u - 0.06, v - 0.03, u + 0.06, v + 0.05), 200, 340, darker(c, 0.8), 0.02)

    def flower(self, c: RGB) -> None:
        self.line([(0.5, 0.36), (0.48, 1.0)], (86, 146, 74), 0.07)
        self.ellipse(0.1, 0.66, 0.5, 0.8, (104, 168, 84))
        self.ellipse(0.5, 0.58, 0.9, 0.72, (104, 168, 84))
        for step in range(6):
            angle = math.radians(step * 60)
            u, v = 0.5 + 0.3 * math.cos(angle), 0.25 + 0.165 * math.sin(angle)
            self.ellipse(u - 0.2, v - 0.115, u + 0.2, v + 0.115, c)
        self.ellipse(0.32, 0.15, 0.68, 0.35, (244, 196, 64) if c != PAINT["yellow"] else (150, 96, 50))

    def house(self, c: RGB) -> None:
        roof = (166, 74, 60) if c != PAINT["red"] else (96, 84, 80)
        self.rectangle(0.74, 0.04, 0.84, 0.34, darker(roof, 0.85))
        self.rectangle(0.08, 0.38, 0.92, 1.0, c)
        self.polygon([(0.0, 0.42), (0.5, 0.0), (1.0, 0.42)], roof)
        self.rectangle(0.42, 0.64, 0.58, 1.0, WOOD)
        for u in (0.16, 0.66):
            self.rectangle(u, 0.54, u + 0.18, 0.74, GLASS)
            self.lines([[(u + 0.09, 0.54), (u + 0.09, 0.74)], [(u, 0.64), (u + 0.18, 0.64)]], INK, 0.01)

    def umbrella(self, c: RGB) -> None:
        self.line([(0.5, 0.08), (0.5, 0.94)], WOOD, 0.035)
        self.arc((0.5, 0.86, 0.62, 1.0), 0, 180, WOOD, 0.035)
        x1, y1 = self.at(0.0, 0.04)
        x2, y2 = self.at(1.0, 0.98)
        for start, colour in ((180, c), (216, lighter(c, 0.45)), (252, c), (288, lighter(c, 0.45)), (324, c)):
            self.draw.pieslice([x1, y1, x2, y2], start, start + 36, colour, darker(c), self.line_width)
        self.line([(0.5, 0.0), (0.5, 0.06)], WOOD, 0.035)

    def ball(self, c: RGB) -> None:
        self.ellipse(0.0, 0.0, 1.0, 1.0, c)
        stripe = lighter(c, 0.65) if sum(c) < 690 else (206, 206, 200)
        self.arc((-0.5, 0.04, 0.42, 0.96), 300, 420, stripe, 0.09)
        self.arc((0.58, 0.04, 1.5, 0.96), 120, 240, stripe, 0.09)

    def kite(self, c: RGB) -> None:
        self.line([(0.5, 0.72), (0.42, 0.8), (0.56, 0.88), (0.46, 1.0)], INK, 0.02)
        for u, v in ((0.44, 0.81), (0.54, 0.89)):
            bow = [(u - 0.08, v - 0.03), (u + 0.08, v + 0.03), (u + 0.08, v - 0.03), (u - 0.08, v + 0.03)]
            self.polygon(bow, lighter(c, 0.4))
        self.polygon([(0.5, 0.0), (1.0, 0.3), (0.5, 0.74), (0.0, 0.3)], c)
        self.polygon([(0.5, 0.0), (1.0, 0.3), (0.5, 0.3)], lighter(c, 0.35), outline=False)
        self.polygon([(0.5, 0.3), (0.0, 0.3), (0.5, 0.74)], lighter(c, 0.35), outline=False)
        self.lines([[(0.5, 0.0), (0.5, 0.74)], [(0.0, 0.3), (1.0, 0.3)]], darker(c), 0.02)
