"""Puts the server together and runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from importlib import import_module
from typing import cast

import uvicorn
from anyio import to_thread
from fastapi import Depends, FastAPI

from mahtai import __version__
from mahtai.api import openapi, problems
from mahtai.api.access_log import AccessLog
from mahtai.api.calls import Calls
from mahtai.api.gate import Gate, confirm
from mahtai.api.headers import StrictHeaders, names_of_server
from mahtai.api.recording import Recording
from mahtai.api.routers import ROUTERS
from mahtai.api.services import Services
from mahtai.binding import cannot_listen
from mahtai.cases.studies import Cases
from mahtai.data_folder import DataFolder
from mahtai.doors import MOST, Doors
from mahtai.errors import MahtaiError
from mahtai.listening import protocol_factory
from mahtai.opening import open_services
from mahtai.security.exposure import check_exposure, tell_if_nobody
from mahtai.security.tls import Tls, certificate_files
from mahtai.security.token import FILE_NAME
from mahtai.settings import Settings

SHUTDOWN_LIMIT_S = 3

WHO = "people sign in with their accounts"

_log = logging.getLogger("mahtai")


def create_app(
    services: Services | None = None, close: Callable[[], None] = lambda: None, tls: Tls | None = None
) -> FastAPI:
    """The application over opened services; without any it can still describe its API.

    Args:
        close: called when the application shuts down.
        tls: of the server that runs it; it answers to the names of its certificate.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        if app.state.recording is not None:
            app.state.recording.flush()
        await to_thread.run_sync(close)

    app = FastAPI(
        title="MahtAI",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go where the Host header says
        dependencies=[Depends(confirm)],
    )
    app.state.services = services
    app.state.recording = Recording(services.audit, services.settings.accounts) if services is not None else None
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(Gate, calls=Calls(ROUTERS))
    app.add_middleware(AccessLog)
    app.add_middleware(StrictHeaders, names=_names(services, tls))  # the one added last is the outermost
    return app


def serve(settings: Settings, announce: Callable[[str], None] | None = None) -> None:
    """Run the server until it is told to stop (Ctrl+C, SIGTERM).

    Args:
        announce: called with the address as soon as the server listens; by default it is logged.

    Raises:
        MahtaiError: the data folder, the port, the token or the database cannot be used.
    """
    os.umask(0o077)  # everything that the server writes is for its user only
    set_up_logging(settings.log_level)
    files = certificate_files(settings)
    tls = None if files is None else Tls(files, settings.tls_oldest)
    check_exposure(settings, tls)
    with DataFolder(settings.data_dir, settings.lock_file), _bind(settings) as listener:
        services, close = open_services(settings)
        tell_if_nobody(settings, services.people.accounts.any)

        def greet() -> None:
            url = _url(settings.host, listener.getsockname()[1], tls is not None)
            if announce is None:
                token = settings.config_dir / FILE_NAME
                _log.info(
                    "MahtAI %s at %s, %s", __version__, url, WHO if settings.accounts else f"its token is in {token}"
                )
            else:
                announce(url)
            services.jobs.warm_up()
            threading.Thread(target=_get_ready, args=(services.cases,), daemon=True).start()

        config = uvicorn.Config(
            create_app(services, close, tls),
            http=cast(
                "type[asyncio.Protocol]", protocol_factory(Doors(settings.connections_per_address, _most()), tls)
            ),
            proxy_headers=settings.behind_proxy,  # else a client could say that it is somebody else
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=SHUTDOWN_LIMIT_S,
        )
        _Server(config, greet).run(sockets=[listener])


def _get_ready(known: Cases) -> None:
    """What can be done while the server answers already."""
    import_module("mahtai.volumes.formats")  # the first upload need not wait for the DICOM library
    try:
        known.settle()
    except MahtaiError as error:
        _log.warning("the patients of older cases are not known yet: %s", error.kind)


class _Server(uvicorn.Server):
    """Calls ``listening`` once, right after the server has begun to listen."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()


def set_up_logging(level: str) -> None:
    """One line an event to standard error; libraries speak up only when something is wrong."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("mahtai").setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _names(services: Services | None, tls: Tls | None) -> Callable[[], frozenset[str]] | None:
    if services is None:
        return None
    own = names_of_server(services.settings)
    return lambda: own if tls is None else own | tls.names


def _most() -> int:
    """Connections at once: fewer than files that the process may open, of which the rest has to live too."""
    if sys.platform == "win32":
        return MOST
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if files == resource.RLIM_INFINITY else min(MOST, files // 2)


def _url(host: str, port: int, is_tls: bool) -> str:
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _bind(settings: Settings) -> socket.socket:
    """Take the port; connections are refused, not kept waiting, until the server listens."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with ExitStack() as undo:
        try:
            # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named; else 40 ms later
            listener = undo.enter_context(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
            if sys.platform != "win32":  # there it would let two servers share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((settings.host, settings.port))
        except (OSError, UnicodeError) as error:
            raise cannot_listen(settings.host, settings.port, error) from error
        undo.pop_all()
    return listener


def main() -> None:
    """Run the server with settings from the environment."""
    try:
        serve(Settings.from_environment())
    except MahtaiError as error:
        sys.exit(f"{error.title}: {error}")


if __name__ == "__main__":
    main()
