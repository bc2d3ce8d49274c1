"""The content of a message that somebody wrote to the bot. Source: Telegram Bot API, "Message"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from waypost.plugin import Contacts, Content, Location, Media, Text, Unknown

from waypost_telegram.contents import Poll

#: Messages that nobody wrote: Telegram tells in this form what happened in the chat.
SERVICE_MARKS = (
    "new_chat_members",
    "left_chat_member",
    "new_chat_title",
    "new_chat_photo",
    "delete_chat_photo",
    "group_chat_created",
    "supergroup_chat_created",
    "channel_chat_created",
    "message_auto_delete_timer_changed",
    "migrate_from_chat_id",
    "pinned_message",
)
#: What a message holds beside its content.
_ENVELOPE = frozenset(
    {"message_id", "from", "sender_chat", "chat", "date", "edit_date", "reply_to_message", "entities"}
)

#: Telegram's field → our kind of media; the first that is there is the content. An animation bears a `document` too.
_MEDIA = {
    "animation": "video",
    "photo": "image",
    "video": "video",
    "video_note": "video",
    "voice": "audio",
    "audio": "audio",
    "document": "document",
    "sticker": "sticker",
}


def content_of(message: Mapping[str, Any]) -> Content:
    """The content; what has no kind of ours is `Unknown` with Telegram's fields."""
    for read in (_text, _media, _place, _contact, _poll):
        try:
            found = read(message)
        except ValidationError:
            found = None
        if found is not None:
            return found
    kinds = sorted(message.keys() - _ENVELOPE)
    return Unknown(provider_kind=(kinds[0] if kinds else "")[:64], fields={name: message[name] for name in kinds})


def _text(message: Mapping[str, Any]) -> Content | None:
    text = message.get("text")
    return Text(body=text) if isinstance(text, str) and text else None


def _media(message: Mapping[str, Any]) -> Content | None:
    for field, kind in _MEDIA.items():
        found = message.get(field)
        if field == "photo" and isinstance(found, list):
            found = _largest(found)
        if isinstance(found, dict) and isinstance(found.get("file_id"), str) and found["file_id"]:
            return Media.model_validate(
                {
                    "kind": kind,
                    "media_id": found["file_id"],
                    "caption": message.get("caption"),
                    "filename": found.get("file_name"),
                    "mime_type": found.get("mime_type"),
                    "voice": field == "voice",
                }
            )
    return None


def _largest(sizes: list[Any]) -> Any:
    """The best of the sizes in which Telegram offers a photo."""
    known = [size for size in sizes if isinstance(size, dict) and isinstance(size.get("width"), int)]
    return max(known, key=lambda size: int(size["width"]), default=None)


def _place(message: Mapping[str, Any]) -> Content | None:
    venue = message.get("venue")
    holder = venue if isinstance(venue, dict) else message
    place = holder.get("location")
    if not isinstance(place, dict):
        return None
    names = {"name": venue.get("title"), "address": venue.get("address")} if isinstance(venue, dict) else {}
    return Location.model_validate(
        {"latitude": place.get("latitude"), "longitude": place.get("longitude"), **names}, strict=True
    )


def _contact(message: Mapping[str, Any]) -> Content | None:
    contact = message.get("contact")
    return Contacts(contacts=[contact]) if isinstance(contact, dict) and contact else None


def _poll(message: Mapping[str, Any]) -> Content | None:
    poll = message.get("poll")
    if not isinstance(poll, dict) or not isinstance(poll.get("options"), list):
        return None
    options = [item.get("text") for item in poll["options"] if isinstance(item, dict)]
    return Poll.model_validate({"question": poll.get("question"), "options": options})
