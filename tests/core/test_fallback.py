"""Fallback: further steps, taken when the one before failed or was too slow."""

from __future__ import annotations

import asyncio

import pytest
from fake_channel import FakeChannel
from waypost.admission.candidate import Admitted
from waypost.admission.request import FallbackRequest
from waypost.clock import HOUR, SECOND
from waypost.plugin import DeliveryUpdate, LookupResult, OutcomeUnknown, Permanent, RateLimited, SendResult, Transient
from waypost.store import claims, gateways
from world import TO, OpenWorld, Partner, World


@pytest.fixture
def sms() -> FakeChannel:
    return FakeChannel("sms")


@pytest.fixture
def chat() -> FakeChannel:
    return FakeChannel("chat", channel="CHAT")


@pytest.fixture
async def world(open_world: OpenWorld, sms: FakeChannel, chat: FakeChannel) -> World:
    return await open_world(chat, sms)


@pytest.fixture
async def partner(world: World, sms: FakeChannel, chat: FakeChannel) -> Partner:
    return await make_partner(world, sms, chat)


async def make_partner(world: World, sms: FakeChannel, chat: FakeChannel, on_unknown: str = "hold") -> Partner:
    first, second = await world.gateway(chat), await world.gateway(sms)
    await world.rate(first, 100)
    await world.rate(second, 900)
    return await world.partner(first, second, credit_micros=1000, on_unknown=on_unknown)


async def chat_then_sms(world: World, partner: Partner, **fallback: object) -> Admitted:
    later = FallbackRequest(channel="SMS", **fallback)  # type: ignore[arg-type]
    return await world.accept(partner, channel="CHAT", fallback=(later,))


async def delivered(world: World, partner: Partner, number: int, event_id: str = "e") -> None:
    await world.tell(
        partner,
        DeliveryUpdate(event_id=event_id, status="delivered", provider_id="p-1"),
        gateway=partner.gateways[number],
    )


async def test_both_steps_are_held_and_the_second_is_released_when_not_needed(
    world: World, partner: Partner, sms: FakeChannel
) -> None:
    admitted = await chat_then_sms(world, partner)
    assert admitted.message.held == 1000
    assert (await world.balance(partner.org)).available == 0
    await world.start()
    message = await world.status(admitted, "SENT")
    assert [step.state for step in await world.steps(message.id)] == ["sent", "ended"]
    assert (await world.balance(partner.org)).held == 100
    await delivered(world, partner, 0)
    message = await world.message(message.id)
    assert (message.status, message.captured) == ("DELIVERED", 100)
    assert message.settled_at is not None
    assert sms.sent == []
    assert (await world.balance(partner.org)).available == 900
    assert await world.books_balance()


async def test_a_failed_step_is_followed_by_the_next(
    world: World, partner: Partner, chat: FakeChannel, sms: FakeChannel
) -> None:
    chat.on("*", Permanent("not on chat"))
    admitted = await chat_then_sms(world, partner, to="+4917099999999", content={"kind": "text", "body": "By SMS"})
    await world.start()
    message = await world.status(admitted, "SENT")
    assert sms.sent[0].to == "+4917099999999"
    assert sms.sent[0].message.content.model_dump()["body"] == "By SMS"
    assert sms.sent[0].message.channel == "SMS"
    await delivered(world, partner, 1)
    message = await world.message(message.id)
    assert (message.status, message.captured, message.error_code) == ("DELIVERED", 900, None)
    assert (await world.balance(partner.org)).available == 100


async def test_when_every_step_fails_so_does_the_message(
    world: World, partner: Partner, chat: FakeChannel, sms: FakeChannel
) -> None:
    chat.on("*", Permanent("first"))
    sms.on("*", Permanent("last"))
    await world.start()
    message = await world.status(await chat_then_sms(world, partner), "FAILED")
    assert (message.error_detail, message.captured) == ("last", 0)
    assert (await world.balance(partner.org)).available == 1000
    assert message.settled_at is not None


