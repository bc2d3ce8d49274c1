"""What plugins answer, held to what they promise: money, ids and moments are checked before anybody relies on them.

A wrong type here would not fail at once, but later, where it is stored, and for others too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

from waypost.event_codec import LONGEST_ID
from waypost.plugin.errors import ChannelError, RateLimited, Transient
from waypost.plugin.events import ChannelEvent, DeliveryUpdate, Engagement
from waypost.plugin.types import LookupResult, Quote, QuoteLine, ReceiptStatus, SendResult

#: More units than any message has.
MOST_UNITS = 1_000_000
#: Longer than anybody waits, in seconds.
FOR_EVER = 1e12
_CHARGED_ON = frozenset({"sent", "delivered"})
_RECEIPTS = get_args(ReceiptStatus)
_SENT_AS = frozenset({"accepted", "sent"})


def quote_fault(quote: Quote) -> str | None:
    """What is wrong with a quote, if anything."""
    lines: Any = quote.lines
    if type(lines) is not tuple:
        return "quoted lines that are no tuple"
    for line in lines:
        if not isinstance(line, QuoteLine) or type(line.sku) is not str:
            return "quoted what is no QuoteLine of a sku"
        if type(line.quantity) is not int or not 0 <= line.quantity <= MOST_UNITS:
            return f"quoted a quantity that is no whole number from 0 to {MOST_UNITS}"
        if line.charge_on not in _CHARGED_ON:
            return "quoted a line that is charged neither on sent nor on delivered"
    if quote.destination is not None and type(quote.destination) is not str:
        return "quoted a destination that is no text"
    return None


def result_fault(result: SendResult) -> str | None:
    """What is wrong with the result of a send, if anything."""
    if type(result.provider_ids) is not tuple:
        return "answered with provider_ids that are no tuple"
    if not all(_is_storable(provider_id) for provider_id in result.provider_ids):
        return "answered with a provider id that is no text which can be stored"
    return None if result.status in _SENT_AS else "answered with a status that is neither accepted nor sent"


def lookup_fault(result: LookupResult) -> str | None:
    """What is wrong with a lookup's answer, if anything."""
    if type(result.provider_ids) is not tuple or not all(_is_storable(found) for found in result.provider_ids):
        return "answered with provider_ids that are no tuple of texts which can be stored"
    if result.status not in ("accepted", *_RECEIPTS):
        return f"answered with a status that is neither accepted nor one of {', '.join(_RECEIPTS)}"
    return None


def error_fault(error: ChannelError) -> str | None:
    """What is wrong with a declared error, if anything: a plugin's own class may not call ours when made."""
    facts: dict[str, Any] = {"detail": str, "provider_code": str | None, "http_status": int | None}
    if isinstance(error, Transient):
        facts["tries"] = int | None
    if isinstance(error, RateLimited):
        facts |= {"retry_after": int | float | None, "scope": str}
    for name, kind in facts.items():
        if not isinstance(getattr(error, name, facts), kind):
            return f"raised a {type(error).__name__} without its {name}"
    if isinstance(error, RateLimited) and not abs(error.retry_after or 0) < FOR_EVER:  # NaN is not less either
        return f"raised a {type(error).__name__} whose retry_after no clock could hold"
    if not (_is_storable(error.code) and _is_writable(error.detail) and _is_writable(error.provider_code or "")):
        return f"raised a {type(error).__name__} whose words cannot be stored"
    return None


def event_fault(event: object) -> str | None:
    """What is wrong with an event, if anything."""
    if not isinstance(event, ChannelEvent):
        return f"gave a {type(event).__name__} as an event"
    if type(event.event_id) is not str or not event.event_id:
        return f"gave a {type(event).__name__} whose event_id is no text"
    if event.occurred_at is not None and not _is_aware(event.occurred_at):
        return f"gave a {type(event).__name__} whose occurred_at is no datetime with a time zone"
    return _particular_fault(event)


def _particular_fault(event: ChannelEvent) -> str | None:
    if isinstance(event, DeliveryUpdate):
        if event.status not in _RECEIPTS:
            return f"gave a DeliveryUpdate whose status is none of {', '.join(_RECEIPTS)}"
        if event.watermark is not None and not _is_aware(event.watermark):
            return "gave a DeliveryUpdate whose watermark is no datetime with a time zone"
    if isinstance(event, Engagement) and not _is_mapping(event.detail):
        return "gave an Engagement whose detail is no mapping"
    return None


def _is_mapping(found: object) -> bool:
    return isinstance(found, Mapping)


def _is_aware(moment: object) -> bool:
    return isinstance(moment, datetime) and moment.tzinfo is not None


def _is_storable(text: Any) -> bool:
    return type(text) is str and bool(text) and _is_writable(text) and len(text.encode()) <= LONGEST_ID


def _is_writable(text: str) -> bool:
    """Whether both databases take it: no NUL, and nothing that is no character."""
    return "\0" not in text and text == text.encode("utf-8", "ignore").decode()
