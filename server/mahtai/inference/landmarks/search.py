"""Finding the head in an image that may be turned, mirrored, inverted, or framed otherwise than the training images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mahtai.inference.landmarks.calibration import Calibration
from mahtai.inference.landmarks.orientation import AS_SHOWN, OTHERS, Turn
from mahtai.inference.landmarks.sampling import LOCATOR_SIZE, Pyramid, about, moved, moved_back
from mahtai.inference.landmarks.shape import ShapeFit
from mahtai.inference.landmarks.stages import Found, Runner

FRAME_TOLERANCE = 1.15
"""A head that is larger or smaller by more than this factor than those in training is looked at again at their size."""

LARGEST_STEP = 6.0
"""A head that seems larger or smaller by more is none."""

ANGLE_TOLERANCE = math.radians(12)

_LARGEST = 1e30

CLOSER = 1.15
"""How much larger than in training a head is shown for the last look: measured best on held-out training images."""


@dataclass(frozen=True, eq=False)
class Head:
    """A head found in the image.

    Attributes:
        found: in pixels of the image as it is stored.
        turn: how it lies there.
        fit: of the points in millimetres-to-be: pixels of the upright image, made square.
        inverted: bone was dark.
    """

    found: Found
    turn: Turn
    fit: ShapeFit
    inverted: bool


class HeadSearch:
    """One image and what is needed to look for a head in it.

    Args:
        grey: height × width, bone bright.
        pixel_aspect: height of a pixel over its width.
    """

    def __init__(self, grey: Tensor, runner: Runner, calibration: Calibration, pixel_aspect: float) -> None:
        self.runner = runner
        self.calibration = calibration
        # square pixels, as high as those of the image → pixels of the image
        self.to_pixels = np.diag([pixel_aspect, 1.0, 1.0])
        self.height, self.width = grey.shape[0], round(grey.shape[1] / pixel_aspect)
        self.image = Pyramid(grey)
        self._inverted: Pyramid | None = None

    def pyramid(self, inverted: bool) -> Pyramid:
        """The image, or its negative."""
        if not inverted:
            return self.image
        if self._inverted is None:
            self._inverted = Pyramid(1 - self.image.levels[0])
        return self._inverted

    def best(self, orientation: str, cancelled: Callable[[], bool]) -> Head:
        """The first plausible head: as the image is shown, else the best of all ways in which it may be turned.

        Args:
            orientation: ``auto``, or ``as shown`` to look no further.
        """
        head = self._any(orientation, cancelled)
        return self._closer(head) if self.is_plausible(head) else head

    def _any(self, orientation: str, cancelled: Callable[[], bool]) -> Head:
        first = self._look(AS_SHOWN, False)
        head = self._framed(first)
        if self.is_plausible(head):
            return head
        if orientation == "as shown":
            return first
        quick = replace(self.runner, members=1)
        for inverted in (False, True):
            heads: list[Head] = []
            for turn in OTHERS if not inverted else (AS_SHOWN, *OTHERS):
                if cancelled():
                    return first
                heads.append(self._look(turn, inverted, quick))
            for candidate in sorted(heads, key=lambda one: one.fit.distance)[:2]:
                turned = self._framed(self._look(candidate.turn, inverted))
                if self.is_plausible(turned):
                    return turned
        # the frames that led nowhere show nothing; the first look at least shows the image
        return first

    def is_plausible(self, head: Head) -> bool:
        """Whether it can be a head at all, and the network saw where its points are."""
        return not list(self.doubts(head))

    def doubts(self, head: Head) -> Iterator[str]:
        """Why it may be none, in plain words."""
        limits = self.calibration
        if not head.fit.distance <= limits.largest_shape_distance:
            yield "The points do not lie as those of a head do."
        blur = float(np.median(head.found.expected_error)) / self.pixels_per_mm(head)
        if not blur <= limits.largest_expected_error_mm:
            yield "The model does not recognize the structures of a lateral cephalogram."

    def pixels_per_mm(self, head: Head) -> float:
        """Square pixels of the image in a millimetre, if the head were of average size."""
        return head.fit.scale if math.isfinite(head.fit.scale) else self.height / 240

    def square(self, points: np.ndarray, turn: Turn) -> np.ndarray:
        """Pixels of the image → square pixels of the upright image that looks right."""
        return moved_back(points, self.to_pixels @ turn.to_image(self.height, self.width))

    def _look(self, turn: Turn, inverted: bool, runner: Runner | None = None) -> Head:
        return self._head(self.to_pixels @ turn.frame(self.height, self.width), turn, inverted, runner or self.runner)

    def _head(self, frame: np.ndarray, turn: Turn, inverted: bool, runner: Runner) -> Head:
        found = runner.locate(self.pyramid(inverted), frame)
        return Head(found, turn, self.calibration.shape.fit(self.square(found.points, turn)), inverted)

    def _framed(self, head: Head) -> Head:
        """The head seen at the size, angle and place of those in training, if that shows it more clearly."""
        for _ in range(2):
            fit, wanted = head.fit, self.calibration.view_pixels_per_mm
            if not math.isfinite(fit.scale):
                return head
            size = fit.scale / head.found.pixel / wanted
            if 1 / FRAME_TOLERANCE < size < FRAME_TOLERANCE and abs(fit.angle) < ANGLE_TOLERANCE:
                return head
            if not 1 / LARGEST_STEP < size < LARGEST_STEP:
                return head
            again = self._head(self._frame_of(head), head.turn, head.inverted, self.runner)
            if not again.fit.distance < fit.distance or not self._lies_in_image(again):
                return head
            head = again
        return head

    def _lies_in_image(self, head: Head) -> bool:
        """Whether the middle of the points does; one wrong answer could lead the next look ever farther away."""
        middle = head.found.points.mean(0)
        return bool((middle >= 0).all() and (middle < [self.image.width, self.image.height]).all())

    def _closer(self, head: Head) -> Head:
        """The head seen a little larger, which shows its landmarks more exactly."""
        again = self._head(self._frame_of(head, CLOSER), head.turn, head.inverted, self.runner)
        return again if self.is_plausible(again) else head

    def _frame_of(self, head: Head, larger: float = 1.0) -> np.ndarray:
        """The frame that shows the head at its size, angle and place in training, or larger by a factor."""
        scale = head.fit.scale / self.calibration.view_pixels_per_mm / larger
        angle = head.fit.angle if abs(head.fit.angle) >= ANGLE_TOLERANCE else 0.0
        to_image = self.to_pixels @ head.turn.to_image(self.height, self.width)
        x, y = moved_back(head.found.points, to_image).mean(0)
        frame = about(float(x), float(y), scale, LOCATOR_SIZE, angle)
        # the head's centre lies beside the view's centre, as far as in training
        offset = np.array([LOCATOR_SIZE[1] - 1, LOCATOR_SIZE[0] - 1]) / 2 - self.calibration.view_centre
        frame[:2, 2] = moved(offset[None], frame)[0]
        return np.asarray(to_image @ frame)


def grey_image(array: np.ndarray) -> Tensor:
    """Voxels [i, j, 0] of a 2-D volume → height × width float32; values beyond what that holds are scaled down."""
    values = array[:, :, 0].T
    largest = float(np.abs(values).max(initial=0)) if values.dtype == np.float64 else 0.0
    if largest > _LARGEST:
        values = values / largest
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
