"""What a server says about itself before anybody shows who they are."""

from __future__ import annotations

from dataclasses import dataclass

from MahtAILib.client.diagnosis import not_mahtai
from MahtAILib.client.errors import ServerTooNewError, ServerTooOldError

API_VERSION = 1
"""The version of the server's API that this client speaks."""


@dataclass(frozen=True)
class ServerInfo:
    """A server's version and the version of its API.

    Attributes:
        sign_in: ways to be let in: ``token``, ``password``, ``hospital``.
    """

    version: str
    api: int
    sign_in: tuple[str, ...] = ("token",)

    @property
    def has_accounts(self) -> bool:
        """Whether people sign in there."""
        return "password" in self.sign_in or "hospital" in self.sign_in


def read_server_info(document: object, url: str) -> ServerInfo:
    """From the answer of ``/healthz``.

    Raises:
        NotMahtAIError, ServerTooOldError, ServerTooNewError: it is no MahtAI server, or not of this API version.
    """
    if (
        not isinstance(document, dict)
        or document.get("service") != "mahtai"
        or not isinstance(document.get("api"), int)
    ):
        raise not_mahtai(url, "it does not say so at /healthz")
    ways = document.get("sign_in")
    known = tuple(map(str, ways)) if isinstance(ways, list) and ways else ("token",)
    info = ServerInfo(str(document.get("version", "")), document["api"], known)
    if info.api < API_VERSION:
        raise ServerTooOldError(
            f"The server is too old: MahtAI {info.version} speaks API {info.api}, this client needs {API_VERSION}.",
            "Ask the person who runs the server to update it. Your work on this computer is safe.",
        )
    if info.api > API_VERSION:
        raise ServerTooNewError(
            f"The server is newer than this client: MahtAI {info.version} speaks API {info.api}, not {API_VERSION}.",
            "Update MahtAI on this computer. Your work on this computer is safe.",
        )
    return info
