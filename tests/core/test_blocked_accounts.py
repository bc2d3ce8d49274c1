"""A provider that refuses a whole account: the gateway is paused once that is sure."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fake_channel import FakeChannel
from waypost.admission.candidate import Admitted
from waypost.clock import HOUR
from waypost.plugin import (
    AccountBlocked,
    AccountHealth,
    Context,
    OutboundMessage,
    Permanent,
    SendResult,
    Transient,
    hookimpl,
)
from waypost.refusals import ChannelConfigNotFound
from waypost.store import audit, gateways
from world import OpenWorld, Partner, World


async def gateway_status(world: World, partner: Partner) -> str:
    row = await world.database.read(lambda conn: gateways.by_reference(conn, partner.gateway.id))
    assert row is not None
    return row.status


async def refused(world: World, partner: Partner, to: str) -> Admitted:
    before = len(world.channel.sent)
    admitted = await world.accept(partner, to)
    await world.channel.called(before + 1)
    await world.state(admitted, "queued")
    await world.node.outbox.resolve_all()
    return admitted


class SlowToCheck(FakeChannel):
    """A provider whose answer about an account can be waited for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        self.checks += 1
        self.asked.set()
        await self.answer.wait()
        return AccountHealth(state="blocked")


async def test_of_many_refusals_at_once_one_has_the_account_checked(open_world: OpenWorld) -> None:
    channel = SlowToCheck(hooks=frozenset({"check_account"}))
    channel.on("*", AccountBlocked("401"))
    world = await open_world(channel)
    partner = await world.partner()
    refusals = [await world.accept(partner, f"+49170000000{n}") for n in range(5)]
    await world.start()
    for admitted in refusals:
        await world.state(admitted, "queued")
    await channel.called(5)
    await channel.asked.wait()
    assert channel.checks == 1
    channel.answer.set()
    await world.node.outbox.resolve_all()
    assert await gateway_status(world, partner) == "paused"


async def test_what_an_operator_has_just_mended_is_checked_as_it_is_now(open_world: OpenWorld) -> None:
    """The provider refuses the old credentials of a send that was under way; the gateway has new ones."""
    mended = asyncio.Event()

    async def refuse(ctx: Context, message: OutboundMessage) -> SendResult:
        await mended.wait()
        raise AccountBlocked("401")

    class Checked(FakeChannel):
        @hookimpl
        async def check_account(self, ctx: Context) -> AccountHealth:
            self.checks += 1
            is_mended = (ctx.account.account, ctx.client) == ("new", "client-2")  # type: ignore[attr-defined]
            return AccountHealth(state="ok" if is_mended else "blocked")

    channel = Checked(hooks=frozenset({"check_account", "open_account"})).on("*", refuse)
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(1)
    await world.decide(lambda conn: gateways.save(conn, replace(partner.gateway, settings='{"account": "new"}')))
    mended.set()
    await world.state(admitted, "queued")
    await world.node.outbox.resolve_all()
    assert channel.checks == 1
    assert await gateway_status(world, partner) == "active"


@pytest.mark.parametrize(
    "health", [AccountHealth(state="blocked", detail="suspended"), AccountBlocked("suspended")], ids=["said", "raised"]
)
async def test_a_confirmed_block_pauses_at_once_and_messages_wait(open_world: OpenWorld, health: object) -> None:
    channel = FakeChannel(hooks=frozenset({"check_account"}), health=health)
    channel.on("*", AccountBlocked("401"), SendResult())
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await refused(world, partner, "+491700000001")

    assert await gateway_status(world, partner) == "paused"
    row = await world.database.read(lambda conn: gateways.by_reference(conn, partner.gateway.id))
    assert row is not None
    assert row.status_reason == "suspended"
    entries = await world.database.read(lambda conn: audit.newest(conn, 5))
    assert "gateway.paused" in str(entries)
    await world.node.refresh()
    world.clock.advance(HOUR)
    await world.rest()
    assert (len(channel.sent), channel.checks) == (1, 1)

    await world.decide(lambda conn: gateways.set_status(conn, partner.gateway.id, "active", ""))
    await world.status(admitted, "SENT")


