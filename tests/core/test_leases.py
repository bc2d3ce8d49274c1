"""Leases and fences: what becomes of work whose worker vanished."""

from __future__ import annotations

import asyncio

import pytest
from fake_channel import FakeChannel
from sqlalchemy import Connection
from waypost.admission.request import FallbackRequest
from waypost.clock import DAY, HOUR, MINUTE, SECOND
from waypost.lifecycle.evidence import Evidence, core_key
from waypost.outbox import sweeper
from waypost.outbox.attempt import evidence
from waypost.outbox.lane import MARGIN
from waypost.outbox.sweeper import MAX_CLAIMS
from waypost.plugin import DeliveryUpdate, LookupResult, OutcomeUnknown, SendResult, Transient
from waypost.progress.case import Report
from waypost.store import claims, events
from waypost.store.database import Database
from waypost.store.steps import Step
from world import PRICE, TO, OpenWorld, Partner, World

DEAD = "node_dead"
LEASE = MINUTE


@pytest.fixture
async def partner(world: World) -> Partner:
    return await world.partner(credit_micros=PRICE)


async def claim(world: World, partner: Partner, owner: str = DEAD) -> Step:
    now = world.clock.now()
    (step,) = await world.database.write(
        lambda conn: claims.claim(conn, partner.gateway.id, [partner.app.id], 10, owner, now, now + LEASE)
    )
    return step


async def begin(world: World, step: Step, owner: str = DEAD) -> None:
    now = world.clock.now()

    def work(conn: object) -> None:
        won = claims.begin_sending(conn, [step], owner, now + LEASE)  # type: ignore[arg-type]
        assert won == {(step.message_id, step.step_no)}
        events.add_first(conn, [evidence(step, "sending", now)])  # type: ignore[arg-type]

    await world.database.write(work)


async def test_what_was_only_claimed_is_claimed_again(world: World, partner: Partner) -> None:
    admitted = await world.accept(partner)
    await claim(world, partner)
    await world.start()
    await world.rest()
    assert world.channel.sent == []

    world.clock.advance(LEASE)
    await world.status(admitted, "SENT")
    assert len(world.channel.sent) == 1
    assert world.channel.sent[0].ctx.correlation.endswith(".2")
    assert not (await world.message(admitted.message.id)).possible_duplicate


async def test_what_was_being_sent_is_unknown_and_never_sent_again(world: World, partner: Partner) -> None:
    admitted = await world.accept(partner)
    await begin(world, await claim(world, partner))
    await world.start()
    world.clock.advance(LEASE)
    message = await world.status(admitted, "UNKNOWN")
    assert message.held == PRICE
    await world.rest()
    assert world.channel.sent == []

    await world.tell(
        partner, DeliveryUpdate(event_id="e", status="delivered", correlation=f"{admitted.message.id}.1.1")
    )
    assert (await world.message(admitted.message.id)).status == "DELIVERED"


async def test_what_is_being_sent_while_the_clock_leaps_is_not_sent_again(open_world: OpenWorld) -> None:
    """Its lease is over by the clock; but its provider, who is asked what became of it, may be about to get it."""
    channel = FakeChannel(hooks=frozenset({"lookup"}))
    world = await open_world(channel)
    answered = asyncio.Event()

    async def answer(*_: object) -> SendResult:
        await answered.wait()
        return SendResult()

    channel.answer_everybody(answer)
    channel.lookup_answers.append(LookupResult(found=False))
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(1)
    for _ in range(3):
        world.clock.leap(10 * MINUTE)
        await world.rest()
    assert await world.kinds(admitted.message.id) == ["sending"]
    answered.set()
    await world.status(admitted, "SENT")
    assert (len(channel.sent), channel.looked_up) == (1, [])


