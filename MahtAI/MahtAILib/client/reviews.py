"""Handing a label version in, and what a second reader says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from MahtAILib.client.acting import Person
from MahtAILib.client.background import Task
from MahtAILib.client.cases import Verdict, case_path, listing
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotMahtAIError
from MahtAILib.client.worklist import WorkCase, read_case, work_case

What = Literal["submit", "approve", "reject"]


@dataclass(frozen=True)
class Decision:
    """What a reader decided about a label version.

    Attributes:
        what: hand it in, approve it, or send it back.
        person: who decided; it is sent in their name, whenever that is.
        version: id; empty where the version has not been sent yet.
        comment: wanted where it is sent back, at most 10 000 characters.
        ai_verdict: whether a reviewer agrees with the AI's proposal.

    Raises:
        ValueError: what every server refuses; it must not wait to be sent in vain.
    """

    what: What
    person: Person
    version: str = ""
    comment: str = ""
    ai_verdict: Verdict | None = None

    def __post_init__(self) -> None:
        if self.what not in ("submit", "approve", "reject"):
            raise ValueError("A decision is “submit”, “approve” or “reject”.")
        if self.what == "reject" and not self.comment.strip():
            raise ValueError("A label is not sent back without a comment.")
        if len(self.comment) > 10_000 or not 1 <= len(self.person.name) <= 200:
            raise ValueError("A decision needs a name (up to 200 characters) and a comment of up to 10 000 characters.")


@dataclass(frozen=True)
class Review:
    """A review; it never changes."""

    version: str
    verdict: str
    reviewer: str
    comment: str
    created_at: str


def decide(
    connection: Connection, case_id: str, decision: Decision, client_key: str, task: Task | None = None
) -> WorkCase:
    """Tell a decision; said twice it is the same. Returns the case as it is after that.

    Raises:
        RequestRefusedError: such as ``own-work`` or ``not-submitted``.
    """
    path, headers = case_path(case_id), decision.person.headers()
    if decision.what == "submit":
        case = read_case(connection, case_id)
        if case.submitted == decision.version:
            return case  # it was heard before; perhaps it has been reviewed since
        body: dict[str, Any] = {"version": decision.version}
        return work_case(
            connection.json("POST", f"{path}/submission", body, headers=headers, retry=True, task=task),
        )
    body = {
        "version": decision.version,
        "verdict": decision.what,
        "comment": decision.comment,
        "ai_verdict": decision.ai_verdict,
        "client_key": client_key,
    }
    answer = connection.json("POST", f"{path}/reviews", body, headers=headers, retry=True, task=task)
    return work_case(answer.get("case") if isinstance(answer, dict) else None)


def list_reviews(connection: Connection, case_id: str) -> list[Review]:
    """The reviews of a case, the oldest first."""
    documents = listing(connection.json("GET", f"{case_path(case_id)}/reviews"), "reviews")
    names = ("version", "verdict", "reviewer", "comment", "created_at")
    try:
        return [Review(*(str(one[name]) for name in names)) for one in documents]
    except (KeyError, TypeError) as error:
        raise NotMahtAIError("The server's list of reviews cannot be understood.") from error
