"""Watermarks: a receipt for everything that a person was sent until a moment, whichever messages that may be."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from fake_channel import FakeChannel
from late_answer import under_way
from sqlalchemy.util import await_only
from waypost import watermarks
from waypost.admission.request import FallbackRequest
from waypost.clock import HOUR, SECOND, to_datetime
from waypost.plugin import Address, DeliveryUpdate, LookupResult, OutcomeUnknown, Quote, QuoteLine, SendResult
from waypost.plugin.errors import InvalidRecipient
from waypost.store.postgres import PostgresDatabase
from world import PRICE, TO, OpenWorld


async def test_a_watermark_covers_what_was_sent_until_then(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner = await world.partner()
    await world.start()
    early = await world.sent(partner)
    other = await world.sent(partner, "+491709999999")
    world.clock.advance(SECOND)
    mark = to_datetime(world.clock.now())
    world.clock.advance(SECOND)
    late = await world.sent(partner)
    address = Address("e164", TO)
    await world.tell(partner, DeliveryUpdate(event_id="e1", status="read", recipient=address, watermark=mark))
    statuses = [(await world.message(item.message.id)).status for item in (early, other, late)]
    assert statuses == ["READ", "SENT", "SENT"]
    await world.tell(
        partner,
        DeliveryUpdate(event_id="e2", status="delivered", recipient=address, watermark=mark + timedelta(seconds=9)),
    )
    statuses = [(await world.message(item.message.id)).status for item in (early, other, late)]
    assert statuses == ["READ", "SENT", "DELIVERED"]
    assert await world.parked() == 0


async def test_a_watermark_is_news_once(open_world: OpenWorld) -> None:
    """Each one covers the whole conversation again; what is proved already is not stored anew."""
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    mark = to_datetime(world.clock.now())
    address = Address("e164", TO)
    await world.tell(
        partner,
        DeliveryUpdate(event_id="e1", status="delivered", recipient=address, watermark=mark),
        DeliveryUpdate(event_id="e2", status="delivered", provider_id="p-1"),
    )
    for number in range(3):
        update = DeliveryUpdate(event_id=f"w{number}", status="delivered", recipient=address, watermark=mark)
        await world.tell(partner, update)
    kinds = [item.kind for item in await world.events(admitted.message.id)]
    assert kinds.count("delivered") == 1
    read = DeliveryUpdate(event_id="r", status="read", recipient=address, watermark=mark)
    await world.tell(partner, read)
    assert (await world.message(admitted.message.id)).status == "READ"


async def test_a_watermark_may_be_older_than_our_answer(open_world: OpenWorld) -> None:
    """It is on the provider's clock: when the message was there, not when we had heard that it was."""
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner, later, admitted = await under_way(world)
    mark = to_datetime(world.clock.now())
    world.clock.advance(SECOND)
    later.answer.set()
    await world.status(admitted, "SENT")
    address = Address("e164", TO)
    await world.tell(partner, DeliveryUpdate(event_id="e1", status="read", recipient=address, watermark=mark))
    assert (await world.message(admitted.message.id)).status == "READ"


