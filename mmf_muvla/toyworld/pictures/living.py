"""People and animals: one drawing for each category, in the unit square of its box."""

from __future__ import annotations

from collections.abc import Sequence

from mmf_muvla.toyworld.pictures.brush import HAIR, INK, PAINT, RGB, SKIN, Brush, darker, lighter


class Living(Brush):
    """Paints people and animals; public methods are categories."""

    def man(self, c: RGB) -> None:
        trousers = (70, 76, 96) if c != PAINT["black"] else (110, 104, 96)
        for u in (0.26, 0.52):
            self.rectangle(u, 0.56, u + 0.22, 0.97, trousers, radius=0.15)
            self.rectangle(u - 0.03, 0.95, u + 0.24, 1, INK)
        for u1, u2 in ((0.2, 0.06), (0.8, 0.94)):
            self.line([(u1, 0.28), (u2, 0.54)], darker(c, 0.85), 0.16)
            self.circle(u2, 0.555, 0.025, SKIN)
        self.rectangle(0.18, 0.24, 0.82, 0.6, c, radius=0.25)
        self._head(self.rng.choice(HAIR))

    def woman(self, c: RGB) -> None:
        hair = self.rng.choice(HAIR)
        self.rectangles((0.34, 0.54), 0.80, 0.12, 0.98, SKIN)
        self.rectangle(0.28, 0.1, 0.72, 0.3, hair, radius=0.4)
        self.lines([[(u1, 0.3), (u2, 0.55)] for u1, u2 in ((0.30, 0.08), (0.70, 0.92))], SKIN, 0.13)
        self.polygon([(0.34, 0.25), (0.66, 0.25), (0.72, 0.5), (0.94, 0.84), (0.06, 0.84), (0.28, 0.5)], c)
        self._head(hair)

    boy, girl = man, woman

    def _head(self, hair: RGB) -> None:
        self.rectangle(0.44, 0.19, 0.56, 0.26, SKIN, outline=False)
        self.circle(0.5, 0.115, 0.1, SKIN)
        (x, y), r = self.at(0.5, 0.11), 0.107 * self.height
        self.draw.pieslice([x - r, y - r, x + r, y + r], 180, 360, hair)
        self._eyes((0.42, 0.58), 0.125, 0.011)
        self.arc((0.4, 0.11, 0.6, 0.165), 30, 150, darker(SKIN, 0.6), 0.03)

    def _legs(self, c: RGB, top: float, us: Sequence[float], thickness: float) -> None:
        for number, u in enumerate(us):
            self.rectangle(u, top, u + thickness, 1, darker(c, 0.82) if number % 2 else c)

    def _eyes(self, us: Sequence[float], v: float, radius: float = 0.022) -> None:
        for u in us:
            self.circle(u, v, radius, INK, outline=False)

    def dog(self, c: RGB) -> None:
        self.line([(0.14, 0.5), (0.04, 0.2)], c, 0.09)
        self._legs(c, 0.6, (0.16, 0.26, 0.58, 0.68), 0.08)
        self.rectangle(0.1, 0.38, 0.76, 0.74, c, radius=0.45)
        self.ellipse(0.62, 0.06, 0.92, 0.52, c)
        self.rectangle(0.8, 0.24, 1.0, 0.46, c, radius=0.4)
        self.ellipse(0.62, 0.08, 0.72, 0.44, darker(c, 0.7))
        self._eyes([0.82], 0.22)
        self.circle(0.97, 0.29, 0.04, INK, outline=False)

    def cat(self, c: RGB) -> None:
        self.line([(0.12, 0.6), (0.05, 0.3), (0.12, 0.12)], c, 0.1)
        self._legs(c, 0.7, (0.16, 0.27, 0.56, 0.67), 0.09)
        self.ellipse(0.08, 0.38, 0.78, 0.86, c)
        for u in (0.62, 0.84):
            self.polygon([(u, 0.22), (u + 0.02, 0), (u + 0.13, 0.2)], c)
        self.ellipse(0.58, 0.1, 1.0, 0.58, c)
        self._eyes((0.72, 0.88), 0.3, 0.03)
        self.polygon([(0.77, 0.39), (0.83, 0.39), (0.8, 0.45)], (220, 140, 140), outline=False)
        for v in (0.4, 0.46):
            self.lines([[(0.56, v), (0.7, v + 0.01)], [(0.9, v + 0.01), (1.04, v)]], darker(c, 0.5), 0.012)

    def _hoofed(self, c: RGB, *, mane: RGB | None = None, spots: RGB | None = None, stripes: bool = False) -> None:
        self.line([(0.1, 0.4), (0.03, 0.68)], mane or darker(c), 0.06)
        self._legs(c, 0.55, (0.12, 0.22, 0.56, 0.66), 0.07)
        self.rectangles((0.12, 0.22, 0.56, 0.66), 0.95, 0.07, 1, INK)
        self.rectangle(0.08, 0.32, 0.76, 0.64, c, radius=0.45)
        if spots:
            for u, v, r in ((0.24, 0.42, 0.07), (0.42, 0.52, 0.06), (0.58, 0.42, 0.05)):
                self.ellipse(u - r, v - r * 0.9, u + r, v + r * 0.9, spots, outline=False)
        self.polygon([(0.6, 0.42), (0.76, 0.08), (0.88, 0.14), (0.77, 0.55)], c)
        if mane:
            self.polygon([(0.58, 0.38), (0.73, 0.06), (0.79, 0.08), (0.67, 0.4)], mane)
        if stripes:
            for step in range(6):
                u = 0.17 + 0.08 * step
                self.line([(u, 0.34), (u + 0.02, 0.61)], INK if sum(c) > 240 else PAINT["white"], 0.03)
            for step in range(3):
                u, v = 0.71 + 0.03 * step, 0.36 - 0.1 * step
                self.line([(u - 0.05, v - 0.03), (u + 0.09, v + 0.02)], INK if sum(c) > 240 else PAINT["white"], 0.025)
        self.polygon([(0.74, 0.06), (0.86, 0.04), (0.99, 0.26), (0.94, 0.33), (0.78, 0.24)], c)
        if not mane:  # but horns
            self.lines([[(0.78, 0.06), (0.74, 0)], [(0.84, 0.05), (0.88, 0)]], (232, 224, 200), 0.03)
        self.polygon([(0.75, 0.07), (0.74, 0), (0.8, 0.05)], darker(c, 0.8))
        self._eyes([0.85], 0.13, 0.016)

    def horse(self, c: RGB) -> None:
        self._hoofed(c, mane=darker(c, 0.5))

    def zebra(self, c: RGB) -> None:
        self._hoofed(c, mane=INK, stripes=True)

    def cow(self, c: RGB) -> None:
        self.ellipse(0.42, 0.58, 0.56, 0.72, (240, 190, 190))
        self._hoofed(c, spots=darker(c, 0.55) if sum(c) > 300 else lighter(c, 0.7))

    def sheep(self, c: RGB) -> None:
        face = (84, 76, 72) if sum(c) > 300 else (222, 212, 200)
        self._legs(face, 0.66, (0.2, 0.3, 0.6, 0.7), 0.06)
        for u, v in ((0.12, 0.36), (0.3, 0.22), (0.5, 0.2), (0.66, 0.34), (0.2, 0.56), (0.42, 0.6), (0.62, 0.56)):
            self.ellipse(u - 0.12, v - 0.16, u + 0.18, v + 0.2, c)
        self.rectangle(0.14, 0.28, 0.7, 0.66, c, radius=0.5, outline=False)
        self.ellipse(0.74, 0.14, 0.98, 0.52, face)
        self.ellipse(0.7, 0.18, 0.8, 0.3, face)
        self.ellipse(0.72, 0.08, 0.9, 0.24, c)
        self._eyes([0.88], 0.28, 0.025)

    def pig(self, c: RGB) -> None:
        self.arc((0, 0.3, 0.12, 0.55), 100, 420, darker(c), 0.04)
        self._legs(c, 0.7, (0.18, 0.29, 0.58, 0.69), 0.08)
        self.ellipse(0.06, 0.16, 0.8, 0.86, c)
        self.ellipse(0.62, 0.16, 0.96, 0.68, c)
        self.polygon([(0.66, 0.26), (0.68, 0.04), (0.78, 0.18)], darker(c, 0.85))
        self.ellipse(0.88, 0.36, 1.0, 0.6, (232, 160, 160))
        self._eyes((0.92, 0.96), 0.48, 0.022)
        self._eyes([0.82], 0.34)

    def chicken(self, c: RGB) -> None:
        self.lines([[(u, 0.76), (u, 0.97), (u + 0.1, 0.98)] for u in (0.42, 0.56)], (226, 160, 50), 0.04)
        self.polygon([(0.06, 0.2), (0.3, 0.42), (0.3, 0.66)], darker(c, 0.85))
        self.ellipse(0.14, 0.34, 0.78, 0.84, c)
        self.ellipse(0.58, 0.08, 0.88, 0.46, c)
        self.polygon([(0.62, 0.5), (0.6, 0.24), (0.86, 0.26), (0.78, 0.56)], c, outline=False)
        for u in (0.66, 0.73, 0.8):
            self.circle(u, 0.08, 0.055, (210, 50, 46))
        self.polygon([(0.86, 0.2), (1.0, 0.27), (0.86, 0.32)], (236, 170, 50))
        self.ellipse(0.82, 0.32, 0.9, 0.46, (210, 50, 46))
        self.arc((0.24, 0.36, 0.6, 0.72), 20, 160, darker(c, 0.6), 0.03)
        self._eyes([0.77], 0.22, 0.028)

    def duck(self, c: RGB) -> None:
        self.lines([[(u, 0.8), (u, 0.97), (u + 0.1, 0.98)] for u in (0.4, 0.54)], (232, 140, 40), 0.05)
        self.polygon([(0.0, 0.42), (0.24, 0.52), (0.2, 0.76)], c)
        self.ellipse(0.08, 0.44, 0.76, 0.88, c)
        self.rectangle(0.56, 0.2, 0.72, 0.64, c, radius=0.5, outline=False)
        self.ellipse(0.52, 0.04, 0.82, 0.36, c)
        self.rectangle(0.78, 0.16, 1.0, 0.27, (240, 164, 40), radius=0.5)
        self.ellipse(0.22, 0.5, 0.58, 0.76, darker(c, 0.85))
        self._eyes([0.7], 0.15, 0.03)

    def pigeon(self, c: RGB) -> None:
        self.polygon([(0.0, 0.5), (0.22, 0.46), (0.2, 0.64), (0.04, 0.68)], darker(c, 0.85))
        self.polygon([(0.4, 0.52), (0.22, 0.02), (0.66, 0.46)], darker(c, 0.8))
        self.ellipse(0.14, 0.4, 0.8, 0.78, c)
        self.ellipse(0.66, 0.3, 0.92, 0.62, c)
        self.polygon([(0.91, 0.42), (1.0, 0.48), (0.9, 0.53)], (236, 170, 60))
        self.polygon([(0.36, 0.56), (0.3, 0.98), (0.62, 0.58)], lighter(c, 0.25))
        self._eyes([0.83], 0.42, 0.03)

    def elephant(self, c: RGB) -> None:
        self.line([(0.05, 0.35), (0.02, 0.6)], darker(c), 0.04)
        self._legs(c, 0.6, (0.1, 0.24, 0.48, 0.6), 0.12)
        self.ellipse(0.03, 0.1, 0.76, 0.8, c)
        self.line([(0.9, 0.4), (0.95, 0.7), (0.92, 0.86)], darker(c, 0.9), 0.11)
        self.ellipse(0.62, 0.1, 0.98, 0.6, c)
        self.ellipse(0.54, 0.12, 0.78, 0.58, darker(c, 0.85))
        self.line([(0.88, 0.54), (0.99, 0.62)], (244, 238, 222), 0.04)
        self._eyes([0.87], 0.28, 0.018)

    def giraffe(self, c: RGB) -> None:
        patch = darker(c, 0.62) if sum(c) > 240 else lighter(c, 0.4)
        self.line([(0.1, 0.55), (0.04, 0.72)], patch, 0.04)
        self._legs(c, 0.62, (0.14, 0.27, 0.5, 0.62), 0.08)
        self.rectangle(0.1, 0.5, 0.72, 0.7, c, radius=0.45)
        self.polygon([(0.52, 0.56), (0.66, 0.1), (0.8, 0.1), (0.74, 0.6)], c)
        for u, v in ((0.2, 0.56), (0.36, 0.6), (0.52, 0.57), (0.62, 0.44), (0.68, 0.3), (0.71, 0.19), (0.26, 0.64)):
            self.ellipse(u - 0.05, v - 0.022, u + 0.05, v + 0.022, patch, outline=False)
        self.lines([[(u, 0.06), (u - 0.02, 0.0)] for u in (0.68, 0.76)], patch, 0.04)
        self.polygon([(0.62, 0.05), (0.82, 0.04), (1.0, 0.13), (0.98, 0.17), (0.68, 0.15)], c)
        self._eyes([0.8], 0.085, 0.009)

    def lion(self, c: RGB) -> None:
        mane = darker(c, 0.6) if sum(c) > 240 else lighter(c, 0.4)
        self.line([(0.1, 0.5), (0.03, 0.28)], c, 0.05)
        self.circle(0.03, 0.24, 0.06, mane)
        self._legs(c, 0.62, (0.14, 0.25, 0.56, 0.66), 0.08)
        self.rectangle(0.08, 0.38, 0.76, 0.76, c, radius=0.45)
        self.ellipse(0.54, 0.02, 0.98, 0.68, mane)
        self.ellipse(0.63, 0.14, 0.9, 0.56, c)
        self._eyes((0.71, 0.82), 0.3, 0.025)
        self.polygon([(0.73, 0.4), (0.8, 0.4), (0.765, 0.46)], INK, outline=False)

    def monkey(self, c: RGB) -> None:
        face = (226, 190, 156)
        self.arc((0.0, 0.42, 0.34, 0.96), 60, 270, c, 0.06)
        for u in (0.2, 0.58):
            self.ellipse(u, 0.66, u + 0.24, 1.0, c)
        self.ellipse(0.24, 0.36, 0.78, 0.94, c)
        self.ellipse(0.36, 0.5, 0.66, 0.86, face)
        self.lines([[(u1, 0.46), (u2, 0.7)] for u1, u2 in ((0.3, 0.16), (0.72, 0.86))], c, 0.1)
        for u in (0.2, 0.82):
            self.circle(u, 0.22, 0.08, face)
        self.ellipse(0.24, 0.02, 0.78, 0.44, c)
        self.ellipse(0.33, 0.14, 0.69, 0.42, face)
        self._eyes((0.43, 0.59), 0.23, 0.024)
        self.arc((0.42, 0.26, 0.6, 0.37), 20, 160, darker(face, 0.5), 0.025)
