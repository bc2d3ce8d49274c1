"""Webhooks → events: the envelope, and which reader each field has.

One POST may hold many entries (business accounts), changes (fields), and in each many messages and statuses for any
of the phone numbers. What a reader does not know becomes an `UnknownEvent` and leaves its neighbours alone.
Source: Meta, WhatsApp Cloud API, "Webhooks" and "Status messages webhook reference".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from waypost.plugin import AccountUpdate, ChannelEvent, Recognition, UnknownEvent, WebhookContext, WebhookRequest
from waypost_meta_graph import entries, piece_id, recognized, unknown
from waypost_meta_graph.pieces import child, items, objects, text, whole

from waypost_whatsapp.accounts import FIELD_READERS
from waypost_whatsapp.calls import calls_field
from waypost_whatsapp.change import Change
from waypost_whatsapp.errors import ERRORS
from waypost_whatsapp.inbound import ContactBook, message_events
from waypost_whatsapp.settings import WhatsAppSettings
from waypost_whatsapp.statuses import status_events

OBJECT = "whatsapp_business_account"


def recognize(request: WebhookRequest) -> Recognition | None:
    """Say whether a delivery looks like WhatsApp's, and for which phone number first (untrusted)."""
    return recognized(request, OBJECT, _first_number)


def _first_number(entry: dict[str, Any]) -> str | None:
    numbers = (text(child(change, "value", "metadata"), "phone_number_id") for change in objects(entry, "changes"))
    return next((number for number in numbers if number), None)


def parse(ctx: WebhookContext, request: WebhookRequest) -> list[ChannelEvent]:
    """All events of a delivery, in its order. Never raises for what a delivery holds."""
    found: list[ChannelEvent] = []
    for entry in entries(request, OBJECT):
        if isinstance(entry, UnknownEvent):
            found.append(entry)
        else:
            found.extend(_entry_events(ctx, entry))
    return found


def _entry_events(ctx: WebhookContext, entry: dict[str, Any]) -> Iterator[ChannelEvent]:
    if not items(entry, "changes"):
        yield unknown("an entry without changes", entry)
    for piece in items(entry, "changes"):
        value = piece.get("value") if isinstance(piece, dict) else None
        if not isinstance(value, dict):
            yield unknown("a change without a value", piece)
            continue
        change = Change(
            field=text(piece, "field") or "",
            value=value,
            waba_id=text(entry, "id"),
            entry_time=entry.get("time"),
            account_ref=text(child(value, "metadata"), "phone_number_id") or _only_number(ctx, entry),
        )
        yield from _change_events(change)


def _only_number(ctx: WebhookContext, entry: dict[str, Any]) -> str | None:
    """What concerns a business account names no phone number; the gateway's own, where the delivery is for one."""
    account = ctx.account
    if isinstance(account, WhatsAppSettings) and account.waba_id and account.waba_id == text(entry, "id"):
        return account.phone_number_id
    return None


def _change_events(change: Change) -> Iterator[ChannelEvent]:
    reader = _READERS.get(change.field)
    found = list(reader(change)) if reader is not None else []
    if not found:
        reason = "a field without anything known in it" if reader is not None else "a field that is not known"
        found = [change.unknown(reason, {"field": change.field, "value": change.value})]
    yield from found


def _messages_field(change: Change) -> Iterator[ChannelEvent]:
    contacts = ContactBook(change.value)
    for piece in items(change.value, "messages"):
        yield from message_events(change, piece, contacts)
    for piece in items(change.value, "statuses"):
        yield from status_events(change, piece)
    for piece in items(change.value, "errors"):
        yield _problem(change, piece)


def _problem(change: Change, piece: Any) -> ChannelEvent:
    """An error that belongs to no message: something is wrong with the account or with a delivery to it."""
    code = whole(piece, "code")
    if code is None:
        return change.unknown("an error without a code", piece)
    row = ERRORS.find(code)
    blocked = row is not None and row.error.__name__ == "AccountBlocked"
    return AccountUpdate(
        event_id=piece_id("error", piece, change.account_ref, change.stamp),
        account_ref=change.account_ref,
        occurred_at=change.occurred_at,
        raw=piece,
        topic="error",
        state="blocked" if blocked else "warning",
        detail=f"{code}: {row.title}" if row is not None else str(code),
    )


_READERS: dict[str, Callable[[Change], Iterator[ChannelEvent]]] = {
    "messages": _messages_field,
    "calls": calls_field,
    **FIELD_READERS,
}
