"""Unknown outcomes are looked up at providers that can tell."""

from __future__ import annotations

import asyncio

import pytest
from fake_channel import FakeChannel
from waypost.admission.candidate import Admitted
from waypost.clock import HOUR, MINUTE, SECOND
from waypost.outbox.retry import TRIES
from waypost.plugin import (
    AccountBlocked,
    Context,
    LookupResult,
    OutboundMessage,
    OutcomeUnknown,
    Permanent,
    SendAttempt,
    SendResult,
    Transient,
)
from waypost.progress.queue import FIRST_LOOKUP, MOST_SENDS
from waypost.store import gateways, steps
from world import PRICE, TO, OpenWorld, World


@pytest.fixture
def channel() -> FakeChannel:
    return FakeChannel(hooks=frozenset({"lookup"})).on(TO, OutcomeUnknown(), SendResult(provider_ids=("second",)))


@pytest.fixture
async def world(open_world: OpenWorld, channel: FakeChannel) -> World:
    return await open_world(channel)


async def unknown(world: World) -> Admitted:
    partner = await world.partner(credit_micros=PRICE)
    await world.start()
    admitted = await world.accept(partner)
    await world.state(admitted, "unknown")
    await world.rest()
    assert world.channel.looked_up == [], "the provider's records are not asked before they can know"
    world.clock.advance(FIRST_LOOKUP)
    return admitted


async def asked(world: World, times: int) -> None:
    async def enough() -> bool:
        return len(world.channel.looked_up) >= times

    await world.until(enough, f"lookup {times}")
    await world.node.outbox.resolve_all()


@pytest.mark.parametrize(
    ("said", "status"),
    [("accepted", "SENT"), ("sent", "SENT"), ("delivered", "DELIVERED"), ("read", "READ"),
     ("undelivered", "UNDELIVERED"), ("failed", "FAILED")],
)  # fmt: skip
async def test_what_is_found_is_believed(world: World, channel: FakeChannel, said: str, status: str) -> None:
    channel.lookup_answers.append(LookupResult(found=True, provider_ids=("p",), status=said))  # type: ignore[arg-type]
    admitted = await unknown(world)
    message = await world.status(admitted, status)
    assert len(channel.sent) == 1
    assert message.captured == (PRICE if status in ("DELIVERED", "READ", "UNDELIVERED") else 0)
    (attempt,) = channel.looked_up
    assert attempt.correlation == f"{admitted.message.id}.1.1"
    assert attempt.message.recipient[0].value == TO
    assert not message.possible_duplicate


async def test_what_is_not_found_is_sent_again(world: World, channel: FakeChannel) -> None:
    channel.lookup_answers.append(LookupResult(found=False))
    admitted = await unknown(world)
    await world.state(admitted, "queued")
    assert len(channel.sent) == 1, "it is a failure like another, and waited for"
    world.clock.advance(10 * SECOND)
    message = await world.status(admitted, "SENT")
    assert len(channel.sent) == 2
    assert not message.possible_duplicate
    assert (await world.step(admitted.message.id)).attempt == 2


@pytest.mark.parametrize(
    ("on_unknown", "then"),
    [("hold", SendResult(provider_ids=("second",))), ("hold", OutcomeUnknown()),
     ("resend", SendResult(provider_ids=("second",)))],
)  # fmt: skip
async def test_what_is_sent_again_late_has_a_receipt_window_of_its_own(
    open_world: OpenWorld, on_unknown: str, then: object
) -> None:
    """The first attempt's window is over by then: what came of the second is waited for all the same."""
    paused = asyncio.Event()

    async def lost(ctx: Context, message: OutboundMessage) -> SendResult:
        await paused.wait()
        raise OutcomeUnknown

    channel = FakeChannel(hooks=frozenset({"lookup"})).on(TO, lost, then)
    channel.lookup_answers.append(LookupResult(found=False))
    world = await open_world(channel)
    gateway = await world.gateway(receipt_window=HOUR)
    await world.rate(gateway)
    partner = await world.partner(gateway, credit_micros=PRICE, on_unknown=on_unknown)
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(1)
    await world.decide(lambda conn: gateways.set_status(conn, gateway.id, "paused", ""))
    paused.set()
    await world.state_in_time(admitted, "queued")
    world.clock.advance(2 * HOUR)
    await world.decide(lambda conn: gateways.set_status(conn, gateway.id, "active", ""))
    await channel.called(2)
    await world.state(admitted, "sent", "unknown")
    await world.rest()
    assert (await world.message(admitted.message.id)).settled_at is None
    world.clock.advance(HOUR)
    await world.rest()
    assert (await world.message(admitted.message.id)).settled_at is not None


