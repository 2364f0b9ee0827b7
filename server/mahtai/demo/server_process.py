"""A server of its own for the demo: started as a process, waited for, stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mahtai.errors import MahtaiError
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import ClientError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class ServerDidNotStart(MahtaiError):
    """The server's process ended, or did not answer in time."""

    kind = "server-start"
    title = "The server did not start"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server(folder: Path) -> Iterator[Connection]:
    """A server on a free port of this computer whose data lie below ``folder``; yields a connection to it.

    Raises:
        ServerDidNotStart: with the place of its log.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    environment = {
        **os.environ,
        "MAHTAI_DATA_DIR": str(folder / "data"),
        "MAHTAI_CONFIG_DIR": str(folder / "config"),
    }
    log_path = folder / "server.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mahtai.cli", "serve", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            token = _wait_until_ready(process, port, folder / "config" / "token", log_path)
            with Connection(f"http://127.0.0.1:{port}", token) as connection:
                yield connection
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, token_file: Path, log_path: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        token = token_file.read_text("utf-8").strip() if token_file.exists() else ""
        if token:
            try:
                with Connection(f"http://127.0.0.1:{port}", token, retries=0) as connection:
                    connection.probe()
                    return token
            except ClientError:
                pass
        time.sleep(0.1)
    raise ServerDidNotStart(
        f"The server did not answer within {START_TIMEOUT_S:.0f} s."
        if process.poll() is None
        else f"The server stopped at once (exit status {process.returncode}).",
        f"Its messages are in {log_path}.",
    )
