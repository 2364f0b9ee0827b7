"""Master keys, keyrings, sealed columns and secrets: the right key opens them, anything else says what is wrong."""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Text, select, text, type_coerce

from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.db.sealed import PREFIX
from mahtai.db.trust_tables import ForeignSignInRow
from mahtai.errors import MahtaiError
from mahtai.security.at_rest import master_key
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.envelope import SealBroken, is_sealed
from mahtai.security.at_rest.keyring import FILE_NAME, Keyring, KeyringDamaged, WrongKey, open_keyring
from mahtai.security.at_rest.keys import GivenKeys, KeyNotSet, UnknownDataKey
from mahtai.security.at_rest.master_key import MasterKeyError, key_from_file, new_key_file, read_master_key
from mahtai.security.at_rest.rotation import ReEncryption
from mahtai.security.at_rest.secret_file import load_or_create
from mahtai.settings import Settings
from mahtai.volumes.store import BlobStore
from postgresql import PostgreSQL

posix = pytest.mark.skipif(os.name != "posix", reason="files have no mode here")


def folder(tmp_path: Path, **given: str) -> Settings:
    """Settings of a data folder of its own, with a key or without."""
    variables = {f"MAHTAI_{name.upper()}": value for name, value in given.items()}
    return Settings.from_environment({"MAHTAI_DATA_DIR": str(tmp_path / "data"), **variables})