async def test_what_is_found_and_is_another_message_is_not_believed(open_world: OpenWorld) -> None:
    """The same words to the same number, say: a record is one message's only."""
    channel = FakeChannel(hooks=frozenset({"lookup"}))
    channel.on(TO, SendResult(provider_ids=("first",)), OutcomeUnknown())
    world = await open_world(channel)
    partner = await world.partner(credit_micros=2 * PRICE)
    await world.start()
    await world.sent(partner)
    admitted = await world.accept(partner)
    await world.state(admitted, "unknown")
    channel.lookup_answers.extend(
        [LookupResult(found=True, provider_ids=("first",), status="delivered"),
         LookupResult(found=True, provider_ids=("own",), status="delivered")]
    )  # fmt: skip
    world.clock.advance(FIRST_LOOKUP)
    await asked(world, 1)
    await world.rest()
    assert (await world.message(admitted.message.id)).status == "UNKNOWN"
    world.clock.advance(5 * SECOND)
    await world.status(admitted, "DELIVERED")


async def test_a_lookup_that_comes_too_late_puts_nothing_off(world: World, channel: FakeChannel) -> None:
    admitted = await unknown(world)
    stale = await world.step(admitted.message.id)
    channel.lookup_answers.append(LookupResult(found=True, provider_ids=("p",), status="sent"))
    await world.status(admitted, "SENT")
    after = await world.step(admitted.message.id)
    await world.database.write(
        lambda conn: steps.postpone_lookup(
            conn, stale.message_id, 1, attempt=stale.attempt, lookups=9, due_at=1, wake_at=1
        )
    )
    assert await world.step(admitted.message.id) == after


@pytest.mark.parametrize("answer", [None, Transient("busy"), ZeroDivisionError(), "nonsense"], ids=repr)
async def test_no_answer_is_asked_for_again_later(world: World, channel: FakeChannel, answer: object) -> None:
    channel.lookup_answers.extend([answer, LookupResult(found=True)])
    admitted = await unknown(world)
    await asked(world, 1)
    await world.rest()
    assert len(channel.looked_up) == 1
    world.clock.advance(5 * SECOND)
    await world.status(admitted, "SENT")
    assert (len(channel.sent), len(channel.looked_up)) == (1, 2)


async def test_lookups_become_rarer_and_end_with_the_window(world: World, channel: FakeChannel) -> None:
    admitted = await unknown(world)
    pauses = []
    for times in range(1, 9):
        await asked(world, times)
        step = await world.step(admitted.message.id)
        assert step.wake_at is not None
        pauses.append(step.wake_at - world.clock.now())
        world.clock.move_to(step.wake_at)
    assert pauses == [
        5 * SECOND, 30 * SECOND, 90 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR, 6 * HOUR,
    ]  # fmt: skip
    world.clock.advance(72 * HOUR)
    message = await world.status(admitted, "FAILED")
    assert message.error_code == "OUTCOME_UNKNOWN"
    assert len(channel.sent) == 1


async def test_another_attempt_is_looked_up_as_soon_as_the_first_was(open_world: OpenWorld) -> None:
    channel = FakeChannel(hooks=frozenset({"lookup"})).on(TO, OutcomeUnknown())
    channel.lookup_answers.extend([None, None, None, LookupResult(found=False)])
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    for times in range(1, 6):
        await world.state(admitted, "unknown")
        world.clock.move_to((await world.step(admitted.message.id)).wake_at or 0)
        await asked(world, times)
        if times == 4:
            world.clock.move_to((await world.state(admitted, "queued")).due_at)
            await channel.called(2)
    step = await world.state(admitted, "unknown")
    assert step.wake_at == world.clock.now() + 5 * SECOND


async def test_no_more_are_looked_up_at_once_than_may_be_sent(open_world: OpenWorld) -> None:
    channel = FakeChannel(hooks=frozenset({"lookup"})).on("*", *[OutcomeUnknown()] * 8)
    world = await open_world(channel)
    gateway = await world.gateway(concurrency=3)
    await world.rate(gateway)
    partner = await world.partner(gateway)
    under_way: list[int] = []
    most = [0]

    async def found(ctx: Context, attempt: SendAttempt) -> LookupResult:
        under_way.append(1)
        most[0] = max(most[0], len(under_way))
        await asyncio.sleep(0)
        under_way.pop()
        return LookupResult(found=True, provider_ids=(attempt.correlation,), status="delivered")

    channel.lookup_answers.extend([found] * 8)
    await world.start()
    batch = [await world.accept(partner, f"+49151123456{number:02}") for number in range(8)]
    for admitted in batch:
        await world.state(admitted, "unknown")
    world.clock.advance(FIRST_LOOKUP)
    for admitted in batch:
        await world.state_in_time(admitted, "ended")
    assert most[0] <= 3
    assert len(channel.looked_up) == 8


