"""The landmarks under review: what is known of each, the doubtful ones, and what is measured from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from MahtAILib.cephalometry import landmark
from MahtAILib.client.markups import LandmarkFile
from MahtAILib.panel.image_state import ImageState
from MahtAILib.panel.live_tracing import Earlier, LiveTracing
from MahtAILib.panel.topics import Topic
from MahtAILib.scene import image_view
from MahtAILib.scene import landmarks as points
from MahtAILib.scene.edits import is_edited, mark_saved, not_by_the_reader
from MahtAILib.scene.flat_images import Plane
from MahtAILib.scene.landmark_watch import LandmarkWatch
from MahtAILib.scene.landmarks import PointInfo
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.placing import is_placing, place_landmark, stop_placing
from MahtAILib.scene.provenance import Provenance, read_provenance, update_provenance, write_provenance

FIELD_MM = 40.0
"""How much of the image is shown round a landmark that was gone to."""
_FIELD_FRACTION = 0.2
"""The same as a part of the image's height, where it is not calibrated."""


@dataclass(frozen=True)
class LandmarkRow:
    """A line of the table of landmarks."""

    id: str
    name: str
    definition: str
    about: PointInfo
    is_placed: bool


class LandmarksState:
    """What is reviewed of a cephalogram. The node lies in the scene's parameters.

    Attributes:
        changed: another node, another state of a point, another look.
        moved: a point moves under the mouse; ``live`` has followed already.
        edited: the reader finished a change.
        arrived: landmarks were brought into the scene.
        live: measurements and tracing of the points as they are now.
        selected: id of the landmark that was gone to last, empty before.
    """

    def __init__(self, scene: Any, parameters: Callable[[], Parameters], image: ImageState, live: LiveTracing) -> None:
        self.changed, self.moved, self.edited, self.arrived = Topic(), Topic(), Topic(), Topic()
        self.live = live
        self.selected = ""
        self._scene = scene
        self._parameters = parameters
        self._image = image
        self._watch = LandmarkWatch(self._point_moved, self._step_done)
        self._plane: Plane | None = None
        self._is_shown = False

    @property
    def node(self) -> Any:
        """vtkMRMLMarkupsFiducialNode under review, or None."""
        return self._parameters().landmarks

    @property
    def provenance(self) -> Provenance | None:
        """Where its points come from, None where that is not known."""
        return None if self.node is None else read_provenance(self.node)

    @property
    def indeterminate(self) -> tuple[str, ...]:
        """Why the result as a whole cannot be trusted; empty once the reader has seen to every point of it."""
        origin = self.provenance
        if origin is None or not any(about.state == "ai" for about in points.read_info(self.node).values()):
            return ()
        return origin.reasons or tuple(filter(None, (origin.file.get("Indeterminate"),)))

    @property
    def refused(self) -> str:
        """Why a point was taken away, if one was."""
        return self._watch.refused

    def refresh(self) -> None:
        """The scene changed: look at what the parameters name now."""
        image = self._image.node
        node = self.node
        if image is not None and (node is None or node.GetNodeReference(points.IMAGE_ROLE) is not image):
            known = points.landmark_nodes(self._scene, image)
            node = known[-1] if known else None
            self._choose(node)
        self._watch.watch(node)
        self._plane = self._image.plane()
        self.measure()
        self.changed.publish()

    def stop(self) -> None:
        """Watch nothing any more, and take the drawing away."""
        self._watch.stop()
        self.live.rest(None)

    def show(self, shown: bool) -> None:
        """Draw landmarks and tracing, or hide them while another task has the panel."""
        self._is_shown = shown
        if self.node is not None and self.node.GetDisplayNode() is not None:
            self.node.GetDisplayNode().SetVisibility(shown)
        self.refresh()

    def _choose(self, node: Any) -> None:
        before = self.node
        for other, shown in ((before, False), (node, True)):
            if other is not None and other.GetDisplayNode() is not None:
                other.GetDisplayNode().SetVisibility(shown)
        self._parameters().landmarks = node
        self.selected = ""

    def show_result(self, file: LandmarkFile, provenance: Provenance) -> str:
        """Bring the landmarks of a model or of a saved version into the scene as one step; what to know about it."""
        had_edits = self.node is not None and is_edited(self.node)
        node = self._made()
        with not_by_the_reader():
            points.put_points(node, file)
            write_provenance(node, provenance)
            mark_saved(node)
        parameters = self._parameters()
        parameters.set("verdict", "")
        parameters.set("comment", "")
        self.selected = ""
        self._plane = self._image.plane()
        self._watch.commit(is_edit=False)
        self.arrived.publish()
        if had_edits:
            return _("Your own changes were replaced; one step back brings them back.")
        return ""

    def keep_apart(self, file: LandmarkFile, provenance: Provenance) -> str:
        """Keep the landmarks of an image that is gone in a node of their own; says where."""
        node = points.new_landmarks(self._scene, _("MahtAI landmarks"), None)
        with not_by_the_reader():
            points.put_points(node, file)
            write_provenance(node, provenance)
            mark_saved(node)
        return _("The landmarks are in “{name}”.").format(name=node.GetName())

    def note(self, node: Any, **changes: Any) -> None:
        """Change what is known of where the points come from, which is no edit."""
        with not_by_the_reader():
            update_provenance(node, **changes)

    def rows(self) -> list[LandmarkRow]:
        """All landmarks of the set, in its order."""
        info, there = points.read_info(self.node), points.positions_ras(self.node)
        rows = []
        for key in points.wanted_ids(self.node):
            known, about = landmark(key), info.get(key, PointInfo())
            if key not in there:
                about = PointInfo("missing", None, None, None, about.flag)
            rows.append(
                LandmarkRow(key, known.name if known else key, known.definition if known else "", about, key in there)
            )
        return rows

    def doubtful(self) -> list[str]:
        """Landmarks to look at: those of which the model was unsure, the least sure first, then the missing ones."""
        rows = self.rows() if self.node is not None and self.provenance is not None else []
        unsure = [row for row in rows if row.is_placed and row.about.is_doubtful]
        unsure.sort(key=lambda row: row.about.confidence if row.about.confidence is not None else 0.0)
        by_model = set(points.read_info(self.node))
        return [row.id for row in unsure] + [row.id for row in rows if not row.is_placed and row.id in by_model]

    def go(self, step: int) -> None:
        """To the next (1) or the previous (-1) doubtful landmark, round and round."""
        stations = self.doubtful()
        if not stations:
            return
        if self.selected in stations:
            position = (stations.index(self.selected) + step) % len(stations)
        else:
            position = 0 if step > 0 else len(stations) - 1
        self.select(stations[position])

    def select(self, landmark_id: str) -> None:
        """Go to a landmark: centre it, at a zoom at which it can be judged."""
        self.selected = landmark_id
        position = points.positions_ras(self.node).get(landmark_id)
        if position is not None and self._plane is not None:
            image_view.go_to(self._scene, position, self.field_units())
        self.changed.publish()

    def field_units(self) -> float:
        """How much of the image is shown round a landmark, in units."""
        assert self._plane is not None
        mm_per_unit = self._image.mm_per_unit
        return FIELD_MM / mm_per_unit if mm_per_unit else _FIELD_FRACTION * self._plane.size[1]

    def confirm(self, landmark_id: str) -> None:
        """The reader agrees with a point."""
        if landmark_id in points.positions_ras(self.node):
            about = points.read_info(self.node).get(landmark_id, PointInfo())
            if about.state == "ai":
                with not_by_the_reader():
                    points.set_state(self.node, [landmark_id], "confirmed")
                self._watch.commit()

    def confirm_and_go(self) -> None:
        """Agree with the selected point and go to the next doubtful one."""
        if not self.selected:
            self.go(1)
            return
        stations = self.doubtful()
        after = stations[stations.index(self.selected) + 1 :] if self.selected in stations else []
        self.confirm(self.selected)
        if after or self.doubtful():
            self.select((after or self.doubtful())[0])

    def clear(self, landmark_id: str) -> None:
        """Take a point away: it is missing, not zero."""
        if self.node is not None:
            with not_by_the_reader():
                points.unset(self.node, landmark_id)
            self._watch.commit()

    def place(self, landmark_id: str) -> None:
        """The reader's next click places this landmark."""
        if self._image.node is None:
            return
        node = self._made()
        with not_by_the_reader():
            points.unset(node, landmark_id)
        self._watch.commit()
        self.selected = landmark_id
        place_landmark(self._scene, node, landmark_id)
        self.changed.publish()

    def is_placing(self) -> bool:
        """Whether the next click places a point."""
        return is_placing(self._scene)

    def stop_placing(self) -> None:
        """The reader does not want to place a point after all."""
        stop_placing(self._scene)
        self.changed.publish()

    def choose_set(self, set_id: str) -> None:
        """Work with another landmark set."""
        if self._image.node is not None:
            with not_by_the_reader():
                points.choose_set(self._made(), set_id)
            self._watch.commit()

    @property
    def can_undo(self) -> bool:
        """Whether there is a step back."""
        return self._watch.history is not None and self._watch.history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is a step forth."""
        return self._watch.history is not None and self._watch.history.can_redo

    def step(self, back: bool) -> None:
        """One step back, or forth again."""
        self._watch.step(back)

    def plane_points(self) -> dict[str, NDArray[np.float64]]:
        """Landmark id → (x, y) in plane units, of the points that are there."""
        plane = self._plane
        if plane is None:
            return {}
        return {key: plane.units_of(ras) for key, ras in points.positions_ras(self.node).items()}

    def measure(self) -> None:
        """Measure and draw what the points are now."""
        plane = self._plane if self._is_shown else None
        if plane is None or self.node is None:
            self.live.rest(plane)
        else:
            self.live.follow(plane, self.plane_points(), points.read_info(self.node), self._image.mm_per_unit)

    def lay_over(self, earlier: Earlier | None) -> None:
        """Draw an earlier tracing over this one, registered at sella along sella-nasion; None takes it away."""
        self.live.earlier = earlier
        self.measure()
        self.changed.publish()

    def _made(self) -> Any:
        """The node under review, made where there is none."""
        if self.node is None:
            self._choose(points.new_landmarks(self._scene, _("MahtAI landmarks"), self._image.node))
        self._watch.watch(self.node)
        return self.node

    def _point_moved(self) -> None:
        self.measure()
        self.moved.publish()

    def _step_done(self) -> None:
        self.measure()
        self.edited.publish()
        self.changed.publish()
