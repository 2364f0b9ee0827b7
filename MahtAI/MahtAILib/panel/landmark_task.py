"""Cephalometry: a cephalogram goes out, landmarks come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.connection import Connection
from MahtAILib.client.markups import LandmarkFile, decode_markups, encode_markups
from MahtAILib.client.study import LandmarksResult, StudyVolume, detect_landmarks
from MahtAILib.panel.background import Errand
from MahtAILib.panel.image_state import ImageState, SentImage
from MahtAILib.panel.landmarks_state import LandmarksState
from MahtAILib.panel.segmentation_task import provenance_of
from MahtAILib.panel.task import CEPHALOMETRY, ForFile, Words
from MahtAILib.scene.landmarks import take_points
from MahtAILib.scene.provenance import Provenance


@dataclass(frozen=True)
class Outcome:
    """A result, decoded in the thread."""

    result: LandmarksResult
    file: LandmarkFile


class LandmarkTask:
    """See ``task.Task``."""

    id = CEPHALOMETRY

    def __init__(self, image: ImageState, landmarks: LandmarksState, node_of: Callable[[str], Any]) -> None:
        self._image = image
        self._landmarks = landmarks
        self._node_of = node_of
        self.changed, self.edited, self.arrived = landmarks.changed, landmarks.edited, landmarks.arrived
        self.words = Words(
            run=_("Place landmarks"),
            run_tip=_("Send the cephalogram to the server and bring its landmarks into the scene, as one step."),
            no_model=_("The server has no model for cephalograms that is ready."),
            leaves=_(
                "the pixels of {names} and where they lie, later the landmarks that you save, with your name and "
                "comment.\nNot sent: names, dates, numbers and other DICOM tags of the patient. What is written into "
                "the image itself is sent with it, and the profile of a face can be recognized."
            ),
            to_save=_("landmarks"),
            nothing_to_save=(
                _("There are no landmarks to save."),
                _("Press Place landmarks, or place them by hand in the section Landmarks."),
            ),
            no_images=(
                _("It is not known to which image the landmarks belong."),
                _("Choose the cephalogram in the section Cephalogram, then save again."),
            ),
            draft=".mrk.json",
        )

    @property
    def node(self) -> Any:
        """vtkMRMLMarkupsFiducialNode under review, or None."""
        return self._landmarks.node

    @property
    def provenance(self) -> Provenance | None:
        """Where its points come from."""
        return self._landmarks.provenance

    def image_names(self) -> str:
        """The cephalogram; not its name, which may be the patient's."""
        return _("the cephalogram")

    def options(self) -> dict[str, str]:
        """The scale as the panel knows it: what the pixels alone say, such as a resolution of printing, is none."""
        known = self._image.mm_per_unit
        return {"mm_per_unit": "unknown" if known is None else repr(known), "orientation": "auto"}

    def take(self, options: Mapping[str, str]) -> SentImage:
        """The grey values of the cephalogram."""
        return self._image.take()

    def work(
        self, connection: Connection, sent: SentImage, model: str, options: Mapping[str, str], errand: Errand[Any]
    ) -> Outcome:
        """In a thread: run, fetch, decode."""
        return run_model(connection, sent.image, model, options, errand)

    def warm_up(self) -> None:
        """Nothing: the panel measures once when it is opened for cephalograms."""

    def show_preview(self, preview: Any) -> None:
        """Landmarks have none."""

    def remove_preview(self) -> None:
        """Landmarks have none."""

    def place(self, outcome: Outcome, sent: SentImage, url: str) -> str:
        """The landmarks as one step; those of an image that is no longer chosen choose it again."""
        origin = provenance_of(outcome.result, url, outcome.file.provenance)
        reasons = origin.reasons or (_("The model does not say why."),)
        file, is_indeterminate = outcome.file, bool(outcome.result.summary.get("indeterminate"))
        origin = replace(origin, reasons=reasons if is_indeterminate else ())
        if is_indeterminate:
            file = all_doubtful(file, _("the whole result is indeterminate"))
        image = self._node_of(sent.node_id)
        if image is None or sent.taken.is_gone():
            return self._landmarks.keep_apart(file, origin)
        if image is not self._image.node:
            self._image.choose(image)
            self._landmarks.refresh()
        return self._landmarks.show_result(file, origin)

    def findings(self) -> Sequence[Sequence[str]]:
        """None here: the section Landmarks lists them."""
        return ()

    def volume_ids(self) -> list[str]:
        """Of the image."""
        return [] if self._image.node is None else [self._image.node.GetID()]

    def is_empty(self) -> bool:
        """Whether no image is chosen."""
        return self._image.node is None

    def volumes(self) -> dict[str, StudyVolume]:
        """The image."""
        return self._image.volumes()

    def note(self, node: Any, **changes: Any) -> None:
        """Change what is known of where the points come from."""
        self._landmarks.note(node, **changes)

    def for_file(self, node: Any, provenance: Provenance) -> ForFile:
        """The points of the node's landmark set, the missing ones among them."""
        file = take_points(node, self._image.mm_per_unit, provenance.for_file())
        return ForFile(lambda: encode_markups(file))

    def snapshot(self, node: Any, provenance: Provenance) -> Callable[[], bytes]:
        """The points as they are now."""
        return self.for_file(node, provenance).encode

    def prepare(self, content: LandmarkFile) -> LandmarkFile:
        """Nothing is left to do."""
        return content

    def decode(self, data: bytes) -> LandmarkFile:
        """In a thread: a ``.mrk.json`` file."""
        return decode_markups(data)

    def open(self, content: LandmarkFile, origin: Provenance) -> None:
        """A saved version, as one step that can be undone."""
        self._image.adopt_calibration(content.mm_per_unit)
        self._landmarks.show_result(content, origin)


def all_doubtful(file: LandmarkFile, flag: str) -> LandmarkFile:
    """The same landmarks, each of them doubtful; those that were so keep their own reason."""
    points = tuple(
        point if point.flag or point.position is None else replace(point, flag=flag) for point in file.points
    )
    return replace(file, points=points)


def run_model(
    connection: Connection, image: StudyVolume, model: str, options: Mapping[str, str], errand: Errand[Any]
) -> Outcome:
    """In a thread: send the image, run the model, fetch and decode its landmarks.

    Raises:
        ClientError: what went wrong on the way; a ``CancelledError`` if it was cancelled.
        MarkupsError: the server's landmarks cannot be read.
    """
    result = detect_landmarks(connection, image, model, options, errand.progress, errand.cancelled)
    return Outcome(result, decode_markups(result.landmarks))
