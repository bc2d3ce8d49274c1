"""Leases and fences: what becomes of work whose worker vanished."""

from __future__ import annotations

import pytest
from waypost.clock import MINUTE, SECOND
from waypost.lifecycle.evidence import Evidence, core_key
from waypost.outbox.attempt import evidence
from waypost.outbox.sweeper import MAX_CLAIMS
from waypost.plugin import DeliveryUpdate, SendResult, Transient
from waypost.progress.case import Report
from waypost.store import events, steps
from waypost.store.database import Database
from waypost.store.steps import Step
from world import PRICE, TO, Partner, World

DEAD = "node_dead"
LEASE = MINUTE


@pytest.fixture
async def partner(world: World) -> Partner:
    return await world.partner(credit_micros=PRICE)


async def claim(world: World, partner: Partner, owner: str = DEAD) -> Step:
    now = world.clock.now()
    (step,) = await world.database.write(
        lambda conn: steps.claim(conn, partner.gateway.id, [partner.app.id], 10, owner, now, now + LEASE)
    )
    return step


async def begin(world: World, step: Step, owner: str = DEAD) -> None:
    now = world.clock.now()

    def work(conn: object) -> None:
        won = steps.begin_sending(conn, [step], owner, now + LEASE)  # type: ignore[arg-type]
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
        return await world.database.write(lambda conn: steps.begin_sending(conn, [step], owner, 0))

    assert await won(stale, "node_other") == set()
    await world.database.write(lambda conn: steps.release_claims(conn, DEAD))
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
    ended = await database.write(lambda conn: steps.orphan_claims(conn, world.node.id, world.clock.now()))
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
    attempt = await lane._attempt(step, message)
    await begin(world, step, world.node.id)
    await lane._send(attempt, latest=world.clock.now())
    assert world.channel.sent == []
    assert await world.kinds(admitted.message.id) == ["not_sent", "sending"]
    assert (await world.message(admitted.message.id)).status == "QUEUED"


async def test_evidence_for_messages_nobody_knows_is_passed_over(world: World) -> None:
    lost = Evidence(
        message_id="msg_nobody", key=core_key(1, 1, "sent"), step_no=1, attempt=1, kind="sent", source="core",
        at=world.clock.now(), gateway_id="gw_1",
    )  # fmt: skip
    assert await world.node.outbox.results.submit(Report(lost)) is None
    assert world.clock.now() > SECOND
