"""The outlines of soft tissue and bone: through the points, and between them as such outlines usually run.

Where the landmarks are too few for a shape (no set has a sulcus or the notch between the lips), guide points
are put in from the usual proportions of a face. They give the drawing its look, enter no measurement, and mark the
curve as estimated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from MahtAILib.cephalometry.curves import as_points, smooth
from MahtAILib.cephalometry.drawing import Curve
from MahtAILib.cephalometry.head import Head

# from the top; UL' and LL' are the borders of the lips, beside their most prominent points
_PROFILE = ("G'", "N'", "Prn", "Cm", "Sn", "UL'", "UL", "LL", "LL'", "Pog'", "Gn'", "Me'", "C")

# guide points between two neighbours: share of the way down, and distance behind it in lengths of the way
_PROFILE_GUIDES = {
    ("Sn", "UL"): ((0.45, 0.09),),
    ("Sn", "UL'"): ((0.5, 0.09),),
    ("UL", "LL"): ((0.24, 0.05), (0.5, 0.27), (0.76, 0.05)),
    ("LL", "Pog'"): ((0.14, 0.02), (0.42, 0.2), (0.74, 0.03)),
    ("LL'", "Pog'"): ((0.34, 0.19), (0.7, 0.03)),
}

_MEATUS_MM = 4.2
_TURN = 2 * np.pi * np.arange(32) / 32


def profile(head: Head) -> Iterator[Curve]:
    """The soft-tissue profile, from the uppermost point that there is to below the chin."""
    present = [one for one in _PROFILE if head.has(one)]
    if len(present) < 2:
        return
    through = _columella(head) if present[0] == "Sn" else []
    guides = len(through)
    for place, landmark in enumerate(present):
        between = _between(head, present[place - 1], landmark) if place else []
        through += [*between, head[landmark]]
        guides += len(between)
    if present[-1] == "Pog'" and head.apart("Pog'", "Me"):
        through += _under_chin(head)
        guides += 1
    elif present[-1] == "Me'":
        through.append(head.near(head["Me'"], -13.0, -0.5))
        guides += 1
    yield Curve("profile", "Soft-tissue profile", "soft", smooth(through), estimated=guides > 0)


def _columella(head: Head) -> list[complex]:
    """A little of the lower border of the nose, ahead of subnasale."""
    return [head.near(head["Sn"], 8.0, -2.6), head.near(head["Sn"], 3.5, -0.6)]


def _between(head: Head, upper: str, lower: str) -> list[complex]:
    """Guide points on the profile between two neighbouring landmarks."""
    start, end = head[upper], head[lower]
    chord = end - start
    back = _backward(head, chord)
    return [start + down * chord + behind * back for down, behind in _PROFILE_GUIDES.get((upper, lower), ())]


def _backward(head: Head, way: complex) -> complex:
    """At a right angle to a way along the face, of the same length, towards the back."""
    return _beside(way, -head.forward)


def _beside(way: complex, side: complex) -> complex:
    """At a right angle to a way, of the same length, towards that side."""
    across = way * 1j
    return across if (across * side.conjugate()).real > 0 else -across


def _under_chin(head: Head) -> list[complex]:
    """From the soft-tissue chin round below menton and some way towards the neck."""
    start, menton = head["Pog'"], head["Me"]
    below = head.near(menton, -1.0, 8.0)
    outward = (start + below) / 2 - menton
    corner = (start + below) / 2 + outward / (abs(outward) or 1.0) * 1.5 * head.mm
    return [corner, below, head.near(below, -14.0, -0.5)]


def bones(head: Head) -> Iterator[Curve]:
    """The outlines of bone."""
    yield from _maxilla(head)
    yield from _mandible(head)
    yield from _cranial_base(head)
    yield from _forehead(head)
    if head.has("Or"):
        rim = [(9.0, -13.0), (6.5, -4.5), (0.0, 0.0), (-8.5, -2.5), (-14.0, -9.5)]
        yield _estimated("orbit", "Lower rim of the orbit", head, "Or", rim)
    if head.has("Po"):
        middle = head.near(head["Po"], 0.0, _MEATUS_MM)
        meatus = middle + _MEATUS_MM * head.mm * (head.forward * np.cos(_TURN) + head.down * np.sin(_TURN))
        yield Curve("meatus", "External auditory meatus", "bone", as_points(meatus), closed=True, estimated=True)


def _maxilla(head: Head) -> Iterator[Curve]:
    if head.apart("PNS", "ANS"):
        floor = head["ANS"] - head["PNS"]
        # slightly hollow, and up to the tip of the spine
        rise = head.down * abs(floor)
        through = [head["PNS"], head["PNS"] + 0.5 * floor + 0.015 * rise, head["PNS"] + 0.86 * floor, head["ANS"]]
        yield Curve("nasal_floor", "Floor of the nose", "bone", smooth(through))
    if head.apart("ANS", "A"):
        yield Curve(
            "maxilla", "Anterior maxilla", "bone", smooth(_anterior_maxilla(head)), estimated=not head.has("U1")
        )
    if head.apart("PNS", "ANS") and head.has("U1"):
        yield Curve("palate", "Vault of the palate", "bone", smooth(_palate(head)), estimated=True)


def _anterior_maxilla(head: Head) -> list[complex]:
    spine, subspinale = head["ANS"], head["A"]
    through = [spine, spine + 0.35 * (subspinale - spine) + _backward(head, subspinale - spine) * 0.16, subspinale]
    if head.apart("A", "U1"):
        down = head["U1"] - subspinale
        through += [subspinale + 0.3 * down, subspinale + 0.56 * down - _backward(head, down) * 0.03]
    return through


def _palate(head: Head) -> list[complex]:
    start = head["PNS"]
    floor = head["ANS"] - start
    middle = head.near(start + 0.5 * floor, 0.0, 3.6)
    crest = head.near(head["U1"], -7.0, -11.0)
    slope = head.near(middle + 0.6 * (crest - middle), 0.0, -2.4)
    return [start, head.near(start + 0.22 * floor, 0.0, 2.8), middle, slope, crest]


def _mandible(head: Head) -> Iterator[Curve]:
    front = [one for one in ("B", "Pog", "Gn", "Me") if head.has(one)]
    if len(front) >= 3:
        through = [head[one] for one in front]
        if head.apart("L1", "B"):
            up = head["L1"] - head["B"]
            through = [head["B"] + 0.55 * up + _backward(head, -up) * 0.02, head["B"] + 0.25 * up, *through]
        yield Curve("symphysis", "Front of the mandible", "bone", smooth(through))
        if head.has("B", "Pog", "Me"):
            yield Curve(
                "symphysis_back", "Back of the symphysis", "bone", smooth(_symphysis_back(head)), estimated=True
            )
    if head.apart("Me", "Go"):
        yield Curve("mandible", "Border of the mandible", "bone", smooth(_border(head)), estimated=True)


def _symphysis_back(head: Head) -> list[complex]:
    """The inner side of the symphysis, from menton up."""
    menton, chin, upper = head["Me"], head["Pog"], head["B"]
    axis = upper - menton
    back = _backward(head, axis)
    back /= abs(back) or 1.0
    middle = 2 * head["D"] - (chin + upper) / 2 if head.has("D") else menton + 0.45 * axis + back * 8.5 * head.mm
    top = upper + 0.5 * (head["L1"] - upper) if head.has("L1") else upper + 0.2 * axis
    return [
        menton,
        menton + 0.1 * axis + back * 5.5 * head.mm,
        middle,
        upper + back * 8.0 * head.mm,
        top + back * 6.5 * head.mm,
    ]


def _border(head: Head) -> list[complex]:
    """From menton along the lower border round the angle and up the ramus."""
    menton, angle = head["Me"], head["Go"]
    body = angle - menton
    below = _beside(body, head.down)
    through = [menton, menton + 0.28 * body + 0.022 * below, menton + 0.58 * body + 0.012 * below]
    through += [menton + 0.87 * body + 0.02 * below, angle]
    if not head.apart("Go", "Ar"):
        return through
    ramus = head["Ar"] - angle
    behind = _beside(ramus, -head.forward)
    through += [angle + 0.16 * ramus + 0.012 * behind, angle + 0.55 * ramus - 0.025 * behind, head["Ar"]]
    if head.apart("Ar", "Co"):
        neck = head["Co"] - head["Ar"]
        through += [head["Ar"] + 0.55 * neck - 0.1 * _beside(neck, head.forward), head["Co"]]
    return through


def _cranial_base(head: Head) -> Iterator[Curve]:
    if not head.has("S"):
        return
    sella = [(9.5, -5.2), (5.0, -4.6), (4.6, 1.5), (0.5, 4.7), (-4.0, 2.2), (-4.6, -4.0), (-6.6, -4.4)]
    yield _estimated("sella", "Sella turcica", head, "S", sella)
    if head.apart("S", "Ba"):
        clivus = head["Ba"] - head["S"]
        start = head.near(head["S"], -6.6, -4.4)
        middle = head["S"] + 0.55 * clivus + _backward(head, clivus) * 0.05
        yield Curve("clivus", "Clivus", "bone", smooth([start, middle, head["Ba"]]), estimated=True)


def _forehead(head: Head) -> Iterator[Curve]:
    if head.has("N"):
        forehead = [(-2.5, -22.0), (0.2, -12.0), (1.0, -5.0), (0.0, 0.0)]
        yield _estimated("frontal", "Frontal bone", head, "N", forehead)
        nasal = [(0.0, 0.0), (1.6, 5.0), (6.5, 15.0)]
        yield _estimated("nasal_bone", "Nasal bone", head, "N", nasal)


def _estimated(curve_id: str, name: str, head: Head, landmark: str, offsets_mm: Sequence[tuple[float, float]]) -> Curve:
    """A usual shape at a landmark: offsets forward and down from it."""
    through = [head.near(head[landmark], forward, down) for forward, down in offsets_mm]
    return Curve(curve_id, name, "bone", smooth(through), estimated=True)
