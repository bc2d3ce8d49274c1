"""The plugin against its simulator, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    InvalidRecipient,
    Misconfigured,
    OptedOut,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    PriceUpdate,
    RateLimited,
    Template,
    Text,
    Transient,
    Unsupported,
    Verified,
)
from waypost.plugin.simulator import Outcome
from waypost_whatsapp.channel import WhatsApp
from waypost_whatsapp.settings import WhatsAppSettings
from waypost_whatsapp.simulator import MAGIC, WhatsAppSimulator

Make = Callable[..., OutboundMessage]
HI = Text(body="hi")
BY_OUTCOME = {outcome: number for number, outcome in MAGIC.items()}

REFUSED: dict[Outcome, type[ChannelError]] = {
    Outcome.INVALID_RECIPIENT: InvalidRecipient,
    Outcome.OPTED_OUT: OptedOut,
    Outcome.CONTENT_REJECTED: ContentRejected,
    Outcome.OUTSIDE_WINDOW: OutsideWindow,
    Outcome.MISCONFIGURED: Misconfigured,
    Outcome.ACCOUNT_BLOCKED: AccountBlocked,
    Outcome.RATE_LIMITED: RateLimited,
    Outcome.RATE_LIMITED_ONCE: RateLimited,
    Outcome.UNAVAILABLE: Transient,
    Outcome.GARBAGE: OutcomeUnknown,
    Outcome.ACCEPT_THEN_DROP: OutcomeUnknown,
}
RECEIPTS: dict[Outcome, list[str]] = {
    Outcome.ACCEPTED: [],
    Outcome.SENT: ["sent"],
    Outcome.DELIVERED: ["sent", "delivered"],
    Outcome.READ: ["sent", "delivered", "read"],
    Outcome.FAILED: ["failed"],
    Outcome.DUPLICATE_RECEIPTS: ["sent", "sent", "delivered", "delivered"],
    Outcome.REORDERED_RECEIPTS: ["delivered", "sent"],
    Outcome.EARLY_RECEIPTS: ["sent", "delivered"],
}


def updates(provider: Any) -> list[DeliveryUpdate]:
    return [event for event in provider.events() if isinstance(event, DeliveryUpdate)]


@pytest.mark.parametrize("kind", sorted(WhatsApp().channel_info().examples))
async def test_every_example_is_accepted(kind: str, plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    info = plugin.channel_info()
    model = info.content_model(kind)
    assert model is not None
    message = outbound(model(kind=kind, **info.examples[kind]))
    result = await plugin.send(provider.ctx(), message)
    await provider.simulator.settle()
    if kind in ("mark_read", "typing_on"):
        assert provider.simulator.marked_read[0]["status"] == "read"
        assert provider.simulator.journal == []
        return
    assert [update.provider_id for update in updates(provider)] == list(result.provider_ids) * 2
    assert [entry.provider_id for entry in provider.simulator.journal] == list(result.provider_ids)


@pytest.mark.parametrize("outcome", sorted(RECEIPTS))
async def test_receipts(outcome: Outcome, plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    result = await plugin.send(provider.ctx(), outbound(HI, BY_OUTCOME[outcome]))
    if outcome is Outcome.EARLY_RECEIPTS:
        assert len(provider.received) == 2
    await provider.simulator.settle()
    found = updates(provider)
    assert [update.status for update in found] == RECEIPTS[outcome]
    assert {update.provider_id for update in found} <= set(result.provider_ids)
    assert {update.correlation for update in found} <= {"att_1"}
    assert provider.simulator.errors == []
    if outcome is Outcome.FAILED:
        assert found[0].error_class == "InvalidRecipient"
    if outcome is Outcome.DUPLICATE_RECEIPTS:
        assert set(Counter(update.event_id for update in found).values()) == {2}


@pytest.mark.parametrize("outcome", sorted(REFUSED))
async def test_refusals_and_faults(outcome: Outcome, plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    with pytest.raises(ChannelError) as caught:
        await plugin.send(provider.ctx(), outbound(HI, BY_OUTCOME[outcome]))
    assert type(caught.value) is REFUSED[outcome]
    (entry,) = provider.simulator.journal
    await provider.simulator.settle()
    if outcome is Outcome.ACCEPT_THEN_DROP:
        assert entry.accepted
        assert [update.correlation for update in updates(provider)] == ["att_1", "att_1"]
    else:
        assert not entry.accepted
        assert provider.received == []


async def test_a_rate_limit_that_passes(plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    message = outbound(HI, BY_OUTCOME[Outcome.RATE_LIMITED_ONCE])
    with pytest.raises(RateLimited):
        await plugin.send(provider.ctx(), message)
    assert (await plugin.send(provider.ctx(), message)).provider_ids


async def test_a_hanging_provider_gets_one_request(plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(plugin.send(provider.ctx(), outbound(HI, BY_OUTCOME[Outcome.HANG])), 0.2)
    assert len(provider.simulator.journal) == 1


async def test_late_receipts_wait(plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    await plugin.send(provider.ctx(), outbound(HI, BY_OUTCOME[Outcome.LATE_RECEIPTS]))
    await provider.simulator.settle()
    assert provider.received == []
    provider.simulator.release_late_receipts()
    await provider.simulator.settle()
    assert [update.status for update in updates(provider)] == ["sent", "delivered"]


@pytest.mark.parametrize(
    ("content", "billable", "category"),
    [
        (HI, False, "service"),
        (Template(template_id="order_update", variables={"1": "a", "2": "b"}), True, "utility"),
        (Template(template_id="any_other"), True, "marketing"),
    ],
)
async def test_statuses_tell_the_price(
    content: Any, billable: bool, category: str, plugin: WhatsApp, provider: Any, outbound: Make
) -> None:
    await plugin.send(provider.ctx(), outbound(content))
    await provider.simulator.settle()
    prices = [event for event in provider.events() if isinstance(event, PriceUpdate)]
    assert {(price.billable, price.category) for price in prices} == {(billable, category)}
    assert {price.event_id for price in prices} == {prices[0].event_id}


async def test_a_person_known_by_a_user_id_alone(plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    result = await plugin.send(provider.ctx(), outbound(HI, "US.20417733905561208843"))
    await provider.simulator.settle()
    assert "wa_id" not in result.raw["contacts"][0]
    for update in updates(provider):
        assert update.recipient is not None
        assert update.recipient.kind == "wa_user_id"


async def test_a_brazilian_number_comes_back_in_whatsapps_form(plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    result = await plugin.send(provider.ctx(), outbound(HI, "+5531987654321"))
    assert result.raw["contacts"] == [{"input": "5531987654321", "wa_id": "553187654321"}]


@pytest.mark.parametrize("sender", [None, "+16505550143", "US.20417733905561208843"])
async def test_inbound(sender: str | None, plugin: WhatsApp, provider: Any) -> None:
    request = provider.simulator.inbound("Größe/M 👍", sender)
    assert request.body.isascii()
    await provider.simulator.deliver_now(request)
    (received,) = provider.received
    assert received.body == request.body
    assert isinstance(await plugin.verify_webhook(provider.webhook_ctx, received), Verified)
    (event,) = provider.events()
    assert isinstance(event, InboundMessage)
    assert event.content == Text(body="Größe/M 👍")
    assert event.sender == (plugin.parse_address(sender or provider.simulator.ordinary_recipient),)
    assert event.account_ref == provider.simulator.phone_number_id
    assert plugin.recognize(received).account_ref == event.account_ref  # type: ignore[union-attr]


async def test_inbound_of_other_kinds(provider: Any) -> None:
    reply = {"type": "button_reply", "button_reply": {"id": "yes", "title": "Yes"}}
    message = {"type": "interactive", "context": {"id": "wamid.1"}, "interactive": reply}
    await provider.simulator.deliver_now(provider.simulator.inbound_message(message))
    inbound, tap = provider.events()
    assert isinstance(inbound, InboundMessage)
    assert isinstance(tap, Engagement)


async def test_the_handshake_over_http(plugin: WhatsApp, provider: Any) -> None:
    await provider.simulator.deliver_now(provider.simulator.handshake())
    (received,) = provider.received
    verdict = await plugin.verify_webhook(provider.webhook_ctx, received)
    assert verdict.reply.body == b"1158201444"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "error", "code"),
    [
        ({"access_token": "wrong"}, AccountBlocked, "190"),
        ({"phone_number_id": "1"}, Misconfigured, "100/33"),
    ],
)
async def test_wrong_settings(
    settings: dict[str, str], error: type[ChannelError], code: str, plugin: WhatsApp, provider: Any, outbound: Make
) -> None:
    account = WhatsAppSettings(**{**provider.simulator.account_settings(), **settings})
    with pytest.raises(error) as caught:
        await plugin.send(provider.ctx(account=account), outbound(HI))
    assert caught.value.provider_code == code
    assert provider.simulator.journal == []


@pytest.mark.parametrize(
    ("content", "error", "code"),
    [
        (Template(template_id="missing_template"), Misconfigured, "132001"),
        (Template(template_id="order_update", language="fr"), Misconfigured, "132001"),
        (Template(template_id="order_update", variables={"1": "a"}), ContentRejected, "132000"),
        (
            Template(template_id="welcome_named", language="en", variables={"1": "a", "2": "b"}),
            ContentRejected,
            "132000",
        ),
        (Template(template_id="paused_template"), Misconfigured, "132015"),
        # Nobody said that it authenticates, so that the code is not put into the button.
        (Template(template_id="otp_code", variables={"1": "481920"}), ContentRejected, "131008"),
    ],
)
async def test_what_the_provider_finds_wrong(
    content: Any, error: type[ChannelError], code: str, plugin: WhatsApp, provider: Any, outbound: Make
) -> None:
    with pytest.raises(error) as caught:
        await plugin.send(provider.ctx(), outbound(content))
    assert caught.value.provider_code == code
    assert provider.simulator.journal == []


def sent(kind: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"messaging_product": "whatsapp", "to": "16505550143", "type": kind, kind: fields}).encode()


def link(title: str, url: str = "https://shop.example.test") -> dict[str, Any]:
    return {"name": "cta_url", "parameters": {"display_text": title, "url": url}}


def rows(**fields: str) -> dict[str, Any]:
    return {"button": "Choose", "sections": [{"rows": [{"id": "1", "title": "x", **fields}]}]}


LINK = link("Track")


async def test_codes(plugin: WhatsApp, provider: Any, outbound: Make) -> None:
    content = Template(template_id="otp_code", variables={"1": "481920"}, category="authentication")
    assert (await plugin.send(provider.ctx(), outbound(content))).provider_ids
    with pytest.raises(Unsupported) as caught:
        await plugin.send(
            provider.ctx(), outbound(content.model_copy(update={"category": None}), "US.20417733905561208843")
        )
    assert caught.value.provider_code == "131062"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"not json", 100),
        (b"{}", 100),
        (b'{"messaging_product":"whatsapp"}', 100),
        (b'{"messaging_product":"whatsapp","to":"12"}', 131009),
        (b'{"messaging_product":"whatsapp","recipient":"nobody"}', 131009),
        (b'{"messaging_product":"whatsapp","to":"16505550143","type":"hologram"}', 100),
        (b'{"messaging_product":"whatsapp","to":"16505550143","type":"text"}', 100),
        (
            b'{"messaging_product":"whatsapp","to":"16505550143","type":"text","text":{"body":"%s"}}' % (b"x" * 4097),
            100,
        ),
        (b'{"messaging_product":"whatsapp","to":"16505550143","type":"image","image":{}}', 131008),
        (b'{"messaging_product":"whatsapp","to":"16505550143","type":"interactive"}', 131008),
        (b'{"messaging_product":"whatsapp","to":"16505550143","type":"template"}', 131008),
        (b'{"messaging_product":"whatsapp","status":"read"}', 131008),
        (sent("image", {"id": "1", "caption": "x" * 1025}), 100),
        (sent("interactive", {"type": "hologram", "body": {"text": "?"}, "action": {"name": "x"}}), 100),
        (sent("interactive", {"type": "cta_url", "action": LINK}), 131008),
        (sent("interactive", {"type": "cta_url", "body": {"text": "x" * 1025}, "action": LINK}), 131009),
        (sent("interactive", {"type": "list", "body": {"text": "?"}, "action": rows(description="x" * 73)}), 131009),
        (sent("interactive", {"type": "cta_url", "body": {"text": "?"}, "action": link("x" * 21)}), 131009),
        (sent("interactive", {"type": "cta_url", "body": {"text": "?"}, "action": link("x", "")}), 131008),
    ],
)
async def test_malformed_requests(body: bytes, code: int, provider: Any, session: aiohttp.ClientSession) -> None:
    simulator: WhatsAppSimulator = provider.simulator
    url = f"{simulator.base_url}/v25.0/{simulator.phone_number_id}/messages"
    headers = {"Authorization": f"Bearer {simulator.access_token}"}
    async with session.post(url, data=body, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == code


async def test_the_account(plugin: WhatsApp, provider: Any) -> None:
    simulator: WhatsAppSimulator = provider.simulator
    assert (await plugin.check_account(provider.ctx())).state == "ok"
    simulator.locked = True
    locked = await plugin.check_account(provider.ctx())
    assert (locked.state, locked.detail) == ("blocked", "BLOCKED: WABA 141002.")
    with pytest.raises(AccountBlocked):
        await plugin.list_templates(provider.ctx())
    simulator.locked = False
    wrong = WhatsAppSettings(**{**simulator.account_settings(), "access_token": "wrong"})
    assert (await plugin.check_account(provider.ctx(account=wrong))).state == "blocked"
    elsewhere = WhatsAppSettings(**{**simulator.account_settings(), "phone_number_id": "1"})
    assert (await plugin.check_account(provider.ctx(account=elsewhere))).state == "unknown"
    await plugin.connect_webhook(provider.ctx(), "https://gw.example.test/hook")
    assert simulator.subscriptions[0]["override_callback_uri"] == "https://gw.example.test/hook"
    templates = await plugin.list_templates(provider.ctx())
    assert [template.template_id for template in templates] == sorted(simulator.templates)


async def test_templates_over_several_pages_and_made_by_the_api(
    plugin: WhatsApp, provider: Any, session: aiohttp.ClientSession, outbound: Make
) -> None:
    simulator: WhatsAppSimulator = provider.simulator
    url = f"{simulator.base_url}/v25.0/{simulator.waba_id}/message_templates"
    headers = {"Authorization": f"Bearer {simulator.access_token}"}
    for number in range(150):
        body = {
            "name": f"made_{number}",
            "language": "de",
            "category": "UTILITY",
            "components": [{"type": "BODY", "text": "{{1}}"}],
        }
        async with session.post(url, json=body, headers=headers) as response:
            assert (await response.json())["status"] == "APPROVED"
    assert len(await plugin.list_templates(provider.ctx())) == len(simulator.templates)
    content = Template(template_id="made_7", language="de", variables={"1": "x"})
    assert (await plugin.send(provider.ctx(), outbound(content))).provider_ids


async def test_media_go_up_and_come_down(provider: Any, session: aiohttp.ClientSession) -> None:
    simulator: WhatsAppSimulator = provider.simulator
    root, headers = f"{simulator.base_url}/v25.0", {"Authorization": f"Bearer {simulator.access_token}"}
    form = aiohttp.FormData({"messaging_product": "whatsapp", "type": "image/png"})
    form.add_field("file", b"bytes", filename="p.png", content_type="image/png")
    async with session.post(f"{root}/{simulator.phone_number_id}/media", data=form, headers=headers) as response:
        media_id = (await response.json())["id"]
    async with session.get(f"{root}/{media_id}", headers=headers) as response:
        url = (await response.json())["url"]
    async with session.get(url, headers=headers) as response:
        assert await response.read() == b"bytes"
    async with session.delete(f"{root}/{media_id}", headers=headers) as response:
        assert (await response.json()) == {"success": True}


def test_ids_are_new_in_every_run() -> None:
    first, second = WhatsAppSimulator(), WhatsAppSimulator()
    assert first.account_settings()["access_token"] != second.account_settings()["access_token"]
    assert first.provider_app_settings() != second.provider_app_settings()
    assert first.senders() == second.senders()


def test_every_declared_kind_has_an_example_and_a_model(plugin: WhatsApp) -> None:
    info = plugin.channel_info()
    assert set(info.examples) == info.content_kinds
    for kind, example in info.examples.items():
        model = info.content_model(kind)
        assert model is not None
        model(kind=kind, **example)
    assert Unsupported not in REFUSED.values()
