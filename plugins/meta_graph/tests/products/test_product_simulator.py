"""Sent to the simulators over real HTTP, their webhooks verified and parsed: what both products do alike."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from meta_products import INSTAGRAM, MESSENGER, MakeContext, MakeMessage, Product
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
    Engagement,
    InboundMessage,
    InvalidRecipient,
    Misconfigured,
    OutcomeUnknown,
    OutsideWindow,
    RateLimited,
    Reaction,
    Text,
    Transient,
    WebhookContext,
)
from waypost.plugin.simulator import Outcome
from waypost_meta_graph.identity import event_id
from waypost_meta_graph.messaging_simulator import MessagingSimulator

KINDS = [(product, kind) for product in (MESSENGER, INSTAGRAM) for kind in sorted(product.channel.info.content_kinds)]


@pytest.mark.parametrize(("product", "kind"), KINDS, indirect=["product"])
async def test_every_kind_is_accepted(
    product: Product, kind: str, simulator: MessagingSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    info = product.channel.info
    model = info.content_model(kind)
    assert model is not None
    content = model.model_validate({"kind": kind, **info.examples[kind]})
    assert isinstance(content, Content)
    result = await product.channel.send(simulated(correlation="att_1"), outbound(content))
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
    product: Product,
    simulator: MessagingSimulator,
    simulated: MakeContext,
    outbound: MakeMessage,
    heard: list[ChannelEvent],
) -> None:
    with pytest.raises(ChannelError) as caught:
        await product.channel.send(simulated(), outbound(Text(body="x"), to=product.to[outcome]))
    assert type(caught.value) is REFUSED[outcome]
    (entry,) = simulator.journal
    assert (entry.accepted, entry.provider_id, entry.outcome) == (False, None, outcome)
    await simulator.settle()
    assert heard == []


@pytest.mark.parametrize("outcome", [Outcome.OUTSIDE_WINDOW, Outcome.RATE_LIMITED])
async def test_actions_are_refused_too(
    outcome: Outcome, product: Product, simulator: MessagingSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    with pytest.raises(REFUSED[outcome]):
        await product.channel.send(simulated(), outbound(Action(kind="typing_on"), to=product.to[outcome]))
    assert simulator.journal == []


async def test_rate_limited_once(
    product: Product, simulator: MessagingSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    message = outbound(Text(body="x"), to=product.to[Outcome.RATE_LIMITED_ONCE])
    with pytest.raises(RateLimited):
        await product.channel.send(simulated(), message)
    assert (await product.channel.send(simulated(), message)).provider_ids
    assert [entry.accepted for entry in simulator.journal] == [False, True]


async def test_inbound(product: Product, simulator: MessagingSimulator, heard: list[ChannelEvent]) -> None:
    await simulator.deliver_now(simulator.inbound("Hi, is this in stock?", "7000000000000099"))
    (message,) = heard
    assert isinstance(message, InboundMessage)
    assert message.content == Text(body="Hi, is this in stock?")
    assert message.sender == (Address(product.channel.info.address_kinds[0], "7000000000000099"),)
    assert message.account_ref == simulator.account_id


async def test_any_event_of_a_person(simulator: MessagingSimulator, heard: list[ChannelEvent]) -> None:
    tap = simulator.from_person(postback={"title": "Buy", "payload": "BUY-1"})
    await simulator.deliver_now(simulator.signed(simulator.envelope(tap)))
    assert [type(each).__name__ for each in heard] == ["Engagement"]


async def test_what_the_account_itself_takes_back_or_edits_is_told_apart_from_its_echo(
    simulator: MessagingSimulator, heard: list[ChannelEvent]
) -> None:
    mid, person = simulator.new_mid(), simulator.ordinary_recipient
    for body in (
        {"message": {"mid": mid, "text": "oops", "is_echo": True}},
        {"message": {"mid": mid, "is_echo": True, "is_deleted": True}},
        {"message": {"mid": mid, "is_self": True, "is_deleted": True}},
        {"message": {"mid": mid, "is_deleted": True}},
        {"message": {"mid": mid, "is_echo": True, "is_deleted": True, "metadata": "att_1"}},
        {"message_edit": {"mid": mid, "text": "fixed", "num_edit": 1}},
        {"message_edit": {"mid": mid, "text": "fixed again", "num_edit": 2}},
    ):
        await simulator.deliver_now(simulator.signed(simulator.envelope(simulator.from_account(person, **body))))
    told = [each for each in heard if isinstance(each, Engagement)]
    assert len(told) == len(heard)
    assert {(each.action, each.sender, each.detail["message_id"]) for each in told} == {("other", (), mid)}
    assert [each.detail["kind"] for each in told] == ["echo", *["echo_unsend"] * 4, *["echo_edit"] * 2]
    assert told[1].event_id == event_id("echo-unsend", mid)
    assert len({each.event_id for each in told}) == 4


# ---- the account


async def test_wrong_token_blocks_the_account(
    product: Product, simulator: MessagingSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    wrong = simulated(settings={"access_token": "EAAwrong"})
    with pytest.raises(AccountBlocked) as caught:
        await product.channel.send(wrong, outbound(Text(body="x")))
    assert caught.value.provider_code == "190"
    assert simulator.journal == []
    assert (await product.channel.check_account(wrong)).state == "blocked"
    assert (await product.channel.check_account(simulated())).state == "ok"


async def test_locked_account(
    product: Product, simulator: MessagingSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    simulator.locked = True
    with pytest.raises(AccountBlocked):
        await product.channel.send(simulated(), outbound(Text(body="x")))
    assert (await product.channel.check_account(simulated())).state == "blocked"


async def test_account_that_cannot_be_asked(
    product: Product, simulator: MessagingSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    ctx = simulated()
    await simulator.stop()
    assert (await product.channel.check_account(ctx)).state == "unknown"
    with pytest.raises(Transient):
        await product.channel.send(ctx, outbound(Text(body="x")))


async def test_another_account_is_refused(product: Product, simulated: MakeContext, outbound: MakeMessage) -> None:
    with pytest.raises(Misconfigured):
        await product.channel.send(simulated(settings=product.elsewhere), outbound(Text(body="x")))


async def test_a_subscription_counts_once_meta_says_so(
    product: Product, simulator: MessagingSimulator, simulated: MakeContext
) -> None:
    url = "https://gw.example.test/hooks"
    assert url in (await product.channel.connect_webhook(simulated(), url)).remaining
    simulator.declines = True
    with pytest.raises(OutcomeUnknown):
        await product.channel.connect_webhook(simulated(), url)


async def test_handshake(product: Product, simulator: MessagingSimulator, simulated_app: WebhookContext) -> None:
    assert isinstance(await product.channel.verify_webhook(simulated_app, simulator.handshake()), Challenge)


# ---- the simulator itself

BUTTON = {"type": "postback", "title": "Yes", "payload": "Y"}
BAD_TEMPLATES: list[Any] = [
    [],
    {"template_type": "button", "text": "x" * 641, "buttons": [BUTTON]},
    {"template_type": "button", "buttons": [BUTTON]},
    {"template_type": "button", "text": "x"},
    {"template_type": "button", "text": "x", "buttons": [BUTTON] * 4},
    {"template_type": "generic", "elements": []},
    {"template_type": "generic", "elements": [{"title": "x"}] * 11},
    {"template_type": "generic", "elements": [{"subtitle": "x"}]},
    {"template_type": "generic", "elements": [{"title": "x" * 81}]},
    {"template_type": "generic", "elements": [{"title": "x", "subtitle": "x" * 81}]},
    {"template_type": "generic", "elements": [{"title": "x", "buttons": [BUTTON] * 4}]},
]
BAD_REPLIES: list[dict[str, Any]] = [
    {},
    {"content_type": "hologram"},
    {"content_type": "text", "payload": "x"},
    {"content_type": "text", "title": "x" * 21, "payload": "x"},
    {"content_type": "text", "title": "x", "payload": "x" * 1001},
]
BAD: list[dict[str, Any]] = [
    {"recipient": {}},
    {},
    {"message": {}},
    {"recipient": {"id": "ann"}, "message": {"text": "x"}},
    {"message": {"text": ""}},
    {"message": {"text": "too long"}},
    {"message": {"text": "x", "attachment": {}}},
    {"message": {"text": "x", "metadata": "m" * 1001}},
    {"message": {"text": "x", "quick_replies": [{}] * 14}},
    {"message": {"attachment": {"type": "hologram"}}},
    {"message": {"attachment": {"type": "image", "payload": {}}}},
    {"message": {"attachment": {"type": "template", "payload": {}}}},
    *({"message": {"attachment": {"type": "template", "payload": payload}}} for payload in BAD_TEMPLATES),
    *({"message": {"text": "x", "quick_replies": [reply]}} for reply in BAD_REPLIES),
    {"messaging_type": "MESSAGE_TAG", "message": {"text": "x"}},
    {"messaging_type": "MESSAGE_TAG", "tag": "SPAM", "message": {"text": "x"}},
    {"messaging_type": "SHOUT", "message": {"text": "x"}},
    {"sender_action": "dance"},
    {"sender_action": "react"},
]


@pytest.mark.parametrize("bad", BAD)
async def test_the_simulator_is_as_strict_as_the_graph(
    bad: dict[str, Any], product: Product, simulator: MessagingSimulator, session: aiohttp.ClientSession
) -> None:
    body = {"recipient": {"id": product.person}, **bad}
    if bad == {"message": {"text": "too long"}}:
        body["message"] = {"text": product.too_long}
    url = f"{simulator.base_url}/v25.0/{simulator.account_id}/messages"
    async with session.post(url, json=body, params={"access_token": simulator.access_token}) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (400, 100)
    assert simulator.journal == []


async def test_the_simulator_takes_what_just_fits(
    product: Product, simulator: MessagingSimulator, simulated: MakeContext, outbound: MakeMessage
) -> None:
    choices = [{"title": f"{number:020}"} for number in range(3)]
    card = {"title": "x" * 80, "subtitle": "x" * 80, "choices": choices}
    for spec in (
        {"kind": "buttons", "body": "x" * 640, "choices": choices},
        {"kind": "quick_replies", "body": "x", "choices": [{"title": f"{number:020}"} for number in range(13)]},
        {"kind": "cards", "cards": [card] * 10},
    ):
        model = product.channel.info.content_model(str(spec["kind"]))
        assert model is not None
        content = model.model_validate(spec)
        assert isinstance(content, Content)
        await product.channel.send(simulated(), outbound(content))
    tagged = outbound(Text(body="x"), options={"tag": "HUMAN_AGENT"})
    assert (await product.channel.send(simulated(), tagged)).provider_ids
    assert len(simulator.journal) == 4


def test_settings_of_the_simulator_are_the_plugins(product: Product, simulator: MessagingSimulator) -> None:
    info = product.channel.info
    settings = info.account_settings.model_validate(simulator.account_settings())
    assert getattr(settings, info.account_ref_field or "") == simulator.senders()[0]
    assert isinstance(getattr(settings, "access_token", None), SecretStr)
    assert urlsplit(simulator.base_url).hostname == "127.0.0.1"