async def test_a_step_too_slow_is_followed_after_its_time(world: World, partner: Partner, sms: FakeChannel) -> None:
    await world.start()
    admitted = await chat_then_sms(world, partner, after=30, until="delivered")
    await world.status(admitted, "SENT")
    world.clock.advance(29 * SECOND)
    await world.rest()
    assert sms.sent == []
    world.clock.advance(2 * SECOND)
    await sms.called(1)
    await world.state(admitted, "sent", step_no=2)

    # The first one is delivered after all, and then the second: both are paid for.
    await delivered(world, partner, 0, "e1")
    await delivered(world, partner, 1, "e2")
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("DELIVERED", 1000)
    assert await world.books_balance()


async def test_a_fallback_that_still_waits_is_left_out_once_the_first_step_arrives(
    world: World, partner: Partner, sms: FakeChannel
) -> None:
    await world.start()
    admitted = await chat_then_sms(world, partner, after=30, until="delivered")
    await world.status(admitted, "SENT")
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateways[1].id, "paused", ""))
    world.clock.advance(31 * SECOND)
    await world.state(admitted, "queued", step_no=2)
    await delivered(world, partner, 0)
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateways[1].id, "active", ""))
    await world.rest()
    assert sms.sent == []
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("DELIVERED", 100)
    assert message.settled_at is not None
    assert (await world.balance(partner.org)).available == 900
    assert await world.books_balance()


@pytest.mark.parametrize(("wish", "then"), [("hold", Transient()), ("resend", OutcomeUnknown())])
async def test_a_fallback_that_was_being_tried_as_the_first_step_arrived_is_not_tried_again(
    world: World, chat: FakeChannel, sms: FakeChannel, wish: str, then: Exception
) -> None:
    partner = await make_partner(world, sms, chat, wish)
    has_arrived = asyncio.Event()

    async def answer(*_: object) -> SendResult:
        await has_arrived.wait()
        raise then

    sms.on("*", answer, SendResult())
    await world.start()
    admitted = await chat_then_sms(world, partner, after=30, until="delivered")
    await world.status(admitted, "SENT")
    world.clock.advance(31 * SECOND)
    await sms.called(1)
    await delivered(world, partner, 0)
    has_arrived.set()
    step = await world.state(admitted, "ended", "unknown", step_no=2)
    world.clock.advance(10 * SECOND)
    await world.rest()
    assert len(sms.sent) == 1
    assert (step.settled_at is None) == (wish == "resend")


async def test_a_fallback_that_somebody_has_claimed_is_left_out_once_the_first_step_arrives(
    world: World, partner: Partner, sms: FakeChannel
) -> None:
    await world.start()
    admitted = await chat_then_sms(world, partner, after=30, until="delivered")
    await world.status(admitted, "SENT")
    second = partner.gateways[1].id
    await world.decide(lambda conn: gateways.set_status(conn, second, "paused", ""))
    world.clock.advance(31 * SECOND)
    await world.state(admitted, "queued", step_no=2)
    now, until = world.clock.now(), world.clock.now() + HOUR
    claimed = await world.database.write(lambda conn: claims.claim(conn, second, [partner.app.id], 1, "x", now, until))
    await delivered(world, partner, 0)
    assert not await world.database.write(lambda conn: claims.begin_sending(conn, claimed, "x", until))
    await world.database.write(lambda conn: claims.give_back(conn, claimed, "x"))
    await world.decide(lambda conn: gateways.set_status(conn, second, "active", ""))
    await world.rest()
    assert sms.sent == []
    assert (await world.balance(partner.org)).available == 900
    assert await world.books_balance()


