"""``patients.split`` holds ``validation``, which PostgreSQL refused; what scores tell of a case can be sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the columns; what is in them stays as it is."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("patients", "split", type_=sa.String(16), existing_type=sa.String(8))
        op.alter_column("scores", "detail", type_=sa.Text(), existing_type=sa.JSON(), postgresql_using="detail::text")
    else:
        _change("patients", "split", sa.String(16), "''")
        _change("scores", "detail", sa.Text(), "'{}'")


def _change(table: str, column: str, kind: sa.types.TypeEngine[str], default: str) -> None:
    """In SQLite, without making the table anew: other tables refer to its rows."""
    op.add_column(table, sa.Column("changed", kind, nullable=False, server_default=sa.text(default)))
    op.execute(f"UPDATE {table} SET changed = {column}")
    op.drop_column(table, column)
    op.alter_column(table, "changed", new_column_name=column)
