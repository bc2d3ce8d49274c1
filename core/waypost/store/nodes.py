"""Nodes: who is alive, in which role, with which channels."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, delete, select, text

from waypost.store.tables import node


@dataclass(frozen=True, slots=True)
class Node:
    """A row of `node`."""

    id: str
    role: str
    channels: tuple[str, ...]
    version: str
    started_at: int
    seen_at: int


def beat(conn: Connection, row: Node) -> None:
    """Say that a node is alive: for the first time, again, or after a silence in which it was forgotten."""
    conn.execute(
        _BEAT,
        {
            "id": row.id,
            "role": row.role,
            "channels": orjson.dumps(row.channels).decode(),
            "version": row.version,
            "started": row.started_at,
            "seen": row.seen_at,
        },
    )


_BEAT = text("""
    INSERT INTO node (id, role, channels, version, started_at, seen_at)
    VALUES (:id, :role, :channels, :version, :started, :seen)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
""")


def remove(conn: Connection, node_id: str) -> None:
    """Forget a node that stopped."""
    conn.execute(delete(node).where(node.c.id == node_id))


def forget_silent(conn: Connection, before: int) -> None:
    """Forget the nodes not heard of since then."""
    conn.execute(delete(node).where(node.c.seen_at < before))


def alive(conn: Connection, since: int) -> list[Node]:
    """The nodes heard of since then."""
    return [
        Node(row.id, row.role, tuple(orjson.loads(row.channels)), row.version, row.started_at, row.seen_at)
        for row in conn.execute(select(node).where(node.c.seen_at >= since).order_by(node.c.id))
    ]
