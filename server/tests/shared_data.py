"""Where the real cases are: ``shared/data`` beside the repository, or ``MAHTAI_SHARED_DATA``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real cases; a test that needs it is skipped with this reason where it is absent."""
    folder = Path(os.environ.get("MAHTAI_SHARED_DATA", BESIDE))
    if not folder.is_dir():
        pytest.skip(f"needs the real cases of shared/data, which are not at {folder} (set MAHTAI_SHARED_DATA)")
    return folder
