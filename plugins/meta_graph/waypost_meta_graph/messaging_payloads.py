"""Send API bodies, which Messenger and Instagram share: content → the `message` object or the sender action.

Source: Meta, Messenger Platform, "Send API reference", "Button template", "Generic template", "Quick replies",
"Sender actions"; Instagram Platform, "Send a message". Building a body checks the limits
those pages name, so that `price` refuses what `send` could not express.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypost.plugin import (
    Action,
    Buttons,
    Card,
    Cards,
    Choice,
    Content,
    ContentRejected,
    Media,
    Reaction,
    Text,
    Unsupported,
)

from waypost_meta_graph.limits import within

SENDER_ACTIONS = {"typing_on": "typing_on", "typing_off": "typing_off", "mark_read": "mark_seen"}
ATTACHMENT_TYPES = {"image": "image", "video": "video", "audio": "audio", "document": "file"}
#: Quick replies that ask for what the person's profile holds; a choice with this id becomes one.
PROFILE_QUICK_REPLIES = frozenset({"user_phone_number", "user_email"})

TITLE_CHARACTERS = 20
BUTTON_TEXT_CHARACTERS = 640
CARD_CHARACTERS = 80
BUTTONS_PER_MESSAGE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What tells Messenger and Instagram apart, where the wire is one."""

    title: str
    webhook_object: str
    user_kind: str
    account_kind: str
    text_limit: int
    text_in_bytes: bool = False
    phone_buttons: bool = True
    profile_quick_replies: bool = True
    quick_reply_images: bool = True
    default_messaging_type: str | None = "RESPONSE"
    messaging_types: frozenset[str] = frozenset({"RESPONSE", "UPDATE", "MESSAGE_TAG"})


def is_action(content: Content) -> bool:
    """Whether the content is a sender action: it makes no message and comes back without an id."""
    return isinstance(content, Action | Reaction)


# ---- message


def message_part(surface: Surface, content: Content) -> dict[str, Any]:
    """The `message` object of the content kinds both products know. Raises `Unsupported` or `ContentRejected`."""
    if isinstance(content, Text):
        return {"text": _checked_text(surface, content.body)}
    if isinstance(content, Media):
        return {"attachment": media_attachment(surface, content)}
    if isinstance(content, Buttons):
        _refuse_header_and_footer(surface, content)
        return _quick_replies(surface, content) if content.kind == "quick_replies" else _buttons(surface, content)
    if isinstance(content, Cards):
        return template_attachment({"template_type": "generic", "elements": [_card(surface, c) for c in content.cards]})
    raise Unsupported(f"{surface.title} has no way to send this kind of content.")


def template_attachment(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A `message` that is one of Meta's structured templates."""
    return {"attachment": {"type": "template", "payload": dict(payload)}}


def media_attachment(surface: Surface, media: Media) -> dict[str, Any]:
    """The `attachment` of an image, video, audio or document. Raises `Unsupported` or `ContentRejected`."""
    kind = ATTACHMENT_TYPES.get(media.kind)
    if kind is None:
        raise Unsupported(f"{surface.title} has no way to send this kind of content.")
    if media.caption:
        raise Unsupported(f"{surface.title} attachments carry no caption; send the text as a message of its own.")
    if media.more_urls:
        raise Unsupported(f"{surface.title} takes one attachment in a message; send the others on their own.")
    if (media.url is None) == (media.media_id is None):
        raise ContentRejected("Media needs a url or a media_id, and not both.")
    source = {"url": media.url} if media.url is not None else {"attachment_id": media.media_id}
    return {"type": kind, "payload": source}


def _checked_text(surface: Surface, text: str) -> str:
    size = len(text.encode("utf-8", "surrogatepass")) if surface.text_in_bytes else len(text)
    if size > surface.text_limit:
        unit = "bytes of UTF-8" if surface.text_in_bytes else "characters"
        raise ContentRejected(f"{surface.title} text may have {surface.text_limit} {unit}; this has {size}.")
    return text


def _refuse_header_and_footer(surface: Surface, content: Buttons) -> None:
    if content.header or content.footer:
        raise Unsupported(f"{surface.title} buttons have neither header nor footer.")


def _quick_replies(surface: Surface, content: Buttons) -> dict[str, Any]:
    return {
        "text": _checked_text(surface, content.body),
        "quick_replies": [_quick_reply(surface, choice) for choice in content.choices],
    }


def _quick_reply(surface: Surface, choice: Choice) -> dict[str, Any]:
    if choice.url or choice.phone or choice.description:
        raise Unsupported("A quick reply has a title, an id and an image; use buttons for links and calls.")
    if choice.image_url and not surface.quick_reply_images:
        raise Unsupported(f"{surface.title} shows quick replies as plain text, without image.")
    if choice.id in PROFILE_QUICK_REPLIES and surface.profile_quick_replies:
        return {"content_type": choice.id}
    reply = {
        "content_type": "text",
        "title": within("A quick reply's title", choice.title, TITLE_CHARACTERS),
        "payload": choice.id or choice.title,
    }
    if choice.image_url:
        reply["image_url"] = choice.image_url
    return reply


def _buttons(surface: Surface, content: Buttons) -> dict[str, Any]:
    if len(content.choices) > BUTTONS_PER_MESSAGE:
        raise ContentRejected(f"{surface.title} shows {BUTTONS_PER_MESSAGE} buttons; use quick replies for more.")
    return template_attachment(
        {
            "template_type": "button",
            "text": within("The text above buttons", content.body, BUTTON_TEXT_CHARACTERS),
            "buttons": [_button(surface, choice) for choice in content.choices],
        }
    )


def _button(surface: Surface, choice: Choice) -> dict[str, Any]:
    if choice.description or choice.image_url:
        raise Unsupported(f"{surface.title} buttons have neither description nor image.")
    if choice.url and choice.phone:
        raise ContentRejected("A button opens a link or calls a number, not both.")
    title = within("A button's title", choice.title, TITLE_CHARACTERS)
    if choice.url:
        return {"type": "web_url", "url": choice.url, "title": title}
    if choice.phone:
        if not surface.phone_buttons:
            raise Unsupported(f"{surface.title} has no buttons that call a number.")
        return {"type": "phone_number", "title": title, "payload": choice.phone}
    return {"type": "postback", "title": title, "payload": choice.id or choice.title}


def _card(surface: Surface, card: Card) -> dict[str, Any]:
    element: dict[str, Any] = {"title": within("A card's title", card.title, CARD_CHARACTERS)}
    if card.subtitle:
        element["subtitle"] = within("A card's subtitle", card.subtitle, CARD_CHARACTERS)
    if card.image_url:
        element["image_url"] = card.image_url
    if card.url:
        element["default_action"] = {"type": "web_url", "url": card.url}
    if card.choices:
        element["buttons"] = [_button(surface, choice) for choice in card.choices]
    return element


# ---- sender action


def sender_action(surface: Surface, person: str, content: Content) -> dict[str, Any]:
    """The body of a sender action or a reaction. Raises `Unsupported`."""
    body: dict[str, Any] = {"recipient": {"id": person}}
    if isinstance(content, Reaction):
        payload = {"message_id": content.message_id}
        if content.emoji:
            payload["reaction"] = content.emoji
        return {**body, "sender_action": "react" if content.emoji else "unreact", "payload": payload}
    action = SENDER_ACTIONS.get(content.kind)
    if action is None:
        raise Unsupported(f"{surface.title} has no such action.")
    return {**body, "sender_action": action}
