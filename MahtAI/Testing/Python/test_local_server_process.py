"""Starting, finding and stopping a server on this computer; real processes, started by the real bootstrap script."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_server_kit import LIBRARY, closed_port, put_in_place, small_source, wait_until

from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import CancelledError, ServerTooNewError
from MahtAILib.local_server import (
    DamagedInstallationError,
    Installation,
    LocalServer,
    NotInstalledError,
    ServerDidNotStartError,
    ServerStage,
    ServerState,
    find_source,
    installation_folder,
    process,
)
from MahtAILib.local_server.folders import config_folder

POSIX_ONLY = pytest.mark.skipif(os.name != "posix", reason="the stand-in for Slicer's launcher is a shell script")

START_AND_HANG = """
import sys, time
from pathlib import Path
from MahtAILib.local_server import Installation, LocalServer, ServerSource
folder, package, requirements, models, library = map(Path, sys.argv[1:6])
server = LocalServer(Installation(folder, ServerSource(package, requirements, models, library), *sys.argv[6:]))
print(server.start().url, flush=True)
time.sleep(600)
"""

Servers = Callable[..., LocalServer]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's running server is found, nobody's data are touched."""
    for name in [name for name in os.environ if name.startswith("MAHTAI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MAHTAI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MAHTAI_PORT", str(closed_port()))


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Makes servers that are stopped at the end; with the same name they share an installation."""
    made: list[LocalServer] = []

    def make(name: str = "one", python: str | None = None, **small: Any) -> LocalServer:
        installation = Installation(tmp_path / name, small_source(tmp_path / f"{name} source", **small), python)
        if not installation.state().can_start:
            put_in_place(installation, alpha="VERSION = 'private'")
        made.append(LocalServer(installation))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def launcher(tmp_path: Path) -> str:
    """Like PythonSlicer: a process that sets Python's variables and runs the real one as its child."""
    old = tmp_path / "slicer" / "site-packages"
    old.mkdir(parents=True)
    for name in ("alpha", "leftover"):
        (old / f"{name}.py").write_text("VERSION = 'of Slicer'\n")
    script = tmp_path / "PythonSlicer"
    script.write_text(f'#!/bin/sh\nexport PYTHONPATH="{old}:$PYTHONPATH"\n"{sys.executable}" "$@"\nexit $?\n')
    script.chmod(0o755)
    return str(script)


def told(state: ServerState) -> dict[str, Any]:
    """What the small server says of itself."""
    with Connection(state.url, state.token, retries=0) as connection:
        return dict(connection.json("GET", "/v1/models"))


def has_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def hanging_process(server: LocalServer, python: tuple[str, ...] = ()) -> tuple[subprocess.Popen[str], str]:
    """Another Slicer that has started the server, and the server's address."""
    source = server._installation.source
    places = [server._installation.folder, source.package, source.requirements, source.models, source.library]
    window = subprocess.Popen(
        [sys.executable, "-c", START_AND_HANG, *map(str, places), *python],
        env={**os.environ, "PYTHONPATH": str(LIBRARY.parent)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert window.stdout is not None
    return window, window.stdout.readline().strip()


def test_a_server_starts_answers_and_stops(servers: Servers) -> None:
    server = servers()
    assert server.state.stage is ServerStage.STOPPED
    state = server.start()
    assert state.stage is ServerStage.RUNNING and state.is_ours and state.version == "1.0"
    assert state.url.endswith(os.environ["MAHTAI_PORT"]) and state.url in state.why
    pid = told(state)["pid"]
    assert server.find() == state and server.start() == state
    server.stop()
    assert server.state.stage is ServerStage.STOPPED and has_gone(pid)
    assert server.find().stage is ServerStage.STOPPED
    assert server.start().stage is ServerStage.RUNNING


def test_the_token_is_not_shown_where_the_state_is_printed(servers: Servers) -> None:
    state = servers().start()
    assert state.token and state.token not in repr(state)


@POSIX_ONLY
def test_the_private_libraries_win_over_those_of_slicer(servers: Servers, launcher: str) -> None:
    code = (
        "import alpha, importlib.util\n"
        "MORE = {'alpha': alpha.VERSION, 'leftover': importlib.util.find_spec('leftover')}"
    )
    server = servers(python=launcher, code=code)
    answer = told(server.start())
    assert answer["alpha"] == "private" and answer["leftover"] is None
    app, packages = server._installation.current().app, server._installation.current().packages
    assert answer["path"][:2] == [str(app), str(packages)]
    assert not [entry for entry in answer["path"] if "site-packages" in entry]
    assert answer["python_path"] == os.pathsep.join([str(app), str(packages)])  # for the engine's process
    server.stop()
    assert has_gone(answer["pid"])


def test_variables_of_slicer_do_not_reach_the_server(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "ITK_AUTOLOAD_PATH"):
        monkeypatch.setenv(name, "/slicer")
    state = servers(code="MORE = {'seen': [n for n, v in os.environ.items() if v == '/slicer']}").start()
    assert told(state)["seen"] == []


@pytest.mark.parametrize("through_launcher", [False, pytest.param(True, marks=POSIX_ONLY)])
def test_the_server_ends_when_slicer_is_killed(servers: Servers, launcher: str, through_launcher: bool) -> None:
    server = servers()
    window, _ = hanging_process(server, (launcher,) if through_launcher else ())
    pid = told(server.find())["pid"]
    window.kill()
    window.wait()
    wait_until(lambda: has_gone(pid), "the server to follow Slicer")
    assert server.find().stage is not ServerStage.RUNNING


def test_a_second_window_uses_the_server_of_the_first_and_leaves_it_running(servers: Servers) -> None:
    first, second = servers(), servers()
    state = first.start()
    found = second.start()
    assert found.url == state.url and not found.is_ours and "another window" in found.why
    second.stop()
    assert told(first.find())["pid"]


def test_two_windows_that_start_at_the_same_time_share_one_server(servers: Servers) -> None:
    states: list[ServerState] = []
    windows = [servers() for _ in range(2)]
    threads = [threading.Thread(target=lambda window=window: states.append(window.start())) for window in windows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({told(state)["pid"] for state in states}) == 1
    assert sorted(state.is_ours for state in states) == [False, True]


def test_a_server_started_by_hand_is_used(servers: Servers) -> None:
    state = servers("by hand").start()
    found = servers("panel").start()
    assert found.url == state.url and not found.is_ours


def test_where_another_program_has_the_port_the_server_takes_another(servers: Servers) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(os.environ["MAHTAI_PORT"])))
        other.listen()
        first = servers()
        state = first.start()
        assert state.is_ours and not state.url.endswith(f":{os.environ['MAHTAI_PORT']}")
        assert servers().start().url == state.url  # the other window finds it all the same


def test_a_server_of_another_user_is_not_used(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = servers("theirs").start()
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(tmp_path / "my config"))
    (tmp_path / "my config").mkdir()
    (tmp_path / "my config" / "token").write_text("m" * 40)
    mine = servers("mine").start()
    assert mine.is_ours and mine.url != theirs.url


def test_a_running_server_that_is_too_new_is_reported(servers: Servers) -> None:
    newer = servers("newer", api=99)
    with pytest.raises(ServerTooNewError):
        newer.start()


def test_a_server_that_ends_by_itself_is_noticed_and_can_be_started_again(servers: Servers) -> None:
    server = servers()
    pid = told(server.start())["pid"]
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: server.state.stage is ServerStage.ENDED, "the end to be noticed")
    assert "ended" in server.state.why
    assert told(server.start())["pid"] != pid


def test_a_server_that_does_not_listen_to_its_end_is_ended_by_force(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_LIMIT_S", 0.5)
    server = servers(before="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    pid = told(server.start())["pid"]
    server.stop()
    assert has_gone(pid)


def test_what_hinders_the_server_is_told_in_its_own_words(servers: Servers) -> None:
    server = servers(before='raise MahtaiError("The database is damaged.", "Bring back a copy.")')
    with pytest.raises(ServerDidNotStartError) as error:
        server.start()
    assert (error.value.reason, error.value.hint) == ("The database is damaged.", "Bring back a copy.")
    assert server.state.stage is ServerStage.STOPPED
    assert not list(server._installation.folder.glob("*.json"))


def test_an_installation_with_missing_libraries_is_named(servers: Servers) -> None:
    with pytest.raises(DamagedInstallationError) as error:
        servers(code="import missing_library").start()
    assert "missing_library" in error.value.reason and "again" in error.value.hint


def test_a_server_that_crashes_at_its_start_leaves_its_last_words(servers: Servers) -> None:
    server = servers(before="print('the last words', flush=True); os._exit(3)")
    with pytest.raises(ServerDidNotStartError) as error:
        server.start()
    assert "the last words" in error.value.reason and "3" in error.value.reason
    assert server.log_tail(1) == ["the last words"]


def test_a_start_that_takes_too_long_is_given_up(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_LIMIT_S", 1.0)
    monkeypatch.setattr(process, "STOP_LIMIT_S", 0.5)
    server = servers(before="time.sleep(600)")
    with pytest.raises(ServerDidNotStartError) as error:
        server.start()
    assert "stopped" in error.value.reason and server.state.stage is ServerStage.STOPPED


@pytest.mark.parametrize("by_stop", [True, False])
def test_a_start_can_be_cancelled(servers: Servers, by_stop: bool) -> None:
    server = servers(before="print('slow', flush=True); time.sleep(600)")
    wanted = threading.Event()
    raised: list[BaseException] = []

    def start() -> None:
        try:
            server.start(wanted)
        except CancelledError as error:
            raised.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    wait_until(lambda: server.log_tail(1) == ["slow"], "the process to run")
    assert server.state.stage is ServerStage.STARTING and server.find().stage is ServerStage.STARTING
    if by_stop:
        server.stop()
    else:
        wanted.set()
    thread.join(30)
    assert len(raised) == 1 and server.state.stage is ServerStage.STOPPED


def test_nothing_installed_means_nothing_to_start(tmp_path: Path) -> None:
    server = LocalServer(Installation(tmp_path / "nothing", small_source(tmp_path / "source")))
    assert server.needs_installation
    with pytest.raises(NotInstalledError) as error:
        server.start()
    assert "Install" in error.value.hint


def test_the_log_tail_is_the_end_of_the_log(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers(before="[print('line', n) for n in range(20000)]; sys.stdout.flush()")
    assert server.log_tail() == []
    server.start()
    assert server.log_tail(3)[:2] == ["line 19998", "line 19999"] and "listens at" in server.log_tail(1)[0]
    assert len(server.log_tail(200)) == 200 and server.log_tail(0) == []
    server.stop()
    monkeypatch.setattr("MahtAILib.local_server.log._LONGEST_LOG", 1000)
    server.start()
    assert server._layout.server_log.with_suffix(".old.log").exists()


def test_with_a_developers_python_nothing_needs_to_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAHTAI_SERVER_PYTHON", sys.executable)
    server = LocalServer(Installation(tmp_path / "nothing", small_source(tmp_path / "source")))
    assert not server.needs_installation
    state = server.start()
    assert told(state)["path"][0] == str(tmp_path / "source")
    server.stop()


@pytest.mark.parametrize("moved", [True, False])
def test_token_and_installation_are_where_the_server_keeps_its_own(
    moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mahtai.settings import Settings

    if not moved:
        monkeypatch.delenv("MAHTAI_CONFIG_DIR")
        monkeypatch.delenv("MAHTAI_DATA_DIR")
    settings = Settings.from_environment()
    assert config_folder() == settings.config_dir
    assert installation_folder() == settings.data_dir / "server"


@POSIX_ONLY
def test_the_real_server_and_its_engine_run_from_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAHTAI_THREADS", "1")
    # a Python that has no libraries at all: whatever is imported comes from the private folder
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    installation = Installation(tmp_path / "installed", find_source(), str(tmp_path / "bare" / "bin" / "python"))
    put_in_place(installation)
    server = LocalServer(installation)
    try:
        state = server.start()
        with Connection(state.url, state.token) as connection:
            models = {model["id"] for model in connection.json("GET", "/v1/models")["models"]}
        assert "brats_segresnet" in models
        wait_until(lambda: "is ready" in "".join(server.log_tail(5)), "the engine to load PyTorch", 120)
        family = psutil.Process(server._process.pid).children(recursive=True)  # type: ignore[union-attr]
        assert family
    finally:
        server.stop()
    wait_until(lambda: all(has_gone(member.pid) for member in family), "the engine to go with its server")
