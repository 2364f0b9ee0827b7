"""Telling a film by its looks: which cephalograms training may never see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

_HELD_OUT = Path(__file__).with_name("held_out_isbi2015.json")
# the same film scanned or stored anew differs by up to 7 bits here, different films by 22 and more
_CLOSE_BITS = 15


def fingerprint(grey: np.ndarray) -> int:
    """256 bits that stay nearly the same when an image is resized, compressed anew or made brighter.

    Difference hash (N. Krawetz, 2013): whether each of 16 × 16 cells is brighter than its right neighbour.
    """
    small = np.asarray(Image.fromarray(grey).resize((17, 16), Image.Resampling.BOX), dtype=np.int16)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def held_out() -> dict[int, str]:
    """Fingerprint → name of every image that training may never see."""
    return {int(value, 16): name for name, value in _held_out()["fingerprints"].items()}


def twins_of_test_images() -> dict[str, str]:
    """Training image that is left out → the Test1 image that shows the same film."""
    return _held_out()["twins"]


def _held_out() -> dict[str, dict[str, str]]:
    return dict(json.loads(_HELD_OUT.read_text(encoding="utf-8")))


def held_out_film(grey: np.ndarray) -> str | None:
    """The name of the held-out image that this one shows, under any name, mirrored or not; None for another film."""
    known = held_out()
    for seen in (fingerprint(grey), fingerprint(np.ascontiguousarray(grey[:, ::-1]))):
        nearest = min(known, key=lambda value: (value ^ seen).bit_count())
        if (nearest ^ seen).bit_count() <= _CLOSE_BITS:
            return known[nearest]
    return None
