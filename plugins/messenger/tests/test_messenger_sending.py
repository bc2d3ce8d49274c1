"""What is sent, what is refused before it costs anything, and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from waypost.plugin import (
    Action,
    Address,
    Buttons,
    Card,
    Cards,
    Choice,
    Contacts,
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
from waypost_messenger.channel import INFO, messenger
from waypost_messenger.payloads import StructuredTemplate, body
from waypost_messenger.settings import MessengerAccount

MakeContext = Callable[..., Context]
MakeMessage = Callable[..., OutboundMessage]
Part = Callable[..., dict[str, Any]]


@pytest.fixture
def built(context: MakeContext, account: MessengerAccount, outbound: MakeMessage) -> Part:
    return lambda content, **fields: body(context(), account, outbound(content, **fields))


def test_every_example_is_priced_and_built(context: MakeContext, outbound: MakeMessage) -> None:
    assert set(INFO.examples) == INFO.content_kinds
    for kind, fields in INFO.examples.items():
        model = INFO.content_model(kind)
        assert model is not None
        content = model.model_validate({"kind": kind, **fields})
        assert isinstance(content, Content)
        quote = messenger.price(context(), outbound(content))
        action = kind in ("typing_on", "typing_off", "mark_read", "reaction")
        assert [(line.sku, line.quantity, line.charge_on) for line in quote.lines] == [
            ("action" if action else "message", 1, "sent")
        ]


def test_metadata_carries_the_correlation(
    context: MakeContext, account: MessengerAccount, outbound: MakeMessage
) -> None:
    for content in (Text(body="x"), Media(kind="image", media_id="1"), Template(template_id="t", language="en")):
        request = body(context(correlation="att_1"), account, outbound(content))
        assert request["message"]["metadata"] == "att_1"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Action(kind="typing_off"), {"sender_action": "typing_off"}),
        (Action(kind="mark_read"), {"sender_action": "mark_seen"}),
        (
            Reaction(message_id="m_1", emoji="🎉"),
            {"sender_action": "react", "payload": {"message_id": "m_1", "reaction": "🎉"}},
        ),
        (Reaction(message_id="m_1"), {"sender_action": "unreact", "payload": {"message_id": "m_1"}}),
    ],
)
def test_actions(built: Part, content: Content, expected: dict[str, Any]) -> None:
    assert built(content) == {"recipient": {"id": "7433201956612084"}, **expected}


def test_utility_template(built: Part) -> None:
    letters = "abcdefghij"
    variables = {str(number): letter for number, letter in reversed(list(enumerate(letters, 1)))}
    template = Template(template_id="order_update", language="en_US", variables=variables)
    request = built(template)
    assert request["messaging_type"] == "UTILITY"
    assert request["message"]["template"] == {
        "name": "order_update",
        "language": {"code": "en_US"},
        "components": [{"type": "body", "parameters": [{"type": "text", "text": value} for value in letters]}],
    }


@pytest.mark.parametrize(
    "variables", [{"1": "a", "3": "c"}, {"2": "b"}, {"1": "a", "name": "b"}, {"1": "a", "01": "b"}]
)
def test_variables_that_would_go_into_the_wrong_place_are_refused(built: Part, variables: dict[str, str]) -> None:
    with pytest.raises(ContentRejected):
        built(Template(template_id="t", language="en", variables=variables))


def test_utility_template_with_named_variables_or_components(built: Part) -> None:
    named = built(Template(template_id="t", language="en", variables={"who": "Ann"}))
    assert named["message"]["template"]["components"] == [
        {"type": "body", "parameters": [{"type": "text", "parameter_name": "who", "text": "Ann"}]}
    ]
    own: list[dict[str, Any]] = [{"type": "buttons", "parameters": [{"type": "POSTBACK", "payload": "1"}]}]
    given = built(Template(template_id="t", language="en", components=own))
    assert given["message"]["template"]["components"] == own
    both = built(Template(template_id="t", language="en", components=own, variables={"1": "Ann"}))
    assert both["message"]["template"]["components"] == [
        *own,
        {"type": "body", "parameters": [{"type": "text", "text": "Ann"}]},
    ]


def test_a_utility_template_s_body_is_given_once(built: Part) -> None:
    own = [{"type": "BODY", "parameters": []}]
    with pytest.raises(ContentRejected):
        built(Template(template_id="t", language="en", components=own, variables={"1": "Ann"}))


def test_structured_template(built: Part) -> None:
    content = StructuredTemplate(template_type="media", payload={"template_type": "lies", "elements": []})
    assert built(content)["message"]["attachment"]["payload"] == {"template_type": "media", "elements": []}


def test_cards_and_calls(built: Part) -> None:
    card = Card(title="T", url="https://x.example.test", choices=(Choice(title="Call", phone="+15551234567"),))
    assert built(Cards(cards=(card,)))["message"]["attachment"]["payload"]["elements"] == [
        {
            "title": "T",
            "default_action": {"type": "web_url", "url": "https://x.example.test"},
            "buttons": [{"type": "phone_number", "title": "Call", "payload": "+15551234567"}],
        }
    ]


def test_options(built: Part) -> None:
    options = {"messaging_type": "UPDATE", "notification_type": "NO_PUSH", "persona_id": "42", "other": {"a": 1}}
    request = built(Text(body="x"), options=options)
    assert {key: request[key] for key in ("messaging_type", "notification_type", "persona_id")} == {
        "messaging_type": "UPDATE",
        "notification_type": "NO_PUSH",
        "persona_id": "42",
    }
    assert "other" not in request


@pytest.mark.parametrize(
    "options",
    [
        {"messaging_type": "MESSAGE_TAG"},
        {"messaging_type": "UTILITY"},
        {"messaging_type": 5},
        {"messaging_type": ["RESPONSE"]},
        {"tag": "INVENTED"},
        {"tag": 5},
        {"tag": "HUMAN_AGENT", "messaging_type": "UPDATE"},
        {"notification_type": "LOUD"},
    ],
)
def test_options_that_cannot_be(context: MakeContext, outbound: MakeMessage, options: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        messenger.price(context(), outbound(Text(body="x"), options=options))


def test_tags_are_the_operators_choice(context: MakeContext, outbound: MakeMessage) -> None:
    account = MessengerAccount.model_validate(
        {"page_id": "1", "access_token": "t", "message_tags": "HUMAN_AGENT, NEW_TAG"}
    )
    assert account.message_tags == ("HUMAN_AGENT", "NEW_TAG")
    messenger.price(context(account=account), outbound(Text(body="x"), options={"tag": "NEW_TAG"}))
    with pytest.raises(Unsupported, match="HUMAN_AGENT, NEW_TAG"):
        messenger.price(context(account=account), outbound(Text(body="x"), options={"tag": "ACCOUNT_UPDATE"}))


LONG = "x" * 21


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (Text(body="x" * 2001), ContentRejected),
        (Media(kind="image", url="https://x.example.test/a.jpg", caption="c"), Unsupported),
        (Media(kind="image", url="https://x.example.test/a", more_urls=("https://x.example.test/b",)), Unsupported),
        (Media(kind="image"), ContentRejected),
        (Media(kind="image", url="https://x.example.test/a.jpg", media_id="1"), ContentRejected),
        (Buttons(body="b", choices=(Choice(title="t", url="https://x.example", phone="+1555"),)), ContentRejected),
        (Media(kind="sticker", media_id="1"), Unsupported),
        (Location(latitude=1, longitude=1), Unsupported),
        (Contacts(contacts=[{}]), Unsupported),
        (Buttons(body="b", choices=tuple(Choice(title=str(n)) for n in range(4))), ContentRejected),
        (Buttons(body="b" * 641, choices=(Choice(title="t"),)), ContentRejected),
        (Buttons(body="b", choices=(Choice(title=LONG),)), ContentRejected),
        (Buttons(body="b", choices=(Choice(title="t"),), footer="f"), Unsupported),
        (Buttons(body="b", choices=(Choice(title="t", description="d"),)), Unsupported),
        (Buttons(kind="quick_replies", body="b", choices=(Choice(title="t", phone="1"),)), Unsupported),
        (Buttons(kind="quick_replies", body="b", choices=(Choice(title=LONG),)), ContentRejected),
        (Buttons(kind="quick_replies", body="b" * 2001, choices=(Choice(title="t"),)), ContentRejected),
        (Cards(cards=(Card(title="t" * 81),)), ContentRejected),
        (Cards(cards=(Card(title="t", subtitle="s" * 81),)), ContentRejected),
        (Template(template_id="t"), ContentRejected),
    ],
)
def test_what_messenger_cannot_express(
    context: MakeContext, outbound: MakeMessage, content: Content, error: type[Permanent]
) -> None:
    with pytest.raises(error) as caught:
        messenger.price(context(), outbound(content))
    assert type(caught.value) is error


def test_text_of_the_full_length_goes(context: MakeContext, outbound: MakeMessage) -> None:
    messenger.price(context(), outbound(Text(body="ä" * 2000)))


def test_template_takes_no_tag(context: MakeContext, outbound: MakeMessage) -> None:
    with pytest.raises(Unsupported):
        messenger.price(context(), outbound(Template(template_id="t", language="en"), options={"tag": "HUMAN_AGENT"}))


def test_recipient_of_another_kind(context: MakeContext) -> None:
    message = OutboundMessage(channel="MESSENGER", recipient=(Address("e164", "+15551234567"),), content=Text(body="x"))
    with pytest.raises(InvalidRecipient) as caught:
        messenger.price(context(), message)
    assert "555" not in str(caught.value)


# ---- the window

DAY, WEEK = timedelta(hours=24), timedelta(days=7)
A_MOMENT = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("last", "since", "options", "closed"),
    [
        (None, None, {}, False),
        (None, DAY - A_MOMENT, {}, False),
        (None, DAY + A_MOMENT, {}, True),
        (DAY, 2 * WEEK, {}, False),
        (DAY + A_MOMENT, 2 * WEEK, {}, True),
        (DAY + A_MOMENT, DAY - A_MOMENT, {}, False),
        (DAY + A_MOMENT, None, {}, True),
        (DAY + A_MOMENT, 2 * WEEK, {"tag": "HUMAN_AGENT"}, False),
        (WEEK + A_MOMENT, 2 * WEEK, {"tag": "HUMAN_AGENT"}, True),
        (WEEK + A_MOMENT, 2 * WEEK, {"tag": "ACCOUNT_UPDATE"}, False),
        (None, 2 * WEEK, {"tag": "ACCOUNT_UPDATE"}, False),
    ],
)
def test_window(
    context: MakeContext,
    outbound: MakeMessage,
    last: timedelta | None,
    since: timedelta | None,
    options: dict[str, Any],
    closed: bool,
) -> None:
    now = context().now

    def ago(span: timedelta | None) -> datetime | None:
        return None if span is None else now - span

    ctx = context(last_inbound_at=ago(last), history_since=ago(since))
    message = outbound(Text(body="x"), options=options)
    if closed:
        with pytest.raises(OutsideWindow):
            messenger.price(ctx, message)
    else:
        messenger.price(ctx, message)


@pytest.mark.parametrize("content", [Template(template_id="t", language="en"), Action(kind="typing_on")])
def test_outside_the_window_templates_and_actions_may_go(
    context: MakeContext, outbound: MakeMessage, content: Content
) -> None:
    now = context().now
    messenger.price(context(last_inbound_at=now - WEEK, history_since=now - WEEK), outbound(content))


# ---- addresses and settings


@pytest.mark.parametrize("value", ["7433201956612084", " 7433201956612084 "])
def test_address(value: str) -> None:
    assert messenger.parse_address(value) == Address("psid", "7433201956612084")


@pytest.mark.parametrize("value", ["", "ann", "+15551234567", "12", "1" * 33, "١٢٣٤٥٦", "1234567/me"])
def test_no_address(value: str) -> None:
    with pytest.raises(InvalidRecipient) as caught:
        messenger.parse_address(value)
    assert not value or value not in str(caught.value)


def test_settings_hide_the_token(account: MessengerAccount) -> None:
    assert "EAAFixturePageToken" not in repr(account) + account.model_dump_json()
    assert account.base_url == "https://graph.facebook.com"
    assert account.api_version == "v25.0"


@pytest.mark.parametrize("page", ["", "me", "1/../2", "12 34"])
def test_page_id_is_digits(page: str) -> None:
    with pytest.raises(ValidationError):
        MessengerAccount.model_validate({"page_id": page, "access_token": "t"})
