"""A server that others can reach, without certificate or accounts, does not start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mahtai.security.exposure import Exposed, check_exposure, tell_if_nobody
from mahtai.security.local_ca import LocalCa
from mahtai.security.tls import CertificateError, Tls, certificate_files
from mahtai.settings import Settings
from server_process import ServerProcess


def settings_with(folder: Path, **variables: str) -> Settings:
    named = {f"MAHTAI_{name.upper()}": value for name, value in variables.items()}
    return Settings.from_environment({"MAHTAI_DATA_DIR": str(folder), "MAHTAI_CONFIG_DIR": str(folder), **named})


def checked(settings: Settings) -> None:
    files = certificate_files(settings)
    check_exposure(settings, None if files is None else Tls(files))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "mahtai.example"])
def test_others_only_with_a_certificate_and_accounts(tmp_path: Path, host: str) -> None:
    with pytest.raises(Exposed, match="certificate") as refused:
        checked(settings_with(tmp_path, host=host))
    assert "mahtai tls init" in refused.value.hint
    LocalCa(tmp_path / "tls").make(["localhost"], 100)
    checked(settings_with(tmp_path, host=host))
    with pytest.raises(Exposed, match="MAHTAI_ACCOUNTS") as refused:
        checked(settings_with(tmp_path, host=host, accounts="off"))
    assert "mahtai users add" in refused.value.hint


def test_behind_a_proxy_people_sign_in(tmp_path: Path) -> None:
    assert settings_with(tmp_path, behind_proxy="on").accounts
    checked(settings_with(tmp_path, behind_proxy="on"))
    with pytest.raises(Exposed, match="MAHTAI_BEHIND_PROXY is on"):
        checked(settings_with(tmp_path, behind_proxy="on", accounts="off"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_computer_needs_nothing(tmp_path: Path, host: str) -> None:
    checked(settings_with(tmp_path, host=host))


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="Only one"):
        checked(settings_with(tmp_path, tls_key="key.pem"))


def test_nobody_to_sign_in_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell_if_nobody(settings_with(tmp_path), lambda: False)
    tell_if_nobody(settings_with(tmp_path, accounts="on"), lambda: True)
    assert not caplog.records
    tell_if_nobody(settings_with(tmp_path, accounts="on"), lambda: False)
    assert "mahtai users add" in caplog.text


def test_the_real_server_refuses(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path, environment={"host": "0.0.0.0"})
    done = subprocess.run(
        [sys.executable, "-m", "mahtai.cli", "serve"],
        env=process.variables(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "mahtai tls init" in done.stderr
