"""Results as files that Slicer opens by itself, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mahtai.inference.segmentation import SegmentationResult
from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.sealed_files import work_place, write_file
from mahtai.volumes.segmentation_file import encode_segmentation
from mahtai.volumes.terminology import SegmentDescription
from MahtAILib.client import nrrd
from MahtAILib.client.markups import LandmarkFile, LandmarkPoint, encode_markups


def write_segmentation(
    result: SegmentationResult, segments: Sequence[SegmentDescription], folder: Path, keys: Keys | None = None
) -> dict[str, str]:
    """Write ``segmentation.seg.nrrd`` and ``confidence.nrrd``, encrypted with ``keys``; returns their paths by name."""
    provenance = _provenance(result.summary, steps=True)
    confidence = nrrd.encode(
        result.confidence,
        result.geometry.ijk_to_ras,
        fields={"MahtAI_Content": "confidence in percent, 100 is certain"},
        encoding="gzip",
    )
    return {
        "segmentation": _write(
            folder / "segmentation.seg.nrrd",
            encode_segmentation(result.labelmap, result.geometry, segments, provenance),
            keys,
        ),
        "confidence": _write(folder / "confidence.nrrd", confidence, keys),
    }


def write_preview(
    result: SegmentationResult, segments: Sequence[SegmentDescription], folder: Path, keys: Keys | None = None
) -> str:
    """Write a coarse result, marked as one, as ``preview.seg.nrrd``; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    provenance = {**_provenance(result.summary), "Status": "preview"}
    content = encode_segmentation(result.labelmap, result.geometry, segments, provenance)
    return _write(folder / "preview.seg.nrrd", content, keys)


def write_landmarks(
    landmarks: Sequence[LandmarkPoint],
    measurements: Mapping[str, Any],
    summary: Mapping[str, Any],
    landmark_set: str,
    folder: Path,
    keys: Keys | None = None,
) -> dict[str, str]:
    """Write ``landmarks.mrk.json`` and ``measurements.json``, encrypted with ``keys``; returns their paths by name."""
    calibration = summary["spacing"]["mm_per_unit"]
    points = encode_markups(LandmarkFile(tuple(landmarks), landmark_set, calibration, _provenance(summary)))
    values = json.dumps(measurements, ensure_ascii=False, allow_nan=False, indent=1).encode("utf-8")
    return {
        "landmarks": _write(folder / "landmarks.mrk.json", points, keys),
        "measurements": _write(folder / "measurements.json", values, keys),
    }


def _write(path: Path, content: bytes, keys: Keys | None) -> str:
    write_file(path, content, work_place(path), keys)
    return str(path)


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
