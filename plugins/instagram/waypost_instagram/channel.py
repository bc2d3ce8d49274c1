"""The Instagram channel: professional accounts through Meta's Send API."""

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

from waypost_instagram.errors import ERRORS
from waypost_instagram.payloads import INSTAGRAM, LIKE_HEART, SharedPost, StructuredTemplate, body
from waypost_instagram.settings import InstagramAccount

if TYPE_CHECKING:
    from waypost.plugin.simulator import Simulator

#: What to subscribe to by either way in. Echoes come under `messages`. Through a Page, any field of the Page's own
#: connects it: what Instagram sends is chosen in the app's dashboard.
SUBSCRIBED_FIELDS = {
    "instagram": "messages,message_reactions,messaging_postbacks,messaging_referral,messaging_seen,"
    "messaging_handover,standby",
    "page": "messages",
}

INFO = ChannelInfo(
    channel="INSTAGRAM",
    title="Instagram messaging",
    api="0.1",
    account_settings=InstagramAccount,
    provider_app_settings=MetaAppSettings,
    address_kinds=(INSTAGRAM.user_kind,),
    content_kinds=frozenset(
        {
            "text",
            "image",
            "video",
            "audio",
            "document",
            "sticker",
            "buttons",
            "quick_replies",
            "cards",
            "reaction",
            "typing_on",
            "typing_off",
            "mark_read",
            "instagram.post",
            "instagram.template",
        }
    ),
    content_models=(SharedPost, StructuredTemplate),
    features=frozenset({"batched_webhooks", "replies", "service_window"}),
    # The real limit is in bytes of UTF-8: no text of more characters than this can fit.
    limits=Limits(text_length=INSTAGRAM.text_limit, media_bytes=25_000_000),
    # Instagram tells of reading, but never of delivery: only the sending is sure to be heard of.
    last_receipt="sent",
    webhook_scope="shared",
    account_ref_field="ig_id",
    documentation="docs/channels/instagram.md",
    examples={
        "text": {"body": "Yes, it is in stock."},
        "image": {"url": "https://cdn.example.com/shirt.jpg"},
        "video": {"url": "https://cdn.example.com/tour.mp4"},
        "audio": {"url": "https://cdn.example.com/greeting.m4a"},
        "document": {"url": "https://cdn.example.com/receipt.pdf"},
        "sticker": {"media_id": LIKE_HEART},
        "buttons": {
            "body": "What next?",
            "choices": [{"title": "Shop", "url": "https://shop.example.com"}, {"title": "Talk to us", "id": "AGENT"}],
        },
        "quick_replies": {
            "body": "Which size?",
            "choices": [{"title": "Small", "id": "S"}, {"title": "Large", "id": "L"}],
        },
        "cards": {
            "cards": [
                {
                    "title": "Red shirt",
                    "image_url": "https://cdn.example.com/r.jpg",
                    "choices": [{"title": "Buy", "id": "BUY-1"}],
                }
            ]
        },
        "reaction": {"message_id": "aWdfexample", "emoji": "❤️"},
        "typing_on": {},
        "typing_off": {},
        "mark_read": {},
        "instagram.post": {"post_id": "17900000000000007"},
        "instagram.template": {"template_type": "product", "payload": {"elements": [{"id": "1234567890"}]}},
    },
)


def _account(ctx: Context) -> InstagramAccount:
    if not isinstance(ctx.account, InstagramAccount):
        raise Misconfigured("The gateway's settings are not those of an Instagram account.")
    return ctx.account


class Instagram:
    """Instagram professional accounts through Meta's Send API. See docs/channels/instagram.md."""

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what the plugin is and can do."""
        return INFO

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """POST the message once to the account's `messages` edge. Raises `ChannelError`."""
        account = _account(ctx)
        request = body(account, message)
        reply = await Graph.of(ctx.http, account, ERRORS).post(f"{account.node}/messages", request)
        return sent(reply, message.content)

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """One `message` or `action`. Raises `Permanent` for what cannot be sent, or not now."""
        body(_account(ctx), message)
        if not is_action(message.content):
            require_open_window(ctx, message)
        return meter(message.content)

    @hookimpl
    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        """Check the app's signature, or answer the handshake."""
        return verify(ctx, request)

    @hookimpl
    def parse_event(self, ctx: WebhookContext, request: WebhookRequest) -> Sequence[ChannelEvent]:  # noqa: ARG002
        """Read a delivery of the object `instagram`, in any of its three shapes."""
        return parse(INSTAGRAM, request)

    @hookimpl
    def parse_address(self, value: str) -> Address:
        """Take an Instagram-scoped id. Raises `InvalidRecipient`."""
        return scoped_id(INSTAGRAM, value)

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Name the Instagram account of the first entry."""
        return recognized(request, INSTAGRAM.webhook_object, account_of)

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        """Read the account, to learn whether its token works."""
        account = _account(ctx)
        return await health(Graph.of(ctx.http, account, ERRORS), account.node, "id")

    @hookimpl
    async def connect_webhook(self, ctx: Context, url: str) -> WebhookConnection:
        """Subscribe the app to the account; the URL itself is the app's, and is set once in Meta's dashboard.

        Source: Instagram Platform, "Webhooks", "Enable subscriptions". Raises `ChannelError`.
        """
        account = _account(ctx)
        graph = Graph.of(ctx.http, account, ERRORS)
        await graph.post(f"{account.node}/subscribed_apps", {"subscribed_fields": SUBSCRIBED_FIELDS[account.login]})
        return WebhookConnection(remaining=f"Set {url} as the app's callback URL in Meta's dashboard, once.")

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of the Graph as Instagram sees it."""
        from waypost_instagram.simulator import InstagramSimulator

        return InstagramSimulator()


instagram = Instagram()
