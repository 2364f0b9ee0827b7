"""A case comes into the scene in place of the one before it, in short steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from MahtAILib.panel.case_opening import ReadyCase
from MahtAILib.panel.image_state import ImageState
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.study_state import StudyState
from MahtAILib.panel.task import BRAIN, Task
from MahtAILib.scene.case_volumes import (
    CaseRef,
    add_volume,
    case_of,
    remove_nodes,
    segmentations_on,
    sha256_of,
    volumes_of_cases,
)
from MahtAILib.scene.edits import is_as_saved
from MahtAILib.scene.parameters import Parameters
from MahtAILib.sequences.assignment import SHORT_NAMES, SLOTS

_CEPHALOGRAM = "Cephalogram"


class CasePlacing:
    """Puts cases into the scene, and says which one is there.

    Args:
        tasks: id → what the panel does with it.
        choose_task: gives the panel to a task.
    """

    def __init__(
        self,
        scene: Any,
        parameters: Callable[[], Parameters],
        study: StudyState,
        image: ImageState,
        review: ReviewState,
        tasks: Mapping[str, Task],
        choose_task: Callable[[str], None],
    ) -> None:
        self._scene = scene
        self._parameters = parameters
        self._study, self._image, self._review = study, image, review
        self._tasks = tasks
        self._choose_task = choose_task

    def case(self, task: Task) -> CaseRef | None:
        """The case that the chosen images of a task are, None where they are none or were changed for others."""
        parameters = self._parameters()
        if task.id == BRAIN:
            return case_of({slot: parameters.volume(slot) for slot in SLOTS})
        return case_of({"ceph": parameters.image})

    def steps(self, ready: ReadyCase, kept: Any = None) -> list[Callable[[], None]]:
        """What is to be done on the main thread to show a case, in pieces that are short enough for one turn each.

        Volumes and results of the case before leave the scene, edits that were not kept stay in it.

        Args:
            ready: used up by this.
            kept: node whose edits are kept elsewhere.
        """
        nodes: dict[str, Any] = {}
        adding = [partial(self._add, ready, slot, nodes) for slot in ready.volumes]
        return [partial(self._clear, kept), *adding, partial(self._choose, ready, nodes), partial(self._open, ready)]

    def _add(self, ready: ReadyCase, slot: str, nodes: dict[str, Any]) -> None:
        nodes[slot] = add_volume(self._scene, ready.volumes[slot], ready.ref, slot, SHORT_NAMES.get(slot, _CEPHALOGRAM))
        if ready.case.task == BRAIN:
            self._parameters().set_volume(slot, nodes[slot])

    def _choose(self, ready: ReadyCase, nodes: Mapping[str, Any]) -> None:
        """Give the volumes to the task; their hashes are known."""
        if ready.case.task == BRAIN:
            self._study.forget_reasons()
            self._study.know({slot: sha256_of(node) for slot, node in nodes.items()}, ready.ref.server)
        self._choose_task(ready.case.task)
        if ready.case.task != BRAIN:
            image = next(iter(nodes.values()))
            self._image.choose(image)
            self._image.know(sha256_of(image), ready.ref.server)

    def _open(self, ready: ReadyCase) -> None:
        if ready.label is not None:
            self._tasks[ready.case.task].open(*ready.label)
        self._study.changed.publish()

    def _clear(self, kept: Any) -> None:
        """Take the last case out of the scene."""
        parameters = self._parameters()
        volumes = volumes_of_cases(self._scene)
        shown = [node for node in (parameters.segmentation, parameters.landmarks) if node is not None]
        results = {node.GetID(): node for node in [*segmentations_on(self._scene, volumes), *shown]}.values()
        self._review.remove_preview()
        self._review.remove_mark()
        self._review.choose(None)
        parameters.landmarks = None
        for node in results:
            if node is not kept and not is_as_saved(node) and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(False)
        # before the volumes, to which they refer
        remove_nodes(self._scene, [node for node in results if node is kept or is_as_saved(node)])
        if parameters.confidence is not None:
            remove_nodes(self._scene, [parameters.confidence])
            parameters.confidence = None
        remove_nodes(self._scene, volumes)
        for slot in SLOTS:
            parameters.set_volume(slot, None)
        self._review.find_places()
        parameters.set("verdict", "")
        parameters.set("comment", "")
