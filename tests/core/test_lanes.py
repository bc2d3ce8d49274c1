"""Lanes: one gateway's trouble stays its own, and apps take turns."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fake_channel import FakeChannel
from waypost.admission.candidate import Admitted
from waypost.clock import MINUTE, SECOND
from waypost.outbox import lane, places
from waypost.plugin import AccountBlocked, Context, OutboundMessage, OutcomeUnknown, RateLimited, SendResult, Transient
from waypost.store import gateways
from waypost.store.gateways import Gateway
from world import TO, OpenWorld, Partner, World


class Gate:
    """A provider that answers only when the test lets it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = self.most = 0

    async def __call__(self, ctx: Context, message: OutboundMessage) -> SendResult:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.open.wait()
        self.inside -= 1
        return SendResult()


def number(n: int) -> str:
    return f"+49170{n:07d}"


async def test_a_hanging_gateway_delays_no_other(open_world: OpenWorld) -> None:
    slow, quick = FakeChannel("slow"), FakeChannel("quick", channel="CHAT")
    gate = Gate()
    slow.on("*", gate)
    world = await open_world(slow, quick)
    partner = await world.partner()
    await world.start()
    held = [await world.accept(partner, number(n)) for n in range(40)]
    await slow.called(32)
    for n in range(5):
        await world.status(await world.accept(partner, number(n), channel="CHAT"), "SENT")
    assert gate.inside == 32
    gate.open.set()
    for admitted in held:
        await world.status(admitted, "SENT")


async def test_no_more_sends_are_under_way_than_allowed(world: World) -> None:
    gate = Gate()
    world.channel.on("*", gate)
    gateway = await world.gateway(concurrency=3)
    await world.rate(gateway)
    partner = await world.partner(gateway)
    await world.start()
    sent = [await world.accept(partner, number(n)) for n in range(10)]
    await world.channel.called(3)
    await world.rest()
    assert (gate.inside, len(world.channel.sent)) == (3, 3)
    gate.open.set()
    for admitted in sent:
        await world.status(admitted, "SENT")
    assert gate.most == 3


@pytest.mark.parametrize(("patience", "then"), [(60.0, 8), (0.01, 9)])
async def test_a_busy_lane_waits_a_moment_for_more_room(
    world: World, monkeypatch: pytest.MonkeyPatch, patience: float, then: int
) -> None:
    """So that few transactions serve many messages: with 8 places, until two are free, or for a while."""
    monkeypatch.setattr(places, "GATHERING", patience)
    doors = [asyncio.Event() for _ in range(12)]
    waiting = iter(doors)

    async def answer(ctx: Context, message: OutboundMessage) -> SendResult:
        await next(waiting).wait()
        return SendResult()

    world.channel.on("*", answer)
    gateway = await world.gateway(concurrency=8)
    await world.rate(gateway)
    partner = await world.partner(gateway)
    sent = [await world.accept(partner, number(n)) for n in range(12)]
    await world.start()
    await world.channel.called(8)
    doors[0].set()
    await world.status(sent[0], "SENT")
    await world.channel.called(then)
    await world.rest()
    assert len(world.channel.sent) == then
    for door in doors[1:]:
        door.set()
    for admitted in sent:
        await world.status(admitted, "SENT")


# ---- what changes while a busy lane waits


async def busy(world: World, gate: Gate, concurrency: int) -> Partner:
    """A partner whose lane has no place left, and more to send."""
    world.channel.on("*", gate)
    gateway = await world.gateway(concurrency=concurrency)
    await world.rate(gateway)
    partner = await world.partner(gateway)
    for n in range(concurrency + 6):
        await world.accept(partner, number(n))
    await world.start()
    await world.channel.called(concurrency)
    await world.rest()
    return partner


async def test_a_lane_that_is_stopped_claims_no_more(world: World) -> None:
    gate = Gate()
    await busy(world, gate, 4)
    outbox = world.node.outbox
    sweeper, released = outbox._sweeping, asyncio.Event()
    outbox._sweeping = asyncio.create_task(released.wait())  # type: ignore[assignment]  # a slow look around
    stopping = asyncio.create_task(outbox.stop(20))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.wait([stopping], timeout=0.1)
    assert len(world.channel.sent) == 4
    released.set()
    assert sweeper is not None
    await asyncio.gather(stopping, sweeper)
    assert len(world.channel.sent) == 4


