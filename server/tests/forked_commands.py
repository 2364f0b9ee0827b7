"""Runs ``mahtai …`` again and again in processes that can be killed: a line of arguments in, a process id out.

Python and its libraries are loaded once; every command gets a process forked off that.
"""

from __future__ import annotations

import os
import sys

# loaded here, so that no command has to
import mahtai.foundation  # noqa: F401
import mahtai.progress  # noqa: F401
import mahtai.security.audit.trail  # noqa: F401
import mahtai.upkeep.backup.making  # noqa: F401
import mahtai.upkeep.backup.restoring  # noqa: F401
from mahtai.cli import main
from mahtai.security.at_rest import changing

changing.NOTICE_S = 0.2


def serve() -> None:
    """For each line of standard input: fork, say the process's id, wait, say its exit status."""
    print("ready", flush=True)
    for line in sys.stdin:
        key_file, *words = line.split()
        child = os.fork()
        if child == 0:
            os.environ["MAHTAI_KEY_FILE"] = key_file
            sys.stdout = sys.stderr
            main(words)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
