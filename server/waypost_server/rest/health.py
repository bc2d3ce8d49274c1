"""Health and metrics: alive, ready, and how it goes."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE
from waypost.node import Node
from waypost.store import steps
from waypost.store.database import StoreUnavailableError

from waypost_server.rest.answer import Answer
from waypost_server.rest.replies import reply
from waypost_server.rest.router import Route, reading


class Health:
    """Handlers over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[Route]:
        """The routes; keep `/metrics` and `/readyz` off the public internet."""
        return [
            *reading("/healthz", self.alive),
            *reading("/readyz", self.ready),
            *reading("/metrics", self.metrics),
        ]

    async def alive(self, _: web.Request) -> Answer:
        """The process answers."""
        return reply({"status": "ok"})

    async def ready(self, _: web.Request) -> Answer:
        """The node takes work: started, not draining, and the database answers. Plugins are listed with reasons."""
        node = self._node
        body: dict[str, Any] = {
            "status": "ready" if node.ready else "not ready",
            "role": node.role,
            "plugins": {
                record.id: {"state": record.state, "reason": record.reason}
                for record in node.records.values()
                if record.state != "disabled" or record.plugin is not None
            },
            "gateways": {
                gateway.name: {"status": gateway.status, "reason": gateway.status_reason}
                for gateway in node.directory.gateways.values()
            },
        }
        try:
            await node.database.read(lambda conn: steps.next_due(conn, ""))
        except StoreUnavailableError as error:
            body["status"] = "not ready"
            body["store"] = str(error)
        return reply(body, 200 if body["status"] == "ready" else 503)

    async def metrics(self, _: web.Request) -> Answer:
        """Prometheus metrics."""
        node = self._node
        for gateway_id, lane in node.outbox.lanes.items():
            node.metrics.in_flight.labels(gateway_id).set(lane.in_flight)
            node.metrics.breaker.labels(gateway_id).set(lane.breaker.state != "closed")
        for gateway_id, listening in node.listeners.listening.items():
            node.metrics.listening.labels(gateway_id).set(listening)
        try:
            lengths = await node.database.read(steps.queue_lengths)
        except StoreUnavailableError:
            lengths = {}
        for gateway_id in node.directory.gateways:
            node.metrics.queued.labels(gateway_id).set(lengths.get(gateway_id, 0))
        return Answer(node.metrics.exposition(), headers={CONTENT_TYPE: "text/plain; version=0.0.4; charset=utf-8"})
