"""Statuses: receipts, failures and what Meta charges. Source: Meta, "Status messages webhook reference"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from waypost.plugin import Address, ChannelEvent, DeliveryUpdate, PriceUpdate
from waypost.plugin.types import ReceiptStatus
from waypost_meta_graph import event_id, piece_digest
from waypost_meta_graph.pieces import child, flag, moment_at, objects, text, whole

from waypost_whatsapp.addresses import person
from waypost_whatsapp.change import Change
from waypost_whatsapp.errors import ERRORS

#: A voice message that was played has been read.
_STATUSES: Mapping[str, ReceiptStatus] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "played": "read",
    "failed": "failed",
}


def status_events(change: Change, piece: Any) -> Iterator[ChannelEvent]:
    """The receipt that a status is, and the price in it."""
    word = text(piece, "status") or ""
    status = _STATUSES.get(word)
    provider_id, correlation = text(piece, "id"), text(piece, "biz_opaque_callback_data")
    if status is None or (provider_id is None and correlation is None):
        yield change.unknown("a status that is not known", piece)
        return
    participant = text(piece, "recipient_participant_id") or text(piece, "recipient_participant_user_id")
    identity = (change.account_ref, provider_id or f"ref.{correlation}", word, participant)
    recipient = _recipient(piece)
    occurred_at = moment_at(piece)
    code, error_class, detail = _failure(piece) if status == "failed" else (None, None, None)
    yield DeliveryUpdate(
        event_id=event_id("status", *identity),
        account_ref=change.account_ref,
        occurred_at=occurred_at,
        raw=piece,
        status=status,
        provider_id=provider_id,
        correlation=correlation,
        recipient=recipient,
        error_code=code,
        error_class=error_class,
        error_detail=detail,
        participant=participant,
    )
    pricing = child(piece, "pricing")
    if pricing:
        yield PriceUpdate(
            event_id=event_id("price", *identity[:2], participant, piece_digest(pricing)),
            account_ref=change.account_ref,
            occurred_at=occurred_at,
            raw=piece,
            provider_id=provider_id,
            correlation=correlation,
            billable=_billable(pricing),
            category=text(pricing, "category"),
            model=text(pricing, "pricing_model"),
        )


def _recipient(piece: Any) -> Address | None:
    if text(piece, "recipient_type") == "group":
        group = text(piece, "recipient_id")
        return Address("wa_group", group) if group else None
    return next(iter(person((piece, "recipient_id"), (piece, "recipient_user_id"))), None)


def _failure(piece: Any) -> tuple[str | None, str, str]:
    """The code, class and our own words for a failure; Meta's words may repeat what was sent."""
    code = next((found for error in objects(piece, "errors") if (found := whole(error, "code")) is not None), None)
    row = ERRORS.find(code)
    shown = str(code) if code is not None else None
    if row is None:
        return shown, "Permanent", "WhatsApp could not deliver the message."
    return shown, row.error.__name__, row.title


def _billable(pricing: Mapping[str, Any]) -> bool | None:
    """Whether it is charged. `billable` is announced to be removed; `type` says it too."""
    said = flag(pricing, "billable")
    if said is not None:
        return said
    kind = text(pricing, "type")
    if kind is None:
        return None
    return not kind.startswith("free_")
