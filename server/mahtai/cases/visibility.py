"""Which cases, scans and inferences are for whom. What is not for somebody does not exist for them.

A case of a team is for that team; a case without one is for everybody. A case that is assigned to somebody is not for
other annotators. Scans are for those who sent them (who knows only the hash has shown nothing) and for those who see a
case that holds them; an inference is for those for whom all of its scans are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, and_, or_, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from mahtai.cases.case import CaseError, UnknownCase
from mahtai.cases.case_rows import is_id
from mahtai.cases.person import Person
from mahtai.db.engine import Database
from mahtai.db.tables import CaseRow, CaseVolumeRow, DraftRow, InferenceRow, LabelVersionRow
from mahtai.db.trust_tables import HolderRow
from mahtai.jobs.inference import UnknownInference, VolumeMissing
from mahtai.volumes.store import UnknownBlob


class NotYourTeam(CaseError):
    """A case is given to a team only by somebody of it."""

    kind = "not-your-team"
    title = "The case cannot be given to that team"
    status = 403


def sees_everything(person: Person) -> bool:
    """Whether nothing has to be asked: on one computer, and for those who look after all teams."""
    return person.account is None or (person.may("objects.of-all-teams") and person.may("objects.of-others"))


def for_person(person: Person) -> ColumnElement[bool]:
    """Condition on ``CaseRow``: the case is for this person."""
    if sees_everything(person):
        return true()
    team = or_(CaseRow.team.is_(None), CaseRow.team.in_(person.teams))
    if person.may("objects.of-all-teams"):
        team = true()
    if person.may("objects.of-others"):
        return team
    return and_(team, or_(CaseRow.assignee.is_(None), CaseRow.assignee == person.name))


def team_of(wanted: str | None, person: Person) -> str | None:
    """The team of a case that a person makes or moves: the one they name; else their own, if they have just one.

    Raises:
        NotYourTeam: they are not of that team.
    """
    if person.account is None or person.may("objects.of-all-teams"):
        return wanted or None
    if wanted and wanted not in person.teams:
        raise NotYourTeam(f"You are not of the team {wanted!r}. Nothing was changed.", "Choose a team of your own.")
    return wanted or (person.teams[0] if len(person.teams) == 1 else None)


class Visibility:
    """Answers whether something is for somebody."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def require(self, person: Person, named: Mapping[str, str]) -> None:
        """Refuse what a request's path names unless it is for the person.

        Args:
            named: parameters of the path; ``case``, ``inference`` and ``sha256`` are looked at.

        Raises:
            UnknownCase, UnknownInference, UnknownBlob: as if it were not there.
        """
        if sees_everything(person):
            return
        with self._database.read() as session:
            if "case" in named and not _sees_case(session, person, named["case"]):
                raise UnknownCase("There is no case of this id on this server.", "Open the list of cases again.")
            if "inference" in named and not _sees_inference(session, person, named["inference"]):
                raise UnknownInference("There is no inference of this id on this server.", "Start it again.")
            if "sha256" in named and named["sha256"] not in _seen(session, person, [named["sha256"]]):
                raise UnknownBlob("The server has no volume with this hash.", "Upload it first.")

    def seen(self, person: Person, hashes: Iterable[str]) -> set[str]:
        """Those of the hashes that are for the person, whether the server has them or not."""
        wanted = set(hashes)
        if sees_everything(person):
            return wanted
        with self._database.read() as session:
            return _seen(session, person, wanted)

    def require_volumes(self, person: Person, hashes: Iterable[str]) -> None:
        """Refuse work on scans or labels that are not for the person.

        Raises:
            VolumeMissing: as if they were not there.
        """
        wanted = list(hashes)
        missing = sorted(set(wanted) - self.seen(person, wanted))
        if missing:
            raise VolumeMissing(
                "The server does not have all of these volumes.",
                "Upload them first; nothing was started.",
                tuple(missing),
            )

    def hold(self, person: Person, sha256: str) -> None:
        """The person has sent the content, so it is for them."""
        if person.account is None:
            return
        with self._database.write() as session:
            insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
            values = {"sha256": sha256, "account": person.account}
            session.execute(insert(HolderRow).values(values).on_conflict_do_nothing())


def _sees_case(session: Session, person: Person, case: str) -> bool:
    if not is_id(case):
        return False
    return session.scalar(select(CaseRow.id).where(CaseRow.id == case, for_person(person))) is not None


def _sees_inference(session: Session, person: Person, inference: str) -> bool:
    if not is_id(inference):
        return False
    inputs = session.scalar(select(InferenceRow.inputs).where(InferenceRow.id == inference))
    if inputs is None:
        return False
    wanted = set(map(str, inputs.values()))
    return wanted <= _seen(session, person, wanted)


def _seen(session: Session, person: Person, hashes: Iterable[str]) -> set[str]:
    wanted = list(hashes)
    theirs = select(CaseRow.id).where(for_person(person))
    found = set(
        session.scalars(
            select(HolderRow.sha256).where(HolderRow.account == person.account, HolderRow.sha256.in_(wanted))
        )
    )
    for content, case in (
        (CaseVolumeRow.sha256, CaseVolumeRow.case_id),
        (LabelVersionRow.content, LabelVersionRow.case_id),
        (DraftRow.content, DraftRow.case_id),
    ):
        left = [each for each in wanted if each not in found]
        if left:
            found |= set(session.scalars(select(content).where(content.in_(left), case.in_(theirs))))
    return found
