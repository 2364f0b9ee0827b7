"""What a server is told at start: from ``MAHTAI_*`` variables, with defaults that suit one computer."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from mahtai.errors import MahtaiError

DEFAULT_PORT = 8391
LOG_LEVELS = ("debug", "info", "warning", "error")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DATABASES = ("sqlite:", "postgresql:", "postgres:", "postgresql+psycopg:")
ALONE = "local"
"""Name of a server that shares its tables with no other."""

SWITCH = ("on", "off")

_MIB = 1024**2


class SettingsError(MahtaiError):
    """A variable that the server cannot work with."""

    kind = "settings"
    title = "A setting is wrong"
    status = 500


@dataclass(frozen=True)
class Settings:
    """All that decides how a server runs.

    Attributes:
        host: address to listen on; only this computer by default.
        port: TCP port; 0 lets the system choose.
        data_dir: blobs, databases and the work folder.
        config_dir: holds the token.
        database_url: SQLAlchemy URL of the tables; SQLite in ``data_dir`` by default. On PostgreSQL several servers
            and workers may share it, and ``data_dir`` with it.
        server_name: of this server among those that share the tables; it keeps it over restarts.
        models_path: folders that hold one bundle a folder, the first one wins for a doubled id.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        threads: CPU threads of the engine; None leaves it to the engine.
        measure: whether an engine that is idle finds out how models run fastest on this machine.
        max_upload_bytes: largest volume, after decompression.
        min_free_bytes: disk space below which nothing new is accepted, so that what runs can be finished.
        max_waiting_jobs: accepted and unfinished inferences at most.
        engine_stall_s: seconds without a sign of life after which a running engine is given up.
        lease_s: seconds for which a case is somebody's, unless they go on.
        second_reader: whether somebody else than the author approves a label.
        log_level: one of ``LOG_LEVELS``.
        accounts: whether people sign in; without, whoever has the one token is let in, as suits one computer.
        totp_required: whether a code is wanted beside every password.
        session_idle_s: seconds without a request of its user after which a session ends.
        access_token_s: seconds that an access token of a session lasts before it has to be renewed.
        tls_certificate, tls_key: PEM files; the certificate may be followed by those that signed it.
        tls_oldest: oldest version of TLS that is spoken.
        key_file, key, key_command: where the master key for data at rest is from; at most one of them.
        audit: whether is recorded who did what.
        audit_retention: file that says for how many days entries are kept, instead of the one that came with it.
        requests_per_s: of one account or address, before it has to wait.
        jobs_per_user: accepted and unfinished inferences of one account at most.
        connections_per_address: open at once.
        names: further names under which the server answers, such as a reverse proxy's.
        behind_proxy: whether a reverse proxy on this computer tells where requests come from (X-Forwarded-For).
        oidc_issuer, oidc_client, oidc_secret_file, oidc_redirect: the hospital's own sign-in, and what it knows this
            server by; ``oidc_redirect`` is the address under which browsers reach this server.
        oidc_role_claim, oidc_roles: claim that holds the roles, and which of its values is which role here.
        oidc_ca_file: certificates to trust when talking to the issuer, instead of the system's.
        oidc_token_days: days after somebody's last sign-in at the hospital for which their tokens for programs work.
    """

    host: str
    port: int
    data_dir: Path
    config_dir: Path
    database_url: str
    models_path: tuple[Path, ...]
    server_name: str = ALONE
    device: str = "auto"
    threads: int | None = None
    measure: bool = True
    max_upload_bytes: int = 1024 * _MIB
    min_free_bytes: int = 64 * _MIB
    max_waiting_jobs: int = 256
    engine_stall_s: float = 1800.0
    lease_s: int = 600
    second_reader: bool = True
    log_level: str = "info"
    accounts: bool = False
    totp_required: bool = False
    session_idle_s: int = 900
    access_token_s: int = 300
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_oldest: str = "1.3"
    key_file: Path | None = None
    key: str | None = field(default=None, repr=False)
    key_command: str | None = None
    audit: bool = True
    audit_retention: Path | None = None
    requests_per_s: int = 200
    jobs_per_user: int = 64
    connections_per_address: int = 100
    names: tuple[str, ...] = ()
    behind_proxy: bool = False
    oidc_issuer: str | None = None
    oidc_client: str | None = None
    oidc_secret_file: Path | None = None
    oidc_redirect: str | None = None
    oidc_role_claim: str = "roles"
    oidc_roles: tuple[tuple[str, str], ...] = ()
    oidc_ca_file: Path | None = None
    oidc_token_days: int = 30

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read ``MAHTAI_*``; ``overrides`` (field names; None means not given) win over the variables.

        Raises:
            SettingsError: naming the variable and what it takes.
        """
        variables = _Variables(os.environ if environment is None else environment, overrides)
        data_dir = variables.path("data_dir", Path(platformdirs.user_data_dir("MahtAI", appauthor=False)))
        port = variables.number("port", DEFAULT_PORT, 0, 65535)
        database_url = variables.text("database_url", f"sqlite:///{(data_dir / 'mahtai.sqlite').as_posix()}")
        if not database_url.startswith(DATABASES):
            raise SettingsError(
                f"MAHTAI_DATABASE_URL begins with {database_url.split(':')[0][:20]!r}.",
                "It is the address of a PostgreSQL database, such as postgresql://user:password@host/mahtai.",
            )
        host = variables.text("host", "127.0.0.1")
        behind_proxy = variables.choice("behind_proxy", "off", SWITCH) == "on"
        is_alone = database_url.startswith("sqlite")
        return cls(
            host=host,
            port=port,
            data_dir=data_dir,
            config_dir=variables.path("config_dir", Path(platformdirs.user_config_dir("MahtAI", appauthor=False))),
            database_url=database_url,
            server_name=ALONE if is_alone else variables.name("server_name", f"{host_name()}-{port}"),
            models_path=variables.paths("models_path", (data_dir / "models", *shipped_models())),
            device=variables.text("device", "auto"),
            threads=variables.number("threads", 0, 0, 1024) or None,
            measure=variables.choice("measure", "on", SWITCH) == "on",
            max_upload_bytes=variables.number("max_upload_bytes", cls.max_upload_bytes, 1, 2**50),
            min_free_bytes=variables.number("min_free_bytes", cls.min_free_bytes, 0, 2**50),
            max_waiting_jobs=variables.number("max_waiting_jobs", cls.max_waiting_jobs, 1, 10_000),
            engine_stall_s=float(variables.number("engine_stall_s", int(cls.engine_stall_s), 1, 86_400)),
            lease_s=variables.number("lease_s", cls.lease_s, 1, 86_400),
            second_reader=variables.choice("second_reader", "on", SWITCH) == "on",
            log_level=variables.choice("log_level", "info", LOG_LEVELS),
            **_sign_in(variables, "off" if host in LOOPBACK and not behind_proxy else "on"),
            tls_certificate=variables.optional_path("tls_certificate"),
            tls_key=variables.optional_path("tls_key"),
            tls_oldest=variables.choice("tls_oldest", "1.3", ("1.2", "1.3")),
            key_file=variables.optional_path("key_file"),
            key=variables.optional("key"),
            key_command=variables.optional("key_command"),
            audit=variables.choice("audit", "on", SWITCH) == "on",
            audit_retention=variables.optional_path("audit_retention"),
            requests_per_s=variables.number("requests_per_s", cls.requests_per_s, 1, 1_000_000),
            jobs_per_user=variables.number("jobs_per_user", cls.jobs_per_user, 1, 10_000),
            connections_per_address=variables.number(
                "connections_per_address", cls.connections_per_address, 1, 1_000_000
            ),
            names=tuple(name.strip() for name in variables.text("names", "").split(",") if name.strip()),
            behind_proxy=behind_proxy,
        )

    @property
    def blobs_dir(self) -> Path:
        """Content-addressed files."""
        return self.data_dir / "blobs"

    @property
    def work_dir(self) -> Path:
        """One folder a running inference; emptied at start. It lies beside those of the other servers, if any."""
        return self.data_dir / "work" if self.is_sqlite else self.data_dir / "work" / self.server_name

    @property
    def lock_file(self) -> str:
        """What a server holds in ``data_dir`` while it runs."""
        return "server.lock" if self.is_sqlite else f"server-{self.server_name}.lock"

    @property
    def versions_dir(self) -> Path:
        """Versions of models that were trained here, and which of them serve."""
        return self.data_dir / "models"

    @property
    def trainings_dir(self) -> Path:
        """One folder a training."""
        return self.data_dir / "trainings"

    @property
    def runtimes_dir(self) -> Path:
        """What is fastest on this machine, as it was measured, and networks converted for it."""
        return self.data_dir / "runtimes"

    @property
    def machine(self) -> dict[str, Any]:
        """Fields of an ``InferenceRequest`` that are the same for all of them."""
        return {
            "device": self.device,
            "threads": self.threads,
            "cache_folder": str(self.runtimes_dir),
            "measure": self.measure,
        }

    @property
    def is_sqlite(self) -> bool:
        """Whether the tables lie in a file of this computer."""
        return self.database_url.startswith("sqlite")

    @property
    def secrets_dir(self) -> Path:
        """Keys that the server made for itself, beside the data that they belong to."""
        return self.data_dir / "secrets"

    @property
    def jobs_url(self) -> str:
        """Where a server alone keeps its durable workflows: a file beside the tables."""
        return f"sqlite:///{(self.data_dir / 'jobs.sqlite').as_posix()}"


