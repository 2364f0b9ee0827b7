"""The public sample study in Slicer's Sample Data module."""

from __future__ import annotations

import json
from pathlib import Path


def register(icons: Path) -> None:
    """Offer the four sequences of one BraTS case; they are fetched when the reader asks for them.

    Args:
        icons: folder with the thumbnail, beside ``SampleData.json``.
    """
    import SampleData

    sample = json.loads((icons.parent / "SampleData.json").read_text("utf-8"))
    files = sample["files"]
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MahtAI",
        sampleName=sample["name"],
        thumbnailFileName=str(icons / sample["thumbnail"]),
        uris=[sample["address"] + file["name"] for file in files],
        fileNames=[file["name"] for file in files],
        nodeNames=[file["node"] for file in files],
        checksums=[f"SHA256:{file['sha256']}" for file in files],
    )
