"""Volumes, inferences, cases and label versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "volumes",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("info", sa.JSON(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_volumes"),
    )
    _create_inferences()
    op.create_table(
        "cases",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(32), nullable=False),
        sa.Column("client_key", sa.String(64), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_cases"),
        sa.UniqueConstraint("id", name="uq_cases_id"),
        sa.UniqueConstraint("client_key", name="uq_cases_client_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "case_volumes",
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("slot", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_case_volumes_case_id"),
        sa.ForeignKeyConstraint(["sha256"], ["volumes.sha256"], name="fk_case_volumes_sha256"),
        sa.PrimaryKeyConstraint("case_id", "slot", name="pk_case_volumes"),
    )
    _create_label_versions()


def _create_inferences() -> None:
    op.create_table(
        "inferences",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("started_at", _MOMENT, nullable=True),
        sa.Column("finished_at", _MOMENT, nullable=True),
        sa.Column("problem_kind", sa.String(64), nullable=True),
        sa.Column("problem_reason", sa.Text(), nullable=True),
        sa.Column("problem_hint", sa.Text(), nullable=True),
        sa.Column("parts", sa.JSON(), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_inferences"),
        sa.UniqueConstraint("id", name="uq_inferences_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_inferences_state_number", "inferences", ["state", "number"])
    current = sa.text("current")
    op.create_index(
        "uq_inferences_key_current", "inferences", ["key"], unique=True, sqlite_where=current, postgresql_where=current
    )


def _create_label_versions() -> None:
    op.create_table(
        "label_versions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.String(36), nullable=True),
        sa.Column("sibling_of", sa.String(36), nullable=True),
        sa.Column("client_key", sa.String(64), nullable=True),
        sa.Column("segmentation", sa.String(64), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("inference_id", sa.String(36), nullable=True),
        sa.Column("model", sa.String(128), nullable=True),
        sa.Column("model_version", sa.String(64), nullable=True),
        sa.Column("model_sha256", sa.String(64), nullable=True),
        sa.Column("seconds_of_work", sa.Float(), nullable=True),
        sa.Column("verdict", sa.String(16), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("tools", sa.JSON(), nullable=False),
        sa.Column("segments", sa.JSON(), nullable=False),
        sa.Column("against_proposal", sa.JSON(), nullable=True),
        sa.Column("against_parent", sa.JSON(), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_label_versions_case_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["label_versions.id"], name="fk_label_versions_parent_id"),
        sa.ForeignKeyConstraint(["sibling_of"], ["label_versions.id"], name="fk_label_versions_sibling_of"),
        sa.ForeignKeyConstraint(["segmentation"], ["volumes.sha256"], name="fk_label_versions_segmentation"),
        sa.ForeignKeyConstraint(["inference_id"], ["inferences.id"], name="fk_label_versions_inference_id"),
        sa.PrimaryKeyConstraint("id", name="pk_label_versions"),
        sa.UniqueConstraint("case_id", "number", name="uq_label_versions_case_id_number"),
        sa.UniqueConstraint("case_id", "client_key", name="uq_label_versions_case_id_client_key"),
    )
    op.create_index("ix_label_versions_parent_id", "label_versions", ["parent_id"])
