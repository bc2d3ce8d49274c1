"""The outbox: what each outcome of a send comes to."""

from __future__ import annotations

import asyncio
import math

import pytest
from fake_channel import FakeChannel
from sqlalchemy import text
from waypost.clock import HOUR, MINUTE, SECOND
from waypost.outbox.retry import TRIES
from waypost.outbox.sweeper import POISONED_FOR
from waypost.plugin import (
    ChannelError,
    ContentRejected,
    Context,
    DeliveryUpdate,
    InvalidRecipient,
    OutboundMessage,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    SendResult,
    Transient,
)
from waypost.store import gateways
from world import PRICE, TO, OpenWorld, World

WAKE = text("SELECT wake_at FROM step WHERE message_id = :id")


async def test_the_plugin_is_asked_with_all_that_is_known(world: World) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(
        partner, content={"kind": "text", "body": "Grüße"}, sender="ACME", reply_to="in-1", validity=60,
        options={"x": [1]},
    )  # fmt: skip
    await world.status(admitted, "SENT")

    (call,) = world.channel.sent
    assert call.message.content.model_dump()["body"] == "Grüße"
    assert (call.message.sender, call.message.reply_to, call.message.validity) == ("ACME", "in-1", 60)
    assert call.message.options == {"x": [1]}
    assert call.ctx.account.token.get_secret_value() == "t"  # type: ignore[attr-defined]
    assert call.ctx.correlation == f"{admitted.message.id}.1.1"
    assert call.ctx.idempotency_key == f"{admitted.message.id}.1"
    gateway = partner.gateway.id
    assert call.ctx.callback_url == f"https://gateway.test/webhooks/fake/{gateway}?ref={call.ctx.correlation}"
    assert await world.kinds(admitted.message.id) == ["sending", "sent"]


@pytest.mark.parametrize(("named", "sends"), [(1, 1), (2, 2), (6, 6)])
async def test_what_is_worth_so_many_tries_is_not_tried_for_a_day(world: World, named: int, sends: int) -> None:
    partner = await world.partner(credit_micros=PRICE)
    world.channel.on(TO, *[Transient("Busy.", tries=named, provider_code="1")] * 20)
    await world.start()
    admitted = await world.accept(partner, validity=86_400)

    async def ended() -> bool:
        world.clock.advance(10 * SECOND)
        return (await world.message(admitted.message.id)).status == "FAILED"

    await world.until(ended)
    message = await world.message(admitted.message.id)
    assert (message.error_code, message.error_detail, message.captured) == ("TEMPORARY_FAILURE", "Busy.", 0)
    assert len(world.channel.sent) == sends
    assert (await world.balance(partner.org)).available == PRICE


@pytest.mark.parametrize("on_unknown", ["hold", "resend"])
async def test_it_is_no_end_while_an_earlier_attempt_may_be_out(open_world: OpenWorld, on_unknown: str) -> None:
    channel = FakeChannel(info={"idempotent_for": 60 if on_unknown == "hold" else 0})
    channel.on(TO, OutcomeUnknown(), *[Transient("Busy.", tries=1)] * 20)
    world = await open_world(channel)
    partner = await world.partner(credit_micros=PRICE, on_unknown=on_unknown)
    await world.start()
    admitted = await world.accept(partner)
    for _ in range(12):
        await world.rest()
        world.clock.advance(10 * SECOND)
    assert len(channel.sent) > 1
    message = await world.message(admitted.message.id)
    assert message.status in ("UNKNOWN", "QUEUED", "SENDING")
    assert (await world.balance(partner.org)).held == PRICE
    correlation = channel.sent[0].ctx.correlation
    await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", correlation=correlation))
    assert (await world.message(admitted.message.id)).captured == PRICE


async def test_so_many_tries_are_made_through_each_gateway(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel().on(TO, *[Transient("Busy.", tries=2)] * 20))
    first, second = await world.gateway(), await world.gateway()
    for gateway in (first, second):
        await world.rate(gateway)
    partner = await world.partner(first, second)
    await world.start()
    await world.state_in_time(await world.accept(partner), "ended")
    assert [call.ctx.gateway_id for call in world.channel.sent] == [first.id] * 2 + [second.id] * 2


