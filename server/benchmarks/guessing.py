"""How many guesses somebody has: the server's own counters, a clock that is moved on, and an attacker who never sleeps.

    PYTHONPATH=server:MahtAI python server/benchmarks/guessing.py

The attacker knows the name of an account and tries again as soon as an attempt is taken, from one address or from
many. Prints guesses in a day and, from those, the chance to hit a code (``CODES`` of a million are right at any time)
where the password is known already. The last line is somebody who signs in each morning from an address of their own
while the attack goes on: how long they wait at most.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock

from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.security import guessing
from mahtai.security.accounts import Accounts
from mahtai.security.guessing import Guessing, TooManyAttempts
from mahtai.security.sessions import Sessions

DAY = timedelta(days=1)
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
CODES = 3
ADDRESSES = (1, 10, 100, 1000)


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now = BEGIN

    def moment(self, _session: object) -> datetime:
        """As ``db.clock.moment``."""
        return self.now


@contextmanager
def opened() -> Iterator[tuple[Database, Clock]]:
    """Empty tables and a clock of their own."""
    clock = Clock()
    with (
        tempfile.TemporaryDirectory(prefix="mahtai-guessing-") as folder,
        closing(Database(f"sqlite:///{(Path(folder) / 'tables.sqlite').as_posix()}")) as database,
        mock.patch.object(guessing, "moment", clock.moment),
    ):
        upgrade(database)
        yield database, clock


def guesses_in(span: timedelta, addresses: int) -> int:
    """Attempts that are taken from so many addresses."""
    with opened() as (database, clock):
        account = Accounts(database).add("anna", "radiologist", "correct horse battery").id
        counters, taken = Guessing(database), 0
        free_at = {f"10.{number // 250}.{number % 250}.9": BEGIN for number in range(addresses)}
        while clock.now < BEGIN + span:
            address = min(free_at, key=free_at.__getitem__)
            clock.now = max(clock.now, free_at[address])
            try:
                counters.count("anna", address, account)
                taken += 1
            except TooManyAttempts as error:
                free_at[address] = clock.now + timedelta(seconds=error.wait_s)
        return taken


def longest_wait_of_a_colleague(days: int, addresses: int) -> float:
    """Seconds that somebody who signed in from here yesterday waits, while others guess their password."""
    with opened() as (database, clock):
        account = Accounts(database).add("anna", "radiologist", "correct horse battery")
        Sessions(database, b"k" * 32, 900, 300).open(account, "10.9.9.9")
        counters, longest = Guessing(database), 0.0
        others = [f"10.{number // 250}.{number % 250}.9" for number in range(addresses)]
        for number in range(days * 24 * 12):
            clock.now = BEGIN + timedelta(minutes=5 * number)
            with suppress(TooManyAttempts):
                counters.count("anna", others[number % addresses], account.id)
            try:
                counters.forget(counters.count("anna", "10.9.9.9", account.id))
            except TooManyAttempts as error:
                longest = max(longest, error.wait_s)
        return longest


def main() -> None:
    """Print the figures."""
    figures = []
    for addresses in ADDRESSES:
        first_hour, day = guesses_in(timedelta(hours=1), addresses), guesses_in(DAY, addresses)
        chance = 1 - (1 - CODES / 1e6) ** day
        figures.append(
            {"addresses": addresses, "first hour": first_hour, "day": day, "chance of a code in a day": chance}
        )
        print(
            f"{addresses:5} addresses: {first_hour:5} guesses in the first hour, {day:6} in a day; code: {chance:.4%}"
        )
    wait_s = longest_wait_of_a_colleague(3, 100)
    print(f"somebody whose address is known waits {wait_s:.0f} s at most")
    print(json.dumps({"guesses": figures, "colleague waits s": wait_s}))


if __name__ == "__main__":
    main()
