"""The main job end to end: real server process, real HTTP, the model that is shipped, independent readers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from grids import GRIDS, from_sitk
from mahtai.demo.phantom import Phantom, make_phantom
from mahtai.volumes.geometry import Geometry
from MahtAILib.client.cases import NewCase, NewLabel, add_label, create_case, label_content, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.study import StudyVolume, segment_study
from server_process import ServerProcess

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A server with the models of the repository."""
    process = ServerProcess(tmp_path_factory.mktemp("shipped"), (MODELS,), {"threads": "2"}).start()
    with Connection(process.url, process.token) as connection:
        yield connection
    process.kill()


def _mahtai(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mahtai.cli", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MAHTAI_THREADS": "2", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=500,
        check=False,
    )


def _written(path: Path, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """What SimpleITK, which shares no code with us, reads: array [i, j, k] and IJK-to-RAS."""
    path.write_bytes(data)
    return from_sitk(SimpleITK.ReadImage(str(path)))


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def _grid(direction: np.ndarray, spacing: tuple[float, float, float]) -> Geometry:
    """A grid of 150 × 180 × 140 mm with these axes, centred."""
    extent = np.abs(direction.T) @ np.array([150.0, 180.0, 140.0])
    shape = tuple(int(n) for n in np.ceil(extent / spacing))
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, affine)


def _as_study(phantom: Phantom, without: tuple[str, ...] = ()) -> dict[str, StudyVolume]:
    return {
        channel: StudyVolume(array, phantom.ijk_to_ras)
        for channel, array in phantom.channels.items()
        if channel not in without
    }


@pytest.mark.parametrize(
    ("axes", "spacing"),
    [
        ("LPS 1 mm as in BraTS", (1.0, 1.0, 1.0)),
        ("axes swapped, left-handed", (1.0, 1.0, 1.0)),
        ("oblique", (1.0, 1.0, 1.0)),
        ("oblique, anisotropic, left-handed", (0.9, 2.0, 1.1)),
    ],
)
def test_a_lesion_drawn_at_a_known_point_comes_back_there_in_the_saved_file(
    shipped: Connection, tmp_path: Path, axes: str, spacing: tuple[float, float, float]
) -> None:
    geometry = _grid(GRIDS[axes].direction, spacing)
    phantom = make_phantom(geometry.shape, np.array(geometry.ijk_to_ras), lesion_ras_mm=(-30.0, 24.0, 14.0))
    result = segment_study(shipped, _as_study(phantom), "brats_segresnet")
    labels, affine = _written(tmp_path / "result.seg.nrrd", result.segmentation)
    np.testing.assert_allclose(affine, geometry.ijk_to_ras, atol=1e-4)
    assert labels.shape == geometry.shape
    # the enhancing rim: where the model is surest, so that only the geometry is judged
    parts, _ = ndimage.label(labels == 3)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    found, drawn = ((affine @ [*np.argwhere(mask).mean(0), 1.0])[:3] for mask in (largest, phantom.labels == 3))
    assert np.linalg.norm(found - drawn) < 4
    assert _dice(labels == 3, phantom.labels == 3) > 0.6


def test_a_corrected_segmentation_becomes_a_new_version_and_the_old_one_stays(shipped: Connection) -> None:
    phantom = make_phantom()
    result = segment_study(shipped, _as_study(phantom), "brats_segresnet")
    case = create_case(
        shipped, NewCase("phantom", "brain-tumour", result.inputs, "3a6f9ad0-6c3c-4b2e-9d2b-1f1f6f1e0001")
    )
    first = add_label(
        shipped, case.id, result.segmentation, NewLabel("A", "annotator", inference=result.job_id), "key-1"
    )
    from mahtai.volumes.segmentation_file import decode_segmentation, description_of, encode_segmentation

    proposal = decode_segmentation(result.segmentation)
    edited = proposal.layers[0].copy()
    edited[:, :, : edited.shape[2] // 2] = 0
    corrected = encode_segmentation(
        edited, proposal.geometry, [description_of(segment) for segment in proposal.segments], proposal.provenance
    )
    second = add_label(
        shipped,
        case.id,
        corrected,
        NewLabel("B", "radiologist", parent=first.id, inference=result.job_id, verdict="disagree"),
        "key-2",
    )
    versions = list_labels(shipped, case.id)
    assert [version.number for version in versions] == [1, 2]
    assert label_content(shipped, case.id, versions[0]) == result.segmentation
    assert label_content(shipped, case.id, versions[1]) == corrected
    assert second.parent == first.id
    assert second.document["model_sha256"] == result.summary["model"]["sha256"]
    assert second.document["against_proposal"]["voxels_changed"] == int((edited != proposal.layers[0]).sum())


def test_a_study_without_one_sequence_is_segmented_with_less_confidence(shipped: Connection) -> None:
    phantom = make_phantom()
    complete = segment_study(shipped, _as_study(phantom), "brats_segresnet")
    partial = segment_study(shipped, _as_study(phantom, without=("t1",)), "brats_segresnet")
    assert partial.summary["missing"] == ["T1"]
    confidences = [item.summary["regions"]["wt"]["confidence"] for item in (complete, partial)]
    assert confidences[1] < confidences[0]


def test_the_demo_does_the_whole_job_and_says_when_the_case_is_made_up(tmp_path: Path) -> None:
    done = _mahtai("demo", "--synthetic", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "made-up case" in done.stdout
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["dice_against_known_truth"]["et"] > 0.6
    assert [version["number"] for version in summary["label_versions"]] == [1, 2]
    assert {"server start", "uploading", "predicting", "label versions"} <= set(summary["seconds"])
    assert (tmp_path / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / "segmentation.seg.nrrd")))
    confidence = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / "confidence.nrrd")))
    assert labels.shape == confidence.shape
    assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_a_clinical_study_on_four_grids_comes_back_on_the_grid_of_t1c(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "tcga_fg_6692"
    output = tmp_path / "clinical.seg.nrrd"
    files = [word for name in ("t1", "t1c", "t2", "flair") for word in (f"--{name}", str(folder / f"{name}.nii.gz"))]
    done = _mahtai("segment", *files, "-o", str(output))
    assert done.returncode == 0, done.stderr
    labels, affine = from_sitk(SimpleITK.ReadImage(str(output)))
    reference, reference_affine = from_sitk(SimpleITK.ReadImage(str(folder / "t1c.nii.gz")))
    assert labels.shape == reference.shape
    np.testing.assert_allclose(affine, reference_affine, atol=1e-3)
    assert (labels > 0).any()


def test_a_command_that_cannot_work_says_why_in_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "t1.nii.gz"
    broken.write_bytes(b"not a volume")
    done = _mahtai("segment", "--t1", str(broken), "-o", str(tmp_path / "out.seg.nrrd"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "What to do:" in done.stderr
    assert not (tmp_path / "out.seg.nrrd").exists()
