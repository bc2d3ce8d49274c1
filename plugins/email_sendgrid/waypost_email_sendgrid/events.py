"""The Event Webhook: a batch of SendGrid's events as ours.

Source: SendGrid, Event Webhook reference. One event is read alone, so that a strange one harms no neighbour. Nothing
here raises for what a delivery holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from waypost.plugin import (
    AccountUpdate,
    Address,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    Engagement,
    InvalidRecipient,
    UnknownEvent,
    WebhookRequest,
)
from waypost.plugin.received import read_json
from waypost.plugin.signatures import sha256_hex

from waypost_email_sendgrid.address import CONTROL, KIND, fingerprint, parse_address
from waypost_email_sendgrid.bounces import Failure, bounce, drop
from waypost_email_sendgrid.options import REF_ARG, TO_ARG

#: Longer ids are nobody's: SendGrid's are at most 100 characters.
MAX_ID = 200

Event = Mapping[str, Any]


def parse_batch(request: WebhookRequest) -> Sequence[ChannelEvent]:
    """Every event of a delivery, in its order; a delivery that is no JSON batch is one `UnknownEvent`."""
    batch = read_json(request.body)
    pieces = [batch] if isinstance(batch, dict) else batch
    if not isinstance(pieces, list):
        return [_unreadable(request, "the body is not a JSON list of events")]
    return [_one(piece) for piece in pieces]


def _unreadable(request: WebhookRequest, reason: str) -> UnknownEvent:
    return UnknownEvent(
        event_id=f"body:{sha256_hex(request.body)[:40]}",
        raw={"body": request.body.decode("utf-8", "replace").replace("\x00", "�")},
        reason=reason,
    )


def _one(piece: object) -> ChannelEvent:
    if not isinstance(piece, dict):
        return UnknownEvent(event_id=_own_id(piece), raw={"value": piece}, reason="an event is not an object")
    event_id = _text(piece, "sg_event_id") or _own_id(piece)
    kind = piece.get("event")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        return _unknown(event_id, piece, "the type of the event is not known")
    return read(event_id, piece)


def _own_id(piece: object) -> str:
    return f"piece:{sha256_hex(orjson.dumps(piece, option=orjson.OPT_SORT_KEYS))[:40]}"


def _unknown(event_id: str, event: Event, reason: str) -> UnknownEvent:
    return UnknownEvent(event_id=event_id, occurred_at=_time(event), raw=event, reason=reason)


# ---- receipts


def _processed(event_id: str, event: Event) -> ChannelEvent:
    return _receipt(event_id, event, "sent", None)


def _delivered(event_id: str, event: Event) -> ChannelEvent:
    return _receipt(event_id, event, "delivered", None)


def _bounce(event_id: str, event: Event) -> ChannelEvent:
    return _receipt(event_id, event, "undelivered", bounce(event))


def _dropped(event_id: str, event: Event) -> ChannelEvent:
    return _receipt(event_id, event, "failed", drop(event))


def _receipt(event_id: str, event: Event, status: str, failure: Failure | None) -> ChannelEvent:
    provider_id, correlation = message_id(event), _text(event, REF_ARG)
    if provider_id is None and correlation is None:
        # Bounces that come long after a delivery may name the address only (Event Webhook, "Asynchronous bounces").
        return _unknown(event_id, event, "a receipt that names no message")
    if _is_copy(event):
        return _note(event_id, event, {"copy": True, "status": status, "code": failure.code if failure else None})
    return DeliveryUpdate(
        event_id=event_id,
        occurred_at=_time(event),
        raw=event,
        status=status,  # type: ignore[arg-type]
        provider_id=provider_id,
        correlation=correlation,
        error_code=failure.code if failure else None,
        error_class=failure.error_class if failure else None,
        error_detail=failure.title if failure else None,
        participant=_text(event, "email"),
    )


def _is_copy(event: Event) -> bool:
    """Whether the event is about a cc or bcc recipient, who shares the message's id but not its status."""
    main, email = _text(event, TO_ARG), event.get("email")
    if main is None or not isinstance(email, str):
        return False
    return fingerprint(_text(event, REF_ARG) or "", email) != main


def _deferred(event_id: str, event: Event) -> ChannelEvent:
    attempt = event.get("attempt")
    return _note(event_id, event, {"copy": _is_copy(event), "attempt": attempt if _is_plain(attempt) else None})


