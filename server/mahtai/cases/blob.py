"""What is known of a blob that was checked and accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class BlobRecord:
    """An accepted volume, label file or part of a result.

    Attributes:
        kind: ``volume``, ``segmentation``, ``landmarks`` or ``measurements``. format: such as ``nrrd``.
        info: of a volume or segmentation geometry, voxel type and the like, as ``VolumeInfo.as_json`` gives them.
    """

    sha256: str
    bytes: int
    kind: str
    format: str
    info: dict[str, Any]
    created_at: datetime = field(default_factory=_now)
