"""A drawn lateral cephalogram with known landmarks, where no real one may travel (demo, tests); it says that it is one.

Drawn as a film is made: every part absorbs, what is behind another adds up, and the film bends the sum.
Lengths are mm from the upper left corner, x to the right, y down, the face looking right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, zoom

MM_PER_PIXEL = 0.1
WIDTH, HEIGHT = 1935, 2400

Point = tuple[float, float]
Outline = Sequence[Point]

TRUTH_MM: dict[str, Point] = {
    "S": (81, 104),
    "N": (139, 97),
    "Or": (127, 123),
    "Po": (61, 122),
    "A": (139, 152.5),
    "B": (136, 184),
    "Pog": (136.5, 197.5),
    "Me": (129, 205),
    "Gn": (134, 203),
    "Go": (75, 174),
    "L1": (142, 169),
    "U1": (144.5, 170.5),
    "UL": (156, 162),
    "LL": (154, 179),
    "Sn": (150, 150),
    "Pog'": (147, 200),
    "PNS": (97, 143),
    "ANS": (141, 144.5),
    "Ar": (67, 133),
}
"""Landmark id → where it was drawn; the shape is that of an average adult."""

_PIXELS_PER_MM = 5
"""Of the drawing; the picture is twice as fine."""

_WALL_BLUR_MM = 0.5

_HEAD: Outline = [
    *[(6, 110), (8, 70), (26, 34), (60, 12), (98, 9), (128, 26), (146, 54), (151, 80), (147, 95)],
    *[(152, 110), (163, 128), (170, 139), (166, 146), (157, 147), (150, 150), (151, 155), (156, 162)],
    *[(153, 168), (149, 171), (153, 174), (154, 179), (149, 185), (146.5, 191), (147, 200), (142, 209), (130, 214)],
    *[(112, 212), (100, 218), (98, 240), (10, 240), (8, 190), (4, 150)],
]
_SKULL: Outline = [
    *[(10, 108), (12, 72), (29, 39), (61, 17), (97, 14), (125, 30), (140, 57), (143, 80), (139, 97)],
    *[(126, 102), (106, 105), (93, 102), (88, 110), (76, 111), (70, 124), (60, 133), (40, 142), (20, 134)],
]
_BRAIN: Outline = [
    *[(15, 108), (17, 74), (33, 43), (62, 22), (96, 19), (121, 34), (135, 59), (137, 80), (133, 92)],
    *[(122, 97), (105, 101), (92, 98), (87, 99), (76, 99), (66, 118), (56, 127), (40, 135), (23, 128)],
]
_MAXILLA: Outline = [
    *[(97, 141), (118, 141), (134, 142), (141, 144.5), (138.5, 148), (139, 152.5), (140.5, 160), (141, 164)],
    *[(128, 163), (112, 162), (102, 160), (98, 150)],
]
_MANDIBLE: Outline = [
    *[(66, 121), (62, 127), (65, 133), (68, 144), (70, 160), (75, 174), (86, 184), (106, 196), (129, 205)],
    *[(134, 203), (136.5, 197.5), (135.5, 190), (136, 184), (139.5, 178), (140, 174), (128, 173), (112, 172)],
    *[(101, 168), (95, 158), (91, 143), (88, 134), (84, 136), (78, 136), (72, 126)],
]
_AIRWAY: Outline = [(104, 124), (124, 126), (122, 138), (98, 138), (93, 150), (91, 176), (93, 205), (83, 205)]
_AIRWAY_BACK: Outline = [(81, 176), (82, 150), (86, 132)]
_INCISORS: Sequence[Outline] = [
    [(144.5, 170.5), (141.5, 168), (137, 157), (134.5, 149), (138, 150), (142, 158), (145.5, 167)],
    [(142, 169), (143, 172), (139.5, 181), (135, 190), (133.5, 188), (136, 179), (139, 171)],
]
_VERTEBRAE: Sequence[Point] = [(54, 153), (52, 171), (50, 189), (49, 207), (49, 225)]


@dataclass(frozen=True, eq=False)
class DrawnCephalogram:
    """A picture made by arithmetic.

    Attributes:
        image: [row, column] uint8, bone bright.
        truth: landmark id → (x, y) in pixels; pixel centres are at integers.
        mm_per_pixel: true size of a pixel.
    """

    image: NDArray[np.uint8]
    truth: dict[str, Point]
    mm_per_pixel: float


def draw_cephalogram(seed: int = 0) -> DrawnCephalogram:
    """Draw it; the same seed gives the same picture. The seed decides the film's grain, not the anatomy."""
    film = _Film()
    _draw_soft_tissue(film)
    _draw_skull(film)
    _draw_face(film)
    _draw_jaws(film)
    _draw_spine(film)
    _draw_ruler(film)
    random = np.random.default_rng(seed)
    grey = 20 + 225 * (1 - np.exp(-0.95 * np.clip(film.absorbed, 0, None)))
    fine = zoom(grey, 2, order=1)[:HEIGHT, :WIDTH]
    fine += random.normal(0, 2.2, fine.shape) + gaussian_filter(random.normal(0, 12, fine.shape), 3)
    picture = Image.fromarray(np.clip(fine, 0, 255).astype(np.uint8))
    ImageDraw.Draw(picture).text((30, 20), "DRAWN - NO PATIENT", fill=230, font=ImageFont.load_default(44))
    truth = {name: (x / MM_PER_PIXEL, y / MM_PER_PIXEL) for name, (x, y) in TRUTH_MM.items()}
    return DrawnCephalogram(np.asarray(picture), truth, MM_PER_PIXEL)


