"""What waits for a gateway that serves nobody goes on through another of its route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from fake_channel import FakeChannel
from held_clock import HeldClock
from waypost.admission.candidate import Admitted
from waypost.clock import HOUR, SECOND
from waypost.outbox import failover
from waypost.outbox.breaker import LEAST_CALLS, OPEN_FOR
from waypost.outbox.failover import PATIENCE
from waypost.outbox.lane import Lane
from waypost.plugin import Context, OutboundMessage, OutcomeUnknown, SendResult, Transient
from waypost.store import gateways
from waypost.store.gateways import Gateway
from waypost.store.postgres import PostgresDatabase
from waypost.store.stranded import claim_stranded, stranded
from waypost.vault import Vault, new_key
from world import PRICE, TO, OpenWorld, Partner, World

LEASE = 60 * SECOND
#: When a queue is surely looked at again, however long the last look took.
LATER = 20 * SECOND


def number(n: int) -> str:
    return f"+49170{n:07d}"


async def two_gateways(open_world: OpenWorld) -> tuple[World, Partner]:
    """A route of two gateways, whose plugins are `first` and `second`."""
    world = await open_world(FakeChannel("first"), FakeChannel("second"))
    return world, await world.partner()


async def set_status(world: World, gateway: Gateway, status: str) -> None:
    await world.decide(lambda conn: gateways.set_status(conn, gateway.id, status, ""))


async def waiting_for_the_first(world: World, partner: Partner, count: int = 1) -> list[Admitted]:
    """Messages that wait, for their gateway is paused."""
    await set_status(world, partner.gateway, "paused")
    await world.start()
    return [await world.accept(partner, number(n)) for n in range(count)]


async def bring_down(world: World, partner: Partner, gateway: Gateway) -> Lane:
    """Let a provider fail until nobody asks it any more; what was tried is out of the way."""
    channel = world.channels[gateway.plugin]
    channel.on("*", *[OutcomeUnknown()] * LEAST_CALLS, SendResult())
    before = len(channel.sent)
    for n in range(LEAST_CALLS):
        await world.accept(partner, number(900 + n))
    await channel.called(before + LEAST_CALLS)
    lane = world.node.outbox.lanes[gateway.id]

    async def is_open() -> bool:
        return lane.breaker.state == "open"

    await world.until(is_open)
    return lane


async def sent_through(world: World, waiting: Sequence[Admitted], channel: FakeChannel) -> None:
    for admitted in waiting:
        await world.status(admitted, "SENT")
    assert {call.to for call in channel.sent} >= {admitted.message.recipient for admitted in waiting}


async def test_what_waits_for_a_gateway_that_is_disabled_goes_through_the_next(open_world: OpenWorld) -> None:
    world, partner = await two_gateways(open_world)
    waiting = await waiting_for_the_first(world, partner, 5)
    await world.rest()
    assert not world.channels["second"].sent  # to a paused one they keep

    await set_status(world, partner.gateway, "disabled")
    await sent_through(world, waiting, world.channels["second"])
    assert not world.channels["first"].sent
    assert len(world.channels["second"].sent) == 5
    told = await world.events(waiting[0].message.id)
    assert [(item.kind, item.attempt, item.code) for item in told] == [
        ("not_sent", 1, "GATEWAY_DISABLED"), ("sending", 2, None), ("sent", 2, None),
    ]  # fmt: skip
    assert told[0].gateway_id == partner.gateway.id
    assert (await world.balance(partner.org)).held == 5 * PRICE
    assert await world.books_balance()


async def test_batches_follow_each_other(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "BATCH", 2)
    world, partner = await two_gateways(open_world)
    waiting = await waiting_for_the_first(world, partner, 5)
    await set_status(world, partner.gateway, "disabled")
    await sent_through(world, waiting, world.channels["second"])


async def test_what_waits_for_a_provider_that_is_down_goes_through_the_next(open_world: OpenWorld) -> None:
    world, partner = await two_gateways(open_world)
    await world.start()
    await bring_down(world, partner, partner.gateway)
    waiting = [await world.accept(partner, number(n)) for n in range(3)]
    world.clock.advance(round(PATIENCE * SECOND) - SECOND)
    await world.rest()
    assert not world.channels["second"].sent

    world.clock.advance(SECOND)
    await sent_through(world, waiting, world.channels["second"])
    assert len(world.channels["first"].sent) == LEAST_CALLS
    assert (await world.events(waiting[0].message.id))[0].code == "GATEWAY_DOWN"
    # What may be out is not sent again.
    assert not {call.to for call in world.channels["second"].sent} & {call.to for call in world.channels["first"].sent}


async def test_a_clock_that_is_set_back_holds_up_nothing_that_comes_in(open_world: OpenWorld) -> None:
    """How long a provider is left alone is this process's own affair, and goes by time that truly passes."""
    world, partner = await two_gateways(open_world)
    await world.start()
    await bring_down(world, partner, partner.gateway)
    world.clock.leap(-HOUR)
    waiting = [await world.accept(partner, number(n)) for n in range(3)]
    world.clock.advance(round(PATIENCE * SECOND))
    await world.rest()
    await sent_through(world, waiting, world.channels["second"])


