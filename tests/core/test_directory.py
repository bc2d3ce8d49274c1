"""What a node remembers of the operators' decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection
from waypost.store import rates
from world import PRICE, TO, World


async def test_a_slow_look_does_not_bring_back_what_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node looks now and then by itself, and whenever it is told: two looks may be under way together."""
    read = world.database.read
    first, may_end = asyncio.Event(), asyncio.Event()

    async def slow(work: Callable[[Connection], Any]) -> Any:
        found = await read(work)
        if not first.is_set():
            first.set()
            await may_end.wait()
        return found

    await world.database.write(rates.raise_revision)
    monkeypatch.setattr(world.database, "read", slow)
    early = asyncio.create_task(world.node.refresh())
    await first.wait()
    await world.database.write(rates.raise_revision)
    late = asyncio.create_task(world.node.refresh())
    # long enough for one that does not wait to be done
    await asyncio.wait([late], timeout=0.1)
    may_end.set()
    await asyncio.gather(early, late)
    assert world.node.directory.revision == await read(rates.current_revision)


async def test_rates_are_read_again_only_where_one_was_added(world: World) -> None:
    """A hundred thousand of them keep the event loop for a second."""
    partner = await world.partner()
    before = world.node.directory
    await world.gateway()
    assert world.node.directory.gateways.keys() > before.gateways.keys()
    assert world.node.directory.cards is before.cards
    # By an operator whose clock is behind that of whoever added the last one.
    await world.rate(partner.gateway, 2 * PRICE, id="rate_0", prefix=TO[1:])
    accepted = await world.accept(partner)
    assert accepted.message.held == 2 * PRICE
