"""The audit log: who did what, append-only."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection, insert, select

from waypost.ids import new_id
from waypost.store.tables import audit


def add(conn: Connection, actor: str, action: str, subject: str, detail: dict[str, Any], at: int) -> None:
    """Append an entry; the detail holds no secret."""
    conn.execute(
        insert(audit).values(
            id=new_id("adt"),
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            detail=orjson.dumps(detail).decode(),
        )
    )


def newest(conn: Connection, limit: int) -> list[dict[str, Any]]:
    """The newest entries, newest first."""
    return [dict(row._mapping) for row in conn.execute(select(audit).order_by(audit.c.id.desc()).limit(limit))]
