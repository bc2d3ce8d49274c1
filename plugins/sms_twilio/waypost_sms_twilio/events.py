"""From Twilio's deliveries to events: status callbacks, inbound messages, and the same through Event Streams.

Sources: Twilio docs, "Track outbound message status", "Twilio's request to your webhook URL", "WhatsApp: receive rich
messages", "Advanced Opt-Out", "Event types: Inbound Message". Twilio adds parameters without notice, so that what is
not known is kept in `raw`.

No event has a time of its own but those of Event Streams: Twilio sends none, and `RawDlrDoneDate` has no time zone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
from waypost.plugin import ChannelEvent, DeliveryUpdate, UnknownEvent, WebhookRequest
from waypost.plugin.received import read_json
from waypost.plugin.signatures import sha256_hex
from waypost.plugin.types import ReceiptStatus

from waypost_sms_twilio.addresses import WHATSAPP_PREFIX, received_address
from waypost_sms_twilio.errors import receipt_error
from waypost_sms_twilio.inbound import inbound_events
from waypost_sms_twilio.signature import form_pairs

Form = Mapping[str, str]

#: Twilio's status → ours. A canceled message was scheduled and never sent.
RECEIPTS: Mapping[str, ReceiptStatus] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "undelivered",
    "failed": "failed",
    "canceled": "failed",
}
#: Statuses before any receipt, and the one that says nothing certain of the whole message.
NOT_RECEIPTS = frozenset({"accepted", "scheduled", "queued", "sending", "partially_delivered"})
_INBOUND = frozenset({"received", "receiving"})
_FAILURES = frozenset({"undelivered", "failed", "canceled"})
_STREAM_PREFIX = "com.twilio.messaging.message."
_STREAM_INBOUND = "com.twilio.messaging.inbound-message.received"
_STREAM_FIELDS: Mapping[str, str] = {
    "MessageSid": "messageSid",
    "AccountSid": "accountSid",
    "From": "from",
    "To": "to",
    "ErrorCode": "errorCode",
    "Body": "body",
    "NumMedia": "numMedia",
    "OptOutType": "optOutType",
    "ReferralCtwaClid": "referralCtwaClid",
}
#: More than any batch of Event Streams, so that a stranger's array costs little.
_MOST_STREAMED = 1000


def parse(request: WebhookRequest, *, whatsapp: bool) -> Sequence[ChannelEvent]:
    """Turn a delivery into events; never raises for what is inside."""
    if request.method.upper() == "GET":
        return form_events(_form(request.query), request.parameter("ref"), whatsapp=whatsapp)
    if request.body.lstrip()[:1] in (b"[", b"{"):
        return _streamed(request, whatsapp=whatsapp)
    pairs = form_pairs(request.body)
    if not pairs:
        return [_unknown(request.body, {}, "not a form")]
    return form_events(_form(pairs), request.parameter("ref"), whatsapp=whatsapp)


def form_events(form: Form, correlation: str | None, *, whatsapp: bool) -> Sequence[ChannelEvent]:
    """The events of one form."""
    if is_whatsapp(form) != whatsapp:
        return [_unknown_form(form, "a delivery for another channel")]
    status = (form.get("MessageStatus") or form.get("SmsStatus") or "").lower()
    sid = form.get("MessageSid") or form.get("SmsSid") or form.get("SmsMessageSid") or ""
    if not sid:
        return [_unknown_form(form, "no message sid")]
    if status in _INBOUND or (not status and "Body" in form):
        if not form.get("From"):
            return [_unknown_form(form, "an inbound message without sender")]
        return inbound_events(sid, form, whatsapp=whatsapp)
    return [_receipt(sid, status, form, correlation)]


def is_whatsapp(form: Form) -> bool:
    """Whether a delivery belongs to the WhatsApp channel: its addresses carry the prefix."""
    return any(form.get(name, "").startswith(WHATSAPP_PREFIX) for name in ("From", "To"))


def _receipt(
    sid: str, status: str, form: Form, correlation: str | None, occurred_at: datetime | None = None
) -> ChannelEvent:
    if status not in RECEIPTS:
        reason = f"status {status} is not a receipt" if status in NOT_RECEIPTS else "unknown status"
        return _unknown_form(form, reason, event_id=f"{sid}.{status}" if status in NOT_RECEIPTS else None)
    failure = receipt_error(status, form.get("ErrorCode")) if status in _FAILURES else {}
    return DeliveryUpdate(
        event_id=f"{sid}.{status}",
        account_ref=form.get("AccountSid") or None,
        occurred_at=occurred_at,
        status=RECEIPTS[status],
        provider_id=sid,
        correlation=correlation or None,
        recipient=received_address(form["To"]) if form.get("To") else None,
        raw=dict(form),
        **failure,
    )


def _streamed(request: WebhookRequest, *, whatsapp: bool) -> Sequence[ChannelEvent]:
    value = read_json(request.body)
    if value is None:
        return [_unknown(request.body, {}, "not JSON")]
    events = value if isinstance(value, list) else [value]
    if len(events) > _MOST_STREAMED:
        return [_unknown(request.body, {}, "too many events")]
    if not events:
        return [_unknown(request.body, {}, "no events")]
    return [each for event in events for each in _cloud_event(event, whatsapp=whatsapp)]


def _cloud_event(event: Any, *, whatsapp: bool) -> Sequence[ChannelEvent]:
    raw = event if isinstance(event, dict) else {"value": event}
    kind, data = str(raw.get("type")), raw.get("data")
    inbound = kind == _STREAM_INBOUND
    if not (inbound or kind.startswith(_STREAM_PREFIX)) or not isinstance(data, dict):
        return [_unknown(_canonical(raw), raw, "unknown kind of event")]
    fields = {
        name: value
        for name, key in _STREAM_FIELDS.items()
        if isinstance(value := data.get(key, ""), str | int) and not isinstance(value, bool)
    }
    form = {name: str(value) for name, value in fields.items()}
    if not form.get("MessageSid") or is_whatsapp(form) != whatsapp:
        reason = "a delivery for another channel" if form.get("MessageSid") else "no sid"
        return [_unknown(_canonical(raw), raw, reason)]
    if not inbound:
        status = kind.removeprefix(_STREAM_PREFIX)
        return [replace(_receipt(form["MessageSid"], status, form, None, _moment(raw.get("time"))), raw=raw)]
    if not form.get("From"):
        return [_unknown(_canonical(raw), raw, "an inbound message without sender")]
    occurred_at = _moment(data.get("timestamp")) or _moment(raw.get("time"))
    found = inbound_events(form["MessageSid"], form, whatsapp=whatsapp)
    return [replace(event, raw=raw, occurred_at=occurred_at) for event in found]


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _form(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    form: dict[str, str] = {}
    for name, value in pairs:
        form.setdefault(name, value)
    return form


def _unknown_form(form: Form, reason: str, *, event_id: str | None = None) -> UnknownEvent:
    # The standard library also writes what a stranger's encoding left half a character of.
    body = json.dumps(form, sort_keys=True).encode()
    return UnknownEvent(
        event_id=event_id or f"unknown.{sha256_hex(body)[:32]}",
        account_ref=form.get("AccountSid") or None,
        reason=reason,
        raw=dict(form),
    )


def _unknown(body: bytes, raw: Mapping[str, Any], reason: str) -> UnknownEvent:
    kept = raw or {"body": body.decode("utf-8", "replace")}
    return UnknownEvent(event_id=f"unknown.{sha256_hex(body)[:32]}", reason=reason, raw=kept)


def _canonical(value: Any) -> bytes:
    """The one JSON form of a value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
