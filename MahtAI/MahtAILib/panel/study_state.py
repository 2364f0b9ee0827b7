"""The study: which volume is in which slot, whether they fit together, and what is sent of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.study import Identity, StudyVolume
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.topics import Topic
from MahtAILib.scene import views
from MahtAILib.scene.alignment import line_up, take_back
from MahtAILib.scene.geometry import REFERENCE_ORDER, StudyCheck, check
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.study import assign_study
from MahtAILib.scene.volumes import VolumeOut, geometry_of_volume, volume_out
from MahtAILib.sequences.assignment import SHORT_NAMES, SLOTS


@dataclass(frozen=True)
class Sent:
    """What was taken for a run.

    Attributes:
        volumes: slot → voxels and where they lie; shared with the scene.
        taken: slot → the same, with what is needed to see later changes.
    """

    volumes: Mapping[str, StudyVolume]
    taken: Mapping[str, VolumeOut]

    @property
    def key(self) -> object:
        """The same for the same volumes in the same state."""
        return [(slot, out.key) for slot, out in self.taken.items()]

    def changed_since(self) -> list[str]:
        """A sentence for each volume that was changed or deleted meanwhile."""
        sentences = []
        for slot, volume in self.taken.items():
            if volume.is_gone():
                text = _("{slot} was deleted meanwhile; the result belongs to it as it was.")
            elif volume.has_changed():
                text = _("{slot} was changed meanwhile; the result belongs to it as it was when Run was pressed.")
            else:
                continue
            sentences.append(text.format(slot=SHORT_NAMES[slot]))
        return sentences


class StudyState:
    """The slots; the chosen volumes lie in the scene's parameters.

    Attributes:
        reasons: slot → confidence 0..1 and why, for slots that were filled by ``fill``.
        empty: slot → why ``fill`` left it empty.
        message: what the reader should know of the last change.
    """

    def __init__(self, scene: Any, parameters: Callable[[], Parameters], tag_reader: Callable[[str, str], str]) -> None:
        self.changed = Topic()
        self.reasons: dict[str, tuple[float, str]] = {}
        self.empty: dict[str, str] = {}
        self.message = ""
        self._scene = scene
        self._parameters = parameters
        self._tag_reader = tag_reader
        self._identities: dict[tuple[object, ...], Identity] = {}
        # a view never shows another volume than the one in its slot
        self.changed.subscribe(self.show)

    def volume(self, slot: str) -> Any:
        """The slot's volume node, or None."""
        return self._parameters().volume(slot)

    def volume_ids(self) -> list[str]:
        """Of the slots in their order; empty for an empty slot."""
        return [volume.GetID() if (volume := self.volume(slot)) is not None else "" for slot in SLOTS]

    def is_empty(self) -> bool:
        """Whether no slot is filled."""
        return all(self.volume(slot) is None for slot in SLOTS)

    def fill(self) -> None:
        """Find the sequences among the loaded volumes; slots that are not found with confidence stay empty."""
        found = assign_study(self._scene, self._tag_reader)
        self.reasons, self.empty = {}, dict(found.empty)
        for slot in SLOTS:
            chosen = found.slots.get(slot)
            self._parameters().set_volume(slot, None if chosen is None else self._scene.GetNodeByID(chosen.key))
            if chosen is not None:
                self.reasons[slot] = (chosen.confidence, chosen.reason)
        self.message = " ".join(found.notes)
        self.changed.publish()

    def forget_reasons(self) -> None:
        """Another scene: what was said of the slots is no longer true."""
        self.reasons, self.empty, self.message = {}, {}, ""

    def choose(self, slot: str, volume: Any) -> None:
        """Put a volume into a slot; one that is in another slot changes places with this one's."""
        if self.volume(slot) is volume:
            return
        self.message = ""
        before = self.volume(slot)
        for other in SLOTS:
            if other != slot and volume is not None and self.volume(other) is volume:
                self._parameters().set_volume(other, before)
                self.reasons.pop(other, None)
                self.message = _("{first} and {second} changed places.").format(
                    first=SHORT_NAMES[slot], second=SHORT_NAMES[other]
                )
        self._parameters().set_volume(slot, volume)
        self.reasons.pop(slot, None)
        self.empty.pop(slot, None)
        self.changed.publish()

    def swap(self, slot: str) -> None:
        """Exchange a slot's volume with that of the slot below."""
        other = SLOTS[SLOTS.index(slot) + 1]
        first, second = self.volume(slot), self.volume(other)
        self._parameters().set_volume(slot, second)
        self._parameters().set_volume(other, first)
        self.reasons = {key: value for key, value in self.reasons.items() if key not in (slot, other)}
        self.message = _("{first} and {second} changed places.").format(
            first=SHORT_NAMES[slot], second=SHORT_NAMES[other]
        )
        self.changed.publish()

    def check(self, register: str) -> StudyCheck:
        """Whether the study can be run, and what will be done to each volume."""
        return check({slot: volume for slot in SLOTS if (volume := self.volume(slot)) is not None}, register)

    def take(self, register: str) -> Sent:
        """The voxels of the study as they are now, for a run.

        Raises:
            ExplainedError: the study cannot be used, and why.
        """
        checked = self.check(register)
        if not checked.can_run:
            raise ExplainedError(" ".join(checked.reasons), _("Nothing was sent. Choose other volumes in the slots."))
        return self._taken()

    def take_reference(self) -> Sent:
        """The voxels of the reference alone as they are now, for a model that takes one volume.

        Raises:
            ExplainedError: no slot is filled, or the volume cannot be used.
        """
        slot = self._reference_slot()
        if slot is None:
            raise ExplainedError(_("No volume is chosen."), _("Choose the volume in the section Study."))
        return self._taken((slot,))

    def reference_name(self) -> str:
        """Of the reference's slot, for the reader; empty where no slot is filled."""
        return SHORT_NAMES.get(self._reference_slot() or "", "")

    def volumes(self) -> dict[str, StudyVolume]:
        """Slot → voxels and where they lie; shared with the scene.

        Raises:
            ExplainedError: a volume cannot be used.
        """
        return dict(self._taken().volumes)

    def know(self, sha256: Mapping[str, str], server: str) -> None:
        """The volumes in these slots, as they are now, are files that this server has: they need not be hashed."""
        for slot, one in sha256.items():
            self._identities[volume_out(self.volume(slot)).key] = Identity(one, {server})

    def _taken(self, slots: Sequence[str] = SLOTS) -> Sent:
        taken = {slot: volume_out(volume) for slot in slots if (volume := self.volume(slot)) is not None}
        # a volume that was hashed needs not be hashed again while it is as it was
        known = {out.key: self._identities.get(out.key, Identity()) for out in taken.values()}
        self._identities = {**self._identities, **known} if len(slots) < len(SLOTS) else known
        volumes = {slot: StudyVolume(out.array, out.ijk_to_ras, known[out.key], True) for slot, out in taken.items()}
        return Sent(volumes, taken)

    def reference(self) -> Any:
        """The volume node on whose grid the result lies, or None."""
        slot = self._reference_slot()
        return None if slot is None else self.volume(slot)

    def _reference_slot(self) -> str | None:
        return next((slot for slot in REFERENCE_ORDER if self.volume(slot) is not None), None)

    def reference_geometry(self) -> Geometry:
        """The grid of the result.

        Raises:
            ExplainedError: no slot is filled, or the volume cannot be used.
        """
        reference = self.reference()
        if reference is None:
            raise ExplainedError(
                _("No volume is chosen, so that it is not known on which grid to save."),
                _("Choose the volumes of the study in the section Study."),
            )
        return geometry_of_volume(reference)

    def line_up(self, registration: Mapping[str, Any]) -> list[str]:
        """Show the volumes as the server registered them, if the reader wants that; returns the slots that moved."""
        volumes = {slot: self.volume(slot) for slot in SLOTS}
        if self._parameters().get("line_up") == "1":
            return line_up(self._scene, volumes, registration)
        take_back([volume for volume in volumes.values() if volume is not None])
        return []

    def face_views(self) -> None:
        """Turn the four views to the plane in which the study was scanned."""
        reference = self.reference()
        if reference is not None:
            views.face(self._scene, reference)

    def show(self) -> None:
        """Put the volumes into the four views, if these are there."""
        if views.is_shown(self._scene):
            views.show_study(self._scene, {slot: self.volume(slot) for slot in SLOTS})
