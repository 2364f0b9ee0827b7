"""Cases of this server as a network learns them and as it is tested on them: prepared as an inference does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mahtai.inference.options import Options
from mahtai.inference.study import PreparedStudy, Record, prepare_study
from mahtai.models.bundle import SegmentationBundle
from mahtai.training.approved import ApprovedCase
from mahtai.training.datasets import Case
from mahtai.training.reference_labels import labels_on, reference_labels
from mahtai.volumes.formats import Volume, check_voxels, read_volume
from mahtai.volumes.segmentation_file import decode_segmentation, on_grid
from mahtai.volumes.store import BlobStore


@dataclass(frozen=True)
class LabelledStudy:
    """A study as it was scanned, and what a reader made of it.

    Attributes:
        study: channel id → volume.
        reference: channel whose grid the labels lie on.
        labels: I × J × K uint8, 0..3.
        remarks: what of the reader's work is left out.
    """

    name: str
    study: Mapping[str, Volume]
    reference: str
    labels: NDArray[np.uint8]
    remarks: tuple[str, ...] = ()


def read_case(case: ApprovedCase, bundle: SegmentationBundle, store: BlobStore) -> LabelledStudy:
    """Read the volumes that the model knows, and the approved label.

    Raises:
        MahtaiError: a file is gone, damaged, or does not fit.
    """
    known = [channel.id for channel in bundle.channels if channel.id in case.volumes]
    study = {channel: read_volume(store.read_bytes(case.volumes[channel])) for channel in known}
    for volume in study.values():
        check_voxels(volume)
    reference = study.get(case.reference) or read_volume(store.read_bytes(case.volumes[case.reference]))
    content = on_grid(decode_segmentation(store.read_bytes(case.content)), reference.geometry)
    labels, unknown = reference_labels(content)
    remarks = [f"the segment {name} means nothing to {bundle.id} and was left out" for name in unknown]
    return LabelledStudy(case.name, study, case.reference, labels, tuple(remarks))


def prepared(read: LabelledStudy, bundle: SegmentationBundle, device: torch.device) -> tuple[PreparedStudy, Record]:
    """The study on the model's grid: registered, masked, cropped, z-scored.

    Raises:
        MahtaiError: it cannot be used.
    """
    record = Record()
    reference = read.reference if read.reference in read.study else "auto"
    options = Options(reference=reference)
    return prepare_study(read.study, bundle, options, device, lambda stage, fraction: None, record), record


def training_case(case: ApprovedCase, read: LabelledStudy, bundle: SegmentationBundle) -> Case:
    """What the trainer takes; it carries the split of its patient.

    Raises:
        MahtaiError: the study cannot be used.
    """
    found, _ = prepared(read, bundle, torch.device("cpu"))
    spacing = found.grid.spacing_mm
    return Case(
        name=f"case {case.number}",
        image=found.image.half(),
        label=labels_on(read.labels, found.reference, found.grid),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        split=case.split,
    )