async def test_a_lookup_that_contradicts_a_receipt_is_flagged(world: World, channel: FakeChannel) -> None:
    from waypost.plugin import DeliveryUpdate

    admitted = await unknown(world)
    await asked(world, 1)
    partner_gateway = (await world.step(admitted.message.id)).gateway_id
    channel.lookup_answers.append(LookupResult(found=False))
    world.clock.advance(5 * SECOND)
    await world.state(admitted, "queued")
    world.clock.advance(10 * SECOND)
    message = await world.status(admitted, "SENT")
    request = channel.tells(DeliveryUpdate(event_id="e", status="delivered", correlation=f"{admitted.message.id}.1.1"))
    await world.node.inbox.receive(request, plugin="fake", gateway=partner_gateway)
    await world.node.inbox.drain()
    message = await world.message(admitted.message.id)
    assert (message.status, message.contradictory, message.possible_duplicate) == ("DELIVERED", True, True)
    assert message.captured == PRICE


async def test_each_attempt_that_may_have_been_sent_is_looked_up_once(world: World, channel: FakeChannel) -> None:
    """The latest first; once it is known never to have been sent it is sent again, as the app wishes."""
    partner = await world.partner(credit_micros=PRICE, on_unknown="resend")
    channel.on("+491701111111", *[OutcomeUnknown()] * MOST_SENDS, Permanent("no more"))
    channel.lookup_answers.extend([None, None, LookupResult(found=False), None, LookupResult(found=True)])
    await world.start()
    admitted = await world.accept(partner, "+491701111111", validity=60)
    await channel.called(MOST_SENDS)
    await world.state(admitted, "unknown")
    world.clock.advance(2 * MINUTE)  # its deadline has passed
    for _ in range(40):
        world.clock.advance(10 * MINUTE)
        await world.rest()
    message = await world.status(admitted, "SENT")
    assert message.possible_duplicate
    asked = [attempt.correlation.rsplit(".", 1)[1] for attempt in channel.looked_up]
    assert asked == ["3", "3", "3", "2", "2"]
    assert len(channel.sent) == MOST_SENDS


async def test_an_attempt_is_looked_up_as_it_was_made(open_world: OpenWorld) -> None:
    """The step has moved on to a gateway with a sender of its own, which the first provider has never heard of."""
    channel = FakeChannel(hooks=frozenset({"lookup"})).on(TO, OutcomeUnknown(), AccountBlocked(), OutcomeUnknown())
    world = await open_world(channel)
    first, second = await world.gateway(senders=("FIRST",)), await world.gateway(senders=("SECOND",))
    for gateway in (first, second):
        await world.rate(gateway)
    partner = await world.partner(first, second, on_unknown="resend")
    channel.lookup_answers.extend([LookupResult(found=False), LookupResult(found=True)])
    await world.start()
    admitted = await world.accept(partner)
    await world.state_in_time(admitted, "sent")
    asked = [(attempt.correlation.rsplit(".", 1)[1], attempt.message.sender) for attempt in channel.looked_up]
    assert asked == [("3", "SECOND"), ("1", "FIRST")]


async def test_what_is_never_found_moves_on_to_the_next_gateway(open_world: OpenWorld) -> None:
    """A provider that answers nonsense and then knows nothing of it is not asked for ever, nor at once."""
    channel = FakeChannel(hooks=frozenset({"lookup"}))
    world = await open_world(channel)
    bad, good = await world.gateway(), await world.gateway()
    for gateway in (bad, good):
        await world.rate(gateway)
    partner = await world.partner(bad, good)

    async def send(ctx: Context, message: OutboundMessage) -> SendResult:
        if ctx.gateway_id == bad.id:
            raise OutcomeUnknown
        return SendResult(provider_ids=("p",))

    channel.on(TO, send)
    channel.lookup_answers.extend([LookupResult(found=False)] * 100)
    await world.start()
    admitted = await world.accept(partner)
    await world.state_in_time(admitted, "sent")
    assert [call.ctx.gateway_id for call in channel.sent] == [bad.id] * TRIES + [good.id]


