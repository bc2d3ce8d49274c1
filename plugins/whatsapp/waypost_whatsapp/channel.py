"""The `whatsapp` plugin: WhatsApp by Meta's Cloud API, one gateway per business phone number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from waypost.plugin import (
    AccountHealth,
    Address,
    ChannelEvent,
    ChannelInfo,
    Context,
    Limits,
    Misconfigured,
    OutboundMessage,
    OutcomeUnknown,
    Quote,
    Recognition,
    SendResult,
    TemplateInfo,
    WebhookConnection,
    WebhookContext,
    WebhookRequest,
    WebhookVerdict,
    hookimpl,
)
from waypost.plugin.content import Action
from waypost_meta_graph import Graph, MetaAppSettings, health, verify
from waypost_meta_graph.pieces import child, flag, objects, text

from waypost_whatsapp import addresses, events
from waypost_whatsapp.errors import ERRORS
from waypost_whatsapp.examples import EXAMPLES
from waypost_whatsapp.health import health_of
from waypost_whatsapp.payloads import TEXT_CHARACTERS, Interactive, message_body
from waypost_whatsapp.quotes import quote
from waypost_whatsapp.settings import WhatsAppSettings
from waypost_whatsapp.templates import template_infos

if TYPE_CHECKING:
    from waypost.plugin.simulator import Simulator

#: Pages of 100 templates that are read at most; an account may hold 6,000.
_TEMPLATE_PAGES = 60


class WhatsApp:
    """Answers the hooks for WhatsApp."""

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what the plugin is and can do."""
        return ChannelInfo(
            channel="WHATSAPP",
            title="WhatsApp (Meta Cloud API)",
            api="1.0",
            account_settings=WhatsAppSettings,
            provider_app_settings=MetaAppSettings,
            address_kinds=(addresses.E164, addresses.USER_ID),
            content_kinds=frozenset(EXAMPLES),
            content_models=(Interactive,),
            features=frozenset({"templates", "correlation", "batched_webhooks", "replies", "service_window"}),
            limits=Limits(text_length=TEXT_CHARACTERS, media_bytes=100 * 1024 * 1024),
            last_receipt="read",
            receives="webhook",
            webhook_scope="shared",
            account_ref_field="phone_number_id",
            documentation="docs/channels/whatsapp.md",
            examples=EXAMPLES,
        )

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """Make the one request that sends. Raises `ChannelError`."""
        account = _account(ctx)
        body = message_body(account, message, ctx.correlation)
        answer = await _graph(ctx).post(f"{account.phone_number_id}/messages", body)
        if isinstance(message.content, Action):
            if flag(answer, "success") is not True:
                raise OutcomeUnknown("WhatsApp answered without saying that it did it.")
            return SendResult(status="sent", raw=answer)
        provider_id = next((found for piece in objects(answer, "messages") if (found := text(piece, "id"))), None)
        if provider_id is None:
            raise OutcomeUnknown("WhatsApp answered without a message id.")
        return SendResult(provider_ids=(provider_id,), raw=answer)

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """Meter the message; refuse what WhatsApp cannot express, and free-form content outside the window."""
        account = _account(ctx)
        message_body(account, message)
        return quote(ctx, account, message)

    @hookimpl
    def parse_address(self, value: str) -> Address:
        """Read a phone number or a business-scoped user id. Raises `InvalidRecipient`."""
        return addresses.parse_address(value)

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Say whether a delivery looks like WhatsApp's, and for which phone number first."""
        return events.recognize(request)

    @hookimpl
    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        """Check `X-Hub-Signature-256` under every live app secret, or answer the handshake."""
        return verify(ctx, request)

    @hookimpl
    def parse_event(self, ctx: WebhookContext, request: WebhookRequest) -> Sequence[ChannelEvent]:
        """Turn a delivery into its events."""
        return events.parse(ctx, request)

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        """Read what Meta says of the phone number's health, and of the account, business and app behind it."""
        return await health(_graph(ctx), _account(ctx).phone_number_id, "id,health_status", health_of)

    @hookimpl
    async def list_templates(self, ctx: Context) -> Sequence[TemplateInfo]:
        """List the business account's templates. Raises `Misconfigured` without a `waba_id`."""
        waba_id = _waba_id(ctx)
        params = {"fields": "name,language,category,status,components", "limit": "100"}
        found: list[Mapping[str, Any]] = []
        for _ in range(_TEMPLATE_PAGES):
            page = await _graph(ctx).get(f"{waba_id}/message_templates", params)
            found.extend(objects(page, "data"))
            after = text(child(page, "paging", "cursors"), "after")
            if after is None or text(child(page, "paging"), "next") is None:
                break
            params = params | {"after": after}
        return template_infos(found)

    @hookimpl
    async def connect_webhook(self, ctx: Context, url: str) -> WebhookConnection:
        """Subscribe the app to the business account, with this URL. Raises `Misconfigured` without a `waba_id`."""
        app = ctx.provider_app
        token = app.verify_token.get_secret_value() if isinstance(app, MetaAppSettings) else ""
        if not token:
            raise Misconfigured("The Meta app has no verify token in its settings.")
        body = {"override_callback_uri": url, "verify_token": token}
        answer = await _graph(ctx).post(f"{_waba_id(ctx)}/subscribed_apps", body)
        if flag(answer, "success") is not True:
            raise OutcomeUnknown("WhatsApp answered without saying that it did it.")
        return WebhookConnection()

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of the Cloud API."""
        from waypost_whatsapp.simulator import WhatsAppSimulator

        return WhatsAppSimulator()


def _account(ctx: Context) -> WhatsAppSettings:
    if not isinstance(ctx.account, WhatsAppSettings):
        raise Misconfigured("The gateway has no WhatsApp settings.")
    return ctx.account


def _waba_id(ctx: Context) -> str:
    waba_id = _account(ctx).waba_id
    if waba_id is None:
        raise Misconfigured("The gateway's settings lack the WhatsApp Business Account id.")
    return waba_id


def _graph(ctx: Context) -> Graph:
    return Graph.of(ctx.http, _account(ctx), ERRORS)


whatsapp = WhatsApp()
