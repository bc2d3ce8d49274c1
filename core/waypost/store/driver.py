"""Statements on the driver's own connection, for the hot paths.

SQLAlchemy's share would be many times the statement's own, and most of what a batch costs. Parameters are `?1`, `?2` …
on SQLite and `$1`, `$2` … on PostgreSQL; errors are raised as SQLAlchemy raises them, without the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from pysqlite3 import dbapi2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.util import await_only


def is_postgres(conn: Connection) -> bool:
    """Whether this connection speaks to PostgreSQL."""
    return conn.dialect.name == "postgresql"


def run(conn: Connection, statement: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
    """Run a statement and return its rows. Raises SQLAlchemy's `DBAPIError` and its kinds."""
    driver = conn.connection.driver_connection
    if is_postgres(conn):
        try:
            rows: Sequence[Sequence[Any]] = await_only(driver.fetch(statement, *parameters))  # type: ignore[union-attr]
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise as_sqlalchemy(error, statement) from error
        return rows
    cursor = driver.cursor()  # type: ignore[union-attr]
    try:
        cursor.execute(statement, parameters)
        found: Sequence[Sequence[Any]] = cursor.fetchall()
        return found
    except dbapi2.Error as error:
        raise DBAPIError.instance(statement, None, error, dbapi2.Error, hide_parameters=True) from error
    finally:
        cursor.close()


def as_sqlalchemy(error: BaseException, statement: str | None = None) -> DBAPIError:
    """An error of asyncpg's, as SQLAlchemy would raise it."""
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return IntegrityError(statement, None, error, hide_parameters=True)
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
        return DBAPIError(statement, None, error, hide_parameters=True)
    return InterfaceError(statement, None, error, hide_parameters=True, connection_invalidated=True)
