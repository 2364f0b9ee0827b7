"""Installing a server: real pip, real wheels, a real index on this computer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server_kit import Index, closed_port, python_files, serving, small_source, use_index, write_wheel

from MahtAILib.client.durable import try_lock
from MahtAILib.client.errors import CancelledError
from MahtAILib.local_server import (
    AlreadyInstallingError,
    DiskFullError,
    Installation,
    InstallationStage,
    InstallFailedError,
    InstallProgress,
    InstallStage,
    NoInternetError,
    NoPipError,
    NotInstalledError,
    NotWritableError,
    ServerSource,
    SourceMissingError,
    find_source,
)
from MahtAILib.local_server.pip import explain

LIBRARIES = ["alpha", "beta", "gamma"]

INSTALL = """
import sys
from pathlib import Path
from MahtAILib.local_server import Installation, ServerSource
folder, package, requirements, models, library = map(Path, sys.argv[1:])
Installation(folder, ServerSource(package, requirements, models, library)).install()
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    for name in LIBRARIES:
        write_wheel(folder, name)
    with serving(Index(folder)) as index:
        environment = use_index(dict(os.environ), index.url)
        for name in set(os.environ) - set(environment):
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield index


@pytest.fixture
def source(tmp_path: Path) -> ServerSource:
    return small_source(tmp_path / "source", [f"{name}==1.0" for name in LIBRARIES])


@pytest.fixture
def installation(tmp_path: Path, source: ServerSource, index: Index) -> Installation:
    return Installation(tmp_path / "installed here", source)


def stages(installation: Installation) -> list[InstallProgress]:
    seen: list[InstallProgress] = []
    installation.install(seen.append)
    return seen


def replaced(source: ServerSource, **more: object) -> ServerSource:
    """What a newer extension brings."""
    requirements = [line for line in source.requirements.read_text().split() if line]
    return small_source(source.package.parent, **{"requirements": requirements, "version": "1.1", **more})  # type: ignore[arg-type]


def test_a_fresh_installation_is_whole_and_leaves_nothing_else(installation: Installation) -> None:
    assert installation.state().stage is InstallationStage.ABSENT
    installation.install()
    assert installation.state().stage is InstallationStage.READY and installation.state().can_start
    server = installation.current()
    assert {f"{name}.py" for name in LIBRARIES} <= python_files(server.packages)
    assert {"mahtai/app.py", "mahtai/shipped_models/small/card.md", "MahtAILib/client/nrrd.py", "run_server.py"} <= (
        python_files(server.app)
    )
    assert sorted(path.name for path in installation.folder.iterdir()) == [
        "app",
        "install.lock",
        "install.log",
        "packages",
    ]


def test_progress_names_the_steps_in_order_and_never_goes_back(installation: Installation) -> None:
    seen = stages(installation)
    assert list(dict.fromkeys(progress.stage for progress in seen)) == list(InstallStage)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0
    assert any(progress.line.startswith("2 of 3: ") for progress in seen)


def test_installing_again_does_nothing(installation: Installation, index: Index) -> None:
    installation.install()
    before = list(index.asked)
    assert InstallStage.FETCHING not in {progress.stage for progress in stages(installation)}
    assert index.asked == before


def test_the_libraries_of_the_running_python_stay_as_they_are(installation: Installation) -> None:
    own = Path(sysconfig.get_path("purelib"))
    before = sorted(path.name for path in own.iterdir())
    installation.install()
    assert sorted(path.name for path in own.iterdir()) == before
    assert not any((own / f"{name}.py").exists() for name in LIBRARIES)


