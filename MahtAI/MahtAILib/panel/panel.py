"""The whole panel: the state, the five sections, and what the scene and Slicer tell them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MahtAILib.client.spool import Spool
from MahtAILib.errors import ExplainedError
from MahtAILib.local_server.folders import config_folder, read_token
from MahtAILib.panel.ai_section import AISection
from MahtAILib.panel.background import Background
from MahtAILib.panel.local_state import LocalState
from MahtAILib.panel.review_section import ReviewSection
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.run_state import RunState
from MahtAILib.panel.save_section import SaveSection
from MahtAILib.panel.section import single_shot
from MahtAILib.panel.server_section import ServerSection
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.study_section import StudySection
from MahtAILib.panel.study_state import StudyState
from MahtAILib.panel.versions_state import VersionsState
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.watch import SceneWatch

_SETTLE_MS = 300
"""Volumes come one after the other; they are looked at once, this long after the last."""


class Panel:
    """MahtAI's panel in Slicer.

    Args:
        layout: of the module's widget.
        scene: vtkMRMLScene.
        settings: of this user; their folder also holds unsent versions and drafts.
        tag_reader: (SOP instance UID, DICOM tag) → value, empty where it is not known.
    """

    def __init__(self, layout: Any, scene: Any, settings: Settings, tag_reader: Callable[[str, str], str]) -> None:
        self._scene = scene
        self._is_open = False
        self.settings = settings
        self.background = Background(self._fault)
        self.server = ServerState(self.background, self.settings, lambda: read_token(config_folder()))
        self.local = LocalState(self.background, self.server)
        self.study = StudyState(scene, self.parameters, tag_reader)
        self.review = ReviewState(scene, self.parameters, self.study, self.background)
        self.run = RunState(self.background, self.server, self.study, self.review)
        self.versions = VersionsState(
            self.background, Spool(settings.folder / "unsent"), self.server, self.study, self.review
        )
        self.server_section = ServerSection(self.server, self.local, self.settings)
        self.study_section = StudySection(self.study, lambda: self.parameters().get("register"))
        self.ai_section = AISection(self.parameters, self.server, self.study, self.run, self.review, self.settings)
        self.review_section = ReviewSection(scene, self.parameters, self.study, self.review)
        self.save_section = SaveSection(
            self.parameters,
            self.server,
            self.review,
            self.versions,
            self.settings,
            lambda: self.server_section.address,
        )
        for section in self.sections:
            section.set_scene(scene)
            layout.addWidget(section.widget)
        layout.addStretch(1)
        self._settle = single_shot(_SETTLE_MS, self._nodes_settled)
        self._stop_observing: Callable[[], None] = lambda: None
        self._refresh_soon = single_shot(_SETTLE_MS, self._refresh)
        self._watch = SceneWatch(scene, self._scene_closing, self._scene_replaced, self._settle.start)
        self.server.changed.subscribe(self._server_changed)
        self.study.changed.subscribe(self._study_changed)
        self._was_connected = False
        self._listed_for: list[Any] = []
        self._scene_replaced()

    @property
    def sections(self) -> tuple[Any, ...]:
        """From top to bottom."""
        return (self.server_section, self.study_section, self.ai_section, self.review_section, self.save_section)

    @property
    def is_open(self) -> bool:
        """Whether the reader has it in front."""
        return self._is_open

    def parameters(self) -> Parameters:
        """Of the present scene."""
        return Parameters(self._scene)

    def enter(self) -> None:
        """The reader opened the panel."""
        self._is_open = True
        self.review_section.enter()
        self.server_section.connect_quietly()
        self.versions.count_waiting()
        self._nodes_settled()

    def exit(self) -> None:
        """The reader went to another module; a run goes on."""
        self._is_open = False
        self.review_section.exit()

    def close(self) -> None:
        """Slicer quits, or the module is loaded anew: nothing of this panel stays behind."""
        if self._is_open:
            self.exit()
        self._watch.stop()
        self._stop_observing()
        self._settle.stop()
        self._refresh_soon.stop()
        self.review.stop()
        self.review_section.close()
        self.run.cancel()
        self.local.close()
        self.background.close()
        for section in self.sections:
            # Slicer only hides what a module leaves behind when it is loaded anew
            section.widget.setMRMLScene(None)
            section.widget.setParent(None)
            section.widget.deleteLater()

    def _nodes_settled(self) -> None:
        """Volumes came or went: an empty study is filled, a filled one is left as the reader has it."""
        if self._is_open and self.study.is_empty():
            self.study.fill()
        self._refresh()

    def _refresh(self) -> None:
        """Show the parameters as they are now, whoever changed them."""
        self.study.changed.publish()
        self.review.refresh()

    def _scene_closing(self) -> None:
        self.run.abandon(_("The scene was closed, so the run was stopped."))
        self.versions.keep_draft(self.settings.folder / "drafts")
        self.review.stop()

    def _scene_replaced(self) -> None:
        # another panel may change them as well
        self._stop_observing()
        self._stop_observing = self.parameters().observe(self._refresh_soon.start)
        self.study.forget_reasons()
        self.review.find_places()
        self._listed_for = []  # so that the versions are asked for once, whatever is in the slots now
        self._refresh()

    def _server_changed(self) -> None:
        is_connected = self.server.connection is not None
        if is_connected and not self._was_connected:
            self.versions.send()
            self.versions.refresh()
        self._was_connected = is_connected

    def _study_changed(self) -> None:
        """Another study has other versions."""
        volumes = self.study.volume_ids()
        if volumes != self._listed_for:
            self._listed_for = volumes
            self.versions.refresh()

    def _fault(self, error: ExplainedError) -> None:
        slicer.util.errorDisplay(f"{error.reason}\n\n{error.hint}", windowTitle="MahtAI")
