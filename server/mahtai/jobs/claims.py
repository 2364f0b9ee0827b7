"""What servers that share the tables know of each other: who lives, who has which job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import CursorResult

from mahtai.db.engine import Database
from mahtai.db.tables import InferenceRow, ServerRow
from mahtai.jobs.inference import UNFINISHED, Claim, State


@dataclass(frozen=True)
class Unfinished:
    """A job that waits or runs somewhere, with the claim that it is under."""

    claim: Claim
    owner: str | None
    state: State
    rank: int
    model: str
    model_sha256: str


class Claims:
    """The table of servers, and the owners of jobs. Nothing here waits for other writers.

    Args:
        name: of this server. host: of its computer.
    """

    def __init__(self, database: Database, name: str, host: str) -> None:
        self._database = database
        self._name = name
        self._host = host

    def beat(self) -> None:
        """Give a sign of life."""
        known = {"beats": ServerRow.beats + 1, "host": self._host, "seen_at": func.clock_timestamp()}
        values = {"name": self._name, "host": self._host, "beats": 1, "seen_at": func.clock_timestamp()}
        statement = postgresql.insert(ServerRow).values(values)
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=known)
        with self._database.write_aside() as session:
            session.execute(statement)

    def beats(self) -> dict[str, int]:
        """Signs of life by server."""
        with self._database.read() as session:
            return {row.name: row.beats for row in session.execute(select(ServerRow.name, ServerRow.beats))}

    def is_of_another_host(self) -> bool:
        """Whether a server of this name was seen on another computer last."""
        with self._database.read() as session:
            host = session.scalar(select(ServerRow.host).where(ServerRow.name == self._name))
            return host is not None and host != self._host

    def forget(self, name: str, beats: int | None = None) -> None:
        """Take a server off the table; with ``beats`` only if it gave no sign of life since."""
        statement = delete(ServerRow).where(ServerRow.name == name)
        with self._database.write_aside() as session:
            session.execute(statement if beats is None else statement.where(ServerRow.beats == beats))

    def unfinished(self) -> list[Unfinished]:
        """All jobs that wait or run, in their order."""
        columns = (
            InferenceRow.id,
            InferenceRow.claims,
            InferenceRow.owner,
            InferenceRow.state,
            InferenceRow.rank,
            InferenceRow.model,
            InferenceRow.model_sha256,
        )
        wanted = select(*columns).where(InferenceRow.state.in_(UNFINISHED))
        with self._database.read() as session:
            rows = session.execute(wanted.order_by(InferenceRow.rank, InferenceRow.number))
            return [
                Unfinished(
                    Claim(row.id, row.claims),
                    row.owner,
                    cast(State, row.state),
                    row.rank,
                    row.model,
                    row.model_sha256,
                )
                for row in rows
            ]

    def take(self, claim: Claim, states: Sequence[State] = UNFINISHED) -> Claim | None:
        """Take a job over as it stands under ``claim``, in one of ``states``; of all who try, one succeeds.

        Returns:
            the new claim, or None: it was taken, finished or begun meanwhile.
        """
        values = {"owner": self._name, "claims": claim.number + 1, "state": "queued", "started_at": None}
        held = (InferenceRow.id == claim.job, InferenceRow.claims == claim.number, InferenceRow.state.in_(states))
        return Claim(claim.job, claim.number + 1) if self._changed(held, values) else None

    def report(self, claim: Claim, stage: str, fraction: float, preview: int | None) -> None:
        """Tell those who watch from elsewhere how far a job is."""
        held = (
            InferenceRow.id == claim.job,
            InferenceRow.claims == claim.number,
            InferenceRow.state == "running",
        )
        self._changed(held, {"stage": stage[:64], "fraction": fraction, "preview": preview})

    def _changed(self, held: tuple[Any, ...], values: dict[str, Any]) -> bool:
        statement = update(InferenceRow).where(*held).values(**values)
        with self._database.write_aside() as session:
            result = session.execute(statement, execution_options={"synchronize_session": False})
            return cast("CursorResult[Any]", result).rowcount == 1
