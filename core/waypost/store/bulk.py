"""Many rows in one statement, on both databases: the rows go over as one JSON text.

On PostgreSQL an array per column would cost our side twice as much. On SQLite bound values would be cheaper to read,
but at each statement the writer's thread gives up the interpreter lock and waits for it again, which under load takes
far longer than reading JSON does; so one statement takes as many rows as there are. Keys are looked up with
`= ANY(array)` on PostgreSQL: a join tempts its planner into sequential scans.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import BigInteger, Boolean, Connection, Integer, Table

from waypost.store.driver import is_postgres, run
from waypost.store.views import View, put_into

Row = Sequence[Any]


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
    write_together(conn, [Insertion(table, columns, rows)])


@dataclass(frozen=True, slots=True)
class Insertion:
    """Rows for one table, in the order of the columns; `if_new` passes over those whose key is there already."""

    table: Table
    columns: tuple[str, ...]
    rows: Sequence[Row]
    if_new: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """Rows of one table to change: the `where` parts of each row, then its new `values`.

    The first `where` column is the key looked up; the others fence the update.
    """

    table: Table
    where: tuple[str, ...]
    values: tuple[str, ...]
    rows: Sequence[Row]


def write_together(conn: Connection, insertions: Sequence[Insertion], updates: Sequence[Update] = ()) -> None:
    """Insert into several tables and update others, all by one statement. No row may be meant twice."""
    if is_postgres(conn):
        _pg_write(conn, [item for item in insertions if item.rows], [item for item in updates if item.rows])
        return
    parts = [(_inserting(item), item.rows) for item in insertions] + [(_updating(item), item.rows) for item in updates]
    some = [(part, rows) for part, rows in parts if rows]
    if len(some) == 1:
        ((part, rows),) = some
        run(conn, part.format("?1"), (as_json(rows),))
    elif some:
        # With the empty parts, so that there are few different views.
        view = _lite_together(tuple(part for part, _ in parts))
        bound = ", ".join("?" for _ in parts)
        put_into(conn, view, f"INSERT INTO {view.name} VALUES ({bound})", [as_json(rows) for _, rows in parts])


def _pg_write(conn: Connection, insertions: Sequence[Insertion], updates: Sequence[Update]) -> None:
    if not insertions and not updates:
        return
    parameters: list[Any] = [as_json(insertion.rows) for insertion in insertions]
    for update in updates:
        parameters += [as_json(update.rows), [row[0] for row in update.rows]]
    statement = _pg_together(
        tuple((insertion.table, insertion.columns, insertion.if_new) for insertion in insertions),
        tuple((update.table, update.where, update.values) for update in updates),
    )
    run(conn, statement, parameters)


def insert_new(conn: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Insert those rows whose primary key is new; return the primary keys that were inserted."""
    if not rows:
        return []
    if is_postgres(conn):
        return [tuple(row) for row in run(conn, _pg_new(table, columns), (as_json(rows),))]
    return [tuple(row) for row in run(conn, _lite_new(table, columns), (as_json(rows),))]


def update_many(
    conn: Connection,
    table: Table,
    *,
    where: tuple[str, ...],
    values: tuple[str, ...],
    rows: Sequence[Row],
) -> list[tuple[Any, ...]]:
    """Set `values` where the row's `where` columns all match; return the `where` parts of those updated.

    A row is the `where` parts followed by the new values, as in an `Update`.
    """
    if not rows:
        return []
    if is_postgres(conn):
        statement = f"{_pg_update(table, where, values, 1)} RETURNING {_returned('t.', where)}"
        return [tuple(row) for row in run(conn, statement, (as_json(rows), [row[0] for row in rows]))]
    statement = f"{_lite_update(table, where, values).format('?1')} RETURNING {_returned('', where)}"
    return [tuple(row) for row in run(conn, statement, (as_json(rows),))]


def as_json(rows: Sequence[Row]) -> str:
    """Rows as one JSON text."""
    return orjson.dumps(rows).decode()


def _pg_value(table: Table, column: str, number: int) -> str:
    kind = table.c[column].type
    if isinstance(kind, BigInteger | Integer):
        return f"(r ->> {number})::bigint"
    return f"(r ->> {number})::boolean" if isinstance(kind, Boolean) else f"r ->> {number}"


def _pg_rows(table: Table, columns: tuple[str, ...], parameter: int) -> str:
    """SQL for PostgreSQL that reads rows of these columns out of a parameter of JSON, as v0, v1 …"""
    values = ", ".join(f"{_pg_value(table, column, number)} AS v{number}" for number, column in enumerate(columns))
    return f"SELECT {values} FROM jsonb_array_elements(${parameter}::text::jsonb) AS r"


