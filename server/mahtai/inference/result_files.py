"""Results as files that Slicer opens by itself, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mahtai.inference.segmentation import SegmentationResult
from mahtai.volumes.segmentation_file import encode_segmentation
from mahtai.volumes.terminology import SegmentDescription
from MahtAILib.client import nrrd
from MahtAILib.client.markups import LandmarkFile, LandmarkPoint, encode_markups


def write_segmentation(
    result: SegmentationResult, segments: Sequence[SegmentDescription], folder: Path
) -> dict[str, str]:
    """Write ``segmentation.seg.nrrd`` and ``confidence.nrrd``; returns their paths by name."""
    provenance = _provenance(result.summary, steps=True)
    segmentation = folder / "segmentation.seg.nrrd"
    segmentation.write_bytes(encode_segmentation(result.labelmap, result.geometry, segments, provenance))
    confidence = folder / "confidence.nrrd"
    confidence.write_bytes(
        nrrd.encode(
            result.confidence,
            result.geometry.ijk_to_ras,
            fields={"MahtAI_Content": "confidence in percent, 100 is certain"},
            encoding="gzip",
        )
    )
    return {"segmentation": str(segmentation), "confidence": str(confidence)}


def write_preview(result: SegmentationResult, segments: Sequence[SegmentDescription], folder: Path) -> str:
    """Write a coarse result, marked as one, as ``preview.seg.nrrd``; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "preview.seg.nrrd"
    provenance = {**_provenance(result.summary), "Status": "preview"}
    path.write_bytes(encode_segmentation(result.labelmap, result.geometry, segments, provenance))
    return str(path)


def write_landmarks(
    landmarks: Sequence[LandmarkPoint],
    measurements: Mapping[str, Any],
    summary: Mapping[str, Any],
    landmark_set: str,
    folder: Path,
) -> dict[str, str]:
    """Write ``landmarks.mrk.json`` and ``measurements.json``; returns their paths by name."""
    calibration = summary["spacing"]["mm_per_unit"]
    points = folder / "landmarks.mrk.json"
    points.write_bytes(encode_markups(LandmarkFile(tuple(landmarks), landmark_set, calibration, _provenance(summary))))
    values = folder / "measurements.json"
    values.write_text(json.dumps(measurements, ensure_ascii=False, allow_nan=False, indent=1), "utf-8")
    return {"landmarks": str(points), "measurements": str(values)}


def _provenance(summary: Mapping[str, Any], steps: bool = False) -> dict[str, str]:
    model = summary["model"]
    return {
        "Model": f"{model['id']} {model['version']}",
        "ModelSHA256": model["sha256"],
        "Options": json.dumps(summary["options"]),
        **({"Steps": json.dumps(summary["steps"])} if steps else {}),
        "Status": "unreviewed AI proposal",
        **({"Indeterminate": " ".join(summary["reasons"])} if summary.get("indeterminate") else {}),
    }
