"""Versions on trial: run in the shadow of the version that serves, and compared with it and with the readers."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from mahtai.cases.segment_labels import compare
from mahtai.db.engine import Database
from mahtai.db.tables import InferenceRow, LabelVersionRow, ShadowRow
from mahtai.errors import MahtaiError
from mahtai.jobs.inference import RANKS
from mahtai.models.bundle import Bundle
from mahtai.models.catalogue import Catalogue
from mahtai.models.serving import version_name
from mahtai.volumes.segmentation_file import decode_segmentation, on_grid
from mahtai.volumes.store import BlobStore
from MahtAILib.client.segmentation import Segmentation

LOOK_EVERY_S = 3.0
AT_ONCE = 10
"""Shadow runs that are begun at one look; they wait behind everything that a reader wants."""

_log = logging.getLogger(__name__)

Submit = Callable[[str, Mapping[str, str], Mapping[str, Any]], str]
"""Version, inputs, options → id of the unattended inference."""


@dataclass(frozen=True)
class Record:
    """What is known of a version from its use.

    Attributes:
        inferences: that readers asked for and got.
        shadows: studies that it was run on in the shadow of the version that served.
        agreement: segment → mean Dice to that version's results.
        corrected: of these studies, those that a reader saved a label of.
        reader, reader_active: segment → mean Dice of its and of that version's results against those labels.
    """

    inferences: int = 0
    shadows: int = 0
    agreement: Mapping[str, float] = field(default_factory=dict)
    corrected: int = 0
    reader: Mapping[str, float] = field(default_factory=dict)
    reader_active: Mapping[str, float] = field(default_factory=dict)


class Trials:
    """Looks now and then for what readers have run, and runs the version on trial on the same."""

    def __init__(self, database: Database, store: BlobStore, catalogue: Catalogue, submit: Submit) -> None:
        self._database = database
        self._store = store
        self._catalogue = catalogue
        self._submit = submit
        self._refused: set[str] = set()
        self._unreadable: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_now_and_then, name="trials", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def record(self, bundle: Bundle) -> Record:
        """Of one version."""
        with self._database.read() as session:
            served = select(func.count()).where(
                InferenceRow.model_sha256 == bundle.sha256,
                InferenceRow.state == "succeeded",
                InferenceRow.rank == RANKS["reader"],
            )
            shadows = session.scalars(select(ShadowRow).where(ShadowRow.sha256 == bundle.sha256)).all()
            count = session.scalar(served) or 0
        corrected = [row.reader for row in shadows if row.reader is not None]
        return Record(
            inferences=count,
            shadows=sum(row.agreement is not None for row in shadows),
            agreement=_means(row.agreement for row in shadows if row.agreement is not None),
            corrected=len(corrected),
            reader=_means(each["candidate"] for each in corrected),
            reader_active=_means(each["active"] for each in corrected),
        )

    def remark(self, model: str, sha256: str) -> str | None:
        """What a reader is told of a result that a version on trial has made; None for any other."""
        trial = self._catalogue.serving_of(model).trial
        if trial is None:
            return None
        try:
            bundle = self._catalogue.get(version_name(model, trial.number))
        except MahtaiError:
            return None
        return f"Made by version {bundle.version}, which is on trial." if bundle.sha256 == sha256 else None

    def look(self) -> None:
        """Begin shadow runs, and compare those that have ended.

        Raises:
            MahtaiError: the tables or the models cannot be read.
        """
        if self._catalogue.serving is None or not self._catalogue.serving.read():
            return  # nothing was ever on trial here
        for bundle in self._catalogue.list():
            trial = self._catalogue.serving_of(bundle.id).trial
            if trial is None or not trial.shadow or trial.number == bundle.number:
                continue
            candidate = self._catalogue.get(version_name(bundle.id, trial.number))
            self._begin(bundle, candidate, datetime.fromtimestamp(trial.since, timezone.utc))
        for row in self._unmeasured():
            self._measure(*row)

    def _look_now_and_then(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self.look()
            except MahtaiError as error:
                _log.warning("the trials could not be looked after: %s", error.kind)
            except Exception:
                _log.exception("the trials could not be looked after")

    def _begin(self, active: Bundle, candidate: Bundle, since: datetime) -> None:
        shadowed = select(ShadowRow.beside_id).where(ShadowRow.sha256 == candidate.sha256)
        wanted = (
            select(InferenceRow)
            .where(
                InferenceRow.model == active.id,
                InferenceRow.model_sha256 == active.sha256,
                InferenceRow.state == "succeeded",
                InferenceRow.rank == RANKS["reader"],
                InferenceRow.created_at >= since,
                InferenceRow.id.not_in(shadowed),
            )
            .order_by(InferenceRow.number)
            .limit(AT_ONCE + len(self._refused))
        )
        with self._database.read() as session:
            rows = [row for row in session.scalars(wanted) if row.id not in self._refused]
        for row in rows[:AT_ONCE]:
            try:
                job = self._submit(candidate.version_name, row.inputs, row.options)
            except MahtaiError as error:
                _log.info("no shadow of inference %s: %s", row.id, error.kind)
                if error.kind != "busy":
                    self._refused.add(row.id)
                continue
            with self._database.write() as session:
                if session.get(ShadowRow, (job, row.id)) is None:
                    made = ShadowRow(inference_id=job, beside_id=row.id, model=active.id, sha256=candidate.sha256)
                    session.add(made)

    def _unmeasured(self) -> list[tuple[ShadowRow, InferenceRow, InferenceRow, LabelVersionRow | None]]:
        """Shadow runs that have ended and of which something can be found out: the row, both runs, the label."""
        shadow, beside = aliased(InferenceRow), aliased(InferenceRow)
        has_label = exists().where(
            LabelVersionRow.inference_id == ShadowRow.beside_id, LabelVersionRow.kind == "segmentation"
        )
        wanted = (
            select(ShadowRow, shadow, beside)
            .join(shadow, shadow.id == ShadowRow.inference_id)
            .join(beside, beside.id == ShadowRow.beside_id)
            .where(
                shadow.state == "succeeded",
                ShadowRow.reader.is_(None),
                or_(ShadowRow.agreement.is_(None), has_label),
                ShadowRow.inference_id.not_in(self._unreadable),
            )
            .limit(AT_ONCE)
        )
        with self._database.read() as session:
            return [(row, own, other, _first_label(session, other.id)) for row, own, other in session.execute(wanted)]

    def _measure(
        self, row: ShadowRow, shadow: InferenceRow, beside: InferenceRow, label: LabelVersionRow | None
    ) -> None:
        try:
            candidate, active = (self._result(run) for run in (shadow, beside))
            agreement = compare(candidate, on_grid(active, candidate.geometry)).dice
            reader = None
            if label is not None:
                saved = on_grid(self._read(label.content), candidate.geometry)
                reader = {
                    "version": label.id,
                    "candidate": compare(saved, candidate).dice,
                    "active": compare(saved, on_grid(active, candidate.geometry)).dice,
                }
        except (MahtaiError, KeyError) as error:
            _log.warning("shadow %s cannot be compared: %s", row.inference_id, error)
            self._unreadable.add(row.inference_id)
            return
        with self._database.write() as session:
            kept = session.get(ShadowRow, (row.inference_id, row.beside_id))
            if kept is not None:
                kept.agreement, kept.reader = agreement, reader

    def _result(self, run: InferenceRow) -> Segmentation:
        return self._read((run.parts or {})["segmentation"]["sha256"])

    def _read(self, sha256: str) -> Segmentation:
        return decode_segmentation(self._store.read_bytes(sha256))


def _first_label(session: Session, inference: str) -> LabelVersionRow | None:
    """The first version that a reader saved of a result."""
    of_result = select(LabelVersionRow).where(
        LabelVersionRow.inference_id == inference, LabelVersionRow.kind == "segmentation"
    )
    return session.scalar(of_result.order_by(LabelVersionRow.number).limit(1))


def _means(values: Iterable[Mapping[str, float]]) -> dict[str, float]:
    collected: dict[str, list[float]] = defaultdict(list)
    for one in values:
        for part, value in one.items():
            collected[part].append(value)
    return {part: round(sum(each) / len(each), 4) for part, each in sorted(collected.items())}