async def test_a_gateway_that_is_paused_meanwhile_sends_no_more(world: World) -> None:
    gate = Gate()
    partner = await busy(world, gate, 4)
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateway.id, "paused", "maintenance"))
    gate.open.set()
    await world.rest()
    assert len(world.channel.sent) == 4


async def test_a_gateway_that_may_do_less_meanwhile_does_less(world: World) -> None:
    gate = Gate()
    partner = await busy(world, gate, 8)
    await world.decide(lambda conn: gateways.save(conn, replace(partner.gateway, concurrency=2)))
    gate.open.set()
    await world.channel.called(9)
    gate.most = gate.inside
    await world.channel.called(14)
    assert gate.most <= 2


async def test_a_rate_limit_holds_up_the_next_one_too(world: World) -> None:
    refused = asyncio.Event()

    async def answer(ctx: Context, message: OutboundMessage) -> SendResult:
        await refused.wait()
        raise RateLimited(retry_after=30)

    world.channel.on("*", answer)
    gateway = await world.gateway(concurrency=1)
    await world.rate(gateway)
    partner = await world.partner(gateway)
    first, *_ = [await world.accept(partner, number(n)) for n in range(3)]
    await world.start()
    await world.channel.called(1)
    await world.rest()
    refused.set()
    await world.state(first, "queued")
    await world.rest()
    assert len(world.channel.sent) == 1


async def test_a_clock_that_is_set_back_does_not_prolong_a_rate_limit(world: World) -> None:
    partner = await world.partner()
    world.channel.on(TO, RateLimited(retry_after=30))
    await world.start()
    first = await world.accept(partner)
    await world.channel.called(1)
    await world.state(first, "queued")
    world.clock.leap(-10 * MINUTE)
    later = await world.accept(partner, number(1))
    await world.rest()
    assert len(world.channel.sent) == 1
    world.clock.advance(31 * SECOND)
    await world.status(later, "SENT")


async def test_one_apps_burst_does_not_hold_up_anothers_message(world: World) -> None:
    gateway = await world.gateway(concurrency=4)
    await world.rate(gateway)
    loud, quiet = await world.partner(gateway), await world.partner(gateway)
    for n in range(60):
        await world.accept(loud, number(n))
    await world.accept(quiet, number(999))
    await world.start()
    await world.channel.called(61)
    place = [call.to for call in world.channel.sent].index(number(999))
    assert place < 8


async def test_an_app_whose_messages_must_wait_starves_nobody(world: World) -> None:
    """With room for one send at a time, an app in backoff must not take every turn."""
    gateway = await world.gateway(concurrency=1)
    await world.rate(gateway)
    partners = sorted([await world.partner(gateway), await world.partner(gateway)], key=lambda item: item.app.id)
    waiting, due = partners
    world.channel.on(TO, Transient())
    await world.start()
    await world.accept(waiting, TO)
    await world.channel.called(1)
    for n in range(3):
        await world.status(await world.accept(due, number(n)), "SENT")


async def five_a_second(world: World) -> Gateway:
    """A gateway for which twelve messages wait, and which sends five in a second."""
    gateway = await world.gateway(rate_per_second=5)
    await world.rate(gateway)
    partner = await world.partner(gateway)
    for n in range(12):
        await world.accept(partner, number(n))
    await world.start()
    return gateway


async def test_throughput_is_limited_per_second(world: World) -> None:
    await five_a_second(world)
    for expected in (5, 10, 12):
        await world.channel.called(expected)
        await world.rest()
        assert len(world.channel.sent) == expected
        world.clock.advance(SECOND)


async def test_a_lane_whose_throughput_is_used_up_waits_for_the_next_token(world: World) -> None:
    """It does not ask the database again and again meanwhile."""
    gateway = await five_a_second(world)
    await world.channel.called(5)
    await world.rest()
    assert await world.node.outbox.lanes[gateway.id]._turn() == min(world.node.config.poll, 1 / 5)
    assert len(world.channel.sent) == 5


