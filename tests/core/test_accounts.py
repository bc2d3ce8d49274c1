"""Opened accounts: kept while they are used, and closed when they are not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_channel import FakeChannel
from waypost.host import accounts
from waypost.ids import new_id
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
