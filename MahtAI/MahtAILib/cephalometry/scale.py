"""How large the pixels of a lateral cephalogram can be: what is outside of this is a typing error or no size at all."""

from __future__ import annotations

import math

PIXEL_MM = (0.03, 0.6)
"""Believable sizes of a pixel."""

HEIGHT_MM = (80.0, 500.0)
"""Believable heights of the image: a cropped face, a long film."""


def why_unbelievable(mm_per_pixel: float, height_pixels: int) -> str:
    """Why a cephalogram of that height cannot have pixels of this size, in plain words; empty if it can."""
    if not math.isfinite(mm_per_pixel) or mm_per_pixel <= 0:
        return f"A pixel of {mm_per_pixel:g} mm cannot be."
    low, high = PIXEL_MM
    if not low <= mm_per_pixel <= high:
        return f"A pixel of {mm_per_pixel:.4g} mm is not believed: those of a cephalogram are {low} to {high} mm."
    height_mm = mm_per_pixel * height_pixels
    low, high = HEIGHT_MM
    if not low <= height_mm <= high:
        return (
            f"A pixel of {mm_per_pixel:.4g} mm is not believed: the image would be {height_mm:.0f} mm high; "
            f"cephalograms are {low:.0f} to {high:.0f} mm."
        )
    return ""