async def test_a_paused_gateway_waits_and_a_resumed_one_goes_on(world: World) -> None:
    partner = await world.partner()
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateway.id, "paused", "maintenance"))
    await world.start()
    admitted = await world.accept(partner)
    await world.rest()
    assert world.channel.sent == []
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateway.id, "active", ""))
    await world.status(admitted, "SENT")


async def test_a_gateway_made_while_the_node_runs_gets_a_lane(world: World) -> None:
    await world.start()
    partner = await world.partner()
    await world.status(await world.accept(partner), "SENT")


# ---- the breaker, in a lane


async def break_open(world: World) -> tuple[Partner, list[Admitted]]:
    partner = await world.partner()
    world.channel.on("*", *[OutcomeUnknown()] * 10, SendResult())
    for n in range(10):
        await world.accept(partner, number(n))
    await world.start()
    await world.channel.called(10)
    breaker = world.node.outbox.lanes[partner.gateway.id].breaker

    async def is_open() -> bool:
        return breaker.state == "open"

    await world.until(is_open)
    return partner, [await world.accept(partner, number(100 + n)) for n in range(3)]


async def test_a_provider_that_fails_is_left_alone_then_probed(world: World) -> None:
    _, waiting = await break_open(world)
    await world.rest()
    assert len(world.channel.sent) == 10
    world.clock.advance(31 * SECOND)
    for admitted in waiting:
        await world.status(admitted, "SENT")


async def test_a_probe_that_is_rate_limited_or_blocked_leaves_room_for_the_next(world: World) -> None:
    partner, waiting = await break_open(world)
    outcomes = iter([RateLimited(retry_after=1), AccountBlocked(), RateLimited(retry_after=1, scope="recipient")])

    async def answer(ctx: Context, message: OutboundMessage) -> SendResult:
        error = next(outcomes, None)
        if error is not None:
            raise error
        return SendResult()

    world.channel._outcomes["*"].clear()
    world.channel.on("*", answer)
    for _ in range(8):
        world.clock.advance(MINUTE)
        await world.rest()
    for admitted in waiting:
        await world.status(admitted, "SENT")
    assert world.node.outbox.lanes[partner.gateway.id].breaker.state == "closed"


async def test_a_probe_that_could_not_be_prepared_leaves_room_for_the_next(world: World) -> None:
    partner, waiting = await break_open(world)
    good = partner.gateway.secrets

    def spoil(conn: object) -> None:
        row = gateways.by_reference(conn, partner.gateway.id)  # type: ignore[arg-type]
        assert row is not None
        gateways.save(conn, replace(row, secrets="gone:bm90aGluZw=="))  # type: ignore[arg-type]

    def mend(conn: object) -> None:
        row = gateways.by_reference(conn, partner.gateway.id)  # type: ignore[arg-type]
        assert row is not None
        gateways.save(conn, replace(row, secrets=good))  # type: ignore[arg-type]

    await world.decide(spoil)
    world.clock.advance(31 * SECOND)
    await world.rest()
    assert len(world.channel.sent) == 10
    await world.decide(mend)
    world.clock.advance(MINUTE)
    for admitted in waiting:
        await world.status(admitted, "SENT")


@pytest.mark.parametrize("place", ["attempts.outbound", "claims.waiting_apps", "claims.begin_sending"])
async def test_a_lane_survives_what_nobody_foresaw(world: World, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    partner = await world.partner()
    faults = [AttributeError("bug")]
    module, _, name = place.partition(".")
    real = getattr(getattr(lane, module), name)

    def once(*args: object) -> object:
        if faults:
            raise faults.pop()
        return real(*args)

    monkeypatch.setattr(getattr(lane, module), name, once)
    await world.start()
    first = await world.accept(partner)
    await world.rest()
    second = await world.accept(partner, number(2))
    await world.status(second, "SENT")
    world.clock.advance(2 * MINUTE)
    await world.status(first, "SENT")
