"""Where segments or landmarks come from: kept on their node, in every segment's tags, and in the saved version."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from MahtAILib.scene.segments import segment_tags, tag_segments

ATTRIBUTE = "MahtAI.Provenance"
ORIGIN_ATTRIBUTE = "MahtAI.Origin"
"""Of a node of landmarks: which of the kept provenances is that of its points."""

CORRECTIONS_TAG = "MahtAI.Corrections"

PROPOSAL = "unreviewed AI proposal"
EDITED = "edited by a reader"
ACCEPTED = "accepted by a reader without change"


@dataclass(frozen=True)
class Provenance:
    """What a segmentation or a set of landmarks was made from and what became of it.

    Attributes:
        status: ``PROPOSAL``, ``EDITED`` or ``ACCEPTED``.
        server: address of the server that has the inference and the versions.
        job: the inference on that server; empty where no model took part.
        model: id and version. model_sha256: of its files.
        inputs: channel → SHA-256 of the volume that was sent.
        case: id on the server; empty until a version is saved.
        version: id of the label version that this was read from or saved as last; empty until then.
        version_key: the client's key of that version, known before the server gave it an id.
        regions: region id → name, segment ids, volume, interval, confidence, indeterminate; from the model.
        warnings: the model's, for the reader.
        reasons: why landmarks are indeterminate as a whole; empty where they are not.
        facing: where the face looks in a cephalogram, as the model saw it; empty where that is not known.
        registration: channel → 4×4, RAS of the reference → RAS of the channel in mm, as the server found it.
        file: keys of the result's file (options, steps), for the next file.
        corrections: how often the model corrected it around strokes of the reader, since it came.
    """

    status: str = PROPOSAL
    server: str = ""
    job: str = ""
    model: str = ""
    model_sha256: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    case: str = ""
    version: str = ""
    version_key: str = ""
    regions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    segments_ml: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    facing: str = ""
    registration: Mapping[str, Any] = field(default_factory=dict)
    file: Mapping[str, str] = field(default_factory=dict)
    corrections: int = 0

    @staticmethod
    def of_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that the summary of an inference tells, for the constructor."""
        maps = ("regions", "segments_ml", "registration")
        told: dict[str, Any] = {name: dict(summary.get(name, {})) for name in maps}
        told |= {name: tuple(str(one) for one in summary.get(name) or ()) for name in ("warnings", "reasons")}
        image = summary.get("image")
        return {**told, "facing": str(image.get("facing") or "") if isinstance(image, Mapping) else ""}

    def for_file(self) -> dict[str, str]:
        """What is written into the header of a label version."""
        before = self.file.get("Corrections", "")
        corrections = self.corrections + (int(before) if before.isdecimal() else 0)
        more = {
            "Job": self.job,
            "Model": self.model,
            "ModelSHA256": self.model_sha256,
            "Status": self.status,
            "Corrections": str(corrections or ""),
        }
        return {**self.file, **{key: value for key, value in more.items() if value}}


def write_provenance(node: Any, provenance: Provenance) -> None:
    """Note where the segments or points that are in the node now come from.

    It is kept with the node (and so with the scene) under a name that the segments carry as a tag: when an
    undo brings earlier segments back, they bring their own provenance with them; likewise the
    attribute of points. What a reader of ``.seg.nrrd`` wants to know is in further tags.
    """
    _keep(node, secrets.token_hex(4), provenance)


def read_provenance(node: Any) -> Provenance | None:
    """None for a segmentation that did not come from here."""
    document = _kept(node).get(_origin(node))
    if not isinstance(document, dict):
        return None
    known = {item.name for item in fields(Provenance)}
    values = {key: value for key, value in document.items() if key in known}
    lists = {name: tuple(values.get(name, ())) for name in ("warnings", "reasons")}
    return Provenance(**{**values, **lists, "corrections": _corrections(node)})


def update_provenance(node: Any, **changes: Any) -> None:
    """Change some of what is noted of the segments that are in the node now."""
    _keep(node, _origin(node) or secrets.token_hex(4), replace(read_provenance(node) or Provenance(), **changes))


def count_correction(node: Any) -> None:
    """The model corrected the segments that are in the node now once more; an undo brings the count back."""
    tag_segments(node, {CORRECTIONS_TAG: str(_corrections(node) + 1)})


def correction_of(node: Any) -> tuple[str, str, int]:
    """Names the state that a segmentation was in after its last correction, for as long as its scene is open."""
    return node.GetID() or "", _origin(node), _corrections(node)


def _corrections(node: Any) -> int:
    """Kept in the segments only, so that undo and redo of a correction count it back and forth."""
    if _holds_points(node):
        return 0
    return max((int(text) for text in segment_tags(node, CORRECTIONS_TAG) if text.isdecimal()), default=0)


def _keep(node: Any, origin: str, provenance: Provenance) -> None:
    node.SetAttribute(ATTRIBUTE, json.dumps({**_kept(node), origin: asdict(provenance)}))
    if _holds_points(node):
        node.SetAttribute(ORIGIN_ATTRIBUTE, origin)
        return
    tags = {"Origin": origin, "Status": provenance.status, "Model": provenance.model, "Job": provenance.job}
    tag_segments(node, {f"MahtAI.{key}": value for key, value in tags.items() if value})


def _kept(node: Any) -> dict[str, Any]:
    try:
        document = json.loads(node.GetAttribute(ATTRIBUTE) or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _origin(node: Any) -> str:
    if _holds_points(node):
        return node.GetAttribute(ORIGIN_ATTRIBUTE) or ""
    return next(iter(segment_tags(node, "MahtAI.Origin")), "")


def _holds_points(node: Any) -> bool:
    return bool(node.IsA("vtkMRMLMarkupsNode"))