def host_name() -> str:
    """This computer's name, as far as a server's name can hold it."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40].lstrip(".-") or "host"


def shipped_models() -> tuple[Path, ...]:
    """Folders of bundles that came with the program: those in the package, or in a checkout the repository's."""
    package = Path(__file__).resolve().parent
    candidates = [package / "shipped_models"]
    if (package.parent / "pyproject.toml").is_file():
        candidates.append(package.parents[1] / "models")
    return tuple(folder for folder in candidates if folder.is_dir())


def _sign_in(variables: _Variables, accounts: str) -> dict[str, Any]:
    """Settings of how people sign in; ``accounts`` is what holds where nothing is said of them."""
    return {
        "accounts": variables.choice("accounts", accounts, SWITCH) == "on",
        "totp_required": variables.choice("totp", "optional", ("optional", "required")) == "required",
        "session_idle_s": variables.number("session_idle_s", Settings.session_idle_s, 1, 86_400),
        "access_token_s": variables.number("access_token_s", Settings.access_token_s, 1, 3600),
        "oidc_issuer": variables.optional("oidc_issuer"),
        "oidc_client": variables.optional("oidc_client"),
        "oidc_secret_file": variables.optional_path("oidc_secret_file"),
        "oidc_redirect": variables.optional("oidc_redirect"),
        "oidc_role_claim": variables.text("oidc_role_claim", Settings.oidc_role_claim),
        "oidc_roles": variables.pairs("oidc_roles"),
        "oidc_ca_file": variables.optional_path("oidc_ca_file"),
        "oidc_token_days": variables.number("oidc_token_days", Settings.oidc_token_days, 1, 365),
    }


