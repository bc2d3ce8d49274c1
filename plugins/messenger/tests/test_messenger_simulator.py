"""Sent to the simulator over real HTTP, its webhooks verified and parsed by the plugin: the whole circle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr
from waypost.plugin import (
    AccountBlocked,
    Action,
    Address,
    Challenge,
    ChannelError,
    ChannelEvent,
    Content,
    ContentRejected,
    Context,
    DeliveryUpdate,
    InboundMessage,
    InvalidRecipient,
    Misconfigured,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    RateLimited,
    Reaction,
    Text,
    Transient,
    Verified,
    WebhookContext,
    WebhookRequest,
)
from waypost.plugin.simulator import Outcome
from waypost_messenger.channel import INFO, messenger
from waypost_messenger.simulator import MAGIC, MessengerSimulator
from waypost_meta_graph import MetaAppSettings

MakeContext = Callable[..., Context]
MakeMessage = Callable[..., OutboundMessage]
NUMBER = {outcome: person for person, outcome in MAGIC.items()}
ORDINARY = MessengerSimulator.ordinary_recipient


@pytest.fixture
async def heard(simulator: MessengerSimulator, webhook_ctx: WebhookContext) -> AsyncIterator[list[ChannelEvent]]:
    """Events of every webhook the simulator delivers, after the signature was checked."""
    events: list[ChannelEvent] = []
    app_settings = MetaAppSettings.model_validate(simulator.provider_app_settings())
    ctx = WebhookContext(provider_app=app_settings, account=None, log=webhook_ctx.log, now=webhook_ctx.now)

    async def receive(request: web.Request) -> web.Response:
        delivery = WebhookRequest(
            method=request.method,
            url=str(request.url),
            headers=tuple((key.lower(), value) for key, value in request.headers.items()),
            body=await request.read(),
        )
        assert isinstance(await messenger.verify_webhook(ctx, delivery), Verified)
        assert messenger.recognize(delivery) is not None
        events.extend(messenger.parse_event(ctx, delivery))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    simulator.webhook_url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield events
    await runner.cleanup()


def statuses(events: list[ChannelEvent]) -> list[str]:
    """The receipts in their order; those by watermark are left to their own test."""
    return [each.status for each in events if isinstance(each, DeliveryUpdate) and each.watermark is None]


async def test_ordinary_send(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    result = await messenger.send(simulated(correlation="att_1"), outbound(Text(body="hello äöå/😀")))
    await simulator.settle()
    (entry,) = simulator.journal
    assert (entry.recipient, entry.correlation, entry.accepted) == (ORDINARY, "att_1", True)
    assert result.provider_ids == (entry.provider_id,)
    assert statuses(heard) == ["sent", "delivered"]
    echo, delivered, until = (each for each in heard if isinstance(each, DeliveryUpdate))
    assert (echo.correlation, echo.provider_id) == ("att_1", entry.provider_id)
    assert delivered.provider_id == entry.provider_id
    assert until.recipient == Address("psid", ORDINARY)
    assert until.watermark is not None
    assert simulator.errors == []


@pytest.mark.parametrize("kind", sorted(INFO.content_kinds))
async def test_every_kind_is_accepted(
    kind: str, simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    model = INFO.content_model(kind)
    assert model is not None
    content = model.model_validate({"kind": kind, **INFO.examples[kind]})
    assert isinstance(content, Content)
    result = await messenger.send(simulated(correlation="att_1"), outbound(content))
    assert result.status == "sent"
    action = isinstance(content, Action | Reaction)
    assert len(result.provider_ids) == len(simulator.journal) == (0 if action else 1)
    assert len(simulator.actions) == (1 if action else 0)


REFUSED: dict[Outcome, type[ChannelError]] = {
    Outcome.INVALID_RECIPIENT: InvalidRecipient,
    Outcome.CONTENT_REJECTED: ContentRejected,
    Outcome.OUTSIDE_WINDOW: OutsideWindow,
    Outcome.MISCONFIGURED: Misconfigured,
    Outcome.ACCOUNT_BLOCKED: AccountBlocked,
    Outcome.RATE_LIMITED: RateLimited,
    Outcome.UNAVAILABLE: Transient,
    Outcome.HANG: OutcomeUnknown,
    Outcome.GARBAGE: OutcomeUnknown,
}


@pytest.mark.parametrize("outcome", list(REFUSED))
async def test_refusals(
    outcome: Outcome,
    simulator: MessengerSimulator,
    simulated: MakeContext,
    outbound: MakeMessage,
    heard: list[ChannelEvent],
) -> None:
    with pytest.raises(ChannelError) as caught:
        await messenger.send(simulated(), outbound(Text(body="x"), to=NUMBER[outcome]))
    assert type(caught.value) is REFUSED[outcome]
    (entry,) = simulator.journal
    assert (entry.accepted, entry.provider_id, entry.outcome) == (False, None, outcome)
    await simulator.settle()
    assert heard == []


RECEIPTS = {
    Outcome.ACCEPTED: [],
    Outcome.SENT: ["sent"],
    Outcome.DELIVERED: ["sent", "delivered"],
    Outcome.DUPLICATE_RECEIPTS: ["sent", "sent", "delivered", "delivered"],
    Outcome.REORDERED_RECEIPTS: ["delivered", "sent"],
}


@pytest.mark.parametrize("outcome", list(RECEIPTS))
async def test_receipts(
    outcome: Outcome,
    simulator: MessengerSimulator,
    simulated: MakeContext,
    outbound: MakeMessage,
    heard: list[ChannelEvent],
) -> None:
    await messenger.send(simulated(correlation="att_1"), outbound(Text(body="x"), to=NUMBER[outcome]))
    await simulator.settle()
    assert statuses(heard) == RECEIPTS[outcome]


async def test_duplicates_have_one_id(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await messenger.send(simulated(correlation="a"), outbound(Text(body="x"), to=NUMBER[Outcome.DUPLICATE_RECEIPTS]))
    await simulator.settle()
    assert len({each.event_id for each in heard if isinstance(each, DeliveryUpdate) and not each.watermark}) == 2


async def test_read(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await messenger.send(simulated(correlation="att_1"), outbound(Text(body="x"), to=NUMBER[Outcome.READ]))
    await simulator.settle()
    last = heard[-1]
    assert isinstance(last, DeliveryUpdate)
    assert (last.status, last.provider_id) == ("read", None)
    assert last.watermark is not None


async def test_accepted_and_dropped_is_settled_by_the_echo(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    with pytest.raises(OutcomeUnknown):
        await messenger.send(
            simulated(correlation="att_9"), outbound(Text(body="x"), to=NUMBER[Outcome.ACCEPT_THEN_DROP])
        )
    await simulator.settle()
    assert [each.correlation for each in heard if isinstance(each, DeliveryUpdate) and each.status == "sent"] == [
        "att_9"
    ]
    assert len(simulator.journal) == 1


async def test_late_and_early_receipts(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await messenger.send(simulated(correlation="a"), outbound(Text(body="x"), to=NUMBER[Outcome.LATE_RECEIPTS]))
    await simulator.settle()
    assert heard == []
    simulator.release_late_receipts()
    await simulator.settle()
    assert statuses(heard) == ["sent", "delivered"]
    heard.clear()
    await messenger.send(simulated(correlation="b"), outbound(Text(body="x"), to=NUMBER[Outcome.EARLY_RECEIPTS]))
    assert statuses(heard) == ["sent", "delivered"]


async def test_rate_limited_once(simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage) -> None:
    message = outbound(Text(body="x"), to=NUMBER[Outcome.RATE_LIMITED_ONCE])
    with pytest.raises(RateLimited):
        await messenger.send(simulated(), message)
    assert (await messenger.send(simulated(), message)).provider_ids
    assert [entry.accepted for entry in simulator.journal] == [False, True]


async def test_inbound(simulator: MessengerSimulator, heard: list[ChannelEvent]) -> None:
    await simulator.deliver_now(simulator.inbound("Hi, is this in stock?", "7000000000000099"))
    (message,) = heard
    assert isinstance(message, InboundMessage)
    assert message.content == Text(body="Hi, is this in stock?")
    assert message.sender == (Address("psid", "7000000000000099"),)
    assert message.account_ref == simulator.account_id


async def test_any_event_of_a_person(simulator: MessengerSimulator, heard: list[ChannelEvent]) -> None:
    tap = simulator.from_person(postback={"title": "Buy", "payload": "BUY-1"})
    await simulator.deliver_now(simulator.signed(simulator.envelope(tap)))
    assert [type(each).__name__ for each in heard] == ["Engagement"]


@pytest.mark.parametrize("outcome", [Outcome.OUTSIDE_WINDOW, Outcome.RATE_LIMITED])
async def test_actions_are_refused_too(
    outcome: Outcome, simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    with pytest.raises(REFUSED[outcome]):
        await messenger.send(simulated(), outbound(Action(kind="typing_on"), to=NUMBER[outcome]))
    assert simulator.journal == []


async def test_wrong_token_blocks_the_account(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    wrong = simulated(settings={"access_token": "EAAwrong"})
    with pytest.raises(AccountBlocked) as caught:
        await messenger.send(wrong, outbound(Text(body="x")))
    assert caught.value.provider_code == "190"
    assert simulator.journal == []
    assert (await messenger.check_account(wrong)).state == "blocked"
    assert (await messenger.check_account(simulated())).state == "ok"


async def test_locked_account(simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage) -> None:
    simulator.locked = True
    with pytest.raises(AccountBlocked):
        await messenger.send(simulated(), outbound(Text(body="x")))
    assert (await messenger.check_account(simulated())).state == "blocked"


async def test_account_that_cannot_be_asked(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    ctx = simulated()
    await simulator.stop()
    assert (await messenger.check_account(ctx)).state == "unknown"
    with pytest.raises(Transient):
        await messenger.send(ctx, outbound(Text(body="x")))


async def test_another_page_is_refused(simulated: MakeContext, outbound: MakeMessage) -> None:
    with pytest.raises(ContentRejected):
        await messenger.send(simulated(settings={"page_id": "1"}), outbound(Text(body="x")))


async def test_connect_webhook(simulator: MessengerSimulator, simulated: MakeContext) -> None:
    made = await messenger.connect_webhook(simulated(), "https://gw.example.test/hooks/messenger")
    assert "https://gw.example.test/hooks/messenger" in made.remaining
    assert "message_echoes" in simulator.subscriptions[0]["subscribed_fields"].split(",")


async def test_handshake(simulator: MessengerSimulator, webhook_ctx: WebhookContext) -> None:
    ctx = WebhookContext(
        provider_app=MetaAppSettings.model_validate(simulator.provider_app_settings()),
        account=None,
        log=webhook_ctx.log,
        now=webhook_ctx.now,
    )
    assert isinstance(await messenger.verify_webhook(ctx, simulator.handshake()), Challenge)


BAD: list[dict[str, Any]] = [
    {},
    {"recipient": {"id": ORDINARY}},
    {"recipient": {"id": ORDINARY}, "message": {}},
    {"recipient": {"id": "ann"}, "message": {"text": "x"}},
    {"recipient": {"id": ORDINARY}, "message": {"text": ""}},
    {"recipient": {"id": ORDINARY}, "message": {"text": "x" * 2001}},
    {"recipient": {"id": ORDINARY}, "message": {"text": "x", "attachment": {}}},
    {"recipient": {"id": ORDINARY}, "message": {"text": "x", "metadata": "m" * 1001}},
    {"recipient": {"id": ORDINARY}, "message": {"text": "x", "quick_replies": [{}] * 14}},
    {"recipient": {"id": ORDINARY}, "message": {"attachment": {"type": "hologram"}}},
    {"recipient": {"id": ORDINARY}, "message": {"attachment": {"type": "image", "payload": {}}}},
    {"recipient": {"id": ORDINARY}, "message": {"attachment": {"type": "template", "payload": {}}}},
    {"recipient": {"id": ORDINARY}, "messaging_type": "MESSAGE_TAG", "message": {"text": "x"}},
    {"recipient": {"id": ORDINARY}, "messaging_type": "SHOUT", "message": {"text": "x"}},
    {"recipient": {"id": ORDINARY}, "sender_action": "dance"},
    {"recipient": {"id": ORDINARY}, "sender_action": "react"},
]


@pytest.mark.parametrize("bad", BAD)
async def test_the_simulator_is_as_strict_as_the_graph(
    bad: dict[str, Any], simulator: MessengerSimulator, session: aiohttp.ClientSession
) -> None:
    url = f"{simulator.base_url}/v25.0/{simulator.account_id}/messages"
    async with session.post(url, json=bad, params={"access_token": simulator.access_token}) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (400, 100)
    assert simulator.journal == []


def test_settings_of_the_simulator_are_the_plugins(simulator: MessengerSimulator) -> None:
    settings = INFO.account_settings.model_validate(simulator.account_settings())
    assert getattr(settings, INFO.account_ref_field or "") == simulator.senders()[0]
    assert isinstance(getattr(settings, "access_token", None), SecretStr)
    assert urlsplit(simulator.base_url).hostname == "127.0.0.1"
