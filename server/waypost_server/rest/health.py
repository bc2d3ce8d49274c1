"""Health and metrics: alive, ready, and how it goes."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE
from waypost.node import Node
from waypost.store import steps
from waypost.store.database import StoreUnavailableError, Work

from waypost_server.rest.answer import Answer
from waypost_server.rest.replies import reply
from waypost_server.rest.router import Route, reading

T = TypeVar("T")

#: How long the store may take to answer a probe, in seconds: less than those who probe usually wait.
PATIENCE = 5.0


class Health:
    """Handlers over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        #: Reads for probes, also those that nobody waits for any more.
        self._asked: set[asyncio.Task[Any]] = set()

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
        """The node takes work: started, not draining, the database works, and some gateway, if any, can be used."""
        node = self._node
        unusable = node.unusable()
        body: dict[str, Any] = {
            "status": "ready" if node.ready else "not ready",
            "role": node.role,
            "plugins": {
                record.id: {"state": record.state, "reason": record.reason}
                for record in node.records.values()
                if record.state != "disabled" or record.plugin is not None
            },
            "gateways": {
                gateway.name: (
                    {"status": "unusable", "reason": unusable[gateway.id]}
                    if gateway.id in unusable
                    else {"status": gateway.status, "reason": gateway.status_reason}
                )
                for gateway in node.directory.gateways.values()
            },
        }
        if unusable and len(unusable) == self._served():
            body["status"] = "not ready"
            body["credentials"] = "no gateway's credentials can be used here; is it the right master key?"
        try:
            await self._ask(lambda conn: steps.next_due(conn, ""))
        except StoreUnavailableError as error:
            body["status"] = "not ready"
            body["store"] = str(error)
        return reply(body, 200 if body["status"] == "ready" else 503)

    def _served(self) -> int:
        """How many gateways this node would have to work for."""
        node = self._node
        return sum(
            gateway.status != "disabled" and node.accounts.plugin(gateway) is not None
            for gateway in node.directory.gateways.values()
        )

    async def metrics(self, _: web.Request) -> Answer:
        """Prometheus metrics."""
        node = self._node
        for gateway_id, lane in node.outbox.lanes.items():
            node.metrics.in_flight.labels(gateway_id).set(lane.in_flight)
            node.metrics.breaker.labels(gateway_id).set(lane.breaker.state != "closed")
        for gateway_id, listening in node.listeners.listening.items():
            node.metrics.listening.labels(gateway_id).set(listening)
        unusable = node.unusable()
        for gateway in node.directory.gateways.values():
            is_active = gateway.status == "active" and gateway.id not in unusable
            node.metrics.gateway_active.labels(gateway.id).set(is_active)
        await self._look_at_store()
        return Answer(node.metrics.exposition(), headers={CONTENT_TYPE: "text/plain; version=0.0.4; charset=utf-8"})

    async def _look_at_store(self) -> None:
        """Whether it answers, and how long the queues are; an old or made-up number would be worse than none."""
        metrics = self._node.metrics
        metrics.queued.clear()
        try:
            lengths = await self._ask(steps.queue_lengths)
        except StoreUnavailableError:
            metrics.store_up.set(0)
            return
        metrics.store_up.set(1)
        for gateway_id in self._node.directory.gateways:
            metrics.queued.labels(gateway_id).set(lengths.get(gateway_id, 0))

    async def _ask(self, work: Work[T]) -> T:
        """Read from the store, which a probe does not wait for as long as a send.

        Raises `StoreUnavailableError`, also where it answers and does not store.
        """
        if self._node.heartbeat.problem is not None:
            raise StoreUnavailableError(self._node.heartbeat.problem)
        reading = asyncio.create_task(self._node.database.read(work))
        self._asked.add(reading)
        reading.add_done_callback(self._answered)
        if not (await asyncio.wait((reading,), timeout=PATIENCE))[0]:
            reading.cancel()  # and left to itself: to let go of a connection that says nothing takes longer still
            raise StoreUnavailableError(f"it does not answer within {PATIENCE:g} s")
        return reading.result()

    def _answered(self, reading: asyncio.Task[Any]) -> None:
        self._asked.discard(reading)
        if not reading.cancelled():
            reading.exception()  # which nobody else may look at
