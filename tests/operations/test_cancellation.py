"""Cancellation: what has still to be sent never is, and costs nothing; what may have been sent is left alone."""

from __future__ import annotations

import asyncio

import pytest
from fake_channel import FakeChannel
from waypost.admission.request import FallbackRequest
from waypost.clock import HOUR, SECOND
from waypost.operations.errors import InvalidArgumentError, NotFoundError
from waypost.plugin import DeliveryUpdate, OutcomeUnknown, Permanent, RateLimited, SendResult
from waypost.store import claims, steps
from world import PRICE, TO, OpenWorld, World


@pytest.fixture
def chat() -> FakeChannel:
    return FakeChannel("chat", channel="CHAT")


@pytest.fixture
async def two(open_world: OpenWorld, chat: FakeChannel, channel: FakeChannel) -> World:
    """A world with two channels."""
    return await open_world(chat, channel)


async def test_what_waits_is_canceled_and_its_credit_is_free(world: World) -> None:
    partner = await world.partner(credit_micros=2 * PRICE)
    first, second = await world.accept(partner), await world.accept(partner)
    assert await world.ask("messages.cancel", messages=[first.message.id]) == {"canceled": 1, "left": 0}
    message = await world.message(first.message.id)
    assert (message.status, message.error_code, message.captured) == ("CANCELED", "CANCELED", 0)
    assert message.settled_at is not None
    balance = await world.balance(partner.org)
    assert (balance.available, balance.held) == (PRICE, PRICE)
    await world.start()
    await world.status(second, "SENT")
    await world.rest()
    assert [call.ctx.correlation.split(".")[0] for call in world.channel.sent] == [second.message.id]
    told = await world.ask("messages.show", message=first.message.id)
    assert [line["text"] for line in told["timeline"]] == [
        "held 0.0075 USD", "queued", "canceled, by an operator", "released 0.0075 USD",
    ]  # fmt: skip
    assert await world.books_balance()


async def test_what_is_being_sent_or_was_goes_on(world: World, channel: FakeChannel) -> None:
    partner = await world.partner()
    is_sending, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(*_: object) -> SendResult:
        is_sending.set()
        await may_answer.wait()
        return SendResult(provider_ids=("slow",))

    channel.on("+4915100000001", slowly)
    await world.start()
    sent = await world.sent(partner)
    slow = await world.accept(partner, "+4915100000001")
    await is_sending.wait()
    assert await world.ask("messages.cancel", messages=[sent.message.id, slow.message.id]) == {"canceled": 0, "left": 2}
    may_answer.set()
    message = await world.status(slow, "SENT")
    assert not message.contradictory
    assert await world.ask("messages.cancel", everything=True) == {"canceled": 0, "left": 0}
    assert [line for line in await world.ask("audit.list", limit=10) if line["action"] == "messages.cancel"] == []


async def test_who_has_claimed_it_finds_at_the_fence_that_it_is_gone(world: World, channel: FakeChannel) -> None:
    partner = await world.partner()
    await world.start()
    await world.node.outbox.stop(1)
    admitted = await world.accept(partner)
    lane, now = world.node.outbox.lanes[partner.gateway.id], world.clock.now()
    owner, until = world.node.outbox._owner, now + 60 * SECOND

    def claim(conn: object) -> list[steps.Step]:
        return claims.claim(conn, partner.gateway.id, [partner.app.id], 1, owner, now, until)  # type: ignore[arg-type]

    (claimed,) = await world.database.write(claim)
    prepared = await lane._prepare([claimed], {admitted.message.id: await world.message(admitted.message.id)})
    assert (await world.ask("messages.cancel", messages=[admitted.message.id]))["canceled"] == 1
    assert not await lane._begin(prepared)
    assert (channel.sent, (await world.message(admitted.message.id)).status) == ([], "CANCELED")


async def test_a_fallback_is_canceled_with_its_message(two: World, chat: FakeChannel, channel: FakeChannel) -> None:
    partner = await two.partner(credit_micros=4 * PRICE)
    later = FallbackRequest(channel="SMS", after=30, until="delivered")
    unsent = await two.accept(partner, channel="CHAT", fallback=(later,))
    assert (await two.ask("messages.cancel", everything=True))["canceled"] == 1
    assert (await two.message(unsent.message.id)).status == "CANCELED"
    assert (await two.balance(partner.org)).held == 0
    await two.start()
    waits = await two.accept(partner, channel="CHAT", fallback=(later,))
    await two.status(waits, "SENT")
    assert (await two.ask("messages.cancel", app=partner.app.name)) == {"canceled": 1, "left": 0}
    assert (await two.balance(partner.org)).held == PRICE  # of what was sent
    two.clock.advance(HOUR)
    await two.rest()
    await two.tell(partner, DeliveryUpdate(event_id="e", status="undelivered", provider_id="p-1"))
    await two.rest()
    assert channel.sent == []
    message = await two.message(waits.message.id)
    assert (message.status, message.captured) == ("UNDELIVERED", PRICE)  # how the one that was sent ended
    assert [step.status for step in await two.steps(message.id)] == ["UNDELIVERED", "CANCELED"]
    assert message.settled_at is not None
    assert await two.books_balance()


