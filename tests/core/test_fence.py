"""The fence, on PostgreSQL, where two transactions may look at one step at the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_channel import FakeChannel
from sqlalchemy.util import await_only
from waypost.admission.request import FallbackRequest
from waypost.clock import SECOND
from waypost.outbox import sweeper
from waypost.store import claims, messages
from waypost.store.postgres import PostgresDatabase
from world import OpenWorld


async def test_a_claim_that_is_being_given_up_is_not_sent(
    open_world: OpenWorld, postgres: PostgresDatabase, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stalled past its lease wakes up while the sweeper is at it: one of the two has the step."""
    postgres.clock = clock  # type: ignore[assignment]
    chat, sms = FakeChannel("chat", channel="CHAT"), FakeChannel("sms")
    world = await open_world(chat, sms, database=postgres)
    first, second = await world.gateway(chat), await world.gateway(sms)
    await world.rate(first, 100)
    await world.rate(second, 900)
    partner = await world.partner(first, second)
    await world.start()
    step_two = FallbackRequest(channel="SMS", after=30, until="delivered")
    admitted = await world.accept(partner, channel="CHAT", fallback=(step_two,))
    await world.status(admitted, "SENT")
    outbox, database, rules = world.node.outbox, world.database, world.node.rules
    await outbox.stop(1)
    lane, message_id = outbox.lanes[second.id], admitted.message.id
    clock.advance(31 * SECOND)
    await database.write(lambda conn: sweeper.sweep(conn, [message_id], rules, clock.now(), {}))
    now, owner = clock.now(), outbox._owner
    (claimed,) = await database.write(
        lambda conn: claims.claim(conn, second.id, [partner.app.id], 1, owner, now, now + 60 * SECOND)
    )
    found = await database.read(lambda conn: messages.get_many(conn, [message_id]))
    prepared = await lane._prepare([claimed], found)
    clock.advance(61 * SECOND)
    begun: list[asyncio.Task[bool]] = []
    really = sweeper.report

    def report(conn: Any, reports: Any, *args: Any, **options: Any) -> Any:
        if reports and not begun:
            begun.append(asyncio.ensure_future(lane._begin(prepared)))
            await_only(asyncio.wait(begun, timeout=0.3))
        return really(conn, reports, *args, **options)

    monkeypatch.setattr(sweeper, "report", report)
    await database.write(lambda conn: sweeper.sweep(conn, [message_id], rules, clock.now(), {}))
    assert not await begun[0]
    step = (await world.steps(message_id))[1]
    assert (step.state, step.owner) == ("queued", None)
    assert sms.sent == []