async def test_what_is_to_be_tried_later_keeps_its_time(open_world: OpenWorld) -> None:
    world, partner = await two_gateways(open_world)
    world.channels["first"].on(TO, *[Transient()] * 4)
    await world.start()
    early = await world.accept(partner)
    for tries in (1, 2, 3):
        await world.channels["first"].called(tries)
        step = await world.state(early, "queued")
        if tries < 3:
            world.clock.move_to(step.due_at)
    await set_status(world, partner.gateway, "disabled")
    await world.rest()
    assert not world.channels["second"].sent
    world.clock.move_to(step.due_at)
    await world.status(early, "SENT")
    assert [call.to for call in world.channels["second"].sent] == [TO]


@pytest.mark.parametrize("status", ["disabled", "paused"])
async def test_where_no_other_gateway_can_they_wait(open_world: OpenWorld, status: str) -> None:
    world, partner = await two_gateways(open_world)
    (waiting,) = await waiting_for_the_first(world, partner)
    await set_status(world, partner.gateways[1], status)
    await set_status(world, partner.gateway, "disabled")
    await world.rest()
    assert await world.kinds(waiting.message.id) == []

    await set_status(world, partner.gateways[1], "active")
    world.clock.advance(LATER)
    await sent_through(world, [waiting], world.channels["second"])


async def test_they_wait_where_the_next_gateway_has_credentials_that_cannot_be_used(open_world: OpenWorld) -> None:
    world, partner = await two_gateways(open_world)
    (waiting,) = await waiting_for_the_first(world, partner)
    broken = replace(partner.gateways[1], secrets="not sealed by us")
    await world.decide(lambda conn: gateways.save(conn, broken))
    await set_status(world, partner.gateway, "disabled")
    await world.rest()
    assert await world.kinds(waiting.message.id) == []
    await set_status(world, partner.gateway, "active")
    await sent_through(world, [waiting], world.channels["first"])


async def test_they_wait_where_the_next_gateways_plugin_was_disabled(open_world: OpenWorld) -> None:
    world, partner = await two_gateways(open_world)
    (waiting,) = await waiting_for_the_first(world, partner)
    world.node.disable_plugin(world.node.plugins["second"], "it blocks the loop")
    await set_status(world, partner.gateway, "disabled")
    await world.rest()
    assert await world.kinds(waiting.message.id) == []
    await set_status(world, partner.gateway, "active")
    await sent_through(world, [waiting], world.channels["first"])


@pytest.mark.parametrize(("named", "value", "rate"), [("MOST_BEHIND", 4, 1), ("LONGEST_QUEUE", 4, None)])
async def test_a_slower_gateway_gets_no_more_than_it_can_send_soon(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch, named: str, value: int, rate: int | None
) -> None:
    """The first one may soon work again, and what had gone would still wait for the second."""
    monkeypatch.setattr(failover, "BATCH", 2)
    monkeypatch.setattr(failover, named, value)
    world, partner = await two_gateways(open_world)
    first, second = partner.gateways
    await world.decide(lambda conn: gateways.save(conn, replace(second, rate_per_second=rate)))
    waiting = await waiting_for_the_first(world, partner, 20)
    await world.node.outbox.lanes[second.id].stop(0)  # it is as slow as can be
    await set_status(world, first, "disabled")
    for _ in range(5):
        await world.rest()
        world.clock.advance(LATER)
    moved = [len(await world.kinds(item.message.id)) for item in waiting].count(1)
    assert value <= moved <= value + failover.BATCH  # two may look at the same time
    await set_status(world, first, "active")
    await world.channels["first"].called(20 - moved)


