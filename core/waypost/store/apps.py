"""Apps: the clients of an organization."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from waypost.store.tables import app


@dataclass(frozen=True, slots=True)
class App:
    """A row of `app`."""

    id: str
    org_id: str
    name: str
    status: str
    on_unknown: str
    created_at: int


def add(conn: Connection, row: App) -> None:
    """Store a new app."""
    conn.execute(
        insert(app).values(
            id=row.id,
            org_id=row.org_id,
            name=row.name,
            status=row.status,
            on_unknown=row.on_unknown,
            created_at=row.created_at,
        )
    )


def by_reference(conn: Connection, reference: str) -> list[App]:
    """Find apps by id (at most one) or by name (several organizations may use one name)."""
    rows = [App(*row) for row in conn.execute(select(app).where((app.c.id == reference) | (app.c.name == reference)))]
    exact = [row for row in rows if row.id == reference]
    return exact or rows


def all_of_them(conn: Connection) -> list[App]:
    """Every app, oldest first."""
    return [App(*row) for row in conn.execute(select(app).order_by(app.c.id))]


def set_status(conn: Connection, app_id: str, status: str) -> None:
    """Make an app active or suspended."""
    conn.execute(update(app).where(app.c.id == app_id).values(status=status))
