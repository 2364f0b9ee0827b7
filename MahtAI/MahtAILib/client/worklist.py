"""The work list: cases to be worked on, who holds which, and which one comes next."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from MahtAILib.client.background import Task
from MahtAILib.client.cases import Case, case_path, listing
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotMahtAIError

UNFINISHED = ("new", "claimed", "draft", "rejected")
"""States of cases that wait for somebody to label them."""


@dataclass(frozen=True)
class WorkCase(Case):
    """A case as the work list shows it.

    Attributes:
        number: counts the server's cases.
        reference: slot on whose grid the labels lie.
        state: ``new``, ``claimed``, ``draft``, ``submitted``, ``approved`` or ``rejected``.
        priority: higher ones come first.
        assignee: for whom it is meant; empty for anybody.
        holder: who works on it now; empty for nobody.
        submitted, approved: id of the label version that was handed in, and that passed a review; empty for none.
        label_count: how many label versions there are.
        review: the last reviewer's words, empty if there was no review.
    """

    number: int = 0
    reference: str = ""
    state: str = "new"
    priority: int = 0
    assignee: str = ""
    holder: str = ""
    submitted: str = ""
    approved: str = ""
    label_count: int = 0
    review: str = ""


@dataclass(frozen=True)
class Filter:
    """Which cases are listed; what is empty does not matter.

    Attributes:
        of: only those that this person holds, or that are meant for them.
        search: in names, numbers and patients.
        hard: only those in which somebody disagreed with the AI or another reader.
    """

    states: tuple[str, ...] = ()
    task: str = ""
    of: str = ""
    search: str = ""
    hard: bool = False


@dataclass(frozen=True)
class Lease:
    """The right to work on a case for some minutes.

    Attributes:
        id: renews it.
        held_until: when it ends, ISO 8601.
        renew_after_s: when to renew it, so that two lost renewals do no harm.
    """

    id: str
    case: str
    held_until: str
    renew_after_s: float


@dataclass(frozen=True)
class Offer:
    """The next case; ``lease`` is None where it was only looked at. ``why`` is a sentence for the reader."""

    case: WorkCase
    lease: Lease | None
    why: str


@dataclass(frozen=True)
class Strategy:
    """An order in which cases come; ``reason`` says why it is not ``ready``."""

    id: str
    name: str
    description: str
    ready: bool
    reason: str


@dataclass(frozen=True)
class Event:
    """Something that happened to a case; ``what`` such as ``claimed``, ``submitted``, ``rejected``."""

    at: str
    who: str
    what: str
    comment: str


def find_cases(connection: Connection, wanted: Filter, most: int = 200) -> tuple[list[WorkCase], bool]:
    """Cases of the list, the newest first, and whether there are more than these.

    Raises:
        ClientError: the server did not answer.
    """
    people: list[dict[str, str]] = [{}] if not wanted.of else [{"holder": wanted.of}, {"assignee": wanted.of}]
    found: dict[str, WorkCase] = {}
    more = False
    for person in people:
        asked: list[tuple[str, str]] = [("limit", str(most)), *person.items()]
        asked += [("state", state) for state in wanted.states]
        asked += [(name, value) for name, value in (("task", wanted.task), ("search", wanted.search)) if value]
        if wanted.hard:
            asked.append(("hard", "true"))
        answer = connection.json("GET", f"/v1/cases?{urlencode(asked)}")
        found.update({case.id: case for case in map(work_case, listing(answer, "cases"))})
        more = more or bool(answer.get("next"))
    return sorted(found.values(), key=lambda case: -case.number), more


def read_case(connection: Connection, case_id: str) -> WorkCase:
    """One case as it is now.

    Raises:
        RequestRefusedError: there is none of that id (status 404).
    """
    return work_case(connection.json("GET", case_path(case_id)))


def next_case(
    connection: Connection, strategy: str, task: str, claim: bool, exclude: Collection[str] = (), model: str = ""
) -> Offer | None:
    """The next case for whoever asks, None if none is left.

    Args:
        claim: have it held at once; else it is only looked at.
        exclude: ids that are not wanted.
        model: whose scores the strategy takes.

    Raises:
        RequestRefusedError: the strategy cannot be used.
    """
    body = {
        "strategy": strategy,
        "task": task or None,
        "claim": claim,
        "exclude": list(exclude),
        "model": model or None,
    }
    # a claim is not said twice: the first may have been heard, and the second would give another case
    answer = connection.json("POST", "/v1/cases/next", body, retry=not claim)
    if answer is None:
        return None
    try:
        given = answer["lease"]
        return Offer(work_case(answer["case"]), None if given is None else _lease(given), str(answer["why"]))
    except (KeyError, TypeError) as error:
        raise NotMahtAIError("The server's answer about the next case cannot be understood.") from error


def claim(connection: Connection, case_id: str, lease: str = "", task: Task | None = None) -> Lease:
    """Take a case, or renew the lease on it; said twice it is the same.

    Raises:
        RequestRefusedError: somebody else works on it (``case-held``), or it was taken off the list
            (``case-removed``).
    """
    return _lease(connection.json("PUT", f"{case_path(case_id)}/lease", {"lease": lease or None}, task=task))


def release(connection: Connection, lease: Lease) -> None:
    """Give a case back; nothing happens if the lease has ended already."""
    connection.json("DELETE", f"{case_path(lease.case)}/lease?lease={quote(lease.id, safe='')}")


def strategies(connection: Connection, task: str) -> list[Strategy]:
    """Orders in which the cases of a task can come."""
    documents = listing(connection.json("GET", f"/v1/strategies?{urlencode({'task': task})}"), "strategies")
    try:
        return [
            Strategy(
                str(one["id"]),
                str(one["name"]),
                str(one.get("description") or ""),
                bool(one["ready"]),
                str(one.get("reason") or ""),
            )
            for one in documents
        ]
    except (KeyError, TypeError) as error:
        raise NotMahtAIError("The server's list of strategies cannot be understood.") from error


def events(connection: Connection, case_id: str) -> list[Event]:
    """What happened to a case, the oldest first."""
    documents = listing(connection.json("GET", f"{case_path(case_id)}/events"), "events")
    try:
        return [Event(str(one["at"]), str(one["who"]), str(one["what"]), str(one["comment"])) for one in documents]
    except (KeyError, TypeError) as error:
        raise NotMahtAIError("The server's list of events cannot be understood.") from error


def work_case(document: Any) -> WorkCase:
    """A case as the server describes it.

    Raises:
        NotMahtAIError: the description cannot be understood.
    """
    try:
        return WorkCase(
            id=str(document["id"]),
            name=str(document["name"]),
            task=str(document["task"]),
            volumes=dict(document["volumes"]),
            document=document,
            number=int(document["number"]),
            reference=str(document["reference"]),
            state=str(document["state"]),
            priority=int(document["priority"]),
            assignee=str(document["assignee"] or ""),
            holder=str(document["holder"] or ""),
            submitted=str(document["submitted"] or ""),
            approved=str(document["approved"] or ""),
            label_count=int(document["label_count"]),
            review=_words(document["last_review"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotMahtAIError("The server's description of a case cannot be understood.") from error


def local_time(moment: str) -> str:
    """Hours and minutes on this computer's clock of a moment in ISO 8601; empty if it is none."""
    try:
        return datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone().strftime("%H:%M")
    except ValueError:
        return ""


def _words(review: Mapping[str, Any] | None) -> str:
    if not review:
        return ""
    return f"{review['reviewer']}: {review['comment']}" if review.get("comment") else str(review["reviewer"])


def _lease(document: Any) -> Lease:
    try:
        return Lease(
            str(document["lease"]),
            str(document["case"]),
            str(document["held_until"]),
            float(document["renew_after_s"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotMahtAIError("The server's answer about a claim cannot be understood.") from error
