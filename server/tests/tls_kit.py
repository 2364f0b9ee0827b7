"""A server that shows a certificate."""

from __future__ import annotations

import ssl
import subprocess
import sys
from dataclasses import dataclass

from mahtai.security.tls import own_files
from server_process import ServerProcess


def mahtai(process: ServerProcess, *arguments: str) -> str:
    """Run the command ``mahtai`` on the server's own folders; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "mahtai.cli", *arguments],
        env=process.variables(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class TlsServerProcess(ServerProcess):
    """Like ``ServerProcess``, over TLS with a certificate of ``mahtai tls init``."""

    def make_certificate(self, *more: str) -> TlsServerProcess:
        """Let the command make it, and set it."""
        mahtai(self, "tls", "init", *more)
        files = own_files(self.root / "config")
        self.environment = {
            **self.environment,
            "tls_certificate": str(files.certificate),
            "tls_key": str(files.key),
        }
        return self

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def trust(self) -> ssl.SSLContext:
        """Of a client that trusts the server's authority and nothing else."""
        return ssl.create_default_context(cafile=str(self.root / "config" / "tls" / "ca.pem"))
