"""Alembic runs this file to connect; the connection comes from ``mahtai.db.migrate``."""

from alembic import context

from mahtai.db import trust_tables
from mahtai.db.tables import Base

assert trust_tables  # its tables belong to the same metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
