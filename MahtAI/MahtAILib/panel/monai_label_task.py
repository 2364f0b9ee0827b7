"""Brain tumours by a model of a MONAI Label server: one volume goes out, a segmentation comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from MahtAILib.client.monai_label import MonaiLabelResult
from MahtAILib.client.study import StudyResult
from MahtAILib.client.volumes import Upload
from MahtAILib.panel.background import Errand
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.segmentation_task import Outcome, SegmentationTask
from MahtAILib.panel.study_state import Sent, StudyState
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.segments import prepare_segments

Models = Callable[[], Sequence[Mapping[str, Any]]]


class MonaiLabelTask(SegmentationTask):
    """The same task with the reference volume alone, done by another kind of server."""

    def __init__(
        self, parameters: Callable[[], Parameters], study: StudyState, review: ReviewState, models: Models
    ) -> None:
        super().__init__(parameters, study, review)
        self._models = models
        self.words = replace(
            self.words,
            leaves=_(
                "the voxels of {names} and where they lie in the patient.\n"
                "Not sent: names, dates, numbers and other DICOM tags of the patient. "
                "The face can be recognized in images that are not defaced."
            ),
        )

    def image_names(self) -> str:
        """The one volume."""
        return self._study.reference_name()

    def take(self, options: Mapping[str, str]) -> Sent:
        """The voxels of the one volume, shared with the scene."""
        return self._study.take_reference()

    def work(self, connection: Any, sent: Sent, model: str, options: Mapping[str, str], errand: Errand[Any]) -> Outcome:
        """In a thread: send, wait, fetch; ``connection`` is a ``MonaiLabelServer``."""
        described = next(one for one in self._models() if one["id"] == model)
        slot, volume = next(iter(sent.volumes.items()))
        result = connection.segment(described, volume, slot, errand.progress, errand.cancelled)
        return Outcome(_as_study_result(result, described), prepare_segments(result.segmentation), None, [], [])


def _as_study_result(result: MonaiLabelResult, model: Mapping[str, Any]) -> StudyResult:
    """What is known of a result without a job on a server of ours."""
    segmentation = result.segmentation
    voxel_ml = segmentation.geometry.voxel_ml
    volumes = {
        segment.id: round(float(np.count_nonzero(segmentation.mask(segment.id))) * voxel_ml, 4)
        for segment in segmentation.segments
    }
    summary = {
        "model": {"id": f"{model['id'].partition(':')[2]} ({model['source']})"},
        "segments_ml": volumes,
        "timings_s": {"total": result.seconds},
    }
    return StudyResult("", {}, b"", None, summary, Upload())
