"""Many rows in one statement, on both databases.

PostgreSQL takes one array per column (`unnest`), SQLite many rows of values. Keys are looked up with `= ANY(array)` on
PostgreSQL: a join on `unnest` tempts its planner into sequential scans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from pysqlite3 import dbapi2
from sqlalchemy import BigInteger, Boolean, Connection, Integer, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import TextClause

Row = Sequence[Any]
#: Rows in one statement on SQLite; a power of two.
_LARGEST = 64


def is_postgres(conn: Connection) -> bool:
    """Whether this connection speaks to PostgreSQL."""
    return conn.dialect.name == "postgresql"


def in_keys(conn: Connection, column: str, parameter: str) -> str:
    """SQL that is true where the column is one of the keys bound to the parameter by `keys`."""
    if is_postgres(conn):
        return f"{column} = ANY(CAST(:{parameter} AS text[]))"
    return f"{column} IN (SELECT value FROM json_each(:{parameter}))"


def keys(conn: Connection, values: Iterable[str]) -> Any:
    """Keys in the form that `in_keys` compares with."""
    return list(values) if is_postgres(conn) else orjson.dumps(list(values)).decode()


def insert_many(conn: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert rows given in the order of the columns."""
    if not rows:
        return
    if is_postgres(conn):
        conn.execute(_pg_insert(table, columns, conflict=False), _arrays(rows))
    else:
        _lite_insert_many(conn, table, columns, rows)


@dataclass(frozen=True, slots=True)
class Insertion:
    """Rows for one table, in the order of the columns."""

    table: Table
    columns: tuple[str, ...]
    rows: Sequence[Row]


def insert_together(conn: Connection, insertions: Sequence[Insertion]) -> None:
    """Insert into several tables; on PostgreSQL in one statement and so in one round trip."""
    if not is_postgres(conn):
        for item in insertions:
            insert_many(conn, item.table, item.columns, item.rows)
        return
    given = [item for item in insertions if item.rows]
    if given:
        parameters: dict[str, Any] = {}
        for number, item in enumerate(given):
            parameters |= _arrays(item.rows, f"t{number}c")
        conn.execute(_pg_together(tuple((item.table, item.columns) for item in given)), parameters)


