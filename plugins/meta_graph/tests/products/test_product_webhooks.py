"""Whose delivery it is: signature, handshake, recognition. And that nothing a stranger sends raises."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meta_products import Delivery, Exchange, Post, Product
from odd_json import ODDITIES
from waypost.plugin import (
    Challenge,
    InboundMessage,
    Recognition,
    Rejected,
    Text,
    UnknownEvent,
    Verified,
    WebhookContext,
    WebhookRequest,
)
from waypost_meta_graph import MetaAppSettings


async def test_every_fixture_is_signed(
    product: Product, manifest: dict[str, Any], webhook_ctx: WebhookContext, delivery: Delivery
) -> None:
    for name in manifest["webhooks"]:
        assert isinstance(await product.channel.verify_webhook(webhook_ctx, delivery(name)), Verified), name


@pytest.mark.parametrize(
    "signature", [None, "", "sha256=", "sha256=" + "0" * 64, "sha1=abc", "sha256=ü", "\udcff", "x" * 100_000]
)
async def test_forged_signature(
    product: Product, webhook_ctx: WebhookContext, delivery: Delivery, signature: str | None
) -> None:
    headers = () if signature is None else (("x-hub-signature-256", signature),)
    forged = dataclasses.replace(delivery("msg_text.json"), headers=headers)
    assert isinstance(await product.channel.verify_webhook(webhook_ctx, forged), Rejected)


async def test_tampered_body(product: Product, webhook_ctx: WebhookContext, delivery: Delivery) -> None:
    genuine = delivery("msg_text.json")
    tampered = dataclasses.replace(genuine, body=genuine.body.replace(b"o", b"0", 1))
    assert isinstance(await product.channel.verify_webhook(webhook_ctx, tampered), Rejected)


async def test_no_secret_is_no_entry(product: Product, webhook_ctx: WebhookContext, delivery: Delivery) -> None:
    bare = dataclasses.replace(webhook_ctx, provider_app=MetaAppSettings())
    assert isinstance(await product.channel.verify_webhook(bare, delivery("msg_text.json")), Rejected)


async def test_second_secret_of_a_rotation(
    product: Product, manifest: dict[str, Any], webhook_ctx: WebhookContext, delivery: Delivery
) -> None:
    rotated = MetaAppSettings.model_validate({"app_secrets": ["new", manifest["app_secret"]], "verify_token": "v"})
    verdict = await product.channel.verify_webhook(
        dataclasses.replace(webhook_ctx, provider_app=rotated), delivery("msg_text.json")
    )
    assert isinstance(verdict, Verified)


@pytest.mark.parametrize(
    ("name", "right"), [("webhook_verify_ok.json", True), ("webhook_verify_wrong_token.json", False)]
)
async def test_handshake(
    product: Product, webhook_ctx: WebhookContext, exchange: Exchange, name: str, right: bool
) -> None:
    documented = exchange(name)
    url = documented["request"]["url"]
    request = WebhookRequest(method="GET", url=url, query=tuple(parse_qsl(urlsplit(url).query)))
    verdict = await product.channel.verify_webhook(webhook_ctx, request)
    if right:
        assert isinstance(verdict, Challenge)
        assert verdict.reply.body == documented["response"]["body_text"].encode()
    else:
        assert isinstance(verdict, Rejected)


def test_recognition(product: Product, delivery: Delivery, post: Post) -> None:
    own = product.channel.surface.webhook_object
    other = {"page": "instagram", "instagram": "page"}[own]
    recognize = product.channel.recognize
    assert recognize(delivery("msg_text.json")) == Recognition(product.account_ref)
    assert recognize(post({"object": other, "entry": [{"id": "1"}]})) is None
    assert recognize(post(b"\x00")) is None
    assert recognize(post({"object": own, "entry": [5, {"id": ["odd"]}]})) == Recognition(None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
WORDS = [
    "mid", "text", "is_echo", "is_self", "is_deleted", "metadata", "attachments", "quick_reply", "referral", "reply_to",
    "watermark", "mids", "action", "payload", "type", "url", "sticker_id", "num_edit", "id", "story", "coordinates",
    "notification_messages_status",
]  # fmt: skip
BODY = st.dictionaries(st.sampled_from(WORDS), JSON | st.sampled_from(["react", "image", "sticker", "location", "m_1"]))
EVENT = st.dictionaries(
    st.sampled_from(
        ["message", "delivery", "read", "reaction", "postback", "referral", "optin", "message_edit", "app_roles",
         "policy_enforcement", "account_linking", "sender", "recipient", "timestamp", "unheard_of"]
    ),
    BODY | JSON,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENT | JSON, max_size=3), key=st.sampled_from(["messaging", "standby", "changes", "field"]))
def test_strange_events_never_raise(
    product: Product, webhook_ctx: WebhookContext, post: Post, events: list[Any], key: str
) -> None:
    request = post({"object": product.channel.surface.webhook_object, "entry": [{"id": "1", key: events}]})
    once, again = (list(product.channel.parse_event(webhook_ctx, request)) for _ in range(2))
    assert [each.event_id for each in once] == [each.event_id for each in again]
    assert all(each.event_id and len(each.event_id) <= 240 and isinstance(each.raw, dict) for each in once)
    product.channel.recognize(request)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_strange_bodies_never_raise(product: Product, webhook_ctx: WebhookContext, post: Post, body: bytes) -> None:
    events = product.channel.parse_event(webhook_ctx, post(body))
    assert all(isinstance(each, UnknownEvent) for each in events)


def test_deep_nesting_does_not_raise(product: Product, webhook_ctx: WebhookContext, post: Post) -> None:
    opening = b'{"object":"%s","entry":' % product.channel.surface.webhook_object.encode()
    deep = opening + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert isinstance(product.channel.parse_event(webhook_ctx, post(deep))[0], UnknownEvent)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_what_json_readers_stumble_over_costs_its_neighbours_nothing(
    product: Product, webhook_ctx: WebhookContext, post: Post, oddity: bytes
) -> None:
    own = product.account_ref

    def said(mid: str, **more: Any) -> dict[str, Any]:
        message = {"mid": mid, "text": "hi", **more}
        ends = {"sender": {"id": product.person}, "recipient": {"id": own}}
        return {**ends, "timestamp": 1794302100349, "message": message}

    events = ["@@", said("m_1", here="@@"), {**said("m_2"), "timestamp": "@@"}, said("m_3")]
    entries = [
        {"id": own, "messaging": events},
        "@@",
        {"id": own, "messaging": "@@"},
        {"id": own, "changes": ["@@", {"field": "feed", "value": "@@"}]},
        {"id": own, "messaging": [said("m_4")]},
    ]
    document = {"object": product.channel.surface.webhook_object, "entry": entries}
    request = post(json.dumps(document).encode().replace(b'"@@"', oddity))
    found = product.channel.parse_event(webhook_ctx, request)
    read = [event for event in found if isinstance(event, InboundMessage)]
    assert [event.event_id for event in read] == [f"message:m_{number}" for number in (1, 2, 3, 4)]
    assert all(event.content == Text(body="hi") for event in read)
    assert read[1].occurred_at is None
    # The four other places (an array in the place of `messaging` counts as many events).
    kept = [event for event in found if isinstance(event, UnknownEvent)]
    assert len(kept) >= 4
    assert len(kept) + len(read) == len(found)
    for event in found:
        assert event.raw
        orjson.dumps(event.raw)
    assert product.channel.recognize(request) == Recognition(own)


def test_a_text_is_never_cut(product: Product, webhook_ctx: WebhookContext, post: Post) -> None:
    for length in (2001, 500_000):
        words = "x" * (length - 1) + "!"
        message = {"sender": {"id": product.person}, "message": {"mid": "m_1", "text": words}}
        entry = {"id": product.account_ref, "messaging": [message]}
        document = {"object": product.channel.surface.webhook_object, "entry": [entry]}
        (event,) = product.channel.parse_event(webhook_ctx, post(document))
        assert isinstance(event, InboundMessage)
        assert (event.content.body if isinstance(event.content, Text) else event.content.fields["text"]) == words  # type: ignore[attr-defined]
