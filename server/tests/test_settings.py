"""Settings from the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mahtai import settings
from mahtai.settings import Settings, SettingsError, shipped_models


def test_without_any_variable_the_server_keeps_to_this_computer() -> None:
    settings = Settings.from_environment({})
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8391, "auto")
    assert settings.is_sqlite and settings.data_dir != settings.config_dir
    assert settings.models_path == (settings.data_dir / "models", *shipped_models())


def test_variables_move_everything_into_one_folder(tmp_path: Path) -> None:
    settings = Settings.from_environment({"MAHTAI_DATA_DIR": str(tmp_path), "MAHTAI_PORT": "0", "MAHTAI_THREADS": "2"})
    assert settings.database_url == f"sqlite:///{(tmp_path / 'mahtai.sqlite').as_posix()}"
    assert settings.blobs_dir == tmp_path / "blobs" and settings.port == 0 and settings.threads == 2


def test_options_of_a_command_win_over_variables() -> None:
    settings = Settings.from_environment({"MAHTAI_PORT": "1000", "MAHTAI_HOST": "::1"}, port=2000, host=None)
    assert (settings.port, settings.host) == (2000, "::1")


def test_several_model_folders_are_searched_in_order(tmp_path: Path) -> None:
    listed = os.pathsep.join([str(tmp_path / "a"), "", str(tmp_path / "b")])
    assert Settings.from_environment({"MAHTAI_MODELS_PATH": listed}).models_path == (tmp_path / "a", tmp_path / "b")


def test_the_models_of_a_checkout_are_the_repositorys() -> None:
    assert shipped_models() == (Path(__file__).resolve().parents[2] / "models",)


def test_the_models_of_an_installed_package_lie_where_the_wheel_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = (Path(__file__).resolve().parents[1] / "hatch_build.py").read_text("utf-8")
    place = next(line.split('"')[3] for line in built.splitlines() if line.strip().startswith('"models"'))
    (tmp_path / "site-packages" / place).mkdir(parents=True)
    (tmp_path / "models").mkdir()  # of somebody else
    monkeypatch.setattr(settings, "__file__", str(tmp_path / "site-packages" / "mahtai" / "settings.py"))
    assert shipped_models() == (tmp_path / "site-packages" / place,)


def test_workflows_lie_beside_the_tables_or_in_the_same_postgresql() -> None:
    assert Settings.from_environment({"MAHTAI_DATA_DIR": "/d"}).jobs_url.endswith("/d/jobs.sqlite")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("PORT", "70000"), ("LOG_LEVEL", "loud"), ("MAX_UPLOAD_BYTES", "-1"), ("OIDC_TOKEN_DAYS", "0")],
)
def test_a_wrong_value_is_named_with_what_is_possible(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({f"MAHTAI_{name}": value})
    assert f"MAHTAI_{name}" in error.value.reason and value in error.value.reason and error.value.hint


def test_servers_that_share_a_database_have_names() -> None:
    shared = {"MAHTAI_DATABASE_URL": "postgresql://u@h/d", "MAHTAI_PORT": "9000", "MAHTAI_DATA_DIR": "/d"}
    first, second = (Settings.from_environment({**shared, "MAHTAI_SERVER_NAME": name}) for name in ("one", "two"))
    assert first.server_name == "one"
    assert first.work_dir != second.work_dir and first.lock_file != second.lock_file
    assert first.blobs_dir == second.blobs_dir
    assert Settings.from_environment(shared).server_name.endswith("-9000")
    alone = Settings.from_environment({"MAHTAI_SERVER_NAME": "one"})
    assert alone.server_name == "local", "a server alone finds its jobs again, whatever it is called"


@pytest.mark.parametrize(
    "given",
    [{"MAHTAI_SERVER_NAME": "../a"}, {"MAHTAI_SERVER_NAME": "x" * 65}, {"MAHTAI_DATABASE_URL": "mysql://h/d"}],
)
def test_a_name_or_a_database_that_cannot_be_used_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({"MAHTAI_DATABASE_URL": "postgresql://u@h/d", **given})
    assert error.value.hint