async def test_a_fallback_that_has_begun_to_wait_is_canceled(
    two: World, chat: FakeChannel, channel: FakeChannel
) -> None:
    chat.on("*", Permanent("not there"))
    channel.answer_everybody(RateLimited("busy", retry_after=3600))
    partner = await two.partner()
    await two.start()
    admitted = await two.accept(partner, channel="CHAT", fallback=(FallbackRequest(channel="SMS"),))
    await two.state(admitted, "queued", step_no=2)
    await channel.called(1)
    await two.state(admitted, "queued", step_no=2)
    assert (await two.ask("messages.cancel", gateway=partner.gateways[1].name))["canceled"] == 1
    message = await two.message(admitted.message.id)
    assert (message.status, message.captured) == ("CANCELED", 0)
    assert (await two.balance(partner.org)).held == 0


@pytest.mark.parametrize("receipt", ["delivered", None])
async def test_the_repeat_of_what_may_have_been_sent_is_canceled_and_its_receipt_waited_for(
    world: World, channel: FakeChannel, receipt: str | None
) -> None:
    partner = await world.partner(on_unknown="resend", credit_micros=PRICE)
    channel.on("*", OutcomeUnknown(), RateLimited("busy", retry_after=3600))
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(2)
    await world.state(admitted, "queued")
    assert (await world.ask("messages.cancel", messages=[admitted.message.id]))["canceled"] == 1
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"
    assert (await world.balance(partner.org)).held == PRICE
    world.clock.advance(2 * HOUR)
    await world.rest()
    assert len(channel.sent) == 2
    if receipt:
        first = channel.sent[0].ctx.correlation
        await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", correlation=first))
    else:
        world.clock.advance(80 * HOUR)
        await world.status(admitted, "FAILED")
    message = await world.message(admitted.message.id)
    wanted = ("DELIVERED", PRICE, None) if receipt else ("FAILED", 0, "OUTCOME_UNKNOWN")
    assert (message.status, message.captured, message.error_code) == wanted
    assert await world.books_balance()


async def test_only_those_that_are_meant_are_canceled(two: World) -> None:
    one, other = await two.partner(), await two.partner()
    texts = [await two.accept(one) for _ in range(2)]
    chats = [await two.accept(partner, channel="CHAT") for partner in (one, other)]

    async def canceled(**which: object) -> set[str]:
        before = {message.message.id for message in texts + chats if await status(message) == "CANCELED"}
        await two.ask("messages.cancel", **which)
        after = {message.message.id for message in texts + chats if await status(message) == "CANCELED"}
        return after - before

    async def status(admitted: object) -> str:
        return (await two.message(admitted.message.id)).status  # type: ignore[attr-defined]

    assert await canceled(channel="sms", before=texts[1].message.id) == {texts[0].message.id}
    assert await canceled(organization=other.org.name) == {chats[1].message.id}
    assert await canceled(gateway=one.gateways[0].id) == {chats[0].message.id}
    assert await canceled(app=other.app.id) == set()
    assert await canceled(everything=True) == {texts[1].message.id}
    log = [line for line in await two.ask("audit.list", limit=10) if line["action"] == "messages.cancel"]
    assert [line["detail"]["canceled"] for line in log] == [1, 1, 1, 1]
    assert log[-1]["detail"] == {"channel": "sms", "before": texts[1].message.id, "canceled": 1}


async def test_many_are_canceled_in_several_transactions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypost.operations.cancellation.AT_ONCE", 2)
    partner = await world.partner(credit_micros=5 * PRICE)
    admitted = [await world.accept(partner) for _ in range(5)]
    ids = [item.message.id for item in admitted]
    assert await world.ask("messages.cancel", messages=[*ids, ids[0]]) == {"canceled": 5, "left": 0}
    assert await world.ask("messages.counts") == {"CANCELED": 5}
    assert (await world.balance(partner.org)).available == 5 * PRICE
    log = [line["detail"] for line in await world.ask("audit.list", limit=10) if line["action"] == "messages.cancel"]
    assert sorted(one for line in log for one in line["messages"]) == sorted(ids)


async def test_whoever_waits_for_it_hears_of_it(world: World) -> None:
    partner = await world.partner()
    admitted = await world.accept(partner)
    heard = asyncio.ensure_future(world.node.verdicts.wait(admitted.message.id, 10))
    await asyncio.sleep(0)
    await world.ask("messages.cancel", messages=[admitted.message.id])
    assert await heard == "CANCELED"


@pytest.mark.parametrize(
    ("which", "error", "told"),
    [
        ({}, InvalidArgumentError, "write ids, or narrow"),
        ({"messages": []}, InvalidArgumentError, "write ids"),
        ({"everything": True, "channel": "SMS"}, InvalidArgumentError, "write ids"),
        ({"messages": ["msg_0"]}, NotFoundError, "msg_0"),
        ({"before": "msg_0"}, NotFoundError, "msg_0"),
        ({"app": "nobody"}, NotFoundError, "nobody"),
        ({"organization": "nobody"}, NotFoundError, "nobody"),
        ({"gateway": "nobody"}, NotFoundError, "nobody"),
    ],
)
async def test_who_is_meant_must_be_clear(
    world: World, which: dict[str, object], error: type[Exception], told: str
) -> None:
    partner = await world.partner()
    admitted = await world.accept(partner, TO)
    with pytest.raises(error, match=told):
        await world.ask("messages.cancel", **which)
    assert (await world.message(admitted.message.id)).status == "QUEUED"
