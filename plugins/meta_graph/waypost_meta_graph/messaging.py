"""Webhooks that Messenger and Instagram share: `messaging` events in three shapes → channel events.

The shapes: `entry[].messaging[]` (and `standby[]`, while another app owns the thread), `entry[].changes[]` (the
dashboard's test button, comments) and the flat `entry[].field`/`value`. Source: Meta, Messenger Platform, "Webhook
events"; Instagram Platform, "Webhook notification examples".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from waypost.plugin import (
    ChannelEvent,
    Engagement,
    InboundMessage,
    UnknownEvent,
    WebhookRequest,
)

from waypost_meta_graph.identity import event_id
from waypost_meta_graph.messaging_events import READERS
from waypost_meta_graph.messaging_origin import Origin, engagement
from waypost_meta_graph.messaging_payloads import Surface
from waypost_meta_graph.pieces import child, items, text
from waypost_meta_graph.webhooks import entries, unknown

#: The fields of `changes` whose value is an event as in `messaging`.
MESSAGING_FIELDS = frozenset(
    {
        "messages",
        "message_deliveries",
        "message_echoes",
        "message_edit",
        "message_edits",
        "message_reactions",
        "message_reads",
        "messaging_handover",
        "messaging_handovers",
        "messaging_optins",
        "messaging_postbacks",
        "messaging_referral",
        "messaging_referrals",
        "messaging_seen",
    }
)


def parse(surface: Surface, request: WebhookRequest) -> list[ChannelEvent]:
    """All events of a delivery, in its order; never raises for what it holds."""
    found: list[ChannelEvent] = []
    for entry in entries(request, surface.webhook_object):
        if isinstance(entry, UnknownEvent):
            found.append(entry)
        else:
            found.extend(_entry(surface, entry) or [unknown("an entry without events", entry)])
    return found


def account_of(entry: Mapping[str, Any]) -> str | None:
    """The account that an entry is for."""
    return text(entry, "id")


def _entry(surface: Surface, entry: dict[str, Any]) -> list[ChannelEvent]:
    account = account_of(entry)
    found: list[ChannelEvent] = []
    for key in ("messaging", "standby"):
        for piece in _listed(entry, key):
            if isinstance(piece, dict):
                found += _event(Origin(surface=surface, account_ref=account, raw=piece, standby=key == "standby"))
            else:
                found.append(unknown(f"a {key} event that is no object", piece, account_ref=account))
    for change in _listed(entry, "changes"):
        found += _change(surface, account, change)
    if "field" in entry:
        found += _change(surface, account, {"field": entry["field"], "value": entry.get("value")})
    return found


def _listed(entry: dict[str, Any], key: str) -> list[Any]:
    """The array below a key; what stands there and is no array counts as its only item."""
    return items(entry, key) if isinstance(entry.get(key), list) else [entry[key]] if key in entry else []


def _change(surface: Surface, account: str | None, change: Any) -> list[ChannelEvent]:
    field, value = text(change, "field"), child(change, "value")
    if field in MESSAGING_FIELDS and value:
        return _event(Origin(surface=surface, account_ref=account, raw=value))
    return [unknown(f"field {(field or 'unnamed')[:64]}", change, account_ref=account)]


def _event(origin: Origin) -> list[ChannelEvent]:
    for key, read in READERS.items():
        body = origin.raw.get(key)
        if isinstance(body, dict):
            found = list(read(origin, body))
            if origin.standby:
                found = [_overheard(origin, event) for event in found]
            return found or [_unknown(origin, f"a {key} event without what it needs")]
    return [_unknown(origin, "an event of a kind not known here")]


def _unknown(origin: Origin, reason: str) -> UnknownEvent:
    return unknown(reason, origin.raw, account_ref=origin.account_ref)


def _overheard(origin: Origin, event: ChannelEvent) -> ChannelEvent:
    """What was written to the app that owns the thread must not be answered here: it is told, not received."""
    if isinstance(event, Engagement) and event.action == "postback":
        return replace(event, action="other", detail={**event.detail, "kind": "standby"})
    if not isinstance(event, InboundMessage):
        return event
    return engagement(
        origin, "other", event_id("standby", event.event_id), {"kind": "standby", "message_id": event.provider_id}
    )