async def test_what_a_needless_fallback_sets_free_pays_for_the_first_step(
    world: World, chat: FakeChannel, sms: FakeChannel
) -> None:
    """It was given up, and what it had held is spent, when it turns out to have been delivered."""
    first, second = await world.gateway(chat, receipt_window=HOUR), await world.gateway(sms, status="paused")
    await world.rate(first, 100)
    await world.rate(second, 900)
    partner = await world.partner(first, second, credit_micros=1000, on_unknown="fallback")
    chat.on("*", OutcomeUnknown())
    await world.start()
    admitted = await chat_then_sms(world, partner, until="delivered")
    await world.state(admitted, "queued", step_no=2)
    world.clock.advance(HOUR)
    await world.state(admitted, "ended")
    await world.accept(partner, channel="CHAT")
    assert (await world.balance(partner.org)).available == 0

    late = DeliveryUpdate(event_id="e", status="delivered", correlation=f"{admitted.message.id}.1.1")
    await world.tell(partner, late, gateway=first)
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("DELIVERED", 100)
    assert (await world.balance(partner.org)).available == 800
    assert await world.books_balance()


async def test_a_step_quick_enough_is_not_followed(world: World, partner: Partner, sms: FakeChannel) -> None:
    await world.start()
    admitted = await chat_then_sms(world, partner, after=30, until="delivered")
    await world.status(admitted, "SENT")
    await delivered(world, partner, 0)
    world.clock.advance(HOUR)
    await world.rest()
    assert sms.sent == []
    message = await world.message(admitted.message.id)
    assert message.settled_at is not None
    assert (await world.balance(partner.org)).available == 900


async def test_a_late_failure_is_followed_without_a_timer(world: World, partner: Partner, sms: FakeChannel) -> None:
    await world.start()
    admitted = await chat_then_sms(world, partner, until="delivered")
    await world.status(admitted, "SENT")
    await world.tell(partner, DeliveryUpdate(event_id="e", status="undelivered", provider_id="p-1"))
    await sms.called(1)
    message = await world.status(admitted, "SENT")
    assert message.settled_at is None
    assert (await world.steps(message.id))[0].captured == 100  # undelivered, but sent


async def test_an_unknown_outcome_holds_the_fallback_back(
    world: World, partner: Partner, chat: FakeChannel, sms: FakeChannel
) -> None:
    chat.on("*", OutcomeUnknown())
    await world.start()
    admitted = await chat_then_sms(world, partner)
    await world.status(admitted, "UNKNOWN")
    world.clock.advance(HOUR)
    await world.rest()
    assert sms.sent == []
    # Held back for as long as the message may live: then the window closes and everything is released.
    world.clock.advance(72 * HOUR)
    message = await world.status(admitted, "FAILED", "CANCELED")
    assert message.settled_at is not None
    assert sms.sent == []
    assert (await world.balance(partner.org)).available == 1000


@pytest.mark.parametrize(("on_unknown", "sends"), [("hold", 0), ("fallback", 1)])
async def test_an_outcome_that_stays_unknown_holds_the_fallback_back_for_good(
    world: World, chat: FakeChannel, sms: FakeChannel, on_unknown: str, sends: int
) -> None:
    """The receipt window is over long before the message's time is."""
    gateway, other = await world.gateway(chat, receipt_window=HOUR), await world.gateway(sms)
    await world.rate(gateway)
    await world.rate(other)
    partner = await world.partner(gateway, other, on_unknown=on_unknown)
    chat.on("*", OutcomeUnknown())
    await world.start()
    admitted = await chat_then_sms(world, partner)
    await world.state(admitted, "unknown")
    await world.state(admitted, "sent" if sends else "waiting", step_no=2)
    world.clock.advance(HOUR)
    await world.state(admitted, "ended")
    message = await world.status(admitted, "SENT", "FAILED")
    await world.rest()
    assert len(sms.sent) == sends
    assert (message.status, message.error_code) == (("SENT", None) if sends else ("FAILED", "OUTCOME_UNKNOWN"))


