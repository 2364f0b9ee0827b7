"""Runs the server with libraries of its own, for as long as whoever started it lives.

Started by ``process.py`` as a script, with ``-S`` so that the Python's own libraries (Slicer's) stay out of the
way. Where it listens it writes into the note, why it does not into the failure. It ends when its standard input
does: the system closes that pipe however the other process ends. The server's engine, a process of its own, is
started by the server with the same search path.
"""

from __future__ import annotations

import _thread
import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO

SHUTDOWN_LIMIT_S = 8.0
_LIBRARY_FOLDERS = ("site-packages", "dist-packages")


def main() -> int:
    """Serve until the pipe ends; returns the exit status."""
    options = _options()
    _search_in([*options.app, *options.packages], alone=bool(options.packages))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    threading.Thread(target=_end_with_parent, args=(_take_pipe(),), daemon=True, name="parent").start()
    try:
        return _serve(options)
    except KeyboardInterrupt:
        return 0


def _serve(options: argparse.Namespace) -> int:
    try:
        from mahtai import __version__
        from mahtai.app import serve
        from mahtai.errors import MahtaiError
        from mahtai.settings import Settings
        from MahtAILib.client.durable import try_lock
    except ImportError as error:
        _write(options.failure, kind="damaged-installation", reason=str(error), hint="")
        raise

    def announce(url: str) -> None:
        print(f"MahtAI {__version__} listens at {url}", flush=True)
        _write(options.note, run=options.run, url=url)

    options.users.mkdir(parents=True, exist_ok=True)
    user = options.users / str(os.getpid())
    try:
        with try_lock(user):
            serve(Settings.from_environment(host="127.0.0.1", port=options.port), announce)
    except MahtaiError as error:
        print(f"{error.title}: {error}", file=sys.stderr)
        _write(options.failure, kind=error.kind, reason=error.reason, hint=error.hint)
        return 1
    finally:
        user.unlink(missing_ok=True)
    return 0


def _write(path: Path, **content: str) -> None:
    written = path.with_name(f"{path.name}.{os.getpid()}.part")
    written.write_text(json.dumps(content), "utf-8")
    os.replace(written, path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The MahtAI server of the panel in Slicer.")
    parser.add_argument("--app", action="append", required=True, help="folder that holds mahtai or MahtAILib")
    parser.add_argument("--packages", action="append", default=[], help="folder with the server's libraries")
    parser.add_argument("--users", type=Path, required=True, help="folder for the lock that says: in use")
    parser.add_argument("--note", type=Path, required=True, help="file to write the address into")
    parser.add_argument("--failure", type=Path, required=True, help="file to write into why there is no server")
    parser.add_argument("--run", required=True, help="goes into the note, to tell one start from another")
    parser.add_argument("--port", type=int, required=True, help="0: one that is free")
    return parser.parse_args()


def _search_in(folders: list[str], alone: bool) -> None:
    """Put folders first on the search path, here and in the engine's process; ``alone``: no other libraries."""
    standard = os.path.dirname(_normal(os.__file__))
    named = {_normal(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    kept = []
    for entry in sys.path[1:]:  # the first is this script's own folder
        is_foreign = _normal(entry) in named and not _normal(entry).startswith(standard)
        if not alone or not (is_foreign or os.path.basename(entry) in _LIBRARY_FOLDERS):
            kept.append(entry)
    sys.path[:] = [*folders, *kept]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)


def _normal(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))


def _take_pipe() -> IO[bytes]:
    """Standard input, out of the reach of libraries: on Windows some wait for ever when a thread reads there."""
    pipe = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    return pipe


def _end_with_parent(pipe: IO[bytes]) -> None:
    """Wait for the end of the pipe, then have the server shut down, by force if it does not."""
    while pipe.read(4096):
        pass
    watchdog = threading.Timer(SHUTDOWN_LIMIT_S, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:
        os.kill(os.getpid(), signal.SIGINT)  # reaches the main thread even where it waits


if __name__ == "__main__":
    sys.exit(main())
