"""HTTP to another server that may be slow, half-open or talkative: bounded in time and size, and without redirects."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from typing import Any

from requests import PreparedRequest, RequestException, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

CONNECT_S, SILENCE_S, TOTAL_S = 5.0, 5.0, 10.0
"""How long connecting, a silence and a whole answer may take."""

MAX_ANSWER_BYTES = 1 << 20


def _hang_up(connection: socket.socket | None) -> None:
    if connection is not None:
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Mortal(HTTPConnection):
    """A connection that ends after ``TOTAL_S``, also where the other side sends a byte now and then."""

    _end: threading.Timer | None = None

    def connect(self) -> None:
        super().connect()
        self._end = threading.Timer(TOTAL_S, _hang_up, (self.sock,))
        self._end.daemon = True
        self._end.start()

    def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
        super().close()


class _MortalTls(_Mortal, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Mortal


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _MortalTls


class BoundedAdapter(HTTPAdapter):
    """Takes answers of a limited size within a limited time, and is sent nowhere else."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Open connections of our own kind."""
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, *args: Any, **more: Any) -> Any:
        """The same through a proxy."""
        proxies = super().proxy_manager_for(*args, **more)
        proxies.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return proxies

    def send(self, request: PreparedRequest, *args: Any, **more: Any) -> Response:
        """The whole answer, already read.

        Raises:
            RequestException: there is none, it is too long, or it sends us elsewhere.
        """
        more |= {"stream": True, "timeout": (CONNECT_S, SILENCE_S)}
        with closing(super().send(request, **more)) as response:
            if 300 <= response.status_code < 400:
                raise RequestException("sent elsewhere")
            try:
                body = response.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
            except (HTTPError, OSError) as error:
                raise RequestException(error.__class__.__name__) from error
            if len(body) > MAX_ANSWER_BYTES:
                raise RequestException("too much")
        response._content, response._content_consumed = body, True  # type: ignore[attr-defined]
        return response
