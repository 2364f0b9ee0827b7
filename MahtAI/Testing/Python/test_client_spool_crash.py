"""The spool when a process dies at any step, by an exception that nobody catches or by kill -9, or is not alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stand_in_server import TOKEN, StandIn

from MahtAILib.client.cases import NewLabel
from MahtAILib.client.connection import Connection
from MahtAILib.client.spool import Spool


@pytest.fixture(autouse=True)
def case(server: StandIn) -> None:
    """The case that the items are for."""
    server.state.cases["case-1"] = {}


def _add(spool: Spool, url: str, comment: str) -> str:
    label = NewLabel(author="A. Reader", role="radiologist", comment=comment)
    return spool.add(url, "case-1", b"segmentation " + comment.encode(), label)


class _Crash(BaseException):
    """The process dies here."""


class CrashAt:
    """Dies before the n-th time that something below a folder is opened, made, renamed or removed."""

    active: CrashAt | None = None
    installed = False

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = str(folder)
        self.left = step

    def __enter__(self) -> CrashAt:
        if not CrashAt.installed:  # an audit hook stays for good
            sys.addaudithook(_audit)
            CrashAt.installed = True
        CrashAt.active = self
        return self

    def __exit__(self, *_: object) -> None:
        CrashAt.active = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    crash = CrashAt.active
    if crash is None or event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
        return
    if isinstance(arguments[0], str | Path) and str(arguments[0]).startswith(crash.folder):
        crash.left -= 1
        if crash.left < 0:
            raise _Crash


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the disk: here the process dies, not the computer."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.usefixtures("quick_disk")
def test_a_crash_at_any_step_of_saving_leaves_a_whole_item_or_none(tmp_path: Path) -> None:
    for step in range(100):
        folder = tmp_path / str(step)
        spool = Spool(folder)
        returned = False
        try:
            with CrashAt(folder, step):
                _add(spool, "localhost", "first")
                returned = True
        except _Crash:
            pass
        items = Spool(folder).pending()
        assert len(items) == 1 if returned else len(items) <= 1
        for item in items:
            assert item.read(item.content).data == b"segmentation first"
        if returned:
            assert step > 4
            return
    pytest.fail("saving never ended")


@pytest.mark.usefixtures("quick_disk")
def test_a_crash_at_any_step_of_sending_loses_nothing_and_saves_nothing_twice(
    server: StandIn, connection: Connection, tmp_path: Path
) -> None:
    for step in range(100):
        server.state.labels.clear()
        folder = tmp_path / str(step)
        spool = Spool(folder)
        server.state.refuse_label = "bad"
        for comment in ("one", "bad", "two"):
            _add(spool, server.url, f"{comment} {step}")
        ended = False
        try:
            with CrashAt(folder, step):
                spool.flush(connection)
                ended = True
        except _Crash:
            pass
        report = Spool(folder).flush(connection)
        assert (report.kept, report.error) == (0, None), step
        assert [label["comment"] for label in server.state.labels] == [f"one {step}", f"two {step}"], step
        assert [refused.item and refused.item.label.comment for refused in spool.refused()] == [f"bad {step}"], step
        assert not list((folder / "done").iterdir()), step
        if ended:
            assert step > 10
            return
    pytest.fail("sending never ended")


SAVE_FOR_EVER = """
import sys
from pathlib import Path
from MahtAILib.client.cases import NewLabel
from MahtAILib.client.spool import Spool
spool = Spool(Path(sys.argv[1]))
while True:
    print(spool.add("localhost", "case-1", bytes(100_000), NewLabel("A", "radiologist")), flush=True)
"""

SEND_ALL = """
import sys
from pathlib import Path
from MahtAILib.client.connection import Connection
from MahtAILib.client.spool import Spool
spool = Spool(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
with Connection(sys.argv[2], sys.argv[3]) as connection:
    while spool.pending():
        report = spool.flush(connection)
        assert report.error is None and not report.refused, report
"""


def _process(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


def test_what_was_said_to_be_saved_survives_kill_9(tmp_path: Path) -> None:
    process = _process(SAVE_FOR_EVER, str(tmp_path))
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(20)]
    process.kill()
    told += process.communicate()[0].split()
    kept = {item.client_key: item for item in Spool(tmp_path).pending()}
    assert set(told) <= set(kept)
    for item in kept.values():
        assert len(item.read(item.content).data) == 100_000


def test_two_processes_that_send_at_once_send_each_item_once(server: StandIn, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(15):
        _add(spool, server.url, str(number))
    processes = [_process(SEND_ALL, str(tmp_path), server.url, TOKEN) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
    assert [label["comment"] for label in server.state.labels] == [str(number) for number in range(15)]
    assert server.state.count("POST", "/labels") == 15