def _note(event_id: str, event: Event, detail: Event) -> ChannelEvent:
    """Something for the message's timeline that moves no status: a deferral, or what became of a copy."""
    return Engagement(
        event_id=event_id,
        occurred_at=_time(event),
        raw=event,
        action="other",
        provider_id=message_id(event),
        correlation=_text(event, REF_ARG),
        sender=_addresses(event),
        detail={"event": event["event"], **detail},
    )


# ---- engagements and consent


def _open(event_id: str, event: Event) -> ChannelEvent:
    # Apple's mail privacy loads every image: such an open says nothing about a person.
    machine = event.get("sg_machine_open") is True
    return Engagement(
        event_id=event_id,
        occurred_at=_time(event),
        raw=event,
        action="open",
        provider_id=message_id(event),
        correlation=_text(event, REF_ARG),
        sender=_addresses(event),
        detail={"event": "open", "machine": machine, "copy": _is_copy(event)},
    )


def _click(event_id: str, event: Event) -> ChannelEvent:
    url = event.get("url")
    return Engagement(
        event_id=event_id,
        occurred_at=_time(event),
        raw=event,
        action="click",
        provider_id=message_id(event),
        correlation=_text(event, REF_ARG),
        sender=_addresses(event),
        detail={"event": "click", "url": url if isinstance(url, str) else None, "copy": _is_copy(event)},
    )


def _consent(event_id: str, event: Event) -> ChannelEvent:
    addresses = _addresses(event)
    if not addresses:
        return _unknown(event_id, event, "a change of consent without an address")
    kind, group, scope = str(event["event"]), event.get("asm_group_id"), "all"
    if kind.startswith("group_"):
        if not _is_plain(group) or group == "":
            return _unknown(event_id, event, "a change of consent for a group without its number")
        scope = str(group)[:MAX_ID]
    return ConsentChange(
        event_id=event_id,
        occurred_at=_time(event),
        raw=event,
        address=addresses[0],
        provider_id=message_id(event),
        correlation=_text(event, REF_ARG),
        state="opted_in" if kind == "group_resubscribe" else "opted_out",
        scope=scope,
        reason=kind,
    )


def _account_status(event_id: str, event: Event) -> ChannelEvent:
    kind = _text(event, "type") or ""
    blocked = any(word in kind.lower() for word in ("suspend", "ban", "deactivat", "terminat"))
    return AccountUpdate(
        event_id=event_id,
        occurred_at=_time(event),
        raw=event,
        topic="account_status_change",
        state="blocked" if blocked else "info",
        detail=kind if kind.replace("_", "").isalnum() and kind.isascii() else "",
    )


_READERS: Mapping[str, Callable[[str, Event], ChannelEvent]] = {
    "processed": _processed,
    "delivered": _delivered,
    "bounce": _bounce,
    "dropped": _dropped,
    "deferred": _deferred,
    "open": _open,
    "click": _click,
    "spamreport": _consent,
    "unsubscribe": _consent,
    "group_unsubscribe": _consent,
    "group_resubscribe": _consent,
    "account_status_change": _account_status,
}


# ---- fields


def message_id(event: Event) -> str | None:
    """The `X-Message-Id` of the send: all before the first dot of `sg_message_id`."""
    value = event.get("sg_message_id")
    return bare_id(value) if isinstance(value, str) else None


def bare_id(value: str) -> str | None:
    """A message id without SendGrid's internal suffix; None where nothing usable is left."""
    first = value.strip().partition(".")[0]
    return first if 0 < len(first) <= MAX_ID and not _is_damaged(first) else None


def _text(event: Event, name: str) -> str | None:
    value = event.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 2 * MAX_ID or _is_damaged(value):
        return None
    return value


def _is_damaged(value: str) -> bool:
    """Whether it holds what no id does, or what stands where something could not be read."""
    return bool(CONTROL.search(value)) or "\N{REPLACEMENT CHARACTER}" in value


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _time(event: Event) -> datetime | None:
    value = event.get("timestamp")
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 12:
        value = int(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _addresses(event: Event) -> tuple[Address, ...]:
    value = event.get("email")
    if not isinstance(value, str) or not value:
        return ()
    try:
        return (parse_address(value),)
    except InvalidRecipient:
        # SendGrid knows addresses that we would not take, and speaks of them.
        return (Address(KIND, value),) if "@" in value and _text(event, "email") else ()