async def test_a_watermark_that_overtakes_the_answer_is_not_lost(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner, later, admitted = await under_way(world)
    address, at = Address("e164", TO), to_datetime(world.clock.now())
    await world.tell(
        partner,
        DeliveryUpdate(event_id="r", status="read", recipient=address, watermark=at, occurred_at=at),
        DeliveryUpdate(event_id="d", status="delivered", recipient=address, watermark=at),
    )
    assert (await world.message(admitted.message.id)).status == "SENDING"
    later.answer.set()
    assert (await world.status(admitted, "READ")).captured == PRICE
    told = {item.kind: item for item in await world.events(admitted.message.id)}
    assert told["read"].occurred_at == world.clock.now()
    assert await world.parked() == 0
    # Whoever was told once is not told again, and what begins now is not meant.
    await world.tell(partner, DeliveryUpdate(event_id="r2", status="read", recipient=address, watermark=at))
    world.clock.advance(SECOND)
    after = await world.sent(partner)
    assert (await world.message(after.message.id)).status == "SENT"
    assert len(await world.events(admitted.message.id)) == 3


async def test_a_watermark_of_a_refused_message_proves_nothing(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner, later, admitted = await under_way(world, InvalidRecipient())
    mark = to_datetime(world.clock.now())
    await world.tell(
        partner, DeliveryUpdate(event_id="r", status="read", recipient=Address("e164", TO), watermark=mark)
    )
    later.answer.set()
    message = await world.status(admitted, "FAILED")
    assert (message.captured, message.contradictory) == (0, False)


@pytest.mark.parametrize("provider_id", ["@", "@x", "@a@b", "@@.", f"@a@{'9' * 20}"])
async def test_a_provider_id_that_looks_like_ours_is_the_providers(open_world: OpenWorld, provider_id: str) -> None:
    world = await open_world(FakeChannel().on(TO, SendResult(provider_ids=(provider_id,))))
    partner = await world.partner()
    await world.start()
    await world.sent(partner)
    await world.tell(partner, DeliveryUpdate(event_id="e", status="read", provider_id=provider_id))
    assert await world.parked() == 0


async def test_a_watermark_covers_all_that_began_at_the_same_moment(open_world: OpenWorld) -> None:
    """The clock stands still here; in life two sends to one person may begin within the provider's millisecond."""
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner = await world.partner()
    await world.start()
    world.clock.advance(999)
    both = [await world.sent(partner) for _ in range(2)]
    mark = to_datetime(world.clock.now() // 1000 * 1000)
    await world.tell(
        partner, DeliveryUpdate(event_id="r", status="read", recipient=Address("e164", TO), watermark=mark)
    )
    assert {(await world.message(item.message.id)).status for item in both} == {"READ"}


async def test_a_watermark_by_a_clock_that_is_a_little_behind(open_world: OpenWorld) -> None:
    """By the provider's clock a message may have been read a moment before it began by ours."""
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner = await world.partner()
    await world.start()
    mark = to_datetime(world.clock.now())
    world.clock.advance(SECOND // 20)
    read = await world.sent(partner)
    world.clock.advance(SECOND // 5)
    later = await world.sent(partner)
    await world.tell(
        partner, DeliveryUpdate(event_id="r", status="read", recipient=Address("e164", TO), watermark=mark)
    )
    assert [(await world.message(item.message.id)).status for item in (read, later)] == ["READ", "SENT"]


async def test_a_watermark_covers_what_was_found_by_a_lookup(open_world: OpenWorld) -> None:
    """Its answer was lost; that it was sent is known all the same, and from then on it is like any other."""
    channel = FakeChannel(info={"features": frozenset({"watermarks"})}, hooks=frozenset({"lookup"}))
    channel.on(TO, OutcomeUnknown()).lookup_answers.append(LookupResult(found=True, provider_ids=("p",), status="sent"))
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    mark = to_datetime(world.clock.now())
    await world.status(admitted, "UNKNOWN")
    address = Address("e164", TO)
    await world.tell(partner, DeliveryUpdate(event_id="d", status="delivered", recipient=address, watermark=mark))
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"
    await world.state_in_time(admitted, "ended")
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    mark = to_datetime(world.clock.now())
    await world.tell(partner, DeliveryUpdate(event_id="r", status="read", recipient=address, watermark=mark))
    assert (await world.message(admitted.message.id)).status == "READ"


async def test_a_watermark_covers_what_a_receipt_proved_whose_answer_was_lost(open_world: OpenWorld) -> None:
    """Such as an echo that bears our correlation; before or after a watermark, it is then like any other send."""
    channel = FakeChannel(info={"features": frozenset({"watermarks"})}).on(TO, OutcomeUnknown())
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "UNKNOWN")
    mark, address = to_datetime(world.clock.now()), Address("e164", TO)
    await world.tell(partner, DeliveryUpdate(event_id="d", status="delivered", recipient=address, watermark=mark))
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"
    echo = DeliveryUpdate(
        event_id="e", status="sent", provider_id="p", correlation=f"{admitted.message.id}.1.1", recipient=address
    )
    await world.tell(partner, echo)
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    world.clock.advance(SECOND)
    later = to_datetime(world.clock.now())
    await world.tell(partner, DeliveryUpdate(event_id="r", status="read", recipient=address, watermark=later))
    assert (await world.message(admitted.message.id)).status == "READ"


@pytest.mark.parametrize("first", ["sent", "failed"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0)])
async def test_a_watermark_covers_what_a_later_receipt_told_the_recipient_of(
    open_world: OpenWorld, order: tuple[int, ...], first: str
) -> None:
    """The answer was lost; the first receipt tells the provider's id and not whose it is, the next one both."""
    channel = FakeChannel(info={"features": frozenset({"watermarks"})}).on(TO, OutcomeUnknown())
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "UNKNOWN")
    mark, address, ref = to_datetime(world.clock.now()), Address("e164", TO), f"{admitted.message.id}.1.1"
    updates = [
        DeliveryUpdate(event_id="f", status=first, provider_id="p", correlation=ref),  # type: ignore[arg-type]
        DeliveryUpdate(event_id="e", status="sent", provider_id="p", correlation=ref, recipient=address),
        DeliveryUpdate(event_id="r", status="read", recipient=address, watermark=mark),
    ]
    for number in order:
        await world.tell(partner, updates[number])
    assert (await world.message(admitted.message.id)).status == "READ"


async def test_a_watermark_that_covers_two_steps_of_one_message(open_world: OpenWorld) -> None:
    """A reminder through the same gateway: each step has been read, is stored as such and pays for itself."""
    channel = FakeChannel(info={"features": frozenset({"watermarks"})})
    channel.quote = Quote((QuoteLine("unit", charge_on="delivered"),))
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner, fallback=(FallbackRequest(channel="SMS", after=3600, until="read"),))
    await world.status(admitted, "SENT")
    world.clock.advance(2 * HOUR)
    await world.rest()
    await world.state(admitted, "sent", step_no=2)
    mark = to_datetime(world.clock.now())
    update = DeliveryUpdate(event_id="r", status="read", recipient=Address("e164", TO), watermark=mark)
    for _ in range(2):
        await world.tell(partner, update)
        steps = await world.steps(admitted.message.id)
        assert [(step.state, step.status, step.captured) for step in steps] == [("ended", "READ", PRICE)] * 2
    read = [item for item in await world.events(admitted.message.id) if item.kind == "read"]
    assert [(item.step_no, item.attempt) for item in read] == [(1, 1), (2, 1)]


@pytest.mark.parametrize(("year", "hours"), [(1, 14), (9999, -14)])
async def test_a_watermark_told_at_a_moment_that_utc_does_not_have(
    open_world: OpenWorld, year: int, hours: int
) -> None:
    """What is sent later looks at it again, and its own answer must not be lost for it."""
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner = await world.partner()
    await world.start()
    before = await world.sent(partner)
    zone = timezone(timedelta(hours=hours))
    at = datetime(1, 1, 1, tzinfo=zone) if year == 1 else datetime(9999, 12, 31, 23, tzinfo=zone)
    mark, address = to_datetime(world.clock.now()), Address("e164", TO)
    update = DeliveryUpdate(event_id="r", status="read", recipient=address, watermark=mark, occurred_at=at)
    await world.tell(partner, update)
    assert (await world.message(before.message.id)).status == "READ"
    (read,) = [item for item in await world.events(before.message.id) if item.kind == "read"]
    assert read.occurred_at is not None
    assert to_datetime(read.occurred_at).year == year
    after = await world.accept(partner)
    await world.status(after, "READ")


async def test_a_watermark_in_the_future_is_about_the_past(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}))
    partner = await world.partner()
    await world.start()
    before = await world.sent(partner)
    mark = to_datetime(world.clock.now() + 365 * 24 * HOUR)
    address = Address("e164", TO)
    await world.tell(partner, DeliveryUpdate(event_id="r", status="read", recipient=address, watermark=mark))
    world.clock.advance(SECOND)
    after = await world.sent(partner)
    assert [(await world.message(item.message.id)).status for item in (before, after)] == ["READ", "SENT"]
    world.clock.advance(SECOND)
    await world.tell(partner, DeliveryUpdate(event_id="r2", status="read", recipient=address, watermark=mark))
    assert (await world.message(after.message.id)).status == "READ"


@pytest.mark.postgres
async def test_a_watermark_and_the_answer_stored_at_the_same_moment(
    open_world: OpenWorld, postgres: PostgresDatabase, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither transaction sees what the other has not committed yet; so the second waits for the first."""
    postgres.clock = clock  # type: ignore[assignment]
    world = await open_world(FakeChannel(info={"features": frozenset({"watermarks"})}), database=postgres)
    partner, later, admitted = await under_way(world)
    stored: list[asyncio.Task[Any]] = []
    really = watermarks.covered

    def covered(*args: Any) -> Any:
        found = really(*args)
        later.answer.set()
        stored.append(asyncio.ensure_future(world.status(admitted, "SENT", "READ")))
        await_only(asyncio.wait(stored, timeout=0.3))
        return found

    monkeypatch.setattr(watermarks, "covered", covered)
    mark = to_datetime(world.clock.now())
    await world.tell(
        partner, DeliveryUpdate(event_id="r", status="read", recipient=Address("e164", TO), watermark=mark)
    )
    await stored[0]
    await world.status(admitted, "READ")
