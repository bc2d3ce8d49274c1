"""How alembic reaches our database: always through a connection that we hand over."""

from __future__ import annotations

from alembic import context
from waypost.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=False,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
