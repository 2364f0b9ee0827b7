"""Tables of those who may come in, and of the record of what they did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from mahtai.db.sealed import SealedJson, SealedText
from mahtai.db.tables import Base, Identifier, Sha256, now


class AccountRow(Base):
    """Somebody who may sign in.

    ``name`` is what their work is kept under, and never given to anybody else; ``login`` is the same in lower case.
    ``password`` is an argon2id hash, ``totp`` the secret of their codes, ``totp_step`` the newest time step that was
    used, ``recovery`` the hashes of recovery codes that are left. ``subject`` is who they are at the hospital's own
    sign-in (``issuer|sub``), ``hospital_at`` when they last came from there. ``teams`` say which cases they see.
    """

    __tablename__ = "accounts"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Identifier, unique=True)
    login: Mapped[str] = mapped_column(String(200), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(32))
    teams: Mapped[list[Any]] = mapped_column(JSON, default=list)
    password: Mapped[str | None] = mapped_column(Text)
    totp: Mapped[str | None] = mapped_column(SealedText("accounts.totp"))
    totp_step: Mapped[int | None] = mapped_column(BigInteger)
    recovery: Mapped[list[Any]] = mapped_column(JSON, default=list)
    subject: Mapped[str | None] = mapped_column(String(400), unique=True)
    hospital_at: Mapped[datetime | None]
    disabled: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)


class SessionRow(Base):
    """Somebody who signed in, until they sign out or do nothing for too long.

    ``refresh`` is the hash of the token that renews it. In an ``enrolling`` session nothing but setting up codes is
    allowed.
    """

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    refresh: Mapped[str] = mapped_column(Sha256, unique=True)
    enrolling: Mapped[bool] = mapped_column(Boolean, default=False)
    address: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
    ended_why: Mapped[str | None] = mapped_column(String(32))


class ApiTokenRow(Base):
    """A token that somebody made for a program; only its hash is kept."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(Sha256, unique=True)
    scopes: Mapped[list[Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class FailureRow(Base):
    """How often signing in failed of late, by what was tried (a hash) and from where."""

    __tablename__ = "sign_in_failures"

    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    count: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[datetime]


class ForeignSignInRow(Base):
    """Somebody who was sent to the hospital's own sign-in and is awaited back. ``state`` and ``code`` are hashes."""

    __tablename__ = "foreign_sign_ins"

    state: Mapped[str] = mapped_column(Sha256, primary_key=True)
    body: Mapped[Any] = mapped_column(SealedJson("foreign_sign_ins.body"))
    code: Mapped[str | None] = mapped_column(Sha256, unique=True)
    account: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class HolderRow(Base):
    """Who has shown to have a blob by sending it."""

    __tablename__ = "volume_holders"

    sha256: Mapped[str] = mapped_column(ForeignKey("volumes.sha256"), primary_key=True)
    account: Mapped[str] = mapped_column(String(200), primary_key=True)


class AuditRow(Base):
    """One entry of the record; ``sha256`` covers the entry and the hash of the one before.

    ``body`` is the entry as canonical JSON. When its time is over it is erased; ``body_sha256`` stays, so that the
    chain still holds.
    """

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_kind_at", "kind", "at"),)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(32))
    who: Mapped[str | None] = mapped_column(String(200))
    body: Mapped[str | None] = mapped_column(Text)
    body_sha256: Mapped[str] = mapped_column(Sha256)
    previous: Mapped[str] = mapped_column(Sha256)
    sha256: Mapped[str] = mapped_column(Sha256)


class CheckpointRow(Base):
    """A signed statement of how far the record went."""

    __tablename__ = "audit_checkpoints"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    sha256: Mapped[str] = mapped_column(Sha256)
    key: Mapped[str] = mapped_column(String(64))
    signature: Mapped[str] = mapped_column(String(200))
