"""Receipts: whose message they are about, whenever and however often they come."""

from __future__ import annotations

from datetime import datetime

import pytest
import structlog
from fake_channel import FakeChannel
from late_answer import LateAnswer, under_way
from sqlalchemy import Connection, text
from waypost import receipts
from waypost.admission.candidate import Admitted
from waypost.clock import HOUR, MINUTE, SECOND
from waypost.inbox.service import PARKED_FOR
from waypost.outbox.retry import TRIES
from waypost.plugin import (
    DeliveryUpdate,
    Engagement,
    LookupResult,
    OutcomeUnknown,
    PriceUpdate,
    Quote,
    QuoteLine,
    SendResult,
)
from waypost.plugin.errors import Transient
from waypost.store import events
from waypost.store.events import Parked
from world import PRICE, TO, OpenWorld, Partner, World


async def test_a_receipt_that_overtakes_the_answer_is_parked_then_claimed(world: World) -> None:
    partner, later, admitted = await under_way(world)
    reply = await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", provider_id="p"))
    assert reply.status == 200
    assert await world.parked() == 1
    assert (await world.message(admitted.message.id)).status == "SENDING"

    later.answer.set()
    message = await world.status(admitted, "DELIVERED")
    assert message.captured == PRICE
    assert await world.parked() == 0


async def test_a_receipt_with_our_correlation_needs_no_answer(world: World) -> None:
    partner, later, admitted = await under_way(world)
    correlation = world.channel.sent[0].ctx.correlation
    await world.tell(
        partner, DeliveryUpdate(event_id="e", status="delivered", provider_id="p", correlation=correlation)
    )
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    # It also taught us the provider's id: a later receipt may come without the correlation.
    await world.tell(partner, DeliveryUpdate(event_id="e2", status="read", provider_id="p"))
    assert (await world.message(admitted.message.id)).status == "READ"
    later.answer.set()


async def test_a_strangers_engagement_is_not_put_beside_the_message(world: World) -> None:
    victim, attacker = await world.partner(), await world.partner()
    await world.start()
    admitted = await world.sent(victim)
    correlation = world.channel.sent[0].ctx.correlation
    for number, (sender, told) in enumerate(((attacker, correlation), (victim, correlation), (victim, "msg_x.1.1"))):
        event = Engagement(event_id=f"e{number}", action="click", correlation=told)
        assert (await world.tell(sender, event)).status == 200
    kept = await world.database.read(
        lambda conn: conn.execute(text("SELECT event_id, message_id FROM channel_event ORDER BY event_id")).all()
    )
    assert [tuple(row) for row in kept] == [("e0", None), ("e1", admitted.message.id), ("e2", None)]


async def test_a_strangers_correlation_moves_nothing(world: World) -> None:
    """Whoever proved to speak for one gateway says nothing about messages of another."""
    victim, attacker = await world.partner(), await world.partner()
    await world.start()
    admitted = await world.sent(victim)
    correlation = world.channel.sent[0].ctx.correlation
    for claim in (
        DeliveryUpdate(event_id="e1", status="failed", correlation=correlation),
        DeliveryUpdate(event_id="e2", status="delivered", provider_id="p-1"),
        DeliveryUpdate(event_id="e3", status="read", provider_id="p-1", correlation=correlation),
    ):
        reply = await world.tell(attacker, claim)
        assert reply.status == 200
    await world.node.inbox.tend_once()
    assert (await world.message(admitted.message.id)).status == "SENT"
    assert await world.parked() == 3


@pytest.mark.parametrize(
    "correlation",
    ["", "nonsense", "msg_x.1", "msg_x.1.1.1", "msg_x.-1.1", "msg_x.99999.1", "msg_x.1.²", "..", "'\";--"],
)
async def test_a_nonsense_correlation_is_parked_and_harms_nothing(world: World, correlation: str) -> None:
    partner = await world.partner()
    await world.tell(partner, DeliveryUpdate(event_id="e", status="failed", correlation=correlation))
    assert await world.parked() == 1


async def test_the_same_receipt_counts_once(world: World) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    receipt = DeliveryUpdate(event_id="e", status="delivered", provider_id="p-1")
    await world.tell(partner, receipt, receipt)
    await world.tell(partner, receipt)
    assert sorted(await world.kinds(admitted.message.id)) == ["delivered", "sending", "sent"]
    entries = (await world.balance(partner.org)).captured
    assert entries == PRICE


