"""Migrations: bring a database to this release's schema (alembic), and say whether it is there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from waypost.store import views

#: Names our advisory lock on PostgreSQL.
_LOCK = 0x7761_7970

_FOLDER = Path(__file__).parent / "migrations"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Bring the schema to this release, inside the connection's transaction; one process at a time."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    views.forget(connection)
    command.upgrade(_config(connection), "head")


def wanted_revision() -> str:
    """The schema revision this release works with."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def current_revision(connection: Connection) -> str | None:
    """The database's schema revision; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()
