"""Telegram on loopback: the Bot API's methods and its webhooks."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from waypost.plugin import WebhookRequest
from waypost.plugin.simulator import Outcome
from waypost.plugin.web_simulator import WebSimulator

from waypost_telegram.channel import SECRET_HEADER
from waypost_telegram.payloads import CAPTION_LIMIT, TEXT_LIMIT

MAGIC: Mapping[str, Outcome] = {
    "900000001": Outcome.SENT,
    "900000011": Outcome.INVALID_RECIPIENT,
    "900000012": Outcome.OPTED_OUT,
    "900000013": Outcome.CONTENT_REJECTED,
    "900000014": Outcome.OUTSIDE_WINDOW,
    "900000015": Outcome.MISCONFIGURED,
    "900000016": Outcome.ACCOUNT_BLOCKED,
    "900000017": Outcome.RATE_LIMITED,
    "900000018": Outcome.RATE_LIMITED_ONCE,
    "900000019": Outcome.UNAVAILABLE,
    "900000021": Outcome.HANG,
    "900000022": Outcome.ACCEPT_THEN_DROP,
    "900000023": Outcome.GARBAGE,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with `ok: false`."""

    code: int
    description: str
    retry_after: int | None = None

    def response(self) -> web.Response:
        """The answer as Telegram gives it."""
        body: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.description}
        if self.retry_after is not None:
            body["parameters"] = {"retry_after": self.retry_after}
        return web.json_response(body, status=self.code)


UNAUTHORIZED = Refusal(401, "Unauthorized")
NOT_FOUND = Refusal(404, "Not Found")
REFUSALS: Mapping[Outcome, Refusal] = {
    Outcome.INVALID_RECIPIENT: Refusal(400, "Bad Request: chat not found"),
    Outcome.OPTED_OUT: Refusal(403, "Forbidden: bot was blocked by the user"),
    Outcome.CONTENT_REJECTED: Refusal(400, "Bad Request: can't parse entities: unsupported start tag"),
    Outcome.OUTSIDE_WINDOW: Refusal(403, "Forbidden: bot can't initiate conversation with a user"),
    Outcome.MISCONFIGURED: Refusal(400, "Bad Request: not enough rights to send text messages to the chat"),
    Outcome.ACCOUNT_BLOCKED: UNAUTHORIZED,
    Outcome.RATE_LIMITED: Refusal(429, "Too Many Requests: retry after 1", retry_after=1),
    Outcome.UNAVAILABLE: Refusal(502, "Bad Gateway"),
}

#: Method → what it cannot do without.
_MESSAGES: Mapping[str, tuple[str, ...]] = {
    "sendMessage": ("text",),
    "sendPhoto": ("photo",),
    "sendVideo": ("video",),
    "sendAudio": ("audio",),
    "sendVoice": ("voice",),
    "sendDocument": ("document",),
    "sendSticker": ("sticker",),
    "sendLocation": ("latitude", "longitude"),
    "sendVenue": ("latitude", "longitude", "title", "address"),
    "sendContact": ("phone_number", "first_name"),
    "sendPoll": ("question", "options"),
}
_ACTIONS: Mapping[str, tuple[str, ...]] = {"sendChatAction": ("action",), "setMessageReaction": ("message_id",)}


