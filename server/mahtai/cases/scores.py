"""What a version of a model made of each case, kept for the strategies: scored by unattended inferences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from mahtai.cases.case import Case, Filter
from mahtai.cases.label_origin import KINDS
from mahtai.cases.next_case import Ranked
from mahtai.cases.person import Person, requested_by
from mahtai.cases.strategies import STRATEGIES, Evidence, Strategy, find_strategy, rank
from mahtai.cases.studies import Cases
from mahtai.cases.visibility import for_person
from mahtai.db.engine import Database, insist
from mahtai.db.tables import CaseRow, InferenceRow, LabelVersionRow, ScoreRow
from mahtai.errors import MahtaiError
from mahtai.jobs.inference import TooManyJobs, TooManyOfYours
from mahtai.jobs.orders import OrderDesk
from mahtai.jobs.records import Order
from mahtai.jobs.service import Jobs
from mahtai.models.bundle import Bundle
from mahtai.models.catalogue import Catalogue, UnknownModel
from mahtai.volumes.store import BlobStore
from MahtAILib.client.geometry import Geometry

MIRRORED = {"flips": "on"}
"""Options of the second look, with which a result is compared."""

MOST_AT_ONCE = 32
"""Unattended inferences that are asked for at a time, so that the line never fills up with them."""


@dataclass(frozen=True)
class Progress:
    """How far the scoring of a task's cases has come.

    Attributes:
        cases: on the list. scored: by this version of the model. failed: it could not work on them.
        queued: inferences under way. unfit: cases that lack what the model needs.
    """

    model: str
    model_sha256: str
    cases: int
    scored: int
    failed: int
    queued: int
    unfit: int


@dataclass(frozen=True)
class Readiness:
    """A strategy, and whether its scores are there; ``reason`` if not."""

    strategy: Strategy
    ready: bool
    reason: str


class Scores:
    """Scores of cases by version of a model. What was scored once is never asked for again.

    Args:
        at_once: unattended inferences that one call has under way at most.
    """

    def __init__(
        self,
        database: Database,
        store: BlobStore,
        catalogue: Catalogue,
        jobs: Jobs,
        cases: Cases,
        desk: OrderDesk,
        at_once: int = MOST_AT_ONCE,
    ) -> None:
        self._database = database
        self._store = store
        self._catalogue = catalogue
        self._jobs = jobs
        self._cases = cases
        self._desk = desk
        self._at_once = at_once

    def rank(self, strategy: str, candidates: Sequence[Case], model: str | None, person: Person) -> list[Ranked]:
        """The candidates by a strategy; those that are not scored yet come last, and are scored meanwhile.

        Args:
            candidates: cases that are for the person, in whose name they are scored.

        Raises:
            UnknownStrategy, UnknownModel: there is none of that name.
        """
        wants = find_strategy(strategy).wants
        if not wants or not candidates:
            return rank(strategy, [case.id for case in candidates], {})
        bundle = self._model(candidates[0].task, model)
        evidence = self._evidence(bundle, [case.id for case in candidates])
        lacking = [case for case in candidates if getattr(evidence.get(case.id, Evidence()), wants) is None]
        if lacking:
            self._work_on(bundle, lacking, person, mirrored=wants == "disagreement")
            evidence = self._evidence(bundle, [case.id for case in candidates])
        labelled = self._evidence(bundle, self._labelled(candidates[0].task, person)) if strategy == "diverse" else {}
        known = [each.descriptor for each in labelled.values() if each.descriptor is not None]
        return rank(strategy, [case.id for case in candidates], evidence, known)

    def progress(
        self, task: str, model: str | None, person: Person, ask: bool = False, mirrored: bool = False
    ) -> Progress:
        """How far the scoring of the cases that are for the person has come; ``ask`` starts what is missing.

        Args:
            mirrored: also look at the mirrored cases, for ``disagreement``; eight times the work.

        Raises:
            UnknownModel: there is none of that name, or none for the task.
        """
        bundle = self._model(task, model)
        cases = self._all(task, person)
        states = self._work_on(bundle, cases, person, mirrored, ask)
        done = self._evidence(bundle, [case.id for case in cases])
        wanted = "disagreement" if mirrored else "error"
        return Progress(
            model=bundle.id,
            model_sha256=bundle.sha256,
            cases=len(cases),
            scored=sum(getattr(found, wanted) is not None for found in done.values()),
            failed=states.count("failed"),
            queued=states.count("queued") + states.count("running"),
            unfit=states.count("unfit"),
        )

    def strategies(self, task: str, model: str | None, person: Person) -> list[Readiness]:
        """All strategies, and which of them have what they need of the cases that are for the person."""
        try:
            bundle = self._model(task, model)
        except UnknownModel as error:
            return [Readiness(each, not each.wants, error.reason if each.wants else "") for each in STRATEGIES]
        ids = [case.id for case in self._all(task, person)]
        evidence = self._evidence(bundle, ids).values()
        told = []
        for strategy in STRATEGIES:
            scored = sum(getattr(each, strategy.wants) is not None for each in evidence) if strategy.wants else len(ids)
            reason = "" if scored or not ids else "No case was scored yet; that begins when the strategy is chosen."
            told.append(Readiness(strategy, not reason, reason))
        return told

    def _all(self, task: str, person: Person) -> list[Case]:
        """The cases of a task that are on the list and for the person, the oldest first."""
        found: list[Case] = []
        before = None
        while page := self._cases.list(Filter(task=task, before=before), person):
            found += page
            before = page[-1].number
        return found[::-1]

    def _model(self, task: str, model: str | None) -> Bundle:
        """The model that was named, else the one that was used last for the task, else the first one for it."""
        if model is not None:
            return self._catalogue.get(model)
        fit = {each.id: each for each in self._catalogue.list() if each.task == task and each.weights_path is not None}
        with self._database.read() as session:
            used = select(InferenceRow.model).where(InferenceRow.model.in_(fit)).order_by(InferenceRow.number.desc())
            last = session.scalar(used.limit(1))
        if not fit:
            raise UnknownModel(
                f"There is no model with weights for the task {task[:64]!r}.", "Choose another strategy."
            )
        return fit[last] if last is not None else next(iter(fit.values()))

    def _work_on(
        self, bundle: Bundle, cases: Sequence[Case], person: Person, mirrored: bool, ask: bool = True
    ) -> list[str]:
        """Keep the scores of inferences that have ended, start missing ones; the state of each case that has none."""
        states = []
        name = "disagreement" if mirrored else "error"
        with self._database.read() as session:
            of_model = select(ScoreRow.case_id).where(ScoreRow.model_sha256 == bundle.sha256, ScoreRow.name == name)
            scored = set(session.scalars(of_model))
        ask = ask and person.may("inferences.run")  # a token may be limited to less
        under_way = 0
        for case in cases:
            if case.id in scored:
                continue
            inputs = {slot: sha256 for slot, sha256 in case.volumes.items() if slot in {c.id for c in bundle.channels}}
            found = []
            for options in ({}, MIRRORED) if mirrored else ({},):
                try:
                    order = self._desk.check(bundle.id, inputs, options)
                    state = self._state(order, person, ask and under_way < self._at_once)
                except (TooManyJobs, TooManyOfYours):
                    state, ask = "missing", False
                except MahtaiError:
                    state = "unfit"
                under_way += state in ("queued", "running")
                found.append(state)
            if all(state == "succeeded" for state in found):
                self._keep(bundle, case, inputs, mirrored)
            else:
                states.append(next(state for state in found if state != "succeeded"))
        return states

    def _state(self, order: Order, person: Person, ask: bool) -> str:
        """Of the inference of an order; ``missing`` if there is none and it is not asked for."""
        with self._database.read() as session:
            newest = (
                select(InferenceRow.state).where(InferenceRow.key == order.key).order_by(InferenceRow.number.desc())
            )
            known = session.scalar(newest.limit(1))
        if known is not None or not ask:
            return known or "missing"
        asker = requested_by(person)
        return self._jobs.submit(order.model, order.inputs, order.options, False, "unattended", asker)[0].state

    def _keep(self, bundle: Bundle, case: Case, inputs: Mapping[str, str], mirrored: bool) -> None:
        """Write down what the results say of a case."""
        with self._database.read() as session:
            plain = _result(session, self._desk.check(bundle.id, inputs, {}))
            other = _result(session, self._desk.check(bundle.id, inputs, MIRRORED)) if mirrored else None
        if plain is None:
            return
        rows: list[tuple[str, float | None, dict[str, Any]]] = [("error", _expected_error(plain.summary or {}), {})]
        descriptor = _descriptor(plain.summary or {})
        rows.append(("descriptor", None, {"values": descriptor}))
        if other is not None:
            rows.append(("disagreement", self._contradiction(bundle, plain, other), {}))

        def write() -> None:
            with self._database.write() as session:
                for name, value, detail in rows:
                    key = (case.id, bundle.sha256, name)
                    if session.get(ScoreRow, key) is None:
                        session.add(
                            ScoreRow(case_id=case.id, model_sha256=key[1], name=name, value=value, detail=dict(detail))
                        )

        insist(write)

    def _contradiction(self, bundle: Bundle, first: InferenceRow, second: InferenceRow) -> float | None:
        """1 − mean Dice of two results of a case."""
        if bundle.kind != "segmentation":
            return None
        kind = KINDS[bundle.kind]
        parts = [(row.parts or {})[bundle.kind]["sha256"] for row in (first, second)]
        geometry = (first.summary or {})["geometry"]
        grid = Geometry(geometry["shape"], np.array(geometry["ijk_to_ras"]))
        ours, theirs = (kind.read(self._store.read_bytes(sha256), grid) for sha256 in parts)
        return 1 - float(np.mean(list(kind.compare(ours, theirs)["dice"].values())))

    def _evidence(self, bundle: Bundle, ids: Iterable[str]) -> dict[str, Evidence]:
        wanted = set(ids)
        with self._database.read() as session:
            rows = session.scalars(select(ScoreRow).where(ScoreRow.model_sha256 == bundle.sha256)).all()
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row.case_id in wanted:
                value = row.value if row.name != "descriptor" else tuple(row.detail["values"] or ()) or None
                found.setdefault(row.case_id, {})[row.name] = value
        return {case: Evidence(**values) for case, values in found.items()}

    def _labelled(self, task: str, person: Person) -> list[str]:
        with self._database.read() as session:
            having = select(LabelVersionRow.case_id).join(CaseRow, CaseRow.id == LabelVersionRow.case_id)
            return list(session.scalars(having.where(CaseRow.task == task, for_person(person)).distinct()))


def _result(session: Session, order: Order) -> InferenceRow | None:
    done = select(InferenceRow).where(InferenceRow.key == order.key, InferenceRow.state == "succeeded")
    return session.scalar(done.order_by(InferenceRow.number.desc()).limit(1))


def _expected_error(summary: Mapping[str, Any]) -> float | None:
    """1 − mean confidence of the regions; mean expected error of the landmarks, in pixels.

    The confidence of ``inference.confidence`` was made to be read like a Dice: on the seven test cases of
    ``brats_segresnet`` the two differ by 0.10, 0.12 and 0.06 (WT, TC, ET) in the mean.
    """
    if "regions" in summary:
        return 1 - float(np.mean([region["confidence"] for region in summary["regions"].values()]))
    errors = [point["expected_error"] for point in summary.get("landmarks", {}).values()]
    known = [error for error in errors if error is not None]
    return float(np.mean(known)) if known else None


def _descriptor(summary: Mapping[str, Any]) -> list[float] | None:
    """The study's own, or for landmarks their shape: centred, and scaled to the size of 1."""
    if "landmarks" not in summary:
        given = summary.get("descriptor")
        return None if given is None else [float(value) for value in given]
    points = np.array([point["pixel"] for point in summary["landmarks"].values()], float)
    centred = points - points.mean(axis=0)
    size = float(np.sqrt((centred**2).sum()))
    return None if size < 1e-6 else [round(float(value), 6) for value in (centred / size).ravel()]
