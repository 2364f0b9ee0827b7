"""The engine's own process: loads PyTorch once, then runs one inference after the other.

Started by ``mahtai.jobs.engine`` as ``python -m mahtai.jobs.engine_process``. It speaks JSON, one object a
line, over the pipes that were its standard input and output:

    in   {"do": "load", "request": {…}}                 a model before it is asked for; when nothing else is to be
                                                         done, measure how it runs fastest on this machine
         {"do": "prepare", "request": {…}}              a study before it is asked for
         {"do": "run", "job": …, "request": {…}}        an ``InferenceRequest``
         {"do": "correct", "job": …, "request": {…}}    a ``CorrectionRequest``
         {"do": "cancel", "job": …}                     stop that job at the next opportunity
    out  {"event": "ready"}                             PyTorch is loaded
         {"event": "progress", "job", "stage", "fraction"}
         {"event": "preview", "job", "path"}            a coarse result, while the full one is under way
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
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mahtai.errors import MahtaiError
from mahtai.jobs.work import DEVICE_LOST
from mahtai.parent import end_with_parent

NICENESS = 5

_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate", "bad allocation")
_DEVICE_WORDS = ("cuda error", "cuda driver error", "cudnn_status", "cublas_status", "hip error", "no cuda gpus")
"""In what PyTorch says of a graphics card that was lost, reset, or has failed."""

_OUT_OF_MEMORY_HINT = (
    "Close other programs on the server's computer, or ask for a machine with more memory. "
    "The engine has freed its memory; the next run starts fresh."
)


Command = dict[str, Any]

IDLE_S = 3.0
"""How long nothing must have come before time is spent on measuring."""

_MOST_PREPARATIONS = 4
_END = object()


class Inbox:
    """What the server has sent: things to do, and the jobs that shall stop. What a reader waits for comes first.

    Args:
        stream: the pipe from the server. gone: called when it ends.
    """

    def __init__(self, stream: IO[bytes], gone: Callable[[], None]) -> None:
        self._condition = threading.Condition()
        self._waited_for: deque[Command] = deque()
        self._ahead: deque[Command] = deque(maxlen=_MOST_PREPARATIONS)
        self._cancelled: set[str] = set()
        self._stream = stream
        self._gone = gone
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def take(self, patience_s: float | None) -> Command | None:
        """The next thing to do; None if nothing came for so long."""
        with self._condition:
            self._condition.wait_for(lambda: self._waited_for or self._ahead, patience_s)
            for commands in (self._waited_for, self._ahead):
                if commands:
                    return commands.popleft()
            return None

    def is_cancelled(self, job: str) -> bool:
        """Whether the server wants this job stopped."""
        return job in self._cancelled

    def has_other(self, inputs: Mapping[str, str]) -> bool:
        """Whether somebody waits for something else than the study of these inputs."""
        with self._condition:
            return any(command["request"].get("inputs") != inputs for command in self._waited_for)

    def _read(self) -> None:
        try:
            for line in self._stream:
                self._sort(json.loads(line))
        finally:
            self._gone()

    def _sort(self, command: Command) -> None:
        with self._condition:
            if command["do"] == "cancel":
                self._cancelled.add(command["job"])
                return
            if "job" in command:
                self._cancelled.discard(command["job"])  # it had made room for another one, and is back
            (self._waited_for if "job" in command else self._ahead).append(command)
            self._condition.notify_all()


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
    end_with_parent(os.getppid())
    _be_the_first_to_go()
    _let_others_go_first()
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
    _Worker(service, inbox, outbox).work()


class _Worker:
    """Does what the inbox says, one thing after the other, for ever."""

    def __init__(self, service: Any, inbox: Inbox, outbox: Outbox) -> None:
        self._service = service
        self._inbox = inbox
        self._outbox = outbox
        self._measuring: Iterator[object] | None = None
        self._idle = False

    def work(self) -> None:
        """Never returns."""
        while True:
            command = self._inbox.take(None if self._measuring is None else 0.0 if self._idle else IDLE_S)
            self._idle = command is None
            if command is None:
                self._measure()
            elif command["do"] == "load":
                self._load(command["request"])
            elif command["do"] == "prepare":
                self._prepare(command["request"])
            else:
                self._run(command)

    def _load(self, request: Command) -> None:
        with _only_reported():
            self._measuring = self._service.load(self._service.InferenceRequest(**request))

    def _measure(self) -> None:
        """One step, after which somebody may have come."""
        with _only_reported():
            if self._measuring is not None and next(self._measuring, _END) is not _END:
                return
        self._measuring = None

    def _prepare(self, request: Command) -> None:
        inputs = request["inputs"]
        with _only_reported(), contextlib.suppress(MahtaiError, self._service.InferenceCancelled):
            self._service.prepare(self._service.InferenceRequest(**request), lambda: self._inbox.has_other(inputs))

    def _run(self, command: Command) -> None:
        """Run one job; whatever goes wrong becomes an answer, because the server waits for one."""
        job, send = command["job"], self._outbox.send
        try:
            output = self._service.perform(
                command["do"],
                command["request"],
                lambda stage, fraction: send("progress", job=job, stage=stage, fraction=float(fraction)),
                lambda: self._inbox.is_cancelled(job),
                lambda path: send("preview", job=job, path=path),
            )
            send("done", job=job, files=output.files, summary=output.summary)
            if self._measuring is None:  # unless it is known for this model, which takes no time to find out
                self._load(command["request"].get("inference", command["request"]))
        except self._service.InferenceCancelled:
            send("cancelled", job=job)
        except Exception as error:
            if not isinstance(error, MahtaiError):
                traceback.print_exc()
            send("failed", job=job, **explain(error))


@contextlib.contextmanager
def _only_reported() -> Iterator[None]:
    """What goes wrong ahead of time is told to those who run the model, when they do."""
    try:
        yield
    except Exception:
        traceback.print_exc()


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
    if any(words in str(error).lower() for words in _DEVICE_WORDS):
        return {
            "kind": DEVICE_LOST,
            "reason": "The graphics card that runs the model failed, or was taken away. The study itself is safe.",
            "hint": "Run the model again. If it happens again, tell the person who looks after the server.",
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


def _be_the_first_to_go() -> None:
    """Where memory runs out, the kernel shall take the engine and not the server."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("600", encoding="utf-8")


def _let_others_go_first() -> None:
    """The network takes all cores that it gets; the server's answers and the reader's Slicer take little and wait."""
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(NICENESS)


if __name__ == "__main__":
    main()