def fresh() -> str:
    """A master key as text."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


# ---- the master key


@pytest.mark.parametrize("form", ["hex", "HEX", "base64", "raw", "lines"])
def test_a_key_file_may_hold_it_in_several_forms(tmp_path: Path, form: str) -> None:
    key = bytes(range(200, 232))
    text = {
        "hex": key.hex().encode(),
        "HEX": key.hex().upper().encode(),
        "base64": base64.b64encode(key),
        "raw": key,
        "lines": b"\n  " + base64.b64encode(key) + b"\r\n\n",
    }[form]
    path = tmp_path / "key"
    path.write_bytes(text)
    path.chmod(0o600)
    assert key_from_file(path).secret == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "password",
        "x" * 32,
        "correct horse battery staple 123!",
        "00" * 32,
        "ab" * 31,
        "ab" * 33,
        "A" * 44,
        "é" * 16,
    ],
)
def test_what_is_no_random_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(MasterKeyError) as refused:
        key_from_file(path)
    assert text not in str(refused.value) or not text
    if text:
        with pytest.raises(MasterKeyError):
            read_master_key(folder(tmp_path, key=text))


@posix
@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o660, 0o777])
def test_a_key_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    new_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(mode)
    with pytest.raises(MasterKeyError, match="Others than its owner"):
        key_from_file(path)


def test_a_new_key_never_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    made = new_key_file(tmp_path / "keys" / "key")
    with pytest.raises(MasterKeyError, match="is there already"):
        new_key_file(tmp_path / "keys" / "key")
    assert key_from_file(tmp_path / "keys" / "key").secret == made.secret
    assert new_key_file(tmp_path / "other").secret != made.secret
    assert base64.b64encode(made.secret).decode() not in repr(made)


def test_the_key_is_given_once_or_not_at_all(tmp_path: Path) -> None:
    assert read_master_key(folder(tmp_path)) is None
    with pytest.raises(MasterKeyError, match="given 2 times: MAHTAI_KEY, MAHTAI_KEY_COMMAND"):
        read_master_key(folder(tmp_path, key=fresh(), key_command="true"))
    with pytest.raises(MasterKeyError, match="cannot be read"):
        read_master_key(folder(tmp_path, key_file=str(tmp_path / "nowhere")))


def python(*words: str) -> str:
    """A command line that runs a bit of Python."""
    return f'"{sys.executable}" -c "{"; ".join(words)}"'


def test_a_command_gives_the_key(tmp_path: Path) -> None:
    key = secrets.token_bytes(32)
    settings = folder(tmp_path, key_command=python(f"print('{key.hex()}')"))
    found = read_master_key(settings)
    assert found is not None and found.secret == key


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/no/such/program", "cannot be run"),
        ("'unbalanced", "cannot be run"),
        (python("import sys", "sys.exit('the token is locked')"), "failed with status 1: the token is locked"),
        (python("print('not a key')"), "holds no key"),
        (python("pass"), "holds no key"),
    ],
)
def test_a_command_that_fails_says_how(tmp_path: Path, command: str, said: str) -> None:
    with pytest.raises(MasterKeyError, match=said):
        read_master_key(folder(tmp_path, key_command=command))


@posix
def test_a_command_that_hangs_is_ended_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master_key, "COMMAND_LIMIT_S", 1.0)
    command = python("import subprocess", "subprocess.run(['sleep', '600'])")
    began = time.monotonic()
    with pytest.raises(MasterKeyError, match="did not end within"):
        read_master_key(folder(tmp_path, key_command=command))
    assert time.monotonic() - began < 15


def test_a_command_gets_no_shell(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(MasterKeyError):
        read_master_key(folder(tmp_path, key_command=f"echo {fresh()} ; touch {trap}"))
    assert not trap.exists()


# ---- the keyring


def test_a_folder_without_a_key_has_no_keyring(tmp_path: Path) -> None:
    assert open_keyring(folder(tmp_path)) is None
    assert not (tmp_path / "data" / FILE_NAME).exists()


def test_the_first_key_makes_the_keyring_and_only_that_key_opens_it(tmp_path: Path) -> None:
    settings = folder(tmp_path, key=fresh())
    first = open_keyring(settings)
    assert first is not None
    name, key = first.current()
    again = Keyring.open(settings)
    assert again is not None and again.current() == (name, key) and again.key(name) == key
    with pytest.raises(WrongKey, match="is not the one that this data folder is encrypted with"):
        open_keyring(folder(tmp_path, key=fresh()))
    with pytest.raises(KeyNotSet, match="was given no key"):
        open_keyring(folder(tmp_path))
    with pytest.raises(UnknownDataKey):
        first.key("0" * 16)
    assert key not in first.path.read_bytes() and base64.b64encode(key) not in first.path.read_bytes()


def test_two_servers_that_start_at_once_make_one_keyring(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    settings = folder(tmp_path, key=fresh())
    with ThreadPoolExecutor(8) as pool:
        found = [keyring.current() for keyring in pool.map(open_keyring, [settings] * 8) if keyring]
    assert len(found) == 8 and len(set(found)) == 1


def test_a_keyring_that_was_changed_in_any_way_is_refused(tmp_path: Path) -> None:
    settings = folder(tmp_path, key=fresh())
    keyring = open_keyring(settings)
    assert keyring is not None
    with keyring.changing() as content:
        keyring.write(content.with_new_key())
    whole = keyring.path.read_bytes()
    known = json.loads(whole)
    chance = random.Random(3)
    found = 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        keyring.path.write_bytes(bytes(changed))
        try:
            opened = open_keyring(settings)
        except (KeyringDamaged, WrongKey):
            found += 1
            continue
        assert opened is not None and json.loads(bytes(changed)) == known  # between the words of JSON
    assert found > 200
    for length in (0, 1, len(whole) // 2, len(whole) - 3):
        keyring.path.write_bytes(whole[:length])
        with pytest.raises(KeyringDamaged):
            open_keyring(settings)
    swapped = {**known, "current": known["keys"][0]["id"]}
    keyring.path.write_bytes(json.dumps(swapped).encode())
    with pytest.raises(KeyringDamaged, match="changed by something else"):
        open_keyring(settings)


def test_a_keyring_that_is_gone_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    settings = folder(tmp_path, key=fresh())
    keyring = open_keyring(settings)
    load_or_create(settings.data_dir / "patients.key", keyring)
    assert keyring is not None
    keyring.path.unlink()
    with pytest.raises(KeyringDamaged, match="is gone"):
        open_keyring(settings)
    with pytest.raises(KeyNotSet):
        open_keyring(folder(tmp_path))
    assert not keyring.path.exists()


def test_a_server_notices_a_new_data_key_and_a_new_master_key_while_it_runs(tmp_path: Path) -> None:
    file, new = tmp_path / "key", tmp_path / "new"
    new_key_file(file)
    master = new_key_file(new)
    settings = folder(tmp_path, key_file=str(file))
    server, command = open_keyring(settings), open_keyring(settings)
    assert server is not None and command is not None
    old = server.current()
    with command.changing() as content:
        command.write(content.with_new_key())
    assert server.current() == command.current() != old and server.key(old[0]) == old[1]
    with command.changing() as content:
        command.write(content, master)
    # its master key opens the keyring no more, but the data keys that it knows go on
    assert server.current() == command.current() and server.key(old[0]) == old[1]
    with command.changing() as content:
        command.write(content.with_new_key())
    assert server.current() != command.current()
    new.replace(file)
    with command.changing() as content:
        command.write(content.with_new_key())
    assert server.current() == command.current()


def test_a_write_that_fails_leaves_the_keyring_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = folder(tmp_path, key=fresh())
    keyring = open_keyring(settings)
    assert keyring is not None
    before, current = keyring.path.read_bytes(), keyring.current()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(MahtaiError, match="no room left"), keyring.changing() as content:
            keyring.write(content.with_new_key())
    assert keyring.path.read_bytes() == before and keyring.current() == current
    assert sorted(path.name for path in settings.data_dir.iterdir()) == [FILE_NAME, "keyring.lock"]


# ---- secrets


def test_a_secret_is_encrypted_where_there_is_a_key_and_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secrets" / "session.key"
    plain = load_or_create(path, None)
    assert path.read_bytes() == plain and len(plain) == 32
    keyring = open_keyring(folder(tmp_path, key=fresh()))
    assert load_or_create(path, keyring) == plain
    assert is_sealed(path.read_bytes()) and plain not in path.read_bytes()
    assert load_or_create(path, keyring) == plain
    with pytest.raises(KeyNotSet):
        load_or_create(path, None)
    other = path.with_name("other.key")
    made = load_or_create(other, keyring, lambda: b"of another form")
    assert made == b"of another form" and is_sealed(other.read_bytes())
    other.write_bytes(path.read_bytes())
    with pytest.raises(SealBroken):
        load_or_create(other, keyring)
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


# ---- columns

KEYS = GivenKeys("0123456789abcdef", {"0123456789abcdef": secrets.token_bytes(32)})


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a new database on either engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{(tmp_path / 'tables.sqlite').as_posix()}"
        return
    cluster: PostgreSQL = request.getfixturevalue("postgresql")
    yield cluster.new_database()


def put(database: Database, state: str, body: Any) -> None:
    """Write a row that has a sealed column."""
    with database.write() as session:
        session.add(ForeignSignInRow(state=state, body=body))


def raw(database: Database) -> dict[str, str]:
    """What lies in the column."""
    columns = (ForeignSignInRow.state, type_coerce(ForeignSignInRow.body, Text))
    with database.read() as session:
        return {str(state): str(body) for state, body in session.execute(select(*columns))}


def read(database: Database) -> dict[str, Any]:
    """What is read."""
    with database.read() as session:
        rows = session.execute(select(ForeignSignInRow.state, ForeignSignInRow.body))
        return {str(state): body for state, body in rows}


def test_sealed_columns_hold_nothing_that_can_be_read(url: str) -> None:
    plain, sealed = Database(url), Database(url, Columns(KEYS))
    try:
        upgrade(plain)
        put(plain, "before", {"name": "WATERMARK-PLAIN"})
        put(sealed, "after", {"name": "WATERMARK-SEALED"})
        put(sealed, "same", {"name": "WATERMARK-SEALED"})
        found = raw(sealed)
        assert "WATERMARK-PLAIN" in found["before"]
        assert found["after"].startswith(f"{PREFIX}{KEYS.id}:") and found["after"] != found["same"]
        assert read(sealed) == {
            "before": {"name": "WATERMARK-PLAIN"},
            "after": {"name": "WATERMARK-SEALED"},
            "same": {"name": "WATERMARK-SEALED"},
        }
        with pytest.raises(KeyNotSet):
            read(plain)
        other = Database(url, Columns(GivenKeys(KEYS.id, {KEYS.id: secrets.token_bytes(32)})))
        with pytest.raises(SealBroken):
            read(other)
        other.close()
    finally:
        plain.close()
        sealed.close()


def test_a_value_of_another_column_or_with_a_changed_letter_is_refused() -> None:
    columns = Columns(KEYS)
    sealed = columns.seal("Grüße\ud800 ", "reviews.comment")
    assert columns.unseal(sealed, "reviews.comment") == "Grüße\ud800 "
    with pytest.raises(SealBroken):
        columns.unseal(sealed, "label_versions.comment")
    for at in range(len(PREFIX), len(sealed)):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        with pytest.raises((SealBroken, UnknownDataKey)):
            columns.unseal(changed, "reviews.comment")
    for wrong in (PREFIX, f"{PREFIX}{KEYS.id}:", f"{PREFIX}{KEYS.id}:AAAA", sealed[:-4], f"{PREFIX}plain"):
        with pytest.raises((SealBroken, UnknownDataKey)):
            columns.unseal(wrong, "reviews.comment")


@pytest.mark.parametrize("text", ["sealed:", "sealed:plain:x", "sealed: the deal", f"sealed:{'0' * 16}:AAAA", ""])
def test_a_text_that_looks_encrypted_is_kept_as_any_other(tmp_path: Path, text: str) -> None:
    from mahtai.db.trust_tables import AccountRow

    url = f"sqlite:///{tmp_path / 'tables.sqlite'}"
    for keys in (None, Columns(KEYS)):
        database = Database(url, keys)
        upgrade(database)
        name = "sealed" if keys else "plain"
        with database.write() as session:
            session.add(AccountRow(id=name, login=name, name=name, role="viewer", totp=text))
        with database.read() as session:
            assert session.scalar(select(AccountRow.totp).where(AccountRow.id == "plain")) == text
            assert session.scalar(select(AccountRow.totp).where(AccountRow.id == name)) == text
        database.close()


def test_what_was_replaced_leaves_no_trace_in_sqlites_files(tmp_path: Path) -> None:
    path = tmp_path / "tables.sqlite"
    url = f"sqlite:///{path}"
    plain = Database(url)
    upgrade(plain)
    put(plain, "one", {"name": "WATERMARK-OLD" * 100})
    plain.close()
    assert b"WATERMARK-OLD" in path.read_bytes()
    sealed = Database(url, Columns(KEYS))
    with sealed.write() as session:
        row = session.get(ForeignSignInRow, "one")
        assert row is not None
        row.body = {"name": "new"}
    sealed.compact()
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"WATERMARK-OLD" not in left
    assert read(sealed) == {"one": {"name": "new"}}
    sealed.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_values_are_encrypted_anew_row_by_row_on_either_database(url: str, tmp_path: Path) -> None:
    settings = folder(tmp_path, key=fresh(), database_url=url)
    plain = Database(url)
    upgrade(plain)
    for number in range(120):
        put(plain, f"row {number}", {"name": f"WATERMARK {number}"})
    plain.close()
    keyring = open_keyring(settings)
    assert keyring is not None
    sealed = Database(url, Columns(keyring))
    work = ReEncryption(settings, keyring, sealed, BlobStore(settings.blobs_dir, keyring))
    try:
        assert work.census().values == {"plain": 120}
        assert work.run(lambda stage, fraction: None).values == 120
        assert work.run(lambda stage, fraction: None).values == 0
        with keyring.changing() as content:
            keyring.write(content.with_new_key())
        with sealed.write() as session:  # a value that something else has changed is named and left alone
            session.execute(text("UPDATE foreign_sign_ins SET body = body || 'AAAA' WHERE state = 'row 7'"))
        done = work.run(lambda stage, fraction: None)
        assert done.values == 119 and done.damaged == ["foreign_sign_ins.body row 7"]
        current, _ = keyring.current()
        assert sum(value.startswith(f"{PREFIX}{current}:") for value in raw(sealed).values()) == 119
        with sealed.write() as session:
            session.execute(text("DELETE FROM foreign_sign_ins WHERE state = 'row 7'"))
        assert read(sealed) == {f"row {n}": {"name": f"WATERMARK {n}"} for n in range(120) if n != 7}
    finally:
        sealed.close()