class TelegramSimulator(WebSimulator):
    """A Bot API server with one bot. `actions` holds what was taken that is no message."""

    magic = MAGIC
    ordinary_recipient = "5550001"

    def __init__(self) -> None:
        super().__init__()
        self.bot_id = 10**9 + secrets.randbelow(10**9)
        self.bot_token = f"{self.bot_id}:{secrets.token_urlsafe(26)}"
        self.webhook_secret = secrets.token_urlsafe(24)
        self.actions: list[Mapping[str, Any]] = []
        # A database may outlive this run: ids begin somewhere else each time.
        self._messages = itertools.count(secrets.randbelow(10**9) + 1)
        self._updates = itertools.count(secrets.randbelow(10**9) + 1)

    # ---- what the frame asks for

    def routes(self) -> Sequence[web.RouteDef]:
        """Every method is a path below the token."""
        return [web.post(r"/bot{token:[^/]+}/{method}", self._method)]

    def account_settings(self) -> dict[str, Any]:
        """The bot's settings, towards this simulator."""
        return {"bot_token": self.bot_token, "webhook_secrets": [self.webhook_secret], "base_url": self.base_url}

    def senders(self) -> list[str]:
        """The bot's name."""
        return ["@waypost_example_bot"]

    def receipts_for(self, outcome: Outcome) -> tuple[str, ...]:  # noqa: ARG002 - the frame's signature
        """Telegram has no receipts."""
        return ()

    def inbound(self, text: str, sender: str | None = None) -> WebhookRequest:
        """An update with a text that somebody wrote to the bot."""
        return self.update(message=self.message(int(sender or self.ordinary_recipient), text=text))

    # ---- updates

    def update(self, **thing: Mapping[str, Any]) -> WebhookRequest:
        """A webhook with one update."""
        body = {"update_id": next(self._updates), **thing}
        headers = (("content-type", "application/json"), (SECRET_HEADER, self.webhook_secret))
        url = self.inbound_url or self.webhook_url
        return WebhookRequest(method="POST", url=url, headers=headers, body=orjson.dumps(body))

    def message(self, chat: int, **content: Any) -> dict[str, Any]:
        """A message in a private chat."""
        person = {"id": chat, "is_bot": False, "first_name": "Ada", "last_name": "Lovelace"}
        return {
            "message_id": next(self._messages),
            "from": person,
            "chat": {"id": chat, "type": "private", "first_name": "Ada"},
            "date": int(time.time()),
            **content,
        }

    # ---- methods

    async def _method(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        if request.match_info["token"] != self.bot_token:
            return UNAUTHORIZED.response()
        try:
            body = orjson.loads(await request.read() or b"{}")
        except orjson.JSONDecodeError:
            return Refusal(400, "Bad Request: can't parse JSON object").response()
        if not isinstance(body, dict):
            return Refusal(400, "Bad Request: can't parse JSON object").response()
        if method in _MESSAGES:
            return await self._send(request, method, body)
        others: dict[str, Callable[[dict[str, Any]], web.Response]] = {
            "getMe": self._get_me,
            "setWebhook": self._set_webhook,
            **dict.fromkeys(_ACTIONS, self._act),
        }
        return others[method](body) if method in others else NOT_FOUND.response()

    async def _send(self, request: web.Request, method: str, body: dict[str, Any]) -> web.StreamResponse:
        chat = str(body.get("chat_id", ""))
        problem = _problem(method, body)
        outcome = Outcome.CONTENT_REJECTED if problem else self.outcome_of(chat)
        refused = problem or REFUSALS.get(outcome)
        message = self.message(_number(chat)) if refused is None and outcome is not Outcome.HANG else None
        accepted = message is not None and outcome is not Outcome.GARBAGE
        reference = f"{_number(chat)}:{message['message_id']}" if accepted and message else None
        fields = {"method": method, **body}
        answered = body.get("reply_parameters")
        if isinstance(answered, dict):
            fields["answers"] = f"{_number(chat)}:{answered.get('message_id')}"
        self.record(chat, outcome, provider_id=reference, fields=fields)
        if refused is not None:
            return refused.response()
        fault = await self.misbehave(request, outcome)
        return fault if fault is not None else web.json_response({"ok": True, "result": message})

    def _act(self, body: dict[str, Any]) -> web.Response:
        outcome = self.outcome_of(str(body.get("chat_id", "")))
        if outcome in REFUSALS:
            return REFUSALS[outcome].response()
        self.actions.append(body)
        return web.json_response({"ok": True, "result": True})

    def _get_me(self, _: dict[str, Any]) -> web.Response:
        me = {"id": self.bot_id, "is_bot": True, "first_name": "Waypost", "username": "waypost_example_bot"}
        return web.json_response({"ok": True, "result": me})

    def _set_webhook(self, body: dict[str, Any]) -> web.Response:
        if not str(body.get("url", "")).startswith(("http://", "https://")):
            return Refusal(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook").response()
        self.webhook_url = body["url"]
        self.webhook_secret = body.get("secret_token", "")
        return web.json_response({"ok": True, "result": True, "description": "Webhook was set"})


def _problem(method: str, body: Mapping[str, Any]) -> Refusal | None:
    """What is wrong with a message, as Telegram says it."""
    if not body.get("chat_id"):
        return Refusal(400, "Bad Request: chat_id is empty")
    missing = [name for name in _MESSAGES[method] if body.get(name) in (None, "", [])]
    if missing:
        words = "message text is empty" if missing == ["text"] else f"parameter {missing[0]} is required"
        return Refusal(400, f"Bad Request: {words}")
    if len(str(body.get("text", ""))) > TEXT_LIMIT and "parse_mode" not in body:
        return Refusal(400, "Bad Request: message is too long")
    if len(str(body.get("caption", ""))) > CAPTION_LIMIT and "parse_mode" not in body:
        return Refusal(400, "Bad Request: message caption is too long")
    return None


def _number(chat: str) -> int:
    """A chat's number; a public channel, addressed by name, has one too."""
    return int(chat) if chat.lstrip("-").isdecimal() else -1_000_000_000_000 - sum(chat.encode())