def test_settings_that_would_send_pip_elsewhere_are_not_obeyed(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nuser = true\nrequire-virtualenv = true\n[install]\ntarget = {elsewhere}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_TARGET", str(elsewhere))
    monkeypatch.setenv("PYTHONHOME", str(elsewhere))
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    installation.install()
    assert installation.state().stage is InstallationStage.READY
    assert not elsewhere.exists()


def test_cancelling_keeps_what_was_fetched_and_fetches_only_the_rest_later(
    installation: Installation, index: Index
) -> None:
    fetching = threading.Event()

    def watch(progress: InstallProgress) -> None:
        if progress.stage is InstallStage.FETCHING and progress.line.startswith("2 of 3"):
            fetching.set()

    with pytest.raises(CancelledError):
        installation.install(watch, fetching)
    assert installation.state().stage is InstallationStage.INTERRUPTED
    with pytest.raises(NotInstalledError):
        installation.current()
    index.asked.clear()
    installation.install()
    assert installation.state().stage is InstallationStage.READY
    assert len(index.asked) == 1  # and the list of what is needed was not worked out again


def test_cancelling_does_not_wait_for_an_index_that_hangs(installation: Installation, index: Index) -> None:
    index.hang_at = "alpha-1.0-py3-none-any.whl"
    with pytest.raises(CancelledError):
        installation.install(cancelled=index.hanging)
    index.hang_at = ""
    installation.install()
    assert installation.state().stage is InstallationStage.READY


def test_an_installation_that_is_killed_goes_on_where_it_was(
    installation: Installation, source: ServerSource, index: Index, tmp_path: Path
) -> None:
    places = [installation.folder, source.package, source.requirements, source.models, source.library]
    interrupted = threading.Event()
    with pytest.raises(CancelledError):
        installation.install(
            lambda progress: progress.stage is InstallStage.FETCHING and interrupted.set(), interrupted
        )
    index.hang_at = "gamma-1.0-py3-none-any.whl"
    index.asked.clear()
    process = subprocess.Popen(
        [sys.executable, "-c", INSTALL, *map(str, places)],
        env={**os.environ, "PYTHONPATH": str(source.library.parent)},
        start_new_session=True,
    )
    assert index.hanging.wait(60)
    process.kill()
    process.wait()
    assert installation.state().stage is InstallationStage.INTERRUPTED
    index.hang_at = ""
    fetched_before = index.asked[:-1]
    index.asked.clear()
    installation.install()
    assert installation.state().stage is InstallationStage.READY
    assert fetched_before and not set(fetched_before) & set(index.asked)
    assert not installation.layout.work.exists() and not (installation.folder / "wheels").exists()


def test_a_newer_extension_updates_the_server_and_keeps_libraries_that_did_not_change(
    installation: Installation, source: ServerSource, index: Index
) -> None:
    installation.install()
    old = installation.current()
    index.asked.clear()
    newer = Installation(installation.folder, replaced(source))
    state = newer.state()
    assert state.stage is InstallationStage.OUTDATED and state.can_start
    assert "1.1" in state.why and "1.0" in state.why
    assert newer.current() == old
    newer.install()
    assert newer.state().stage is InstallationStage.READY
    assert newer.current().packages == old.packages and newer.current().app != old.app
    assert not old.app.exists() and index.asked == []


def test_a_change_of_one_line_is_a_newer_version(source: ServerSource) -> None:
    before = source.version
    assert replaced(source, version="1.0", code="x = 1").version != before
    assert before.startswith("1.0-")


def test_other_libraries_replace_the_old_ones_once_they_are_whole(
    installation: Installation, source: ServerSource, index: Index
) -> None:
    installation.install()
    old = installation.current()
    write_wheel(index.folder, "alpha", "2.0")
    newer = Installation(installation.folder, replaced(source, requirements=["alpha==2.0"]))
    index.hang_at = "alpha-2.0-py3-none-any.whl"
    with pytest.raises(CancelledError):
        newer.install(cancelled=index.hanging)
    assert newer.current() == old and python_files(old.packages) >= {"alpha.py", "beta.py"}
    index.hang_at = ""
    newer.install()
    assert (newer.current().packages / "alpha.py").read_text() == "VERSION = '2.0'\n"
    assert not old.packages.exists()


def test_a_version_that_runs_is_not_removed_until_it_has_ended(
    installation: Installation, source: ServerSource, index: Index
) -> None:
    installation.install()
    old = installation.current()
    old.users.mkdir()
    write_wheel(index.folder, "alpha", "2.0")
    newer = Installation(installation.folder, replaced(source, requirements=["alpha==2.0"]))
    with try_lock(old.users / "4711"):
        newer.install()
        assert old.bootstrap.exists() and (old.packages / "beta.py").exists()
    newer.install()
    assert not old.app.exists() and not old.packages.exists()
    newer.remove()
    assert newer.state().stage is InstallationStage.ABSENT


def python_of(version: str, folder: Path) -> str:
    """A Python that says it is another version than it is."""
    script = folder / f"python{version}"
    script.write_text(f'#!/bin/sh\ncase "$1" in -c) echo {version};; *) exec "{sys.executable}" "$@";; esac\n')
    script.chmod(0o755)
    return str(script)


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for another Python is a shell script")
def test_an_installation_for_another_python_is_not_started(
    installation: Installation, source: ServerSource, tmp_path: Path
) -> None:
    installation.install()
    state = Installation(installation.folder, source, python_of("3.99", tmp_path)).state()
    assert state.stage is InstallationStage.OUTDATED and not state.can_start and "Python" in state.why


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for another Python is a shell script")
def test_what_a_slicer_with_another_python_uses_stays_until_it_was_not_used_for_long(
    installation: Installation, source: ServerSource, tmp_path: Path
) -> None:
    installation.install()
    first = installation.current()
    other = Installation(installation.folder, replaced(source), python_of("3.99", tmp_path))
    other.install()
    assert installation.state().can_start and other.state().stage is InstallationStage.READY
    os.utime(first.app, (0, 0))
    other.install()
    assert not first.app.exists() and not first.packages.exists()
    assert other.state().stage is InstallationStage.READY


def test_two_windows_do_not_install_at_the_same_time(installation: Installation) -> None:
    installation.folder.mkdir()
    with try_lock(installation.layout.lock), pytest.raises(AlreadyInstallingError) as error:
        installation.install()
    assert "window" in error.value.reason


def test_without_the_internet_the_sentence_says_so(
    installation: Installation, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port()}/simple")
    with pytest.raises(NoInternetError) as error:
        installation.install()
    assert "internet" in error.value.reason and "goes on" in error.value.hint
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    installation.install()
    assert installation.state().stage is InstallationStage.READY


def test_a_full_disk_is_noticed_before_anything_is_fetched(source: ServerSource, tmp_path: Path, index: Index) -> None:
    installation = Installation(tmp_path / "here", source, free_bytes=lambda folder: 1_500_000_000)
    with pytest.raises(DiskFullError) as error:
        installation.install()
    assert "2.4 GB" in error.value.reason and "1.5 GB" in error.value.reason
    assert index.asked == [] and installation.state().stage is InstallationStage.ABSENT


def test_libraries_for_a_gpu_need_more_room(tmp_path: Path, index: Index) -> None:
    write_wheel(index.folder, "nvidiablas")
    source = small_source(tmp_path / "gpu", ["nvidiablas==1.0"])
    installation = Installation(tmp_path / "here", source, free_bytes=lambda folder: 5_000_000_000)
    with pytest.raises(DiskFullError) as error:
        installation.install()
    assert "9.6 GB" in error.value.reason


def test_an_update_of_the_code_alone_needs_little_room(
    installation: Installation, source: ServerSource, index: Index
) -> None:
    installation.install()
    newer = Installation(installation.folder, replaced(source), free_bytes=lambda folder: 200_000_000)
    newer.install()
    assert newer.state().stage is InstallationStage.READY


def test_a_folder_that_cannot_be_made_is_named(source: ServerSource, tmp_path: Path, index: Index) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotWritableError) as error:
        Installation(tmp_path / "file" / "below", source).install()
    assert str(tmp_path / "file") in error.value.reason


