"""The cephalogram: which image it is, how large its pixels are, and what is sent of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.study import CEPHALOGRAM, StudyVolume
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.topics import Topic
from MahtAILib.scene import image_view
from MahtAILib.scene.calibration import Calibration, by_ruler, calibration_of, found, note, ruler_ends, typed
from MahtAILib.scene.flat_images import Plane, active_volume, flat_image_out, flat_images, has_series, is_flat, plane_of
from MahtAILib.scene.parameters import Parameters
from MahtAILib.scene.placing import draw_ruler, is_placing, ruler, stop_placing
from MahtAILib.scene.volumes import VolumeOut


@dataclass(frozen=True)
class SentImage:
    """The image as it was taken for a run.

    Attributes:
        image: grey values, copied, and where they lie.
        taken: the same, with what is needed to see later changes.
        node_id: of the image.
    """

    image: StudyVolume
    taken: VolumeOut
    node_id: str

    @property
    def volumes(self) -> dict[str, StudyVolume]:
        """The image, by its channel."""
        return {CEPHALOGRAM: self.image}

    @property
    def key(self) -> object:
        """The same for the same image in the same state."""
        return self.taken.key

    def is_still(self, node: Any) -> bool:
        """Whether this is what would be taken of a node now."""
        return self.node_id == node.GetID() and not self.taken.is_gone() and not self.taken.has_changed()

    def changed_since(self) -> list[str]:
        """What the reader should know if the image was changed or deleted meanwhile."""
        if self.taken.is_gone():
            return [_("The image was deleted meanwhile; the landmarks belong to it as it was.")]
        if self.taken.has_changed():
            return [_("The image was changed meanwhile; the landmarks belong to it as it was when it was sent.")]
        return []


class ImageState:
    """The cephalogram; it lies in the scene's parameters, its calibration on its node.

    Attributes:
        message: what the reader should know of the last change.
    """

    def __init__(self, scene: Any, parameters: Callable[[], Parameters], tag_reader: Callable[[str, str], str]) -> None:
        self.changed = Topic()
        self.message = ""
        self._scene = scene
        self._parameters = parameters
        self._tag_reader = tag_reader
        self._sent: SentImage | None = None

    @property
    def node(self) -> Any:
        """The chosen image's volume node, or None."""
        return self._parameters().image

    def candidates(self) -> list[Any]:
        """All images of one slice."""
        return flat_images(self._scene)

    def is_alone(self) -> bool:
        """Whether nothing but single images is loaded."""
        return bool(self.candidates()) and not has_series(self._scene)

    def find(self) -> None:
        """Choose the image if there is only one; of several the reader chooses."""
        images = self.candidates()
        if self.node is not None or not images:
            self.message = self._others(images)
            self.changed.publish()
        elif len(images) == 1:
            self.choose(images[0])
        else:
            names = ", ".join(f"“{image.GetName()}”" for image in images)
            self.message = _("{count} images are loaded ({names}). Choose the cephalogram.").format(
                count=len(images), names=names
            )
            self.changed.publish()

    def choose(self, node: Any) -> None:
        """Work on this image."""
        self._parameters().image = node
        self.message = ""
        if node is not None and calibration_of(node) is None:
            plane = self.plane()
            if plane is not None:
                note(node, found(node, plane, self._tag_reader))
        self.message = self._others(self.candidates())
        self.changed.publish()

    def active(self) -> Any:
        """The image that Slicer shows by default, or None if that is no single image."""
        node = active_volume(self._scene)
        return node if is_flat(node) else None

    def plane(self) -> Plane | None:
        """Where the image's pixels lie; None where there is no image or it cannot be used."""
        try:
            return None if self.node is None else plane_of(self.node)
        except ExplainedError:
            return None

    def problem(self) -> ExplainedError | None:
        """Why the chosen image cannot be used."""
        try:
            if self.node is not None:
                plane_of(self.node)
        except ExplainedError as error:
            return error
        return None

    @property
    def calibration(self) -> Calibration:
        """What is known of the image's scale."""
        known = None if self.node is None else calibration_of(self.node)
        return known or Calibration(None, "")

    @property
    def mm_per_unit(self) -> float | None:
        """True millimetres a unit; None where the image is not calibrated."""
        return self.calibration.mm_per_unit

    def type_pixel(self, mm: float) -> None:
        """The reader typed the size of a pixel.

        Raises:
            ExplainedError: it is not believed, or there is no image.
        """
        self._calibrate(typed(mm, self._usable_plane()))

    def draw_ruler(self) -> None:
        """The reader's next two clicks are the ends of a known length.

        Raises:
            ExplainedError: there is no image.
        """
        self._usable_plane()
        draw_ruler(self._scene)
        self.changed.publish()

    def has_ruler(self) -> bool:
        """Whether both ends of the ruler are there."""
        plane = self.plane()
        return plane is not None and ruler_ends(ruler(self._scene), plane) is not None

    def is_drawing_ruler(self) -> bool:
        """Whether the next click sets an end of the ruler."""
        return is_placing(self._scene) and ruler(self._scene) is not None and not self.has_ruler()

    def use_ruler(self, length_mm: float) -> None:
        """The ruler that was drawn has this length; it is taken away after that.

        Raises:
            ExplainedError: it is not believed, or has no two ends.
        """
        line = ruler(self._scene)
        calibration = by_ruler(line, length_mm, self._usable_plane())
        stop_placing(self._scene)
        self._scene.RemoveNode(line)
        self._calibrate(calibration)

    def forget_calibration(self) -> None:
        """Angles and ratios only, whatever the file says."""
        if self.node is not None:
            self._calibrate(Calibration(None, _("The calibration was taken away by the reader.")))

    def adopt_calibration(self, mm_per_unit: float | None) -> None:
        """A saved version knows the scale of an image of which nothing is known."""
        if mm_per_unit is not None and self.node is not None and self.mm_per_unit is None:
            self._calibrate(Calibration(mm_per_unit, _("From a saved version.")))

    def take(self) -> SentImage:
        """The grey values of the image as it is now; they are taken out of the scene once, until it changes.

        Raises:
            ExplainedError: there is none, or it cannot be used.
        """
        if self.node is None:
            raise ExplainedError(
                _("No cephalogram is chosen."), _("Load one (PNG, JPEG, TIFF or DICOM) and choose it above.")
            )
        if self._sent is None or not self._sent.is_still(self.node):
            taken = flat_image_out(self.node)
            self._sent = SentImage(StudyVolume(taken.array, taken.ijk_to_ras), taken, self.node.GetID())
        return self._sent

    def know(self, sha256: str, server: str) -> None:
        """The image, as it is now, is a file that this server has: it needs not be hashed."""
        with suppress(ExplainedError):
            identity = self.take().image.identity
            identity.sha256 = sha256
            identity.servers.add(server)

    def volumes(self) -> dict[str, StudyVolume]:
        """The image as a case has it; empty without one.

        Raises:
            ExplainedError: it cannot be used.
        """
        return {} if self.node is None else {CEPHALOGRAM: self.take().image}

    def show(self) -> None:
        """Put the image into its view, upright, if the view is there."""
        image_view.show_image(self._scene, self.node)
        plane = self.plane()
        if plane is not None and not image_view.is_upright(self._scene, plane):
            image_view.turn_upright(self._scene, plane)

    def _calibrate(self, calibration: Calibration) -> None:
        note(self.node, calibration)
        self.changed.publish()

    def _usable_plane(self) -> Plane:
        if self.node is None:
            raise ExplainedError(_("No cephalogram is chosen."), _("Choose it first."))
        return plane_of(self.node)

    def _others(self, images: list[Any]) -> str:
        others = [image for image in images if image is not self.node]
        if self.node is None or not others:
            return ""
        return _("Another image is loaded: “{name}”. Choose it above if it is the one that you mean.").format(
            name=others[-1].GetName()
        )
