"""A store that fails at the wrong moment: what was not sent goes out once, what was sent is not forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_channel import FakeChannel
from waypost.clock import HOUR, MINUTE, SECOND
from waypost.outbox.sweeper import MAX_CLAIMS
from waypost.plugin import Context, LookupResult, OutboundMessage, OutcomeUnknown, SendResult
from waypost.progress.queue import FIRST_LOOKUP
from waypost.store.database import CommitUnknownError, StoreUnavailableError
from waypost.store.opening import open_database
from waypost.store.postgres import PostgresDatabase
from world import PRICE, TO, OpenWorld, World


def fail_to_begin(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, *, times: int, committed: bool = False
) -> list[str]:
    """Let the fence fail so often, before or after its commit; returns a list that grows with every failure."""
    failures: list[str] = []
    really = world.database.write

    async def write(work: Callable[..., Any]) -> Any:
        if "Lane._begin" not in work.__qualname__ or len(failures) >= times:
            return await really(work)
        if committed:
            await really(work)
        failures.append(work.__qualname__)
        raise error

    monkeypatch.setattr(world.database, "write", write)
    return failures


@pytest.mark.parametrize("committed", [True, False])
async def test_what_could_not_be_begun_for_the_stores_sake_is_sent_once(
    world: World, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """Nobody knows whether the fence was stored; but the node lives, and knows that it sent nothing."""
    partner = await world.partner()
    batch = [await world.accept(partner, f"+491511234567{number}") for number in range(5)]
    failures = fail_to_begin(world, monkeypatch, CommitUnknownError("amid COMMIT"), times=1, committed=committed)
    await world.start()
    for admitted in batch:
        await world.state_in_time(admitted, "sent")
    assert len(failures) == 1
    assert sorted(call.message.recipient[0].value for call in world.channel.sent) == sorted(
        admitted.message.recipient for admitted in batch
    )
    assert {(await world.message(item.message.id)).possible_duplicate for item in batch} == {False}


async def test_a_store_that_fails_again_and_again_is_not_the_messages_doing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = await world.partner()
    admitted = await world.accept(partner)
    failures = fail_to_begin(world, monkeypatch, StoreUnavailableError("the pool is full"), times=MAX_CLAIMS + 3)
    await world.start()
    await world.state_in_time(admitted, "sent")
    assert len(failures) == MAX_CLAIMS + 3
    assert len(world.channel.sent) == 1


async def test_what_can_never_be_begun_is_set_aside_in_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the message's own doing: a row that breaks the statement, say."""
    partner = await world.partner()
    admitted = await world.accept(partner, validity=86_400)
    failures = fail_to_begin(world, monkeypatch, ZeroDivisionError(), times=1000)
    await world.start()

    async def ended() -> bool:
        world.clock.advance(MINUTE)
        return (await world.message(admitted.message.id)).status == "FAILED"

    await world.until(ended)
    assert len(failures) <= MAX_CLAIMS
    assert (await world.message(admitted.message.id)).error_code == "QUARANTINED"


async def test_what_the_provider_said_is_kept_for_as_long_as_the_store_is_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.outbox.lane.PAUSES", (0.001, 0.002))
    partner = await world.partner(on_unknown="resend")
    down = [False]
    tries: list[int] = []

    async def taken(ctx: Context, message: OutboundMessage) -> SendResult:
        down[0] = True
        return SendResult(provider_ids=("p",))

    world.channel.on(TO, taken)
    really = world.database.write

    async def write(work: Callable[..., Any]) -> Any:
        if not down[0]:
            return await really(work)
        tries.append(1)
        down[0] = len(tries) < 50
        raise StoreUnavailableError("it is down")

    monkeypatch.setattr(world.database, "write", write)
    await world.start()
    message = await world.status(await world.accept(partner), "SENT")
    assert len(tries) == 50
    assert len(world.channel.sent) == 1
    assert not message.possible_duplicate


async def test_an_id_that_no_index_takes_is_the_plugins_fault(world: World) -> None:
    world.channel.on(TO, SendResult(provider_ids=("x" * 1001,)))
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "UNKNOWN")
    assert len(world.channel.sent) == 1


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_a_worker_without_the_plugin_leaves_its_lookups_to_the_others(
    open_world: OpenWorld, postgres: PostgresDatabase
) -> None:
    channel = FakeChannel(hooks=frozenset({"lookup"})).on(TO, OutcomeUnknown())
    world = await open_world(channel)
    another = await open_database(postgres.url)
    another.clock = world.clock
    stranger = await open_world(database=another)
    partner = await world.partner(credit_micros=PRICE)
    await world.start()
    admitted = await world.accept(partner)
    await world.state(admitted, "unknown")
    await stranger.node.refresh()
    await world.node.outbox.stop(1)
    channel.lookup_answers.append(LookupResult(found=True, provider_ids=("p",), status="delivered"))
    world.clock.advance(FIRST_LOOKUP)
    for _ in range(3):
        await stranger.node.outbox.sweep_once()
        world.clock.advance(30 * SECOND)
    await world.node.outbox.sweep_once()
    await world.node.outbox.resolve_all()
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("DELIVERED", PRICE)
    await stranger.node.outbox.sweep_once()


async def test_what_nobody_can_look_up_is_left_alone_until_its_window_closes(world: World) -> None:
    world.channel.on(TO, OutcomeUnknown())
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.state(admitted, "unknown")
    world.clock.advance(FIRST_LOOKUP)
    await world.rest()
    step = await world.step(admitted.message.id)
    assert step.wake_at == step.window_until
    assert (step.wake_at or 0) > world.clock.now() + 71 * HOUR
