"""Webhooks: what providers delivered."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import deliveries


@operation("webhooks.reparse")
async def reparse(operator: Operator, *, plugin: str) -> dict[str, Any]:
    """Let the nodes parse once more the stored deliveries that a plugin failed on, as after a fix."""
    operator.plugin(plugin)

    def work(conn: Connection) -> dict[str, Any]:
        queued = deliveries.queue_again(conn, plugin)
        operator.record(conn, "webhooks.reparse", plugin, {"deliveries": queued})
        return {"plugin": plugin, "queued": queued}

    return await operator.change(work)
