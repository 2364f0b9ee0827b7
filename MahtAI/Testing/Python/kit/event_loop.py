"""Qt's event loop in tests: run it until something holds, and measure its longest stall."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from PySide6 import QtCore

# what went wrong inside a slot: Qt can only print it, a test has to fail for it (or look at it and clear the list)
SLOT_ERRORS: list[BaseException] = []


def collect_slot_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For ``sys.excepthook``: PySide6 reports there what a slot raises."""
    SLOT_ERRORS.append(error)
    traceback.print_exception(kind, error, trace)


class LoggedErrors(logging.Handler):
    """Collects exceptions that code catches, logs and goes on from; a test has to see those too."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            SLOT_ERRORS.append(record.exc_info[1])


def spin(until: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> None:
    """Run the event loop until the condition holds.

    Raises:
        TimeoutError: it did not hold in time; says ``what`` was awaited.
        BaseException: whatever a slot raised meanwhile.
    """
    clock, loop, poll = QtCore.QElapsedTimer(), QtCore.QEventLoop(), QtCore.QTimer()
    failed: list[BaseException] = []

    def look() -> None:
        try:
            done = until()
        except BaseException as error:
            failed.append(error)
            done = True
        if done or SLOT_ERRORS or clock.elapsed() > timeout_s * 1000:
            loop.quit()

    clock.start()
    poll.timeout.connect(look)
    poll.start(2)
    if not until():
        loop.exec()
    poll.stop()
    if SLOT_ERRORS:
        raise SLOT_ERRORS.pop(0)
    if failed:
        raise failed[0]
    if not until():
        raise TimeoutError(f"after {timeout_s} s this did not hold: {what or _source(until)}")


def _source(function: Callable[[], Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


class StallMeter:
    """The longest time (seconds) in which the event loop did not turn.

    with StallMeter() as meter:
        panel.ui.runButton.click()
        spin(lambda: panel.state == "done")
    assert meter.longest_s < 0.05
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._clock = QtCore.QElapsedTimer()
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)

    def __enter__(self) -> StallMeter:
        self._clock.start()
        self._timer.start(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._tick()
        self._timer.stop()

    def _tick(self) -> None:
        self.longest_s = max(self.longest_s, self._clock.nsecsElapsed() / 1e9)
        self._clock.start()
