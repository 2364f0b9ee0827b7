"""The parts of the job machinery by themselves: the line, the progress board, what the engine says of errors."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterator

import pytest

from mahtai.jobs.engine_process import explain
from mahtai.jobs.line import Line, LineClosed
from mahtai.jobs.progress import ProgressBoard
from mahtai.volumes.store import StorageFull
from server_process import wait_until


class Waiting:
    """Jobs that wait in a line, each in a thread of its own."""

    def __init__(self) -> None:
        self.line = Line(moved=lambda: None)
        self.withdrawn: set[int] = set()
        self.let_through: list[int] = []
        self.sent_home: list[int] = []
        self.turned_away: list[int] = []
        self._threads: list[threading.Thread] = []

    def join(self, number: int) -> None:
        """A job comes; returns when it waits."""
        thread = threading.Thread(target=self._wait, args=(number,))
        self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        """Close the line and wait for everybody to be gone."""
        self.line.close()
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()

    def _wait(self, number: int) -> None:
        try:
            if self.line.wait(0, number, lambda: number in self.withdrawn):
                self.let_through.append(number)
            else:
                self.turned_away.append(number)
        except LineClosed:
            self.sent_home.append(number)


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    """A line whose engine is busy with job 0."""
    jobs = Waiting()
    assert jobs.line.wait(0, 0, lambda: False)
    yield jobs
    jobs.end()


def in_line(waiting: Waiting, count: int) -> None:
    """Until so many wait."""
    wait_until(lambda: len(waiting.line._waiting) == count, 10, f"{count} in the line")


def test_a_lower_rank_goes_first_and_a_rank_can_be_bettered() -> None:
    line, order = Line(moved=lambda: None), []
    assert line.wait(0, 0, lambda: False)

    def come(rank: int, number: int) -> None:
        line.wait(rank, number, lambda: False)
        order.append(number)
        line.leave()

    threads = [threading.Thread(target=come, args=turn) for turn in ((1, 1), (1, 2), (0, 3), (-1, 0))]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(line._waiting) == 4, 10, "four in the line")
    line.hasten(2, 0)
    line.leave()
    for thread in threads:
        thread.join(10)
    assert order == [0, 2, 3, 1]


def test_the_smallest_number_goes_first_whoever_came_first(waiting: Waiting) -> None:
    for number in (3, 1, 2):
        waiting.join(number)
    in_line(waiting, 3)
    for count in (1, 2, 3):
        waiting.line.leave()
        wait_until(lambda count=count: len(waiting.let_through) == count, 10, "the next job")  # type: ignore[misc]
    assert waiting.let_through == [1, 2, 3]


def test_a_withdrawn_job_leaves_and_the_others_stay(waiting: Waiting) -> None:
    for number in (1, 2):
        waiting.join(number)
    in_line(waiting, 2)
    waiting.withdrawn.add(1)
    waiting.line.wake()
    wait_until(lambda: waiting.turned_away == [1], 10, "the withdrawn job to leave")
    waiting.line.leave()
    wait_until(lambda: waiting.let_through == [2], 10, "the other job")


def test_all_go_home_when_the_server_stops(waiting: Waiting) -> None:
    for number in (1, 2, 3):
        waiting.join(number)
    in_line(waiting, 3)
    waiting.end()
    assert sorted(waiting.sent_home) == [1, 2, 3]


def test_watchers_see_the_latest_progress_and_only_of_their_job() -> None:
    board = ProgressBoard()

    async def watch() -> list[bool]:
        with board.watch("mine") as watcher:
            threads = [threading.Thread(target=board.report, args=("mine", "predicting", n / 100)) for n in range(50)]
            threads.append(threading.Thread(target=board.report, args=("other", "loading", 0.0)))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            news = []
            async for changed in watcher.changes(0.2):
                news.append(changed)
                if not changed:
                    return news
        raise AssertionError

    # fifty changes between two looks are one piece of news
    assert asyncio.run(watch()) == [True, False]
    latest = board.latest("mine")
    assert latest is not None and latest.stage == "predicting" and 0 <= latest.fraction <= 1
    board.forget("mine")
    assert board.latest("mine") is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "out-of-memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "out-of-memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), "out-of-memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "storage-full"),
        (StorageFull("The disk is full.", "Free some space."), "storage-full"),
        (ZeroDivisionError("division by zero"), "engine-fault"),
    ],
)
def test_every_error_of_the_engine_has_a_kind_a_reason_and_a_hint(error: Exception, kind: str) -> None:
    told = explain(error)
    assert told["kind"] == kind and told["reason"] and told["hint"]
    assert "zero" not in told["reason"], "what an unexpected error says may hold anything"
