"""Files of cases on this computer: whole or not there, bounded, used again."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from stand_in_server import Handler, StandIn

from MahtAILib.client.case_files import CaseFiles
from MahtAILib.client.connection import Connection
from MahtAILib.client.drafts import Draft
from MahtAILib.client.errors import DamagedTransferError, SpoolError
from MahtAILib.client.local_drafts import LocalDraft, LocalDrafts
from MahtAILib.client.volumes import Blob


def blob(number: int, size: int = 1000) -> Blob:
    return Blob(bytes([number]) * size)


def served(server: StandIn, *blobs: Blob) -> None:
    for one in blobs:
        server.state.volumes[one.sha256] = one.data


def test_a_file_is_fetched_once(server: StandIn, connection: Connection, tmp_path: Path) -> None:
    files, one = CaseFiles(tmp_path / "cases"), blob(1)
    served(server, one)
    assert not files.has([one.sha256])
    assert files.fetch(connection, one.sha256) == one.data
    del server.state.volumes[one.sha256]
    assert files.fetch(connection, one.sha256) == one.data == CaseFiles(tmp_path / "cases").read(one.sha256)
    assert files.has([one.sha256])
    if os.name == "posix":
        assert (tmp_path / "cases").stat().st_mode & 0o077 == 0


def test_without_a_server_only_what_is_here_is_found(tmp_path: Path) -> None:
    files, one = CaseFiles(tmp_path), blob(1)
    assert files.fetch(None, one.sha256) is None
    files.keep(one.sha256, one.data)
    assert files.fetch(None, one.sha256) == one.data


def test_a_damaged_file_is_removed_and_fetched_again(server: StandIn, connection: Connection, tmp_path: Path) -> None:
    files, one = CaseFiles(tmp_path), blob(1)
    served(server, one)
    files.fetch(connection, one.sha256)
    (tmp_path / one.sha256).write_bytes(one.data[:-1])
    assert files.read(one.sha256) is None and not files.has([one.sha256])
    assert files.fetch(connection, one.sha256) == one.data


def test_what_arrives_damaged_is_never_there(server: StandIn, connection: Connection, tmp_path: Path) -> None:
    files, one = CaseFiles(tmp_path), blob(1)

    def cut(handler: Handler) -> bool:
        if handler.command != "GET" or "volumes" not in handler.path:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(one.data[:10])
        return True

    server.misbehaviour = cut
    with pytest.raises(DamagedTransferError):
        files.fetch(connection, one.sha256)
    assert not files.has([one.sha256]) and list(tmp_path.glob("*")) == []


def test_the_ones_that_were_not_used_for_the_longest_time_go_first(tmp_path: Path) -> None:
    files = CaseFiles(tmp_path, most_bytes=3000)
    blobs = [blob(number) for number in range(4)]
    for second, one in enumerate(blobs[:3]):
        files.keep(one.sha256, one.data)
        os.utime(tmp_path / one.sha256, (1000 + second, 1000 + second))
    assert files.read(blobs[0].sha256) is not None  # used again
    files.keep(blobs[3].sha256, blobs[3].data)
    assert [files.has([one.sha256]) for one in blobs] == [True, False, True, True]
    big = blob(9, 9000)
    files.keep(big.sha256, big.data)
    assert files.has([big.sha256]) and not files.has([blobs[3].sha256])


def test_a_crash_in_the_middle_leaves_nothing_that_counts(tmp_path: Path) -> None:
    one = blob(1)
    (tmp_path / "half.partial").write_bytes(one.data[:10])
    os.utime(tmp_path / "half.partial", (1000, 1000))
    files = CaseFiles(tmp_path)
    assert not files.has([one.sha256]) and files.notes() == []
    files.keep(one.sha256, one.data)
    assert not (tmp_path / "half.partial").exists()


def test_a_name_that_is_no_hash_names_no_file(tmp_path: Path) -> None:
    files = CaseFiles(tmp_path / "cases")
    (tmp_path / "secret").write_text("x")
    for name in ("../secret", "", "A" * 64, "a" * 63, "a" * 64 + "\0"):
        with pytest.raises(ValueError, match="not a SHA-256"):
            files.read(name)
    files.note("../secret", {"case": 1})
    assert (tmp_path / "secret").read_text() == "x" and files.notes() == []


def test_notes_are_read_back_the_last_one_first(tmp_path: Path) -> None:
    files = CaseFiles(tmp_path)
    for second, name in enumerate(("a", "b")):
        files.note(name, {"case": name})
        os.utime(tmp_path / f"{name}.json", (1000 + second, 1000 + second))
    (tmp_path / "c.json").write_text("{ not JSON", encoding="utf-8")
    assert [note["case"] for note in files.notes()] == ["b", "a"]


def test_a_full_disk_costs_no_case(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    files, one = CaseFiles(tmp_path / "file"), blob(1)
    files.keep(one.sha256, one.data)
    files.note("a", {})
    assert files.read(one.sha256) is None


def test_many_threads_fetch_the_same_file(server: StandIn, connection: Connection, tmp_path: Path) -> None:
    files, one, got = CaseFiles(tmp_path), blob(1, 300_000), []
    served(server, one)
    threads = [threading.Thread(target=lambda: got.append(files.fetch(connection, one.sha256))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [one.data] * 6 and [path.name for path in tmp_path.glob("*")] == [one.sha256]


def draft(session: str, saved_at: str = "2026-01-01T10:00:00Z") -> Draft:
    return Draft(session, "", "Anna", saved_at=saved_at)


def test_a_draft_replaces_that_of_its_own_session(tmp_path: Path) -> None:
    drafts = LocalDrafts(tmp_path / "drafts")
    first, second = "a" * 8 + "-1111-4111-8111-" + "a" * 12, "b" * 8 + "-1111-4111-8111-" + "b" * 12
    drafts.keep(LocalDraft("http://s", "case", draft(first)), b"one")
    path = drafts.keep(LocalDraft("http://s", "case", draft(first, "2026-01-01T10:01:00Z")), b"two")
    drafts.keep(LocalDraft("http://s", "case", draft(second)), b"three")
    drafts.keep(LocalDraft("http://s", "other", draft("c" * 8 + "-1111-4111-8111-" + "c" * 12)), b"four")
    assert [one.draft.session for one in drafts.of_case("http://s", "case")] == [first, second]
    assert drafts.read(first) == b"two" == path.read_bytes() and path.name.endswith(".seg.nrrd")
    drafts.drop(first)
    assert [one.draft.session for one in drafts.of_case("http://s", "case")] == [second]
    assert drafts.read(first) is None and drafts.of_case("http://t", "case") == []


def test_a_draft_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    drafts = LocalDrafts(tmp_path / "file")
    with pytest.raises(SpoolError, match="still open"):
        drafts.keep(LocalDraft("http://s", "case", draft("a" * 8 + "-1111-4111-8111-" + "a" * 12)), b"one")


def test_a_damaged_note_of_a_draft_hides_no_other(tmp_path: Path) -> None:
    drafts = LocalDrafts(tmp_path)
    session = "a" * 8 + "-1111-4111-8111-" + "a" * 12
    drafts.keep(LocalDraft("http://s", "case", draft(session)), b"one")
    (tmp_path / "x.json").write_text("{", encoding="utf-8")
    (tmp_path / "y.json").write_text('{"server": "http://s", "case": "case", "draft": {"new": 1}}', encoding="utf-8")
    assert [one.draft.session for one in drafts.of_case("http://s", "case")] == [session]


def test_what_was_fetched_of_one_server_is_forgotten_and_nothing_of_another(tmp_path: Path) -> None:
    files = CaseFiles(tmp_path / "cases")
    here, there, both = (hashlib.sha256(data).hexdigest() for data in (b"here", b"there", b"both"))
    for sha256, data in ((here, b"here"), (there, b"there"), (both, b"both")):
        files.keep(sha256, data)
    files.note("case-1", {"server": "https://one.example", "case": {"volumes": {"t1": here, "t2": both}}})
    files.note("case-2", {"server": "https://two.example", "case": {"volumes": {"t1": there, "t2": both}}})
    files.forget("https://one.example")
    assert files.read(here) is None
    assert (files.read(there), files.read(both)) == (b"there", b"both")
    assert [note["server"] for note in files.notes()] == ["https://two.example"]
    files.forget("https://two.example")
    assert list((tmp_path / "cases").iterdir()) == []