def test_a_python_without_pip_is_named(source: ServerSource, tmp_path: Path, index: Index) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with pytest.raises(NoPipError) as error:
        Installation(tmp_path / "here", source, str(python)).install()
    assert "no pip" in error.value.reason


def test_a_python_that_is_not_there_is_named(source: ServerSource, tmp_path: Path, index: Index) -> None:
    with pytest.raises(NoPipError) as error:
        Installation(tmp_path / "here", source, str(tmp_path / "nowhere")).install()
    assert "nowhere" in error.value.reason


def test_a_library_that_is_not_made_for_this_computer_is_named(tmp_path: Path, index: Index) -> None:
    source = small_source(tmp_path / "other", ["alpha==9.0"])
    with pytest.raises(InstallFailedError) as error:
        Installation(tmp_path / "here", source).install()
    assert "alpha==9.0" in error.value.reason


def test_a_damaged_download_is_refused(installation: Installation, index: Index) -> None:
    page = index.page
    index.page = lambda project: page(project).replace(b"#sha256=", b"#sha256=0000")  # type: ignore[method-assign]
    with pytest.raises(InstallFailedError):
        installation.install()
    index.page = page  # type: ignore[method-assign]
    installation.install()
    assert installation.state().stage is InstallationStage.READY


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", DiskFullError),
        ("OSError: [WinError 112] There is not enough space on the disk", DiskFullError),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'", NotWritableError),
        ("PermissionError: [WinError 5] Access is denied: 'C:\\\\x'", NotWritableError),
        (
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
            NoInternetError,
        ),
        (
            "NewConnectionError('<...>: Failed to establish a new connection: [Errno -3] Temporary failure",
            NoInternetError,
        ),
        (
            "HINT: This error might have occurred since this system does not have Windows Long Path support enabled.",
            NotWritableError,
        ),
        ("python: No module named pip", NoPipError),
        ("ERROR: No matching distribution found for torch==2.13.0", InstallFailedError),
        ("ERROR: something new", InstallFailedError),
    ],
)
def test_what_pip_says_becomes_a_sentence_with_a_remedy(line: str, kind: type[InstallFailedError]) -> None:
    error = explain(["Collecting x", line], 1)
    assert type(error) is kind and error.hint
    assert error.reason.endswith(".")


