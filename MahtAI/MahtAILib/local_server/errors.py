"""What can go wrong with a server on this computer, told apart so that each has its own words and its own remedy."""

from __future__ import annotations

from typing import ClassVar

from MahtAILib.errors import ExplainedError


class LocalServerError(ExplainedError):
    """The server on this computer could not be installed or started.

    Attributes:
        kind: slug that tells the cause apart for programs.
    """

    kind: ClassVar[str] = "local-server"


class SourceMissingError(LocalServerError):
    """The server's source did not come with this copy of the extension."""

    kind = "source-missing"


class InstallFailedError(LocalServerError):
    """The installation stopped for a reason that has no class of its own."""

    kind = "install-failed"


class NoInternetError(InstallFailedError):
    """The libraries could not be fetched."""

    kind = "no-internet"


class DiskFullError(InstallFailedError):
    """There is not enough room for the installation."""

    kind = "disk-full"


class NotWritableError(InstallFailedError):
    """The folder of the installation cannot be written."""

    kind = "not-writable"


class NoPipError(InstallFailedError):
    """The Python that shall run the server is not there or has no pip."""

    kind = "no-pip"


class AlreadyInstallingError(InstallFailedError):
    """Another Slicer window is installing into the same folder."""

    kind = "already-installing"


class NotInstalledError(LocalServerError):
    """There is nothing to start yet."""

    kind = "not-installed"


class DamagedInstallationError(LocalServerError):
    """Files of the installation are missing."""

    kind = "damaged-installation"


class ServerDidNotStartError(LocalServerError):
    """The server's process ended or did not answer; the log tells more."""

    kind = "did-not-start"
