"""A message → the body that Instagram's Send API takes.

Source: Meta, Instagram Platform, "Send a message", "Send reactions", "Generic template", "Quick replies".
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from waypost.plugin import Content, Media, OutboundMessage, Reaction, Unsupported
from waypost_meta_graph.messaging_contents import LIKE_HEART
from waypost_meta_graph.messaging_payloads import Surface, is_action, message_part, sender_action, template_attachment
from waypost_meta_graph.messaging_rules import messaging_type, person_id

from waypost_instagram.settings import InstagramAccount

INSTAGRAM = Surface(
    title="Instagram",
    webhook_object="instagram",
    user_kind="igsid",
    account_kind="ig_id",
    text_limit=1000,
    text_in_bytes=True,
    phone_buttons=False,
    profile_quick_replies=False,
    quick_reply_images=False,
    default_messaging_type=None,
    messaging_types=frozenset({"RESPONSE", "MESSAGE_TAG"}),
)
#: The one reaction that is documented, with and without the selector that makes it an emoji.
LOVE = "love"
HEARTS = frozenset({LOVE, "\N{HEAVY BLACK HEART}", "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"})


class SharedPost(Content):
    """A post that the account itself owns, by its id."""

    kind: Literal["instagram.post"] = "instagram.post"
    post_id: str = Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z_-]+$")


class StructuredTemplate(Content):
    """Any of Instagram's structured templates as it is, such as `product`; `template_type` is added to `payload`."""

    kind: Literal["instagram.template"] = "instagram.template"
    template_type: str = Field(min_length=1, max_length=64, pattern=r"^[a-z_]+$")
    payload: dict[str, Any] = Field(default_factory=dict, max_length=50)


def body(account: InstagramAccount, message: OutboundMessage) -> dict[str, Any]:
    """The whole request body. Raises `Permanent` for what Instagram cannot express."""
    person = person_id(INSTAGRAM, message)
    content = message.content
    if is_action(content):
        return sender_action(INSTAGRAM, person, _reaction(content))
    request: dict[str, Any] = {
        "recipient": {"id": person},
        **messaging_type(INSTAGRAM, message, account.message_tags),
        "message": _message(content),
    }
    if message.reply_to:
        request["reply_to"] = {"mid": message.reply_to}
    return request


def _message(content: Content) -> dict[str, Any]:
    if isinstance(content, SharedPost):
        return {"attachment": {"type": "MEDIA_SHARE", "payload": {"id": content.post_id}}}
    if isinstance(content, StructuredTemplate):
        return template_attachment({**content.payload, "template_type": content.template_type})
    if isinstance(content, Media) and content.kind == "sticker":
        if content.media_id != LIKE_HEART:
            raise Unsupported("Instagram's only sticker is the heart: send the media_id like_heart.")
        if content.url or content.caption or content.more_urls:
            raise Unsupported("Instagram's heart comes alone: without a url, a caption or further media.")
        return {"attachment": {"type": LIKE_HEART}}
    return message_part(INSTAGRAM, content)


def _reaction(content: Content) -> Content:
    if not isinstance(content, Reaction) or not content.emoji:
        return content
    if content.emoji not in HEARTS:
        raise Unsupported("Instagram lets a business react with a heart only.")
    return content.model_copy(update={"emoji": LOVE})