async def test_receipts_of_many_messages_in_one_delivery(world: World) -> None:
    partner = await world.partner()
    await world.start()
    one, two = await world.sent(partner), await world.sent(partner)
    await world.tell(
        partner,
        DeliveryUpdate(event_id="e1", status="delivered", provider_id="p-1"),
        DeliveryUpdate(event_id="e2", status="undelivered", provider_id="p-2", error_class="InvalidRecipient"),
        DeliveryUpdate(event_id="e3", status="read", provider_id="p-3"),
    )
    assert (await world.message(one.message.id)).status == "DELIVERED"
    message = await world.message(two.message.id)
    assert (message.status, message.error_code, message.captured) == ("UNDELIVERED", "INVALID_RECIPIENT", PRICE)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"error_class": "ContentRejected"}, "CONTENT_REJECTED"),
        ({"error_class": "NoSuchClass"}, "FAILED"),
        ({}, "FAILED"),
    ],
)
async def test_a_failure_tells_its_reason(world: World, said: dict[str, str], code: str) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    await world.tell(
        partner,
        DeliveryUpdate(
            event_id="e", status="failed", provider_id="p-1", error_code="30007", error_detail="Filtered.", **said
        ),
    )
    message = await world.message(admitted.message.id)
    assert (message.error_code, message.error_detail, message.captured) == (code, "Filtered.", 0)
    assert (await world.events(message.id))[-1].data["provider_code"] == "30007"


async def test_a_delivery_after_a_failure_is_charged_and_flagged(world: World) -> None:
    partner = await world.partner(credit_micros=PRICE)
    await world.start()
    admitted = await world.sent(partner)
    await world.tell(partner, DeliveryUpdate(event_id="e1", status="failed", provider_id="p-1"))
    assert (await world.balance(partner.org)).available == PRICE
    await world.tell(partner, DeliveryUpdate(event_id="e2", status="delivered", provider_id="p-1"))
    message = await world.message(admitted.message.id)
    assert (message.status, message.contradictory, message.captured) == ("DELIVERED", True, PRICE)
    assert (await world.balance(partner.org)).available == 0
    assert await world.books_balance()


async def test_a_late_charge_never_goes_below_the_credit_limit(world: World) -> None:
    """Two messages are billable after all, and there is credit for one: in one delivery, and never below the limit."""
    partner = await world.partner(credit_micros=2 * PRICE)
    await world.start()
    first, second = await world.sent(partner), await world.sent(partner)
    await world.tell(
        partner,
        DeliveryUpdate(event_id="e1", status="failed", provider_id="p-1"),
        DeliveryUpdate(event_id="e2", status="failed", provider_id="p-2"),
    )
    third = await world.sent(partner)
    assert (await world.balance(partner.org)).available == PRICE
    with structlog.testing.capture_logs() as lines:
        await world.tell(
            partner,
            DeliveryUpdate(event_id="e3", status="delivered", provider_id="p-1"),
            DeliveryUpdate(event_id="e4", status="delivered", provider_id="p-2"),
        )
    assert [line["micros"] for line in lines if line["event"] == "ledger.uncollected"] == [PRICE]
    assert b"waypost_charges_uncollected_total 1.0" in world.node.metrics.exposition()
    for event_id, provider_id in (("e5", "p-1"), ("e6", "p-2")):
        await world.tell(partner, DeliveryUpdate(event_id=event_id, status="read", provider_id=provider_id))
    assert b"waypost_charges_uncollected_total 1.0" in world.node.metrics.exposition(), "it was told already"
    statuses = {(await world.message(item.message.id)).status for item in (first, second)}
    assert statuses == {"READ"}
    balance = await world.balance(partner.org)
    assert (balance.available, balance.captured, balance.held) == (0, PRICE, PRICE)
    assert await world.books_balance()
    assert (await world.message(third.message.id)).status == "SENT"


async def test_credit_that_comes_back_pays_for_what_is_corrected_after_it(world: World) -> None:
    partner = await world.partner(credit_micros=2 * PRICE)
    await world.start()
    late, failed = await world.sent(partner), await world.sent(partner)
    await world.tell(partner, DeliveryUpdate(event_id="e1", status="failed", provider_id="p-1"))
    await world.sent(partner)
    assert (await world.balance(partner.org)).available == 0
    await world.tell(
        partner,
        DeliveryUpdate(event_id="e2", status="failed", provider_id="p-2"),
        DeliveryUpdate(event_id="e3", status="delivered", provider_id="p-1"),
    )
    captured = [(await world.message(item.message.id)).captured for item in (late, failed)]
    assert captured == [PRICE, 0]
    balance = await world.balance(partner.org)
    assert (balance.available, balance.captured, balance.held) == (0, PRICE, PRICE)
    assert await world.books_balance()


