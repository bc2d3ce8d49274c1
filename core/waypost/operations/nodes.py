"""Nodes: the processes of this deployment."""

from __future__ import annotations

from typing import Any

from waypost.clock import MINUTE, SECOND
from waypost.operations import words
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import nodes

#: A node that was silent for so long is listed no more.
SILENT = 10 * MINUTE
#: One that was silent for so long is listed as silent.
LATE = 20 * SECOND


@operation("nodes.list")
async def list_all(operator: Operator) -> list[dict[str, Any]]:
    """List the nodes heard of in the last ten minutes."""
    now = operator.now()
    found = await operator.read(lambda conn: nodes.alive(conn, now - SILENT))
    return [
        {
            "id": row.id,
            "role": row.role,
            "state": "alive" if now - row.seen_at < LATE else "silent",
            "channels": list(row.channels),
            "version": row.version,
            "started_at": words.shown_moment(row.started_at),
            "seen_at": words.shown_moment(row.seen_at),
        }
        for row in found
    ]
