"""The whole panel: the state, the sections of its two tasks, and what the scene and Slicer tell them."""

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
from MahtAILib.panel.case_panel import CasePanel
from MahtAILib.panel.case_placing import CasePlacing
from MahtAILib.panel.ceph_panel import CephPanel
from MahtAILib.panel.correction_state import CorrectionState
from MahtAILib.panel.local_state import LocalState
from MahtAILib.panel.monai_label_state import MonaiLabelState
from MahtAILib.panel.review_section import ReviewSection
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.run_state import RunState
from MahtAILib.panel.save_section import SaveSection
from MahtAILib.panel.section import single_shot
from MahtAILib.panel.segmentation_task import SegmentationTask
from MahtAILib.panel.server_asking import ServerAsking
from MahtAILib.panel.server_section import ServerSection
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.sign_in_state import SignInState
from MahtAILib.panel.study_section import StudySection
from MahtAILib.panel.study_state import StudyState
from MahtAILib.panel.task import BRAIN, CEPHALOMETRY, MODEL_PARAMETERS, Task
from MahtAILib.panel.task_section import TaskSection
from MahtAILib.panel.upload_ahead import UploadAhead
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
        asking = ServerAsking(self.settings, lambda: read_token(config_folder()))
        self.server = ServerState(self.background, self.settings, asking)
        self.sign_in = SignInState(self.background, self.server, self.settings)
        self.local = LocalState(self.background, self.server)
        self.study = StudyState(scene, self.parameters, tag_reader)
        self.review = ReviewState(scene, self.parameters, self.study, self.background)
        self.correction = CorrectionState(self.background, self.server, self.review)
        self.segmentation = SegmentationTask(self.parameters, self.study, self.review)
        self.monai_label = MonaiLabelState(
            self.background, self.settings, self.server, self.parameters, self.study, self.review
        )
        self.run = RunState(self.background, self.server, self.task, self.monai_label)
        self._spool = Spool(settings.folder / "unsent")
        self.versions = VersionsState(self.background, self._spool, self.server, self.task)
        self.ceph = CephPanel(scene, self.parameters, tag_reader, self.versions, self.background, settings.folder)
        self.ahead = UploadAhead(self.background, self.server, self.run, self.task, self.model, self.settings)
        self.cases = self._case_panel()
        self.sign_in.before_leaving = self.cases.before_leaving
        self._make_sections()
        for section in self.sections:
            section.set_scene(scene)
            layout.addWidget(section.widget)
        layout.addStretch(1)
        self._settle = single_shot(_SETTLE_MS, self._nodes_settled)
        self._stop_observing: Callable[[], None] = lambda: None
        self._refresh_soon = single_shot(_SETTLE_MS, self._refresh)
        self._watch = SceneWatch(scene, self._scene_closing, self._scene_replaced, self._settle.start)
        self.server.changed.subscribe(self._server_changed)
        self.study.changed.subscribe(self._images_changed)
        self.ceph.image.changed.subscribe(self._images_changed)
        self._sent_over: Any = None
        self._listed_for: list[Any] = []
        self._shown_task = ""
        self._scene_replaced()

    def _make_sections(self) -> None:
        changes = (self.review.changed, self.ceph.landmarks.changed)
        self.server_section = ServerSection(self.server, self.local, self.settings, self.monai_label, self.sign_in)
        self.task_section = TaskSection(lambda: self.task().id, self.choose_task)
        self.study_section = StudySection(self.study, lambda: self.parameters().get("register"))
        self.ai_section = AISection(
            self.parameters,
            self.server,
            self.run,
            self.task,
            (*changes, self.study.changed, self.ceph.image.changed),
            self.study.changed.publish,
            self.settings,
            self.ahead,
        )
        self.review_section = ReviewSection(
            self._scene, self.parameters, self.study, self.review, self.correction, self.server
        )
        self.save_section = SaveSection(
            self.parameters,
            self.server,
            self.task,
            (*changes, self.review.edited, self.ceph.landmarks.edited),
            self.versions,
            self.settings,
            lambda: self.server_section.address,
        )
        self.cases.make_sections(self.save_section, self.settings)

    def _case_panel(self) -> CasePanel:
        tasks: dict[str, Task] = {BRAIN: self.segmentation, CEPHALOMETRY: self.ceph.task}
        placing = CasePlacing(
            self._scene, self.parameters, self.study, self.ceph.image, self.review, tasks, self.choose_task
        )
        return CasePanel(
            self._scene,
            self.background,
            self.server,
            self.settings,
            self._spool,
            self.versions,
            self.review,
            placing,
            tasks,
            self.task,
            lambda: self.server_section.address,
            self._show_case,
            lambda: self.ai_section.start(),
        )

    @property
    def sections(self) -> tuple[Any, ...]:
        """From top to bottom, of both tasks."""
        return (
            self.server_section,
            self.cases.section,
            self.task_section,
            self.study_section,
            self.ceph.image_section,
            self.ai_section,
            self.review_section,
            self.ceph.landmarks_section,
            self.ceph.measurements_section,
            self.save_section,
        )

    @property
    def is_open(self) -> bool:
        """Whether the reader has it in front."""
        return self._is_open

    def task(self) -> Task:
        """What the panel does now."""
        return self.ceph.task if self.parameters().get("task") == CEPHALOMETRY else self.segmentation

    def model(self) -> str:
        """Id of the model that the present task would run; empty where there is none."""
        task = self.task().id
        return self.server.model_for(task, self.parameters().get(MODEL_PARAMETERS[task]))

    def choose_task(self, task: str) -> None:
        """Do this from now on; what belongs to the other task stays in the scene."""
        self.parameters().set("task", task)
        self._show_task()

    def parameters(self) -> Parameters:
        """Of the present scene."""
        return Parameters(self._scene)

    def enter(self) -> None:
        """The reader opened the panel."""
        self._is_open = True
        self._in_front().enter()
        self.cases.enter()
        self.server_section.connect_quietly()
        self.versions.count_waiting()
        self._nodes_settled()

    def exit(self) -> None:
        """The reader went to another module; a run goes on."""
        self._is_open = False
        self._in_front().exit()
        self.cases.exit()

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
        self.ceph.close()
        self.cases.close()
        self.run.cancel()
        self.ahead.stop()
        self.local.close()
        self.sign_in.stop()
        self.server_section.sign_in.close()
        self.background.close()
        for section in self.sections:
            # Slicer only hides what a module leaves behind when it is loaded anew
            section.widget.setMRMLScene(None)
            section.widget.setParent(None)
            section.widget.deleteLater()

    def _show_case(self) -> None:
        """A case of the work list was opened; a cephalogram shows itself."""
        if self._is_open and self.task() is self.segmentation:
            self.review_section.show_views()

    def _in_front(self) -> Any:
        """The section of the present task that has keys."""
        return self.ceph.landmarks_section if self.task() is self.ceph.task else self.review_section

    def _show_task(self) -> None:
        """Show the sections of the present task and hide those of the other."""
        task = self.task()
        if task.id != self._shown_task:
            is_ceph = task is self.ceph.task
            for section in (self.study_section, self.review_section):
                section.widget.setVisible(not is_ceph)
            for section in self.ceph.sections:
                section.widget.setVisible(is_ceph)
            if self._is_open and self._shown_task:
                (self.review_section if is_ceph else self.ceph.landmarks_section).exit()
                self._in_front().enter()
            self._shown_task = task.id
            self.ceph.show(is_ceph)
            self.review.show_at_all(not is_ceph)
            self._listed_for = []
            self._images_changed()
        self.task_section.refresh()
        self.ai_section.refresh()
        self.save_section.refresh()

    def _nodes_settled(self) -> None:
        """Volumes came or went: an empty study is filled, a filled one is left as the reader has it."""
        if self._is_open:
            if self.ceph.look_for_new():
                self.task_section.reason = _("A single image was loaded: this is for cephalograms.")
                self.choose_task(CEPHALOMETRY)
            if self.study.is_empty() and not self.ceph.image.is_alone():
                self.study.fill()
            if self.study_came_first():
                self.task_section.reason = _("A study of a brain was loaded, and no cephalogram.")
                self.choose_task(BRAIN)
        self._refresh()

    def study_came_first(self) -> bool:
        """Whether the panel waits for a cephalogram, and a brain was loaded instead."""
        waits = self.task() is self.ceph.task and not self.ceph.image.candidates()
        return waits and not self.study.is_empty()

    def _refresh(self) -> None:
        """Show the parameters as they are now, whoever changed them."""
        self._show_task()
        self.study.changed.publish()
        self.review.refresh()
        self.ceph.refresh()

    def _scene_closing(self) -> None:
        self.run.abandon(_("The scene was closed, so the run was stopped."))
        self.correction.abandon()
        self.ahead.stop()
        self.cases.scene_closing((self.segmentation, self.ceph.task))
        self.review.stop()
        self.ceph.forget_scene()

    def _scene_replaced(self) -> None:
        # another panel may change them as well
        self._stop_observing()
        self._stop_observing = self.parameters().observe(self._refresh_soon.start)
        self.study.forget_reasons()
        self.review.find_places()
        self.ceph.forget_scene()
        self.task_section.reason = ""
        self._shown_task = ""
        self._listed_for = []  # so that the versions are asked for once, whatever is chosen now
        self._refresh()
        self.cases.scene_replaced()

    def _server_changed(self) -> None:
        if self.server.connection is not None and self.server.connection is not self._sent_over:
            self.versions.send()
            self.versions.refresh()
        self._sent_over = self.server.connection

    def _images_changed(self) -> None:
        """Other images have other versions."""
        self.ahead.look()
        volumes = self.task().volume_ids()
        if volumes != self._listed_for:
            self._listed_for = volumes
            self.versions.refresh()

    def _fault(self, error: ExplainedError) -> None:
        slicer.util.errorDisplay(f"{error.reason}\n\n{error.hint}", windowTitle="MahtAI")
