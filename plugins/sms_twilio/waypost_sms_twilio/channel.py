"""The two channels: `sms` (SMS and MMS) and `whatsapp` (WhatsApp through Twilio)."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from waypost.plugin import (
    AccountBlocked,
    AccountHealth,
    Address,
    ChannelError,
    ChannelEvent,
    ChannelInfo,
    Context,
    Limits,
    LookupResult,
    OutboundMessage,
    OutcomeUnknown,
    Quote,
    Recognition,
    Rejected,
    SendAttempt,
    SendResult,
    TemplateInfo,
    WebhookContext,
    WebhookReply,
    WebhookRequest,
    WebhookVerdict,
    hookimpl,
)

from waypost_sms_twilio import addresses, events, payloads, pricing, records, signature
from waypost_sms_twilio.errors import refused_at_once
from waypost_sms_twilio.settings import TwilioSettings

if TYPE_CHECKING:
    from waypost.plugin.simulator import Simulator

    from waypost_sms_twilio.client import TwilioClient

#: An empty TwiML answer: Twilio sends nothing back to the person who wrote.
TWIML = WebhookReply(200, b'<?xml version="1.0" encoding="UTF-8"?><Response/>', content_type="text/xml")
MOST_TEMPLATES = 1000

_CLIENT = "waypost_sms_twilio.client"
_ACCOUNT_SID = re.compile(rb'(?:(?:^|&)AccountSid=|"accountSid":\s?")(AC[0-9a-fA-F]{32})(?:[&"]|$)')
_WHATSAPP = re.compile(rb'(?:(?:^|&)(?:From|To)=|"(?:from|to)":\s?")whatsapp(?:%3[aA]|:)')

_TEXT = {"body": "Your order A-42 has shipped."}
_TEMPLATE = {"template_id": "HXf8aa5a783ac6df54b1d28473f2de4c75", "variables": {"1": "Ada", "2": "A-42"}}
_MEDIA_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "image": {"url": "https://cdn.example.com/parcel.jpg", "caption": "Your parcel"},
    "video": {"url": "https://cdn.example.com/parcel.mp4"},
    "audio": {"url": "https://cdn.example.com/parcel.mp3"},
    "document": {"url": "https://cdn.example.com/invoice.pdf", "caption": "Your invoice"},
}
_LOCATION = {"latitude": 1.2834, "longitude": 103.8607, "name": "Our shop", "address": "10 Bayfront Avenue"}


class TwilioChannel:
    """What SMS and WhatsApp through Twilio have in common: the account, the requests and the deliveries."""

    whatsapp = False

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """Create one message. Raises `ChannelError`."""
        fields = payloads.parameters(ctx, _account(ctx), message, whatsapp=self.whatsapp)
        created = await (await _client(ctx)).create_message(fields)
        refused = refused_at_once(created.status, created.error_code)
        if refused is not None:
            raise refused
        if not isinstance(created.sid, str) or not created.sid:
            raise OutcomeUnknown("Twilio's answer names no message.")
        raw = {"status": created.status, "num_segments": created.num_segments, "price_unit": created.price_unit}
        return SendResult(provider_ids=(created.sid,), status="accepted", raw=raw)

    @hookimpl
    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        """Check Twilio's signature under every live auth token."""
        if not isinstance(ctx.account, TwilioSettings):
            return Rejected("no account of ours is named")
        return signature.verify(request, ctx.account.webhook_tokens)

    @hookimpl
    def parse_event(self, request: WebhookRequest) -> Sequence[ChannelEvent]:
        """Turn a delivery into receipts, inbound messages and consent changes."""
        return events.parse(request, whatsapp=self.whatsapp)

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Recognise a delivery for this channel by its account SID and by the prefix of its addresses."""
        text = request.body or request.url.partition("?")[2].encode("utf-8", "replace")
        account = _ACCOUNT_SID.search(text)
        if account is None or bool(_WHATSAPP.search(text)) != self.whatsapp:
            return None
        return Recognition(account.group(1).decode())

    @hookimpl
    async def lookup(self, ctx: Context, attempt: SendAttempt) -> LookupResult | None:
        """Look an attempt up by its SID, else by recipient, sender, text and time."""
        try:
            fields = payloads.parameters(ctx, _account(ctx), attempt.message, whatsapp=self.whatsapp)
            client = await _client(ctx)
            return await records.find(client, attempt, fields["to"], fields, ctx.now)
        except ChannelError:
            return None

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        """Ask for the account's status."""
        try:
            status = await (await _client(ctx)).account_status()
        except AccountBlocked as error:
            return AccountHealth(state="blocked", detail=error.detail)
        except ChannelError as error:
            return AccountHealth(state="unknown", detail=error.detail)
        if status == "active":
            return AccountHealth(state="ok")
        if status in ("suspended", "closed"):
            return AccountHealth(state="blocked", detail=f"The account is {status}.")
        return AccountHealth(state="unknown", detail="The account's status is not known.")

    @hookimpl
    async def list_templates(self, ctx: Context) -> Sequence[TemplateInfo]:
        """List the account's content templates with their WhatsApp approval."""
        found = await (await _client(ctx)).templates(limit=MOST_TEMPLATES)
        return [_template(item) for item in found if isinstance(item.sid, str)]

    @hookimpl
    async def open_account(self, ctx: Context) -> object:
        """Build the SDK's client over the shared session, importing the SDK off the loop."""
        return await _client(ctx)


