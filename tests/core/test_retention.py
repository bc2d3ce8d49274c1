"""Retention: what is forgotten with time, and what is not."""

from __future__ import annotations

import pytest
from waypost import retention
from waypost.clock import HOUR
from waypost.ids import new_id
from waypost.store import nodes
from world import World

DAY = 24 * HOUR


async def test_an_idempotency_key_is_remembered_for_so_long_and_its_message_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_A_TIME", 2)
    partner = await world.partner()
    old = [await world.accept(partner, idempotency_key=f"old-{number}", validity=30 * 86_400) for number in range(5)]
    world.clock.advance(2 * DAY)
    young = await world.accept(partner, idempotency_key="young")
    world.clock.advance(28 * DAY)
    assert await retention.forget_old(world.database, idempotency=30 * 86_400) == 0
    world.clock.advance(1)
    assert await retention.forget_old(world.database, idempotency=30 * 86_400) == 5
    assert await retention.forget_old(world.database, idempotency=30 * 86_400) == 0
    again = await world.accept(partner, idempotency_key="young")
    assert (again.replayed, again.message.id) == (True, young.message.id)
    fresh = await world.accept(partner, idempotency_key="old-1")
    assert fresh.message.id != old[1].message.id
    assert (await world.message(old[1].message.id)).id == old[1].message.id


async def test_a_node_that_died_is_forgotten_and_one_that_is_silent_is_not(world: World) -> None:
    now = world.clock.now()
    dead, silent = new_id("node"), new_id("node")
    for name, seen in ((dead, now - DAY - 1), (silent, now - DAY + HOUR)):
        row = nodes.Node(name, "all", ("fake",), "0", seen, seen)
        await world.database.write(lambda conn, row=row: nodes.beat(conn, row))  # type: ignore[misc]
    await world.start()

    async def gone() -> bool:
        return dead not in {node.id for node in await world.database.read(lambda conn: nodes.alive(conn, 0))}

    await world.until(gone)
    left = {node.id for node in await world.database.read(lambda conn: nodes.alive(conn, 0))}
    assert left == {silent, world.node.id}


async def test_a_node_that_was_forgotten_is_known_again_with_its_next_heartbeat(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut off, or the database came back from a backup."""
    monkeypatch.setattr("waypost.heartbeat.EVERY", 0.01)
    await world.start()
    began = world.clock.now()
    await world.database.write(lambda conn: nodes.remove(conn, world.node.id))
    world.clock.advance(HOUR)

    async def known() -> bool:
        found = await world.database.read(lambda conn: nodes.alive(conn, 0))
        return [(node.id, node.started_at, node.seen_at) for node in found] == [
            (world.node.id, began, world.clock.now())
        ]

    await world.until(known)