@pytest.mark.parametrize("error", [Permanent, InvalidRecipient, ContentRejected])
async def test_a_permanent_refusal_fails_and_releases(world: World, error: type[Permanent]) -> None:
    partner = await world.partner(credit_micros=PRICE)
    world.channel.on(TO, error("No.", provider_code="21211"))
    await world.start()
    admitted = await world.accept(partner)

    message = await world.status(admitted, "FAILED")

    assert (message.error_code, message.error_detail, message.captured) == (error.code, "No.", 0)
    balance = await world.balance(partner.org)
    assert (balance.available, balance.held, balance.captured) == (PRICE, 0, 0)
    assert (await world.step(admitted.message.id)).state == "ended"
    await world.rest()
    assert len(world.channel.sent) == 1
    assert await world.books_balance()


class Unexplained(ContentRejected):
    code = "UNEXPLAINED"


async def test_a_plugins_own_refusal_needs_no_docstring(world: World) -> None:
    async def refuse(ctx: Context, message: OutboundMessage) -> SendResult:
        raise Unexplained

    world.channel.on(TO, refuse)
    await world.start()
    message = await world.status(await world.accept(await world.partner()), "FAILED", "UNKNOWN")
    assert (message.status, message.error_code) == ("FAILED", "UNEXPLAINED")
    assert message.error_detail == ContentRejected("").detail


async def test_a_transient_error_is_tried_again_after_a_pause(world: World) -> None:
    partner = await world.partner()
    world.channel.on(TO, Transient("busy"), SendResult(provider_ids=("p",)))
    await world.start()
    admitted = await world.accept(partner)
    await world.channel.called(1)
    step = await world.state(admitted, "queued")

    assert (await world.message(admitted.message.id)).status == "QUEUED"
    assert 0 < step.due_at - world.clock.now() <= 4 * SECOND
    await world.rest()
    assert len(world.channel.sent) == 1

    world.clock.move_to(step.due_at)
    await world.status(admitted, "SENT")
    first, second = world.channel.sent
    assert (first.ctx.correlation[-2:], second.ctx.correlation[-2:]) == (".1", ".2")
    assert first.ctx.idempotency_key == second.ctx.idempotency_key
    assert (await world.balance(partner.org)).held == PRICE
    message = await world.message(admitted.message.id)
    assert not message.possible_duplicate
    assert not message.contradictory


async def test_a_gateway_that_stays_busy_is_failed_over(open_world: OpenWorld) -> None:
    first, second = FakeChannel("first"), FakeChannel("second")
    first.on("*", Transient("busy"))
    world = await open_world(first, second)
    one, two = await world.gateway(first), await world.gateway(second)
    await world.rate(one, 900)
    await world.rate(two, 500)
    partner = await world.partner(one, two)
    await world.start()
    admitted = await world.accept(partner)
    assert admitted.message.held == 900  # the dearest of the route

    for tries in range(1, 5):
        await first.called(tries)
        if tries < 4:
            world.clock.move_to((await world.state(admitted, "queued")).due_at)

    await world.status(admitted, "SENT")
    assert (len(first.sent), len(second.sent)) == (4, 1)
    assert second.sent[0].ctx.gateway_id == two.id
    await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", provider_id="p-1"), gateway=two)
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("DELIVERED", 500)  # what the way it took costs
    assert await world.books_balance()


@pytest.mark.parametrize("third", [False, True])
async def test_a_gateway_disabled_meanwhile_is_not_failed_over_to(open_world: OpenWorld, *, third: bool) -> None:
    """Nothing leaves a disabled gateway's queue: the first is tried on, or the one after has its turn."""
    channel = FakeChannel().on(TO, *[Transient()] * TRIES, SendResult(provider_ids=("p",)))
    world = await open_world(channel)
    through = [await world.gateway() for _ in range(3 if third else 2)]
    for gateway in through:
        await world.rate(gateway)
    partner = await world.partner(*through)
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(1)
    await world.decide(lambda conn: gateways.set_status(conn, through[1].id, "disabled", ""))
    await world.state_in_time(admitted, "sent")
    assert [call.ctx.gateway_id for call in channel.sent] == [through[0].id] * TRIES + [through[2 if third else 0].id]