class SmsChannel(TwilioChannel):
    """SMS and MMS through Twilio."""

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what SMS through Twilio is and can do."""
        kinds: Mapping[str, Mapping[str, Any]] = {"text": _TEXT, "template": _TEMPLATE, **_MEDIA_EXAMPLES}
        return ChannelInfo(
            channel="SMS",
            title="SMS (Twilio)",
            address_kinds=("e164",),
            last_receipt="delivered",
            content_kinds=frozenset(kinds),
            examples=kinds,
            documentation="docs/channels/sms_twilio.md",
            **_common(),
        )

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """Meter by segments and destination. Raises `Permanent` for what Twilio could not send."""
        return pricing.quote_sms(payloads.parameters(ctx, _account(ctx), message, whatsapp=False))

    @hookimpl
    def parse_address(self, value: str) -> Address:
        """Turn a phone number into an address. Raises `InvalidRecipient`."""
        return addresses.parse_phone(value)

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of Twilio's SMS."""
        from waypost_sms_twilio.simulator import TwilioSimulator

        return TwilioSimulator()


class WhatsAppChannel(TwilioChannel):
    """WhatsApp through Twilio."""

    whatsapp = True

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what WhatsApp through Twilio is and can do."""
        kinds: Mapping[str, Mapping[str, Any]] = {
            "text": _TEXT,
            "template": _TEMPLATE,
            "location": _LOCATION,
            **_MEDIA_EXAMPLES,
        }
        return ChannelInfo(
            channel="WHATSAPP",
            title="WhatsApp (Twilio)",
            address_kinds=("e164", "wa_user_id"),
            last_receipt="read",
            content_kinds=frozenset(kinds),
            examples=kinds,
            documentation="docs/channels/whatsapp_twilio.md",
            **_common() | {"features": _FEATURES | {"service_window"}},
        )

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """Meter one template or session message. Raises `Permanent` for what Twilio could not send."""
        fields = payloads.parameters(ctx, _account(ctx), message, whatsapp=True)
        payloads.check_window(ctx, message)
        return pricing.quote_whatsapp(fields, message)

    @hookimpl
    def parse_address(self, value: str) -> Address:
        """Turn a phone number or business-scoped user id into an address. Raises `InvalidRecipient`."""
        return addresses.parse_whatsapp(value)

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of Twilio's WhatsApp."""
        from waypost_sms_twilio.simulator import TwilioWhatsAppSimulator

        return TwilioWhatsAppSimulator()


_FEATURES = frozenset({"correlation", "lookup", "templates"})


def _common() -> dict[str, Any]:
    return {
        "api": "1.0",
        "account_settings": TwilioSettings,
        "features": _FEATURES,
        "limits": Limits(text_length=payloads.LONGEST_BODY),
        "receives": "webhook",
        "webhook_scope": "account",
        "webhook_ack": TWIML,
        "account_ref_field": "account_sid",
    }


def _account(ctx: Context) -> TwilioSettings:
    return cast("TwilioSettings", ctx.account)


async def _client(ctx: Context) -> TwilioClient:
    """The gateway's client: the open one, or another where settings or session have changed since."""
    if not hasattr(sys.modules.get(_CLIENT), "TwilioClient"):
        # 0.4 s of imports, which would hold up every other channel on the loop.
        await asyncio.to_thread(importlib.import_module, _CLIENT)
    from waypost_sms_twilio.client import TwilioClient

    account = _account(ctx)
    if isinstance(ctx.client, TwilioClient) and ctx.client.serves(account, ctx.http):
        return ctx.client
    return TwilioClient(account, ctx.http)


def _template(item: Any) -> TemplateInfo:
    approval = item.approval_requests if isinstance(item.approval_requests, dict) else {}
    category = approval.get("category")
    return TemplateInfo(
        template_id=item.sid,
        name=str(item.friendly_name or item.sid),
        language=item.language if isinstance(item.language, str) else None,
        category=category if isinstance(category, str) and category else None,
        status=str(approval.get("status") or "unsubmitted"),
        variables=tuple(item.variables) if isinstance(item.variables, dict) else (),
    )


sms = SmsChannel()
whatsapp = WhatsAppChannel()