class _Film:
    """What has been absorbed on the way to each place of the film."""

    def __init__(self) -> None:
        shape = (HEIGHT * _PIXELS_PER_MM // 10 + 1, WIDTH * _PIXELS_PER_MM // 10 + 1)
        self.absorbed: NDArray[np.float64] = np.zeros(shape)

    def fill(self, outline: Outline, amount: float, blur_mm: float = 0.8, smooth: bool = True) -> None:
        """A part with this outline."""

        def paint(draw: ImageDraw.ImageDraw, points: list[Point]) -> None:
            draw.polygon(points, fill=1)

        self._add(paint, outline, amount, blur_mm, smooth, True)

    def line(self, outline: Outline, amount: float, width_mm: float, closed: bool = False) -> None:
        """A wall that is seen on its edge."""
        width = max(1, round(width_mm * _PIXELS_PER_MM))

        def paint(draw: ImageDraw.ImageDraw, points: list[Point]) -> None:
            draw.line(points, fill=1, width=width, joint="curve")

        self._add(paint, outline, amount, _WALL_BLUR_MM, True, closed)

    def ellipse(self, centre: Point, radii: Point, amount: float, blur_mm: float = 0.8) -> None:
        """A rounded part."""
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        outline = [(centre[0] + radii[0] * np.cos(t), centre[1] + radii[1] * np.sin(t)) for t in turn]
        self.fill(outline, amount, blur_mm, smooth=False)

    def _add(
        self,
        paint: Callable[[ImageDraw.ImageDraw, list[Point]], None],
        outline: Outline,
        amount: float,
        blur_mm: float,
        smooth: bool,
        closed: bool,
    ) -> None:
        height, width = self.absorbed.shape
        mask = Image.new("1", (width, height))
        curve = _smooth(outline, closed) if smooth else np.asarray(outline, float)
        points = [(float(x) * _PIXELS_PER_MM, float(y) * _PIXELS_PER_MM) for x, y in curve]
        paint(ImageDraw.Draw(mask), points + points[:1] if closed else points)
        self.absorbed += amount * gaussian_filter(np.asarray(mask, float), blur_mm * _PIXELS_PER_MM)


def _smooth(outline: Outline, closed: bool) -> NDArray[np.float64]:
    """A curve through all points (Catmull-Rom), twelve steps a piece."""
    points = np.asarray(outline, float)
    ends = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    padded = np.concatenate([ends[0], points, ends[1]])
    steps = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(b + 0.5 * steps * (c - a + steps * (2 * a - 5 * b + 4 * c - d + steps * (3 * (b - c) + d - a))))
    return np.concatenate([*pieces, padded[-2:-1]])


def _draw_soft_tissue(film: _Film) -> None:
    film.fill(_HEAD, 0.28, 1.2)
    film.ellipse((95, 160), (42, 45), 0.10, 12)
    film.line([(147, 95), (152, 110), (163, 128), (170, 139), (166, 146), (150, 150)], 0.10, 2.0)


def _draw_skull(film: _Film) -> None:
    film.fill(_SKULL, 0.62, 0.6)
    film.fill(_BRAIN, -0.10, 0.9)
    film.ellipse((62, 72), (48, 46), 0.14, 14)
    film.line(_SKULL, 0.30, 1.2, closed=True)
    film.fill([(20, 134), (40, 142), (60, 133), (72, 124), (78, 112), (70, 110), (52, 116), (30, 122)], 0.42, 4)
    film.line([(139, 97), (122, 99), (104, 102), (92, 99), (88, 98)], 0.35, 1.6)
    # the saddle: a wall round a hollow whose middle is sella
    film.line([(90, 98), (87.5, 101), (87, 106), (82, 110), (76.5, 108), (75, 102), (77, 97)], 0.55, 1.5)
    film.ellipse((81, 104), (4.5, 4.5), -0.16, 1.0)
    film.line([(76, 100), (71, 112), (64, 126), (58, 134)], 0.35, 2.2)
    film.ellipse((138.5, 86), (2.2, 5.5), -0.28, 0.8)


def _draw_face(film: _Film) -> None:
    film.line([(143, 80), (142.5, 90), (139, 97)], 0.35, 2.0)
    film.line([(139.5, 98), (143, 102), (146, 109)], 0.45, 2.4)
    film.fill([(137, 100), (146, 110), (143, 122), (136, 118)], 0.10, 2)
    film.fill([(104, 106), (134, 103), (137, 120), (136, 140), (98, 140)], 0.20, 2)
    film.ellipse((116, 132), (12, 8), -0.22, 2.5)
    # orbit: its lowest point is orbitale
    film.line([(136, 101), (139, 108), (137, 117), (127, 123), (116, 119), (111, 110), (114, 103)], 0.42, 1.5)
    film.ellipse((125, 111), (10, 8), -0.14, 2)
    film.line([(127, 123), (126, 131), (121, 140)], 0.25, 2.0)
    film.fill([*_AIRWAY, *_AIRWAY_BACK], -0.26, 1.5)
    # ear: porion is the top of the canal
    film.ellipse((61, 126), (4, 4), -0.22, 0.6)
    film.line([(57.5, 124), (61, 122), (64.5, 124), (65, 128), (61, 130.5), (57, 128)], 0.45, 1.2, closed=True)
    film.ellipse((52, 128), (13, 10), 0.40, 4)
    film.ellipse((46, 132), (7, 6), -0.20, 2)


def _draw_jaws(film: _Film) -> None:
    film.fill(_MAXILLA, 0.34, 0.6)
    film.line([(97, 143), (118, 142.5), (134, 143.5), (141, 144.5)], 0.50, 2.4)
    film.line([(141, 144.5), (138.5, 148), (139, 152.5), (140.5, 160)], 0.30, 1.2)
    film.fill(_MANDIBLE, 0.40, 0.6)
    film.line(_MANDIBLE[:14], 0.34, 1.8)
    film.line([(65, 133), (61, 130), (60, 126)], 0.30, 1.6)
    for outline in _INCISORS:
        film.fill(outline, 0.62, 0.35)
    for number in range(4):
        x, width = 103 + 8.6 * number, 7.6 - 0.5 * number
        y = 166.2 + 0.6 * number
        film.fill([(x, y), (x + width, y + 0.4), (x + width - 1.4, y - 13), (x + 1.4, y - 13)], 0.48, 0.6)
        film.fill([(x, y + 1), (x + width, y + 1.4), (x + width - 1.4, y + 15), (x + 1.4, y + 15)], 0.48, 0.6)


def _draw_spine(film: _Film) -> None:
    for x, y in _VERTEBRAE:
        film.fill([(x - 9, y - 6), (x + 9, y - 7), (x + 10, y + 6), (x - 8, y + 7)], 0.42, 0.8)
        film.line([(x - 9, y - 6), (x + 9, y - 7), (x + 10, y + 6), (x - 8, y + 7)], 0.22, 1.2, closed=True)
        film.fill([(x - 12, y - 3), (x - 30, y + 3), (x - 31, y + 7), (x - 12, y + 5)], 0.30, 1.2)
    film.line([(50, 142), (62, 140), (66, 145), (60, 149), (48, 147)], 0.35, 3.0, closed=True)


def _draw_ruler(film: _Film) -> None:
    """Marks 10 mm apart, so that it can be calibrated by two points."""
    film.fill([(172, 20), (176, 20), (176, 92), (172, 92)], 0.8, 0.2, smooth=False)
    for mark in range(7):
        film.fill(
            [(176, 25 + 10 * mark), (181, 25 + 10 * mark), (181, 25.8 + 10 * mark), (176, 25.8 + 10 * mark)],
            0.9,
            0.15,
            smooth=False,
        )
