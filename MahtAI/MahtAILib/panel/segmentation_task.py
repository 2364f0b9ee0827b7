"""Brain tumours: T1, T1c, T2 and FLAIR go out, a segmentation comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.connection import Connection
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.client.study import StudyResult, StudyVolume, segment_study
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Errand
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.study_state import Sent, StudyState
from MahtAILib.panel.task import BRAIN, ForFile, Words
from MahtAILib.scene.doubt import Place, doubtful_places, doubtful_slices
from MahtAILib.scene.images import plain_image
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.provenance import Provenance
from MahtAILib.scene.segments import Prepared, geometry_of, prepare_segments
from MahtAILib.scene.segments_out import snapshot_segments, take_segments
from MahtAILib.sequences.assignment import SHORT_NAMES, SLOTS

OPTIONS = ("register", "brain_mask", "check_sequences")


@dataclass(frozen=True, eq=False)
class Outcome:
    """A result, made ready in the thread so that nothing is left to compute on the main thread.

    Attributes:
        confidence: image in percent, and its geometry.
    """

    result: StudyResult
    segmentation: Prepared
    confidence: tuple[Any, Geometry] | None
    places: list[Place]
    slices: list[Place]


class SegmentationTask:
    """See ``task.Task``."""

    id = BRAIN

    def __init__(self, parameters: Callable[[], Parameters], study: StudyState, review: ReviewState) -> None:
        self._parameters = parameters
        self._study = study
        self._review = review
        self.changed, self.edited, self.arrived = review.changed, review.edited, review.arrived
        self.words = Words(
            run=_("Run"),
            run_tip=_("Send the study to the server and bring its segmentation into the scene, as one step."),
            no_model=_("The server has no model for brain tumours that is ready."),
            leaves=_(
                "the voxels of {names} and where they lie in the patient, later the segmentations that you save, "
                "with your name and comment.\nNot sent: names, dates, numbers and other DICOM tags of the patient. "
                "The face can be recognized in images that are not defaced."
            ),
            to_save=_("segmentation"),
            nothing_to_save=(_("There is no segmentation to save."), _("Run the model, or choose a segmentation.")),
            no_images=(
                _("It is not known to which study the segmentation belongs."),
                _("Choose the volumes of the study in the section Study, then save again."),
            ),
            draft=".seg.nrrd",
        )

    @property
    def node(self) -> Any:
        """vtkMRMLSegmentationNode under review, or None."""
        return self._review.node

    @property
    def provenance(self) -> Provenance | None:
        """Where its segments come from."""
        return self._review.provenance

    def image_names(self) -> str:
        """The filled slots."""
        return ", ".join(SHORT_NAMES[slot] for slot in SLOTS if self._study.volume(slot) is not None)

    def options(self) -> dict[str, str]:
        """Registration, skull stripping, sequence check."""
        return {name: self._parameters().get(name) for name in OPTIONS}

    def take(self, options: Mapping[str, str]) -> Sent:
        """The voxels of the study, shared with the scene."""
        return self._study.take(options.get("register", "auto"))

    def work(
        self, connection: Connection, sent: Sent, model: str, options: Mapping[str, str], errand: Errand[Any]
    ) -> Outcome:
        """In a thread: run, fetch, decode, find the doubtful places."""
        return run_model(connection, sent.volumes, model, options, errand)

    def warm_up(self) -> None:
        """In a thread: what looks for doubtful places takes as long to import as all else."""
        from scipy import ndimage  # noqa: F401

    def show_preview(self, preview: Prepared) -> None:
        """Outlines, marked as coarse."""
        self._review.show_preview(preview)

    def remove_preview(self) -> None:
        """Take them away."""
        self._review.remove_preview()

    def place(self, outcome: Outcome, sent: Sent, url: str) -> str:
        """The segmentation as one step of undo, the doubtful places beside it."""
        origin = provenance_of(outcome.result, url, outcome.segmentation.segmentation.provenance)
        return self._review.show_result(
            outcome.segmentation, outcome.confidence, outcome.places, outcome.slices, origin
        )

    def findings(self) -> Sequence[Sequence[str]]:
        """The model's regions."""
        provenance = self._review.provenance
        return [region_row(region) for region in (provenance.regions.values() if provenance is not None else ())]

    def volume_ids(self) -> list[str]:
        """Of the slots in their order."""
        return self._study.volume_ids()

    def is_empty(self) -> bool:
        """Whether no slot is filled."""
        return self._study.is_empty()

    def volumes(self) -> dict[str, StudyVolume]:
        """Of the filled slots."""
        return self._study.volumes()

    def note(self, node: Any, **changes: Any) -> None:
        """Change what is known of a node's segments."""
        self._review.note(node, **changes)

    def for_file(self, node: Any, provenance: Provenance) -> ForFile:
        """The segments on their grid, or on that of the study."""
        taken = take_segments(node, geometry_of(node) or self._study.reference_geometry())
        segmentation = replace(taken.segmentation, provenance=provenance.for_file())
        remark = ""
        if taken.resampled:
            remark = _("Brought to the grid of the study: {names}.").format(names=", ".join(taken.resampled))
        return ForFile(lambda: files.encode(segmentation), remark)

    def snapshot(self, node: Any, provenance: Provenance) -> Callable[[], bytes]:
        """The segments as they are now; they are put on their grid in a thread."""
        taken, geometry = snapshot_segments(node), geometry_of(node) or self._study.reference_geometry()
        keys = provenance.for_file()
        return lambda: files.encode(replace(taken.on_grid(geometry).segmentation, provenance=keys))

    def prepare(self, content: Segmentation) -> Prepared:
        """Make the images of its segments."""
        return prepare_segments(content)

    def decode(self, data: bytes) -> Segmentation:
        """In a thread: a ``.seg.nrrd`` file."""
        return files.decode(data)

    def open(self, content: Segmentation | Prepared, origin: Provenance) -> None:
        """A saved version; unsaved edits stay in a segmentation of their own."""
        self._review.place(content, origin)
        self._review.line_up()
        self._review.arrived.publish()
        self._review.refresh()


