"""SQLite's temporary views: a row put into one goes through its triggers, which do several things by one statement.

At each statement the writer's thread gives the interpreter lock away and waits for it again, which under load takes
longer than most statements do. PostgreSQL has statements within statements (CTE) for the same end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from waypost.store.driver import is_postgres, run


@dataclass(frozen=True, slots=True)
class View:
    """A temporary view of SQLite's and the statements that make it, triggers and all."""

    name: str
    made_by: tuple[str, ...]


def put_into(conn: Connection, view: View, statement: str, values: Sequence[Any]) -> None:
    """Run a statement that inserts into a view; the view is made where this connection has not got it yet."""
    try:
        run(conn, statement, values)
    except OperationalError as error:
        if f"no such table: {view.name}" not in str(error.orig):
            raise
        _make(conn, view)
        run(conn, statement, values)


def forget(conn: Connection) -> None:
    """Take all views away from a connection: SQLite changes no table that a trigger speaks of."""
    if not is_postgres(conn):
        for (name,) in run(conn, "SELECT name FROM sqlite_temp_master WHERE type = 'view'"):
            run(conn, f"DROP VIEW temp.{name}")


def _make(conn: Connection, view: View) -> None:
    """Make the view with all its triggers, or nothing: with some of them it would take rows and not store them."""
    run(conn, "SAVEPOINT making")
    try:
        for statement in view.made_by:
            run(conn, statement)
    except BaseException:
        run(conn, "ROLLBACK TO making")
        run(conn, "RELEASE making")
        raise
    run(conn, "RELEASE making")