async def failed_over(world: World, partner: Partner) -> Admitted:
    """A message that the first gateway failed to send, and the second sent."""
    world.channel.on(TO, *[Transient()] * TRIES, SendResult(provider_ids=("p",)))
    await world.start()
    admitted = await world.accept(partner)
    await world.state_in_time(admitted, "sent")
    return admitted


@pytest.mark.parametrize("correlated", [True, False])
async def test_a_receipt_is_booked_under_the_gateway_that_sent(open_world: OpenWorld, correlated: bool) -> None:
    """Two gateways of one account: whoever proves to speak for one speaks for both, and their prices differ."""
    world = await open_world(FakeChannel(info={"account_ref_field": "account"}))
    dear, cheap = [await world.gateway(account_ref="AC1") for _ in range(2)]
    await world.rate(dear, 9000)
    await world.rate(cheap, 1000)
    world.channel.quote = Quote((QuoteLine("unit", charge_on="delivered"),))
    partner = await world.partner(cheap, dear)
    admitted = await failed_over(world, partner)
    assert (await world.step(admitted.message.id)).gateway_id == dear.id
    said = {"correlation": world.channel.sent[-1].ctx.correlation} if correlated else {}
    for status in ("delivered", "read"):
        update = DeliveryUpdate(event_id=status, status=status, provider_id="p", **said)  # type: ignore[arg-type]
        await world.tell(partner, update, gateway=cheap)
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("READ", 9000)
    assert {item.gateway_id for item in await world.events(message.id) if item.source == "provider"} == {dear.id}


async def test_a_late_receipt_of_an_earlier_attempt_is_booked_under_its_gateway(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(info={"account_ref_field": "account"}))
    first, second = [await world.gateway(account_ref="AC1") for _ in range(2)]
    await world.rate(first)
    await world.rate(second)
    partner = await world.partner(first, second)
    admitted = await failed_over(world, partner)
    correlation = world.channel.sent[0].ctx.correlation
    await world.tell(partner, DeliveryUpdate(event_id="e", status="sent", provider_id="q", correlation=correlation))
    (late,) = [item for item in await world.events(admitted.message.id) if item.source == "provider"]
    assert (late.attempt, late.gateway_id) == (1, first.id)


async def test_a_receipt_after_a_move_to_another_gateway_is_that_of_the_first(open_world: OpenWorld) -> None:
    """It was queued for the second and expired there; the attempt that is out went through the first."""
    channel = FakeChannel(hooks=frozenset({"lookup"})).on(TO, OutcomeUnknown())
    world = await open_world(channel)
    first, second = await world.gateway(), await world.gateway(status="paused")
    await world.rate(first, 1000)
    await world.rate(second, 9000)
    partner = await world.partner(first, second)
    channel.lookup_answers.append(LookupResult(found=False))
    await world.start()
    admitted = await world.accept(partner, validity=60)
    await world.state(admitted, "unknown")
    world.clock.advance(59 * SECOND)
    await world.state(admitted, "queued")
    assert (await world.step(admitted.message.id)).gateway_id == second.id
    world.clock.advance(MINUTE)
    await world.status(admitted, "EXPIRED")
    correlation = channel.sent[0].ctx.correlation
    await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", correlation=correlation))
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured, message.contradictory) == ("DELIVERED", 1000, True)


async def test_an_orphan_is_kept_and_given_up_in_the_end(world: World) -> None:
    partner = await world.partner()
    await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", provider_id="nobody's"))
    world.clock.advance(PARKED_FOR - HOUR)
    await world.node.inbox.tend_once()
    assert await world.parked() == 1
    world.clock.advance(2 * HOUR)
    await world.node.inbox.tend_once()
    assert await world.parked() == 0

    def kept(conn: Connection) -> list[str]:
        return [row[0] for row in conn.execute(text("SELECT kind FROM channel_event"))]

    assert await world.database.read(kept) == ["Orphan"]


async def test_a_receipt_parked_beside_its_message_is_found_by_the_tender(world: World) -> None:
    """The send's result and the receipt may be stored at the same moment, neither seeing the other."""
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    now = world.clock.now()
    row = events.Parked(
        gateway_id=partner.gateway.id, event_id="e", status="delivered", provider_id="p-1", correlation=None,
        event='{"kind":"DeliveryUpdate","event_id":"e","status":"delivered","provider_id":"p-1"}', received_at=now,
    )  # fmt: skip
    await world.database.write(lambda conn: events.park(conn, [row]))
    await world.node.inbox.tend_once()
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    assert await world.parked() == 0


