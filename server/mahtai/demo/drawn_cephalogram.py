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
_Paint = Callable[[ImageDraw.ImageDraw, list[Point]], None]

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
    "Pog'": (146.8, 205),
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
    *[(153, 168), (149, 171), (153, 174), (154, 179), (149, 185), (144.5, 190), (146, 198), (146.8, 205)],
    *[(142.5, 213), (130, 217), (112, 217), (100, 222), (98, 240), (10, 240), (8, 190), (4, 150)],
]
_SKULL: Outline = [
    *[(10, 108), (12, 72), (29, 39), (61, 17), (97, 14), (125, 30), (140, 57), (143, 80), (139, 97)],
    *[(133, 89), (124, 87), (106, 95), (93, 99), (87, 104), (76, 111), (70, 124), (60, 133), (40, 142), (20, 134)],
]
_BRAIN: Outline = [
    *[(15, 108), (17, 74), (33, 43), (62, 22), (96, 19), (121, 34), (132, 55), (134, 74), (127, 84)],
    *[(112, 91), (101, 96), (92, 98), (87, 99), (76, 99), (70, 110), (61, 122), (50, 132), (40, 135), (23, 128)],
]
_PETROUS: Outline = [(34, 122), (46, 112), (60, 110), (74, 108), (80, 113), (74, 124), (64, 136), (52, 140), (38, 136)]
_MAXILLA: Outline = [
    *[(97, 141), (118, 141), (134, 142), (141, 144.5), (138.5, 148), (139, 152.5), (141.5, 159), (143.5, 165)],
    *[(128, 163), (112, 162), (102, 160), (98, 150)],
]
_MANDIBLE: Outline = [
    *[(70, 120), (65.5, 123), (65.5, 128), (67, 133), (69, 144), (71, 160), (75, 174), (86, 184), (106, 196)],
    *[(129, 205), (134, 203), (136.5, 197.5), (136.2, 190), (136, 184), (139.5, 178), (140, 174), (128, 173)],
    *[(112, 172), (101, 168), (95, 158), (91, 143), (88, 134), (84, 136), (78, 136), (74, 127)],
]
_INCISORS: Sequence[Outline] = [
    [(144.5, 170.5), (141, 168), (136, 158), (132.5, 151), (135.5, 150.5), (140, 158), (145, 167)],
    [(142, 169), (143, 172), (139.5, 181), (135, 190), (133.5, 188), (136, 179), (139, 171)],
]
_VERTEBRAE: Sequence[Point] = [(60, 157), (58, 174), (56, 191), (54, 208), (52, 225)]


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
    _draw_ear(film)
    _draw_face(film)
    _draw_jaws(film)
    _draw_spine(film)
    _draw_ruler(film)
    film.roughen()
    random = np.random.default_rng(seed)
    grey = 12 + 232 * (1 - np.exp(-0.95 * np.clip(film.absorbed, 0, None)))
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
        curve = _smooth(outline, True) if smooth else np.asarray(outline, float)
        self._add(lambda draw, points: draw.polygon(points, fill=1), curve, amount, blur_mm)

    def line(self, outline: Outline, amount: float, width_mm: float, closed: bool = False) -> None:
        """A wall that is seen on its edge."""
        width = max(1, round(width_mm * _PIXELS_PER_MM))
        curve = _smooth(outline, closed)
        self._add(lambda draw, points: draw.line(points, 1, width, "curve"), curve, amount, _WALL_BLUR_MM)

    def ellipse(self, centre: Point, radii: Point, amount: float, blur_mm: float = 0.8) -> None:
        """A rounded part."""
        self.fill(_ellipse(centre, radii), amount, blur_mm, smooth=False)

    def ring(self, centre: Point, radius: float, amount: float, width_mm: float) -> None:
        """A tube that is seen from its end."""
        self.line(_ellipse(centre, (radius, radius)), amount, width_mm, closed=True)

    def cells(self, centre: Point, radii: Point, amount: float, count: int) -> None:
        """Small hollows, as of the mastoid: always the same ones."""
        places = np.random.default_rng(count).uniform(-1, 1, (count, 3))
        for x, y, size in places[np.hypot(places[:, 0], places[:, 1]) < 1]:
            place = (centre[0] + radii[0] * x, centre[1] + radii[1] * y)
            self.ellipse(place, (1.2 + 0.6 * size, 1.1 + 0.4 * size), amount, 0.35)

    def roughen(self) -> None:
        """Bone is a meshwork, and the beam is weaker in front of the face: always the same."""
        random = np.random.default_rng(1)
        for sigma, share in ((2, 0.03), (6, 0.03), (25, 0.03)):
            mesh = gaussian_filter(random.normal(0, 1, self.absorbed.shape), sigma)
            self.absorbed *= 1 + share * mesh / mesh.std()
        x = np.arange(self.absorbed.shape[1]) / _PIXELS_PER_MM
        self.absorbed += 0.35 * (np.clip(x - 158, 0, None) / 35) ** 1.5

    def _add(self, paint: _Paint, curve: NDArray[np.float64], amount: float, blur_mm: float) -> None:
        height, width = self.absorbed.shape
        mask = Image.new("1", (width, height))
        paint(ImageDraw.Draw(mask), [(float(x) * _PIXELS_PER_MM, float(y) * _PIXELS_PER_MM) for x, y in curve])
        self.absorbed += amount * gaussian_filter(np.asarray(mask, float), blur_mm * _PIXELS_PER_MM)


