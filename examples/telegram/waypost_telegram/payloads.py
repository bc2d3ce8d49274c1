"""A message → the Bot API's method and parameters.

Source: Telegram Bot API, "Available methods" (`sendMessage`, `sendPhoto`, … `sendPoll`, `sendChatAction`,
`setMessageReaction`), "InlineKeyboardButton", "ReplyParameters".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from waypost.plugin import (
    Action,
    Address,
    Buttons,
    Choice,
    Contacts,
    Content,
    ContentRejected,
    InvalidRecipient,
    Location,
    Media,
    OutboundMessage,
    Reaction,
    Text,
    Unsupported,
)

from waypost_telegram.contents import Poll

CHAT = "telegram_chat"
TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
CALLBACK_DATA_LIMIT = 64
PARSE_MODES = ("MarkdownV2", "HTML", "Markdown")
#: Options that go to Telegram as they are, where they are yes or no.
_SWITCHES = ("disable_notification", "protect_content")

_CHAT_ID = re.compile(r"-?[1-9][0-9]{0,18}")
_CHANNEL_NAME = re.compile(r"@[A-Za-z][A-Za-z0-9_]{3,31}")
#: How Waypost names a Telegram message: a message id is unique within its chat only.
_MESSAGE_REF = re.compile(r"(?:(-?[0-9]{1,19}):)?([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the Bot API. An action makes no message and is answered with `true`."""

    method: str
    parameters: dict[str, Any]
    is_action: bool = False


def chat_address(value: str) -> Address:
    """A chat's number (a group's is negative) or a public channel's @name. Raises `InvalidRecipient`."""
    text = value.strip()
    if _CHAT_ID.fullmatch(text):
        return Address(CHAT, text)
    if _CHANNEL_NAME.fullmatch(text):
        return Address(CHAT, text.lower())
    raise InvalidRecipient("A Telegram recipient is the number of a chat, or the @name of a public channel.")


def chat_of(message: OutboundMessage) -> str:
    """The recipient's chat. Raises `InvalidRecipient`."""
    chat = message.address(CHAT)
    if chat is None:
        raise InvalidRecipient(f"Telegram needs an address of the kind {CHAT}.")
    return chat


def message_ref(chat_id: object, message_id: object) -> str:
    """The id under which a message is known to Waypost."""
    return f"{chat_id}:{message_id}"


def call_for(message: OutboundMessage) -> Call:
    """The whole call. Raises `Permanent` for what Telegram cannot express."""
    chat: dict[str, Any] = {"chat_id": _chat_id(chat_of(message))}
    content = message.content
    if isinstance(content, Action) and content.kind == "typing_on":
        return Call("sendChatAction", {**chat, "action": "typing"}, is_action=True)
    if isinstance(content, Reaction):
        emoji = [{"type": "emoji", "emoji": content.emoji}] if content.emoji else []
        about = {"message_id": _message_id(content.message_id), "reaction": emoji}
        return Call("setMessageReaction", {**chat, **about}, is_action=True)
    for kind, build in _BUILDERS.items():
        if isinstance(content, kind):
            method, parameters = build(content, message)
            return Call(method, {**chat, **parameters, **_delivery(message)})
    raise Unsupported(f"Telegram cannot send content of the kind {content.kind}.")


def _chat_id(chat: str) -> int | str:
    return int(chat) if _CHAT_ID.fullmatch(chat) else chat


def _message_id(reference: str) -> int:
    found = _MESSAGE_REF.fullmatch(reference.strip())
    if found is None:
        raise ContentRejected("The id of the message meant is not one of Telegram's.")
    return int(found[2])


# ---- options


def _parse_mode(message: OutboundMessage) -> dict[str, str]:
    asked = message.options.get("parse_mode")
    if asked is None:
        return {}
    if asked not in PARSE_MODES:
        raise Unsupported(f"The option `parse_mode` is one of {', '.join(PARSE_MODES)}.")
    return {"parse_mode": asked}


def _delivery(message: OutboundMessage) -> dict[str, Any]:
    """What goes with every message: to which one it replies, and how it is told."""
    parameters: dict[str, Any] = {}
    for name in _SWITCHES:
        asked = message.options.get(name)
        if asked is not None:
            if not isinstance(asked, bool):
                raise Unsupported(f"The option `{name}` is true or false.")
            parameters[name] = asked
    thread = message.options.get("message_thread_id")
    if thread is not None:
        if isinstance(thread, bool) or not isinstance(thread, int):
            raise Unsupported("The option `message_thread_id` is the number of a topic.")
        parameters["message_thread_id"] = thread
    if message.reply_to is not None:
        parameters["reply_parameters"] = {"message_id": _message_id(message.reply_to)}
    return parameters