async def test_an_app_may_ask_for_the_fallback_after_an_unknown_outcome(
    world: World, chat: FakeChannel, sms: FakeChannel
) -> None:
    partner = await make_partner(world, sms, chat, on_unknown="fallback")
    chat.on("*", OutcomeUnknown())
    await world.start()
    admitted = await chat_then_sms(world, partner)
    await world.status(admitted, "SENT")
    assert len(sms.sent) == 1


async def test_what_was_never_sent_stays_unsent_once_its_fallback_went_out(open_world: OpenWorld) -> None:
    """Nobody knew, so the second step was sent; then the provider says that it never had the first."""
    chat, sms = FakeChannel("chat", channel="CHAT", hooks=frozenset({"lookup"})), FakeChannel("sms")
    world = await open_world(chat, sms)
    partner = await make_partner(world, sms, chat, on_unknown="fallback")
    chat.on("*", OutcomeUnknown())
    chat.lookup_answers.extend([None, LookupResult(found=False)])
    await world.start()
    admitted = await chat_then_sms(world, partner)
    await world.state(admitted, "sent", step_no=2)
    await delivered(world, partner, 1)
    for _ in range(2):
        world.clock.advance(5 * SECOND)
        await world.rest()
    await world.state(admitted, "ended", step_no=1)
    await world.rest()
    assert (len(chat.sent), len(sms.sent)) == (1, 1)
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured, message.held) == ("DELIVERED", 900, 1000)
    assert message.settled_at is not None
    told = {(item.step_no, item.kind): item.code for item in await world.events(admitted.message.id)}
    assert told[1, "canceled"] == "SUPERSEDED"
    assert await world.books_balance()


async def test_a_fallback_waits_while_the_first_is_tried_again_unnoticed(open_world: OpenWorld) -> None:
    """A provider that dedupes by our key is asked again after an unknown outcome; only one of the two may go out."""
    chat, sms = FakeChannel("chat", channel="CHAT", info={"idempotent_for": 3600}), FakeChannel("sms")
    world = await open_world(chat, sms)
    partner = await make_partner(world, sms, chat, on_unknown="fallback")
    chat.on("*", OutcomeUnknown(), SendResult(provider_ids=("p",)))
    await world.start()
    admitted = await chat_then_sms(world, partner)
    await chat.called(1)
    await world.state(admitted, "queued")
    await world.rest()
    assert sms.sent == []
    world.clock.advance(10 * SECOND)
    await world.status(admitted, "SENT")
    assert (len(chat.sent), len(sms.sent)) == (2, 0)


async def test_a_fallback_whose_deadline_has_passed_is_not_begun(
    world: World, partner: Partner, chat: FakeChannel, sms: FakeChannel
) -> None:
    chat.on("*", Transient())
    await world.start()
    later = FallbackRequest(channel="SMS")
    admitted = await world.accept(partner, TO, channel="CHAT", fallback=(later,), validity=60)
    await chat.called(1)
    await world.state(admitted, "queued")
    world.clock.advance(60 * SECOND)
    message = await world.status(admitted, "EXPIRED", "CANCELED")
    assert message.status == "EXPIRED"
    assert message.settled_at is not None
    assert sms.sent == []
    told = {(item.step_no, item.kind): item.code for item in await world.events(admitted.message.id)}
    assert (told[1, "expired"], told[2, "canceled"]) == ("EXPIRED", "TOO_LATE")
    assert (await world.balance(partner.org)).available == 1000


async def test_a_timer_that_ends_after_the_deadline_begins_nothing(world: World, partner: Partner) -> None:
    """The first step's receipts are waited for longer than the message may be sent: they say what became."""
    await world.start()
    admitted = await chat_then_sms(world, partner, after=2 * 86_400, until="delivered")
    await world.status(admitted, "SENT")
    world.clock.advance(49 * HOUR)
    await world.state(admitted, "ended", step_no=2)
    await world.tell(
        partner, DeliveryUpdate(event_id="e", status="undelivered", provider_id="p-1"), gateway=partner.gateway
    )
    assert (await world.message(admitted.message.id)).status == "UNDELIVERED"
    told = {(item.step_no, item.kind): item.code for item in await world.events(admitted.message.id)}
    assert told[2, "canceled"] == "TOO_LATE"