async def test_what_an_operator_disabled_meanwhile_stays_so(open_world: OpenWorld) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(FakeChannel):
        @hookimpl
        async def check_account(self, ctx: Context) -> AccountHealth:
            asked.set()
            await answer.wait()
            return AccountHealth(state="blocked", detail="suspended")

    channel = Slow(hooks=frozenset({"check_account"}))
    channel.on("*", AccountBlocked("401"))
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    await world.accept(partner)
    await asked.wait()
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateway.id, "disabled", "sold"))
    answer.set()
    await world.node.outbox.resolve_all()
    assert await gateway_status(world, partner) == "disabled"
    with pytest.raises(ChannelConfigNotFound):
        await world.accept(partner)


@pytest.mark.parametrize(
    "health", [AccountHealth(state="ok"), AccountHealth(state="unknown"), Transient(), Permanent()]
)
async def test_an_account_that_is_well_is_not_paused(open_world: OpenWorld, health: object) -> None:
    channel = FakeChannel(hooks=frozenset({"check_account"}), health=health).on("*", AccountBlocked())
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    for n in range(4):
        await refused(world, partner, f"+49170000000{n}")
    assert await gateway_status(world, partner) == "active"


async def test_without_a_check_three_refusals_of_two_apps_pause(world: World) -> None:
    world.channel.on("*", AccountBlocked())
    one = await world.partner()
    two = await world.partner(one.gateway)
    await world.start()
    for partner, to in ((one, "+4917001"), (one, "+4917002"), (one, "+4917003")):
        await refused(world, partner, to)
    assert await gateway_status(world, one) == "active"  # one partner's odd messages stop nobody
    await refused(world, two, "+4917004")
    assert await gateway_status(world, one) == "paused"


async def test_after_an_operator_resumed_it_refusals_count_anew(world: World) -> None:
    """Also those of sends that were under way while it was being paused."""
    is_paused = asyncio.Event()

    async def refuse_late(ctx: Context, message: OutboundMessage) -> SendResult:
        await is_paused.wait()
        raise AccountBlocked

    world.channel.on("*", refuse_late, refuse_late, AccountBlocked())
    one = await world.partner()
    two = await world.partner(one.gateway)
    await world.start()
    under_way = [await world.accept(two, to) for to in ("+4917005", "+4917006")]
    await world.channel.called(2)
    for partner, to in ((one, "+4917001"), (two, "+4917002"), (one, "+4917003")):
        await refused(world, partner, to)
    assert await gateway_status(world, one) == "paused"
    await world.node.refresh()
    is_paused.set()
    for admitted in under_way:
        await world.state(admitted, "queued")
    await world.node.outbox.resolve_all()
    await world.decide(lambda conn: gateways.set_status(conn, one.gateway.id, "active", ""))
    await refused(world, one, "+4917004")
    assert await gateway_status(world, one) == "active"


async def test_a_message_the_provider_takes_clears_earlier_refusals(world: World) -> None:
    one = await world.partner()
    two = await world.partner(one.gateway)
    world.channel.on("*", AccountBlocked(), AccountBlocked(), SendResult(), AccountBlocked())
    await world.start()
    await refused(world, one, "+4917001")
    await refused(world, two, "+4917002")
    await world.status(await world.accept(one, "+4917003"), "SENT")
    await refused(world, one, "+4917004")
    assert await gateway_status(world, one) == "active"


async def test_a_blocked_gateways_messages_go_through_the_next_of_the_route(open_world: OpenWorld) -> None:
    first, second = FakeChannel("first"), FakeChannel("second")
    first.on("*", AccountBlocked())
    world = await open_world(first, second)
    partner = await world.partner()
    await world.start()
    await world.status(await world.accept(partner), "SENT")
    assert (len(first.sent), len(second.sent)) == (1, 1)
