"""Section Cephalogram: which image, and how large its pixels are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.errors import ExplainedError
from MahtAILib.panel.image_state import ImageState
from MahtAILib.panel.section import Section, quiet, say, single_shot
from MahtAILib.scene.flat_images import FLAT_ATTRIBUTE

_LOOK_MS = 250
"""While a ruler is drawn the image is looked at this often: its clicks are Slicer's."""


class ImageSection(Section):
    """Shows and changes ``ImageState``."""

    def __init__(self, image: ImageState) -> None:
        super().__init__("Cephalogram")
        self._image = image
        self._problem: ExplainedError | None = None
        ui = self.ui
        ui.imageSelector.addAttribute("vtkMRMLScalarVolumeNode", FLAT_ATTRIBUTE, "1")
        ui.imageSelector.connect("nodeActivated(vtkMRMLNode*)", self._choose)
        ui.rulerButton.clicked.connect(self._doing(self._draw_ruler))
        ui.useRulerButton.clicked.connect(self._doing(lambda: image.use_ruler(float(ui.rulerSpinBox.value))))
        ui.usePixelButton.clicked.connect(self._doing(lambda: image.type_pixel(float(ui.pixelSpinBox.value))))
        ui.forgetButton.clicked.connect(self._doing(image.forget_calibration))
        self._look_again = single_shot(_LOOK_MS, self._look)
        self._was_calibrated: bool | None = None
        image.changed.subscribe(self.refresh)

    def refresh(self) -> None:
        """Show how things stand."""
        ui, image = self.ui, self._image
        with quiet(ui.imageSelector):
            ui.imageSelector.setCurrentNode(image.node)
        problem = image.problem()
        hint = "" if image.node is not None else _("Load a lateral cephalogram (PNG, JPEG, TIFF or DICOM).")
        say(ui.imageStateLabel, image.message or hint, problem)
        can_be_calibrated = image.node is not None and problem is None
        ui.calibrationGroupBox.setVisible(can_be_calibrated)
        calibration = image.calibration
        words = calibration.source
        if calibration.mm_per_unit is None:
            words = _("Not calibrated: angles and ratios only.") + f" {calibration.source}"
        say(ui.calibrationLabel, words if can_be_calibrated else "", self._problem)
        is_calibrated = calibration.mm_per_unit is not None
        if can_be_calibrated and is_calibrated is not self._was_calibrated:
            self._was_calibrated = is_calibrated
            ui.calibrationGroupBox.collapsed = is_calibrated
        ui.useRulerButton.enabled = image.has_ruler()
        ui.forgetButton.enabled = is_calibrated

    def close(self) -> None:
        """The panel goes away."""
        self._look_again.stop()

    def _choose(self, node: Any) -> None:
        self._problem = None
        self._image.choose(node)

    def _draw_ruler(self) -> None:
        self._image.draw_ruler()
        self._look_again.start()

    def _look(self) -> None:
        """Whether the ruler has two ends by now."""
        self.refresh()
        if self._image.is_drawing_ruler():
            self._look_again.start()

    def _doing(self, do: Callable[[], None]) -> Callable[..., None]:
        """A slot that shows what went wrong."""

        def slot(*_arguments: object) -> None:
            self._problem = None
            try:
                do()
            except ExplainedError as error:
                self._problem = error
            self.refresh()

        return slot
