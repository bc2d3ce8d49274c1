"""Every documented webhook becomes the right events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from waypost.plugin import (
    AccountUpdate,
    Address,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    Location,
    Media,
    Text,
    Unknown,
    UnknownEvent,
    WebhookContext,
    WebhookRequest,
)
from waypost_messenger.channel import messenger

PAGE = "118200456700123"
PERSON = Address("psid", "7433201956612084")
OURS = "m__KyKv3n3310s-i9yba3vHnPX0Ux1dSzIINDs-lssYmB45vqEDCDfniRbNkLXW-4xamTi6kPcSsh_J2JqFxaIGT"
QUOTED = "m_AQdwZ-Kftbl_y6WZ5wX__pp1P5z7cM4o2n3oeL1pROknKy3GPgK7TItEelyH4ss4bQzmHQtYSHbv9gBAa2gq1g"

Delivery = Callable[[str], WebhookRequest]
Post = Callable[[Any], WebhookRequest]


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def event(**body: Any) -> dict[str, Any]:
    base = {"sender": {"id": PERSON.value}, "recipient": {"id": PAGE}, "timestamp": 1794302100308}
    return {"object": "page", "entry": [{"id": PAGE, "time": 1, "messaging": [{**base, **body}]}]}


@pytest.fixture
def parsed(webhook_ctx: WebhookContext, delivery: Delivery) -> Callable[[str], list[ChannelEvent]]:
    return lambda name: list(messenger.parse_event(webhook_ctx, delivery(f"{name}.json")))


@pytest.fixture
def parsed_body(webhook_ctx: WebhookContext, post: Post) -> Callable[[Any], list[ChannelEvent]]:
    return lambda body: list(messenger.parse_event(webhook_ctx, post(body)))


Parsed = Callable[[str], list[ChannelEvent]]
ParsedBody = Callable[[Any], list[ChannelEvent]]


def inbound(events: list[ChannelEvent]) -> InboundMessage:
    first = events[0]
    assert isinstance(first, InboundMessage)
    assert first.sender == (PERSON,)
    assert first.recipient == Address("page_id", PAGE)
    assert first.account_ref == PAGE
    assert first.raw["sender"] == {"id": PERSON.value}
    assert first.event_id == f"{'edit' if first.change == 'edit' else 'message'}:" + first.event_id.split(":", 1)[1]
    assert first.provider_id in first.event_id
    return first


def test_text(parsed: Parsed) -> None:
    message = inbound(parsed("msg_text"))
    assert message.content == Text(body="hello, world!")
    assert message.provider_id.startswith("m_kXwC7hHr")
    assert message.occurred_at == at(1794302100308)
    assert message.change == "new"
    assert (message.more, message.reply_to) == ((), None)


def test_escaped_text(parsed: Parsed) -> None:
    assert inbound(parsed("msg_text_unicode_slashes")).content == Text(
        body="äöå see https://shop.example.test/a?b=1&c=2 😀"
    )


def test_quick_reply_is_a_text_and_a_postback(parsed: Parsed) -> None:
    events = parsed("msg_quick_reply")
    message = inbound(events)
    assert message.content == Text(body="Red")
    tap = events[1]
    assert isinstance(tap, Engagement)
    assert (tap.action, tap.sender, tap.provider_id) == ("postback", (PERSON,), None)
    assert tap.detail == {
        "kind": "quick_reply",
        "payload": "COLOR_RED",
        "title": "Red",
        "message_id": message.provider_id,
    }


def test_reply_to(parsed: Parsed) -> None:
    assert inbound(parsed("msg_reply_to")).reply_to == QUOTED


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("msg_image", [Media(kind="image", url="https://scontent.example.test/i.jpg")]),
        (
            "msg_multi_attachments",
            [
                Media(kind="image", url="https://scontent.example.test/1.jpg"),
                Media(kind="video", url="https://video.example.test/2.mp4"),
                Media(kind="document", url="https://cdn.example.test/3.pdf"),
                Media(kind="audio", url="https://cdn.example.test/4.mp3"),
            ],
        ),
        (
            "msg_sticker",
            [Media(kind="sticker", url="https://scontent.example.test/like.png", media_id="369239263222822")],
        ),
        (
            "msg_fallback_link",
            [
                Text(body="This is where: https://youtu.be/example"),
                Unknown(
                    provider_kind="fallback", fields={"url": "https://l.facebook.com/l.php?u=x", "title": "TAHITI"}
                ),
            ],
        ),
        (
            "msg_post_share",
            [
                Unknown(
                    provider_kind="ig_post",
                    fields={"url": "https://www.example.test/p/1", "title": "post", "id": 17900000000000001},
                )
            ],
        ),
        ("msg_location", [Location(latitude=1.2, longitude=-1.3)]),
    ],
)
def test_attachments(parsed: Parsed, name: str, contents: list[Any]) -> None:
    message = inbound(parsed(name))
    assert [message.content, *message.more] == contents


def test_ad_referral(parsed: Parsed) -> None:
    message, referral = parsed("msg_ad_referral")
    assert isinstance(message, InboundMessage)
    assert isinstance(referral, Engagement)
    assert referral.action == "referral"
    assert referral.detail["ad_id"] == "6045246247433"
    assert referral.event_id != message.event_id


def test_edit(parsed: Parsed) -> None:
    message = inbound(parsed("message_edit"))
    original = inbound(parsed("msg_text"))
    assert (message.change, message.provider_id) == ("edit", original.provider_id)
    assert message.content == Text(body="hello, worlds!")
    assert message.event_id != original.event_id


def test_echo_of_ours_is_a_sent_receipt_with_our_correlation(parsed: Parsed) -> None:
    (echo,) = parsed("echo_text_from_our_app")
    assert isinstance(echo, DeliveryUpdate)
    assert (echo.status, echo.correlation, echo.provider_id) == ("sent", "gw-msg-01JC9Q2V8N", OURS)
    assert (echo.recipient, echo.occurred_at, echo.account_ref) == (PERSON, at(1794302111627), PAGE)


@pytest.mark.parametrize(
    ("name", "app_id"), [("echo_text_from_page_inbox", "26390203743090"), ("echo_template", "912004563310087")]
)
def test_echo_of_somebody_else_is_an_engagement_of_nobody(parsed: Parsed, name: str, app_id: str) -> None:
    (echo,) = parsed(name)
    assert isinstance(echo, Engagement)
    assert (echo.action, echo.sender, echo.provider_id) == ("other", (), None)
    assert (echo.detail["kind"], echo.detail["app_id"]) == ("echo", app_id)
    assert echo.raw["message"]["is_echo"] is True


def test_delivery_by_ids_and_watermark(parsed: Parsed) -> None:
    events = parsed("delivery")
    assert all(isinstance(each, DeliveryUpdate) and each.status == "delivered" for each in events)
    first, second, all_until = (each for each in events if isinstance(each, DeliveryUpdate))
    assert [first.provider_id, second.provider_id, all_until.provider_id] == [QUOTED, OURS, None]
    assert (all_until.recipient, all_until.watermark) == (PERSON, at(1794302113000))
    assert all_until.occurred_at == at(1794302114308)
    assert first.watermark is None
    assert len({each.event_id for each in events}) == 3
    assert not any(PERSON.value in each.event_id for each in events)


@pytest.mark.parametrize(
    ("name", "status", "watermark"),
    [("delivery_watermark_only", "delivered", 1794302114000), ("read", "read", 1794302115000)],
)
def test_watermark_alone(parsed: Parsed, name: str, status: str, watermark: int) -> None:
    (update,) = parsed(name)
    assert isinstance(update, DeliveryUpdate)
    assert (update.status, update.watermark, update.recipient) == (status, at(watermark), PERSON)


def test_postback(parsed: Parsed) -> None:
    (tap,) = parsed("postback_get_started")
    assert isinstance(tap, Engagement)
    assert (tap.action, tap.sender, tap.occurred_at) == ("postback", (PERSON,), at(1794302117308))
    assert (tap.detail["payload"], tap.detail["title"]) == ("GET_STARTED", "Get Started")
    assert tap.event_id == f"postback:{tap.detail['message_id']}"


def test_postback_without_id_but_with_referral(parsed: Parsed) -> None:
    tap, referral = parsed("postback_with_referral")
    assert isinstance(tap, Engagement)
    assert tap.detail["payload"] == "GET_STARTED"
    assert isinstance(referral, Engagement)
    assert (referral.action, referral.detail["ref"]) == ("referral", "poster7")
    assert tap.event_id != referral.event_id


def test_referral(parsed: Parsed) -> None:
    (referral,) = parsed("referral_mme_link")
    assert isinstance(referral, Engagement)
    assert (referral.action, referral.sender) == ("referral", (PERSON,))
    assert referral.detail == {"ref": "flyer-12", "source": "SHORTLINK", "type": "OPEN_THREAD"}


def test_reaction_and_its_withdrawal(parsed: Parsed) -> None:
    (reaction,), (withdrawal,) = parsed("reaction_react"), parsed("reaction_unreact")
    assert isinstance(reaction, Engagement)
    assert isinstance(withdrawal, Engagement)
    assert (reaction.action, withdrawal.action) == ("reaction", "unreaction")
    assert reaction.provider_id == withdrawal.provider_id == QUOTED
    assert reaction.detail == {"reaction": "love", "emoji": "❤️"}
    assert withdrawal.detail == {}


def test_notification_optin(parsed: Parsed) -> None:
    optin, consent = parsed("optin_notification_messages")
    assert isinstance(optin, Engagement)
    assert (optin.action, optin.detail["notification_messages_token"]) == ("optin", "2119990000000000123")
    assert isinstance(consent, ConsentChange)
    assert (consent.state, consent.scope, consent.address) == ("opted_in", "marketing", PERSON)


def test_notification_stop(parsed: Parsed) -> None:
    (consent,) = parsed("optin_notification_messages_stop")
    assert isinstance(consent, ConsentChange)
    assert (consent.state, consent.scope, consent.address) == ("opted_out", "marketing", PERSON)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("account_linking", "account_linking"), ("handover_pass_thread_control", "pass_thread_control")],
)
def test_what_happens_in_the_thread(parsed: Parsed, name: str, kind: str) -> None:
    (told,) = parsed(name)
    assert isinstance(told, Engagement)
    assert (told.action, told.detail["kind"], told.sender) == ("other", kind, (PERSON,))


def test_standby_is_told_not_received(parsed: Parsed) -> None:
    (told,) = parsed("standby_message")
    assert isinstance(told, Engagement)
    assert (told.action, told.detail["kind"]) == ("other", "standby")
    assert told.raw["message"]["text"] == "talking to the other app"


def test_taps_on_standby_are_told_too(parsed_body: ParsedBody) -> None:
    body = event(message={"mid": "m_1", "text": "Red", "quick_reply": {"payload": "RED"}})
    body["entry"][0]["standby"] = body["entry"][0].pop("messaging")
    events = parsed_body(body)
    assert [(each.action, each.detail["kind"]) for each in events if isinstance(each, Engagement)] == [
        ("other", "standby"),
        ("other", "standby"),
    ]
    assert len({each.event_id for each in events}) == len(events) == 2


def test_batch_of_two_pages(parsed: Parsed) -> None:
    events = parsed("batch_three_entries_two_pages")
    assert [type(each).__name__ for each in events] == [
        "InboundMessage",
        "InboundMessage",
        "DeliveryUpdate",
        "DeliveryUpdate",
        "InboundMessage",
    ]
    assert [each.account_ref for each in events] == [PAGE] * 4 + ["118200456700999"]


def test_every_fixture_is_known_and_repeats_itself(
    manifest: dict[str, Any], webhook_ctx: WebhookContext, delivery: Delivery
) -> None:
    for name in manifest["webhooks"]:
        once, again = (list(messenger.parse_event(webhook_ctx, delivery(name))) for _ in range(2))
        assert once, name
        assert [each.event_id for each in once] == [each.event_id for each in again]
        assert not any(isinstance(each, UnknownEvent) for each in once), name
        assert all(each.raw for each in once)


def test_ids_do_not_hang_on_the_batch(parsed: Parsed, parsed_body: ParsedBody) -> None:
    raw = parsed("referral_mme_link")[0].raw
    alone = {"object": "page", "entry": [{"id": PAGE, "time": 9, "messaging": [raw]}]}
    among = {"object": "page", "entry": [{"id": PAGE, "time": 7, "messaging": [event()["entry"][0], raw]}]}
    assert parsed_body(alone)[0].event_id == parsed_body(among)[1].event_id


# ---- what no fixture shows


def test_sticker_that_comes_twice_counts_once(parsed_body: ParsedBody) -> None:
    payload = {"url": "https://scontent.example.test/like.png", "sticker_id": 369239263222822}
    twice = [{"type": "image", "payload": payload}, {"type": "sticker", "payload": payload}]
    message = inbound(parsed_body(event(message={"mid": "m_1", "attachments": twice})))
    assert [message.content.kind, *message.more] == ["sticker"]


def test_unsend(parsed_body: ParsedBody) -> None:
    (message,) = parsed_body(event(message={"mid": "m_1", "is_deleted": True}))
    assert isinstance(message, InboundMessage)
    assert (message.change, message.provider_id, message.event_id) == ("unsend", "m_1", "unsend:m_1")


@pytest.mark.parametrize("num_edit", [2, "2"])
def test_edit_number_of_either_type(parsed_body: ParsedBody, num_edit: Any) -> None:
    (message,) = parsed_body(event(message_edit={"mid": "m_1", "text": "x", "num_edit": num_edit}))
    assert message.event_id == "edit:m_1:2"


def test_sender_by_user_ref(parsed_body: ParsedBody) -> None:
    (message,) = parsed_body(event(sender={"user_ref": "ref-1"}, message={"mid": "m_1", "text": "x"}))
    assert isinstance(message, InboundMessage)
    assert message.sender == (Address("user_ref", "ref-1"),)


@pytest.mark.parametrize(("action", "state"), [("block", "blocked"), ("unblock", "ok"), ("warning", "warning")])
def test_policy_enforcement(parsed_body: ParsedBody, action: str, state: str) -> None:
    (update,) = parsed_body(event(policy_enforcement={"action": action, "reason": "somebody complained"}))
    assert isinstance(update, AccountUpdate)
    assert (update.topic, update.state) == ("policy_enforcement", state)
    assert "somebody" not in update.detail
    assert update.detail
    assert (update.account_ref, update.occurred_at) == (PAGE, at(1794302100308))
    assert update.raw["policy_enforcement"] == {"action": action, "reason": "somebody complained"}


def test_app_roles(parsed_body: ParsedBody) -> None:
    (update,) = parsed_body(event(app_roles={"912004563310087": ["primary_receiver"]}))
    assert isinstance(update, AccountUpdate)
    assert (update.topic, update.state) == ("app_roles", "info")
    assert "roles" in update.detail
    assert (update.account_ref, update.occurred_at) == (PAGE, at(1794302100308))
    assert update.raw["app_roles"] == {"912004563310087": ["primary_receiver"]}


def test_fallback_without_payload_keeps_its_link(parsed_body: ParsedBody) -> None:
    attachment = {"type": "fallback", "payload": None, "URL": "https://x.example.test", "title": "X"}
    message = inbound(parsed_body(event(message={"mid": "m_1", "attachments": [attachment]})))
    assert message.content == Unknown(
        provider_kind="fallback", fields={"payload": None, "URL": "https://x.example.test", "title": "X"}
    )


def test_notification_resume(parsed_body: ParsedBody) -> None:
    optin = {"type": "notification_messages", "notification_messages_status": "RESUME_NOTIFICATIONS"}
    (consent,) = parsed_body(event(optin=optin))
    assert isinstance(consent, ConsentChange)
    assert consent.state == "opted_in"


def test_plugin_optin(parsed_body: ParsedBody) -> None:
    (optin,) = parsed_body(event(optin={"ref": "checkbox", "user_ref": "u-1"}))
    assert isinstance(optin, Engagement)
    assert optin.action == "optin"


@pytest.mark.parametrize(
    "body",
    [
        {"response_feedback": {"feedback": "Good"}},
        {"message": {"text": "no id"}},
        {"message": "not an object"},
        {"message": {"mid": "m_1", "text": "x"}, "sender": {}},
        {"delivery": {}},
        {"read": {"watermark": "soon"}},
        {"reaction": {"mid": "m_1", "action": "shrug"}},
        {"message_edit": {"text": "x"}},
        {"policy_enforcement": {"action": "praise"}},
        {},
    ],
)
def test_what_is_not_understood_is_kept(parsed_body: ParsedBody, body: dict[str, Any]) -> None:
    (kept,) = parsed_body(event(**body))
    assert isinstance(kept, UnknownEvent)
    assert kept.account_ref == PAGE
    assert kept.raw["timestamp"] == 1794302100308


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        {"object": "instagram", "entry": []},
        {"object": "page"},
        {"object": "page", "entry": [3, {"id": PAGE}]},
        {"object": "page", "entry": [{"id": PAGE, "messaging": {"odd": 1}}]},
        {"object": "page", "entry": [{"id": PAGE, "changes": [{"field": "feed", "value": {"item": "comment"}}]}]},
    ],
)
def test_other_deliveries_are_kept(parsed_body: ParsedBody, body: Any) -> None:
    events = parsed_body(body)
    assert events
    assert all(isinstance(each, UnknownEvent) for each in events)


def test_neighbours_of_the_strange_are_parsed(parsed_body: ParsedBody) -> None:
    good = event(message={"mid": "m_1", "text": "x"})["entry"][0]["messaging"][0]
    odd = [17, None, {"message": []}, good, {"message": {"mid": 5}}]
    events = parsed_body({"object": "page", "entry": ["?", {"id": PAGE, "messaging": odd}]})
    assert [type(each).__name__ for each in events] == [*["UnknownEvent"] * 4, "InboundMessage", "UnknownEvent"]