def insert_new(conn: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Insert those rows whose primary key is new; return the primary keys that were inserted."""
    if not rows:
        return []
    if is_postgres(conn):
        result = conn.execute(_pg_insert(table, columns, conflict=True), _arrays(rows))
        return [tuple(row) for row in result]
    inserted: list[tuple[Any, ...]] = []
    for chunk in _chunks(rows):
        statement = _lite_new(table, columns, len(chunk))
        inserted += _lite_run(conn, statement, chunk)
    return inserted


def update_many(
    conn: Connection,
    table: Table,
    *,
    where: tuple[str, ...],
    values: tuple[str, ...],
    rows: Sequence[Row],
) -> list[tuple[Any, ...]]:
    """Set `values` where the row's `where` columns all match; return the `where` parts of those updated.

    A row is the `where` parts followed by the new values. The first `where` column is the key looked up; the others
    fence the update.
    """
    if not rows:
        return []
    if is_postgres(conn):
        parameters = _arrays(rows)
        parameters["keys"] = parameters["c0"]
        return [tuple(row) for row in conn.execute(_pg_update(table, where, values), parameters)]
    updated: list[tuple[Any, ...]] = []
    for chunk in _chunks(rows):
        statement = _lite_update(table, where, values, len(chunk))
        updated += _lite_run(conn, statement, chunk)
    return updated


def _lite_insert_many(conn: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    for chunk in _chunks(rows):
        _lite_run(conn, _lite_values(table, columns, len(chunk)), chunk)


def _lite_run(conn: Connection, statement: str, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Run a statement on the driver's own cursor: SQLAlchemy's share would be ten times the statement's own.

    Errors are raised as SQLAlchemy raises them, without the values.
    """
    cursor = conn.connection.cursor()
    try:
        cursor.execute(statement, [value for row in rows for value in row])
        found: list[tuple[Any, ...]] = list(cursor.fetchall())
        return found
    except dbapi2.Error as error:
        raise DBAPIError.instance(statement, None, error, dbapi2.Error, hide_parameters=True) from error
    finally:
        cursor.close()


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in chunks of 64, 32, … 1, so that few statements serve every number of rows on SQLite.

    Row by row costs as much work, but the writer's thread gives up the interpreter lock at each row and waits for it
    again, which under load takes far longer than the row.
    """
    at = 0
    size = _LARGEST
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        yield rows[at : at + size]
        at += size


def _arrays(rows: Sequence[Row], prefix: str = "c") -> dict[str, Any]:
    return {f"{prefix}{number}": list(column) for number, column in enumerate(zip(*rows, strict=True))}


def _pg_type(table: Table, column: str) -> str:
    kind = table.c[column].type
    if isinstance(kind, BigInteger | Integer):
        return "bigint"
    return "boolean" if isinstance(kind, Boolean) else "text"


def _pg_source(table: Table, columns: tuple[str, ...], prefix: str = "c") -> str:
    arrays = ", ".join(f"CAST(:{prefix}{n} AS {_pg_type(table, column)}[])" for n, column in enumerate(columns))
    return f"unnest({arrays})"


@lru_cache(maxsize=256)
def _pg_insert(table: Table, columns: tuple[str, ...], *, conflict: bool) -> TextClause:
    names = ", ".join(f'"{column}"' for column in columns)
    statement = f"INSERT INTO {table.name} ({names}) SELECT * FROM {_pg_source(table, columns)}"
    if conflict:
        key = ", ".join(f'"{column.name}"' for column in table.primary_key)
        statement += f" ON CONFLICT DO NOTHING RETURNING {key}"
    return text(statement)


@lru_cache(maxsize=64)
def _pg_together(parts: tuple[tuple[Table, tuple[str, ...]], ...]) -> TextClause:
    inserts = []
    for number, (table, columns) in enumerate(parts):
        names = ", ".join(f'"{column}"' for column in columns)
        inserts.append(f"INSERT INTO {table.name} ({names}) SELECT * FROM {_pg_source(table, columns, f't{number}c')}")
    *others, last = inserts
    with_clause = ", ".join(f"i{number} AS ({insert})" for number, insert in enumerate(others))
    return text(f"WITH {with_clause} {last}" if others else last)


@lru_cache(maxsize=512)
def _lite_values(table: Table, columns: tuple[str, ...], rows: int, verb: str = "INSERT") -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    return f"{verb} INTO {table.name} ({names}) VALUES {_marks(len(columns), rows)}"


@lru_cache(maxsize=512)
def _lite_new(table: Table, columns: tuple[str, ...], rows: int) -> str:
    key = ", ".join(f'"{column.name}"' for column in table.primary_key)
    return f"{_lite_values(table, columns, rows, 'INSERT OR IGNORE')} RETURNING {key}"


def _marks(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


@lru_cache(maxsize=256)
def _pg_update(table: Table, where: tuple[str, ...], values: tuple[str, ...]) -> TextClause:
    columns = (*where, *values)
    aliases = ", ".join(f"v{n}" for n in range(len(columns)))
    sets = ", ".join(f'"{column}" = v.v{n}' for n, column in enumerate(values, len(where)))
    fence = " AND ".join(f't."{column}" = v.v{n}' for n, column in enumerate(where))
    returning = ", ".join(f't."{column}"' for column in where)
    return text(
        f"UPDATE {table.name} AS t SET {sets} FROM {_pg_source(table, columns)} AS v({aliases})"
        f' WHERE t."{where[0]}" = ANY(CAST(:keys AS text[])) AND {fence} RETURNING {returning}'
    )


@lru_cache(maxsize=512)
def _lite_update(table: Table, where: tuple[str, ...], values: tuple[str, ...], rows: int) -> str:
    sets = ", ".join(f'"{column}" = v.column{n}' for n, column in enumerate(values, len(where) + 1))
    fence = " AND ".join(f't."{column}" = v.column{n}' for n, column in enumerate(where, 1))
    returning = ", ".join(f'"{column}"' for column in where)
    source = f"(VALUES {_marks(len(where) + len(values), rows)}) AS v"
    return f"UPDATE {table.name} AS t SET {sets} FROM {source} WHERE {fence} RETURNING {returning}"
