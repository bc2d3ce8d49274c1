"""Whose a delivery is, what it says, and that nothing a stranger sends breaks the parser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waypost.plugin import (
    Address,
    AddressChange,
    ChannelEvent,
    ConsentChange,
    Contacts,
    Engagement,
    InboundMessage,
    Location,
    Media,
    NoSettings,
    Rejected,
    Text,
    Unknown,
    UnknownEvent,
    Verified,
    WebhookContext,
    WebhookRequest,
)
from waypost_telegram.channel import SECRET_HEADER, telegram
from waypost_telegram.contents import Poll
from waypost_telegram.events import parse
from waypost_telegram.settings import TelegramBot
from waypost_telegram.simulator import TelegramSimulator

CHAT = {"id": 5550001, "type": "private", "first_name": "Ada"}
ADA = {"id": 5550001, "is_bot": False, "first_name": "Ada", "last_name": "Lovelace"}
GROUP = {"id": -1001234567890, "type": "supergroup", "title": "Engines"}
AT = 1_795_000_000


def delivery(body: Any, secret: str | None = "new-secret", method: str = "POST") -> WebhookRequest:
    headers = ((SECRET_HEADER, secret),) if secret is not None else ()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WebhookRequest(
        method=method, url="https://gw.example.test/webhooks/telegram/gw_1", headers=headers, body=raw
    )


def read(**update: Any) -> Sequence[ChannelEvent]:
    return parse(delivery({"update_id": 77, **update}), "123456789")


def message(**fields: Any) -> dict[str, Any]:
    return {"message_id": 42, "from": ADA, "chat": CHAT, "date": AT, **fields}


# ---- whose is it


@pytest.mark.parametrize("secret", ["new-secret", "old-secret"])
async def test_either_live_secret_verifies(webhook_context: WebhookContext, secret: str) -> None:
    assert await telegram.verify_webhook(webhook_context, delivery({"update_id": 1}, secret)) == Verified()


@pytest.mark.parametrize("secret", [None, "", "new-secre", "new-secret ", "ñew-secret", "\udcff", "x" * 100_000])
async def test_any_other_is_rejected(webhook_context: WebhookContext, secret: str | None) -> None:
    assert isinstance(await telegram.verify_webhook(webhook_context, delivery({}, secret)), Rejected)


async def test_without_a_secret_nothing_verifies(webhook_context: WebhookContext) -> None:
    bare = TelegramBot.model_validate({"bot_token": "123456789:AAfixture-only_token"})
    for account in (bare, None):
        ctx = replace(webhook_context, account=account)
        assert isinstance(await telegram.verify_webhook(ctx, delivery({}, "")), Rejected)


async def test_telegram_posts(webhook_context: WebhookContext) -> None:
    verdict = await telegram.verify_webhook(webhook_context, delivery(b"", method="GET"))
    assert isinstance(verdict, Rejected)


async def test_a_tap_is_answered_in_the_reply(webhook_context: WebhookContext) -> None:
    verdict = await telegram.verify_webhook(webhook_context, delivery({"callback_query": {"id": "4382"}}))
    assert isinstance(verdict, Verified)
    assert verdict.reply is not None
    assert json.loads(verdict.reply.body) == {"method": "answerCallbackQuery", "callback_query_id": "4382"}


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"callback_query":7}', b'{"callback_query":{"id":7}}'])
async def test_a_strange_body_verifies_all_the_same(webhook_context: WebhookContext, body: bytes) -> None:
    assert await telegram.verify_webhook(webhook_context, delivery(body)) == Verified()


def test_telegram_is_recognised_by_its_header() -> None:
    assert telegram.recognize(delivery({})) is not None
    assert telegram.recognize(delivery({}, None)) is None


# ---- what it says


def test_a_text() -> None:
    [event] = read(message=message(text="Hello", reply_to_message={"message_id": 40}))
    assert isinstance(event, InboundMessage)
    assert event.event_id == "update.77"
    assert event.provider_id == "5550001:42"
    assert event.sender == (Address("telegram_chat", "5550001"),)
    assert event.recipient == Address("telegram_bot", "123456789")
    assert event.content == Text(body="Hello")
    assert event.sender_name == "Ada Lovelace"
    assert event.reply_to == "5550001:40"
    assert event.occurred_at == datetime.fromtimestamp(AT, UTC)
    assert event.raw["update_id"] == 77


FILE = {"file_id": "AgAC", "file_unique_id": "u"}


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        (
            {"photo": [FILE | {"width": 90}, FILE | {"file_id": "BIG", "width": 800}], "caption": "See"},
            Media(kind="image", media_id="BIG", caption="See"),
        ),
        (
            {"document": FILE | {"file_name": "a.pdf", "mime_type": "application/pdf"}},
            Media(kind="document", media_id="AgAC", filename="a.pdf", mime_type="application/pdf"),
        ),
        ({"animation": FILE, "document": FILE}, Media(kind="video", media_id="AgAC")),
        ({"voice": FILE}, Media(kind="audio", media_id="AgAC", voice=True)),
        ({"sticker": FILE | {"emoji": "👍"}}, Media(kind="sticker", media_id="AgAC")),
        ({"location": {"latitude": 1.5, "longitude": 103.0}}, Location(latitude=1.5, longitude=103.0)),
        (
            {
                "venue": {"location": {"latitude": 1, "longitude": 2}, "title": "Shop", "address": "Quay 1"},
                "location": {"latitude": 1, "longitude": 2},
            },
            Location(latitude=1, longitude=2, name="Shop", address="Quay 1"),
        ),
        (
            {"contact": {"phone_number": "+659", "first_name": "Ada"}},
            Contacts(contacts=[{"phone_number": "+659", "first_name": "Ada"}]),
        ),
        (
            {"poll": {"id": "1", "question": "Which?", "options": [{"text": "A"}, {"text": "B"}]}},
            Poll(question="Which?", options=("A", "B")),
        ),
        (
            {"dice": {"emoji": "🎲", "value": 4}},
            Unknown(provider_kind="dice", fields={"dice": {"emoji": "🎲", "value": 4}}),
        ),
        ({"photo": "wrong"}, Unknown(provider_kind="photo", fields={"photo": "wrong"})),
    ],
)
def test_contents(fields: dict[str, Any], content: Any) -> None:
    [event] = read(message=message(**fields))
    assert isinstance(event, InboundMessage)
    assert event.content == content


def test_an_edit() -> None:
    [event] = read(edited_message=message(text="Hello!", edit_date=AT + 60))
    assert isinstance(event, InboundMessage)
    assert (event.change, event.provider_id) == ("edit", "5550001:42")
    assert event.occurred_at == datetime.fromtimestamp(AT + 60, UTC)


def test_in_a_group_an_answer_goes_to_the_group() -> None:
    [event] = read(message=message(chat=GROUP, text="Hello"))
    assert isinstance(event, InboundMessage)
    assert event.sender == (Address("telegram_chat", "-1001234567890"), Address("telegram_user", "5550001"))


def test_a_channels_post_is_named_after_the_channel() -> None:
    post = {"message_id": 1, "chat": GROUP, "date": AT, "text": "News"}
    [event] = read(channel_post=post)
    assert isinstance(event, InboundMessage)
    assert event.sender_name == "Engines"


def test_a_deep_link() -> None:
    first, second = read(message=message(text="/start spring-sale"))
    assert isinstance(first, InboundMessage)
    assert isinstance(second, Engagement)
    assert (second.action, second.detail) == ("referral", {"ref": "spring-sale"})
    assert first.event_id != second.event_id


def test_a_tap() -> None:
    [event] = read(callback_query={"id": "9", "from": ADA, "message": message(), "data": "AGENT"})
    assert isinstance(event, Engagement)
    assert (event.action, event.provider_id) == ("postback", "5550001:42")
    assert event.detail == {"payload": "AGENT", "callback_query_id": "9"}


@pytest.mark.parametrize(("status", "state"), [("kicked", "opted_out"), ("left", "opted_out"), ("member", "opted_in")])
def test_blocking_is_opting_out(status: str, state: str) -> None:
    [event] = read(my_chat_member={"chat": CHAT, "from": ADA, "date": AT, "new_chat_member": {"status": status}})
    assert isinstance(event, ConsentChange)
    assert (event.state, event.address) == (state, Address("telegram_chat", "5550001"))


def test_a_group_that_moves() -> None:
    [event] = read(message=message(chat=GROUP, migrate_to_chat_id=-1009999999999))
    assert isinstance(event, AddressChange)
    assert (event.old.value, event.new.value) == ("-1001234567890", "-1009999999999")


def test_a_reaction() -> None:
    change = {"chat": CHAT, "message_id": 42, "user": ADA, "date": AT, "old_reaction": []}
    [event] = read(message_reaction=change | {"new_reaction": [{"type": "emoji", "emoji": "👍"}]})
    assert isinstance(event, Engagement)
    assert (event.action, event.detail["emojis"], event.provider_id) == ("reaction", ["👍"], "5550001:42")
    [event] = read(message_reaction=change | {"new_reaction": []})
    assert isinstance(event, Engagement)
    assert event.action == "unreaction"


def test_an_answer_to_a_poll() -> None:
    [event] = read(poll_answer={"poll_id": "1", "user": ADA, "option_ids": [0, "x"]})
    assert isinstance(event, Engagement)
    assert event.detail == {"kind": "poll_answer", "poll_id": "1", "options": [0]}
    assert event.sender == (Address("telegram_user", "5550001"),)


def test_a_service_message_is_no_message() -> None:
    [event] = read(message=message(chat=GROUP, new_chat_members=[ADA]))
    assert isinstance(event, Engagement)
    assert event.detail == {"kind": "new_chat_members"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b'{"update_id":77}',
        b'{"update_id":77,"business_message":{}}',
        b'{"update_id":77,"message":[]}',
        b'{"update_id":77,"message":{}}',
        b'{"update_id":"x","message":{"chat":{"id":"1"},"message_id":1}}',
        b'{"my_chat_member":{"chat":{"id":1},"new_chat_member":{"status":["kicked"]}}}',
    ],
)
def test_what_is_not_known_is_kept(body: bytes) -> None:
    [event] = parse(delivery(body), "1")
    [again] = parse(delivery(body), "1")
    assert isinstance(event, UnknownEvent)
    assert event.raw
    assert event.event_id == again.event_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "chat", "from", "message_id", "date", "edit_date", "text", "photo", "document", "location", "venue", "contact",
        "poll", "caption", "reply_to_message", "migrate_to_chat_id", "new_chat_member", "data", "id", "message", "user",
        "new_reaction", "old_reaction", "option_ids", "sticker", "status", "title", "options", "latitude", "longitude",
        "file_id", "width", "file_name", "question",
    ]
)  # fmt: skip
SHAPES = st.recursive(
    JSON, lambda inner: st.dictionaries(FIELDS, inner, max_size=6) | st.lists(inner, max_size=2), max_leaves=25
)
KINDS = st.sampled_from(
    ["message", "edited_message", "channel_post", "callback_query", "my_chat_member", "message_reaction", "poll_answer"]
)
GOOD = {"chat": CHAT, "message_id": 42}


@settings(max_examples=400, deadline=None)
@given(kind=KINDS, thing=SHAPES, number=JSON, good=st.booleans())
def test_no_shape_breaks_the_parser(kind: str, thing: Any, number: Any, good: bool) -> None:
    if good and isinstance(thing, dict):
        thing = thing | GOOD
    request = delivery({"update_id": number, kind: thing})
    events = parse(request, "1")
    assert events
    assert [event.event_id for event in events] == [event.event_id for event in parse(request, "1")]
    assert len({event.event_id for event in events}) == len(events)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(body: bytes) -> None:
    assert parse(delivery(body), "1")


# ---- the circle


async def test_the_simulators_updates_verify_and_parse(telegram_api: TelegramSimulator) -> None:
    account = TelegramBot.model_validate(telegram_api.account_settings())
    ctx = WebhookContext(provider_app=NoSettings(), account=account, log=None, now=datetime.now(UTC))
    request = telegram_api.inbound("Hi", "5550002")
    assert isinstance(await telegram.verify_webhook(ctx, request), Verified)
    [event] = telegram.parse_event(ctx, request)
    assert isinstance(event, InboundMessage)
    assert event.content == Text(body="Hi")
    assert event.recipient.value == str(telegram_api.bot_id)