async def test_rate_limits_hold_the_lane_as_long_as_asked(world: World) -> None:
    partner = await world.partner()
    world.channel.on(TO, RateLimited(retry_after=30), SendResult())
    await world.start()
    limited = await world.accept(partner)
    await world.channel.called(1)
    await world.state(limited, "queued")
    other = await world.accept(partner, "+491701111111")
    await world.rest()
    assert len(world.channel.sent) == 1

    world.clock.advance(29 * SECOND)
    await world.rest()
    assert len(world.channel.sent) == 1
    world.clock.advance(2 * SECOND)
    await world.status(limited, "SENT")
    await world.status(other, "SENT")


async def test_a_limited_recipient_holds_up_nobody_else(world: World) -> None:
    partner = await world.partner()
    world.channel.on(TO, RateLimited(retry_after=30, scope="recipient"), SendResult())
    await world.start()
    limited = await world.accept(partner)
    await world.channel.called(1)
    await world.state(limited, "queued")
    await world.status(await world.accept(partner, "+491701111111"), "SENT")
    assert (await world.message(limited.message.id)).status == "QUEUED"


class HalfMade(RateLimited):
    """Forgets its base."""

    def __init__(self) -> None:
        self.said = "wait"


class Unwritable(Permanent):
    """Has a code that no database takes."""

    code = "A\0B"


def afterthought(error: ChannelError, **facts: object) -> ChannelError:
    """An error whose facts were changed once it was made."""
    for name, fact in facts.items():
        setattr(error, name, fact)
    return error


async def hang(ctx: Context, message: OutboundMessage) -> SendResult:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (OutcomeUnknown("reset"), "OUTCOME_UNKNOWN"),
        (ZeroDivisionError("bug"), "OUTCOME_UNKNOWN"),
        (KeyError("+4915112345678"), "OUTCOME_UNKNOWN"),
        ({"id": "p"}, "OUTCOME_UNKNOWN"),
        (None, "OUTCOME_UNKNOWN"),
        (hang, "OUTCOME_UNKNOWN"),
        (ChannelError("neither"), "OUTCOME_UNKNOWN"),
        (SystemExit(1), "OUTCOME_UNKNOWN"),
        (asyncio.CancelledError(), "OUTCOME_UNKNOWN"),
        (GeneratorExit(), "OUTCOME_UNKNOWN"),
        (HalfMade(), "OUTCOME_UNKNOWN"),
        (Unwritable(), "OUTCOME_UNKNOWN"),
        (afterthought(Permanent(), detail="\ud800"), "OUTCOME_UNKNOWN"),
        (afterthought(Permanent(), provider_code="\0"), "OUTCOME_UNKNOWN"),
        (afterthought(RateLimited(), retry_after=math.nan), "OUTCOME_UNKNOWN"),
        (afterthought(RateLimited(), retry_after=10**400), "OUTCOME_UNKNOWN"),
    ],
    ids=["declared", "exception", "leaky", "dict", "none", "hang", "undecided", "exit", "cancel", "generator",
         "half-made", "unwritable", "odd words", "odd code", "never", "later than ever"],
)  # fmt: skip
async def test_an_unknown_outcome_is_never_sent_again(open_world: OpenWorld, outcome: object, code: str) -> None:
    channel = FakeChannel(info={"send_timeout": 0.1}).on("*", outcome)
    world = await open_world(channel)
    partner = await world.partner(credit_micros=PRICE)
    await world.start()
    admitted = await world.accept(partner)
    message = await world.status(admitted, "UNKNOWN")
    assert message.settled_at is None
    assert (await world.balance(partner.org)).held == PRICE

    for _ in range(2):
        world.clock.advance(34 * HOUR)
        await world.rest()
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"
    assert len(channel.sent) == 1
    unknown = next(item for item in await world.events(admitted.message.id) if item.kind == "unknown")
    assert unknown.code == code
    assert TO not in str(unknown)

    world.clock.advance(5 * HOUR)  # 73 hours in all: the receipt window closes
    message = await world.status(admitted, "FAILED")
    assert message.error_code == "OUTCOME_UNKNOWN"
    balance = await world.balance(partner.org)
    assert (balance.available, balance.held) == (PRICE, 0)
    assert len(channel.sent) == 1
    assert await world.books_balance()


