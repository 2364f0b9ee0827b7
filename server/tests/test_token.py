"""The local token: made once, private, compared whole."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from mahtai.security.token import TokenError, is_valid, load_or_create


def test_a_token_is_made_once_and_kept(tmp_path: Path) -> None:
    token = load_or_create(tmp_path / "config")
    assert len(token) >= 43
    assert load_or_create(tmp_path / "config") == token
    assert os.listdir(tmp_path / "config") == ["token"]


def test_every_server_has_its_own_token(tmp_path: Path) -> None:
    assert load_or_create(tmp_path / "a") != load_or_create(tmp_path / "b")


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps access rights elsewhere")
def test_only_its_user_can_read_it(tmp_path: Path) -> None:
    load_or_create(tmp_path / "config")
    assert stat.S_IMODE((tmp_path / "config" / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "config").stat().st_mode) == 0o700


def test_servers_that_start_at_once_agree_on_one_token(tmp_path: Path) -> None:
    found: list[str] = []
    starts = threading.Barrier(8)

    def start() -> None:
        starts.wait()
        found.append(load_or_create(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 50, b"with spaces in it and long enough to be one"])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(TokenError) as error:
        load_or_create(tmp_path)
    assert str(tmp_path) in error.value.reason and error.value.hint


def test_only_the_whole_token_is_valid(tmp_path: Path) -> None:
    token = load_or_create(tmp_path)
    assert is_valid(token, token)
    for wrong in ("", token[:-1], token + "a", token.swapcase(), "ä" * 43, "\ud800"):
        assert not is_valid(wrong, token)
