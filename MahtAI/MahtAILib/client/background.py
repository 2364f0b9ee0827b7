"""Work in a thread of its own, so that whoever waits for it gets progress and can stop waiting at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from MahtAILib.client.errors import CancelledError, ClientError

T = TypeVar("T")

Report = tuple[str, float, int | None]

OnProgress = Callable[[str, float, int | None], None]
"""Called with the stage, how much of it is done (0 to 1), and while queued the number of jobs before."""

Cancelled = threading.Event | Callable[[], bool]
"""How a caller says stop: an event that it sets, or a function that then returns True."""

_LOOK_EVERY_S = 0.05
_END: Report = ("", 1.0, None)
_UNDO_WITHIN_S = 1.0


class Task:
    """One piece of work under way: it reports here, and asks here whether it is still wanted."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._undo: list[Callable[[], object]] = []
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()

    def report(self, stage: str, fraction: float = 0.0, place: int | None = None) -> None:
        """Tell the waiting caller how far the work is."""
        self._reports.put((stage, fraction, place))

    def next_report(self, timeout_s: float) -> Report | None:
        """What was reported next, for whoever waits for the task; None when nothing comes in time."""
        try:
            return self._reports.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def check(self) -> None:
        """Go on, or raise CancelledError if the caller has stopped waiting."""
        if self.stopped.is_set():
            raise CancelledError()

    def wait(self, seconds: float) -> None:
        """Pause; raise CancelledError as soon as the caller has stopped waiting."""
        if self.stopped.wait(seconds):
            raise CancelledError()

    def undo_if_cancelled(self, undo: Callable[[], object]) -> None:
        """Have ``undo`` called once when the caller stops waiting; at once if it already has.

        Raises:
            CancelledError: after ``undo``, if the caller had stopped before.
        """
        with self._lock:
            late = self.stopped.is_set()
            if not late:
                self._undo.append(undo)
        if late:
            undo()
            raise CancelledError()

    def abandon(self) -> None:
        """Stop the work; give what must be undone a moment, and let it go on alone after that."""
        with self._lock:
            self.stopped.set()
            undo, self._undo = self._undo, []
        if undo:
            finished = threading.Event()
            threading.Thread(target=_undo_all, args=(undo, finished), daemon=True, name="MahtAI cancel").start()
            finished.wait(_UNDO_WITHIN_S)


class _Thread(threading.Thread, Generic[T]):
    """A daemon thread that keeps what its work returned or raised."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(daemon=True, name="MahtAI client")
        self._work = work
        self.finished = threading.Event()
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:
            self.error = error  # raised again in the thread that waits
        finally:
            self.finished.set()

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


def run_cancellable(
    work: Callable[[Task], T], on_progress: OnProgress | None = None, cancelled: Cancelled | None = None
) -> T:
    """Do ``work`` in another thread and wait for it; progress is delivered in the calling thread.

    However the wait ends other than by the work's own end (cancel, Ctrl-C, an error in ``on_progress``), the
    work is stopped and undone. It returns within two seconds of that even where a request hangs.

    Raises:
        CancelledError: ``cancelled`` said so.
        BaseException: whatever ``work`` raised.
    """
    is_cancelled = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
    task = Task()

    def work_to_the_end() -> T:
        try:
            return work(task)
        finally:
            task.report(*_END)

    thread = _Thread(work_to_the_end)
    thread.start()
    try:
        while (report := task.next_report(_LOOK_EVERY_S)) != _END:
            if report is not None and on_progress is not None:
                on_progress(*report)
            if is_cancelled is not None and is_cancelled():
                raise CancelledError()
    except BaseException:
        task.abandon()
        raise
    thread.finished.wait()
    return thread.outcome()


def run_parallel(works: Sequence[Callable[[threading.Event], T]], at_once: int) -> list[T]:
    """Do all ``works``, some at the same time; their results in the same order.

    Args:
        works: each is given an event that is set when another one has failed, as its sign to give up.
        at_once: how many run at the same time.

    Raises:
        BaseException: what the first failing work raised.
    """
    failed = threading.Event()
    failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    turns = threading.Semaphore(at_once)

    def in_turn(work: Callable[[threading.Event], T]) -> T:
        with turns:
            try:
                return work(failed)
            except BaseException as error:
                failures.put(error)
                failed.set()
                raise

    threads = [_Thread(partial(in_turn, work)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.finished.wait()
    if not failures.empty():
        raise failures.get()
    return [thread.outcome() for thread in threads]


def _undo_all(undo: Sequence[Callable[[], object]], finished: threading.Event) -> None:
    try:
        for step in undo:
            try:
                step()
            except ClientError:
                continue  # nobody waits for the answer any more
    finally:
        finished.set()
