"""Why a server cannot listen at its address, in words: each cause has a remedy of its own."""

from __future__ import annotations

import errno
import socket

from mahtai.errors import MahtaiError

_NO_SUCH = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL, errno.ENODEV}

_CHOOSE = "Set MAHTAI_HOST or --host to a name or address of this computer, without brackets; 0.0.0.0 is all of them."


class CannotListen(MahtaiError):
    """The server's address is taken, or none of this computer's."""

    kind = "port-in-use"
    title = "The server cannot listen"
    status = 500


def cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> CannotListen:
    """The error that tells why.

    Args:
        error: what the system said when the port was to be taken.
    """
    where = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
    said = (error.strerror if isinstance(error, OSError) else "") or "it is no host name"
    hint = (
        "Another program, perhaps another MahtAI server, has the port. Stop it, or choose another port with "
        "MAHTAI_PORT or --port."
    )
    if isinstance(error, socket.gaierror | UnicodeError):
        hint = _CHOOSE
    elif error.errno in _NO_SUCH:
        hint = f"This computer has no such address. {_CHOOSE}"
    elif isinstance(error, PermissionError):
        hint = (
            "The system lets this user not take that port: those below 1024 are for the administrator. Choose another "
            "one with MAHTAI_PORT or --port."
        )
    return CannotListen(f"The address {where} cannot be used ({said}).", hint)