def _pg_insert(table: Table, columns: tuple[str, ...], parameter: int, *, if_new: bool) -> str:
    """SQL for PostgreSQL that inserts rows out of a parameter of JSON."""
    passing = " ON CONFLICT DO NOTHING" if if_new else ""
    return f"INSERT INTO {table.name} ({_named(columns)}) {_pg_rows(table, columns, parameter)}{passing}"


@lru_cache(maxsize=64)
def _pg_new(table: Table, columns: tuple[str, ...]) -> str:
    key = _named(column.name for column in table.primary_key)
    return f"{_pg_insert(table, columns, 1, if_new=True)} RETURNING {key}"


@lru_cache(maxsize=256)
def _pg_together(
    inserts: tuple[tuple[Table, tuple[str, ...], bool], ...],
    updates: tuple[tuple[Table, tuple[str, ...], tuple[str, ...]], ...],
) -> str:
    parts = [
        _pg_insert(table, columns, number, if_new=if_new) for number, (table, columns, if_new) in enumerate(inserts, 1)
    ]
    parts += [_pg_update(*update, len(inserts) + 1 + 2 * number) for number, update in enumerate(updates)]
    *others, last = parts
    with_clause = ", ".join(f"i{number} AS ({part})" for number, part in enumerate(others))
    return f"WITH {with_clause} {last}" if others else last


@lru_cache(maxsize=256)
def _pg_update(table: Table, where: tuple[str, ...], values: tuple[str, ...], parameter: int) -> str:
    """An update whose rows are in one parameter and whose keys are in the next."""
    sets = ", ".join(f'"{column}" = v.v{number}' for number, column in enumerate(values, len(where)))
    fence = " AND ".join(f't."{column}" = v.v{number}' for number, column in enumerate(where))
    return (
        f"UPDATE {table.name} AS t SET {sets} FROM ({_pg_rows(table, (*where, *values), parameter)}) AS v"
        f' WHERE t."{where[0]}" = ANY(${parameter + 1}::text[]) AND {fence}'
    )


def _returned(alias: str, where: tuple[str, ...]) -> str:
    return ", ".join(f'{alias}"{column}"' for column in where)


def _named(columns: Iterable[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _inserting(insertion: Insertion) -> str:
    return _lite_insert(insertion.table, insertion.columns, if_new=insertion.if_new)


def _updating(update: Update) -> str:
    return _lite_update(update.table, update.where, update.values)


@lru_cache(maxsize=64)
def _lite_insert(table: Table, columns: tuple[str, ...], *, if_new: bool) -> str:
    """SQL for SQLite that inserts rows out of JSON, `{}` standing for where it is."""
    # Without a WHERE, SQLite takes the ON for the SELECT's.
    passing = " WHERE true ON CONFLICT DO NOTHING" if if_new else ""
    return f"INSERT INTO {table.name} ({_named(columns)}) {_lite_rows(len(columns))}{passing}"


def _lite_rows(columns: int) -> str:
    values = ", ".join(f"value ->> {number} AS v{number}" for number in range(columns))
    return f"SELECT {values} FROM json_each({{}})"


@lru_cache(maxsize=64)
def _lite_new(table: Table, columns: tuple[str, ...]) -> str:
    key = _named(column.name for column in table.primary_key)
    return f"{_lite_insert(table, columns, if_new=True).format('?1')} RETURNING {key}"


@lru_cache(maxsize=256)
def _lite_update(table: Table, where: tuple[str, ...], values: tuple[str, ...]) -> str:
    """SQL for SQLite that updates by rows out of JSON, `{}` standing for where it is."""
    sets = ", ".join(f'"{column}" = v.v{number}' for number, column in enumerate(values, len(where)))
    fence = " AND ".join(f'{table.name}."{column}" = v.v{number}' for number, column in enumerate(where))
    return f"UPDATE {table.name} SET {sets} FROM ({_lite_rows(len(where) + len(values))}) AS v WHERE {fence}"


@lru_cache(maxsize=256)
def _lite_together(parts: tuple[str, ...]) -> View:
    """The view that takes the rows of all parts, each part's as one text."""
    name = f"together_{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
    columns = ", ".join(f"NULL AS p{number}" for number in range(len(parts)))
    work = " ".join(f"{part.format(f'NEW.p{number}')};" for number, part in enumerate(parts))
    return View(
        name,
        (
            f"CREATE TEMP VIEW {name} AS SELECT {columns}",
            f"CREATE TEMP TRIGGER do_{name} INSTEAD OF INSERT ON {name} BEGIN {work} END",
        ),
    )
