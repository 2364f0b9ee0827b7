"""The engine's own process: loads PyTorch once, then runs one inference after the other.

Started by ``mahtai.jobs.engine`` as ``python -m mahtai.jobs.engine_process``. It speaks JSON, one object a
line, over the pipes that were its standard input and output:

    in   {"do": "prepare", "model_folder": …, "device": …}   load a model before it is asked for
         {"do": "run", "job": …, "request": {…}}             an ``InferenceRequest``
         {"do": "cancel", "job": …}                          stop that job at the next opportunity
    out  {"event": "ready"}                                  PyTorch is loaded
         {"event": "progress", "job", "stage", "fraction"}
         {"event": "done", "job", "files", "summary"}
         {"event": "failed", "job", "kind", "reason", "hint"}
         {"event": "cancelled", "job"}

When the pipe from the server ends, the server is gone, and this process ends at once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from mahtai.errors import MahtaiError

_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate", "bad allocation")
_OUT_OF_MEMORY_HINT = (
    "Close other programs on the server's computer, or ask for a machine with more memory. "
    "The engine has freed its memory; the next run starts fresh."
)


class Inbox:
    """What the server has sent: a queue of things to do, and the job that shall stop.

    Args:
        stream: the pipe from the server. gone: called when it ends.
    """

    def __init__(self, stream: IO[bytes], gone: Callable[[], None]) -> None:
        self.commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._stream = stream
        self._gone = gone
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def is_cancelled(self, job: str) -> bool:
        """Whether the server wants this job stopped."""
        return job in self._cancelled

    def _read(self) -> None:
        try:
            for line in self._stream:
                command = json.loads(line)
                if command["do"] == "cancel":
                    self._cancelled.add(command["job"])
                else:
                    self.commands.put(command)
        finally:
            self._gone()


class Outbox:
    """The pipe to the server."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, event: str, **content: Any) -> None:
        """Write one line; the caller's thread waits if the server is slow to read."""
        line = json.dumps({"event": event, **content}, allow_nan=False).encode() + b"\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()


def main() -> None:
    """Serve until the server goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in the terminal is the server's business
    _die_with_parent()
    commands, events = _take_pipes()
    inbox = Inbox(commands, gone=lambda: os._exit(0))
    outbox = Outbox(events)
    try:
        from mahtai.inference import service
    except ImportError as error:
        traceback.print_exc()
        outbox.send("broken", reason=f"The engine cannot load what it needs: {error}.")
        return
    outbox.send("ready")
    while True:
        command = inbox.commands.get()
        if command["do"] == "prepare":
            _prepare(service, command)
        else:
            _run(service, command, inbox, outbox)


def _prepare(service: Any, command: dict[str, Any]) -> None:
    from mahtai.models.bundle import read_bundle

    try:
        service.warm_model(read_bundle(Path(command["model_folder"])), command["device"], "auto")
    except Exception:  # reported to those who run the model, not to those who only start the server
        traceback.print_exc()


def _run(service: Any, command: dict[str, Any], inbox: Inbox, outbox: Outbox) -> None:
    """Run one job; whatever goes wrong becomes an answer, because the server waits for one."""
    job = command["job"]
    try:
        output = service.run(
            service.InferenceRequest(**command["request"]),
            lambda stage, fraction: outbox.send("progress", job=job, stage=stage, fraction=float(fraction)),
            lambda: inbox.is_cancelled(job),
        )
        outbox.send("done", job=job, files=output.files, summary=output.summary)
    except service.InferenceCancelled:
        outbox.send("cancelled", job=job)
    except Exception as error:
        if not isinstance(error, MahtaiError):
            traceback.print_exc()
        outbox.send("failed", job=job, **explain(error))


def explain(error: Exception) -> dict[str, str]:
    """Kind, reason and hint of an error, in the reader's words."""
    if isinstance(error, MahtaiError):
        return {"kind": error.kind, "reason": error.reason, "hint": error.hint}
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _MEMORY_WORDS):
        return {
            "kind": "out-of-memory",
            "reason": "The computer that runs the model had not enough memory for this study.",
            "hint": _OUT_OF_MEMORY_HINT,
        }
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return {
            "kind": "storage-full",
            "reason": "The server's disk is full, so the result could not be written. The study itself is safe.",
            "hint": "Free some space on the server's disk, then run the model again.",
        }
    return {
        "kind": "engine-fault",
        "reason": f"The engine met an unexpected error ({type(error).__name__}). The study itself is safe.",
        "hint": "Run it again. If it happens again, send the server's log to those who look after MahtAI.",
    }


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output, taken out of the reach of libraries that print."""
    commands = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return commands, events


def _die_with_parent() -> None:
    """On Linux the kernel ends this process with the server's thread that started it, even in mid-computation.

    The end of the pipe does the same everywhere, but only once the interpreter comes round to it.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    # where memory runs out, the kernel shall take the engine and not the server
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("600", encoding="utf-8")


if __name__ == "__main__":
    main()