async def test_many_parked_receipts_have_their_turn_together(world: World) -> None:
    """Forty a second and node would be fewer than may come."""
    gateway = await world.gateway()
    old = world.clock.now() - PARKED_FOR - SECOND
    rows = [
        Parked(
            gateway_id=gateway.id, event_id=f"e{number}", status="delivered", provider_id=f"p{number}",
            correlation=None, event="{}", received_at=old,
        )
        for number in range(1500)
    ]  # fmt: skip
    await world.database.write(lambda conn: events.park(conn, rows))
    assert await world.parked() == 1500
    await world.node.inbox.tend_once()
    assert await world.parked() == 0


async def test_two_receipts_under_one_event_id_both_wait_for_their_message(world: World) -> None:
    """Some providers number the message's events, some the message: what is proved counts beside the number."""
    partner, later, admitted = await under_way(world)
    await world.tell(
        partner,
        DeliveryUpdate(event_id="e", status="sent", provider_id="p"),
        DeliveryUpdate(event_id="e", status="delivered", provider_id="p"),
        DeliveryUpdate(event_id="e", status="delivered", provider_id="p"),
    )
    assert await world.parked() == 2
    later.answer.set()
    await world.status(admitted, "DELIVERED")
    assert await world.parked() == 0


async def test_a_receipt_that_makes_no_sense_is_nobody_elses_trouble(world: World) -> None:
    """It came before its message was known, and fails alone; it does not wait to fail in its send's transaction."""
    partner, later, admitted = await under_way(world)
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the plugin's fault
    await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", provider_id="p", occurred_at=naive))
    assert await world.parked() == 0
    later.answer.set()
    await world.status(admitted, "SENT")


async def test_a_parked_receipt_that_makes_no_sense_does_not_hold_up_the_others(world: World) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    now = world.clock.now()
    rows = [
        events.Parked(
            gateway_id=partner.gateway.id, event_id=f"e{number}", status="delivered", provider_id="p-1",
            correlation=None, received_at=now + number,
            event=f'{{"kind":"DeliveryUpdate","event_id":"e{number}","status":"delivered","provider_id":"p-1",'
            f'"occurred_at":{occurred}}}',
        )
        for number, occurred in enumerate(('"2026-01-01T00:00:00"', "null"))
    ]  # fmt: skip
    await world.database.write(lambda conn: events.park(conn, rows))
    await world.node.inbox.tend_once()
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    assert await world.parked() == 0


async def test_a_receipt_on_a_siblings_url_is_for_whichever_sent_it(open_world: OpenWorld) -> None:
    """Two gateways of one owner with one account: whichever URL the provider calls, early or late."""
    world = await open_world(FakeChannel())
    org = await world.organization()
    app = await world.app(org)
    first = await world.gateway(account_ref="AC1", app_id=app.id)
    second = await world.gateway(account_ref="AC1", app_id=app.id)
    for gateway in (first, second):
        await world.rate(gateway)
    await world.route(app, second)
    partner = Partner(org, app, await world.key(app), (second,))
    later = LateAnswer()
    world.channel.on(TO, SendResult(provider_ids=("p-0",)), later)
    await world.start()
    early = await world.sent(partner)
    await world.tell(partner, DeliveryUpdate(event_id="e1", status="delivered", provider_id="p-0"), gateway=first)
    assert (await world.message(early.message.id)).status == "DELIVERED"

    overtaken = await world.accept(partner)
    await world.channel.called(2)
    await world.tell(partner, DeliveryUpdate(event_id="e2", status="delivered", provider_id="p"), gateway=first)
    later.answer.set()
    await world.status(overtaken, "SENT", "DELIVERED")
    await world.node.inbox.tend_once()
    assert (await world.message(overtaken.message.id)).status == "DELIVERED"


