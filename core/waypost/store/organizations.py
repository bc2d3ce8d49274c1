"""Organizations: who pays."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from waypost.store.tables import balance, organization


@dataclass(frozen=True, slots=True)
class Organization:
    """A row of `organization`."""

    id: str
    name: str
    currency: str
    status: str
    created_at: int


def add(conn: Connection, row: Organization, credit_limit: int) -> None:
    """Store a new organization with an empty balance."""
    conn.execute(
        insert(organization).values(
            id=row.id, name=row.name, currency=row.currency, status=row.status, created_at=row.created_at
        )
    )
    conn.execute(insert(balance).values(org_id=row.id, currency=row.currency, credit_limit=credit_limit))


def by_reference(conn: Connection, reference: str) -> Organization | None:
    """Find one by id or by name."""
    rows = conn.execute(
        select(organization).where((organization.c.id == reference) | (organization.c.name == reference))
    ).all()
    rows = sorted(rows, key=lambda row: row.id != reference)
    return Organization(*rows[0]) if rows else None


def all_of_them(conn: Connection) -> list[Organization]:
    """Every organization, oldest first."""
    return [Organization(*row) for row in conn.execute(select(organization).order_by(organization.c.id))]


def set_status(conn: Connection, org_id: str, status: str) -> None:
    """Make an organization active or suspended."""
    conn.execute(update(organization).where(organization.c.id == org_id).values(status=status))
