"""The Messenger channel: Facebook Pages through Meta's Send API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waypost.plugin import ChannelInfo, Context, Limits, Misconfigured, OutboundMessage, Template, hookimpl
from waypost_meta_graph import MetaAppSettings
from waypost_meta_graph.messaging_channel import MessagingChannel

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
    api="1.0",
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


class Messenger(MessagingChannel):
    """Facebook Pages through Meta's Send API. See docs/channels/messenger.md."""

    info = INFO
    surface = MESSENGER
    errors = ERRORS

    def account(self, ctx: Context) -> MessengerAccount:
        """The Page's settings. Raises `Misconfigured`."""
        if not isinstance(ctx.account, MessengerAccount):
            raise Misconfigured("The gateway's settings are not those of a Facebook Page.")
        return ctx.account

    def body(self, ctx: Context, message: OutboundMessage) -> dict[str, Any]:
        """The request, with our correlation as its metadata. Raises `Permanent`."""
        return body(ctx, self.account(ctx), message)

    def subscribed_fields(self, ctx: Context) -> str:  # noqa: ARG002
        """The same for every Page."""
        return ",".join(SUBSCRIBED_FIELDS)

    def needs_window(self, message: OutboundMessage) -> bool:
        """Utility templates go at any time."""
        return super().needs_window(message) and not isinstance(message.content, Template)

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of the Graph as Messenger sees it."""
        from waypost_messenger.simulator import MessengerSimulator

        return MessengerSimulator()


messenger = Messenger()
