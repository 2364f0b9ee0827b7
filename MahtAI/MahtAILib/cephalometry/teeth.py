"""Teeth as symbols: a usual outline laid along the axis that tip and apex give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from MahtAILib.cephalometry.curves import smooth
from MahtAILib.cephalometry.drawing import Curve
from MahtAILib.cephalometry.head import Head

# (share of the way from the apex to the tip, distance from the axis in lengths of the tooth, to the lip)
_INCISOR = (
    *(
        (1.0, 0.0),
        (0.985, 0.028),
        (0.86, 0.092),
        (0.72, 0.128),
        (0.58, 0.13),
        (0.4, 0.112),
        (0.18, 0.07),
        (0.03, 0.025),
    ),
    *((0.0, 0.0), (0.03, -0.025), (0.18, -0.075), (0.4, -0.125), (0.58, -0.15), (0.7, -0.13), (0.84, -0.062)),
    *((0.985, -0.022), (1.0, 0.0)),
)
# millimetres forward of and above the tip of the mesial cusp, for an upper molar
_MOLAR_FROM_CUSP = (
    *((0.0, 0.0), (2.0, 2.2), (2.3, 5.0), (1.7, 7.5), (1.2, 12.0), (-0.6, 18.5), (-2.0, 15.0), (-3.4, 10.5)),
    *((-5.4, 15.0), (-7.4, 18.0), (-8.2, 12.0), (-8.4, 7.5), (-8.9, 5.0), (-8.4, 2.0), (-6.2, 0.2), (-3.4, 1.5)),
    (0.0, 0.0),
)
# the landmark is where the molar touches the tooth ahead of it
_MESIAL_CONTACT = (2.3, 4.6)
_MOLAR = tuple((ahead - _MESIAL_CONTACT[0], above - _MESIAL_CONTACT[1]) for ahead, above in _MOLAR_FROM_CUSP)


def teeth(head: Head) -> Iterator[Curve]:
    """Incisors whose apex is there, and first molars."""
    for tip, apex, name in (("U1", "U1A", "Upper incisor"), ("L1", "L1A", "Lower incisor")):
        if head.apart(tip, apex):
            yield Curve(tip.lower(), name, "tooth", _incisor(head, tip, apex), closed=True, estimated=True)
    for contact, incisor, name, side in (
        ("U6", "U1", "Upper first molar", -1.0),
        ("L6", "L1", "Lower first molar", 1.0),
    ):
        if head.apart(contact, incisor):
            outline = _molar(head, contact, _along_the_bite(head, contact, incisor), side)
            yield Curve(contact.lower(), name, "tooth", outline, closed=True, estimated=True)


def _incisor(head: Head, tip: str, apex: str) -> NDArray[np.float64]:
    axis = head[tip] - head[apex]
    across = axis * 1j
    if (across * head.forward.conjugate()).real < 0:
        across = -across
    return smooth([head[apex] + share * axis + width * across for share, width in _INCISOR], 4)


def _along_the_bite(head: Head, contact: str, incisor: str) -> complex:
    """Unit vector forward along the occlusal plane; without the other jaw's teeth, towards the own incisor."""
    forward = head[incisor] - head[contact]
    if head.has("U6", "L6", "U1", "L1"):
        between = (head["U1"] + head["L1"] - head["U6"] - head["L6"]) / 2
        forward = between if abs(between) > head.shortest else forward
    return forward / abs(forward)


def _molar(head: Head, contact: str, forward: complex, side: float) -> NDArray[np.float64]:
    """Upright on the occlusal plane, hung by its mesial contact point; ``side`` is 1 where the roots are below."""
    down = forward * (head.down / head.forward)
    outline = [head[contact] + (forward * ahead + down * side * above) * head.mm for ahead, above in _MOLAR]
    return smooth(outline, 4)