async def test_a_late_receipt_settles_an_unknown_outcome(world: World) -> None:
    partner = await world.partner(credit_micros=PRICE)
    world.channel.on("*", OutcomeUnknown())
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "UNKNOWN")
    correlation = world.channel.sent[0].ctx.correlation
    await world.tell(
        partner, DeliveryUpdate(event_id="e", status="delivered", provider_id="p", correlation=correlation)
    )
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured, message.possible_duplicate) == ("DELIVERED", PRICE, False)
    await world.rest()
    assert len(world.channel.sent) == 1


async def test_an_app_that_asked_for_it_gets_its_message_resent(world: World) -> None:
    partner = await world.partner(on_unknown="resend")
    world.channel.on(TO, OutcomeUnknown(), SendResult(provider_ids=("p",)))
    await world.start()
    admitted = await world.accept(partner)
    message = await world.status(admitted, "SENT")
    assert len(world.channel.sent) == 2
    assert message.possible_duplicate


async def test_resending_ends(world: World) -> None:
    partner = await world.partner(on_unknown="resend")
    world.channel.on(TO, OutcomeUnknown())
    await world.start()
    admitted = await world.accept(partner)
    await world.channel.called(3)
    await world.state(admitted, "unknown")
    world.clock.advance(60 * HOUR)
    await world.rest()
    assert len(world.channel.sent) == 3
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"


async def test_a_provider_that_dedupes_is_asked_again(open_world: OpenWorld) -> None:
    channel = FakeChannel(info={"idempotent_for": 3600}).on(TO, OutcomeUnknown(), SendResult(provider_ids=("p",)))
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(1)
    world.clock.move_to((await world.state(admitted, "queued")).due_at)
    await world.status(admitted, "SENT")
    assert len({call.ctx.idempotency_key for call in channel.sent}) == 1


async def test_a_message_expires_at_its_deadline(world: World) -> None:
    partner = await world.partner(credit_micros=PRICE)
    world.channel.on(TO, Transient())
    await world.start()
    admitted = await world.accept(partner, validity=60)
    await world.channel.called(1)
    await world.state(admitted, "queued")
    world.clock.advance(60 * SECOND)
    message = await world.status(admitted, "EXPIRED")
    assert message.error_code == "EXPIRED"
    assert (await world.balance(partner.org)).available == PRICE
    await world.rest()
    assert len(world.channel.sent) <= 2


async def test_what_its_sweeper_has_not_come_to_is_not_sent_after_its_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = await world.partner(credit_micros=PRICE)
    admitted = await world.accept(partner, validity=60)
    world.clock.advance(60 * SECOND)

    async def busy() -> bool:
        return False

    monkeypatch.setattr(world.node.outbox, "sweep_once", busy)
    await world.start()
    assert (await world.status(admitted, "EXPIRED")).error_code == "EXPIRED"
    assert (len(world.channel.sent), (await world.balance(partner.org)).available) == (0, PRICE)


async def test_a_message_that_cannot_be_looked_at_holds_up_no_other_deadline(world: World) -> None:
    partner = await world.partner()
    broken, *others = [await world.accept(partner, validity=60) for _ in range(5)]
    spoil = text("UPDATE step SET choices = 'no json' WHERE message_id = :id")
    await world.database.write(lambda conn: conn.execute(spoil, {"id": broken.message.id}))
    world.clock.advance(61 * SECOND)
    assert not await world.node.outbox.sweep_once()
    for admitted in others:
        assert (await world.message(admitted.message.id)).status == "EXPIRED"
    assert (await world.message(broken.message.id)).status == "QUEUED"
    later = await world.database.read(lambda conn: conn.execute(WAKE, {"id": broken.message.id}).scalar_one())
    assert later == world.clock.now() + POISONED_FOR
    assert await world.books_balance()


