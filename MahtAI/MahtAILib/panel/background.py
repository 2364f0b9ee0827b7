"""Work in threads, answers on the main thread. No request is ever made on the main thread.

A thread's answer is put into a queue that a Qt timer empties. The timer has a second duty: Slicer's main
loop holds Python's lock while it idles, so that a thread gets a fraction of a percent of the time; a slot
that sleeps for a millisecond hands the lock over (measured: a hundred times the throughput, longest stall
of the main thread 20 ms). It runs only while there is work.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import qt

from MahtAILib.client.errors import CancelledError
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.topics import Topic

log = logging.getLogger(__name__)

T = TypeVar("T")

_PUMP_MS = 2
_YIELD_S = 0.001
_DELIVERY_S = 0.01
"""After so long the answers that are left wait for the next turn, and what the reader does comes first."""


class Errand(Generic[T]):
    """One piece of work under way.

    Attributes:
        cancelled: the work's sign to stop; it then ends with CancelledError.
    """

    def __init__(self, report: Callable[[Callable[[], None]], None]) -> None:
        self.cancelled = threading.Event()
        self._report = report
        self._on_progress: Callable[[str, float, int | None], None] | None = None
        self._on_preview: Callable[[Any], None] | None = None

    def cancel(self) -> None:
        """Stop the work as soon as it can be stopped."""
        self.cancelled.set()

    def progress(self, stage: str, fraction: float = 0.0, place: int | None = None) -> None:
        """To be called by the work: how far it is."""
        if self._on_progress is not None:
            self._report(partial(self._on_progress, stage, fraction, place))

    def preview(self, preview: Any) -> None:
        """To be called by the work: something to show before it ends."""
        if self._on_preview is not None:
            self._report(partial(self._on_preview, preview))


class Background:
    """Runs errands; their callbacks come on the main thread, and not at all after ``close``.

    Attributes:
        ended: an errand has ended, well or not; told after its callback.

    Args:
        on_fault: told when a callback failed, which is a fault of the program.
    """

    def __init__(self, on_fault: Callable[[ExplainedError], None]) -> None:
        self.ended = Topic()
        self._on_fault = on_fault
        self._answers: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._errands: set[Errand[Any]] = set()
        self._closed = False
        self._threads = _Threads()
        self._pump = qt.QTimer()
        self._pump.setInterval(_PUMP_MS)
        self._pump.timeout.connect(self._deliver)

    @property
    def is_busy(self) -> bool:
        """Whether an errand is under way."""
        return bool(self._errands)

    def run(
        self,
        work: Callable[[Errand[T]], T],
        on_done: Callable[[T], None],
        on_failed: Callable[[ExplainedError], None],
        on_progress: Callable[[str, float, int | None], None] | None = None,
        on_preview: Callable[[Any], None] | None = None,
    ) -> Errand[T]:
        """Do ``work`` in a thread.

        Args:
            work: gets its errand, to report progress and to see whether it was cancelled.
            on_done: gets what the work returned.
            on_failed: gets what went wrong; a ``CancelledError`` when it was cancelled.
            on_progress: stage, fraction 0..1, place in the queue or None.
            on_preview: gets what the work has to show before its end.
        """
        errand: Errand[T] = Errand(self._answers.put)
        errand._on_progress, errand._on_preview = on_progress, on_preview
        self._errands.add(errand)
        self._threads.do(partial(self._work, errand, work, on_done, on_failed))
        self._pump.start()
        return errand

    def close(self) -> None:
        """Cancel all errands and drop their answers."""
        self._closed = True
        self._pump.stop()
        for errand in self._errands:
            errand.cancel()
        self._errands.clear()
        self._threads.close()

    def _work(
        self,
        errand: Errand[T],
        work: Callable[[Errand[T]], T],
        on_done: Callable[[T], None],
        on_failed: Callable[[ExplainedError], None],
    ) -> None:
        answer: Callable[[], None]
        try:
            answer = partial(on_done, work(errand))
        except ExplainedError as error:
            answer = partial(on_failed, error)
        except Exception as error:  # the thread's last word: without it the panel would wait for ever
            log.exception("MahtAI: unexpected error")
            answer = partial(on_failed, unexpected(error))
        self._answers.put(partial(self._end, errand, answer))

    def _end(self, errand: Errand[Any], answer: Callable[[], None]) -> None:
        self._errands.discard(errand)
        answer()
        self.ended.publish()

    def _deliver(self) -> None:
        stop_at = time.perf_counter() + _DELIVERY_S
        while not self._closed and time.perf_counter() < stop_at:
            try:
                answer = self._answers.get_nowait()
            except queue.Empty:
                break
            try:
                answer()
            except Exception as error:  # a slot must not raise
                log.exception("MahtAI: an answer could not be shown")
                self._on_fault(unexpected(error))
        if self._errands and self._answers.empty():
            time.sleep(_YIELD_S)
        elif not self._errands and self._answers.empty():
            self._pump.stop()


class _Threads:
    """Threads that are kept for the next work: whoever starts one waits until it runs, and cores may be busy."""

    _AT_FIRST = 2

    def __init__(self) -> None:
        self._works: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._count = self._free = 0
        for _ in range(self._AT_FIRST):
            self._add()

    def do(self, work: Callable[[], None]) -> None:
        """Have it done at once, in a thread that is free or a new one."""
        with self._lock:
            is_free = self._free > 0
            self._free -= 1
        if not is_free:
            self._add()
        self._works.put(work)

    def close(self) -> None:
        """Each thread ends after what it does."""
        for _ in range(self._count):
            self._works.put(None)

    def _add(self) -> None:
        self._count += 1
        with self._lock:
            self._free += 1
        threading.Thread(target=self._run, daemon=True, name="MahtAI panel").start()

    def _run(self) -> None:
        while (work := self._works.get()) is not None:
            work()
            del work  # and what it holds, such as the voxels of a study
            with self._lock:
                self._free += 1


def unexpected(error: BaseException) -> ExplainedError:
    """Words for an error that nobody foresaw."""
    return ExplainedError(
        f"Something unexpected happened ({type(error).__name__}: {error}). Nothing was changed.",
        "Try again. If it happens again, please report it; Slicer's log (Help, Report a Bug) has the details.",
    )


def was_cancelled(error: ExplainedError) -> bool:
    """Whether an errand ended because it was told to."""
    return isinstance(error, CancelledError)
