"""The audit log: who did what."""

from __future__ import annotations

from typing import Any

import orjson

from waypost.operations import words
from waypost.operations.errors import InvalidArgumentError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import audit

MOST = 1000


@operation("audit.list")
async def list_all(operator: Operator, *, limit: int = 50) -> list[dict[str, Any]]:
    """List what operators did, newest first."""
    if not 1 <= limit <= MOST:
        raise InvalidArgumentError("limit", f"write a number from 1 to {MOST}")
    rows = await operator.read(lambda conn: audit.newest(conn, limit))
    return [
        {
            "id": row["id"],
            "at": words.shown_moment(row["at"]),
            "actor": row["actor"],
            "action": row["action"],
            "subject": row["subject"],
            "detail": orjson.loads(row["detail"]),
        }
        for row in rows
    ]