def _ellipse(centre: Point, radii: Point) -> Outline:
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return [(centre[0] + radii[0] * np.cos(t), centre[1] + radii[1] * np.sin(t)) for t in turn]


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
    film.fill(_HEAD, 0.10, 1.0)
    film.fill([(6, 110), (60, 14), (130, 40), (138, 110), (148, 160), (138, 205), (98, 218), (10, 240)], 0.12, 7)
    film.ellipse((95, 170), (36, 36), 0.10, 10)
    film.line([(152, 132), (160, 136), (164, 143), (158, 145)], 0.06, 2.0)


def _draw_skull(film: _Film) -> None:
    film.fill(_SKULL, 0.72, 0.6)
    film.ellipse((62, 76), (46, 46), 0.50, 16)
    film.line(_SKULL[:9], 0.35, 1.6)
    film.line(_SKULL[12:], 0.35, 1.6)
    film.line([*_BRAIN[-3:], *_BRAIN[:8]], 0.22, 1.0)
    # roofs of both orbits, and the floor of the brain between them
    film.line([(135, 72), (130, 80), (120, 86), (106, 93), (93, 98), (90, 98)], 0.45, 1.3)
    film.line([(135, 77), (126, 87), (114, 92), (102, 97), (92, 100)], 0.35, 1.1)
    film.line([(134, 94), (122, 97), (108, 98), (93, 99)], 0.28, 1.1)
    # the saddle: a wall round a hollow whose middle is sella
    film.line([(92, 98), (88, 98.5), (87, 101), (86.5, 106), (82, 109.5), (76.5, 107.5), (75, 102), (76, 98)], 0.5, 1.3)
    film.ellipse((81, 104), (5, 4.5), -0.22, 1.0)
    film.fill([(79, 112), (87, 109), (90, 101), (98, 103), (100, 114), (90, 119), (82, 119)], -0.34, 1.0)
    film.line([(79, 112), (87, 110), (90, 102), (98, 102), (101, 114), (90, 119.5), (81, 119)], 0.22, 0.9, closed=True)
    # clivus, and under it the outer side of the base, which the ramus crosses at articulare
    film.fill([(75, 101), (62, 124), (56, 137), (57, 142), (67, 133), (74, 125), (81, 119), (80, 109)], 0.25, 1)
    film.line([(75.5, 99), (71, 110), (63, 124), (56, 137)], 0.30, 1.4)
    film.line([(55, 142), (60, 139.5), (67, 133), (74, 125.5), (82, 120), (92, 119)], 0.45, 1.5)
    # frontal sinus
    film.ellipse((137, 84), (2.6, 7), -0.55, 0.8)
    film.line([(134, 76), (133.8, 84), (135.5, 92), (139, 96)], 0.30, 1.0)


def _draw_ear(film: _Film) -> None:
    """Porion is the top of the canal, which is seen within the rods that hold the head."""
    film.fill(_PETROUS, 0.42, 3)
    film.ellipse((62, 118), (11, 6), 0.30, 3)
    film.cells((44, 124), (9, 9), -0.28, 70)
    film.ring((60.5, 124), 8.6, 0.55, 0.8)
    film.ring((61.3, 123.6), 6.6, 0.45, 0.8)
    film.ellipse((61, 123.7), (6.5, 6.5), 0.18, 0.5)
    film.ellipse((61, 123.5), (1.8, 1.5), -0.9, 0.3)


