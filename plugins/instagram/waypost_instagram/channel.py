"""The Instagram channel: professional accounts through Meta's Send API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waypost.plugin import ChannelInfo, Context, Limits, Misconfigured, OutboundMessage, hookimpl
from waypost_meta_graph import MetaAppSettings
from waypost_meta_graph.messaging_channel import MessagingChannel
from waypost_meta_graph.messaging_contents import LIKE_HEART

from waypost_instagram.errors import ERRORS
from waypost_instagram.payloads import INSTAGRAM, SharedPost, StructuredTemplate, body
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
    api="1.0",
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


class Instagram(MessagingChannel):
    """Instagram professional accounts through Meta's Send API. See docs/channels/instagram.md."""

    info = INFO
    surface = INSTAGRAM
    errors = ERRORS

    def account(self, ctx: Context) -> InstagramAccount:
        """The account's settings. Raises `Misconfigured`."""
        if not isinstance(ctx.account, InstagramAccount):
            raise Misconfigured("The gateway's settings are not those of an Instagram account.")
        return ctx.account

    def body(self, ctx: Context, message: OutboundMessage) -> dict[str, Any]:
        """The request; Instagram has no place for our correlation. Raises `Permanent`."""
        return body(self.account(ctx), message)

    def subscribed_fields(self, ctx: Context) -> str:
        """By the account's way in."""
        return SUBSCRIBED_FIELDS[self.account(ctx).login]

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of the Graph as Instagram sees it."""
        from waypost_instagram.simulator import InstagramSimulator

        return InstagramSimulator()


instagram = Instagram()
