"""Slicer with the panel open, and what a reader does with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from kit.event_loop import spin
from kit.scene_context import SlicerContext
from scene_kit import add_volume

from MahtAILib.client import nrrd
from MahtAILib.client.geometry import Geometry

MODULE = Path(__file__).resolve().parents[2] / "MahtAI.py"


def pick(selector: Any, node: Any) -> None:
    """The reader picks a node from a selector's list."""
    selector.setCurrentNode(node)
    selector.nodeActivated.emit(node)


class Reader:
    """A reader in front of the panel; each method is something that they do, and waits until it is done.

    Attributes:
        panel: the open panel.
    """

    def __init__(self, context: SlicerContext) -> None:
        from kit.scripted_module import load_module

        self.context = context
        self._library = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "MahtAILib"}
        self.module = load_module(MODULE)
        self.module.widgetRepresentation().enter()

    @property
    def panel(self) -> Any:
        return slicer.modules.MahtAIWidget.panel

    @property
    def scene(self) -> Any:
        return self.context.scene

    def ui(self, section: str) -> Any:
        """Widgets of a section: server, study, ai, review, save."""
        return getattr(self.panel, f"{section}_section").ui

    def connect(self, url: str, token: str = "") -> None:
        """Type an address and press Connect."""
        ui = self.ui("server")
        ui.addressComboBox.setCurrentText(url)
        ui.tokenLineEdit.text = token
        ui.connectButton.click()
        spin(lambda: not self.panel.server.is_asking, 30, "an answer of the server")

    def load(self, volumes: Mapping[str, tuple[np.ndarray, Geometry]]) -> dict[str, Any]:
        """Load volumes (name → array, geometry) and wait until the panel has looked at them."""
        nodes = {name: add_volume(self.scene, geometry, name, array) for name, (array, geometry) in volumes.items()}
        spin(lambda: not self.panel.study.is_empty(), 10, "the slots to be filled")
        return nodes

    def load_study(self, study: Mapping[str, bytes]) -> dict[str, Any]:
        """Load channel → NRRD bytes."""
        decoded = {channel: nrrd.decode(data) for channel, data in study.items()}
        return self.load(
            {name: (volume.array, Geometry(volume.array.shape, volume.ijk_to_ras)) for name, volume in decoded.items()}
        )

    def run(self, timeout_s: float = 120) -> None:
        """Press Run and wait for the end."""
        self.ui("ai").runButton.click()
        self.wait_for_run(timeout_s)

    def wait_for_run(self, timeout_s: float = 120) -> None:
        spin(lambda: not self.panel.run.is_running, timeout_s, "the run to end")

    def save(self, author: str = "Dr. A", comment: str = "") -> None:
        """Fill in who reads, press Save, and wait until the versions are listed."""
        ui = self.ui("save")
        ui.authorLineEdit.text = author
        ui.commentLineEdit.text = comment
        ui.saveButton.click()
        self.wait_for_versions()

    def wait_for_versions(self) -> None:
        spin(lambda: not self.panel.versions.is_busy, 60, "saving and listing to end")

    def said(self, section: str, label: str) -> str:
        """What a label says; empty if it is hidden."""
        widget = getattr(self.ui(section), label)
        return "" if widget.isHidden() else str(widget.text)

    def leave(self) -> None:
        """Quit Slicer."""
        from kit.scripted_module import unload_module

        unload_module(self.module)
        # a reloaded library would not be the one that the tests imported
        for name in [name for name in sys.modules if name.split(".")[0] == "MahtAILib"]:
            del sys.modules[name]
        sys.modules.update(self._library)
