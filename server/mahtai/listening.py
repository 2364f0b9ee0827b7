"""How the server listens: TLS, and patience with clients that are slow, half gone or many."""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio import sslproto
from collections.abc import Callable
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from mahtai.api.headers import BARE_REFUSAL
from mahtai.doors import Doors
from mahtai.security.tls import Tls

HANDSHAKE_S = 10.0
HEAD_S = 10.0
"""From the connection, or the first byte of a further request, to the end of its head."""

STALL_S = 30.0
"""Without any progress of a body, or of an answer that the client should read."""

RATE_AFTER_S = 60.0
LEAST_RATE = 1024.0
"""Bytes a second of a body, on the average, after ``RATE_AFTER_S``."""

LOOK_EVERY_S = 1.0
GONE_AFTER_MS = 60_000
"""After so long without a sign from the other computer, what was sent to it counts as lost."""

ProtocolFactory = Callable[..., asyncio.BaseProtocol]


def protocol_factory(doors: Doors, tls: Tls | None) -> ProtocolFactory:
    """What uvicorn calls for each connection, instead of its own class."""

    def make(
        config: Config, server_state: Any, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> asyncio.BaseProtocol:
        loop = _loop or asyncio.get_running_loop()
        http = HttpProtocol(config, server_state, app_state, _loop=loop)
        if tls is None:
            http.doors = doors
            return http
        return TlsProtocol(loop, http, tls, doors)

    return make


class HttpProtocol(H11Protocol):
    """uvicorn's, with an end to every wait for the client. ``doors`` is set where no TLS lies below it."""

    doors: Doors | None = None
    wire: asyncio.Transport | None = None
    """The transport below TLS; it holds what TLS has handed over."""

    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        now = self.loop.time()
        self._head_since: float | None = now
        self._body_at = now
        self._body_waited_s = 0.0
        self._body_bytes = 0
        self._looked_at = now
        self._unsent = 0
        self._sent_at = now
        self._paused_since: tuple[float, int] | None = None
        if self.doors is not None:
            keep_alive(transport)
            if not self.doors.enter(address_of(transport), self):
                transport.abort()
                return
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any longer."""
        if self._watch is not None:
            self._watch.cancel()
        if self.doors is not None:
            self.doors.leave(address_of(self.transport), self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and note whether a head or a body is awaited now."""
        now = self.loop.time()
        if self.conn.their_state is h11.SEND_BODY:
            self._body_at = now
            self._body_bytes += len(data)
        was_body = self.conn.their_state is h11.SEND_BODY
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._head_since = self._head_since or now
        else:
            self._head_since = None
        if self.conn.their_state is h11.SEND_BODY and not was_body:
            self._body_at, self._body_waited_s, self._body_bytes = now, 0.0, len(data)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, with the headers of every answer."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # an answer is under way already
            return
        self.transport.write(BARE_REFUSAL)
        self.transport.close()

    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete)

    def cut(self) -> None:
        """Close at once; what the client had begun to send is thrown away."""
        self.transport.abort()

    def _look_again(self) -> None:
        self._watch = self.loop.call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if self._is_overdue(now):
            self.cut()
            return
        self._looked_at = now
        self._look_again()

    def _is_overdue(self, now: float) -> bool:
        late_head = self._head_since is not None and now - self._head_since > HEAD_S
        return late_head or self._body_is_late(now) or self._answer_is_stuck(now)

    def _body_is_late(self, now: float) -> bool:
        if self.conn.their_state is not h11.SEND_BODY:
            return False
        if self.flow.read_paused:  # it is the server that does not read
            self._body_at = now
            return False
        self._body_waited_s += now - self._looked_at
        if now - self._body_at > STALL_S:
            return True
        return self._body_waited_s > RATE_AFTER_S and self._body_bytes < LEAST_RATE * self._body_waited_s

    def _answer_is_stuck(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if self.wire is not None:
            unsent += self.wire.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent:
            self._sent_at = now
        self._unsent = unsent
        if not self.flow.write_paused:
            self._paused_since = None
        elif self._paused_since is None:
            self._paused_since = (now, unsent)
        else:  # nothing is added meanwhile: what became less was sent
            since, unsent_then = self._paused_since
            waited = now - since
            if waited > RATE_AFTER_S and unsent_then - unsent < LEAST_RATE / 2 * waited:
                return True
        return now - self._sent_at > STALL_S


class TlsProtocol(sslproto.SSLProtocol):
    """asyncio's, with an end to handshakes; a connection counts from its first byte."""

    def __init__(self, loop: asyncio.AbstractEventLoop, http: HttpProtocol, tls: Tls, doors: Doors) -> None:
        limits: dict[str, float] = {"ssl_handshake_timeout": HANDSHAKE_S}
        if sys.version_info >= (3, 11):
            limits["ssl_shutdown_timeout"] = HANDSHAKE_S
        super().__init__(loop, http, tls.context(), None, server_side=True, **limits)  # type: ignore[arg-type]
        self._http = http
        self._doors = doors
        self._wire: asyncio.Transport | None = None
        self._address = ""

    def connection_made(self, transport: Any) -> None:
        """Begin the handshake, if there is room."""
        self._wire = self._http.wire = transport
        self._address = address_of(transport)
        keep_alive(transport)
        super().connection_made(transport)
        if not self._doors.enter(self._address, self):
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It counts no more."""
        self._doors.leave(self._address, self)
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Whether it is in its handshake, or no request is under way."""
        return self._http.transport is None or self._http.is_idle()

    def cut(self) -> None:
        """Close at once."""
        if self._wire is not None:
            self._wire.abort()


def address_of(transport: asyncio.BaseTransport) -> str:
    """Where a connection comes from; empty for one that has gone already."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Let the system notice that the other computer has gone."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_MS)
