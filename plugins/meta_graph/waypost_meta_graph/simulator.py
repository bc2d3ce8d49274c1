"""What the simulators of the Meta channels share: tokens, Graph errors, signed webhooks, the course of a send."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from waypost.plugin import WebhookRequest
from waypost.plugin.signatures import hmac_sign, same
from waypost.plugin.simulator import ACCEPTING, Outcome
from waypost.plugin.web_simulator import WebSimulator


def meta_bytes(payload: Any) -> bytes:
    r"""A JSON document as Meta writes and signs it: non-ASCII as lower-case `\uXXXX`, a slash as `\/`.

    Source: Meta Graph API, Webhooks, "Validate Payloads".
    """
    return json.dumps(payload, ensure_ascii=True, separators=(",", ":")).replace("/", "\\/").encode("ascii")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A Graph error as the simulator answers it. `details` goes into `error_data`, as WhatsApp does."""

    status: int
    code: int
    message: str
    subcode: int | None = None
    details: str | None = None
    is_transient: bool | None = None
    type: str = "OAuthException"
    retry_after: int | None = None

    def response(self) -> web.Response:
        """The error as the Graph writes it."""
        error: dict[str, Any] = {"message": self.message, "type": self.type, "code": self.code}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.is_transient is not None:
            error["is_transient"] = self.is_transient
        if self.details is not None:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        error["fbtrace_id"] = "A" + secrets.token_urlsafe(16)
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else None
        return web.json_response({"error": error}, status=self.status, headers=headers)


BAD_TOKEN = Refusal(401, 190, "Invalid OAuth access token - Cannot parse access token")


def invalid_parameter(message: str, **more: Any) -> Refusal:
    """Error 100: a parameter of the request is missing or wrong."""
    return Refusal(400, 100, f"(#100) {message}", **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A message-creating request on its way through the simulator.

    `reply` is the provider's success; `receipt` builds the signed webhook of a receipt, or None where the provider
    sends none for that status.
    """

    recipient: str
    provider_id: str
    reply: Mapping[str, Any]
    receipt: Callable[[str], WebhookRequest | None]
    correlation: str | None = None
    fields: Mapping[str, Any] | None = None


class GraphSimulator(WebSimulator):
    """The Graph on loopback. A channel adds its routes, its magic recipients and its `refusals`."""

    #: What each refusing outcome is answered with.
    refusals: Mapping[Outcome, Refusal] = {}

    def __init__(self) -> None:
        super().__init__()
        self.access_token = "EAASim" + secrets.token_hex(16)
        self.app_secret = secrets.token_hex(16)
        self.verify_token = "verify-" + secrets.token_hex(8)

    def provider_app_settings(self) -> dict[str, Any]:
        """The app's secret and verify token."""
        return {"app_secrets": [self.app_secret], "verify_token": self.verify_token}

    # ---- requests

    def authorized(self, request: web.Request) -> bool:
        """Whether the request carries the access token: as Bearer, or as `access_token` in the query."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else request.query.get("access_token", "")
        return same(given, self.access_token)

    async def json_body(self, request: web.Request) -> dict[str, Any] | None:
        """The request's JSON object; None where it is anything else."""
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            return None
        return body if isinstance(body, dict) else None

    async def play(self, request: web.Request, sending: Sending) -> web.StreamResponse:
        """Answer a valid send as its recipient's outcome demands, journal it, and set its receipts going."""
        outcome = self.outcome_of(sending.recipient)
        self.record(
            sending.recipient,
            outcome,
            provider_id=sending.provider_id if outcome in ACCEPTING else None,
            correlation=sending.correlation,
            fields=sending.fields,
        )
        if outcome in self.refusals:
            return self.refusals[outcome].response()
        if outcome in ACCEPTING and self.webhook_url:
            receipts = [sending.receipt(status) for status in self.receipts_for(outcome)]
            webhooks = [webhook for webhook in receipts if webhook is not None]
            if outcome is Outcome.EARLY_RECEIPTS:
                await self.deliver_now(*webhooks)
            else:
                self.deliver(*webhooks, outcome=outcome)
        return await self.misbehave(request, outcome) or web.json_response(dict(sending.reply))

    # ---- webhooks

    def signed(self, payload: Any, url: str | None = None) -> WebhookRequest:
        """A webhook with this body, signed by the app secret, for `url` or `webhook_url`."""
        body = meta_bytes(payload)
        return WebhookRequest(
            method="POST",
            url=url or self.webhook_url,
            headers=(
                ("content-type", "application/json"),
                ("user-agent", "facebookexternalua"),
                ("x-hub-signature-256", "sha256=" + hmac_sign(self.app_secret, body)),
            ),
            body=body,
        )

    def handshake(
        self, url: str | None = None, *, token: str | None = None, challenge: str = "1158201444"
    ) -> WebhookRequest:
        """The GET that Meta makes when the operator saves the webhook URL."""
        query = (
            ("hub.mode", "subscribe"),
            ("hub.challenge", challenge),
            ("hub.verify_token", self.verify_token if token is None else token),
        )
        return WebhookRequest(method="GET", url=f"{url or self.webhook_url}?{urlencode(query)}", query=query)

    @staticmethod
    def seconds() -> str:
        """The time now as WhatsApp writes it."""
        return str(int(time.time()))

    @staticmethod
    def milliseconds() -> int:
        """The time now as Messenger and Instagram write it."""
        return int(time.time() * 1000)