async def test_what_is_denied_is_not_sent_again_while_another_attempt_may_be_out(open_world: OpenWorld) -> None:
    """The provider has forgotten our key, and the app does not wish for a second message."""
    channel = FakeChannel(hooks=frozenset({"lookup"}), info={"idempotent_for": 50}).on(TO, OutcomeUnknown())
    world = await open_world(channel)
    partner = await world.partner()
    channel.lookup_answers.extend([LookupResult(found=False), *[None] * 50])
    await world.start()
    admitted = await world.accept(partner)
    await world.state_in_time(admitted, "unknown")
    sent = len(channel.sent)
    assert sent > 1
    for _ in range(30):
        world.clock.advance(30 * SECOND)
        await world.rest()
    assert len(channel.sent) == sent
    asked = [attempt.correlation.rsplit(".", 1)[1] for attempt in channel.looked_up]
    assert asked[0] == str(sent)
    assert set(asked[1:]) == {str(sent - 1)}


async def test_resends_that_are_denied_end_and_the_earlier_ones_are_looked_up(open_world: OpenWorld) -> None:
    channel = FakeChannel(hooks=frozenset({"lookup"})).on(TO, OutcomeUnknown())
    world = await open_world(channel)
    partner = await world.partner(on_unknown="resend")
    channel.lookup_answers.extend([LookupResult(found=False), None, LookupResult(found=True)])
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(MOST_SENDS)
    await world.state(admitted, "unknown")
    await world.state_in_time(admitted, "sent")
    assert len(channel.sent) == MOST_SENDS
    asked = [attempt.correlation.rsplit(".", 1)[1] for attempt in channel.looked_up]
    assert asked == ["3", "2", "2"]


@pytest.mark.parametrize(
    "bad",
    [
        LookupResult(found=True, provider_ids=(5,)),  # type: ignore[arg-type]
        LookupResult(found=True, provider_ids=None),  # type: ignore[arg-type]
        LookupResult(found=True, provider_ids=("x",), status="bogus"),  # type: ignore[arg-type]
    ],
    ids=["number", "none", "bogus"],
)
async def test_a_lookup_that_answers_nonsense_is_asked_again_by_the_schedule(
    world: World, channel: FakeChannel, bad: LookupResult
) -> None:
    channel.lookup_answers.extend([bad, LookupResult(found=True)])
    admitted = await unknown(world)
    await asked(world, 1)
    assert (await world.step(admitted.message.id)).lookups == 1
    world.clock.advance(5 * SECOND)
    await world.status(admitted, "SENT")


async def refused_as_it_was_repeated(open_world: OpenWorld, *lookups: object) -> tuple[World, Admitted]:
    """Nobody knows what became of the first attempt; the second, as the app wishes, was refused for good."""
    channel = FakeChannel(hooks=frozenset({"lookup"})).on(TO, OutcomeUnknown(), *[Permanent("no")] * 9)
    channel.lookup_answers.extend(lookups)
    world = await open_world(channel)
    partner = await world.partner(credit_micros=PRICE, on_unknown="resend")
    await world.start()
    admitted = await world.accept(partner)
    await channel.called(2)
    await world.state(admitted, "unknown")
    return world, admitted


async def test_a_refused_repeat_says_nothing_of_an_attempt_that_may_be_out(open_world: OpenWorld) -> None:
    """Some providers refuse it just because they have had the same a moment ago."""
    world, admitted = await refused_as_it_was_repeated(open_world, *[None] * 9)
    world.clock.advance(HOUR)
    await world.rest()
    message = await world.message(admitted.message.id)
    assert (message.status, message.settled_at, len(world.channel.sent)) == ("UNKNOWN", None, 2)
    world.channel.lookup_answers.clear()
    world.channel.lookup_answers.append(LookupResult(found=True, status="delivered"))
    world.clock.advance(HOUR)
    message = await world.status(admitted, "DELIVERED")
    assert (message.captured, message.contradictory, message.possible_duplicate) == (PRICE, False, False)


async def test_a_refusal_counts_once_the_earlier_attempt_is_denied(open_world: OpenWorld) -> None:
    world, admitted = await refused_as_it_was_repeated(open_world, LookupResult(found=False))
    step = await world.state_in_time(admitted, "ended")
    message = await world.message(admitted.message.id)
    assert (message.status, message.error_code, step.attempt) == ("FAILED", Permanent.code, 3)
    assert message.settled_at is not None


async def test_a_provider_that_dedupes_refuses_the_message_and_not_the_repeat(open_world: OpenWorld) -> None:
    channel = FakeChannel(info={"idempotent_for": 3600}).on(TO, OutcomeUnknown(), Permanent("no"))
    world = await open_world(channel)
    partner = await world.partner(credit_micros=PRICE)
    await world.start()
    admitted = await world.accept(partner)
    await world.state_in_time(admitted, "ended")
    message = await world.message(admitted.message.id)
    assert (message.status, message.error_code) == ("FAILED", Permanent.code)
