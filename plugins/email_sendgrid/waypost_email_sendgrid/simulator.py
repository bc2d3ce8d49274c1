"""SendGrid on loopback: Mail Send, scopes, credits and templates; signed event batches; parsed mails.

Magic recipients are `word@simulator.example`; see `MAGIC`. Its key pair and ids are new in every
process.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import web
from waypost.plugin import WebhookRequest
from waypost.plugin.simulator import ACCEPTING, Outcome
from waypost.plugin.web_simulator import WebSimulator

from waypost_email_sendgrid.simulator_rules import Problem, problem, problems_of
from waypost_email_sendgrid.simulator_webhooks import (
    DOMAIN,
    PARSE_AGENT,
    Signer,
    arguments_of,
    batch_body,
    parsed_mail,
    receipt_events,
)

MAX_BYTES = 30 * 1024 * 1024

_REFUSALS: Mapping[Outcome, tuple[int, Problem]] = {
    Outcome.INVALID_RECIPIENT: (
        400,
        problem("Does not contain a valid address.", "personalizations.0.to.0.email", "message.personalizations.to"),
    ),
    Outcome.CONTENT_REJECTED: (
        400,
        problem("The content value must be a string at least one character in length.", "content.0.value"),
    ),
    Outcome.MISCONFIGURED: (
        403,
        problem("The from address does not match a verified Sender Identity. Mail cannot be sent until this error is "
                "resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the "
                "Sender Identity requirements", "from"),
    ),
    Outcome.ACCOUNT_BLOCKED: (401, problem("Maximum credits exceeded", None)),
    Outcome.RATE_LIMITED: (429, problem("too many requests", None)),
}  # fmt: skip


MAGIC: Mapping[str, Outcome] = {
    f"{word}@{DOMAIN}": outcome
    for word, outcome in {
        "accepted": Outcome.ACCEPTED,
        "processed": Outcome.SENT,
        "delivered": Outcome.DELIVERED,
        "open": Outcome.READ,
        "click": Outcome.READ,
        "deferred": Outcome.DELIVERED,
        "spamreport": Outcome.READ,
        "unsubscribe": Outcome.READ,
        "group-unsubscribe": Outcome.READ,
        "bounce": Outcome.UNDELIVERED,
        "blocked": Outcome.UNDELIVERED,
        "expired": Outcome.UNDELIVERED,
        "dropped": Outcome.FAILED,
        "unsubscribed": Outcome.FAILED,
        "spam-reporter": Outcome.FAILED,
        "invalid": Outcome.INVALID_RECIPIENT,
        "content": Outcome.CONTENT_REJECTED,
        "unverified-sender": Outcome.MISCONFIGURED,
        "no-credits": Outcome.ACCOUNT_BLOCKED,
        "rate-limited": Outcome.RATE_LIMITED,
        "rate-limited-once": Outcome.RATE_LIMITED_ONCE,
        "unavailable": Outcome.UNAVAILABLE,
        "hang": Outcome.HANG,
        "drop-connection": Outcome.ACCEPT_THEN_DROP,
        "garbage": Outcome.GARBAGE,
        "duplicates": Outcome.DUPLICATE_RECEIPTS,
        "reordered": Outcome.REORDERED_RECEIPTS,
        "late": Outcome.LATE_RECEIPTS,
        "early": Outcome.EARLY_RECEIPTS,
    }.items()
}


class SendGridSimulator(WebSimulator):
    """SendGrid, as far as a gateway can tell."""

    magic = MAGIC
    ordinary_recipient = "ada.okafor@example.com"
    sender = f"orders@shop.{DOMAIN}"
    parse_address = f"support@in.{DOMAIN}"

    def __init__(self) -> None:
        super().__init__()
        self._signer = Signer()
        self.api_key = f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}"
        self.inbound_secret = secrets.token_urlsafe(24)
        self.scopes = ["mail.send", "templates.read", "user.credits.read"]
        self.credits_left = 100
        self.templates: list[dict[str, Any]] = [
            {
                "id": "d-f43daeeaef504760851f727007e0b5d0",
                "name": "Order shipped",
                "generation": "dynamic",
                "versions": [{"id": "7c1f", "active": 1, "name": "First", "subject": "Your order"}],
            }
        ]

    # ---- what a gateway is configured with

    def account_settings(self) -> dict[str, Any]:
        """Settings of a gateway that speaks to this simulator."""
        return {
            "api_key": self.api_key,
            "event_public_keys": [self._signer.public_key],
            "parse_public_keys": [self._signer.public_key],
            "from_address": self.sender,
            "from_name": "Shop",
            "default_subject": "A message from Shop",
            "base_url": self.base_url,
        }

    def senders(self) -> list[str]:
        """The verified sender."""
        return [self.sender]

    # ---- endpoints

    def routes(self) -> Sequence[web.RouteDef]:
        """The endpoints that the plugin calls."""
        return [
            web.post("/v3/mail/send", self._send),
            web.get("/v3/scopes", self._scopes),
            web.get("/v3/user/credits", self._credits),
            web.get("/v3/templates", self._templates),
        ]

    async def _send(self, request: web.Request) -> web.StreamResponse:
        refused = self._unauthorized(request) or await self._unreadable(request)
        if refused is not None:
            return refused
        mail = orjson.loads(await request.read())
        problems = problems_of(mail)
        if problems:
            return _errors(400, *problems)
        if mail.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            return web.Response(status=200)
        return await self._play(request, mail)

    async def _unreadable(self, request: web.Request) -> web.Response | None:
        if request.content_type != "application/json":
            return _errors(415, problem("Content-Type should be application/json.", None))
        body = await request.read()
        if len(body) > MAX_BYTES:
            return _errors(413, problem("content too large", None))
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            return _errors(400, problem("Bad Request", None))
        return None

    async def _play(self, request: web.Request, mail: dict[str, Any]) -> web.StreamResponse:
        main = mail["personalizations"][0]["to"][0]["email"]
        outcome = self.outcome_of(main)
        accepted = outcome in ACCEPTING
        provider_id = secrets.token_urlsafe(16) if accepted else None
        self.record(
            main,
            outcome,
            provider_id=provider_id,
            correlation=arguments_of(mail, mail["personalizations"][0]).get("waypost_ref"),
            fields=mail,
        )
        if provider_id and self.webhook_url:
            batches = self._batches(mail, provider_id, outcome)
            if outcome is Outcome.EARLY_RECEIPTS:
                await self.deliver_now(*batches)
            else:
                self.deliver(*batches, outcome=outcome)
        trouble = await self.misbehave(request, outcome)
        if trouble is not None:
            return trouble
        if provider_id:
            return web.Response(status=202, headers={"X-Message-Id": provider_id})
        return self._refusal(outcome)

    def _refusal(self, outcome: Outcome) -> web.Response:
        if outcome not in _REFUSALS:
            page = "<html><body><h1>503 Service Unavailable</h1></body></html>"
            return web.Response(status=503, text=page, content_type="text/html")
        status, refusal = _REFUSALS[outcome]
        answer = _errors(status, refusal)
        if status == 429:
            answer.headers["X-RateLimit-Limit"] = "600"
            answer.headers["X-RateLimit-Remaining"] = "0"
            answer.headers["X-RateLimit-Reset"] = str(int(time.time()) + 2)
        return answer

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        if not secrets.compare_digest(
            request.headers.get("Authorization", "").encode("utf-8", "replace"), f"Bearer {self.api_key}".encode()
        ):
            message = "The provided authorization grant is invalid, expired, or revoked"
            return _errors(401, problem(message, None))
        if request.method == "POST" and "mail.send" not in self.scopes:
            return _errors(403, problem("access forbidden", None))
        return None

    async def _scopes(self, request: web.Request) -> web.StreamResponse:
        return self._unauthorized(request) or web.json_response({"scopes": self.scopes})

    async def _credits(self, request: web.Request) -> web.StreamResponse:
        balance = {"remain": self.credits_left, "total": 100, "overage": 0, "used": 100 - self.credits_left,
                   "last_reset": "2026-11-01", "next_reset": "2026-12-01", "reset_frequency": "monthly"}  # fmt: skip
        return self._unauthorized(request) or web.json_response(balance)

    async def _templates(self, request: web.Request) -> web.StreamResponse:
        refused = self._unauthorized(request)
        if refused is not None:
            return refused
        size = int(request.query.get("page_size", "200"))
        start = int(request.query.get("page_token", "0"))
        page = self.templates[start : start + size]
        metadata: dict[str, Any] = {"self": str(request.url), "count": len(self.templates)}
        if start + size < len(self.templates):
            metadata["next"] = str(request.url.update_query(page_token=str(start + size)))
        return web.json_response({"result": page, "_metadata": metadata})

    # ---- webhooks

    def _batches(self, mail: dict[str, Any], provider_id: str, outcome: Outcome) -> list[WebhookRequest]:
        """A delivery per receipt, with an event for each recipient. The same receipt twice is the same delivery."""
        made: dict[str, WebhookRequest] = {}
        for receipt in self.receipts_for(outcome):
            if receipt not in made:
                made[receipt] = self.batch(receipt_events(mail, provider_id, receipt))
        return [made[receipt] for receipt in self.receipts_for(outcome)]

    def batch(self, events: Sequence[Mapping[str, Any]]) -> WebhookRequest:
        """A signed delivery of events, laid out as SendGrid does: a line each, and CRLF at the end."""
        return self._signer.signed(
            self.webhook_url, batch_body(events), "application/json;charset=utf-8", "SendGrid Event API"
        )

    def inbound(self, text: str, sender: str | None = None) -> WebhookRequest:
        """A mail that somebody wrote, as Inbound Parse posts it, with a signature by policy."""
        body, content_type = parsed_mail(text, sender or self.ordinary_recipient, self.parse_address)
        return self._signer.signed(self.inbound_url or self.webhook_url, body, content_type, PARSE_AGENT)

    def unsigned_inbound(self, text: str, sender: str | None = None) -> WebhookRequest:
        """The same without a policy: the secret is in the URL."""
        body, content_type = parsed_mail(text, sender or self.ordinary_recipient, self.parse_address)
        return WebhookRequest(
            method="POST",
            url=f"{self.inbound_url or self.webhook_url}?key={quote(self.inbound_secret)}",
            headers=(("content-type", content_type), ("user-agent", PARSE_AGENT)),
            query=(("key", self.inbound_secret),),
            body=body,
        )


def _errors(status: int, *problems: Problem) -> web.Response:
    return web.json_response({"errors": list(problems)}, status=status)
