"""The Telegram channel: a bot that sends through the Bot API and receives its webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from waypost.plugin import (
    AccountHealth,
    Address,
    ChannelError,
    ChannelEvent,
    ChannelInfo,
    Context,
    Limits,
    Misconfigured,
    NotSent,
    OutboundMessage,
    OutcomeUnknown,
    Quote,
    QuoteLine,
    Recognition,
    Rejected,
    SendResult,
    Verified,
    WebhookConnection,
    WebhookContext,
    WebhookReply,
    WebhookRequest,
    WebhookVerdict,
    hookimpl,
)
from waypost.plugin.errors import AccountBlocked, RateScope
from waypost.plugin.http import post
from waypost.plugin.signatures import same

from waypost_telegram.contents import Poll
from waypost_telegram.errors import refusal
from waypost_telegram.events import parse
from waypost_telegram.payloads import CHAT, TEXT_LIMIT, call_for, chat_address, chat_of, message_ref
from waypost_telegram.settings import TelegramBot

if TYPE_CHECKING:
    from waypost.plugin.simulator import Simulator

SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105 - the name of a header
#: The updates that this plugin reads; Telegram leaves out `message_reaction` unless it is asked for.
ALLOWED_UPDATES = (
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "my_chat_member",
    "message_reaction",
    "poll_answer",
)

INFO = ChannelInfo(
    channel="TELEGRAM",
    title="Telegram (bots)",
    api="1.0",
    account_settings=TelegramBot,
    address_kinds=(CHAT,),
    content_kinds=frozenset(
        {
            "text",
            "image",
            "video",
            "audio",
            "document",
            "sticker",
            "location",
            "contacts",
            "buttons",
            "reaction",
            "typing_on",
            "telegram.poll",
        }
    ),
    content_models=(Poll,),
    # No `correlation`: Telegram returns nothing of ours, and a lost answer stays unknown.
    features=frozenset({"replies", "shared_secret_webhooks"}),
    limits=Limits(text_length=TEXT_LIMIT, media_bytes=20_000_000),
    last_receipt="sent",
    documentation="examples/telegram/README.md",
    examples={
        "text": {"body": "Your order has shipped."},
        "image": {"url": "https://cdn.example.com/shirt.jpg", "caption": "The red one"},
        "video": {"url": "https://cdn.example.com/tour.mp4"},
        "audio": {"url": "https://cdn.example.com/greeting.ogg", "voice": True},
        "document": {"url": "https://cdn.example.com/receipt.pdf"},
        "sticker": {"media_id": "CAACAgIAAxkBAAEexample"},
        "location": {"latitude": 1.2897, "longitude": 103.8501, "name": "Shop", "address": "1 Quay Street"},
        "contacts": {"contacts": [{"phone_number": "+6591234567", "first_name": "Ada"}]},
        "buttons": {
            "body": "What next?",
            "choices": [{"title": "Shop", "url": "https://shop.example.com"}, {"title": "Talk to us", "id": "AGENT"}],
        },
        "reaction": {"message_id": "5550001:42", "emoji": "👍"},
        "typing_on": {},
        "telegram.poll": {"question": "Which colour?", "options": ["Red", "Blue"]},
    },
)


def _bot(settings: object) -> TelegramBot:
    if not isinstance(settings, TelegramBot):
        raise Misconfigured("The gateway's settings are not those of a Telegram bot.")
    return settings


async def _call(ctx: Context, method: str, parameters: dict[str, Any], scope: RateScope = "account") -> Any:
    """Call a method once and return its `result`. Raises `ChannelError`."""
    try:
        reply = await post(ctx.http, _bot(ctx.account).method_url(method), json=parameters)
    except ChannelError as error:
        # The cause may know the URL, which holds the token.
        raise error from None
    body = reply.json_object()
    if reply.ok and body.get("ok") is True and "result" in body:
        return body["result"]
    if reply.ok and body.get("ok") is not False:
        raise OutcomeUnknown("Telegram's answer was not one.", http_status=reply.status)
    raise refusal(reply, scope=scope)


class Telegram:
    """A Telegram bot. See README.md."""

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what the plugin is and can do."""
        return INFO

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """Call one method of the Bot API. Raises `ChannelError`."""
        call = call_for(message)
        # A group has a limit of its own (20 messages a minute), which says nothing about other chats.
        scope: RateScope = "recipient" if chat_of(message).startswith(("-", "@")) else "account"
        result = await _call(ctx, call.method, call.parameters, scope)
        if call.is_action:
            return SendResult(status="sent")
        return SendResult(provider_ids=(_reference(result),), status="sent")

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """One `message` or `action`. Raises `Permanent` for what Telegram cannot express."""
        _bot(ctx.account)
        return Quote((QuoteLine("action" if call_for(message).is_action else "message"),))

    @hookimpl
    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        """Compare the secret that `setWebhook` was given; answer a tap, so that its button stops waiting."""
        secrets = ctx.account.webhook_secrets if isinstance(ctx.account, TelegramBot) else ()
        if not secrets:
            return Rejected("no webhook secret is configured", unconfigured=True)
        if request.method != "POST":
            return Rejected("not a POST")
        given = request.only_header(SECRET_HEADER) or ""
        matches = [same(given, secret.get_secret_value()) for secret in secrets]
        return Verified(_answer(request)) if any(matches) else Rejected("wrong secret token")

    @hookimpl
    def parse_event(self, ctx: WebhookContext, request: WebhookRequest) -> Sequence[ChannelEvent]:
        """Read one update."""
        return parse(request, ctx.account.bot_id if isinstance(ctx.account, TelegramBot) else "")

    @hookimpl
    def parse_address(self, value: str) -> Address:
        """Take the number of a chat or the @name of a channel. Raises `InvalidRecipient`."""
        return chat_address(value)

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Know Telegram by its header; an update does not say which bot it is for, but its secret does."""
        return Recognition() if request.only_header(SECRET_HEADER) is not None else None

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        """Ask Telegram who the bot is, to learn whether its token works."""
        try:
            await _call(ctx, "getMe", {})
        except AccountBlocked as error:
            return AccountHealth(state="blocked", detail=error.detail)
        except NotSent as error:
            return AccountHealth(state="unknown", detail=error.detail)
        return AccountHealth(state="ok")

    @hookimpl
    async def connect_webhook(self, ctx: Context, url: str) -> WebhookConnection:
        """Point the bot's webhook at this URL, with the newest secret. Raises `ChannelError`."""
        secrets = _bot(ctx.account).webhook_secrets
        if not secrets:
            raise Misconfigured("Give the gateway a webhook secret first.")
        secret = secrets[0].get_secret_value()
        parameters = {"url": url, "secret_token": secret, "allowed_updates": list(ALLOWED_UPDATES)}
        await _call(ctx, "setWebhook", parameters)
        return WebhookConnection()

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of the Bot API."""
        from waypost_telegram.simulator import TelegramSimulator

        return TelegramSimulator()


def _reference(result: object) -> str:
    """The id of the message that was made. Raises `OutcomeUnknown` where the answer does not hold one."""
    if isinstance(result, dict):
        chat, number = result.get("chat"), result.get("message_id")
        if isinstance(chat, dict) and isinstance(chat.get("id"), int) and isinstance(number, int):
            return message_ref(chat["id"], number)
    raise OutcomeUnknown("Telegram's answer names no message.")


def _answer(request: WebhookRequest) -> WebhookReply | None:
    """The answer to a tap: a method call in the body. Source: "Making requests when getting updates"."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return None
    query = body.get("callback_query") if isinstance(body, dict) else None
    query_id = query.get("id") if isinstance(query, dict) else None
    if not isinstance(query_id, str):
        return None
    call = {"method": "answerCallbackQuery", "callback_query_id": query_id}
    return WebhookReply(200, orjson.dumps(call), content_type="application/json")


telegram = Telegram()
