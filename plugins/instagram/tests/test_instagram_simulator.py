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
    Engagement,
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
from waypost_instagram.channel import INFO, instagram
from waypost_instagram.simulator import MAGIC, InstagramSimulator
from waypost_meta_graph import MetaAppSettings

MakeContext = Callable[..., Context]
MakeMessage = Callable[..., OutboundMessage]
NUMBER = {outcome: person for person, outcome in MAGIC.items()}
ORDINARY = InstagramSimulator.ordinary_recipient


@pytest.fixture
async def heard(simulator: InstagramSimulator, webhook_ctx: WebhookContext) -> AsyncIterator[list[ChannelEvent]]:
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
        assert isinstance(await instagram.verify_webhook(ctx, delivery), Verified)
        assert instagram.recognize(delivery) is not None
        events.extend(instagram.parse_event(ctx, delivery))
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
    """What was heard, in its order: an echo tells nothing of a status."""
    return [each.status if isinstance(each, DeliveryUpdate) else "echo" for each in events]


async def test_ordinary_send(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    result = await instagram.send(simulated(correlation="att_1"), outbound(Text(body="hello äöå/😀")))
    await simulator.settle()
    (entry,) = simulator.journal
    assert (entry.recipient, entry.correlation, entry.accepted) == (ORDINARY, None, True)
    assert result.provider_ids == (entry.provider_id,)
    assert statuses(heard) == ["echo", "read"]
    echo, seen = heard
    assert isinstance(echo, Engagement)
    assert echo.detail["message_id"] == entry.provider_id
    assert isinstance(seen, DeliveryUpdate)
    assert seen.provider_id == entry.provider_id
    assert seen.correlation is None
    assert simulator.errors == []


@pytest.mark.parametrize("kind", sorted(INFO.content_kinds))
async def test_every_kind_is_accepted(
    kind: str, simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    model = INFO.content_model(kind)
    assert model is not None
    content = model.model_validate({"kind": kind, **INFO.examples[kind]})
    assert isinstance(content, Content)
    result = await instagram.send(simulated(correlation="att_1"), outbound(content))
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
    simulator: InstagramSimulator,
    simulated: MakeContext,
    outbound: MakeMessage,
    heard: list[ChannelEvent],
) -> None:
    with pytest.raises(ChannelError) as caught:
        await instagram.send(simulated(), outbound(Text(body="x"), to=NUMBER[outcome]))
    assert type(caught.value) is REFUSED[outcome]
    (entry,) = simulator.journal
    assert (entry.accepted, entry.provider_id, entry.outcome) == (False, None, outcome)
    await simulator.settle()
    assert heard == []


RECEIPTS = {
    Outcome.ACCEPTED: [],
    Outcome.SENT: ["echo"],
    Outcome.READ: ["echo", "read"],
    Outcome.DUPLICATE_RECEIPTS: ["echo", "echo", "read", "read"],
    Outcome.REORDERED_RECEIPTS: ["read", "echo"],
}


@pytest.mark.parametrize("outcome", list(RECEIPTS))
async def test_receipts(
    outcome: Outcome,
    simulator: InstagramSimulator,
    simulated: MakeContext,
    outbound: MakeMessage,
    heard: list[ChannelEvent],
) -> None:
    await instagram.send(simulated(correlation="att_1"), outbound(Text(body="x"), to=NUMBER[outcome]))
    await simulator.settle()
    assert statuses(heard) == RECEIPTS[outcome]


async def test_duplicates_have_one_id(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await instagram.send(simulated(correlation="a"), outbound(Text(body="x"), to=NUMBER[Outcome.DUPLICATE_RECEIPTS]))
    await simulator.settle()
    assert len({each.event_id for each in heard}) == 2


async def test_accepted_and_dropped_is_told_by_the_echo_but_not_whose_it_is(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    with pytest.raises(OutcomeUnknown):
        await instagram.send(simulated(), outbound(Text(body="x"), to=NUMBER[Outcome.ACCEPT_THEN_DROP]))
    await simulator.settle()
    (entry,) = simulator.journal
    echo = heard[0]
    assert isinstance(echo, Engagement)
    assert (echo.detail["message_id"], echo.sender) == (entry.provider_id, ())


async def test_late_and_early_receipts(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await instagram.send(simulated(correlation="a"), outbound(Text(body="x"), to=NUMBER[Outcome.LATE_RECEIPTS]))
    await simulator.settle()
    assert heard == []
    simulator.release_late_receipts()
    await simulator.settle()
    assert statuses(heard) == ["echo", "read"]
    heard.clear()
    await instagram.send(simulated(correlation="b"), outbound(Text(body="x"), to=NUMBER[Outcome.EARLY_RECEIPTS]))
    assert statuses(heard) == ["echo", "read"]


async def test_rate_limited_once(simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage) -> None:
    message = outbound(Text(body="x"), to=NUMBER[Outcome.RATE_LIMITED_ONCE])
    with pytest.raises(RateLimited):
        await instagram.send(simulated(), message)
    assert (await instagram.send(simulated(), message)).provider_ids
    assert [entry.accepted for entry in simulator.journal] == [False, True]


async def test_inbound(simulator: InstagramSimulator, heard: list[ChannelEvent]) -> None:
    await simulator.deliver_now(simulator.inbound("Hi, is this in stock?", "8000000000000099"))
    (message,) = heard
    assert isinstance(message, InboundMessage)
    assert message.content == Text(body="Hi, is this in stock?")
    assert message.sender == (Address("igsid", "8000000000000099"),)
    assert message.account_ref == simulator.account_id


async def test_any_event_of_a_person(simulator: InstagramSimulator, heard: list[ChannelEvent]) -> None:
    tap = simulator.from_person(postback={"title": "Buy", "payload": "BUY-1"})
    await simulator.deliver_now(simulator.signed(simulator.envelope(tap)))
    assert [type(each).__name__ for each in heard] == ["Engagement"]


@pytest.mark.parametrize("outcome", [Outcome.OUTSIDE_WINDOW, Outcome.RATE_LIMITED])
async def test_actions_are_refused_too(
    outcome: Outcome, simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    with pytest.raises(REFUSED[outcome]):
        await instagram.send(simulated(), outbound(Action(kind="typing_on"), to=NUMBER[outcome]))
    assert simulator.journal == []


async def test_wrong_token_blocks_the_account(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    wrong = simulated(settings={"access_token": "EAAwrong"})
    with pytest.raises(AccountBlocked) as caught:
        await instagram.send(wrong, outbound(Text(body="x")))
    assert caught.value.provider_code == "190"
    assert simulator.journal == []
    assert (await instagram.check_account(wrong)).state == "blocked"
    assert (await instagram.check_account(simulated())).state == "ok"


async def test_locked_account(simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage) -> None:
    simulator.locked = True
    with pytest.raises(AccountBlocked):
        await instagram.send(simulated(), outbound(Text(body="x")))
    assert (await instagram.check_account(simulated())).state == "blocked"


async def test_account_that_cannot_be_asked(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    ctx = simulated()
    await simulator.stop()
    assert (await instagram.check_account(ctx)).state == "unknown"
    with pytest.raises(Transient):
        await instagram.send(ctx, outbound(Text(body="x")))


async def test_another_account_is_refused(simulated: MakeContext, outbound: MakeMessage) -> None:
    with pytest.raises(ContentRejected):
        await instagram.send(simulated(settings={"login": "instagram", "ig_id": "1"}), outbound(Text(body="x")))


@pytest.mark.parametrize("login", ["page", "instagram"])
async def test_connect_webhook(simulator: InstagramSimulator, simulated: MakeContext, login: str) -> None:
    made = await instagram.connect_webhook(
        simulated(settings={"login": login}), "https://gw.example.test/hooks/instagram"
    )
    assert "https://gw.example.test/hooks/instagram" in made.remaining
    assert "messages" in simulator.subscriptions[0]["subscribed_fields"].split(",")


async def test_handshake(simulator: InstagramSimulator, webhook_ctx: WebhookContext) -> None:
    ctx = WebhookContext(
        provider_app=MetaAppSettings.model_validate(simulator.provider_app_settings()),
        account=None,
        log=webhook_ctx.log,
        now=webhook_ctx.now,
    )
    assert isinstance(await instagram.verify_webhook(ctx, simulator.handshake()), Challenge)


BAD: list[dict[str, Any]] = [
    {},
    {"recipient": {"id": ORDINARY}},
    {"recipient": {"id": ORDINARY}, "message": {}},
    {"recipient": {"id": "ann"}, "message": {"text": "x"}},
    {"recipient": {"id": ORDINARY}, "message": {"text": ""}},
    {"recipient": {"id": ORDINARY}, "message": {"text": "ä" * 501}},
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
    bad: dict[str, Any], simulator: InstagramSimulator, session: aiohttp.ClientSession
) -> None:
    url = f"{simulator.base_url}/v25.0/{simulator.account_id}/messages"
    async with session.post(url, json=bad, params={"access_token": simulator.access_token}) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (400, 100)
    assert simulator.journal == []


def test_settings_of_the_simulator_are_the_plugins(simulator: InstagramSimulator) -> None:
    settings = INFO.account_settings.model_validate(simulator.account_settings())
    assert getattr(settings, INFO.account_ref_field or "") == simulator.senders()[0]
    assert isinstance(getattr(settings, "access_token", None), SecretStr)
    assert urlsplit(simulator.base_url).hostname == "127.0.0.1"