async def test_a_send_without_receipt_is_closed_with_its_window(world: World) -> None:
    partner = await world.partner(credit_micros=PRICE)
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "SENT")
    assert (await world.message(admitted.message.id)).settled_at is None
    world.clock.advance(72 * HOUR)
    await world.state(admitted, "sent")

    async def settled() -> bool:
        return (await world.message(admitted.message.id)).settled_at is not None

    await world.until(settled)
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("SENT", PRICE)
    step = await world.step(admitted.message.id)
    assert step.wake_at is None


async def test_what_the_provider_cannot_prove_is_settled_when_sent(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(info={"last_receipt": "sent"}))
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    message = await world.status(admitted, "SENT")
    assert (message.captured, message.settled_at) == (PRICE, world.clock.now())


async def test_a_retry_that_is_only_allowed_by_the_providers_memory_stays_with_it(open_world: OpenWorld) -> None:
    """The first may be out: while the provider would notice the second it is tried there, and nowhere else."""
    channel = FakeChannel(info={"idempotent_for": 3600})
    world = await open_world(channel)
    first, second = await world.gateway(), await world.gateway()
    for gateway in (first, second):
        await world.rate(gateway)
    partner = await world.partner(first, second)
    channel.on(TO, OutcomeUnknown(), Transient())
    await world.start()
    admitted = await world.accept(partner)
    await world.state_in_time(admitted, "unknown")
    assert {call.ctx.gateway_id for call in channel.sent} == {first.id}
    assert len(channel.sent) > 1
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"


async def test_a_retry_does_not_outlive_the_providers_memory(open_world: OpenWorld) -> None:
    channel = FakeChannel(info={"idempotent_for": 60}).on(TO, OutcomeUnknown(), RateLimited(retry_after=600))
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(1)
    await world.state(admitted, "queued")
    world.clock.advance(10 * SECOND)
    await world.state(admitted, "unknown")
    for _ in range(20):
        world.clock.advance(MINUTE)
        await world.rest()
    assert len(channel.sent) == 2


@pytest.mark.parametrize(
    ("on_unknown", "waited", "sends"), [("hold", 60, 1), ("hold", 30, 1), ("hold", 29, 2), ("resend", 60, 2)]
)
async def test_a_retry_that_had_to_wait_does_not_outlive_the_providers_memory(
    open_world: OpenWorld, on_unknown: str, waited: int, sends: int
) -> None:
    """Its gateway was paused until the provider, when it comes, has forgotten the first attempt, which may be out."""
    paused = asyncio.Event()

    async def lost(ctx: Context, message: OutboundMessage) -> SendResult:
        await paused.wait()
        raise OutcomeUnknown

    channel = FakeChannel(info={"idempotent_for": 60}).on(TO, lost, SendResult(provider_ids=("p",)))
    world = await open_world(channel)
    partner = await world.partner(on_unknown=on_unknown)
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(1)
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateway.id, "paused", ""))
    paused.set()
    await world.state(admitted, "queued")
    world.clock.advance(waited * SECOND)
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateway.id, "active", ""))
    await world.state(admitted, "unknown", "sent")
    await world.rest()
    assert len(channel.sent) == sends
    assert (await world.step(admitted.message.id)).state == ("unknown" if sends == 1 else "sent")


async def test_no_clock_prolongs_the_providers_memory(open_world: OpenWorld) -> None:
    """Set back, the database's clock finds that little time has passed; the provider's own knows better."""
    channel = FakeChannel(info={"idempotent_for": 60}).on(TO, OutcomeUnknown(), SendResult(provider_ids=("p",)))
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(1)
    await world.state(admitted, "queued")
    world.clock.leap(-HOUR)
    world.clock.advance(HOUR + 10 * SECOND)
    await world.state(admitted, "unknown")
    await world.rest()
    assert len(channel.sent) == 1