async def test_a_message_with_one_way_waits_for_it(world: World) -> None:
    partner = await world.partner()
    (waiting,) = await waiting_for_the_first(world, partner)
    await world.gateway()  # it is on nobody's route
    await set_status(world, partner.gateway, "disabled")
    await world.rest()
    assert await world.kinds(waiting.message.id) == []
    await set_status(world, partner.gateway, "active")
    await world.status(waiting, "SENT")


async def test_what_may_be_out_does_not_move(open_world: OpenWorld) -> None:
    """Only the provider that has it would notice that it comes twice."""
    world = await open_world(FakeChannel("first", info={"idempotent_for": 3600}), FakeChannel("second"))
    world.channels["first"].on(TO, OutcomeUnknown(), SendResult())
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.channels["first"].called(1)
    step = await world.state(admitted, "queued")
    await set_status(world, partner.gateway, "disabled")
    world.clock.move_to(step.due_at)
    await world.rest()
    assert not world.channels["second"].sent
    await set_status(world, partner.gateway, "active")
    await world.status(admitted, "SENT")
    assert len(world.channels["first"].sent) == 2


async def only_the_second_is_down(open_world: OpenWorld) -> tuple[World, Partner, list[Admitted]]:
    """Three messages wait for the first of two gateways, which is disabled; the second may be probed again."""
    world, partner = await two_gateways(open_world)
    first, second = partner.gateways
    await set_status(world, first, "disabled")
    await world.start()
    await bring_down(world, partner, second)
    await set_status(world, first, "paused")
    waiting = [await world.accept(partner, number(n)) for n in range(3)]
    await set_status(world, first, "disabled")
    await world.rest()
    assert len(world.channels["second"].sent) == LEAST_CALLS
    world.clock.advance(OPEN_FOR)
    return world, partner, waiting


async def test_one_message_finds_out_whether_the_next_works_again(open_world: OpenWorld) -> None:
    world, _, waiting = await only_the_second_is_down(open_world)
    probed = asyncio.Event()

    async def answer(*_: object) -> SendResult:
        await probed.wait()
        return SendResult()

    second = world.channels["second"]
    second.answer_everybody(answer)
    await second.called(LEAST_CALLS + 1)
    world.clock.advance(LATER)
    await world.rest()
    assert len(second.sent) == LEAST_CALLS + 1
    assert len([item for item in waiting if await world.kinds(item.message.id)]) == 1
    probed.set()
    world.clock.advance(LATER)
    await sent_through(world, waiting, second)


async def test_they_come_back_to_an_earlier_gateway_that_works_again(open_world: OpenWorld) -> None:
    world, partner, waiting = await only_the_second_is_down(open_world)
    second = world.channels["second"]
    second.answer_everybody(Transient())
    await second.called(LEAST_CALLS + 1)
    (probe,) = [item for item in waiting if item.message.recipient == second.sent[-1].to]
    await world.status(probe, "QUEUED")
    await set_status(world, partner.gateway, "active")
    world.clock.advance(LATER)
    await sent_through(world, waiting, world.channels["first"])
    assert len(second.sent) == LEAST_CALLS + 1
    codes = [item.code for item in await world.events(probe.message.id) if item.kind == "not_sent"]
    assert codes == ["GATEWAY_DISABLED", "TEMPORARY_FAILURE", "GATEWAY_DOWN"]


