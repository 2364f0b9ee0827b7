"""A MahtAI server on this computer: its installation into a folder of its own, and its process. No qt, no slicer.

Nothing here blocks for ever, and everything may be called from a worker thread. Errors are
``LocalServerError`` (or the client's ``CancelledError``), each with ``reason`` and ``hint``.

Usage::

    installation = Installation(installation_folder(), find_source())
    if not installation.state().can_start:
        installation.install(on_progress, cancelled)
    server = LocalServer(installation)
    running = server.start(cancelled)
    Connection(running.url, running.token)
    server.stop()
"""

from MahtAILib.local_server.errors import (
    AlreadyInstallingError,
    DamagedInstallationError,
    DiskFullError,
    InstallFailedError,
    LocalServerError,
    NoInternetError,
    NoPipError,
    NotInstalledError,
    NotWritableError,
    ServerDidNotStartError,
    SourceMissingError,
)
from MahtAILib.local_server.folders import installation_folder
from MahtAILib.local_server.installation import Installation
from MahtAILib.local_server.process import LocalServer
from MahtAILib.local_server.progress import InstallationStage, InstallationState, InstallProgress, InstallStage
from MahtAILib.local_server.server_state import ServerStage, ServerState
from MahtAILib.local_server.source import ServerSource, find_source

__all__ = [
    "AlreadyInstallingError",
    "DamagedInstallationError",
    "DiskFullError",
    "InstallFailedError",
    "InstallProgress",
    "InstallStage",
    "Installation",
    "InstallationStage",
    "InstallationState",
    "LocalServer",
    "LocalServerError",
    "NoInternetError",
    "NoPipError",
    "NotInstalledError",
    "NotWritableError",
    "ServerDidNotStartError",
    "ServerSource",
    "ServerStage",
    "ServerState",
    "SourceMissingError",
    "find_source",
    "installation_folder",
]
