"""The engine: one process a device, kept warm, replaced when it dies or does not obey."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from mahtai.jobs.engine_child import ENDED, EngineChild, Message
from mahtai.jobs.work import DEVICE_LOST, EngineFailure, EngineOutput, JobCancelled, Work, death

EngineState = Literal["starting", "ready", "busy", "broken", "stopped"]

CANCEL_GRACE_S = 1.0
"""How long a cancelled job may take to stop by itself before its process is ended."""

START_LIMIT_S = 180.0

SHORTEST_LIFE_S = 20.0
"""A process that ends by itself sooner is not replaced before a job wants it, or it would go on for ever."""

TRIES = 3
"""How many processes may end before they have looked at a job until the job is blamed."""

_log = logging.getLogger(__name__)


_SPOILT = ("out-of-memory", DEVICE_LOST, "engine-fault")
"""Failures after which a process may not be itself any more: its memory is in pieces, its graphics card gone."""


class _NeverBegun(Exception):
    """The process ended before it had looked at the job."""


class Engine:
    """Runs one inference at a time in a process of its own.

    Args:
        machine: fields of an ``InferenceRequest`` that are the same for all jobs.
        stall_s: seconds without a message after which a running job is given up.
        first_model: folder of the model to load before it is asked for, if any.
    """

    def __init__(self, machine: Mapping[str, Any], stall_s: float, first_model: Callable[[], Path | None]) -> None:
        self._machine = dict(machine)
        self._stall_s = stall_s
        self._first_model = first_model
        self._condition = threading.Condition()
        self._child: EngineChild | None = None
        self._broken: str | None = None
        self._job: str | None = None
        self._wanted = False
        self._waiting = False
        self._stopping = False
        self._keeper = threading.Thread(target=self._keep_alive, name="engine-keeper", daemon=True)

    def start(self) -> None:
        """Get ready; the process itself is started by ``warm_up`` or the first job."""
        self._keeper.start()

    def warm_up(self) -> None:
        """Begin to load PyTorch in the background."""
        with self._condition:
            self._want_child()

    def stop(self) -> None:
        """End the process; a job that runs sees an ``EngineFailure``."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            if self._child is not None:
                self._child.kill()
        if self._keeper.is_alive():
            self._keeper.join(timeout=10.0)

    @property
    def state(self) -> tuple[EngineState, str]:
        """The state, and the reason if it is ``broken``."""
        with self._condition:
            if self._stopping:
                return "stopped", ""
            if self._broken is not None:
                return "broken", self._broken
            if self._child is None or not self._child.is_ready:
                return "starting", ""
            return ("busy" if self._job else "ready"), ""

    @property
    def pid(self) -> int | None:
        """Of the present process."""
        with self._condition:
            return None if self._child is None else self._child.pid

    def prepare(self, work: Work) -> None:
        """Have a study prepared before it is asked for, if the process has started; nothing tells whether it was."""
        with self._condition:
            child = self._child
        if child is not None and child.is_ready:
            child.send({"do": "prepare", "request": work.request(**self._machine)})

    def run(
        self,
        work: Work,
        report: Callable[[str, float], None],
        cancelled: Callable[[], bool],
        preview: Callable[[Path], None] = lambda path: None,
    ) -> EngineOutput:
        """Run one job; call it from one thread at a time.

        Args:
            preview: told the file of a coarse result while the full one is under way.

        A job whose graphics card is lost is done again by a fresh process, on the processor where no card is left.

        Raises:
            EngineFailure: with what the engine said, or that it died; the next job gets a fresh process.
            JobCancelled: ``cancelled`` had become true and ``cancel`` was called.
        """
        lost: EngineFailure | None = None
        for _ in range(TRIES):
            child = self._wait_until_ready(cancelled)
            with self._condition:
                self._job = work.job
            try:
                do = "run" if work.region is None else "correct"
                child.send({"do": do, "job": work.job, "request": work.request(**self._machine)})
                return self._follow(child, work.job, report, cancelled, preview)
            except _NeverBegun:
                continue  # the process had died while it was idle; the keeper starts another
            except EngineFailure as error:
                if error.kind != DEVICE_LOST or cancelled():
                    raise
                lost = error
                _log.warning("the graphics card was lost; a fresh process does the job with what there is")
            finally:
                with self._condition:
                    self._job = None
        raise death(child.wait()) if lost is None else lost

    def interrupt(self, job: str) -> None:
        """Ask a job to stop at its next opportunity, if there is one before its end."""
        with self._condition:
            child = self._child if self._job == job else None
        if child is not None:
            child.send({"do": "cancel", "job": job})

    def cancel(self, job: str) -> None:
        """Stop a job, by kindness first and by force after ``CANCEL_GRACE_S``."""
        with self._condition:
            child = self._child if self._job == job else None
            self._condition.notify_all()
        if child is not None:
            child.send({"do": "cancel", "job": job})
            child.messages.put({"event": "cancel-wanted", "job": job})

    def _wait_until_ready(self, cancelled: Callable[[], bool]) -> EngineChild:
        with self._condition:
            self._broken = None  # whatever was missing may have been installed meanwhile
            self._waiting = True
            self._want_child()

            def settled() -> bool:
                ready = self._child is not None and self._child.is_ready
                return self._stopping or self._broken is not None or ready or cancelled()

            if not self._condition.wait_for(settled, START_LIMIT_S) and self._child is not None:
                self._child.kill()  # and the keeper calls it broken
            self._waiting = False
            if cancelled():
                raise JobCancelled
            if self._child is not None and self._child.is_ready:
                return self._child
            raise EngineFailure(
                "engine-broken",
                self._broken or "The engine did not start.",
                "Check the installation of the server with `mahtai models check`, then run the model again.",
            )

    def _follow(
        self,
        child: EngineChild,
        job: str,
        report: Callable[[str, float], None],
        cancelled: Callable[[], bool],
        preview: Callable[[Path], None],
    ) -> EngineOutput:
        give_up = time.monotonic() + self._stall_s
        has_begun = False
        while True:
            try:
                message = child.messages.get(timeout=max(give_up - time.monotonic(), 0.0))
            except queue.Empty:
                self._replace(child)
                if cancelled():
                    raise JobCancelled from None
                raise EngineFailure(
                    "engine-stalled",
                    f"The engine gave no sign of life for {self._stall_s:.0f} s and was stopped.",
                    "Run the model again. If it happens again, tell the person who runs the server.",
                ) from None
            if message["event"] == ENDED:
                self._replace(child)
                if cancelled():
                    raise JobCancelled
                raise death(child.wait()) if has_begun or self._stopping else _NeverBegun
            if message.get("job") != job:
                continue  # of an earlier job that was cancelled
            if message["event"] == "cancel-wanted":
                give_up = time.monotonic() + CANCEL_GRACE_S
            elif message["event"] == "progress":
                has_begun = True
                report(message["stage"], message["fraction"])
                if not cancelled():
                    give_up = time.monotonic() + self._stall_s
            elif message["event"] == "preview":
                preview(Path(message["path"]))
            else:
                return self._conclude(child, message, cancelled)

    def _conclude(self, child: EngineChild, message: Message, cancelled: Callable[[], bool]) -> EngineOutput:
        if cancelled() or message["event"] == "cancelled":
            raise JobCancelled
        if message["event"] == "failed":
            if message["kind"] in _SPOILT:
                self._replace(child)  # a fresh process is the one sure way to be whole again
            raise EngineFailure(message["kind"], message["reason"], message["hint"])
        return EngineOutput({name: Path(path) for name, path in message["files"].items()}, message["summary"])

    def _want_child(self) -> None:
        """Have the keeper start a process unless there is one; to be called with the condition held."""
        if self._child is None:
            self._wanted = True
            self._condition.notify_all()

    def _replace(self, child: EngineChild) -> None:
        """End a process and see to it that no job is given to it any more; the keeper starts the next one."""
        with self._condition:
            if self._child is child:
                self._child = None
                self._wanted = True
        child.kill()

    def _keep_alive(self) -> None:
        """Start the process, wait for its end, start the next one: the keeper's thread, which lives as long."""
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._wanted or self._stopping)
                if self._stopping:
                    return
                self._wanted = False
                try:
                    child = self._child = EngineChild(self._announce, self._give_up)
                except OSError as error:
                    self._broken = f"The engine could not be started ({error.strerror})."
                    self._condition.notify_all()
                    continue
            started = time.monotonic()
            code = child.wait()
            with self._condition:
                self._child = None  # ``_replace`` may have said so before
                if child.is_ready and time.monotonic() - started > SHORTEST_LIFE_S:
                    self._wanted = True
                elif child.is_ready:
                    _log.warning("the engine process %d did not live long; the next job starts another", child.pid)
                elif self._broken is None and not self._wanted:  # wanted: a job has asked for another try
                    self._broken = f"The engine ended while it was starting (exit code {code})."
                self._condition.notify_all()
            _log.info("the engine process %d has ended with %d", child.pid, code)

    def _announce(self, child: EngineChild) -> None:
        with self._condition:
            is_awaited = self._waiting
            self._condition.notify_all()
        _log.info("the engine process %d is ready", child.pid)
        folder = None if is_awaited else self._first_model()
        if folder is not None:
            nothing = Work("", folder, {}, {}, folder)
            child.send({"do": "load", "request": nothing.request(**self._machine)})

    def _give_up(self, child: EngineChild, reason: str) -> None:
        with self._condition:
            self._broken = reason
            self._child = None  # it ends by itself; whoever asks for a job meanwhile gets another one
            self._condition.notify_all()
        _log.error("the engine process %d cannot start: %s", child.pid, reason)
