"""How many requests an account or an address may send, and what it is told then."""

from __future__ import annotations

from mahtai.api.rates import MOST_KEYS, Rates
from server_process import StartServer
from test_api_access import problem


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_so_many_a_second_pass_in_the_long_run() -> None:
    clock = Clock()
    rates = Rates(10, clock)
    passed = 0
    for _ in range(1000):  # ten seconds, a hundred requests a second
        passed += rates.take("anna") is None
        clock.now += 0.01
    assert 100 <= passed <= 121  # ten a second, and two seconds' worth at once in the beginning
    assert rates.take("boris") is None  # others are not held up


def test_who_has_to_wait_is_told_how_long_and_then_passes() -> None:
    clock = Clock()
    rates = Rates(2, clock)
    while (wait_s := rates.take("anna")) is None:
        pass
    clock.now += wait_s + 0.001
    assert rates.take("anna") is None


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    clock = Clock()
    rates = Rates(1, clock)
    assert [rates.take("anna") for _ in range(2)] == [None, None]
    clock.now -= 50
    assert rates.take("anna") is not None


def test_many_strangers_take_no_memory() -> None:
    rates = Rates(1, Clock())
    for number in range(3 * MOST_KEYS):
        rates.take(str(number))
    assert len(rates._buckets) <= MOST_KEYS


def test_a_flood_is_answered_with_429_and_when_to_come_back(start_server: StartServer) -> None:
    with start_server(environment={"requests_per_s": "5"}).client() as client:
        answers = [client.get("/v1/models") for _ in range(30)]
        assert answers[0].status_code == 200
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused and client.get("/healthz").status_code == 200
        problem(refused[0], 429, "too-many-requests")
        assert int(refused[0].headers["retry-after"]) >= 1