def run_model(
    connection: Connection,
    volumes: Mapping[str, StudyVolume],
    model: str,
    options: Mapping[str, str],
    errand: Errand[Any],
) -> Outcome:
    """In a thread: run, fetch, decode, find the doubtful places.

    Raises:
        ClientError: what went wrong on the way; a ``CancelledError`` if it was cancelled.
        SegmentationError: the server's result cannot be read.
    """

    def on_preview(data: bytes) -> None:
        with suppress(ExplainedError):  # an extra: the full result follows
            errand.preview(prepare_segments(files.decode(data)))

    result = segment_study(
        connection, volumes, model, options, errand.progress, errand.cancelled, on_preview=on_preview
    )
    segmentation = prepare_segments(files.decode(result.segmentation))
    confidence, places, slices = None, [], []
    if result.confidence is not None:
        volume = nrrd.decode(result.confidence)
        geometry = Geometry(volume.array.shape, volume.ijk_to_ras)
        places, slices = doubtful_places(volume.array, geometry), doubtful_slices(volume.array, geometry)
        confidence = (plain_image(volume.array), geometry)
    return Outcome(result, segmentation, confidence, places, slices)


def provenance_of(result: Any, url: str, file: Mapping[str, str]) -> Provenance:
    """What is noted with a result that has ``job_id``, ``inputs`` and ``summary``.

    Args:
        file: what the header of its file says.
    """
    summary = result.summary
    model = summary.get("model", {})
    return Provenance(
        server=url,
        job=result.job_id,
        model=f"{model.get('id', '')} {model.get('version', '')}".strip(),
        model_sha256=str(model.get("sha256", "")),
        inputs=result.inputs,
        **Provenance.of_summary(summary),
        file=file,
    )


def region_row(region: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name, volume with its interval, and confidence; a doubtful one is called indeterminate."""
    volume = f"{region.get('volume_ml', 0):.1f}"
    interval = region.get("volume_interval_ml")
    if interval:
        volume += f" ({interval[0]:.1f}–{interval[1]:.1f})"
    name, confidence = str(region.get("name", "")), f"{region.get('confidence', 0):.2f}"
    if region.get("indeterminate"):
        return f"⚠ {name}", volume, _("indeterminate")
    return name, volume, confidence
