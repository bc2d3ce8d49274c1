"""What a person sent through Messenger or Instagram: text and attachments → content.

Source: Meta, Messenger Platform, "messages webhook event"; Instagram Platform, "Webhook notification examples".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from waypost.plugin import Content, Location, Media, Text, Unknown

from waypost_meta_graph.pieces import child, decimal, flag, items, objects, text

#: Attachment type → kind of media. A shared post, reel or story is not the person's own medium and stays unknown.
MEDIA_KINDS = {"image": "image", "animated_image": "image", "video": "video", "audio": "audio", "file": "document"}
#: Instagram's heart, a sticker without a file of its own.
LIKE_HEART = "like_heart"


def contents(body: Mapping[str, Any]) -> tuple[Content, ...]:
    """All that one message holds: text first, then each attachment, then the story it answers; never empty."""
    found: list[Content] = []
    words = text(body, "text")
    if words is not None:
        found.append(words_content(words))
    stickers = {
        text(child(each, "payload"), "sticker_id") for each in objects(body, "attachments") if _is_sticker(each)
    }
    # Until the end of August 2026 a sticker comes twice: as a sticker and as an image with the same id.
    found.extend(_attachment(each) for each in items(body, "attachments") if not _is_twin(each, stickers))
    story = child(body, "reply_to", "story")
    if story:
        found.append(Unknown(provider_kind="story", fields=story))
    if not found:
        kind = "unsupported" if flag(body, "is_unsupported") else "message"
        found.append(Unknown(provider_kind=kind, fields={}))
    return tuple(found)


def words_content(words: str) -> Content:
    """Text, or unknown content where it is longer than text may be."""
    try:
        return Text(body=words)
    except ValidationError:
        return Unknown(provider_kind="text", fields={"text": words})


def _is_sticker(attachment: Mapping[str, Any]) -> bool:
    return attachment.get("type") == "sticker"


def _is_twin(attachment: Any, stickers: set[str | None]) -> bool:
    if not isinstance(attachment, dict) or attachment.get("type") != "image":
        return False
    sticker = text(child(attachment, "payload"), "sticker_id")
    return sticker is not None and sticker in stickers


def _attachment(attachment: Any) -> Content:
    if not isinstance(attachment, dict):
        return Unknown(provider_kind="attachment", fields={"value": attachment})
    kind = text(attachment, "type") or "attachment"
    known = _known(kind, attachment)
    # Some attachments carry their link beside a payload that is null: keep all but the type.
    return known or Unknown(
        provider_kind=kind, fields=child(attachment, "payload") or {k: v for k, v in attachment.items() if k != "type"}
    )


def _known(kind: str, attachment: Mapping[str, Any]) -> Content | None:
    payload = child(attachment, "payload")
    sticker = text(payload, "sticker_id")
    try:
        if kind == LIKE_HEART:
            return Media(kind="sticker", media_id=LIKE_HEART)
        if sticker is not None or kind == "sticker":
            return Media(kind="sticker", url=text(payload, "url"), media_id=sticker)
        if kind in MEDIA_KINDS and text(payload, "url"):
            return Media.model_validate({"kind": MEDIA_KINDS[kind], "url": text(payload, "url")})
        if kind == "location":
            return _location(payload)
    except ValidationError:
        return None
    return None


def _location(payload: Mapping[str, Any]) -> Content | None:
    latitude = decimal(child(payload, "coordinates"), "lat")
    longitude = decimal(child(payload, "coordinates"), "long")
    if latitude is None or longitude is None:
        return None
    return Location(latitude=latitude, longitude=longitude, name=text(payload, "title"))
