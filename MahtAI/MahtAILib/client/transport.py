"""Sockets to one server: who may be trusted at the other end, and how many are kept open."""

from __future__ import annotations

import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from MahtAILib.client.errors import CertificateError

_POOL = 10


def open_session(url: str, is_local: bool, ca_file: str | None) -> requests.Session:
    """A session with a server; its certificate is always verified.

    Args:
        url: cleaned address.
        ca_file: the only authority that is trusted; None for those of the system and of requests.

    Raises:
        CertificateError: there is no certificate in that file.
    """
    session = requests.Session()
    # a proxy from the environment would swallow requests to this very computer
    session.trust_env = not is_local
    if url.startswith("https://"):
        session.mount("https://", _Verifying(ca_file))
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=_POOL))
    return session


class _Verifying(HTTPAdapter):
    """Trusts what the system trusts as well, not only the list that came with requests; or one authority alone."""

    def __init__(self, ca_file: str | None) -> None:
        # without a file the authorities of the system are taken, such as those that IT installed
        try:
            self._context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise CertificateError(
                f"The certificate that you confirmed for this server cannot be read ({error}). Nothing was sent.",
                "Press “Forget its certificate”, connect again and compare the fingerprint once more.",
            ) from error
        super().__init__(pool_connections=1, pool_maxsize=_POOL)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> Any:
        """Called by requests."""
        return super().init_poolmanager(*arguments, ssl_context=self._context, **options)

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        """Called by requests."""
        return super().proxy_manager_for(*arguments, ssl_context=self._context, **options)