def _worded(name: str, words: str, limit: int, message: OutboundMessage) -> dict[str, Any]:
    """A text with its parse mode. Only plain text can be measured here: marks do not count towards the limit."""
    mode = _parse_mode(message)
    if not mode and len(words) > limit:
        raise ContentRejected(f"Telegram takes {limit} characters here.")
    return {name: words, **mode}


# ---- kinds of content


def _text(content: Text, message: OutboundMessage) -> tuple[str, dict[str, Any]]:
    preview = {"link_preview_options": {"is_disabled": not content.preview_url}}
    return "sendMessage", {**_worded("text", content.body, TEXT_LIMIT, message), **preview}


def _media(content: Media, message: OutboundMessage) -> tuple[str, dict[str, Any]]:
    source = content.media_id or content.url
    if source is None:
        raise ContentRejected("Media need a url or a media_id.")
    if content.more_urls:
        raise Unsupported("Telegram takes one medium in a message.")
    field = "voice" if content.kind == "audio" and content.voice else _MEDIA_FIELDS[content.kind]
    caption: dict[str, Any] = {}
    if content.caption is not None:
        if field == "sticker":
            raise Unsupported("A sticker has no caption.")
        caption = _worded("caption", content.caption, CAPTION_LIMIT, message)
    return f"send{field.capitalize()}", {field: source, **caption}


_MEDIA_FIELDS = {"image": "photo", "video": "video", "audio": "audio", "document": "document", "sticker": "sticker"}


def _location(content: Location, _: OutboundMessage) -> tuple[str, dict[str, Any]]:
    place = {"latitude": content.latitude, "longitude": content.longitude}
    if content.name and content.address:
        return "sendVenue", {**place, "title": content.name, "address": content.address}
    return "sendLocation", place


def _contact(content: Contacts, _: OutboundMessage) -> tuple[str, dict[str, Any]]:
    if len(content.contacts) != 1:
        raise Unsupported("Telegram takes one contact in a message.")
    card = content.contacts[0]
    if not (isinstance(card.get("phone_number"), str) and isinstance(card.get("first_name"), str)):
        raise ContentRejected("A contact needs a phone_number and a first_name, as in Telegram's sendContact.")
    known = ("phone_number", "first_name", "last_name", "vcard")
    return "sendContact", {name: card[name] for name in known if name in card}


def _buttons(content: Buttons, message: OutboundMessage) -> tuple[str, dict[str, Any]]:
    if content.header is not None or content.footer is not None:
        raise Unsupported("Telegram's buttons have neither header nor footer.")
    keyboard = [[_button(choice)] for choice in content.choices]
    words = _worded("text", content.body, TEXT_LIMIT, message)
    return "sendMessage", {**words, "reply_markup": {"inline_keyboard": keyboard}}


def _button(choice: Choice) -> dict[str, str]:
    if choice.phone or choice.image_url or choice.description:
        raise Unsupported("Telegram's buttons open a URL or send their id, nothing else.")
    if choice.url is not None:
        return {"text": choice.title, "url": choice.url}
    data = choice.id or choice.title
    if len(data.encode()) > CALLBACK_DATA_LIMIT:
        raise ContentRejected(f"Telegram takes {CALLBACK_DATA_LIMIT} bytes as a button's id.")
    return {"text": choice.title, "callback_data": data}


def _poll(content: Poll, _: OutboundMessage) -> tuple[str, dict[str, Any]]:
    parameters: dict[str, Any] = {
        "question": content.question,
        "options": [{"text": option} for option in content.options],
        "is_anonymous": content.anonymous,
        "allows_multiple_answers": content.multiple_answers,
    }
    if content.correct_option is not None:
        parameters |= {"type": "quiz", "correct_option_id": content.correct_option}
        if content.explanation is not None:
            parameters["explanation"] = content.explanation
    return "sendPoll", parameters


_BUILDERS: dict[type[Content], Callable[[Any, OutboundMessage], tuple[str, dict[str, Any]]]] = {
    Text: _text,
    Media: _media,
    Location: _location,
    Contacts: _contact,
    Buttons: _buttons,
    Poll: _poll,
}
