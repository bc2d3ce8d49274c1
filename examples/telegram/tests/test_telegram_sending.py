"""From a message to the Bot API's call, against the simulator over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from waypost.host.loader import inspect_plugin
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    Content,
    ContentRejected,
    Context,
    InvalidRecipient,
    Media,
    Misconfigured,
    OptedOut,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    RateLimited,
    Text,
    Unsupported,
)
from waypost_telegram.channel import INFO, telegram
from waypost_telegram.payloads import call_for, chat_address
from waypost_telegram.settings import TelegramBot
from waypost_telegram.simulator import MAGIC, TelegramSimulator

Message = Callable[..., OutboundMessage]


def test_the_host_takes_the_plugin() -> None:
    plugin = inspect_plugin("telegram", telegram)
    assert plugin.info.channel == "TELEGRAM"
    assert plugin.info.last_receipt == "sent"
    assert "connect_webhook" in plugin.hooks


def example(kind: str) -> Content:
    model = INFO.content_model(kind)
    assert model is not None
    content = model.model_validate({"kind": kind, **INFO.examples[kind]})
    assert isinstance(content, Content)
    return content


@pytest.mark.parametrize(
    ("kind", "method", "parameters"),
    [
        ("text", "sendMessage", {"text": "Your order has shipped.", "link_preview_options": {"is_disabled": True}}),
        ("image", "sendPhoto", {"photo": "https://cdn.example.com/shirt.jpg", "caption": "The red one"}),
        ("video", "sendVideo", {"video": "https://cdn.example.com/tour.mp4"}),
        ("audio", "sendVoice", {"voice": "https://cdn.example.com/greeting.ogg"}),
        ("document", "sendDocument", {"document": "https://cdn.example.com/receipt.pdf"}),
        ("sticker", "sendSticker", {"sticker": "CAACAgIAAxkBAAEexample"}),
        (
            "location",
            "sendVenue",
            {"latitude": 1.2897, "longitude": 103.8501, "title": "Shop", "address": "1 Quay Street"},
        ),
        ("contacts", "sendContact", {"phone_number": "+6591234567", "first_name": "Ada"}),
        (
            "buttons",
            "sendMessage",
            {
                "text": "What next?",
                "reply_markup": {
                    "inline_keyboard": [
                        [{"text": "Shop", "url": "https://shop.example.com"}],
                        [{"text": "Talk to us", "callback_data": "AGENT"}],
                    ]
                },
            },
        ),
        (
            "telegram.poll",
            "sendPoll",
            {
                "question": "Which colour?",
                "options": [{"text": "Red"}, {"text": "Blue"}],
                "is_anonymous": True,
                "allows_multiple_answers": False,
            },
        ),
    ],
)
async def test_every_kind_of_message(
    live: Context, telegram_api: TelegramSimulator, message: Message, kind: str, method: str, parameters: dict[str, Any]
) -> None:
    result = await telegram.send(live, message(example(kind)))
    [entry] = telegram_api.journal
    assert entry.fields == {"method": method, "chat_id": 5550001, **parameters}
    assert result.provider_ids == (entry.provider_id,)
    assert result.status == "sent"
    assert telegram.price(live, message(example(kind))).lines[0].sku == "message"


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("typing_on", {"action": "typing"}),
        ("reaction", {"message_id": 42, "reaction": [{"type": "emoji", "emoji": "👍"}]}),
    ],
)
async def test_actions_make_no_message(
    live: Context, telegram_api: TelegramSimulator, message: Message, kind: str, parameters: dict[str, Any]
) -> None:
    result = await telegram.send(live, message(example(kind)))
    assert (result.provider_ids, result.status) == ((), "sent")
    assert telegram_api.actions == [{"chat_id": 5550001, **parameters}]
    assert telegram_api.journal == []
    assert telegram.price(live, message(example(kind))).lines[0].sku == "action"


def test_every_declared_kind_has_a_case_above() -> None:
    assert set(INFO.examples) == INFO.content_kinds


async def test_options_and_replies_go_along(live: Context, telegram_api: TelegramSimulator, message: Message) -> None:
    options = {"parse_mode": "HTML", "disable_notification": True, "message_thread_id": 7, "other": "ignored"}
    await telegram.send(live, message(Text(body="<b>Hi</b>"), options=options, reply_to="5550001:41"))
    fields = dict(telegram_api.journal[0].fields)
    assert fields.pop("reply_parameters") == {"message_id": 41}
    assert fields.pop("answers") == "5550001:41"
    assert fields == {
        "method": "sendMessage", "chat_id": 5550001, "text": "<b>Hi</b>", "parse_mode": "HTML",
        "disable_notification": True, "message_thread_id": 7, "link_preview_options": {"is_disabled": True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        ({"kind": "text", "body": "x" * 4097}, {}, ContentRejected),
        ({"kind": "image", "url": "https://a.example/b.jpg", "caption": "x" * 1025}, {}, ContentRejected),
        ({"kind": "image"}, {}, ContentRejected),
        ({"kind": "image", "url": "https://a.example/b", "more_urls": ["https://a.example/c"]}, {}, Unsupported),
        ({"kind": "sticker", "media_id": "x", "caption": "no"}, {}, Unsupported),
        ({"kind": "contacts", "contacts": [{"name": "Ada"}]}, {}, ContentRejected),
        ({"kind": "contacts", "contacts": [{}, {}]}, {}, Unsupported),
        ({"kind": "buttons", "body": "x", "choices": [{"title": "Call", "phone": "+659"}]}, {}, Unsupported),
        ({"kind": "buttons", "body": "x", "choices": [{"title": "A", "id": "ü" * 33}]}, {}, ContentRejected),
        ({"kind": "buttons", "body": "x", "header": "h", "choices": [{"title": "A"}]}, {}, Unsupported),
        ({"kind": "reaction", "message_id": "wamid.x", "emoji": "👍"}, {}, ContentRejected),
        ({"kind": "text", "body": "x"}, {"options": {"parse_mode": "BBCode"}}, Unsupported),
        ({"kind": "text", "body": "x"}, {"options": {"disable_notification": "yes"}}, Unsupported),
        ({"kind": "text", "body": "x"}, {"options": {"message_thread_id": True}}, Unsupported),
        ({"kind": "text", "body": "x"}, {"reply_to": "SM123"}, ContentRejected),
    ],
)
def test_what_telegram_cannot_express_is_refused_before_it_costs(
    context: Context, message: Message, content: dict[str, Any], fields: dict[str, Any], expected: type[Permanent]
) -> None:
    model = INFO.content_model(content["kind"])
    assert model is not None
    with pytest.raises(expected):
        telegram.price(context, message(model.model_validate(content), **fields))


def test_a_price_does_not_hang_on_the_recipient(context: Context, message: Message) -> None:
    """Operators ask for the skus of a gateway without anybody to send to."""
    assert telegram.price(context, message(Text(body="Hi"), "")).lines[0].sku == "message"


def test_marks_are_not_measured(context: Context, message: Message) -> None:
    marked = message(Text(body="<b>" + "x" * 4096 + "</b>"), options={"parse_mode": "HTML"})
    assert telegram.price(context, marked).lines[0].sku == "message"


@pytest.mark.parametrize(
    "poll",
    [
        {"question": "?", "options": ["one"]},
        {"question": "?", "options": ["a", "b"], "correct_option": 2},
        {"question": "?", "options": ["a", "b"], "correct_option": 1, "multiple_answers": True},
        {"question": "?", "options": ["a", "b"], "explanation": "why"},
        {"question": "", "options": ["a", "b"]},
        {"question": "?", "options": ["a", ""]},
    ],
)
def test_a_poll_that_makes_no_sense(poll: dict[str, Any]) -> None:
    model = INFO.content_model("telegram.poll")
    assert model is not None
    with pytest.raises(ValidationError):
        model.model_validate({"kind": "telegram.poll", **poll})


def test_a_quiz(message: Message) -> None:
    model = INFO.content_model("telegram.poll")
    assert model is not None
    quiz = model.model_validate(
        {"kind": "telegram.poll", "question": "2+2", "options": ["3", "4"], "correct_option": 1, "explanation": "sum"}
    )
    parameters = call_for(message(quiz)).parameters
    assert (parameters["type"], parameters["correct_option_id"], parameters["explanation"]) == ("quiz", 1, "sum")


@pytest.mark.parametrize(
    ("given", "normal"),
    [("5550001", "5550001"), (" -1001234567890 ", "-1001234567890"), ("@Waypost_News", "@waypost_news")],
)
def test_addresses(given: str, normal: str) -> None:
    assert (chat_address(given).kind, chat_address(given).value) == ("telegram_chat", normal)


@pytest.mark.parametrize("given", ["", "+4915112345678", "0", "007", "@x", "ada", "12.5", "१२३", "9" * 30, "@a b c d"])
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(InvalidRecipient):
        chat_address(given)


MAGIC_ERRORS = {
    "900000011": InvalidRecipient,
    "900000012": OptedOut,
    "900000013": ContentRejected,
    "900000014": OutsideWindow,
    "900000015": Misconfigured,
    "900000016": AccountBlocked,
    "900000017": RateLimited,
    "900000018": RateLimited,
    "900000019": OutcomeUnknown,
    "900000021": OutcomeUnknown,
    "900000022": OutcomeUnknown,
    "900000023": OutcomeUnknown,
}


@pytest.mark.parametrize(("chat", "expected"), MAGIC_ERRORS.items())
async def test_magic_recipients(
    live: Context, telegram_api: TelegramSimulator, message: Message, chat: str, expected: type[ChannelError]
) -> None:
    telegram_api.hang_seconds = 0.01
    with pytest.raises(ChannelError) as raised:
        await telegram.send(live, message(Text(body="a private word"), chat))
    assert type(raised.value) is expected
    assert "private" not in str(raised.value)
    assert chat not in str(raised.value)
    [entry] = telegram_api.journal
    assert entry.accepted == (MAGIC[chat] == "accept_then_drop")
    if chat == "900000018":
        assert (await telegram.send(live, message(Text(body="again"), chat))).status == "sent"


def test_every_magic_recipient_has_a_case() -> None:
    assert MAGIC_ERRORS.keys() | {"900000001"} == MAGIC.keys()


async def test_the_account_is_asked(live: Context, context: Context, telegram_api: TelegramSimulator) -> None:
    assert (await telegram.check_account(live)).state == "ok"
    wrong = TelegramBot.model_validate(telegram_api.account_settings() | {"bot_token": "123456:AAwrong-token"})
    object.__setattr__(live, "account", wrong)
    assert (await telegram.check_account(live)).state == "blocked"


async def test_the_webhook_is_connected_with_the_newest_secret(live: Context, telegram_api: TelegramSimulator) -> None:
    secrets = ["newest-secret", telegram_api.webhook_secret]
    rotating = TelegramBot.model_validate(telegram_api.account_settings() | {"webhook_secrets": secrets})
    object.__setattr__(live, "account", rotating)
    await telegram.connect_webhook(live, "https://gw.example.test/webhooks/telegram/gw_1")
    assert telegram_api.webhook_url == "https://gw.example.test/webhooks/telegram/gw_1"
    assert telegram_api.webhook_secret == "newest-secret"


async def test_the_webhook_needs_a_secret(live: Context, telegram_api: TelegramSimulator) -> None:
    bare = TelegramBot.model_validate(telegram_api.account_settings() | {"webhook_secrets": []})
    object.__setattr__(live, "account", bare)
    with pytest.raises(Misconfigured):
        await telegram.connect_webhook(live, "https://gw.example.test/webhooks/telegram/gw_1")


@pytest.mark.parametrize(
    "settings",
    [
        {"bot_token": "nonsense"},
        {"bot_token": "123:short"},
        {"bot_token": "123456:AA/../../getMe-token"},
        {"bot_token": "123456:AAgood-token-1", "webhook_secrets": ["with space"]},
        {"bot_token": "123456:AAgood-token-1", "base_url": "ftp://api.telegram.org"},
        {"bot_token": "123456:AAgood-token-1", "base_url": "https://api.telegram.org/?x=1"},
    ],
)
def test_settings_are_checked_and_not_shown(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        TelegramBot.model_validate(settings)
    for value in ("nonsense", "short", "getMe", "with space"):
        assert value not in str(raised.value)


def test_the_token_is_in_no_repr(bot: TelegramBot) -> None:
    assert "AAfixture" not in repr(bot)
    assert "AAfixture" in bot.method_url("getMe")


def test_a_media_id_wins_over_a_url(message: Message) -> None:
    both = Media(kind="image", url="https://a.example/b.jpg", media_id="AgACAgI")
    assert call_for(message(both)).parameters["photo"] == "AgACAgI"
