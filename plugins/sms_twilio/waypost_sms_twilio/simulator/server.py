"""The simulated Twilio's endpoints and callbacks."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from waypost.plugin import WebhookRequest
from waypost.plugin.simulator import ACCEPTING, Outcome
from waypost.plugin.web_simulator import WebSimulator

from waypost_sms_twilio.addresses import WHATSAPP_PREFIX
from waypost_sms_twilio.simulator.messages import API, Form, Message, page, selects
from waypost_sms_twilio.simulator.rules import (
    MAGIC,
    RECEIPT_ERRORS,
    REFUSALS,
    TEMPLATES,
    WHATSAPP_MAGIC,
    WHATSAPP_RECEIPT_ERRORS,
    WHATSAPP_REFUSALS,
    Refusal,
    check,
    template_json,
)
from waypost_sms_twilio.simulator.webhooks import inbound_form, signed, status_form

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ACCOUNT_SID = "ACd807640e943b7133f3f95e5fe3b21f7f"
AUTH_TOKEN = "simulator-auth-token-0f3c"  # noqa: S105 - a simulator's, known to everybody
#: The oldest messages are forgotten beyond this, so that a benchmark of millions fits in memory.
MOST_MESSAGES = 200_000


class TwilioSimulator(WebSimulator):
    """Twilio for SMS and MMS.

    `account_status` is what `Accounts` answers; anything but `active` refuses every message with 20005. `auth_token`
    may be changed to play a roll of tokens. `clock` tells how far ahead a message is scheduled. `journal_file` is a
    descriptor that journal lines are written to.
    """

    magic: Mapping[str, Outcome] = MAGIC
    ordinary_recipient = "+14155550142"
    ordinary_sender = "+14155550142"
    prefix = ""
    refusals: Mapping[Outcome, Refusal] = REFUSALS
    receipt_errors: Mapping[Outcome, int] = RECEIPT_ERRORS

    def __init__(self) -> None:
        super().__init__()
        self.account_sid = ACCOUNT_SID
        self.auth_token = AUTH_TOKEN
        self.account_status = "active"
        self.messages: dict[str, Message] = {}
        self.journal_file: int | None = None
        self.clock: Callable[[], datetime] = partial(datetime.now, UTC)

    # ---- what the frame asks for

    def routes(self) -> Sequence[web.RouteDef]:
        """Messages, accounts and content templates."""
        account = f"{API}/Accounts/{{account}}"
        return [
            web.post(f"{account}/Messages.json", self._create),
            web.get(f"{account}/Messages.json", self._for_account(self._list)),
            web.get(account + "/Messages/{sid}.json", self._for_account(self._fetch)),
            web.post(account + "/Messages/{sid}.json", self._for_account(self._update)),
            web.delete(account + "/Messages/{sid}.json", self._for_account(self._delete)),
            web.get(f"{account}.json", self._for_account(self._account)),
            web.get("/v1/ContentAndApprovals", self._for_account(self._templates)),
            web.get("/v1/Content", self._for_account(self._templates)),
        ]

    def account_settings(self) -> dict[str, Any]:
        """Settings of a gateway that speaks to this simulator."""
        return {
            "account_sid": self.account_sid,
            "auth_token": self.auth_token,
            "base_url": self.base_url,
            "content_base_url": self.base_url,
        }

    def senders(self) -> list[str]:
        """Twilio's own test number."""
        return ["+15005550006"]

    def inbound(self, text: str, sender: str | None = None) -> WebhookRequest:
        """A signed inbound text to the first sender."""
        form = inbound_form(
            self.account_sid, text, self.prefix + (sender or self.ordinary_sender), self.prefix + self.senders()[0]
        )
        return self.webhook(self.inbound_url or self.webhook_url, form)

    def record(
        self,
        recipient: str,
        outcome: Outcome,
        *,
        provider_id: str | None,
        correlation: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a message-creating request into the journal, and into the journal file before it is answered."""
        super().record(recipient, outcome, provider_id=provider_id, correlation=correlation, fields=fields)
        if self.journal_file is not None:
            entry = self.journal[-1]
            line = {
                "recipient": entry.recipient,
                "correlation": entry.correlation,
                "provider_id": entry.provider_id,
                "accepted": entry.accepted,
                "outcome": entry.outcome,
                "fields": entry.fields,
            }
            os.write(self.journal_file, json.dumps(line).encode() + b"\n")

    def receipts_for(self, outcome: Outcome) -> tuple[str, ...]:
        """The receipts of an outcome; SMS has no read receipts."""
        receipts = super().receipts_for(outcome)
        return receipts if self.prefix else tuple(status for status in receipts if status != "read")

    def release_late_receipts(self) -> None:
        """Let the held-back webhooks go; until then their messages were queued."""
        for message in self.messages.values():
            if message.late:
                message.status, message.late = "delivered", False
        super().release_late_receipts()

    # ---- the API

    async def _create(self, request: web.Request) -> web.StreamResponse:
        form = Form.of(await request.text())
        recipient = form.first("To").removeprefix(WHATSAPP_PREFIX)
        correlation = _correlation(form.first("StatusCallback"))
        refusal = self._refusal(request, form)
        outcome = refusal.outcome if refusal else self.outcome_of(recipient)
        if outcome is Outcome.OUTSIDE_WINDOW and form.has("ContentSid"):
            outcome = Outcome.DELIVERED
        refusal = refusal or self.refusals.get(outcome)
        message = Message.of(form, self.account_sid)
        accepted = outcome in ACCEPTING
        self.record(
            recipient,
            outcome,
            provider_id=message.sid if accepted else None,
            correlation=correlation,
            fields=form.as_dict(),
        )
        if refusal is not None:
            return refusal.response()
        if accepted:
            return await self._accept(request, message, outcome)
        fault = await self.misbehave(request, outcome)
        return fault if fault is not None else _failed_at_once(message, outcome)

    async def _accept(self, request: web.Request, message: Message, outcome: Outcome) -> web.StreamResponse:
        while len(self.messages) >= MOST_MESSAGES:
            self.messages.pop(next(iter(self.messages)))
        self.messages[message.sid] = message
        answer = message.json()
        if message.status != "scheduled":
            webhooks = self._receipts(message, outcome)
            if outcome is Outcome.EARLY_RECEIPTS:
                await self.deliver_now(*webhooks)
            else:
                self.deliver(*webhooks, outcome=outcome)
        fault = await self.misbehave(request, outcome)
        return fault if fault is not None else web.json_response(answer, status=201)

    def _receipts(self, message: Message, outcome: Outcome) -> list[WebhookRequest]:
        """The outcome's webhooks; the message is taken to have got as far already."""
        url = (message.callback or self.webhook_url).partition("#")[0]
        code = self.receipt_errors.get(outcome)
        statuses = self.receipts_for(outcome)
        if outcome is Outcome.LATE_RECEIPTS:
            message.late = True
        elif statuses:
            final = "delivered" if outcome is Outcome.REORDERED_RECEIPTS else statuses[-1]
            message.finish(final, code if final in ("failed", "undelivered") else None)
        return [self.webhook(url, self._status(message, status, code)) for status in statuses] if url else []

    def _status(self, message: Message, status: str, code: int | None) -> dict[str, str]:
        return status_form(message, status, code, default_sender=self.prefix + self.senders()[0])

    def webhook(self, url: str, form: Mapping[str, str]) -> WebhookRequest:
        """A delivery of this form, signed as Twilio signs."""
        return signed(self.auth_token, url, form)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        newest_first = [message for message in reversed(self.messages.values()) if selects(message, request.query)]
        return web.json_response(page(newest_first, request))

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        message = self.messages.get(request.match_info["sid"])
        return web.json_response(message.json()) if message else _error(404, 20404, "The resource was not found")

    async def _update(self, request: web.Request) -> web.StreamResponse:
        message = self.messages.get(request.match_info["sid"])
        if message is None:
            return _error(404, 20404, "The resource was not found")
        form = Form.of(await request.text())
        if form.first("Status") == "canceled":
            if message.status != "scheduled":
                return _error(400, 30409, "The message cannot be canceled")
            message.finish("canceled", None)
            if message.callback:
                self.deliver(self.webhook(message.callback.partition("#")[0], self._status(message, "canceled", None)))
        if form.has("Body"):
            message.body = form.first("Body")
        return web.json_response(message.json())

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        found = self.messages.pop(request.match_info["sid"], None)
        return web.Response(status=204) if found else _error(404, 20404, "The resource was not found")

    async def _account(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"sid": self.account_sid, "friendly_name": "Simulated", "status": self.account_status, "type": "Full"}
        )

    async def _templates(self, request: web.Request) -> web.StreamResponse:
        url = f"{self.base_url}{request.path}?PageSize={len(TEMPLATES)}"
        meta = {
            "page": 0,
            "page_size": len(TEMPLATES),
            "first_page_url": f"{url}&Page=0",
            "previous_page_url": None,
            "next_page_url": None,
            "url": f"{url}&Page=0",
            "key": "contents",
        }
        contents = [template_json(template, self.account_sid, self.base_url) for template in TEMPLATES]
        return web.json_response({"meta": meta, "contents": contents})

    def _refusal(self, request: web.Request, form: Form) -> Refusal | None:
        """Why a message is refused, whoever gets it."""
        if (refusal := self._account_refusal(request)) is not None:
            return refusal
        if self.account_status != "active":
            return Refusal(403, 20005, "Account not active", Outcome.ACCOUNT_BLOCKED)
        return check(form, self.clock())

    def _account_refusal(self, request: web.Request) -> Refusal | None:
        expected = "Basic " + b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            return self.refusals[Outcome.ACCOUNT_BLOCKED]
        if request.match_info.get("account", self.account_sid) != self.account_sid:
            return Refusal(404, 20404, "The requested resource was not found", Outcome.MISCONFIGURED)
        return None

    def _for_account(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            refusal = self._account_refusal(request)
            return refusal.response() if refusal is not None else await handler(request)

        return guarded


class TwilioWhatsAppSimulator(TwilioSimulator):
    """Twilio for WhatsApp: the same API, prefixed addresses, read receipts and the 24-hour window."""

    magic: Mapping[str, Outcome] = WHATSAPP_MAGIC
    ordinary_recipient = "+16505550143"
    ordinary_sender = "+16505550143"
    prefix = WHATSAPP_PREFIX
    refusals: Mapping[Outcome, Refusal] = WHATSAPP_REFUSALS
    receipt_errors: Mapping[Outcome, int] = WHATSAPP_RECEIPT_ERRORS

    def senders(self) -> list[str]:
        """Twilio's WhatsApp sandbox number."""
        return ["+14155238886"]


def _error(status: int, code: int, message: str) -> web.Response:
    return Refusal(status, code, message).response()


def _failed_at_once(message: Message, outcome: Outcome) -> web.Response:
    """A message that was created and has failed already, which Twilio answers with 201."""
    message.finish("failed", 63016 if outcome is Outcome.OUTSIDE_WINDOW else 30008)
    return web.json_response(message.json(), status=201)


def _correlation(callback: str) -> str | None:
    return parse_qs(urlsplit(callback).query).get("ref", [None])[0]
