"""What each case tells of its patient, so that a team is told of its patients by nothing but its own cases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SAME_TEAM = "COALESCE(others.team, '') = COALESCE(cases.team, '')"
_OF_ONE_TEAM = "(SELECT COUNT(DISTINCT COALESCE(team, '')) FROM cases WHERE cases.patient = patient_keys.patient) = 1"
_FIRST = "(SELECT MIN(number) FROM cases WHERE cases.patient = patient_keys.patient)"


def upgrade() -> None:
    """Make the table, and group the cases as they were, but by team.

    Of a patient whom several teams have it is not known who told what, so that nobody is said to have told it.
    """
    op.add_column("cases", sa.Column("kin", sa.Integer()))
    op.create_table(
        "case_keys",
        sa.Column("case_id", sa.String(36), nullable=False),
        sa.Column("key", sa.String(80), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_case_keys_case_id"),
        sa.PrimaryKeyConstraint("case_id", "key", name="pk_case_keys"),
    )
    op.create_index("ix_case_keys_key", "case_keys", ["key"])
    op.execute(
        f"UPDATE cases SET kin = (SELECT MIN(others.number) FROM cases AS others "
        f"WHERE others.patient = cases.patient AND {_SAME_TEAM}) WHERE patient IS NOT NULL"
    )
    op.execute(
        f"INSERT INTO case_keys (case_id, key) SELECT cases.id, patient_keys.key FROM patient_keys "
        f"JOIN cases ON cases.number = {_FIRST} WHERE {_OF_ONE_TEAM}"
    )
