"""Listeners: which node holds a gateway's listening connection. One at a time, by a lease."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, text

from waypost.store.tables import listener

_TAKE = text(
    "INSERT INTO listener (gateway_id, owner, lease_until) VALUES (:gateway, :owner, :until)"
    " ON CONFLICT (gateway_id) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until"
    " WHERE listener.owner = excluded.owner OR listener.lease_until <= :now RETURNING gateway_id"
)


def take(conn: Connection, gateway_id: str, owner: str, now: int, until: int) -> bool:
    """Take or prolong the lease of a gateway's listener; say whether it is the owner's now."""
    taken = conn.execute(_TAKE, {"gateway": gateway_id, "owner": owner, "until": until, "now": now})
    return taken.first() is not None


def holds(conn: Connection, gateway_id: str, owner: str) -> bool:
    """Whether the owner has a gateway's listener, and keeps it until this transaction ends."""
    found = conn.execute(
        select(listener.c.owner)
        .where(listener.c.gateway_id == gateway_id, listener.c.owner == owner)
        .with_for_update(read=True)
    )
    return found.first() is not None


def release(conn: Connection, gateway_id: str, owner: str) -> None:
    """Let another node listen at once."""
    conn.execute(delete(listener).where(listener.c.gateway_id == gateway_id, listener.c.owner == owner))


def release_all_but(conn: Connection, owner: str) -> None:
    """Forget the leases of all other nodes, where none of them can be alive."""
    conn.execute(delete(listener).where(listener.c.owner != owner))


def owners(conn: Connection) -> dict[str, str]:
    """The owners by gateway; one whose lease has ended may still be among them."""
    return {row.gateway_id: row.owner for row in conn.execute(select(listener.c.gateway_id, listener.c.owner))}