@dataclass(frozen=True)
class _Variables:
    environment: Mapping[str, str]
    overrides: Mapping[str, Any]

    def _given(self, name: str) -> Any:
        if self.overrides.get(name) is not None:
            return self.overrides[name]
        return self.environment.get(f"MAHTAI_{name.upper()}") or None

    def text(self, name: str, default: str) -> str:
        given = self._given(name)
        return default if given is None else str(given)

    def path(self, name: str, default: Path) -> Path:
        given = self._given(name)
        return (default if given is None else Path(given)).expanduser().absolute()

    def optional(self, name: str) -> str | None:
        given = self._given(name)
        return None if given is None else str(given)

    def optional_path(self, name: str) -> Path | None:
        given = self._given(name)
        return None if given is None else Path(given).expanduser().absolute()

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        """``theirs=ours,theirs=ours``."""
        pairs = [pair.partition("=") for pair in self.text(name, "").split(",") if pair.strip()]
        if any(not theirs.strip() or not ours.strip() for theirs, _, ours in pairs):
            raise SettingsError(
                f"MAHTAI_{name.upper()} is not understood.", "It looks like theirs=radiologist,others=annotator."
            )
        return tuple((theirs.strip(), ours.strip()) for theirs, _, ours in pairs)

    def paths(self, name: str, default: tuple[Path, ...]) -> tuple[Path, ...]:
        given = self._given(name)
        if given is None:
            return default
        parts = given.split(os.pathsep) if isinstance(given, str) else given
        return tuple(Path(part).expanduser().absolute() for part in parts if str(part))

    def name(self, name: str, default: str) -> str:
        value = self.text(name, default)
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", value) is None:
            raise SettingsError(
                f"MAHTAI_{name.upper()} is {value[:80]!r}.", "It takes up to 64 letters, digits, dots and hyphens."
            )
        return value

    def number(self, name: str, default: int, smallest: int, largest: int) -> int:
        given = self._given(name)
        if given is None:
            return default
        try:
            value = int(given)
        except (TypeError, ValueError):
            value = smallest - 1
        if not smallest <= value <= largest:
            raise SettingsError(
                f"MAHTAI_{name.upper()} is {given!r}.", f"It takes a whole number from {smallest} to {largest}."
            )
        return value

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default).lower()
        if value not in allowed:
            raise SettingsError(f"MAHTAI_{name.upper()} is {value!r}.", f"It takes one of: {', '.join(allowed)}.")
        return value
