"""Every documented webhook, in each of the three shapes, becomes the right events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from waypost.plugin import (
    Address,
    ChannelEvent,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    Media,
    Text,
    Unknown,
    UnknownEvent,
    WebhookContext,
    WebhookRequest,
)
from waypost_instagram.channel import instagram

ACCOUNT = "17841400000012345"
PERSON = Address("igsid", "1002233445566778")
FIRST = (
    "aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlEOZZQERSPqtitUrQdWU4PKAOWS3j6SUZ1ZW2qFgFCZEHWkYpg6ZkIdFXxh15xf6AYT1NFwZj8n3Z"
    "TWepZZlHYlcwQcZD"
)
OURS = (
    "aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlEO1kIPaZXOnZMRP6GWgpGijJvnJF7f2slhRys0RlMUZy1HHTZIZ1Fcvz6Gu2ovJR4ZBNHRvDVX9v"
    "tHOJKGUmRGp3xBZD"
)

Delivery = Callable[[str], WebhookRequest]
Post = Callable[[Any], WebhookRequest]
Parsed = Callable[[str], list[ChannelEvent]]
ParsedBody = Callable[[Any], list[ChannelEvent]]


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def message(**body: Any) -> dict[str, Any]:
    return {
        "sender": {"id": PERSON.value},
        "recipient": {"id": ACCOUNT},
        "timestamp": 1794302100349,
        "message": {"mid": "aWdf1", **body},
    }


def normal(*events: Any) -> dict[str, Any]:
    return {"object": "instagram", "entry": [{"id": ACCOUNT, "time": 1, "messaging": list(events)}]}


@pytest.fixture
def parsed(webhook_ctx: WebhookContext, delivery: Delivery) -> Parsed:
    return lambda name: list(instagram.parse_event(webhook_ctx, delivery(f"{name}.json")))


@pytest.fixture
def parsed_body(webhook_ctx: WebhookContext, post: Post) -> ParsedBody:
    return lambda body: list(instagram.parse_event(webhook_ctx, post(body)))


def inbound(events: list[ChannelEvent]) -> InboundMessage:
    first = events[0]
    assert isinstance(first, InboundMessage)
    assert first.sender == (PERSON,)
    assert first.recipient == Address("ig_id", ACCOUNT)
    assert first.account_ref == ACCOUNT
    assert first.raw["sender"] == {"id": PERSON.value}
    return first


def engagement(events: list[ChannelEvent]) -> Engagement:
    last = events[-1]
    assert isinstance(last, Engagement)
    return last


def test_text(parsed: Parsed) -> None:
    received = inbound(parsed("msg_text"))
    assert received.content == Text(body="Hi! Is this in stock?")
    assert (received.provider_id, received.event_id) == (FIRST, f"message:{FIRST}")
    assert received.occurred_at == at(1794302100349)


CDN = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id="


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("msg_image", [Media(kind="image", url=f"{CDN}1&signature=x")]),
        (
            "msg_story_reply",
            [
                Text(body="love it"),
                Unknown(provider_kind="story", fields={"url": f"{CDN}2", "id": "17900000000000005"}),
            ],
        ),
        ("msg_story_mention", [Unknown(provider_kind="story_mention", fields={"url": f"{CDN}3"})]),
        (
            "msg_share_post",
            [
                Unknown(
                    provider_kind="ig_post",
                    fields={
                        "url": "https://www.example.test/p/abc",
                        "title": "caption",
                        "ig_post_media_id": "17900000000000007",
                    },
                )
            ],
        ),
        ("msg_share_legacy", [Unknown(provider_kind="share", fields={"url": "https://www.example.test/test.jpeg"})]),
        (
            "msg_ig_reel",
            [
                Unknown(
                    provider_kind="ig_reel",
                    fields={"reel_video_id": 17900000000000009, "title": "reel", "url": f"{CDN}4"},
                )
            ],
        ),
        ("msg_unsupported", [Unknown(provider_kind="unsupported")]),
    ],
)
def test_contents(parsed: Parsed, name: str, contents: list[Any]) -> None:
    received = inbound(parsed(name))
    assert [received.content, *received.more] == contents


def test_reply_to_message(parsed: Parsed) -> None:
    assert inbound(parsed("msg_reply_to_message")).reply_to == OURS


def test_quick_reply(parsed: Parsed) -> None:
    events = parsed("msg_quick_reply")
    assert inbound(events).content == Text(body="Yes")
    assert (engagement(events).action, engagement(events).detail["payload"]) == ("postback", "YES")


def test_ad_referral(parsed: Parsed) -> None:
    events = parsed("msg_ad_referral")
    assert inbound(events).content == Text(body="hello")
    assert (engagement(events).action, engagement(events).detail["ad_id"]) == ("referral", "6045246247433")


def test_unsend_has_the_message_id_but_an_id_of_its_own(parsed: Parsed) -> None:
    unsent = inbound(parsed("msg_deleted_unsend"))
    original = inbound(parsed("msg_text"))
    assert unsent.provider_id == original.provider_id == FIRST
    assert unsent.change == "unsend"
    assert unsent.event_id != original.event_id


def test_edit(parsed: Parsed) -> None:
    edited = inbound(parsed("message_edit"))
    assert (edited.change, edited.provider_id) == ("edit", FIRST)
    assert edited.content == Text(body="Hi! Is this in stock in red?")


@pytest.mark.parametrize("name", ["echo_text", "msg_self_test"])
def test_echo(parsed: Parsed, name: str) -> None:
    echo = engagement(parsed(name))
    assert (echo.action, echo.detail["kind"], echo.sender) == ("other", "echo", ())
    assert echo.account_ref == ACCOUNT


def test_seen_names_one_message(parsed: Parsed) -> None:
    (seen,) = parsed("seen")
    assert isinstance(seen, DeliveryUpdate)
    assert (seen.status, seen.provider_id, seen.watermark) == ("read", OURS, None)
    assert (seen.recipient, seen.occurred_at) == (PERSON, at(1794302115349))


def test_reaction_and_its_withdrawal(parsed: Parsed) -> None:
    reaction, withdrawal = engagement(parsed("reaction_react")), engagement(parsed("reaction_unreact"))
    assert (reaction.action, withdrawal.action) == ("reaction", "unreaction")
    assert reaction.provider_id == withdrawal.provider_id == OURS
    assert reaction.detail == {"reaction": "love", "emoji": "❤️"}


def test_postback(parsed: Parsed) -> None:
    tap = engagement(parsed("postback_icebreaker"))
    assert (tap.action, tap.detail["payload"], tap.detail["title"]) == ("postback", "HOURS", "What are your hours?")


def test_referral(parsed: Parsed) -> None:
    referral = engagement(parsed("referral_igme"))
    assert (referral.action, referral.detail["ref"], referral.sender) == ("referral", "bio-link", (PERSON,))


def test_dashboard_test_button(parsed: Parsed) -> None:
    (received,) = parsed("changes_shape_messages")
    assert isinstance(received, InboundMessage)
    assert received.account_ref == "0"
    assert (received.sender, received.recipient) == ((Address("igsid", "12334"),), Address("ig_id", "23245"))
    assert received.content == Text(body="random_text")
    assert received.occurred_at == at(1794302100000)


@pytest.mark.parametrize(
    ("name", "identifier"),
    [("comments_changes_shape", "17900000000000099"), ("comments_flat_shape", "17900000000000101")],
)
def test_comments_are_kept(parsed: Parsed, name: str, identifier: str) -> None:
    (kept,) = parsed(name)
    assert isinstance(kept, UnknownEvent)
    assert (kept.reason, kept.account_ref) == ("field comments", ACCOUNT)
    assert kept.raw["value"]["id"] == identifier


def test_three_shapes_of_one_message(parsed_body: ParsedBody) -> None:
    event = message(text="hello")
    shapes = [
        normal(event),
        {"object": "instagram", "entry": [{"id": ACCOUNT, "changes": [{"field": "messages", "value": event}]}]},
        {"object": "instagram", "entry": [{"id": ACCOUNT, "field": "messages", "value": event}]},
    ]
    first, second, third = (parsed_body(shape) for shape in shapes)
    assert first == second == third
    assert inbound(first).content == Text(body="hello")


def test_every_fixture_repeats_itself(
    manifest: dict[str, Any], webhook_ctx: WebhookContext, delivery: Delivery
) -> None:
    for name in manifest["webhooks"]:
        once, again = (list(instagram.parse_event(webhook_ctx, delivery(name))) for _ in range(2))
        assert once, name
        assert [each.event_id for each in once] == [each.event_id for each in again]
        assert isinstance(once[0], UnknownEvent) == name.startswith("comments"), name


# ---- what no fixture shows


@pytest.mark.parametrize(
    ("attachment", "content"),
    [
        ({"type": "like_heart"}, Media(kind="sticker", media_id="like_heart")),
        (
            {"type": "animated_image", "payload": {"url": "https://cdn.example.test/a.gif"}},
            Media(kind="image", url="https://cdn.example.test/a.gif"),
        ),
        ({"type": "ephemeral"}, Unknown(provider_kind="ephemeral", fields={})),
        (
            {"type": "image", "payload": {"url": "not a url"}},
            Unknown(provider_kind="image", fields={"url": "not a url"}),
        ),
        ("odd", Unknown(provider_kind="attachment", fields={"value": "odd"})),
    ],
)
def test_attachments(parsed_body: ParsedBody, attachment: Any, content: Any) -> None:
    assert inbound(parsed_body(normal(message(attachments=[attachment])))).content == content


@pytest.mark.parametrize("timestamp", [1794302100000, "1794302100", "2026-11-10T07:55:00+00:00", 1794302100])
def test_times_of_any_form(parsed_body: ParsedBody, timestamp: Any) -> None:
    event = {**message(text="x"), "timestamp": timestamp}
    moment = parsed_body(normal(event))[0].occurred_at
    assert moment is not None
    assert moment.tzinfo is not None
    if not isinstance(timestamp, str) or timestamp.isdigit():
        assert moment == at(1794302100000)


@pytest.mark.parametrize("timestamp", [None, "soon", -5, 10**30, True, []])
def test_no_time_at_all(parsed_body: ParsedBody, timestamp: Any) -> None:
    assert inbound(parsed_body(normal({**message(text="x"), "timestamp": timestamp}))).occurred_at is None


def test_text_that_cannot_be_stored_is_mended(parsed_body: ParsedBody) -> None:
    body = b'{"object":"instagram","entry":[{"id":"1","messaging":[{"sender":{"id":"2"},"recipient":{"id":"1"},'
    events = parsed_body(body + b'"message":{"mid":"m","text":"a\\ud83db\\u0000"}}]}]}')
    assert isinstance(events[0], InboundMessage)
    assert isinstance(events[0].content, Text)
    events[0].content.body.encode()
    assert "\0" not in events[0].content.body


def test_standby_is_told_not_received(parsed_body: ParsedBody) -> None:
    entry = {"id": ACCOUNT, "standby": [message(text="x"), {"sender": {"id": "2"}, "read": {"mid": "aWdf"}}]}
    told, seen = parsed_body({"object": "instagram", "entry": [entry]})
    assert isinstance(told, Engagement)
    assert told.detail["kind"] == "standby"
    assert isinstance(seen, DeliveryUpdate)


def test_neighbours_of_the_strange_are_parsed(parsed_body: ParsedBody) -> None:
    events = parsed_body(normal(None, {"message": {"mid": []}}, message(text="x"), {"vote": {}}))
    assert [type(each).__name__ for each in events] == [
        "UnknownEvent",
        "UnknownEvent",
        "InboundMessage",
        "UnknownEvent",
    ]