async def test_a_fallback_that_is_being_sent_while_the_clock_leaps_keeps_its_lease(open_world: OpenWorld) -> None:
    """Also where the step before it is due."""
    chat, sms = FakeChannel("chat", channel="CHAT"), FakeChannel("sms")
    world = await open_world(chat, sms)
    answered = asyncio.Event()

    async def answer(*_: object) -> SendResult:
        await answered.wait()
        return SendResult()

    sms.answer_everybody(answer)
    gateways = await world.gateway(chat), await world.gateway(sms)
    for gateway in gateways:
        await world.rate(gateway, PRICE)
    partner = await world.partner(*gateways)
    await world.start()
    fallback = FallbackRequest(channel="SMS", after=30, until="delivered")
    admitted = await world.accept(partner, channel="CHAT", fallback=(fallback,))
    await world.status(admitted, "SENT")
    world.clock.advance(31 * SECOND)
    await sms.called(1)
    world.clock.leap(30 * DAY)

    async def is_closed() -> bool:
        return "window_closed" in await world.kinds(admitted.message.id)

    await world.until(is_closed)
    await world.rest()
    assert [step.state for step in await world.steps(admitted.message.id)] == ["sent", "sending"]
    answered.set()


@pytest.mark.parametrize("is_begun", [False, True])
async def test_whose_worker_vanished_before_the_clock_leapt_is_found_later(
    world: World, partner: Partner, is_begun: bool
) -> None:
    admitted = await world.accept(partner)
    step = await claim(world, partner)
    if is_begun:
        await begin(world, step)
    await world.start()
    world.clock.leap(10 * MINUTE)
    world.clock.advance(LEASE + round(MARGIN * SECOND) - SECOND)
    await world.rest()
    assert (await world.step(admitted.message.id)).owner == DEAD
    world.clock.advance(SECOND)
    await world.status(admitted, "UNKNOWN" if is_begun else "SENT")


async def test_a_leap_of_the_clock_lets_expire_what_nobody_has(world: World, partner: Partner) -> None:
    admitted = await world.accept(partner, validity=60)
    world.clock.leap(10 * MINUTE)
    await world.start()
    await world.status(admitted, "EXPIRED")


async def test_the_result_of_a_frozen_worker_is_still_believed(world: World, partner: Partner) -> None:
    admitted = await world.accept(partner)
    step = await claim(world, partner)
    await begin(world, step)
    await world.start()
    world.clock.advance(LEASE)
    await world.status(admitted, "UNKNOWN")
    await world.node.outbox.results.submit(Report(evidence(step, "sent", world.clock.now()), provider_ids=("late",)))
    assert (await world.message(admitted.message.id)).status == "SENT"
    await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", provider_id="late"))
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    assert world.channel.sent == []


async def test_a_stale_attempt_or_a_stranger_cannot_begin(world: World, partner: Partner) -> None:
    await world.accept(partner)
    stale = await claim(world, partner)

    async def won(step: Step, owner: str) -> set[tuple[str, int]]:
        return await world.database.write(lambda conn: claims.begin_sending(conn, [step], owner, 0))

    assert await won(stale, "node_other") == set()
    assert await world.database.write(lambda conn: claims.release_claims(conn, "node_other")) == 0
    await world.database.write(lambda conn: claims.release_claims(conn, DEAD))
    assert await won(stale, DEAD) == set()  # no longer claimed
    again = await claim(world, partner)
    assert (again.attempt, again.claims) == (stale.attempt + 1, 1)
    assert await won(stale, DEAD) == set()  # claimed again since, with another attempt number
    assert await won(again, DEAD) == {(again.message_id, 1)}
    assert await won(again, DEAD) == set()  # begun already


async def test_a_message_that_takes_its_workers_down_is_put_aside(world: World, partner: Partner) -> None:
    admitted = await world.accept(partner)
    for _ in range(MAX_CLAIMS):
        assert (await world.message(admitted.message.id)).status == "QUEUED"
        await claim(world, partner)
        world.clock.advance(LEASE)
        await world.node.outbox.sweep_once()
    message = await world.message(admitted.message.id)
    assert (message.status, message.error_code) == ("FAILED", "QUARANTINED")
    assert (await world.balance(partner.org)).available == PRICE


