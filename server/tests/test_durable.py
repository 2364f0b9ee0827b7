"""Files that are replaced whole, also when several processes do so at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mahtai.security.audit.signing import open_signing_key, public_keys
from mahtai.volumes.durable import PARTIAL, write_whole

PUBLISH = """
import sys
from pathlib import Path
from mahtai.security.audit.signing import open_signing_key
sys.stdin.readline()
for number in range(20):
    open_signing_key(Path(sys.argv[1]) / str(number), Path(sys.argv[2]), None)
"""


def test_of_many_writers_at_once_each_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    contents = [bytes([number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: [write_whole(path, content) for _ in range(10)], contents))
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["settings.json"]


def test_what_a_killed_writer_left_goes_after_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    old, fresh = (path.with_name(f"{path.name}.{name}{PARTIAL}") for name in ("0" * 16, "1" * 16))
    for part in (old, fresh):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 3700,) * 2)
    write_whole(path, b"whole")
    assert path.read_bytes() == b"whole" and fresh.exists() and not old.exists()


def test_no_public_key_is_lost_when_servers_with_the_same_settings_start_at_once(tmp_path: Path) -> None:
    config, folders = tmp_path / "config", [tmp_path / name for name in ("one", "two", "three")]
    command = [sys.executable, "-c", PUBLISH]
    starting = [
        subprocess.Popen([*command, str(folder), str(config)], stdin=subprocess.PIPE, encoding="utf-8")
        for folder in folders
    ]
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in starting:
        process.communicate(timeout=60)
        assert process.returncode == 0
    made = {
        open_signing_key(folder / str(number), config, None).fingerprint for folder in folders for number in range(20)
    }
    assert len(made) == 60 and set(public_keys(config)) == made
