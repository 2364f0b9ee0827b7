"""Patients and their split, the work list, leases, drafts, reviews, scores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables; cases that there are get their patient when the server starts."""
    _create_patients()
    _widen_cases()
    _create_events_and_reviews()
    _create_drafts_and_scores()
    for column in ("restores_id", "merges_id"):
        _add_reference("label_versions", column, "VARCHAR(36)", "label_versions (id)")


def _create_patients() -> None:
    op.create_table(
        "patients",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("split", sa.String(8), nullable=False),
        sa.Column("drawn_by", sa.String(200), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_patients"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "patient_keys",
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("patient", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.number"], name="fk_patient_keys_patient"),
        sa.PrimaryKeyConstraint("key", name="pk_patient_keys"),
    )
    op.create_index("ix_patient_keys_patient", "patient_keys", ["patient"])


def _widen_cases() -> None:
    _add_reference("cases", "patient", "INTEGER", "patients (number)")
    for column in (
        sa.Column("state", sa.String(16), nullable=False, server_default="new"),
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("assignee", sa.String(200)),
        sa.Column("holder", sa.String(200)),
        sa.Column("lease", sa.String(36)),
        sa.Column("held_since", _MOMENT),
        sa.Column("held_until", _MOMENT),
        sa.Column("submitted", sa.String(36)),
        sa.Column("approved", sa.String(36)),
        sa.Column("removed", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("revision", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("updated_at", _MOMENT),
    ):
        op.add_column("cases", column)
    op.execute("UPDATE cases SET updated_at = created_at")
    op.execute("UPDATE cases SET state = 'draft' WHERE id IN (SELECT case_id FROM label_versions)")
    op.create_index("ix_cases_patient", "cases", ["patient"])
    op.create_index("ix_cases_state_priority", "cases", ["state", "priority"])
    op.create_table(
        "case_sources",
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_case_sources_case_id"),
        sa.PrimaryKeyConstraint("case_id", name="pk_case_sources"),
    )


def _create_events_and_reviews() -> None:
    op.create_table(
        "case_events",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("before", sa.String(16), nullable=False),
        sa.Column("after", sa.String(16), nullable=False),
        sa.Column("version", sa.String(36)),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_case_events_case_id"),
        sa.PrimaryKeyConstraint("number", name="pk_case_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_case_events_case_id_number", "case_events", ["case_id", "number"])
    op.create_table(
        "reviews",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("version", sa.String(36), nullable=False),
        sa.Column("client_key", sa.String(64)),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("ai_verdict", sa.String(16)),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_reviews_case_id"),
        sa.ForeignKeyConstraint(["version"], ["label_versions.id"], name="fk_reviews_version"),
        sa.PrimaryKeyConstraint("number", name="pk_reviews"),
        sa.UniqueConstraint("case_id", "client_key", name="uq_reviews_case_id_client_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reviews_case_id", "reviews", ["case_id"])


def _create_drafts_and_scores() -> None:
    op.create_table(
        "drafts",
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("parent_id", sa.String(36)),
        sa.Column("inference_id", sa.String(36)),
        sa.Column("seconds_of_work", sa.Float()),
        sa.Column("tools", sa.JSON(), nullable=False),
        sa.Column("saved_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_drafts_case_id"),
        sa.ForeignKeyConstraint(["content"], ["volumes.sha256"], name="fk_drafts_content"),
        sa.ForeignKeyConstraint(["parent_id"], ["label_versions.id"], name="fk_drafts_parent_id"),
        sa.ForeignKeyConstraint(["inference_id"], ["inferences.id"], name="fk_drafts_inference_id"),
        sa.PrimaryKeyConstraint("case_id", "session", name="pk_drafts"),
    )
    op.create_table(
        "scores",
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_scores_case_id"),
        sa.PrimaryKeyConstraint("case_id", "model_sha256", "name", name="pk_scores"),
    )


def _add_reference(table: str, column: str, kind: str, target: str) -> None:
    # in one statement, which SQLite takes too; Alembic would copy the table there
    op.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind} REFERENCES {target}")
