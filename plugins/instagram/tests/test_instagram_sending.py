"""What is sent, what is refused before it costs anything, when, and by which way in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from waypost.plugin import (
    Action,
    Address,
    Buttons,
    Choice,
    Content,
    ContentRejected,
    Context,
    InvalidRecipient,
    Location,
    Media,
    OutboundMessage,
    OutsideWindow,
    Permanent,
    Reaction,
    Template,
    Text,
    Unsupported,
)
from waypost_instagram.channel import INFO, instagram
from waypost_instagram.payloads import SharedPost, StructuredTemplate, body
from waypost_instagram.settings import InstagramAccount

MakeContext = Callable[..., Context]
MakeMessage = Callable[..., OutboundMessage]
Part = Callable[..., dict[str, Any]]
PERSON = {"recipient": {"id": "1002233445566778"}}


@pytest.fixture
def built(account: InstagramAccount, outbound: MakeMessage) -> Part:
    return lambda content, **fields: body(account, outbound(content, **fields))


def test_every_example_is_priced_and_built(context: MakeContext, outbound: MakeMessage) -> None:
    assert set(INFO.examples) == INFO.content_kinds
    for kind, fields in INFO.examples.items():
        model = INFO.content_model(kind)
        assert model is not None
        content = model.model_validate({"kind": kind, **fields})
        assert isinstance(content, Content)
        quote = instagram.price(context(), outbound(content))
        action = kind in ("typing_on", "typing_off", "mark_read", "reaction")
        assert [(line.sku, line.quantity, line.charge_on) for line in quote.lines] == [
            ("action" if action else "message", 1, "sent")
        ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Text(body="x"), {"message": {"text": "x"}}),
        (Action(kind="mark_read"), {"sender_action": "mark_seen"}),
        (
            Reaction(message_id="m", emoji="❤"),
            {"sender_action": "react", "payload": {"message_id": "m", "reaction": "love"}},
        ),
        (Reaction(message_id="m"), {"sender_action": "unreact", "payload": {"message_id": "m"}}),
        (SharedPost(post_id="179"), {"message": {"attachment": {"type": "MEDIA_SHARE", "payload": {"id": "179"}}}}),
        (
            StructuredTemplate(template_type="product", payload={"elements": [{"id": "1"}]}),
            {
                "message": {
                    "attachment": {
                        "type": "template",
                        "payload": {"template_type": "product", "elements": [{"id": "1"}]},
                    }
                }
            },
        ),
        (
            Buttons(kind="quick_replies", body="b", choices=(Choice(title="Mail", id="user_email"),)),
            {
                "message": {
                    "text": "b",
                    "quick_replies": [{"content_type": "text", "title": "Mail", "payload": "user_email"}],
                }
            },
        ),
    ],
)
def test_bodies(built: Part, content: Content, expected: dict[str, Any]) -> None:
    assert built(content) == {**PERSON, **expected}


def test_reply(built: Part) -> None:
    assert built(Text(body="x"), reply_to="aWdf")["reply_to"] == {"mid": "aWdf"}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * 1000, True),
        ("x" * 1001, False),
        ("ä" * 500, True),
        ("ä" * 501, False),
        ("😀" * 250, True),
        ("😀" * 251, False),
    ],
)
def test_text_is_measured_in_bytes(context: MakeContext, outbound: MakeMessage, text: str, fits: bool) -> None:
    if fits:
        instagram.price(context(), outbound(Text(body=text)))
    else:
        with pytest.raises(ContentRejected, match="1000 bytes"):
            instagram.price(context(), outbound(Text(body=text)))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (Media(kind="sticker", media_id="369239263222822"), Unsupported),
        (Media(kind="image", url="https://x.example.test/a.jpg", caption="c"), Unsupported),
        (Location(latitude=1, longitude=1), Unsupported),
        (Template(template_id="t", language="en"), Unsupported),
        (Reaction(message_id="m", emoji="🎉"), Unsupported),
        (Buttons(body="b", choices=(Choice(title="Call", phone="+15551234567"),)), Unsupported),
        (
            Buttons(kind="quick_replies", body="b", choices=(Choice(title="L", image_url="https://x.example/l.png"),)),
            Unsupported,
        ),
        (Buttons(body="b", choices=tuple(Choice(title=str(n)) for n in range(4))), ContentRejected),
        (Buttons(kind="quick_replies", body="ä" * 501, choices=(Choice(title="t"),)), ContentRejected),
    ],
)
def test_what_instagram_cannot_express(
    context: MakeContext, outbound: MakeMessage, content: Content, error: type[Permanent]
) -> None:
    with pytest.raises(error) as caught:
        instagram.price(context(), outbound(content))
    assert type(caught.value) is error


@pytest.mark.parametrize("options", [{"tag": "ACCOUNT_UPDATE"}, {"messaging_type": "UPDATE"}, {"messaging_type": {}}])
def test_options_that_cannot_be(context: MakeContext, outbound: MakeMessage, options: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        instagram.price(context(), outbound(Text(body="x"), options=options))


@pytest.mark.parametrize(
    ("hours", "options", "closed"),
    [
        (23, {}, False),
        (25, {}, True),
        (25, {"tag": "HUMAN_AGENT"}, False),
        (24 * 7 + 1, {"tag": "HUMAN_AGENT"}, True),
    ],
)
def test_window(context: MakeContext, outbound: MakeMessage, hours: int, options: dict[str, Any], closed: bool) -> None:
    ctx = context(last_inbound_at=context().now - timedelta(hours=hours))
    message = outbound(Text(body="x"), options=options)
    if closed:
        with pytest.raises(OutsideWindow):
            instagram.price(ctx, message)
    else:
        instagram.price(ctx, message)
    instagram.price(ctx, outbound(Action(kind="typing_on")))


# ---- addresses and settings


def test_address() -> None:
    assert instagram.parse_address(" 1002233445566778 ") == Address("igsid", "1002233445566778")


@pytest.mark.parametrize("value", ["", "@someone", "+15551234567", "1" * 33])
def test_no_address(value: str) -> None:
    with pytest.raises(InvalidRecipient) as caught:
        instagram.parse_address(value)
    assert not value or value not in str(caught.value)


def account(**fields: Any) -> InstagramAccount:
    return InstagramAccount.model_validate({"ig_id": "178", "access_token": "t", **fields})


@pytest.mark.parametrize(
    ("fields", "host", "node"),
    [
        ({}, "https://graph.facebook.com", "me"),
        ({"page_id": "118"}, "https://graph.facebook.com", "118"),
        ({"login": "instagram"}, "https://graph.instagram.com", "178"),
        ({"login": "instagram", "page_id": "118"}, "https://graph.instagram.com", "178"),
        ({"login": "instagram", "base_url": "https://graph.facebook.com"}, "https://graph.instagram.com", "178"),
        ({"login": "page", "base_url": "https://graph.instagram.com/"}, "https://graph.facebook.com", "me"),
        ({"login": "instagram", "base_url": ""}, "https://graph.instagram.com", "178"),
        ({"login": "instagram", "base_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1", "178"),
    ],
)
def test_way_in(fields: dict[str, Any], host: str, node: str) -> None:
    settings = account(**fields)
    assert (settings.base_url, settings.node) == (host, node)


@pytest.mark.parametrize("fields", [{"login": "telepathy"}, {"login": []}, {"ig_id": "me"}, {"base_url": 5}])
def test_wrong_settings(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        account(**fields)
