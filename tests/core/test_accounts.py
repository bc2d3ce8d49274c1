"""Opened accounts: kept while they are used, and closed when they are not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_channel import FakeChannel
from waypost.clock import SECOND
from waypost.host import accounts
from waypost.host.dispatch import HOOK_DEADLINE
from waypost.ids import new_id
from waypost.plugin import Context, Transient, hookimpl
from waypost.store.gateways import Gateway
from world import OpenWorld, World


def another(world: World, row: Gateway) -> Gateway:
    row_id = new_id("gw")
    sealed = world.node.vault.seal(json.dumps({"token": "t"}), f"gateway/{row_id}")
    return replace(row, id=row_id, name=row_id, secrets=sealed)


async def test_who_is_used_stays_open_and_the_others_are_closed(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MAX_OPEN", 2)
    monkeypatch.setattr(accounts, "GRACE", 0.0)
    hooks = frozenset({"open_account", "close_account"})
    channel = FakeChannel(hooks=hooks, info={"send_timeout": 0.05})
    world = await open_world(channel)
    used = await world.gateway()
    held = world.node.accounts

    async def client(row: Gateway) -> object:
        opened = held.account(row, None)
        await held.ready(opened)
        return opened.client

    first = await client(used)
    for number in range(1, 6):
        await client(another(world, used))
        assert await client(used) == first
        assert channel.opened == number + 1

    async def closed() -> bool:
        return len(channel.closed) == 4

    await world.until(closed, "four of them being closed")
    assert first not in channel.closed


async def test_an_account_that_takes_long_to_fail_is_opened_once_for_all_that_wait(open_world: OpenWorld) -> None:
    """Asked for each of them, it outlasted their leases: they were taken for messages that kill their worker."""

    class Slow(FakeChannel):
        is_mended = False

        @hookimpl
        async def open_account(self, ctx: Context) -> object:
            if not self.is_mended:
                self.opened += 1
                world.clock.advance(round(HOOK_DEADLINE * SECOND))
                await world.node.outbox.sweep_once()
                raise Transient("The provider does not answer.")
            return "client"

    channel = Slow(hooks=frozenset({"open_account"}))
    world = await open_world(channel)
    partner = await world.partner()
    waiting = [await world.accept(partner, f"+4917000000{n:02}") for n in range(20)]
    await world.start()

    async def were_all_tried() -> bool:
        return all([await world.kinds(admitted.message.id) for admitted in waiting])

    await world.until(were_all_tried)
    channel.is_mended = True
    for admitted in waiting:
        await world.state_in_time(admitted, "sent")
        told = await world.events(admitted.message.id)
        assert {item.code for item in told if item.kind == "not_sent"} == {"NOT_READY"}