async def test_a_number_that_has_gone_to_another_app_is_followed_on_the_old_gateways_url(open_world: OpenWorld) -> None:
    """A provider app has one URL for all of its gateways, which may be that of any one of them."""
    world = await open_world(FakeChannel(hooks=frozenset({"recognize"}), info={"webhook_scope": "shared"}))
    org = await world.organization()
    meta, old, new = await world.provider_app("fake"), await world.app(org), await world.app(org)
    first = await world.gateway(account_ref="N1", provider_app_id=meta.id, app_id=old.id, status="disabled")
    second = await world.gateway(account_ref="N1", provider_app_id=meta.id, app_id=new.id)
    await world.rate(second)
    await world.route(new, second)
    partner = Partner(org, new, await world.key(new), (second,))
    world.channel.on(TO, SendResult(provider_ids=("p-0",)))
    await world.start()
    admitted = await world.sent(partner)
    told = DeliveryUpdate(event_id="e1", status="delivered", provider_id="p-0", account_ref="N1")
    await world.tell(partner, told, gateway=first)
    assert (await world.message(admitted.message.id)).status == "DELIVERED"


async def test_a_providers_price_never_changes_the_partners(world: World) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    await world.tell(
        partner,
        PriceUpdate(event_id="e1", provider_id="p-1", amount=999_999_999, currency="EUR"),  # type: ignore[arg-type]
        DeliveryUpdate(event_id="e2", status="delivered", provider_id="p-1"),
    )
    assert (await world.message(admitted.message.id)).captured == PRICE
    beside = await world.database.read(lambda conn: events.channel_events_of(conn, admitted.message.id))
    assert [item["kind"] for item in beside] == ["PriceUpdate"]


async def test_every_parked_receipt_has_its_turn(world: World) -> None:
    """However many wait: those behind the first ones are looked at too, round after round."""
    partner = await world.partner()
    rows = [
        events.Parked(
            gateway_id=partner.gateway.id, event_id=f"e{number}", status="sent", provider_id=f"p{number}",
            correlation=None, event="{}", received_at=number // 2,
        )
        for number in range(5)
    ]  # fmt: skip
    await world.database.write(lambda conn: events.park(conn, rows))
    looked_at: list[str] = []
    after = receipts.FIRST_PARKED
    for _ in range(3):
        seen = await world.database.read(lambda conn, after=after: events.parked_after(conn, after, 2))
        looked_at += [row.event_id for row in seen]
        _, after = await world.database.write(
            lambda conn, after=after: receipts.retry_parked(conn, after, 0, 10, limit=2)
        )
    assert looked_at == ["e0", "e1", "e2", "e3", "e4"]
    assert after == receipts.FIRST_PARKED


async def test_most_receipts_are_read_without_the_history(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(conn: Connection, ids: object) -> None:
        raise AssertionError("nobody need look at what happened before")

    monkeypatch.setattr(events, "of_messages", unread)
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    for number, status in enumerate(["sent", "delivered", "delivered", "sent", "read", "delivered"]):
        await world.tell(
            partner,
            DeliveryUpdate(event_id=f"e{number}", status=status, provider_id="p-1"),  # type: ignore[arg-type]
            DeliveryUpdate(event_id=f"e{number}", status=status, provider_id="p-1"),  # type: ignore[arg-type]
        )
        message = await world.message(admitted.message.id)
        assert message.captured == (PRICE if number else 0)
    assert (message.status, message.contradictory, message.possible_duplicate) == ("READ", False, False)
    monkeypatch.undo()
    found = await world.database.read(lambda conn: events.of_messages(conn, [message.id]))
    assert [item.kind for item in found[message.id] if item.source == "provider"] == [
        "sent", "delivered", "delivered", "sent", "read", "delivered",
    ]  # fmt: skip
    assert await world.books_balance()


@pytest.mark.parametrize("kind", ["failed", "undelivered"])
async def test_what_contradicts_a_receipt_is_seen_all_the_same(world: World, kind: str) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    for status in ("delivered", kind, "read"):
        await world.tell(partner, DeliveryUpdate(event_id=status, status=status, provider_id="p-1"))  # type: ignore[arg-type]
    message = await world.message(admitted.message.id)
    assert (message.status, message.contradictory, message.captured) == ("READ", True, PRICE)
    assert await world.books_balance()


async def test_an_event_id_that_is_used_twice_proves_what_is_stored(world: World) -> None:
    """A careless plugin: whatever it calls two receipts, the status is that of the stored events."""
    partner = await world.partner()
    await world.start()
    admitted = await world.sent(partner)
    for status in ("sent", "delivered", "failed"):
        await world.tell(partner, DeliveryUpdate(event_id="same", status=status, provider_id="p-1"))  # type: ignore[arg-type]
    message = await world.message(admitted.message.id)
    assert sorted(await world.kinds(message.id)) == ["delivered", "failed", "sending", "sent", "sent"]
    assert (message.status, message.contradictory, message.captured) == ("DELIVERED", True, PRICE)
    assert await world.books_balance()