def test_the_source_is_found_in_a_checkout() -> None:
    source = find_source()
    assert source.version.count("-") == 1
    names = {name for name, _ in source.files()}
    assert {"mahtai/app.py", "mahtai/db/migrations/env.py", "requirements.txt", "MahtAILib/errors.py"} <= names
    assert any(name.startswith("mahtai/shipped_models/brats_segresnet/") for name in names)
    assert not any("__pycache__" in name for name in names)


def test_the_server_shares_as_much_of_the_module_as_its_wheel_does() -> None:
    hook = (find_source().package.parent / "hatch_build.py").read_text("utf-8")
    taken = [line.split('"')[3] for line in hook.splitlines() if line.strip().startswith('"MahtAI/MahtAILib')]
    names = {name for name, _ in find_source().files() if name.startswith("MahtAILib/")}
    assert taken
    for place in taken:
        assert any(name == place or name.startswith(f"{place}/") for name in names)
    assert {name.split("/")[1] for name in names} == {place.split("/")[1] for place in taken}


def test_an_extension_without_the_server_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError) as error:
        find_source(tmp_path / "MahtAI")
    assert "another computer" in error.value.hint


def test_a_note_that_is_no_json_is_worked_out_again(installation: Installation, index: Index) -> None:
    stopped = threading.Event()
    with pytest.raises(CancelledError):
        installation.install(lambda progress: progress.stage is InstallStage.FETCHING and stopped.set(), stopped)
    noted = next(installation.folder.glob("wheels/*/resolved.json"))
    assert [entry["name"] for entry in json.loads(noted.read_text())]
    noted.write_text("[")
    installation.install()
    assert installation.state().stage is InstallationStage.READY
