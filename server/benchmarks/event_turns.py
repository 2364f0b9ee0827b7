"""Turns of the Qt event loop on the main thread: how long each one took, and what the slow ones did.

    with TurnMeter() as meter:
        meter.turn_until(lambda: panel.is_done, 60)
    print(meter.report())

A turn is all that the loop does before it looks for input again: the slots of what was posted and of the timers that
are due. While a turn lasts longer than ``SLOW_S``, another thread looks every few milliseconds at what the main
thread does; during a long call into C++ it has to wait for Python's lock, and then sees the line that made the call.
Turns are given in wall time and in processor time of the main thread: the difference is waiting, for Python's lock or
for a processor. Between two turns the loop rests; a rest that lasts too long is such a wait as well, and what the
other threads did in it is noted.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
from PySide6 import QtCore, QtWidgets

SLOW_S = 0.02
STALL_S = 0.05
"""What a reader feels."""

_SAMPLE_S = 0.004
_REST_S = 0.0005
_SHOWN_FRAMES = 6

Stack = tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes:
        at_s: when it began, from the start of the measurement.
        wall_s, cpu_s: how long it took; processor time of the main thread.
        gc_s: of that, Python's garbage collection, which looks at all that lives in the process.
        stacks: what was seen of a slow one, innermost frame first.
        is_rest: what is told of is the rest before a turn; the stacks are those of the other threads.
    """

    at_s: float
    wall_s: float
    cpu_s: float
    gc_s: float
    stacks: tuple[Stack, ...] = ()
    is_rest: bool = False

    def did(self, kinds: int = 3) -> list[str]:
        """The stacks that were seen most often, each with its share of what was seen."""
        counted = Counter(stack[:_SHOWN_FRAMES] for stack in self.stacks).most_common(kinds)
        return [f"{100 * count // len(self.stacks)} % {' < '.join(stack)}" for stack, count in counted]


class TurnMeter:
    """Runs the event loop turn by turn and times each; a heartbeat tells how late a timer of 5 ms came at worst."""

    HEARTBEAT_MS = 5

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.heartbeat_gap_s = 0.0
        self._began = time.perf_counter()
        self._turn_began: float | None = None
        self._rest_began: float | None = None
        self._seen: list[Stack] = []
        self._gc_s = self._gc_began = 0.0
        self._closed = threading.Event()
        self._last_beat: float | None = None
        self._heart = QtCore.QTimer()
        self._heart.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._heart.timeout.connect(self._beat)

    def __enter__(self) -> TurnMeter:
        gc.callbacks.append(self._collecting)
        threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        gc.callbacks.remove(self._collecting)
        self._heart.timeout.disconnect(self._beat)

    def turn_until(self, done: Callable[[], Any], timeout_s: float, what: str = "") -> None:
        """Turn the loop until the condition holds; it is asked between the turns.

        Raises:
            TimeoutError: it did not hold in time.
        """
        give_up_at = time.perf_counter() + timeout_s
        self._last_beat = None
        self._heart.start(self.HEARTBEAT_MS)
        try:
            while not done():
                if time.perf_counter() > give_up_at:
                    raise TimeoutError(f"after {timeout_s} s this was still awaited: {what or done}")
                self._turn()
                self._rest()
        finally:
            self._heart.stop()

    def rest(self, seconds: float) -> None:
        """Turn on for a while, so that timers that were started get their turn."""
        end = time.perf_counter() + seconds
        self.turn_until(lambda: time.perf_counter() >= end, seconds + 60)

    def report(self, slowest: int = 5) -> dict[str, Any]:
        """Milliseconds, and what the slowest turns did."""
        slow = sorted((turn for turn in self.turns if turn.wall_s >= SLOW_S), key=lambda turn: -turn.wall_s)
        return {
            "turns": len(self.turns),
            "wall_ms": _percentiles([turn.wall_s for turn in self.turns]),
            "cpu_ms": _percentiles([turn.cpu_s for turn in self.turns]),
            "heartbeat_gap_ms": round(1000 * self.heartbeat_gap_s, 1),
            "stalls": sum(turn.wall_s > STALL_S for turn in self.turns),
            "slowest": [
                {
                    "at_s": round(turn.at_s, 3),
                    "wall_ms": round(1000 * turn.wall_s, 1),
                    "cpu_ms": round(1000 * turn.cpu_s, 1),
                    "is_rest": turn.is_rest,
                    "gc_ms": round(1000 * turn.gc_s, 1),
                    "did": turn.did(),
                }
                for turn in slow[:slowest]
            ],
        }

    def _turn(self) -> None:
        self._seen, self._gc_s = [], 0.0
        began, cpu = time.perf_counter(), time.thread_time()
        self._turn_began = began
        QtWidgets.QApplication.processEvents()
        ended, cpu_ended = time.perf_counter(), time.thread_time()
        self._turn_began = None
        self.turns.append(Turn(began - self._began, ended - began, cpu_ended - cpu, self._gc_s, tuple(self._seen)))

    def _rest(self) -> None:
        self._seen = []
        began, cpu = time.perf_counter(), time.thread_time()
        self._rest_began = began
        time.sleep(_REST_S)
        ended, cpu_ended = time.perf_counter(), time.thread_time()
        self._rest_began = None
        if ended - began >= SLOW_S:
            rest = Turn(began - self._began, ended - began, cpu_ended - cpu, 0.0, tuple(self._seen), is_rest=True)
            self.turns.append(rest)

    def _look(self, main: int) -> None:
        """In a thread of its own: note what the main thread does in a turn that lasts long, and who makes it wait."""
        while not self._closed.wait(_SAMPLE_S):
            turn, rest = self._turn_began, self._rest_began
            since = turn or rest or time.perf_counter()
            if time.perf_counter() - since < SLOW_S - 2 * _SAMPLE_S:
                continue
            frames = sys._current_frames()
            if turn is not None and self._turn_began == turn:
                self._seen.append(_stack(frames.get(main)))
            elif rest is not None:
                others = (one for one in frames if one not in (main, threading.get_ident()))
                self._seen += [stack for one in others if not _waits(stack := _stack(frames[one]))]

    def _collecting(self, phase: str, _info: object) -> None:
        if threading.current_thread() is threading.main_thread():
            if phase == "start":
                self._gc_began = time.perf_counter()
            else:
                self._gc_s += time.perf_counter() - self._gc_began

    def _beat(self) -> None:
        now = time.perf_counter()
        if self._last_beat is not None:
            self.heartbeat_gap_s = max(self.heartbeat_gap_s, now - self._last_beat)
        self._last_beat = now


def _stack(frame: FrameType | None) -> Stack:
    """``folder/file:line function`` of each frame, innermost first, down to the event loop."""
    found = []
    while frame is not None and frame.f_code.co_filename != __file__:
        folder_and_file = "/".join(frame.f_code.co_filename.replace("\\", "/").split("/")[-2:])
        found.append(f"{folder_and_file}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return tuple(found) or ("Qt or VTK, between two calls of Python",)


def _waits(stack: Stack) -> bool:
    return stack[0].partition(" ")[2] in ("wait", "get", "select", "readinto", "_recv_into", "accept")


def _percentiles(seconds: list[float]) -> dict[str, float]:
    shares = {"p50": 50, "p99": 99, "max": 100}
    return {name: round(1000 * float(np.percentile(seconds or [0.0], share)), 1) for name, share in shares.items()}
