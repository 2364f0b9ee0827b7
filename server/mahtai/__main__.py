"""The beginning of every command, so that Ctrl-C ends it in silence also while its libraries are loaded."""

from __future__ import annotations

import sys


def run() -> None:
    """Run ``mahtai`` with the arguments of this process; ends it."""
    try:
        from mahtai.cli import INTERRUPTED, main
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    run()