async def test_tries_that_began_do_not_count_as_vanished(world: World, partner: Partner) -> None:
    """Three ordinary tries and then one lost worker: that is bad luck, not poison."""
    world.channel.on(TO, *[Transient()] * 3, SendResult())
    await world.start()
    admitted = await world.accept(partner)
    for tries in range(1, 4):
        await world.channel.called(tries)
        step = await world.state(admitted, "queued")
        if tries < 3:
            world.clock.move_to(step.due_at)
    await world.node.outbox.stop(1)
    world.clock.move_to(step.due_at)
    await claim(world, partner)
    world.clock.advance(LEASE)
    await world.node.outbox.sweep_once()
    message = await world.message(admitted.message.id)
    assert message.status == "QUEUED"


async def test_stopping_gives_back_what_was_only_claimed(world: World, partner: Partner) -> None:
    admitted = await world.accept(partner)
    await claim(world, partner, world.node.id)
    await world.node.outbox.stop(1)
    step = await world.step(admitted.message.id)
    assert (step.state, step.owner, step.claims) == ("queued", None, 0)


async def test_a_node_that_is_alone_ends_its_predecessors_leases(
    world: World, partner: Partner, database: Database
) -> None:
    admitted = await world.accept(partner)
    await claim(world, partner)
    ended = await database.write(lambda conn: claims.orphan_claims(conn, world.node.id, world.clock.now()))
    assert ended == 1
    await world.start()
    await world.status(admitted, "SENT")


async def test_a_worker_too_slow_to_begin_sends_nothing(world: World, partner: Partner) -> None:
    """Between the fence and the first byte the lease must not have run out."""
    admitted = await world.accept(partner)
    await world.node.accounts.close()
    world.node.outbox.match_lanes()
    lane = world.node.outbox.lanes[partner.gateway.id]
    await lane.stop(1)
    step = await claim(world, partner, world.node.id)
    message = await world.message(admitted.message.id)
    (attempt,) = await lane._prepare([step], {message.id: message})
    await begin(world, step, world.node.id)
    await lane._send(attempt, latest=world.clock.now())
    assert world.channel.sent == []
    assert await world.kinds(admitted.message.id) == ["not_sent", "sending"]
    assert (await world.message(admitted.message.id)).status == "QUEUED"


async def test_a_worker_too_slow_to_begin_repeats_nothing(open_world: OpenWorld) -> None:
    """Between the fence and the first byte the provider may forget the first attempt, which may be out."""
    channel = FakeChannel(info={"idempotent_for": 60}).on(TO, OutcomeUnknown())
    world = await open_world(channel)
    partner = await world.partner()
    admitted = await world.accept(partner)
    world.node.outbox.match_lanes()
    lane = world.node.outbox.lanes[partner.gateway.id]
    await channel.called(1)
    due = (await world.state(admitted, "queued")).due_at
    await lane.stop(1)
    world.clock.move_to(due)
    step = await claim(world, partner, world.node.id)
    message = await world.message(admitted.message.id)
    (attempt,) = await lane._prepare([step], {message.id: message})
    await begin(world, step, world.node.id)
    world.clock.advance(30 * SECOND)
    await lane._send(attempt, latest=world.clock.now() + HOUR)
    assert len(channel.sent) == 1
    assert (await world.events(admitted.message.id))[-1].code == "NOT_REPEATED"
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"


async def test_evidence_for_messages_nobody_knows_is_passed_over(world: World) -> None:
    lost = Evidence(
        message_id="msg_nobody", key=core_key(1, 1, "sent"), step_no=1, attempt=1, kind="sent", source="core",
        at=world.clock.now(), gateway_id="gw_1",
    )  # fmt: skip
    assert await world.node.outbox.results.submit(Report(lost)) is None
    assert world.clock.now() > SECOND


async def resent_and_claimed(world: World, partner: Partner, many: int = 1) -> None:
    """Messages of which nobody knows what became, claimed once more by a worker that vanished."""
    for _ in range(2):
        now = world.clock.now()
        claimed = await world.database.write(
            lambda conn: claims.claim(conn, partner.gateway.id, [partner.app.id], many, DEAD, now, now + LEASE)  # noqa: B023
        )
        assert len(claimed) == many
        if claimed[0].attempt == 2:
            return

        def work(conn: Connection) -> None:
            claims.begin_sending(conn, claimed, DEAD, now + LEASE)  # noqa: B023
            events.add_first(conn, [evidence(step, "sending", now) for step in claimed])  # noqa: B023

        await world.database.write(work)
        unknown = [Report(evidence(step, "unknown", now)) for step in claimed]
        await asyncio.gather(*(world.node.outbox.results.submit(item) for item in unknown))


