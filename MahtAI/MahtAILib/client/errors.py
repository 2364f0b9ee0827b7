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


class UnknownAuthorityError(CertificateError):
    """The server's certificate comes from an authority that this computer does not know."""

    kind = "unknown-authority"


class ChangedAuthorityError(CertificateError):
    """The server's certificate does not come from the authority that the reader confirmed for this server."""

    kind = "changed-authority"


class NotEncryptedError(ClientError):
    """A password would have gone through the network in clear."""

    kind = "not-encrypted"


class WrongTokenError(ClientError):
    """The server does not accept the access token, or none was sent."""

    kind = "wrong-token"
    temporary = True


class ForbiddenError(ClientError):
    """The token is known but does not allow this."""

    kind = "forbidden"
    temporary = True


class NotAllowedError(ForbiddenError):
    """The account's role does not allow this."""

    kind = "not-allowed"


class SignInError(ClientError):
    """Signing in did not work."""

    kind = "sign-in"


class WrongCredentialsError(SignInError):
    """The name or the password is wrong."""

    kind = "wrong-credentials"


class CodeWantedError(SignInError):
    """The password is right, and a code of the authenticator app is wanted besides."""

    kind = "code-wanted"


class WrongCodeError(SignInError):
    """The code is wrong, or was used before."""

    kind = "wrong-code"


class TooManyAttemptsError(SignInError):
    """Passwords or codes were tried too often.

    Attributes:
        retry_after_s: when the next attempt is looked at, or None if the server did not say.
    """

    kind = "too-many-attempts"

    def __init__(self, reason: str, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(reason, hint)
        self.retry_after_s = retry_after_s


class AccessTokenExpiredError(ClientError):
    """The session goes on with a new access token; whoever sends requests sees to that."""

    kind = "access-token-expired"
    temporary = True


class SessionEndedError(ClientError):
    """Signed out: idle for too long, or ended by somebody. What waits on this computer is kept."""

    kind = "session-ended"
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


class TooManyRequestsError(BusyError):
    """More requests than the server takes from one account; nothing was done, so any of them may be repeated."""

    kind = "too-many-requests"


class RecordError(BusyError):
    """The server cannot write its record of who did what, and therefore does nothing."""

    kind = "audit"


class TooManyJobsError(ClientError):
    """This account has as many jobs under way as it may have."""

    kind = "too-many-jobs"
    temporary = True


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
