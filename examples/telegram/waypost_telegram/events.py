"""A webhook's update → events.

An update holds one thing that happened; its `update_id` makes the event itself, and Telegram repeats it until it is
acknowledged. Source: Telegram Bot API, "Update", "Message", "CallbackQuery", "ChatMemberUpdated",
"MessageReactionUpdated".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from waypost.plugin import (
    Address,
    AddressChange,
    ChannelEvent,
    ConsentChange,
    Engagement,
    InboundMessage,
    UnknownEvent,
    WebhookRequest,
)
from waypost.plugin.received import read_json
from waypost.plugin.signatures import sha256_hex

from waypost_telegram.inbound import SERVICE_MARKS, content_of
from waypost_telegram.payloads import CHAT, message_ref

BOT = "telegram_bot"
USER = "telegram_user"

#: A bot that is asked to leave, and one that may write (again).
_GONE = frozenset({"kicked", "left"})
_THERE = frozenset({"member", "administrator", "creator", "restricted"})


@dataclass(frozen=True, slots=True)
class _Update:
    event_id: str
    bot_id: str
    raw: Mapping[str, Any]

    def unknown(self, reason: str) -> list[ChannelEvent]:
        return [UnknownEvent(event_id=self.event_id, reason=reason, raw=self.raw)]


def parse(request: WebhookRequest, bot_id: str) -> Sequence[ChannelEvent]:
    """Read one delivery; what is not known becomes `UnknownEvent`."""
    body = read_json(request.body)
    if not isinstance(body, dict):
        raw = {"body": request.body.decode("utf-8", "replace")}
        return [UnknownEvent(event_id=f"raw.{sha256_hex(request.body)[:32]}", reason="not a JSON object", raw=raw)]
    number = _whole(body.get("update_id"))
    event_id = f"update.{number}" if number is not None else f"raw.{sha256_hex(request.body)[:32]}"
    update = _Update(event_id, bot_id, body)
    for name, read in _READERS.items():
        thing = body.get(name)
        if isinstance(thing, dict):
            return read(update, thing)
    kinds = sorted(key for key in body if key != "update_id")
    return update.unknown(f"an update of {', '.join(kinds)[:200] or 'nothing'}")


# ---- messages


def _new(update: _Update, message: Mapping[str, Any]) -> list[ChannelEvent]:
    return _message(update, message, edited=False)


def _edited(update: _Update, message: Mapping[str, Any]) -> list[ChannelEvent]:
    return _message(update, message, edited=True)


def _message(update: _Update, message: Mapping[str, Any], *, edited: bool) -> list[ChannelEvent]:
    chat, number = _chat(message), _whole(message.get("message_id"))
    if chat is None or number is None:
        return update.unknown("a message without chat or id")
    moved = _whole(message.get("migrate_to_chat_id"))
    at = _moment(message.get("edit_date") if edited else message.get("date"))
    if moved is not None:
        new = Address(CHAT, str(moved))
        return [AddressChange(event_id=update.event_id, old=chat, new=new, occurred_at=at, raw=update.raw)]
    service = next((mark for mark in SERVICE_MARKS if mark in message), None)
    sender = _sender(chat, message.get("from"))
    reference = message_ref(chat.value, number)
    if service is not None:
        return [_engagement(update, sender, at, {"kind": service}, reference)]
    events: list[ChannelEvent] = [
        InboundMessage(
            event_id=update.event_id,
            provider_id=reference,
            sender=sender,
            recipient=Address(BOT, update.bot_id),
            content=content_of(message),
            sender_name=_name(message.get("from")) or _title(message.get("chat")),
            reply_to=_replied(chat, message.get("reply_to_message")),
            change="edit" if edited else "new",
            occurred_at=at,
            raw=update.raw,
        )
    ]
    ref = _deep_link(message.get("text"))
    if ref is not None and not edited:
        detail = {"ref": ref}
        events.append(
            Engagement(
                event_id=f"{update.event_id}.ref",
                action="referral",
                sender=sender,
                detail=detail,
                occurred_at=at,
                raw=update.raw,
            )
        )
    return events


def _deep_link(text: object) -> str | None:
    """What came along with `https://t.me/<bot>?start=<ref>`."""
    if not isinstance(text, str):
        return None
    command, _, ref = text.partition(" ")
    return ref.strip() or None if command == "/start" else None


def _replied(chat: Address, message: object) -> str | None:
    number = _whole(message.get("message_id")) if isinstance(message, dict) else None
    return message_ref(chat.value, number) if number is not None else None


# ---- everything else


def _tap(update: _Update, query: Mapping[str, Any]) -> list[ChannelEvent]:
    """A button was tapped. Its message may be too old for Telegram to say which it was."""
    message = query.get("message")
    chat = _chat(message) if isinstance(message, dict) else None
    number = _whole(message.get("message_id")) if isinstance(message, dict) else None
    user = _user(query.get("from"))
    sender = _sender(chat, query.get("from")) if chat else ((user,) if user else ())
    data, query_id = query.get("data"), query.get("id")
    detail = {
        "payload": data if isinstance(data, str) else None,
        "callback_query_id": query_id if isinstance(query_id, str) else None,
    }
    return [
        Engagement(
            event_id=update.event_id,
            action="postback",
            provider_id=message_ref(chat.value, number) if chat and number is not None else None,
            sender=sender,
            detail=detail,
            raw=update.raw,
        )
    ]


def _membership(update: _Update, change: Mapping[str, Any]) -> list[ChannelEvent]:
    """The bot was blocked, unblocked, added or removed."""
    chat, member = _chat(change), change.get("new_chat_member")
    status = member.get("status") if isinstance(member, dict) else None
    if chat is None or not isinstance(status, str) or status not in _GONE | _THERE:
        return update.unknown("a membership that is not known")
    return [
        ConsentChange(
            event_id=update.event_id,
            address=chat,
            state="opted_out" if status in _GONE else "opted_in",
            reason=f"the bot is {status}",
            occurred_at=_moment(change.get("date")),
            raw=update.raw,
        )
    ]


def _reaction(update: _Update, change: Mapping[str, Any]) -> list[ChannelEvent]:
    chat, number = _chat(change), _whole(change.get("message_id"))
    if chat is None or number is None:
        return update.unknown("a reaction without chat or message")
    new, old = _emojis(change.get("new_reaction")), _emojis(change.get("old_reaction"))
    return [
        Engagement(
            event_id=update.event_id,
            action="reaction" if new else "unreaction",
            provider_id=message_ref(chat.value, number),
            sender=_sender(chat, change.get("user")),
            detail={"emojis": new, "before": old},
            occurred_at=_moment(change.get("date")),
            raw=update.raw,
        )
    ]


def _emojis(reactions: object) -> list[str]:
    found = reactions if isinstance(reactions, list) else []
    return [item["emoji"] for item in found if isinstance(item, dict) and isinstance(item.get("emoji"), str)]


def _poll_answer(update: _Update, answer: Mapping[str, Any]) -> list[ChannelEvent]:
    chosen = answer.get("option_ids")
    options = [item for item in chosen if _whole(item) is not None] if isinstance(chosen, list) else []
    user = _user(answer.get("user"))
    detail = {"kind": "poll_answer", "poll_id": str(answer.get("poll_id", "")), "options": options}
    return [_engagement(update, (user,) if user else (), None, detail, None)]


def _engagement(
    update: _Update,
    sender: tuple[Address, ...],
    at: datetime | None,
    detail: Mapping[str, Any],
    provider_id: str | None,
) -> Engagement:
    return Engagement(
        event_id=update.event_id,
        action="other",
        sender=sender,
        provider_id=provider_id,
        detail=detail,
        occurred_at=at,
        raw=update.raw,
    )


_READERS: dict[str, Callable[[_Update, Mapping[str, Any]], list[ChannelEvent]]] = {
    "message": _new,
    "edited_message": _edited,
    "channel_post": _new,
    "edited_channel_post": _edited,
    "callback_query": _tap,
    "my_chat_member": _membership,
    "message_reaction": _reaction,
    "poll_answer": _poll_answer,
}


# ---- pieces, whatever a stranger put there


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _chat(holder: Mapping[str, Any]) -> Address | None:
    chat = holder.get("chat")
    number = _whole(chat.get("id")) if isinstance(chat, dict) else None
    return Address(CHAT, str(number)) if number is not None else None


def _user(user: object) -> Address | None:
    number = _whole(user.get("id")) if isinstance(user, dict) else None
    return Address(USER, str(number)) if number is not None else None


def _sender(chat: Address, user: object) -> tuple[Address, ...]:
    """The chat, which is where an answer goes; beside it the person, where that is somebody in a group."""
    person = _user(user)
    return (chat, person) if person is not None and person.value != chat.value else (chat,)


def _name(user: object) -> str | None:
    if not isinstance(user, dict):
        return None
    parts = [user.get("first_name"), user.get("last_name")]
    return " ".join(part for part in parts if isinstance(part, str) and part) or None


def _title(chat: object) -> str | None:
    title = chat.get("title") if isinstance(chat, dict) else None
    return title if isinstance(title, str) and title else None


def _moment(value: object) -> datetime | None:
    seconds = _whole(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and 0 <= seconds < 1 << 33 else None