async def test_a_resend_whose_worker_vanished_is_sent_by_another(world: World) -> None:
    partner = await world.partner(credit_micros=PRICE, on_unknown="resend")
    admitted = await world.accept(partner)
    await resent_and_claimed(world, partner)
    world.clock.advance(LEASE)
    await world.start()
    await world.status(admitted, "SENT")
    assert world.channel.sent[0].ctx.correlation.endswith(".3")


async def test_what_takes_its_workers_down_has_not_failed_while_it_may_be_out(world: World) -> None:
    partner = await world.partner(credit_micros=PRICE, on_unknown="resend")
    admitted = await world.accept(partner)
    await resent_and_claimed(world, partner)
    for number in range(1, MAX_CLAIMS + 1):
        world.clock.advance(LEASE)
        await world.node.outbox.sweep_once()
        if number < MAX_CLAIMS:
            await claim(world, partner)
    message = await world.message(admitted.message.id)
    assert (message.status, message.settled_at) == ("UNKNOWN", None)
    assert (await world.events(admitted.message.id))[-1].code == "QUARANTINED"
    await world.start()
    world.clock.advance(DAY)
    await world.rest()
    assert world.channel.sent == []
    assert (await world.balance(partner.org)).held == PRICE


async def test_a_resend_that_comes_to_nothing_is_closed_with_its_window(world: World) -> None:
    """It may have been sent once, so it has not merely expired, and its hold is kept until nothing more is awaited."""
    partner = await world.partner(credit_micros=PRICE, on_unknown="resend")
    admitted = await world.accept(partner)
    await resent_and_claimed(world, partner)
    world.clock.advance(DAY + LEASE)
    for _ in range(3):
        await world.rest()
    message = await world.message(admitted.message.id)
    assert (message.status, message.settled_at) == ("UNKNOWN", None)
    assert (await world.balance(partner.org)).held == PRICE
    world.clock.advance(3 * DAY)
    await world.rest()
    message = await world.message(admitted.message.id)
    assert (message.status, message.error_code) == ("FAILED", "OUTCOME_UNKNOWN")
    assert (await world.balance(partner.org)).held == 0


async def test_what_nothing_follows_from_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were there ever a step of which the sweeper can make nothing, it would come first for ever."""
    monkeypatch.setattr("waypost.outbox.service.BATCH", 3)
    partner, other = await world.partner(), await world.partner()
    really = sweeper._decide

    def decide(step: Step, now: int) -> Report | None:
        return None if step.app_id == partner.app.id else really(step, now)

    monkeypatch.setattr(sweeper, "_decide", decide)
    for _ in range(3):
        await world.accept(partner, validity=30)
    victim = await world.accept(other, validity=60)
    world.clock.advance(HOUR)
    for _ in range(2):
        await world.node.outbox.sweep_once()
    assert (await world.message(victim.message.id)).status == "EXPIRED"


async def test_what_could_not_be_readied_did_not_take_its_worker_down(
    world: World, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a provider's login was down: one worker that vanishes afterwards is the first."""
    admitted = await world.accept(partner, validity=30 * 86_400)
    asked: list[object] = []

    async def down(opened: object) -> None:
        asked.append(opened)
        raise Transient("the provider's login is down")

    monkeypatch.setattr(world.node.accounts, "ready", down)
    await world.start()
    for number in range(MAX_CLAIMS):
        await world.until(lambda: enough(asked, number + 1))  # noqa: B023
        await world.state(admitted, "queued")
        world.clock.advance(HOUR)
    await world.node.outbox.stop(1)
    world.clock.advance(HOUR)
    await claim(world, partner)
    world.clock.advance(LEASE)
    await world.node.outbox.sweep_once()
    assert (await world.message(admitted.message.id)).status == "QUEUED"


async def enough(asked: list[object], times: int) -> bool:
    return len(asked) >= times
