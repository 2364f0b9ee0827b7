"""A crowd of annotators at work on one list while servers are killed; keeps what the servers said yes to."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

import httpx

from server_process import ServerProcess, put_volume
from studies import FAST, label_file

PATIENCE_S = 120.0
"""How long an annotator waits for a server to come back."""


class Victim(Protocol):
    """A process that can be killed and started again."""

    def kill(self) -> None:
        """Without warning."""

    def start(self) -> object:
        """Again."""


@dataclass
class Grant:
    """A lease: asked for at ``asked``, given before ``told``, its holder's until ``end``; all in epoch seconds."""

    case: str
    lease: str
    holder: str
    asked: float
    told: float
    end: float


@dataclass
class Accepted:
    """All that servers have said yes to."""

    versions: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)
    """Version → case, SHA-256 of the file, parent."""
    reviews: list[tuple[str, str, str]] = field(default_factory=list)
    """Case, version, client key."""
    drafts: dict[tuple[str, str], int] = field(default_factory=dict)
    """Case and session → number."""
    grants: dict[str, Grant] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Annotator:
    """One person: does random things with cases, retries what was not answered, and remembers what was."""

    def __init__(
        self, name: str, servers: Sequence[ServerProcess], study: dict[str, str], cases: list[str], accepted: Accepted
    ) -> None:
        self.name = name
        self.chance = random.Random(name)
        self.accepted = accepted
        self._study = study
        self._cases = cases
        self._clients = [server.client(timeout=30) for server in servers]
        for client in self._clients:
            client.headers["MahtAI-User"] = name
        self._held: dict[str, str] = {}
        self._saved: dict[str, str] = {}

    def work(self, operations: int) -> None:
        """Do so many things."""
        actions: list[tuple[Callable[[], None], int]] = [
            (self.take_next, 4),
            (self.claim_any, 2),
            (self.renew, 2),
            (self.save, 6),
            (self.keep_draft, 2),
            (self.submit, 3),
            (self.review, 4),
            (self.give_back, 1),
            (self.infer, 1),
        ]
        for _ in range(operations):
            self.chance.choices([action for action, _ in actions], [weight for _, weight in actions])[0]()

    def take_next(self) -> None:
        """The next case on the list."""
        asked = time.time()
        answer = self._ask("POST", "/v1/cases/next", {"strategy": "order"})
        if answer.status_code == 200:
            self._granted(answer.json()["lease"], asked)
        self._count("next", answer, 200, 204)

    def claim_any(self) -> None:
        """A case that somebody may have already."""
        asked = time.time()
        answer = self._ask("PUT", f"/v1/cases/{self.chance.choice(self._cases)}/lease", {"lease": None})
        if answer.status_code == 200:
            self._granted(answer.json(), asked)
        self._count("claim", answer, 200, 409)

    def renew(self) -> None:
        """Go on with a case."""
        if not self._held:
            return
        case, lease = self.chance.choice(list(self._held.items()))
        asked = time.time()
        answer = self._ask("PUT", f"/v1/cases/{case}/lease", {"lease": lease})
        if answer.status_code == 200:
            self._granted(answer.json(), asked)
        elif answer.json().get("holder") == self.name:  # taken over from oneself, in an answer that was lost
            self._ended(case)
        else:
            self._held.pop(case)
        self._count("renew", answer, 200, 409)

    def save(self) -> None:
        """A version of a case that one holds, or (the lease may have ended) of any."""
        case = self._some_case()
        first = self.chance.randrange(3, 20)
        content = label_file([(first, first + self.chance.randrange(2, 20))])
        parent = self._newest(case)
        body = {
            "segmentation": self._upload(content),
            "author": self.name,
            "role": "annotator",
            "client_key": str(uuid4()),
            "submit": self.chance.random() < 0.3,
            "verdict": self.chance.choice(["agree", "disagree", None]),
        }
        headers = {"If-None-Match": "*"} if parent is None else {"If-Match": f'"{parent}"'}
        answer = self._ask("POST", f"/v1/cases/{case}/labels", body, headers)
        self._count("save", answer, 200, 201)
        made = answer.json()
        self._saved[case] = made["id"]
        if body["submit"]:
            self._ended(case)
        with self.accepted.lock:
            self.accepted.versions[made["id"]] = (case, hashlib.sha256(content).hexdigest(), parent)

    def keep_draft(self) -> None:
        """Unfinished work of this person's one session a case."""
        case = self._some_case()
        first = self.chance.randrange(3, 20)
        body = {"segmentation": self._upload(label_file([(first, first + 3)]))}
        answer = self._ask("PUT", f"/v1/cases/{case}/drafts/{self.name}", body)
        self._count("draft", answer, 200)
        with self.accepted.lock:
            self.accepted.drafts[case, self.name] = answer.json()["number"]

    def submit(self) -> None:
        """Hand in what one saved."""
        if not self._saved:
            return
        case, version = self.chance.choice(list(self._saved.items()))
        answer = self._ask("POST", f"/v1/cases/{case}/submission", {"version": version})
        self._count("submit", answer, 200)
        self._ended(case)

    def review(self) -> None:
        """Approve or reject what somebody handed in; others may be sooner, and one's own may not be approved."""
        case = self._ask("GET", f"/v1/cases/{self.chance.choice(self._cases)}").json()
        if case["state"] != "submitted":
            return
        key = str(uuid4())
        body = {
            "version": case["submitted"],
            "verdict": self.chance.choice(["approve", "reject"]),
            "comment": "why not",
            "ai_verdict": self.chance.choice(["agree", "disagree", None]),
            "client_key": key,
        }
        answer = self._ask("POST", f"/v1/cases/{case['id']}/reviews", body)
        self._count("review", answer, 200, 201, 409)
        if answer.status_code != 409:
            with self.accepted.lock:
                self.accepted.reviews.append((case["id"], case["submitted"], key))
            self._ended(case["id"])

    def give_back(self) -> None:
        """A case that one holds."""
        if self._held:
            case = self.chance.choice(list(self._held))
            lease = self._held[case]
            answer = self._ask("DELETE", f"/v1/cases/{case}/lease?lease={lease}")
            self._count("release", answer, 204)
            self._ended(case)

    def infer(self) -> None:
        """Run a model."""
        body = {"model": "tiny", "inputs": self._study, "options": FAST, "rerun": self.chance.random() < 0.3}
        answer = self._ask("POST", "/v1/inferences", body)
        self._count("inference", answer, 200, 202, 503)
        if answer.status_code in (200, 202):
            with self.accepted.lock:
                self.accepted.jobs.append(answer.json()["id"])

    def _some_case(self) -> str:
        if self._held and self.chance.random() < 0.8:
            return self.chance.choice(list(self._held))
        return self.chance.choice(self._cases)

    def _newest(self, case: str) -> str | None:
        versions = self._ask("GET", f"/v1/cases/{case}/labels").json()["labels"]
        return versions[-1]["id"] if versions and self.chance.random() < 0.9 else None

    def _upload(self, content: bytes) -> str:
        return self._patiently(lambda client: put_volume(client, content))

    def _ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
        def ask(client: httpx.Client) -> httpx.Response:
            answer = client.request(method, path, json=body, headers=headers)
            if answer.status_code == 503 and not path.startswith("/v1/inferences"):
                raise httpx.TransportError("busy")
            return answer

        return self._patiently(ask)

    def _patiently(self, ask: Callable[[httpx.Client], Any]) -> Any:
        """Ask any of the servers until one answers: the same words again, as a client does."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask(self.chance.choice(self._clients))
            except httpx.TransportError:
                assert time.monotonic() < deadline, f"no server answered for {PATIENCE_S:.0f} s"
                time.sleep(0.1 + 0.2 * self.chance.random())

    def _granted(self, lease: dict[str, Any], asked: float) -> None:
        end = datetime.fromisoformat(lease["held_until"].replace("Z", "+00:00")).timestamp()
        if self._held.get(lease["case"], lease["lease"]) != lease["lease"]:
            self._ended(lease["case"])  # taken over from oneself
        with self.accepted.lock:
            known = self.accepted.grants.get(lease["lease"])
            if known is None:
                self.accepted.grants[lease["lease"]] = Grant(
                    lease["case"], lease["lease"], self.name, asked, time.time(), end
                )
            else:
                known.end = max(known.end, end)
        self._held[lease["case"]] = lease["lease"]

    def _ended(self, case: str) -> None:
        """The lease on a case ended by what this person did; it did so at some time before now."""
        lease = self._held.pop(case, None)
        if lease is not None:
            with self.accepted.lock:
                grant = self.accepted.grants[lease]
                grant.end = min(grant.end, grant.told)

    def _count(self, what: str, answer: httpx.Response, *allowed: int) -> None:
        assert answer.status_code in allowed, (what, answer.status_code, answer.text)
        with self.accepted.lock:
            self.accepted.done[f"{what} {answer.status_code}"] += 1


def let_work(annotators: Sequence[Annotator], operations: int, victims: Sequence[Victim], chance: random.Random) -> int:
    """Let everybody work at once; meanwhile kill the victims now and then. How often was that?"""
    faults: list[BaseException] = []

    def work(annotator: Annotator) -> None:
        try:
            annotator.work(operations)
        except BaseException as fault:  # of a thread: to be raised in the test
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(annotator,)) for annotator in annotators]
    for thread in threads:
        thread.start()
    killed = 0
    while _still_at_work(threads, chance.uniform(0.2, 1.5)):
        if victims:
            victim = chance.choice(victims)
            victim.kill()
            killed += 1
            time.sleep(chance.uniform(0.0, 0.5))
            victim.start()
    if faults:
        raise faults[0]
    return killed


def _still_at_work(threads: Sequence[threading.Thread], seconds: float) -> bool:
    """Whether anybody is, after so long."""
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(timeout=max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in threads)


def double_claims(accepted: Accepted) -> list[tuple[Grant, Grant]]:
    """Pairs of leases on one case of which the second was certainly given while the first one ran."""
    found = []
    by_case: dict[str, list[Grant]] = {}
    for grant in accepted.grants.values():
        by_case.setdefault(grant.case, []).append(grant)
    for grants in by_case.values():
        for first in grants:
            for second in grants:
                # somebody may take a case over from themselves
                is_another = second is not first and second.holder != first.holder
                if is_another and first.told < second.asked and second.told < first.end:
                    found.append((first, second))
    return found
