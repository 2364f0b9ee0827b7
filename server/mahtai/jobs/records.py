"""The table of inferences. Every step of a job is one transaction that moves it from a state that it really had."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from mahtai.cases.blob import BlobRecord
from mahtai.db.blobs import add_blob
from mahtai.db.engine import Database, insist
from mahtai.db.tables import InferenceRow, now
from mahtai.jobs.inference import (
    UNFINISHED,
    Claim,
    Inference,
    NotYourJob,
    Part,
    Problem,
    State,
    TooManyJobs,
    TooManyOfYours,
    UnknownInference,
)


@dataclass(frozen=True)
class Order:
    """A checked request: the model by id, version and hash, the inputs by hash, all options."""

    model: str
    model_version: str
    model_sha256: str
    inputs: Mapping[str, str]
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Two orders with the same key have the same result."""
        identity = [self.model, self.model_sha256, sorted(self.inputs.items()), sorted(self.options.items())]
        return hashlib.sha256(json.dumps(identity, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Share:
    """Whose job it is, and how many unfinished ones they may have."""

    name: str
    limit: int


class InferenceRecords:
    """Reads and writes inferences; safe to use from any thread.

    Args:
        owner: name of this server, which has to do what it accepts.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    def accept(
        self, order: Order, rerun: bool, limit: int, rank: int = 0, share: Share | None = None
    ) -> tuple[Inference, bool]:
        """Keep an order for good; the same order again gives the job that there is, unless ``rerun``.

        Args:
            share: whose it is; None where nobody signs in.

        Returns:
            the job, and whether it is new.

        Raises:
            TooManyJobs: ``limit`` jobs are unfinished already, or theirs are as many as they may have.
        """
        return insist(lambda: self._accept(order, rerun, limit, rank, share))

    def _accept(self, order: Order, rerun: bool, limit: int, rank: int, share: Share | None) -> tuple[Inference, bool]:
        key = order.key
        with self._database.write() as session:
            known = session.scalar(select(InferenceRow).where(InferenceRow.key == key, InferenceRow.current))
            if known is not None and not rerun:
                if known.state in UNFINISHED and rank < known.rank:
                    known.rank = rank  # somebody waits for it now
                    session.flush()
                return _view(session, known), False
            if _count_unfinished(session) >= limit:
                raise TooManyJobs(
                    f"{limit} inferences are waiting already. Nothing was lost, but this one was not taken.",
                    "Try again in a minute.",
                )
            if share is not None and _count_of(session, share.name) >= share.limit:
                raise TooManyOfYours(
                    f"{share.limit} of your inferences are unfinished already. This one was not taken.",
                    "Wait until one is finished, or cancel one.",
                )
            if known is not None:
                known.current = False
                session.flush()
            row = InferenceRow(
                id=str(uuid.uuid4()),
                key=key,
                model=order.model,
                model_version=order.model_version,
                model_sha256=order.model_sha256,
                inputs=dict(order.inputs),
                options=dict(order.options),
                rank=rank,
                anew=rerun,
                owner=self._owner,
                claims=1,
                requested_by=None if share is None else share.name,
            )
            session.add(row)
            session.flush()
            return _view(session, row), True

    def get(self, job: str) -> Inference:
        """One job with its place in the line.

        Raises:
            UnknownInference: there is none of that id.
        """
        with self._database.read() as session:
            return _view(session, _row(session, job))

    def own(self) -> list[Claim]:
        """The jobs that this server has to finish, the oldest first."""
        own = InferenceRow.owner == self._owner
        if self._database.is_sqlite:  # there is no other server; jobs of older versions have no owner
            own = own | InferenceRow.owner.is_(None)
        wanted = select(InferenceRow.id, InferenceRow.claims).where(InferenceRow.state.in_(UNFINISHED), own)
        with self._database.read() as session:
            return [Claim(job, number) for job, number in session.execute(wanted.order_by(InferenceRow.number))]

    def last_model(self) -> str | None:
        """The model that was asked for last."""
        with self._database.read() as session:
            return session.scalar(select(InferenceRow.model).order_by(InferenceRow.number.desc()).limit(1))

    def begin(self, claim: Claim) -> bool:
        """The engine starts the job; False if it was finished or withdrawn meanwhile."""
        told = {"stage": "loading", "fraction": 0.0, "preview": None}
        values = {"state": "running", "starts": InferenceRow.starts + 1, "started_at": now(), **told}
        with self._database.write() as session:
            return _move(session, claim, UNFINISHED, values)

    def put_back(self, claim: Claim) -> bool:
        """The server stops in good order: the job waits again, and this start does not count."""
        values = {"state": "queued", "starts": InferenceRow.starts - 1, "started_at": None}
        with self._database.write() as session:
            return _move(session, claim, ("running",), values)

    def succeed(
        self, claim: Claim, parts: Mapping[str, Part], summary: Mapping[str, Any], blobs: Sequence[BlobRecord]
    ) -> bool:
        """The result, whose blobs lie safely in the store, becomes visible in this one transaction."""
        values = {
            "state": "succeeded",
            "finished_at": now(),
            "parts": {name: asdict(part) for name, part in parts.items()},
            "summary": dict(summary),
        }
        with self._database.write() as session:
            if not _move(session, claim, ("running",), values):
                return False
            for blob in blobs:
                add_blob(session, blob)
            return True

    def fail(self, claim: Claim, problem: Problem) -> bool:
        """The job has failed; the same order may be placed again."""
        values = {
            "state": "failed",
            "current": False,
            "finished_at": now(),
            "problem_kind": problem.kind,
            "problem_reason": problem.reason,
            "problem_hint": problem.hint,
        }
        with self._database.write() as session:
            return _move(session, claim, UNFINISHED, values)

    def cancel(self, job: str, requested_by: str | None = None) -> tuple[Inference, State]:
        """Cancel the job unless it is finished; final from this transaction on.

        Args:
            requested_by: who cancels it; None where nobody signs in.

        Returns:
            the job as it is now, and the state that it had before.

        Raises:
            UnknownInference: there is none of that id.
        """
        with self._database.write() as session:
            row = _row(session, job)
            if requested_by is not None and row.requested_by not in (None, requested_by):
                raise NotYourJob("Somebody else asked for this inference. It goes on.", "Leave it to them.")
            before, present = cast(State, row.state), Claim(row.id, row.claims)
            _move(session, present, UNFINISHED, {"state": "cancelled", "current": False, "finished_at": now()})
            session.expire_all()
            return _view(session, _row(session, job)), before


def _row(session: Session, job: str) -> InferenceRow:
    row = session.scalar(select(InferenceRow).where(InferenceRow.id == job)) if _is_id(job) else None
    if row is None:
        raise UnknownInference("There is no inference of this id on this server.", "Run the model again.")
    return row


def _is_id(text: str) -> bool:
    return len(text) == 36 and text.isascii() and text.isprintable()


def _move(session: Session, claim: Claim, states: Sequence[State], values: Mapping[str, Any]) -> bool:
    """Change the row if it is in one of ``states`` and the claim is the present one; whether it was."""
    held = (InferenceRow.id == claim.job, InferenceRow.claims == claim.number)
    statement = update(InferenceRow).where(*held, InferenceRow.state.in_(states)).values(**values)
    result = cast("CursorResult[Any]", session.execute(statement, execution_options={"synchronize_session": False}))
    return result.rowcount == 1


def _count_unfinished(session: Session, before: InferenceRow | None = None) -> int:
    wanted = select(func.count()).select_from(InferenceRow).where(InferenceRow.state.in_(UNFINISHED))
    if before is not None:
        sooner = InferenceRow.rank < before.rank
        earlier = (InferenceRow.rank == before.rank) & (InferenceRow.number < before.number)
        # a job that runs is not put back for a count
        wanted = wanted.where(sooner | earlier | ((InferenceRow.state == "running") & (InferenceRow.id != before.id)))
    return session.scalar(wanted) or 0


def _count_of(session: Session, name: str) -> int:
    theirs = (InferenceRow.requested_by == name, InferenceRow.state.in_(UNFINISHED))
    return session.scalar(select(func.count()).select_from(InferenceRow).where(*theirs)) or 0


def _view(session: Session, row: InferenceRow) -> Inference:
    problem = None
    if row.problem_kind is not None:
        problem = Problem(row.problem_kind, row.problem_reason or "", row.problem_hint or "")
    is_running = row.state == "running"
    return Inference(
        id=row.id,
        number=row.number,
        state=cast(State, row.state),
        model=row.model,
        model_version=row.model_version,
        model_sha256=row.model_sha256,
        inputs=row.inputs,
        options=row.options,
        starts=row.starts,
        created_at=row.created_at,
        owner=row.owner,
        claims=row.claims,
        rank=row.rank,
        anew=row.anew,
        started_at=row.started_at,
        finished_at=row.finished_at,
        place=_count_unfinished(session, row) if row.state == "queued" else None,
        stage=row.stage if is_running else None,
        fraction=row.fraction if is_running else None,
        preview=row.preview if is_running else None,
        problem=problem,
        parts=None if row.parts is None else {name: Part(**part) for name, part in row.parts.items()},
        summary=row.summary,
    )
