"""A MONAI Label server beside ours, whose models can be run on one volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.errors import BadAddressError
from MahtAILib.client.monai_label import MonaiLabelServer
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.monai_label_task import MonaiLabelTask
from MahtAILib.panel.review_state import ReviewState
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.study_state import StudyState
from MahtAILib.panel.task import BRAIN
from MahtAILib.panel.topics import Topic
from MahtAILib.scene.parameters import Parameters

_ADDRESS = "MonaiLabelAddress"

Models = tuple[dict[str, Any], ...]


class MonaiLabelState:
    """Which MONAI Label server, how that stands, and its models, which the panel lists beside those of our server.

    A path in its address may be a secret: it is kept like a token, never in the scene.

    Attributes:
        server: that answered, or None.
        error: why there is none, or None.
        task: what its models do.
    """

    def __init__(
        self,
        background: Background,
        settings: Settings,
        ours: ServerState,
        parameters: Callable[[], Parameters],
        study: StudyState,
        review: ReviewState,
    ) -> None:
        self.changed = Topic()
        self.server: MonaiLabelServer | None = None
        self.error: ExplainedError | None = None
        self.task = MonaiLabelTask(parameters, study, review, lambda: self._models)
        self._models: Models = ()
        self._background = background
        self._settings = settings
        self._ours = ours
        self._errand: Errand[Models] | None = None

    @property
    def is_asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._errand is not None

    @property
    def address(self) -> str:
        """The server that was used last, without a secret; empty for none."""
        return self._settings.text(_ADDRESS)

    @property
    def count(self) -> int:
        """How many models it offers."""
        return len(self._models)

    def server_of(self, model: str) -> MonaiLabelServer | None:
        """The server, if the model is one of its."""
        return self.server if any(one["id"] == model for one in self._models) else None

    def connect_quietly(self) -> None:
        """When the panel opens: ask the server that was used last, if any."""
        if self.address and self.server is None and not self.is_asking:
            self.connect(self.address)

    def connect(self, address: str) -> None:
        """Use the models of the server at this address; an empty one means none."""
        if self._errand is not None:
            self._errand.cancel()
            self._errand = None
        if not address.strip():
            self._settings.set_text(_ADDRESS, "")
            self._found(None, ())
            return
        try:
            server = MonaiLabelServer(address)
            if not server.path:
                server = MonaiLabelServer(server.url + self._settings.token(_key(server.url)))
        except BadAddressError as error:
            self._found(None, (), error)
            return

        def done(models: Models) -> None:
            if self._errand is errand:
                self._errand = None
                self._settings.set_text(_ADDRESS, server.url)
                self._settings.remember_token(_key(server.url), server.path)
                self._found(server, models)

        def failed(error: ExplainedError) -> None:
            if self._errand is errand:
                self._errand = None
                self._found(None, (), error)

        errand = self._background.run(lambda _errand: server.models(BRAIN), done, failed)
        self._errand = errand
        self.changed.publish()

    def _found(self, server: MonaiLabelServer | None, models: Models, error: ExplainedError | None = None) -> None:
        self.server, self._models, self.error = server, models, error
        self._ours.set_guests([] if server is None else [_listed(model, server.where) for model in models])
        self.changed.publish()


def _key(url: str) -> str:
    return f"monailabel {url}"


def _listed(model: dict[str, Any], where: str) -> dict[str, Any]:
    """A model as it is offered in the list of models."""
    use = _("Gets one volume only: T1c if it is chosen, else T1, FLAIR or T2. {description}")
    return {
        **model,
        "name": _("{name} · MONAI Label, {where}").format(name=model["name"], where=where),
        "intended_use": use.format(description=model["description"]).strip(),
    }
