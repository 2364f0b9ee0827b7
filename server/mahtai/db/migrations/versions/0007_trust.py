"""Accounts, sessions, tokens, the record of what was done; cases of teams; sealed columns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    _accounts()
    _sign_in()
    _record()
    op.add_column("cases", sa.Column("team", sa.String(64)))
    op.add_column("inferences", sa.Column("requested_by", sa.String(200)))
    # a sealed value is text, and JSON as it was before is text of the same form
    with op.batch_alter_table("case_sources") as table:
        table.alter_column("source", type_=sa.Text(), existing_type=sa.JSON(), postgresql_using="source::text")


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("login", sa.String(200), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("teams", sa.JSON(), nullable=False),
        sa.Column("password", sa.Text()),
        sa.Column("totp", sa.Text()),
        sa.Column("totp_step", sa.BigInteger()),
        sa.Column("recovery", sa.JSON(), nullable=False),
        sa.Column("subject", sa.String(400)),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_accounts"),
        sa.UniqueConstraint("id", name="uq_accounts_id"),
        sa.UniqueConstraint("login", name="uq_accounts_login"),
        sa.UniqueConstraint("subject", name="uq_accounts_subject"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("refresh", sa.String(64), nullable=False),
        sa.Column("enrolling", sa.Boolean(), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("ended_why", sa.String(32)),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_sessions_account"),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("refresh", name="uq_sessions_refresh"),
    )
    op.create_index("ix_sessions_account", "sessions", ["account"])
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_api_tokens_account"),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.UniqueConstraint("sha256", name="uq_api_tokens_sha256"),
    )
    op.create_index("ix_api_tokens_account", "api_tokens", ["account"])


def _sign_in() -> None:
    op.create_table(
        "sign_in_failures",
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_sign_in_failures"),
    )
    op.create_table(
        "foreign_sign_ins",
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("code", sa.String(64)),
        sa.Column("account", sa.String(36)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_foreign_sign_ins_account"),
        sa.PrimaryKeyConstraint("state", name="pk_foreign_sign_ins"),
        sa.UniqueConstraint("code", name="uq_foreign_sign_ins_code"),
    )
    op.create_table(
        "volume_holders",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("account", sa.String(200), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["volumes.sha256"], name="fk_volume_holders_sha256"),
        sa.PrimaryKeyConstraint("sha256", "account", name="pk_volume_holders"),
    )


def _record() -> None:
    op.create_table(
        "audit_events",
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("who", sa.String(200)),
        sa.Column("body", sa.Text()),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_kind_at", "audit_events", ["kind", "at"])
    op.create_table(
        "audit_checkpoints",
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("signature", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_checkpoints"),
    )
    statements = _REFUSALS_OF_POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _REFUSALS_OF_SQLITE
    for statement in statements:
        op.execute(statement)


# nothing is taken out of the record or changed in it, except that who and body are erased when their time is over
_ERASED = (
    "NEW.body IS NULL AND NEW.who IS NULL AND NEW.number = OLD.number AND NEW.at = OLD.at AND NEW.kind = OLD.kind "
    "AND NEW.body_sha256 = OLD.body_sha256 AND NEW.previous = OLD.previous AND NEW.sha256 = OLD.sha256"
)

_REFUSALS_OF_SQLITE = (
    *(
        f"CREATE TRIGGER {table}_keep BEFORE DELETE ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the record is only added to'); END"
        for table in ("audit_events", "audit_checkpoints")
    ),
    f"CREATE TRIGGER audit_events_fixed BEFORE UPDATE ON audit_events WHEN NOT ({_ERASED}) "
    "BEGIN SELECT RAISE(ABORT, 'the record is only added to'); END",
    "CREATE TRIGGER audit_checkpoints_fixed BEFORE UPDATE ON audit_checkpoints "
    "BEGIN SELECT RAISE(ABORT, 'the record is only added to'); END",
    # a row that takes the place of another one is no DELETE for SQLite, unless recursive triggers are on
    *(
        f"CREATE TRIGGER {table}_new BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE number = "
        "NEW.number) BEGIN SELECT RAISE(ABORT, 'the record is only added to'); END"
        for table in ("audit_events", "audit_checkpoints")
    ),
)

_REFUSALS_OF_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION mahtai_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the record is only added to'; END $$",
    f"CREATE TRIGGER audit_events_fixed BEFORE UPDATE ON audit_events FOR EACH ROW WHEN (NOT ({_ERASED})) "
    "EXECUTE FUNCTION mahtai_refuse()",
    "CREATE TRIGGER audit_events_keep BEFORE DELETE OR TRUNCATE ON audit_events FOR EACH STATEMENT "
    "EXECUTE FUNCTION mahtai_refuse()",
    "CREATE TRIGGER audit_checkpoints_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints "
    "FOR EACH STATEMENT EXECUTE FUNCTION mahtai_refuse()",
)
