"""The part of the panel that is for cephalograms: its state, its sections, and what is new in the scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from MahtAILib.cephalometry import chart, evaluate, tracing
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background
from MahtAILib.panel.image_section import ImageSection
from MahtAILib.panel.image_state import ImageState
from MahtAILib.panel.landmark_exports import LandmarkExports
from MahtAILib.panel.landmark_task import LandmarkTask
from MahtAILib.panel.landmarks_section import LandmarksSection
from MahtAILib.panel.landmarks_state import LandmarksState
from MahtAILib.panel.live_tracing import LiveTracing
from MahtAILib.panel.measurements_section import MeasurementsSection
from MahtAILib.panel.overlay_state import OverlayState
from MahtAILib.panel.section import say
from MahtAILib.panel.versions_state import VersionsState
from MahtAILib.scene.parameters import Parameters


class CephPanel:
    """Everything of the task cephalometry.

    Args:
        folder: of this user; ``analyses`` in it holds their own analyses, if there are any.
    """

    def __init__(
        self,
        scene: Any,
        parameters: Callable[[], Parameters],
        tag_reader: Callable[[str, str], str],
        versions: VersionsState,
        background: Background,
        folder: Path,
    ) -> None:
        self.image = ImageState(scene, parameters, tag_reader)
        live = LiveTracing(scene, parameters, folder / "analyses")
        self.landmarks = LandmarksState(scene, parameters, self.image, live)
        self.task = LandmarkTask(self.image, self.landmarks, scene.GetNodeByID)
        self.overlay = OverlayState(scene, self.image, self.landmarks, versions)
        self.image_section = ImageSection(self.image)
        self.landmarks_section = LandmarksSection(parameters, self.image, self.landmarks)
        exports = LandmarkExports(
            background, self.image, self.landmarks, lambda: self.measurements_section.chart_picture(2), self._exported
        )
        self.measurements_section = MeasurementsSection(parameters, self.landmarks, self.overlay, exports.slots())
        self._seen: set[str] = set()
        self._active = ""
        self._image_id = ""
        self._is_shown = False
        self._background = background
        self._is_warm = False
        self.image.changed.subscribe(self._image_changed)

    @property
    def sections(self) -> tuple[Any, ...]:
        """From top to bottom."""
        return self.image_section, self.landmarks_section, self.measurements_section

    def look_for_new(self) -> bool:
        """Whether an image of one slice was loaded, or made the active one, since the last look."""
        images = self.image.candidates()
        active = self.image.active()
        active_id = "" if active is None else str(active.GetID())
        fresh = [image for image in images if image.GetID() not in self._seen]
        was_activated = bool(active_id) and active_id != self._active
        self._seen = {image.GetID() for image in images}
        self._active = active_id
        if self._is_shown and (fresh or self.image.node is None):
            self.image.find()
        return bool(fresh) or was_activated

    def show(self, shown: bool) -> None:
        """This task has the panel, or the other has it."""
        self._is_shown = shown
        if shown and not self._is_warm:
            self._is_warm = True
            self._background.run(lambda _errand: _measure_once(), lambda _done: None, lambda _error: None)
        if shown and self.image.node is None:
            self.image.find()
        self.landmarks.show(shown)
        if shown and self.image.node is not None:
            self.landmarks_section.show_image_soon.start()

    def refresh(self) -> None:
        """Show the parameters as they are now."""
        if self._is_shown:
            self.image.changed.publish()

    def forget_scene(self) -> None:
        """The scene goes: nothing of it is watched or remembered."""
        self.landmarks.stop()
        self.overlay.forget()
        self._seen, self._active, self._image_id = set(), "", ""

    def close(self) -> None:
        """The panel goes away."""
        self.landmarks.stop()
        for section in self.sections:
            section.close()

    def _image_changed(self) -> None:
        """Another image has other landmarks, another calibration other values."""
        if not self._is_shown:
            return
        node = self.image.node
        image_id = "" if node is None else str(node.GetID())
        if image_id != self._image_id:
            self._image_id = image_id
            self.overlay.forget()
            if node is not None:
                self.landmarks_section.show_image_soon.start()
            else:
                self.image.show()
        self.landmarks.refresh()

    def _exported(self, words: str, error: ExplainedError | None) -> None:
        say(self.measurements_section.ui.exportStateLabel, words, error)


def _measure_once() -> None:
    """In a thread: what is read and imported at the first measurement would hold up the first landmarks."""
    points = {"S": (80.0, 95.0), "N": (146.0, 88.0), "A": (141.0, 150.0), "B": (137.0, 186.0), "Me": (130.0, 211.0)}
    chart(evaluate(points, dict.fromkeys(points, 1.0), 1.0))
    tracing(points)
