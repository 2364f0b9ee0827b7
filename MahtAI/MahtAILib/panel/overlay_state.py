"""An earlier tracing that is laid over the present one: a saved version, or the landmarks of an earlier image."""

from __future__ import annotations

from typing import Any

import numpy as np
from slicer.i18n import tr as _

from MahtAILib.client.cases import LabelVersion
from MahtAILib.client.markups import LandmarkFile
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.image_state import ImageState
from MahtAILib.panel.landmarks_state import LandmarksState
from MahtAILib.panel.live_tracing import Earlier
from MahtAILib.panel.topics import Topic
from MahtAILib.panel.versions import saved_at
from MahtAILib.panel.versions_state import VersionsState
from MahtAILib.scene.calibration import calibration_of
from MahtAILib.scene.flat_images import Plane, plane_of
from MahtAILib.scene.landmarks import IMAGE_ROLE, all_landmark_nodes, positions_ras, take_points


class OverlayState:
    """What is laid over the tracing.

    Attributes:
        chosen: ``version:<id>``, ``node:<id>`` or empty.
        error: why it cannot be shown, or None.
    """

    def __init__(self, scene: Any, image: ImageState, landmarks: LandmarksState, versions: VersionsState) -> None:
        self.changed = Topic()
        self.chosen = ""
        self.error: ExplainedError | None = None
        self._scene = scene
        self._image, self._landmarks, self._versions = image, landmarks, versions
        versions.changed.subscribe(self.changed.publish)

    def choices(self) -> list[tuple[str, str]]:
        """(value, text) of all that can be laid over: saved versions, then landmarks of other images."""
        if self._image.node is None:
            return []
        listed = [
            (
                f"version:{version.id}",
                _("Version {number}, {when}").format(number=version.number, when=saved_at(version)),
            )
            for version in self._versions.versions
        ]
        for node in all_landmark_nodes(self._scene):
            other = node.GetNodeReference(IMAGE_ROLE)
            if other is not None and other is not self._image.node and positions_ras(node):
                listed.append((f"node:{node.GetID()}", f"{other.GetName()}: {node.GetName()}"))
        return listed

    def choose(self, chosen: str) -> None:
        """Lay this over; empty for nothing."""
        self.chosen, self.error = chosen, None
        kind, _colon, key = chosen.partition(":")
        version = next((one for one in self._versions.versions if one.id == key), None)
        if kind == "version" and version is not None:
            self._versions.read(version, lambda content: self._read(chosen, version, content), self._failed)
        elif kind == "node":
            self._lay_node(self._scene.GetNodeByID(key))
        else:
            self.forget()
        self.changed.publish()

    def forget(self) -> None:
        """Another image, another scene: nothing is laid over."""
        self.chosen = ""
        if self._landmarks.live.earlier is not None:
            self._landmarks.lay_over(None)

    def words(self) -> str:
        """What is drawn, and what to know about its scale."""
        laid, earlier = self._landmarks.live.superimposition, self._landmarks.live.earlier
        if laid is None or earlier is None:
            return ""
        return f"{earlier.title}. {laid.note}".strip()

    def _read(self, chosen: str, version: LabelVersion, content: LandmarkFile) -> None:
        plane = self._image.plane()
        if self.chosen != chosen or plane is None:
            return
        title = _("Pink: version {number}").format(number=version.number)
        self._lay(content, plane, title)

    def _lay_node(self, node: Any) -> None:
        if node is None:
            return
        image = node.GetNodeReference(IMAGE_ROLE)
        try:
            plane = plane_of(image)
        except ExplainedError as error:
            self._failed(error)
            return
        known = calibration_of(image)
        file = take_points(node, known.mm_per_unit if known else None, {})
        self._lay(file, plane, _("Pink: {name}").format(name=image.GetName()))

    def _lay(self, file: LandmarkFile, plane: Plane, title: str) -> None:
        points = {
            key: plane.units_of(np.array([-left, -posterior, superior]))
            for key, (left, posterior, superior) in file.positions.items()
        }
        self._landmarks.lay_over(Earlier(file, points, title))
        self.changed.publish()

    def _failed(self, error: ExplainedError) -> None:
        self.chosen, self.error = "", error
        self.changed.publish()
