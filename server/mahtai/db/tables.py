"""The tables. What they hold is true; everything else (progress, places in the line) is derived."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mahtai.db.sealed import SealedJson, SealedText

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """The time in UTC, which is what every table stores."""
    return datetime.now(timezone.utc)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes, also from SQLite, which forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC back."""
        if value is None:
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


class Base(DeclarativeBase):
    """Parent of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: JSON, datetime: UtcDateTime}  # noqa: RUF012


Sha256 = String(64)
Identifier = String(36)


class VolumeRow(Base):
    """A blob that was checked and accepted: an uploaded volume, a label, or a part of a result."""

    __tablename__ = "volumes"

    sha256: Mapped[str] = mapped_column(Sha256, primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(16))
    format: Mapped[str] = mapped_column(String(16))
    info: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class InferenceRow(Base):
    """An accepted job. ``rank`` and ``number`` are its order in the line, ``anew`` that nothing in memory may serve
    it, ``current`` marks the one that a repeated request gets.

    ``owner`` is the server that has to do it; ``claims`` counts the changes of hands, and what is written under an
    older count is refused. ``stage``, ``fraction`` and ``preview`` are for those who watch from another server.
    """

    __tablename__ = "inferences"
    __table_args__ = (
        Index(
            "uq_inferences_key_current",
            "key",
            unique=True,
            sqlite_where=text("current"),
            postgresql_where=text("current"),
        ),
        Index("ix_inferences_state_number", "state", "number"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Identifier, unique=True)
    key: Mapped[str] = mapped_column(Sha256)
    current: Mapped[bool] = mapped_column(Boolean, default=True)
    rank: Mapped[int] = mapped_column(Integer, default=0)
    anew: Mapped[bool] = mapped_column(Boolean, default=False)
    model: Mapped[str] = mapped_column(String(128))
    model_version: Mapped[str] = mapped_column(String(64))
    model_sha256: Mapped[str] = mapped_column(Sha256)
    inputs: Mapped[dict[str, Any]]
    options: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), default="queued")
    starts: Mapped[int] = mapped_column(Integer, default=0)
    owner: Mapped[str | None] = mapped_column(String(64))
    claims: Mapped[int] = mapped_column(Integer, default=0)
    stage: Mapped[str | None] = mapped_column(String(64))
    fraction: Mapped[float | None] = mapped_column(Float)
    preview: Mapped[int | None] = mapped_column(Integer)
    requested_by: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    problem_kind: Mapped[str | None] = mapped_column(String(64))
    problem_reason: Mapped[str | None] = mapped_column(Text)
    problem_hint: Mapped[str | None] = mapped_column(Text)
    parts: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    summary: Mapped[dict[str, Any] | None] = mapped_column(SealedJson("inferences.summary"))


class ServerRow(Base):
    """A server or worker that shares the tables. It lives as long as ``beats`` grows; ``seen_at`` is for people."""

    __tablename__ = "servers"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    beats: Mapped[int] = mapped_column(BigInteger, default=0)
    seen_at: Mapped[datetime]


class PatientRow(Base):
    """A patient, known by nothing but keys, and the part of the split that was drawn for all of their cases."""

    __tablename__ = "patients"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    split: Mapped[str] = mapped_column(String(16))
    drawn_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)


class PatientKeyRow(Base):
    """What a patient is known by: a keyed hash of a number (``id:…``), or the fingerprint of a scan (``scan:…``)."""

    __tablename__ = "patient_keys"

    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    patient: Mapped[int] = mapped_column(ForeignKey("patients.number"), index=True)


class CaseKeyRow(Base):
    """What a case tells of its patient: one of the keys of ``PatientKeyRow``."""

    __tablename__ = "case_keys"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(80), primary_key=True, index=True)


class CaseRow(Base):
    """A study that people work on. ``name`` is for display and holds no patient data.

    ``state`` is what the work has come to; that somebody holds the case says the lease (``holder``, ``lease``,
    ``held_until``), which ends by itself. ``revision`` counts the changes of the row.

    ``patient`` is whose the case is by all that this server knows, which nobody is told: other teams may have told it.
    ``kin`` is the number of the first case of the same patient by what the cases of the same team tell.
    """

    __tablename__ = "cases"
    __table_args__ = (Index("ix_cases_state_priority", "state", "priority"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Identifier, unique=True)
    name: Mapped[str] = mapped_column(String(200))
    task: Mapped[str] = mapped_column(String(64))
    reference: Mapped[str] = mapped_column(String(32))
    client_key: Mapped[str | None] = mapped_column(String(64), unique=True)
    patient: Mapped[int | None] = mapped_column(ForeignKey("patients.number"), index=True)
    kin: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16), default="new")
    priority: Mapped[int] = mapped_column(Integer, default=0)
    team: Mapped[str | None] = mapped_column(String(64))
    assignee: Mapped[str | None] = mapped_column(String(200))
    holder: Mapped[str | None] = mapped_column(String(200))
    lease: Mapped[str | None] = mapped_column(Identifier)
    held_since: Mapped[datetime | None]
    held_until: Mapped[datetime | None]
    submitted: Mapped[str | None] = mapped_column(Identifier)
    approved: Mapped[str | None] = mapped_column(Identifier)
    removed: Mapped[bool] = mapped_column(Boolean, default=False)
    revision: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime | None] = mapped_column(default=now)


class CaseSourceRow(Base):
    """Where a case comes from, such as UIDs; kept apart, so that no list of cases shows it."""

    __tablename__ = "case_sources"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    source: Mapped[Any] = mapped_column(SealedJson("case_sources.source"))


class CaseEventRow(Base):
    """What happened to a case, in order. Rows are only ever added."""

    __tablename__ = "case_events"
    __table_args__ = (Index("ix_case_events_case_id_number", "case_id", "number"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    at: Mapped[datetime] = mapped_column(default=now)
    who: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(32))
    what: Mapped[str] = mapped_column(String(16))
    before: Mapped[str] = mapped_column(String(16))
    after: Mapped[str] = mapped_column(String(16))
    version: Mapped[str | None] = mapped_column(Identifier)
    comment: Mapped[str] = mapped_column(SealedText("case_events.comment"), default="")


class ReviewRow(Base):
    """What a second reader said of a version. Rows are only ever added."""

    __tablename__ = "reviews"
    __table_args__ = (UniqueConstraint("case_id", "client_key"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    version: Mapped[str] = mapped_column(ForeignKey("label_versions.id"))
    client_key: Mapped[str | None] = mapped_column(String(64))
    reviewer: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(32))
    verdict: Mapped[str] = mapped_column(String(16))
    ai_verdict: Mapped[str | None] = mapped_column(String(16))
    comment: Mapped[str] = mapped_column(SealedText("reviews.comment"), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


class DraftRow(Base):
    """Work that is not finished, as it was last kept: one row a case and editing session."""

    __tablename__ = "drafts"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    session: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, default=1)
    kind: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(ForeignKey("volumes.sha256"))
    author: Mapped[str] = mapped_column(String(200))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("label_versions.id"))
    inference_id: Mapped[str | None] = mapped_column(ForeignKey("inferences.id"))
    seconds_of_work: Mapped[float | None] = mapped_column(Float)
    tools: Mapped[dict[str, Any]]
    saved_at: Mapped[datetime] = mapped_column(default=now)


class ScoreRow(Base):
    """How interesting a case is to a strategy, by one version of a model."""

    __tablename__ = "scores"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    model_sha256: Mapped[str] = mapped_column(Sha256, primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[float | None] = mapped_column(Float)
    detail: Mapped[dict[str, Any]] = mapped_column(SealedJson("scores.detail"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class ShadowRow(Base):
    """A run of a version on trial on what a reader ran. ``agreement`` is how far the two results agree, ``reader`` how
    far each agrees with what the reader then saved; None until it is known.
    """

    __tablename__ = "shadows"

    inference_id: Mapped[str] = mapped_column(ForeignKey("inferences.id"), primary_key=True)
    beside_id: Mapped[str] = mapped_column(ForeignKey("inferences.id"), primary_key=True)
    model: Mapped[str] = mapped_column(String(128))
    sha256: Mapped[str] = mapped_column(Sha256, index=True)
    agreement: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    reader: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=now)


class CaseVolumeRow(Base):
    """Which volume lies in which slot of a case."""

    __tablename__ = "case_volumes"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    slot: Mapped[str] = mapped_column(String(32), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("volumes.sha256"))


class LabelVersionRow(Base):
    """A saved label: a segmentation, or landmarks. Rows are only ever added.

    ``parts``, ``against_proposal`` and ``against_parent`` are what the kind of label says of the file.
    """

    __tablename__ = "label_versions"
    __table_args__ = (UniqueConstraint("case_id", "number"), UniqueConstraint("case_id", "client_key"))

    id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    number: Mapped[int] = mapped_column(Integer)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("label_versions.id"), index=True)
    sibling_of: Mapped[str | None] = mapped_column(ForeignKey("label_versions.id"))
    client_key: Mapped[str | None] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(ForeignKey("volumes.sha256"))
    author: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(32))
    restores_id: Mapped[str | None] = mapped_column(ForeignKey("label_versions.id"))
    merges_id: Mapped[str | None] = mapped_column(ForeignKey("label_versions.id"))
    inference_id: Mapped[str | None] = mapped_column(ForeignKey("inferences.id"))
    model: Mapped[str | None] = mapped_column(String(128))
    model_version: Mapped[str | None] = mapped_column(String(64))
    model_sha256: Mapped[str | None] = mapped_column(Sha256)
    seconds_of_work: Mapped[float | None] = mapped_column(Float)
    verdict: Mapped[str | None] = mapped_column(String(16))
    comment: Mapped[str] = mapped_column(SealedText("label_versions.comment"), default="")
    tools: Mapped[dict[str, Any]]
    parts: Mapped[dict[str, Any]] = mapped_column(SealedJson("label_versions.parts"))
    against_proposal: Mapped[dict[str, Any] | None] = mapped_column(SealedJson("label_versions.against_proposal"))
    against_parent: Mapped[dict[str, Any] | None] = mapped_column(SealedJson("label_versions.against_parent"))
    created_at: Mapped[datetime] = mapped_column(default=now)
