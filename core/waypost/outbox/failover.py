"""Failover of what waits: it leaves the queue of a gateway that does not serve it, for another of its route.

What is tried and fails moves on by itself (`retry.py`). But what waits is not tried: an open breaker lets one message
through now and then, a disabled gateway none. A paused one is left alone: its messages are to wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy import Connection

from waypost.clock import SECOND, Clock
from waypost.log import logger
from waypost.outbox import attempt as attempts
from waypost.outbox.lane import Lane
from waypost.progress.case import Change, Report, Retry
from waypost.routing import Directory
from waypost.store.database import Database
from waypost.store.gateways import Gateway
from waypost.store.group_commit import GroupCommit
from waypost.store.steps import Step, load_choices
from waypost.store.stranded import claim_stranded, stranded

#: How long a provider may be down before others take what waits for it, in seconds: as long as a message that is tried
#: takes to move on.
PATIENCE = 15.0
#: So many are moved on at a time.
BATCH = 200
#: How long a queue is left alone that had nothing more to move, in seconds; and in multiples of what the look took: a
#: long queue of messages that have no other way is to cost next to nothing.
PAUSE, PAUSES_OF_LOOK = 2.0, 20

_LOG = logger()


class Failover:
    """Moves on what is stranded, for one node."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        directory: Callable[[], Directory],
        lanes: Mapping[str, Lane],
        results: GroupCommit[Report, Change | None],
        *,
        owner: str,
        lease: float,
    ) -> None:
        self._database = database
        self._clock = clock
        self._directory = directory
        self._lanes = lanes
        self._results = results
        self._owner = owner
        self._lease = lease
        #: When a gateway's queue is looked at next.
        self._next_look: dict[str, int] = {}

    async def once(self) -> bool:
        """Look at the queues that nobody serves; say whether there is more to move at once."""
        again = False
        for gateway in self._directory().gateways.values():
            code = self._why_stranded(gateway)
            if code is None:
                self._next_look.pop(gateway.id, None)
            elif self._clock.now() >= self._next_look.get(gateway.id, 0):
                again |= await self._relieve(gateway, code)
        return again

    def _why_stranded(self, gateway: Gateway) -> str | None:
        """Why what waits for a gateway should wait no longer, if so."""
        if gateway.status == "disabled":
            return "GATEWAY_DISABLED"
        lane = self._lanes.get(gateway.id)
        is_down = gateway.status == "active" and lane is not None and lane.breaker.down_for() >= PATIENCE
        return "GATEWAY_DOWN" if is_down else None

    async def _relieve(self, gateway: Gateway, code: str) -> bool:
        """Move on some of what waits for a gateway; say whether there is more."""
        began = time.perf_counter()
        others = {
            other: self._lanes[other]
            for other, found in self._directory().gateways.items()
            if other in self._lanes and found.status == "active" and found.channel == gateway.channel
        }
        up = {other for other, lane in others.items() if lane.breaker.state == "closed"}
        moved = await self._move(gateway, up, BATCH, code)
        for other, lane in others.items():
            # One message finds out whether it works again; else nobody might ever know.
            if other != gateway.id and lane.breaker.state == "half_open" and not lane.in_flight:
                await self._move(gateway, {other}, 1, code)
        pause = max(PAUSE, (time.perf_counter() - began) * PAUSES_OF_LOOK) if moved < BATCH else 0.0
        self._next_look[gateway.id] = self._clock.now() + round(pause * SECOND)
        return moved == BATCH

    async def _move(self, gateway: Gateway, usable: Collection[str], most: int, code: str) -> int:
        """Let so many at most go on through one of the usable gateways; return how many do."""
        if not usable:
            return 0
        now = self._clock.now()
        found = await self._database.read(lambda conn: stranded(conn, gateway.id, usable, now, most))
        if not found:
            return 0
        lease_until = now + round(self._lease * SECOND)

        def claim(conn: Connection) -> Sequence[Step]:
            return claim_stranded(conn, found, self._owner, lease_until)

        claimed = await self._database.write(claim)
        moved = [self._results.submit(_moved_on(step, usable, code, now)) for step in claimed]
        for outcome in await asyncio.gather(*moved, return_exceptions=True):
            if isinstance(outcome, BaseException):  # it is claimed, and queued again where its lease ends
                _LOG.error("failover.not_stored", gateway=gateway.id, problem=type(outcome).__name__)
        _LOG.warning("failover.moved_on", gateway=gateway.id, reason=code, messages=len(claimed))
        return len(claimed)


def _moved_on(step: Step, usable: Collection[str], code: str, now: int) -> Report:
    ways = [place for place, choice in enumerate(load_choices(step.choices)) if choice.gateway_id in usable]
    return Report(
        attempts.evidence(step, "not_sent", now, code=code, failover=True, retry_at=now),
        Retry(due_at=now, choice=ways[0], tries=0),
    )
