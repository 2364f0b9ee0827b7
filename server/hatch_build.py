"""What the wheel takes along from beside the server: one measurement code, one wire format, one set of rules by which
sequences are recognised, and the models.

An editable installation takes nothing along: it finds them where they are, and a copy would hide later changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TAKEN_ALONG = {
    "MahtAI/MahtAILib/__init__.py": "MahtAILib/__init__.py",
    "MahtAI/MahtAILib/errors.py": "MahtAILib/errors.py",
    "MahtAI/MahtAILib/cephalometry": "MahtAILib/cephalometry",
    "MahtAI/MahtAILib/client": "MahtAILib/client",
    "MahtAI/MahtAILib/sequences": "MahtAILib/sequences",
    "models": "mahtai/shipped_models",
}
"""Place in the repository → place in the wheel."""


class CustomBuildHook(BuildHookInterface):
    """Found by hatchling under this name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to a wheel.

        Args:
            version: ``standard`` or ``editable``.
        """
        if version == "editable":
            return
        repository = Path(self.root).parent
        build_data["force_include"].update({str(repository / here): there for here, there in TAKEN_ALONG.items()})
