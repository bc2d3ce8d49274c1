"""Statements on the driver's own connection, for the hot paths.

SQLAlchemy's share would be many times the statement's own, and most of what a batch costs. Parameters are `?1`, `?2` …
on SQLite and `$1`, `$2` … on PostgreSQL; errors are raised as SQLAlchemy raises them, without the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import asyncpg
import orjson
from pysqlite3 import dbapi2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.util import await_only

#: What asyncpg raises. The internal one too: so answers a connection whose server has said goodbye and not yet hung up.
FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


def is_postgres(conn: Connection) -> bool:
    """Whether this connection speaks to PostgreSQL."""
    return conn.dialect.name == "postgresql"


def run(conn: Connection, statement: str, parameters: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
    """Run a statement and return its rows. Raises SQLAlchemy's `DBAPIError` and its kinds."""
    driver = conn.connection.driver_connection
    if is_postgres(conn):
        try:
            rows: Sequence[Sequence[Any]] = await_only(driver.fetch(statement, *parameters))  # type: ignore[union-attr]
        except FAULTS as error:
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


def run_by(conn: Connection, statement: str, *keys: Iterable[str]) -> Sequence[Sequence[Any]]:
    """Run a statement in which each `{}` compares with one of the lists of keys."""
    lists = [list(item) for item in keys]
    if is_postgres(conn):
        return run(conn, _among_postgres(statement), lists)
    return run(conn, _among_sqlite(statement), [orjson.dumps(item).decode() for item in lists])


def rows_by(conn: Connection, columns: Sequence[str], tail: str, *keys: Iterable[str]) -> Sequence[Sequence[Any]]:
    """Rows of a SELECT of these columns; each `{}` in its tail, from FROM on, compares with one of the lists of keys.

    SQLite gives them all as one value, because the writer's thread gives the interpreter lock away at every row.
    """
    if is_postgres(conn):
        return run_by(conn, f"SELECT {', '.join(columns)} {tail}", *keys)
    rows: Sequence[Sequence[Any]] = orjson.loads(run_by(conn, _as_one_value(tuple(columns), tail), *keys)[0][0])
    return rows


@lru_cache(maxsize=128)
def _among_postgres(statement: str) -> str:
    return statement.format(*(f"= ANY(${number}::text[])" for number in range(1, statement.count("{}") + 1)))


@lru_cache(maxsize=128)
def _among_sqlite(statement: str) -> str:
    lists = range(1, statement.count("{}") + 1)
    return statement.format(*(f"IN (SELECT value FROM json_each(?{number}))" for number in lists))


@lru_cache(maxsize=128)
def _as_one_value(columns: tuple[str, ...], tail: str) -> str:
    named = ", ".join(f"{column} AS v{number}" for number, column in enumerate(columns))
    values = ", ".join(f"v{number}" for number in range(len(columns)))
    return f"SELECT json_group_array(json_array({values})) FROM (SELECT {named} {tail})"


def as_sqlalchemy(error: BaseException, statement: str | None = None) -> DBAPIError:
    """An error of asyncpg's, as SQLAlchemy would raise it."""
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return IntegrityError(statement, None, error, hide_parameters=True)
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
        return DBAPIError(statement, None, error, hide_parameters=True)
    return InterfaceError(statement, None, error, hide_parameters=True, connection_invalidated=True)
