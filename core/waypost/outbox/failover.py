"""Failover of what waits: it leaves the queue of a gateway that does not serve it, for another of its route.

What is tried and fails moves on by itself (`retry.py`). But what waits is not tried: an open breaker lets one message
through now and then, a disabled gateway none. A paused one is left alone: its messages are to wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy import Connection

from waypost.clock import SECOND, Clock
from waypost.log import logger
from waypost.outbox import attempt as attempts
from waypost.outbox.lane import Lane
from waypost.progress.case import Change, Report, Retry
from waypost.routing import Directory
from waypost.store import steps
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
#: A gateway that is behind by so much gets no more: what the slower one of two takes would wait there for hours, though
#: the other soon worked again. In seconds of its throughput limit; and in messages, where it has none.
MOST_BEHIND, LONGEST_QUEUE = 60, 2000
#: How long the queues are left alone once there is nothing more to move, in seconds; and in multiples of what the look
#: took: a long queue of messages that have no other way is to cost next to nothing.
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
        self._next_look = 0

    async def once(self) -> bool:
        """Look once at the queues that nobody serves; say whether there is more to move."""
        codes = self._stranding()
        if not codes:
            self._next_look = 0
        if not codes or self._clock.monotonic() < self._next_look:
            return False
        began = time.perf_counter()
        lanes = {gateway_id: lane for gateway_id, lane in self._lanes.items() if lane.can_send()}
        up = frozenset(gateway_id for gateway_id, lane in lanes.items() if lane.breaker.state == "closed")
        moved = await self._move(codes, up, BATCH)
        for gateway_id, lane in lanes.items():
            # One message finds out whether it works again; else nobody might ever know.
            if lane.breaker.state == "half_open" and not lane.in_flight:
                others = {stranding: code for stranding, code in codes.items() if stranding != gateway_id}
                await self._move(others, frozenset({gateway_id}), 1)
        pause = max(PAUSE, (time.perf_counter() - began) * PAUSES_OF_LOOK) if moved < BATCH else 0.0
        self._next_look = self._clock.monotonic() + round(pause * SECOND)
        return moved == BATCH

    def _stranding(self) -> dict[str, str]:
        """The gateways for which nothing should wait, each with the code that says why."""
        codes = {}
        for gateway in self._directory().gateways.values():
            lane = self._lanes.get(gateway.id)
            if gateway.status == "disabled":
                codes[gateway.id] = "GATEWAY_DISABLED"
            elif gateway.status == "active" and lane is not None and lane.breaker.down_for() >= PATIENCE:
                codes[gateway.id] = "GATEWAY_DOWN"
        return codes

    async def _move(self, codes: Mapping[str, str], usable: frozenset[str], most: int) -> int:
        """Let so many at most leave these gateways for one of the usable ones; return how many do."""
        if not codes or not usable:
            return 0
        now, gateways, patience = self._clock.now(), self._directory().gateways, round(PATIENCE * SECOND)

        def look(conn: Connection) -> tuple[frozenset[str], list[Step]]:
            if not stranded(conn, codes, usable, now, 1, patience=patience):
                return usable, []  # as nearly always: then nobody needs to be counted
            free = usable - _behind(steps.queue_lengths(conn), gateways)
            return free, stranded(conn, codes, free, now, most, patience=patience)

        free, found = await self._database.read(look)
        if not found:
            return 0
        lease_until = now + round(self._lease * SECOND)

        def claim(conn: Connection) -> Sequence[Step]:
            return claim_stranded(conn, found, self._owner, lease_until)

        claimed = await self._database.write(claim)
        moved = [self._results.submit(_moved_on(step, free, codes[step.gateway_id], now)) for step in claimed]
        for outcome in await asyncio.gather(*moved, return_exceptions=True):
            if isinstance(outcome, BaseException):  # it is claimed, and queued again where its lease ends
                _LOG.error("failover.not_stored", problem=type(outcome).__name__)
        for gateway_id, count in Counter(step.gateway_id for step in claimed).items():
            _LOG.warning("failover.moved_on", gateway=gateway_id, reason=codes[gateway_id], messages=count)
        return len(claimed)


def _behind(lengths: Mapping[str, int], gateways: Mapping[str, Gateway]) -> frozenset[str]:
    """The gateways that have enough to do."""
    rates = {gateway_id: gateways[gateway_id].rate_per_second for gateway_id in lengths.keys() & gateways.keys()}
    return frozenset(
        gateway_id
        for gateway_id, rate in rates.items()
        if lengths[gateway_id] >= (LONGEST_QUEUE if rate is None else min(LONGEST_QUEUE, rate * MOST_BEHIND))
    )


def _moved_on(step: Step, usable: Collection[str], code: str, now: int) -> Report:
    ways = [place for place, choice in enumerate(load_choices(step.choices)) if choice.gateway_id in usable]
    return Report(
        attempts.evidence(step, "not_sent", now, code=code, failover=True, retry_at=now),
        Retry(due_at=now, choice=ways[0], tries=0),
    )