async def test_a_fallback_that_was_not_sent_does_not_hide_that_nobody_knows(
    world: World, chat: FakeChannel, sms: FakeChannel
) -> None:
    """The first step may have reached the person, though the second expired before a provider took it."""
    partner = await make_partner(world, sms, chat, on_unknown="fallback")
    chat.on("*", OutcomeUnknown())
    sms.on("*", *[Transient()] * 20)
    await world.start()
    admitted = await world.accept(partner, TO, channel="CHAT", fallback=(FallbackRequest(channel="SMS"),), validity=60)
    await world.state(admitted, "queued", step_no=2)
    world.clock.advance(60 * SECOND)
    await world.state(admitted, "ended", step_no=2)
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"
    world.clock.advance(73 * HOUR)
    message = await world.status(admitted, "FAILED", "EXPIRED", "CANCELED")
    assert (message.status, message.error_code) == ("FAILED", "OUTCOME_UNKNOWN")
    assert message.settled_at is not None
    assert (await world.balance(partner.org)).available == 1000


async def test_an_outcome_that_is_unknown_past_the_deadline_begins_no_fallback(
    open_world: OpenWorld, sms: FakeChannel
) -> None:
    chat = FakeChannel("chat", channel="CHAT", info={"idempotent_for": 3600})
    world = await open_world(chat, sms)
    partner = await make_partner(world, sms, chat, on_unknown="fallback")
    chat.on("*", OutcomeUnknown(), RateLimited(retry_after=3000))
    await world.start()
    admitted = await world.accept(partner, TO, channel="CHAT", fallback=(FallbackRequest(channel="SMS"),), validity=60)
    await chat.called(1)
    await world.state(admitted, "queued")
    for _ in range(7):
        world.clock.advance(10 * SECOND)
        await world.rest()
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"
    world.clock.advance(73 * HOUR)
    message = await world.status(admitted, "FAILED", "EXPIRED", "CANCELED")
    assert (message.status, message.error_code) == ("FAILED", "OUTCOME_UNKNOWN")
    assert sms.sent == []
    told = {(item.step_no, item.kind): item.code for item in await world.events(admitted.message.id)}
    assert told[2, "canceled"] == "TOO_LATE"


async def test_a_delivered_step_that_is_not_read_in_time_is_followed(
    world: World, partner: Partner, sms: FakeChannel
) -> None:
    await world.start()
    admitted = await chat_then_sms(world, partner, after=30, until="read")
    await world.status(admitted, "SENT")
    await delivered(world, partner, 0)
    world.clock.advance(29 * SECOND)
    await world.rest()
    assert sms.sent == []
    world.clock.advance(2 * SECOND)
    await sms.called(1)
    await world.state(admitted, "sent", step_no=2)
    await delivered(world, partner, 1, "e2")
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("DELIVERED", 1000)
    assert message.settled_at is not None
    assert await world.books_balance()


async def test_a_step_that_nobody_reads_ends_with_its_window(world: World, partner: Partner, sms: FakeChannel) -> None:
    await world.start()
    admitted = await chat_then_sms(world, partner, until="read")
    await world.status(admitted, "SENT")
    await delivered(world, partner, 0)
    assert (await world.balance(partner.org)).available == 0
    world.clock.advance(73 * HOUR)
    await world.state(admitted, "ended", step_no=2)
    assert sms.sent == []
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("DELIVERED", 100)
    assert message.settled_at is not None
    assert (await world.balance(partner.org)).available == 900
    assert await world.books_balance()
