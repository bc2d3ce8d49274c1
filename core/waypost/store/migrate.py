"""Migrations: bring a database to this release's schema (alembic), and say whether it is there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select, text

from waypost.store import views
from waypost.store.tables import supported_schema

#: Names our advisory lock on PostgreSQL.
_LOCK = 0x7761_7970

_FOLDER = Path(__file__).parent / "migrations"


class SchemaMismatchError(Exception):
    """The database's schema is not this release's; run `waypost db upgrade`."""

    def __init__(self) -> None:
        super().__init__(" ".join((self.__doc__ or "").split()))


class NewerSchemaError(SchemaMismatchError):
    """The database's schema is of a newer release; install that release here too."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Bring the schema to this release, inside the connection's transaction; one process at a time.

    Raises `NewerSchemaError` where a later release has changed it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if not _is_known(current_revision(connection)):
        raise NewerSchemaError
    views.forget(connection)
    command.upgrade(_config(connection), "head")


def check(connection: Connection) -> None:
    """Raise `SchemaMismatchError` unless this release may run on the database's schema.

    A migration that only adds to a schema leaves the revision before its own among those that it supports, so that
    nodes one release apart may run side by side; see ADR 0017.
    """
    current, wanted = current_revision(connection), wanted_revision()
    if current == wanted:
        return
    if _is_known(current):
        raise SchemaMismatchError
    query = select(supported_schema.c.revision).where(supported_schema.c.revision == wanted)
    if connection.execute(query).first() is None:
        raise NewerSchemaError


def _is_known(revision: str | None) -> bool:
    scripts = ScriptDirectory.from_config(_config())
    return revision is None or revision in {script.revision for script in scripts.walk_revisions()}


def wanted_revision() -> str:
    """The schema revision this release works with."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def current_revision(connection: Connection) -> str | None:
    """The database's schema revision; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()
