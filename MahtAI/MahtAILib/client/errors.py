"""What can go wrong on the way to a server, told apart so that each has its own words and its own remedy."""

from __future__ import annotations

from typing import ClassVar

from MahtAILib.errors import ExplainedError


class ClientError(ExplainedError):
    """A request to a MahtAI server did not do what was asked.

    Attributes:
        kind: slug that tells the cause apart for programs.
        temporary: the same request may succeed later without anybody changing it, so it is worth keeping.
    """

    kind: ClassVar[str] = "client"
    temporary: ClassVar[bool] = False


class BadAddressError(ClientError):
    """The server address cannot be read as one."""

    kind = "bad-address"


class RefusedError(ClientError):
    """The computer answers, but nothing listens at that port."""

    kind = "refused"
    temporary = True


class UnknownHostError(ClientError):
    """No computer of that name is known."""

    kind = "unknown-host"
    temporary = True


class UnreachableError(ClientError):
    """There is no way through the network to that computer."""

    kind = "unreachable"
    temporary = True


class TimedOutError(ClientError):
    """The server did not answer in time."""

    kind = "timed-out"
    temporary = True


class ConnectionLostError(ClientError):
    """The connection broke in the middle of a request or an answer."""

    kind = "connection-lost"
    temporary = True


class CertificateError(ClientError):
    """The encrypted connection could not be trusted or set up."""

    kind = "certificate"
    temporary = True


class WrongTokenError(ClientError):
    """The server does not accept the access token, or none was sent."""

    kind = "wrong-token"
    temporary = True


class ForbiddenError(ClientError):
    """The token is known but does not allow this."""

    kind = "forbidden"
    temporary = True


class NotMahtAIError(ClientError):
    """Something answers at that address, but it is no MahtAI server."""

    kind = "not-mahtai"
    temporary = True


class ServerTooOldError(ClientError):
    """The server speaks an older version of the API than this client."""

    kind = "server-too-old"
    temporary = True


class ServerTooNewError(ClientError):
    """The server speaks a newer version of the API than this client."""

    kind = "server-too-new"
    temporary = True


class BusyError(ClientError):
    """The server is there but takes no more work at the moment.

    Attributes:
        retry_after_s: when the server wants to be asked again, or None if it did not say.
    """

    kind = "busy"
    temporary = True

    def __init__(self, reason: str, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(reason, hint)
        self.retry_after_s = retry_after_s


class ServerFaultError(ClientError):
    """The server failed at something that it should have been able to do (HTTP 5xx)."""

    kind = "server-fault"
    temporary = True


class RequestRefusedError(ClientError):
    """The server understood the request and refuses it for good; reason and hint are the server's own.

    Attributes:
        status: HTTP status, 400 to 499.
        problem: the server's slug for the cause, such as ``volume-missing``.
    """

    kind = "request-refused"

    def __init__(self, reason: str, hint: str = "", status: int = 400, problem: str = "") -> None:
        super().__init__(reason, hint)
        self.status = status
        self.problem = problem


class JobFailedError(ClientError):
    """The server ran the job and it did not succeed; reason and hint are the server's own.

    Attributes:
        problem: the server's slug for the cause.
    """

    kind = "job-failed"

    def __init__(self, reason: str, hint: str = "", problem: str = "") -> None:
        super().__init__(reason, hint)
        self.problem = problem


class DamagedTransferError(ClientError):
    """What arrived is not what was sent: its size or its hash differs."""

    kind = "damaged-transfer"
    temporary = True


class CancelledError(ClientError):
    """The caller asked to stop."""

    kind = "cancelled"
    temporary = True

    def __init__(self, reason: str = "Cancelled.", hint: str = "") -> None:
        super().__init__(reason, hint)


class SpoolError(ClientError):
    """The folder for unsent work on this computer could not be read or written."""

    kind = "spool"