async def test_a_gateway_that_may_be_probed_gets_nothing_of_its_own_queue(open_world: OpenWorld) -> None:
    world, partner = await two_gateways(open_world)
    await set_status(world, partner.gateways[1], "disabled")
    await world.start()
    lane = await bring_down(world, partner, partner.gateway)
    waiting = await world.accept(partner)
    await lane.stop(0)  # so that it is not probed by its own lane
    world.clock.advance(OPEN_FOR)
    assert lane.breaker.state == "half_open"
    world.clock.advance(LATER)
    await world.rest()
    assert await world.kinds(waiting.message.id) == []


async def test_what_somebody_else_took_meanwhile_is_not_claimed(open_world: OpenWorld) -> None:
    world, partner = await two_gateways(open_world)
    await set_status(world, partner.gateway, "paused")
    admitted = await world.accept(partner)
    now, other = world.clock.now(), partner.gateways[1].id

    def found(usable: Sequence[str], at: int) -> object:
        return world.database.read(lambda conn: stranded(conn, [partner.gateway.id], usable, at, 5, patience=0))

    assert await found([partner.gateway.id], now - 1) == await found(["gw_none"], now) == []
    (step,) = await world.database.read(lambda conn: stranded(conn, [partner.gateway.id], [other], now, 5, patience=0))
    (claimed,) = await world.database.write(lambda conn: claim_stranded(conn, [step], "one", now + LEASE))
    assert (claimed.state, claimed.attempt, claimed.claims, claimed.owner) == ("claimed", 1, 1, "one")
    assert (await world.steps(admitted.message.id)) == [claimed]
    assert await world.database.write(lambda conn: claim_stranded(conn, [step], "two", now + LEASE)) == []


@asynccontextmanager
async def two_nodes(postgres_url: str, clock: HeldClock) -> AsyncIterator[list[World]]:
    """Not started, of the same two plugins."""
    vault, channels, nodes = Vault([new_key()]), (FakeChannel("first"), FakeChannel("second")), []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            database = await PostgresDatabase.open(postgres_url)
            database.clock = clock
            nodes.append(await World.open(database, clock, *channels, vault=vault))
            stack.push_async_callback(nodes[-1].close)
        yield nodes


@pytest.mark.postgres
async def test_of_two_nodes_that_move_them_on_each_message_is_sent_once(postgres_url: str, clock: HeldClock) -> None:
    async with two_nodes(postgres_url, clock) as nodes:
        partner = await nodes[0].partner()
        await set_status(nodes[0], partner.gateway, "paused")
        waiting = await asyncio.gather(*(nodes[0].accept(partner, number(n)) for n in range(150)))
        await set_status(nodes[0], partner.gateway, "disabled")
        for one in nodes:
            await one.node.refresh()
            await one.start()
        first, second = nodes[0].channels.values()
        await sent_through(nodes[1], waiting, second)
        assert (len(first.sent), len(second.sent)) == (0, 150)
        assert await nodes[0].books_balance()


@pytest.mark.postgres
async def test_nodes_that_disagree_do_not_pass_a_message_back_and_forth(postgres_url: str, clock: HeldClock) -> None:
    """Each reaches another provider, and has its hands full with it."""
    never = asyncio.Event()

    async def busy(ctx: Context, message: OutboundMessage) -> SendResult:
        await never.wait()
        return SendResult()

    async with two_nodes(postgres_url, clock) as nodes:
        ways = [await nodes[0].gateway(channel, concurrency=1) for channel in nodes[0].channels.values()]
        for way in ways:
            await nodes[0].rate(way)
        partner = await nodes[0].partner(*ways)
        for channel in nodes[0].channels.values():
            channel.on("*", busy)
        for one, down in zip(nodes, ways, strict=True):
            await one.node.refresh()
            await one.start()
            breaker = one.node.outbox.lanes[down.id].breaker
            now = clock.monotonic()
            breaker._opened_at, breaker._open_until = now - round(PATIENCE * SECOND), now + HOUR
        waiting = [await nodes[0].accept(partner, number(n)) for n in range(8)]
        for _ in range(8):
            for one in nodes:
                clock.advance(3 * SECOND)
                await one.node.outbox.failover.once()
        told = [event.code for admitted in waiting for event in await nodes[0].events(admitted.message.id)]
        never.set()
    assert 3 <= told.count("GATEWAY_DOWN") <= 8 * (1 + 48 // PATIENCE)
