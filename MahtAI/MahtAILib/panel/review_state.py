"""The segmentation under review: where it came from, where to look, how its volumes changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background
from MahtAILib.panel.study_state import StudyState
from MahtAILib.panel.topics import Topic
from MahtAILib.scene import views
from MahtAILib.scene.doubt import Place, doubtful_places, doubtful_slices
from MahtAILib.scene.edits import EditWatch, not_by_the_reader
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.preview import middle_ras_mm, preview_of, remove_preview, show_preview
from MahtAILib.scene.provenance import Provenance, read_provenance, update_provenance
from MahtAILib.scene.results import JOB_ATTRIBUTE, confidence_of, place_confidence, place_segmentation
from MahtAILib.scene.segments import Prepared, segment_names, volumes_ml


@dataclass(frozen=True)
class VolumeRow:
    """A line of the volumes table; volumes in ml, None where the model said nothing of it."""

    name: str
    proposed_ml: float | None
    now_ml: float
    is_indeterminate: bool = False


class ReviewState:
    """What is reviewed. The node lies in the scene's parameters, so that it is saved with the scene.

    Attributes:
        changed: another segmentation, other places, another look.
        edited: the reader edited the segmentation.
        arrived: a result or a saved version was brought into the scene.
        previewed: a preview was.
        places, slices: doubtful ones, the most doubtful first.
        preview_ras_mm: where there is most to see in the preview.
        position: index of the place that was gone to last, -1 before the first.

    ``save_state`` is set by whoever has the segment editor: it makes the next change of a node undoable.
    """

    def __init__(self, scene: Any, parameters: Callable[[], Parameters], study: StudyState, background: Background):
        self.changed = Topic()
        self.edited = Topic()
        self.arrived = Topic()
        self.previewed = Topic()
        self.places: list[Place] = []
        self.slices: list[Place] = []
        self.position = -1
        self.preview_ras_mm: tuple[float, float, float] | None = None
        self.save_state: Callable[[Any], None] = lambda node: None
        self._scene = scene
        self._parameters = parameters
        self._study = study
        self._background = background
        self._is_hidden = False
        self._mark = views.PlaceMark(scene)
        self._watch = EditWatch(self.edited.publish)

    @property
    def node(self) -> Any:
        """vtkMRMLSegmentationNode under review, or None."""
        return self._parameters().segmentation

    @property
    def provenance(self) -> Provenance | None:
        """Where its segments come from, None where that is not known."""
        return None if self.node is None else read_provenance(self.node)

    def choose(self, node: Any) -> None:
        """Review another segmentation."""
        self._parameters().segmentation = node
        self.refresh()

    def refresh(self) -> None:
        """The scene changed: look at what the parameters name now."""
        self._watch.watch(self.node)
        if self.node is not None and not self._is_hidden:
            self.show()
        self.changed.publish()

    def stop(self) -> None:
        """Watch nothing any more."""
        self._watch.stop()
        self._mark.remove()

    def remove_mark(self) -> None:
        """Take the crosshair off the place that was gone to."""
        self._mark.remove()

    def show_result(
        self,
        segmentation: Prepared | Segmentation,
        confidence: tuple[Any, Geometry] | None,
        places: list[Place],
        slices: list[Place],
        provenance: Provenance,
    ) -> str:
        """Bring a result into the scene; returns what the reader should know.

        Args:
            confidence: percent [i, j, k] or an image of it, and its geometry.
        """
        before = self.node
        after = self.place(segmentation, provenance)
        parameters = self._parameters()
        if confidence is not None:
            parameters.confidence = place_confidence(self._scene, *confidence, provenance.job, parameters.confidence)
        self.places, self.slices, self.position = places, slices, -1
        self.line_up()
        self.arrived.publish()
        self.refresh()
        if before is not None and after is not before:
            return _("Your edits were not saved, so the result came as a segmentation of its own: “{name}”.").format(
                name=after.GetName()
            )
        return ""

    def show_preview(self, preview: Prepared) -> None:
        """Show a coarse result; the segmentation under review is not touched."""
        self.preview_ras_mm = middle_ras_mm(preview)
        show_preview(self._scene, preview, not self._is_hidden)
        self.previewed.publish()

    def remove_preview(self) -> None:
        """The full result is there, or will not come."""
        remove_preview(self._scene)

    def place(self, segmentation: Prepared | Segmentation, provenance: Provenance) -> Any:
        """Bring segments into the scene as one step of undo; returns the node under review from now on."""
        before = self.node
        with not_by_the_reader():
            after = place_segmentation(
                self._scene,
                segmentation,
                provenance,
                _("MahtAI segmentation"),
                self._study.reference(),
                before,
                self.save_state,
            )
        if before is not None and after is not before and before.GetDisplayNode() is not None:
            before.GetDisplayNode().SetVisibility(False)
        parameters = self._parameters()
        parameters.segmentation = after
        # what was thought of the last one says nothing of this one
        parameters.set("verdict", "")
        parameters.set("comment", "")
        return after

    def note(self, node: Any, **changes: Any) -> None:
        """Change what is known of a node's segments, which is no edit."""
        with not_by_the_reader():
            update_provenance(node, **changes)

    def show(self) -> None:
        """Draw the segmentation as the parameters say."""
        parameters = self._parameters()
        if self.node is not None:
            views.show_segmentation(self.node, float(parameters.get("opacity")), parameters.get("fill") == "1")

    def show_at_all(self, shown: bool) -> None:
        """Draw the segmentation, or hide it while another task has the panel."""
        self._is_hidden = not shown
        if self.node is not None and self.node.GetDisplayNode() is not None:
            self.node.GetDisplayNode().SetVisibility(shown)
        preview = preview_of(self._scene)
        if preview is not None:
            preview.GetDisplayNode().SetVisibility(shown)

    def line_up(self) -> None:
        """Show the sequences as the server registered them, or as they were scanned, as the parameters say."""
        provenance = self.provenance
        self._study.line_up(provenance.registration if provenance is not None else {})

    def stations(self) -> list[Place]:
        """The places or the slices, as the reader chose; none if they are of another result than the segmentation."""
        confidence, provenance = self._parameters().confidence, self.provenance
        if confidence is None or provenance is None or confidence.GetAttribute(JOB_ATTRIBUTE) != provenance.job:
            return []
        return self.places if self._parameters().get("doubt") == "places" else self.slices

    def go(self, step: int) -> None:
        """To the next (1) or the previous (-1) doubtful place, round and round."""
        stations = self.stations()
        if not stations:
            return
        self.position = (self.position + step) % len(stations) if self.position >= 0 or step > 0 else len(stations) - 1
        self._mark.go_to(stations[self.position].ras_mm)
        self.changed.publish()

    def find_places(self) -> None:
        """Find the doubtful places of a confidence map that came with a loaded scene."""
        kept = confidence_of(self._parameters().confidence)
        if kept is None:
            self.places, self.slices, self.position = [], [], -1
            return

        def done(found: tuple[list[Place], list[Place]]) -> None:
            self.places, self.slices = found
            self.position = -1
            self.changed.publish()

        def failed(error: ExplainedError) -> None:
            self.changed.publish()

        self._background.run(lambda _errand: (doubtful_places(*kept), doubtful_slices(*kept)), done, failed)

    def volume_rows(self) -> list[VolumeRow]:
        """Each segment, then each region of the model that is more than one segment."""
        node = self.node
        if node is None:
            return []
        now, provenance = volumes_ml(node), self.provenance or Provenance()
        unsure = {
            part
            for region in provenance.regions.values()
            if region.get("indeterminate") and len(region.get("segments", ())) == 1
            for part in region["segments"]
        }
        rows = [
            VolumeRow(name, _known(provenance.segments_ml, one), now[one], one in unsure)
            for one, name in segment_names(node).items()
        ]
        for region in provenance.regions.values():
            parts = [part for part in region.get("segments", ()) if part in now]
            if len(parts) > 1:
                proposed = sum(provenance.segments_ml.get(part, 0.0) for part in parts)
                together = sum(now[part] for part in parts)
                rows.append(VolumeRow(str(region["name"]), proposed, together, bool(region.get("indeterminate"))))
        return rows


def _known(volumes: Mapping[str, float], segment_id: str) -> float | None:
    return float(volumes[segment_id]) if segment_id in volumes else None
