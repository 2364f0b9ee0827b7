"""Which computers may reach the server at all: others only with TLS and with accounts."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mahtai.errors import MahtaiError
from mahtai.security.tls import Tls
from mahtai.settings import LOOPBACK, Settings

_WHY = {False: "MAHTAI_HOST is {}", True: "MAHTAI_BEHIND_PROXY is on"}

_log = logging.getLogger(__name__)


class Exposed(MahtaiError):
    """The server would be open to others."""

    kind = "exposed"
    title = "The server would be open to other computers"
    status = 500


def check_exposure(settings: Settings, tls: Tls | None) -> None:
    """Let no server listen beyond this computer that sends in clear or knows nobody.

    A reverse proxy on the same computer needs no exception: it reaches the server at 127.0.0.1, with its certificate.

    Raises:
        Exposed: it would; the sentence says what is missing.
    """
    if settings.host in LOOPBACK and not settings.behind_proxy:
        return
    if tls is None and settings.host not in LOOPBACK:
        raise Exposed(
            f"MAHTAI_HOST is {settings.host}, so other computers can reach this server, but it has no certificate: "
            "images and passwords would travel in clear. It was not started.",
            "Make a certificate with mahtai tls init, or set MAHTAI_TLS_CERTIFICATE and MAHTAI_TLS_KEY. "
            "For this computer only, leave MAHTAI_HOST away.",
        )
    if not settings.accounts:
        raise Exposed(
            f"{_WHY[settings.host in LOOPBACK].format(settings.host)}, so other computers can reach this server, but "
            "MAHTAI_ACCOUNTS is off: "
            "whoever has the one token could do everything. It was not started.",
            "Set MAHTAI_ACCOUNTS=on and add people with mahtai users add NAME --role admin.",
        )


def tell_if_nobody(settings: Settings, has_accounts: Callable[[], bool]) -> None:
    """Say in the log how the first account is made, where people sign in and there is none."""
    if settings.accounts and settings.oidc_issuer is None and not has_accounts():
        _log.warning("there is no account yet, so nobody can sign in; add one: mahtai users add NAME --role admin")
