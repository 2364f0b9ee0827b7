"""Tokens on this computer: in the system's keyring where there is one that works, else in a file of their owner's."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from MahtAILib.client.keyrings import KeyringError, MacKeychain, find_keyring
from MahtAILib.client.secrets import Secrets

URL, TOKEN = "https://mahtai.hospital.example", "mahtai_" + "k" * 43

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-ins are programs of Linux")

SECRET_TOOL = """
import json, os, sys
store = os.environ["KEYRING_FILE"]
call = {"arguments": sys.argv[1:], "libraries": os.environ.get("LD_LIBRARY_PATH")}
open(store + ".log", "a").write(json.dumps(call) + "\\n")
how = os.environ.get("KEYRING_HOW", "")
if how == "locked":
    sys.exit("secret-tool: Cannot get secret of a locked object")
kept = json.load(open(store)) if os.path.exists(store) else {}
what, key = sys.argv[1], sys.argv[-1]
assert "service" in sys.argv and "MahtAI" in sys.argv
if what == "store":
    kept[key] = sys.stdin.read() if how != "forgetful" else "something else"
elif what == "lookup":
    if key not in kept:
        sys.exit(1)
    sys.stdout.write(kept[key])
elif what == "clear":
    kept.pop(key, None)
json.dump(kept, open(store, "w"))
"""

SECURITY = """
import json, os, shlex, sys
store = os.environ["KEYRING_FILE"]
open(store + ".log", "a").write(json.dumps({"arguments": sys.argv[1:]}) + "\\n")
kept = json.load(open(store)) if os.path.exists(store) else {}
words = sys.argv[1:] if sys.argv[1] != "-i" else shlex.split(sys.stdin.read())
given = dict(zip(words[1:], words[2:]))
if words[0] == "add-generic-password":
    assert "-U" in words
    kept[given["-a"]] = given["-w"]
elif words[0] == "find-generic-password":
    if given["-a"] not in kept:
        sys.exit(44)
    print(kept[given["-a"]])
elif words[0] == "delete-generic-password":
    kept.pop(given["-a"], None)
json.dump(kept, open(store, "w"))
"""


class System:
    """A computer with a stand-in for its keyring's program."""

    def __init__(self, folder: Path, name: str, program: str, how: str = "") -> None:
        self.folder = folder / "settings"
        self.store = folder / "keyring.json"
        programs = folder / "bin"
        programs.mkdir()
        script = programs / name
        script.write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
        script.chmod(0o755)
        self.program = str(script)
        self.environment = {
            "PATH": str(programs),
            "KEYRING_FILE": str(self.store),
            "KEYRING_HOW": how,
            "LD_LIBRARY_PATH": "/opt/Slicer/lib",
        }

    @property
    def file(self) -> Path:
        return self.folder / "server-tokens.json"

    @property
    def kept(self) -> dict[str, str]:
        return dict(json.loads(self.store.read_text("utf-8"))) if self.store.exists() else {}

    def calls(self) -> list[dict[str, object]]:
        log = Path(f"{self.store}.log")
        return [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []

    def secrets(self) -> Secrets:
        return Secrets(self.folder, self.environment)


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path, "secret-tool", SECRET_TOOL)


def test_a_token_goes_into_the_keyring_and_nowhere_else(system: System) -> None:
    secrets = system.secrets()
    secrets.set(URL, TOKEN)
    assert system.kept == {URL: TOKEN}
    assert not system.file.exists()
    assert secrets.in_keyring
    assert system.secrets().get(URL) == TOKEN
    assert system.secrets().get("https://other.example") == ""


def test_no_command_line_holds_the_token_and_slicers_libraries_stay_away(system: System) -> None:
    secrets = system.secrets()
    secrets.set(URL, TOKEN)
    secrets.get(URL)
    secrets.set(URL, "")
    assert len(system.calls()) >= 4
    for call in system.calls():
        assert TOKEN not in json.dumps(call)
        assert call["libraries"] is None


def test_a_forgotten_token_is_gone(system: System) -> None:
    secrets = system.secrets()
    secrets.set(URL, TOKEN)
    secrets.set(URL, "")
    assert system.kept == {}
    assert secrets.get(URL) == ""


def test_tokens_of_earlier_versions_move_into_the_keyring_when_they_are_first_used(system: System) -> None:
    system.folder.mkdir()
    other = "https://other.example"
    system.file.write_text(json.dumps({URL: TOKEN, other: "t" * 43}), encoding="utf-8")
    secrets = system.secrets()
    assert secrets.get(URL) == TOKEN
    assert system.kept == {URL: TOKEN}
    assert json.loads(system.file.read_text("utf-8")) == {other: "t" * 43}
    assert secrets.get(other) == "t" * 43
    assert not system.file.exists()


@pytest.mark.parametrize("how", ["locked", "forgetful"])
def test_a_keyring_that_does_not_work_is_left_alone_and_the_file_is_used(tmp_path: Path, how: str) -> None:
    system = System(tmp_path, "secret-tool", SECRET_TOOL, how)
    secrets = system.secrets()
    secrets.set(URL, TOKEN)
    assert not secrets.in_keyring
    assert json.loads(system.file.read_text("utf-8")) == {URL: TOKEN}
    assert stat.S_IMODE(system.file.stat().st_mode) == 0o600
    asked = len(system.calls())
    assert secrets.get(URL) == TOKEN
    assert len(system.calls()) == asked


@pytest.mark.parametrize("environment", [{"PATH": "/nowhere"}, {"PATH": os.defpath, "MAHTAI_KEYRING": "off"}])
def test_without_a_keyring_tokens_lie_in_a_file_that_only_its_owner_can_read(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    secrets = Secrets(tmp_path / "settings", environment)
    assert not secrets.in_keyring
    secrets.set(URL, TOKEN)
    file = tmp_path / "settings" / "server-tokens.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Secrets(tmp_path / "settings", environment).get(URL) == TOKEN
    secrets.set(URL, "")
    assert not file.exists()


def test_a_damaged_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "server-tokens.json").write_text("[1, 2", encoding="utf-8")
    secrets = Secrets(tmp_path, {"PATH": "/nowhere"})
    assert secrets.get(URL) == ""
    secrets.set(URL, TOKEN)
    assert secrets.get(URL) == TOKEN


def test_the_switch_leaves_the_keyring_alone(system: System) -> None:
    assert find_keyring(system.folder, system.environment) is not None
    assert find_keyring(system.folder, {**system.environment, "MAHTAI_KEYRING": "off"}) is None


def test_the_keychain_of_macos_gets_the_token_through_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(tmp_path, "security", SECURITY)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(find_keyring(system.folder, system.environment), MacKeychain)
    secrets = system.secrets()
    secrets.set(URL, TOKEN)
    assert system.kept == {URL: TOKEN}
    assert secrets.get(URL) == TOKEN
    secrets.set(URL, "")
    assert system.kept == {}
    assert all(TOKEN not in json.dumps(call) for call in system.calls())


@pytest.mark.parametrize("secret", ['with"quote', "with'quote", "with\\backslash", "with\nline"])
def test_the_keychain_is_never_given_what_it_could_take_for_another_command(
    tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(tmp_path, "security", SECURITY)
    monkeypatch.setattr(sys, "platform", "darwin")
    keychain = find_keyring(system.folder, system.environment)
    assert keychain is not None
    with pytest.raises(KeyringError):
        keychain.set(URL, secret)
    assert system.kept == {}
