"""Email by SendGrid: the plugin's hooks."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from waypost.plugin import (
    AccountHealth,
    Address,
    ChannelEvent,
    ChannelInfo,
    Context,
    Limits,
    Misconfigured,
    OutboundMessage,
    Quote,
    QuoteLine,
    Recognition,
    SendResult,
    TemplateInfo,
    Verified,
    WebhookContext,
    WebhookRequest,
    WebhookVerdict,
    hookimpl,
)
from waypost.plugin.http import HttpReply, post
from waypost.plugin.simulator import Simulator

from waypost_email_sendgrid import account as accounts
from waypost_email_sendgrid import address as addresses
from waypost_email_sendgrid.draft import MAX_BYTES, Draft, compose
from waypost_email_sendgrid.errors import refusal
from waypost_email_sendgrid.events import bare_id, parse_batch
from waypost_email_sendgrid.settings import SendGridAccount
from waypost_email_sendgrid.verification import is_inbound_mail, verify

SKU = "email"
_PAYLOADS = "waypost_email_sendgrid.payloads"
_INBOUND = "waypost_email_sendgrid.inbound"

_EXAMPLES: dict[str, dict[str, Any]] = {
    "email": {"subject": "Your order", "text": "It is on its way.", "html": "<p>It is on its way.</p>"},
    "text": {"body": "It is on its way."},
    "template": {"template_id": "d-f43daeeaef504760851f727007e0b5d0", "variables": {"first_name": "Ada"}},
}


class EmailChannel:
    """Send and receive email through one SendGrid account per gateway."""

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what the plugin is and can do."""
        return ChannelInfo(
            channel="EMAIL",
            title="Email (SendGrid)",
            api="1.0",
            account_settings=SendGridAccount,
            address_kinds=(addresses.KIND,),
            content_kinds=frozenset(_EXAMPLES),
            features=frozenset({"batched_webhooks", "correlation", "replies", "templates"}),
            limits=Limits(media_bytes=MAX_BYTES),
            last_receipt="delivered",
            webhook_scope="account",
            documentation="docs/channels/email_sendgrid.md",
            examples=_EXAMPLES,
        )

    @hookimpl
    def parse_address(self, value: str) -> Address:
        """Turn a partner's `to` into an address in normal form. Raises `InvalidRecipient`."""
        return addresses.parse_address(value)

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """Count the recipients: SendGrid makes one mail for each. Raises what `compose` refuses."""
        return Quote(lines=(QuoteLine(SKU, compose(ctx, message).recipients, charge_on="sent"),))

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """Post the mail once. Raises `ChannelError`."""
        account = ctx.account
        if not isinstance(account, SendGridAccount):
            raise Misconfigured("The gateway has no SendGrid settings.")
        draft = compose(ctx, message)
        body = await _request_body(draft)
        reply = await post(ctx.http, account.url("/v3/mail/send"), headers=account.headers(), json=body)
        if reply.status == 202:
            return _accepted(reply)
        if reply.status == 200 and draft.sandbox and not reply.body.strip():
            return SendResult(status="sent", raw={"sandbox": True})
        raise refusal(reply, ctx.now)

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        """Ask SendGrid whether the key may send and credits are left."""
        if not isinstance(ctx.account, SendGridAccount):
            return AccountHealth(state="unknown", detail="The gateway has no SendGrid settings.")
        return await accounts.health(ctx.http, ctx.account)

    @hookimpl
    async def list_templates(self, ctx: Context) -> Sequence[TemplateInfo]:
        """List the account's dynamic templates."""
        if not isinstance(ctx.account, SendGridAccount):
            raise Misconfigured("The gateway has no SendGrid settings.")
        return await accounts.dynamic_templates(ctx.http, ctx.account)

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Recognise a batch of events, or a parsed mail. Neither names an account: their keys tell."""
        if is_inbound_mail(request):
            return Recognition() if b'name="envelope"' in request.body else None
        is_batch = request.body[:64].lstrip().startswith(b"[") and b'"sg_event_id"' in request.body
        return Recognition() if is_batch else None

    @hookimpl
    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        """Check a batch's signature, or a parsed mail's signature or secret."""
        verdict = verify(ctx, request)
        if isinstance(verdict, Verified) and is_inbound_mail(request):
            await _loaded(_INBOUND)  # `parse_event` is next, and may not await
        return verdict

    @hookimpl
    def parse_event(self, request: WebhookRequest) -> Sequence[ChannelEvent]:
        """Turn a batch of events, or a parsed mail, into our events."""
        if is_inbound_mail(request):
            # Brings Werkzeug along, which an account that receives no mail never needs.
            from waypost_email_sendgrid.inbound import parse_mail

            return parse_mail(request)
        return parse_batch(request)

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new SendGrid on loopback."""
        from waypost_email_sendgrid.simulator import SendGridSimulator

        return SendGridSimulator()


async def _loaded(module: str) -> None:
    """Import in a thread: the first import of the SDK or of Werkzeug takes longer than the event loop may be held."""
    if module not in sys.modules:
        await asyncio.to_thread(importlib.import_module, module)


async def _request_body(draft: Draft) -> dict[str, Any]:
    await _loaded(_PAYLOADS)
    from waypost_email_sendgrid.payloads import mail_send_body

    return mail_send_body(draft)


def _accepted(reply: HttpReply) -> SendResult:
    """202 is acceptance even without an id: events bring `waypost_ref`, and that finds the message."""
    provider_id = bare_id(reply.headers.get("x-message-id", ""))
    return SendResult(provider_ids=(provider_id,) if provider_id else (), status="accepted")


email = EmailChannel()
