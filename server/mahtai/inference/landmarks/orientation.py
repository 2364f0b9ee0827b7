"""The eight ways in which an image may be turned and mirrored, and the frames that undo them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mahtai.inference.landmarks.sampling import LOCATOR_SIZE, whole_image


@dataclass(frozen=True)
class Turn:
    """How the head lies in the image as it is shown.

    Attributes:
        quarter_turns: clockwise, 0 to 3.
        mirrored: the face, turned upright, looks left.
    """

    quarter_turns: int = 0
    mirrored: bool = False

    @property
    def degrees(self) -> int:
        """Clockwise, 0 to 270."""
        return 90 * self.quarter_turns

    def frame(self, height: int, width: int) -> np.ndarray:
        """The view in which the head stands upright and looks right, for an image of that size."""
        upright = (height, width) if self.quarter_turns % 2 == 0 else (width, height)
        return self.to_image(height, width) @ whole_image(*upright, LOCATOR_SIZE)

    def to_image(self, height: int, width: int) -> np.ndarray:
        """3 × 3: pixel of the upright, right-looking image → pixel of the image as it is."""
        rows, columns = (height, width) if self.quarter_turns % 2 == 0 else (width, height)
        turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), self.quarter_turns).astype(float)
        if self.mirrored:
            turn = turn @ np.diag([-1.0, 1.0])
        matrix = np.eye(3)
        matrix[:2, :2] = turn
        centre = np.array([columns - 1, rows - 1]) / 2
        matrix[:2, 2] = np.array([width - 1, height - 1]) / 2 - turn @ centre
        return matrix

    def words(self) -> str:
        """For the reader; empty for the usual case of an upright face that looks right."""
        turned = {0: "", 1: "turned by 90° clockwise", 2: "upside down", 3: "turned by 90° anticlockwise"}
        facing = "facing left" if self.mirrored else ""
        return " and ".join(part for part in (turned[self.quarter_turns], facing) if part)


AS_SHOWN = Turn()
OTHERS = tuple(
    Turn(quarter_turns, mirrored)
    for mirrored in (True, False)
    for quarter_turns in range(4)
    if (quarter_turns, mirrored) != (0, False)
)
"""The facing left one first, being the most frequent."""
