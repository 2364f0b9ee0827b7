"""Every parser of what clients send, fed with spoiled files: a volume or a reason, no other end, in bounded memory.

``MAHTAI_FUZZ_INPUTS`` says how many inputs a parser gets; ``-s`` prints what came of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import parser_fuzzing

INPUTS = int(os.environ.get("MAHTAI_FUZZ_INPUTS", "300"))
SEED = 7


@pytest.mark.parametrize("name", parser_fuzzing.PARSERS)
def test_spoiled_files_are_read_or_refused(name: str) -> None:
    paths = dict.fromkeys(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, str(Path(parser_fuzzing.__file__)), name, str(SEED), str(INPUTS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120 + INPUTS,
        check=False,
    )
    assert done.returncode == 0, f"ended with {done.returncode}; the last it tried:\n{done.stderr[-1500:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {found['outcomes']}")
    assert not found["wrong"]
    assert sum(found["outcomes"].values()) == INPUTS
    assert found["outcomes"].get("refused", 0) > INPUTS / 10
