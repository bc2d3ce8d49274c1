"""The Messenger channel: Facebook Pages through Meta's Send API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    Recognition,
    SendResult,
    Template,
    WebhookConnection,
    WebhookContext,
    WebhookRequest,
    WebhookVerdict,
    hookimpl,
)
from waypost_meta_graph import Graph, MetaAppSettings, health, recognized, verify
from waypost_meta_graph.messaging import account_of, parse
from waypost_meta_graph.messaging_payloads import is_action
from waypost_meta_graph.messaging_rules import meter, require_open_window, scoped_id, sent

from waypost_messenger.errors import ERRORS
from waypost_messenger.payloads import MESSENGER, StructuredTemplate, body
from waypost_messenger.settings import MessengerAccount

if TYPE_CHECKING:
    from waypost.plugin.simulator import Simulator

#: The webhook fields that this plugin reads.
SUBSCRIBED_FIELDS = (
    "messages",
    "message_echoes",
    "message_deliveries",
    "message_reads",
    "message_reactions",
    "message_edits",
    "messaging_postbacks",
    "messaging_referrals",
    "messaging_optins",
    "messaging_account_linking",
    "messaging_handovers",
    "messaging_policy_enforcement",
    "standby",
)

INFO = ChannelInfo(
    channel="MESSENGER",
    title="Messenger (Facebook Pages)",
    api="0.1",
    account_settings=MessengerAccount,
    provider_app_settings=MetaAppSettings,
    address_kinds=(MESSENGER.user_kind,),
    content_kinds=frozenset(
        {
            "text",
            "image",
            "video",
            "audio",
            "document",
            "buttons",
            "quick_replies",
            "cards",
            "template",
            "reaction",
            "typing_on",
            "typing_off",
            "mark_read",
            "messenger.template",
        }
    ),
    content_models=(StructuredTemplate,),
    features=frozenset({"batched_webhooks", "correlation", "replies", "service_window", "watermarks"}),
    limits=Limits(text_length=MESSENGER.text_limit, media_bytes=25_000_000),
    last_receipt="read",
    webhook_scope="shared",
    account_ref_field="page_id",
    documentation="docs/channels/messenger.md",
    examples={
        "text": {"body": "Your order has shipped."},
        "image": {"url": "https://cdn.example.com/shirt.jpg"},
        "video": {"url": "https://cdn.example.com/tour.mp4"},
        "audio": {"url": "https://cdn.example.com/greeting.mp3"},
        "document": {"url": "https://cdn.example.com/receipt.pdf"},
        "buttons": {
            "body": "What next?",
            "choices": [{"title": "Shop", "url": "https://shop.example.com"}, {"title": "Talk to us", "id": "AGENT"}],
        },
        "quick_replies": {
            "body": "Pick a colour",
            "choices": [{"title": "Red", "id": "RED"}, {"title": "Blue", "id": "BLUE"}],
        },
        "cards": {
            "cards": [
                {
                    "title": "Red shirt",
                    "subtitle": "$19",
                    "image_url": "https://cdn.example.com/r.jpg",
                    "choices": [{"title": "Buy", "id": "BUY-1"}],
                }
            ]
        },
        "template": {"template_id": "order_shipped", "language": "en_US", "variables": {"1": "A-1001"}},
        "reaction": {"message_id": "m_example", "emoji": "❤️"},
        "typing_on": {},
        "typing_off": {},
        "mark_read": {},
        "messenger.template": {
            "template_type": "media",
            "payload": {"elements": [{"media_type": "image", "attachment_id": "1745504518999123"}]},
        },
    },
)


def _account(ctx: Context) -> MessengerAccount:
    if not isinstance(ctx.account, MessengerAccount):
        raise Misconfigured("The gateway's settings are not those of a Facebook Page.")
    return ctx.account


class Messenger:
    """Facebook Pages through Meta's Send API. See docs/channels/messenger.md."""

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what the plugin is and can do."""
        return INFO

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """POST the message once to the Page's `messages` edge. Raises `ChannelError`."""
        account = _account(ctx)
        request = body(ctx, account, message)
        reply = await Graph.of(ctx.http, account, ERRORS).post(f"{account.page_id}/messages", request)
        return sent(reply, message.content)

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """One `message` or `action`. Raises `Permanent` for what cannot be sent, or not now."""
        body(ctx, _account(ctx), message)
        if not is_action(message.content) and not isinstance(message.content, Template):
            require_open_window(ctx, message)
        return meter(message.content)

    @hookimpl
    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        """Check the app's signature, or answer the handshake."""
        return verify(ctx, request)

    @hookimpl
    def parse_event(self, ctx: WebhookContext, request: WebhookRequest) -> Sequence[ChannelEvent]:  # noqa: ARG002
        """Read a delivery of the object `page`."""
        return parse(MESSENGER, request)

    @hookimpl
    def parse_address(self, value: str) -> Address:
        """Take a page-scoped id. Raises `InvalidRecipient`."""
        return scoped_id(MESSENGER, value)

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Name the Page of the first entry."""
        return recognized(request, MESSENGER.webhook_object, account_of)

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        """Read the Page, to learn whether its token works."""
        account = _account(ctx)
        return await health(Graph.of(ctx.http, account, ERRORS), account.page_id, "id")

    @hookimpl
    async def connect_webhook(self, ctx: Context, url: str) -> WebhookConnection:
        """Subscribe the app to the Page; the URL itself is the app's, and is set once in Meta's dashboard.

        Source: Meta, Messenger Platform, "Subscribe your Page". Raises `ChannelError`.
        """
        account = _account(ctx)
        graph = Graph.of(ctx.http, account, ERRORS)
        await graph.post(f"{account.page_id}/subscribed_apps", {"subscribed_fields": ",".join(SUBSCRIBED_FIELDS)})
        return WebhookConnection(remaining=f"Set {url} as the app's callback URL in Meta's dashboard, once.")

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of the Graph as Messenger sees it."""
        from waypost_messenger.simulator import MessengerSimulator

        return MessengerSimulator()


messenger = Messenger()