def _draw_face(film: _Film) -> None:
    # frontal bone, suture, nasal bone: nasion is the foremost of the suture
    film.line([(142.4, 80), (141.7, 88), (139.9, 93.5), (138.5, 96.3)], 0.45, 1.8)
    film.line([(138.6, 97.9), (141.2, 102.4), (146, 111)], 0.50, 2.2)
    film.fill([(139, 97), (147, 111), (142, 116), (137, 128), (131, 118), (131, 88), (136, 92)], 0.26, 0.8)
    film.line([(139.6, 97), (136.5, 97.4), (134, 96.6)], -0.25, 0.7)
    film.fill([(100, 99), (120, 88), (133, 88), (136, 120), (136, 142), (98, 142)], 0.28, 2)
    film.ellipse((115, 132), (13, 8), -0.18, 2.5)
    film.fill([(96, 126), (122, 128), (134, 136), (136, 141), (98, 141)], -0.16, 1.5)
    film.line([(104, 133), (114, 131), (126, 135), (124, 139)], 0.12, 3)
    film.cells((113, 107), (11, 8), -0.10, 34)
    # orbit: its lowest point is orbitale
    film.ellipse((126, 110), (11, 12), -0.16, 2)
    film.line([(137, 101), (136.5, 110), (134, 118), (127, 123), (121, 121.5), (112, 116)], 0.42, 1.5)
    film.line([(136, 100), (131, 104), (129.5, 112), (131, 120)], 0.22, 1.2)
    film.fill([(131, 120), (127, 123), (120, 122), (116, 130), (119, 139), (125, 138), (130, 130)], 0.20, 1)
    film.line([(131, 121), (127, 130), (122, 139), (117, 136), (114, 124)], 0.26, 1.3)
    # wings of the sphenoid, and the fissure behind the maxilla
    film.line([(105, 93), (102, 102), (102, 112), (96, 119), (86, 121)], 0.34, 1.3)
    film.line([(108, 96), (106, 106), (104, 116), (100, 122)], 0.24, 1.1)
    film.fill([(95, 120), (101, 119), (101, 126), (98.5, 139), (96.5, 139)], -0.20, 0.8)
    film.line([(102, 118), (101.5, 127), (98.5, 140)], 0.28, 1.0)
    film.line([(94, 120), (94.5, 130), (97, 141)], 0.28, 1.0)
    # throat, with the soft palate hanging into it
    film.fill([(88, 122), (95, 132), (95, 143), (92, 160), (94, 208), (83, 212), (80, 176), (79, 140)], -0.20, 1.5)
    film.fill([(97, 142), (98, 147), (92, 160), (88, 167), (87, 162), (90, 150)], 0.14, 0.8)
    film.fill([(94, 206), (104, 209), (106, 213), (100, 215), (92, 211)], 0.25, 0.8)


def _draw_jaws(film: _Film) -> None:
    film.fill(_MAXILLA, 0.36, 0.8)
    film.line([(97, 143), (110, 142.4), (126, 142.8), (135, 143.8), (139.5, 144.6)], 0.42, 1.5)
    film.line([(99, 144.5), (112, 146), (126, 147)], 0.25, 1.2)
    film.line([(140, 145), (138, 148), (138.4, 152.5), (141, 159)], 0.28, 1.0)
    film.fill(_MANDIBLE, 0.30, 0.6)
    film.fill([(80, 174), (104, 172), (138, 175), (135, 186), (135, 198), (129, 203), (106, 194)], 0.22, 2)
    film.line(_MANDIBLE[:9], 0.32, 1.6)
    film.line([(106, 195.4), (128.5, 204.3), (133.5, 202.4), (135.8, 197.5)], 0.32, 1.4)
    film.line([(135.8, 197.5), (135.5, 190), (135.4, 184), (139, 177)], 0.32, 1.4)
    film.line([(81, 176), (92, 184), (108, 192), (124, 199)], 0.14, 1.2)
    film.line([(136, 176), (131, 186), (128, 196), (129, 202)], 0.26, 1.3)
    film.line([(78, 150), (88, 168), (104, 183), (122, 189)], -0.10, 1.8)
    for outline in _INCISORS:
        film.fill(outline, 0.55, 0.4)
    for number in range(5):
        x, width = 98 + 8.2 * number, 7.8 - 0.6 * number
        y = 165.6 + 0.7 * number
        for side in (-1, 1):
            crown, neck, root = y + 0.5 + side * 0.6, y + 0.5 + side * 6.6, y + side * 14
            film.fill([(x, crown), (x + width, crown), (x + width - 0.3, neck), (x, neck)], 0.6, 0.5)
            film.fill([(x, crown), (x + width, crown), (x + width - 1.6, root), (x + 1.6, root)], 0.22, 0.6)


def _draw_spine(film: _Film) -> None:
    for x, y in _VERTEBRAE:
        film.fill([(x - 8, y - 6), (x + 7, y - 7), (x + 8, y + 6), (x - 7, y + 6)], 0.30, 0.8)
        film.line([(x - 8, y - 6), (x + 7, y - 7), (x + 8, y + 6), (x - 7, y + 6)], 0.20, 1.0, closed=True)
        film.fill([(x - 8, y - 5), (x - 16, y - 3), (x - 16, y + 5), (x - 7, y + 8)], 0.20, 1.2)
        film.fill([(x - 14, y - 1), (x - 32, y + 3), (x - 33, y + 8), (x - 14, y + 6)], 0.20, 1.2)
    film.fill([(57, 152), (66, 152), (66, 144), (62, 141), (58, 144)], 0.25, 0.8)
    film.line([(38, 149), (56, 145), (68, 144), (70, 148), (56, 150), (38, 153)], 0.25, 1.6, closed=True)


def _draw_ruler(film: _Film) -> None:
    """Marks 10 mm apart, so that it can be calibrated by two points."""
    film.fill([(172, 20), (176, 20), (176, 92), (172, 92)], 0.8, 0.2, smooth=False)
    for top in range(25, 90, 10):
        film.fill([(176, top), (181, top), (181, top + 0.8), (176, top + 0.8)], 0.9, 0.15, smooth=False)
