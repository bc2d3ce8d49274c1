"""Applying: from parsed deliveries to receipts, inbound messages and everything else a provider says.

One event that makes no sense never takes its neighbours down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from sqlalchemy import Connection

from waypost import receipts, watermarks
from waypost.clock import Clock, from_datetime
from waypost.event_codec import dump, dump_json
from waypost.ids import new_id
from waypost.inbox.parse import Parsed, Placed
from waypost.log import logger
from waypost.plugin.events import (
    AccountUpdate,
    AddressChange,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    PriceUpdate,
)
from waypost.plugin.types import Address
from waypost.progress.case import Change, Rules
from waypost.progress.report import report
from waypost.receipts import PlacedUpdate
from waypost.store import deliveries, events, inbound
from waypost.store.bulk import Insertion
from waypost.store.gateways import Gateway
from waypost.store.inbound import Inbound

_LOG = logger()

#: Marks a message that was taken back before it came.
_TAKEN_BACK = "taken-back"


@dataclass(slots=True)
class Applied:
    """What a batch of deliveries changed."""

    changes: list[Change] = field(default_factory=list)
    inbound: list[Inbound] = field(default_factory=list)

    def tell(self, changed: Callable[[Sequence[Change]], None], received: Callable[[Sequence[Inbound]], None]) -> None:
        """Tell both who want to know; a fault of the first does not keep it from the second."""
        try:
            changed(self.changes)
        finally:
            received(self.inbound)


def take(conn: Connection, parsed: Sequence[Parsed], rules: Rules, clock: Clock) -> Applied:
    """Store new deliveries and apply them, all in one transaction."""
    stored = deliveries.read_insertion((item.delivery, item.problem) for item in parsed)
    return apply_events(conn, [item for delivery in parsed for item in delivery.events], rules, clock, (stored,))


def apply(conn: Connection, parsed: Sequence[Parsed], rules: Rules, clock: Clock) -> Applied:
    """Apply deliveries that are stored already in one transaction, and mark them applied."""
    applied = apply_events(conn, [item for delivery in parsed for item in delivery.events], rules, clock)
    deliveries.set_applied(conn, [item.delivery.id for item in parsed if not item.problem])
    for item in parsed:
        if item.problem:
            deliveries.set_failed(conn, item.delivery.id, item.problem)
    return applied


def apply_events(
    conn: Connection, placed: Sequence[Placed], rules: Rules, clock: Clock, beside: Sequence[Insertion] = ()
) -> Applied:
    """Let everything follow from these events; what is known already changes nothing. `beside` is stored with it."""
    now = clock.now()
    updates: list[PlacedUpdate] = []
    others: list[Placed] = []
    for item in placed:
        if isinstance(item.event, DeliveryUpdate) and item.gateways:
            updates.append(PlacedUpdate(item.event, tuple(gateway.id for gateway in item.gateways)))
        else:
            others.append(item)
    # First of all: whoever has to wait here should hold nothing that others wait for.
    about = [name for item in others for name in _spoken_of(item)]
    about += [name for item in updates for name in watermarks.names(item.gateway_ids, item.update)]
    inbound.keep_apart(conn, about)
    known = events.refs(
        conn,
        {
            (gateway.id, item.event.provider_id)
            for item in placed
            if isinstance(item.event, DeliveryUpdate | Engagement | PriceUpdate) and item.event.provider_id
            for gateway in item.gateways
        },
    )
    kept = _kept(conn, others, known, now)
    found = receipts.reports(conn, updates, known, now) if updates else []
    changes = report(conn, found, rules, now, beside=[*beside, kept])
    _consents(conn, others, now)
    return Applied(changes, _inbound(conn, others, now))


def _spoken_of(item: Placed) -> Iterator[str]:
    """The inbound message and the people of whom an event changes what is known."""
    if not item.gateways:
        return
    event, gateway_id = item.event, item.gateways[0].id
    people: tuple[Address, ...] = ()
    if isinstance(event, InboundMessage):
        yield f"{gateway_id} message {event.provider_id}"
        people = event.sender
    elif isinstance(event, Engagement):
        people = event.sender if _opens_the_window(event) else ()
    elif isinstance(event, ConsentChange):
        people = (event.address,)
    elif isinstance(event, AddressChange):
        people = (event.old, event.new)
    for address in people:
        yield f"{gateway_id} person {address.value}"


def _opens_the_window(event: Engagement) -> bool:
    """Whether it counts as the person's having written."""
    return event.action in ("postback", "referral")


def _inbound(conn: Connection, placed: Sequence[Placed], now: int) -> list[Inbound]:
    rows: list[Inbound] = []
    changes: list[tuple[str, InboundMessage]] = []
    for item in placed:
        event = item.event
        if not item.gateways:
            continue
        gateway = item.gateways[0]
        if isinstance(event, Engagement) and _opens_the_window(event):
            inbound.note_inbound(conn, gateway.id, [address.value for address in event.sender], _at(event, now))
        if not isinstance(event, InboundMessage):
            continue
        if event.change == "new":
            rows.append(_inbound_row(event, gateway, now))
        else:
            changes.append((gateway.id, event))
        if event.change != "unsend":
            inbound.note_inbound(conn, gateway.id, [address.value for address in event.sender], _at(event, now))
    new = inbound.add_new(conn, _without_taken_back(conn, rows)) if rows else []
    # Only now: what is changed may have come in this very batch.
    for gateway_id, event in changes:
        edited = event.content if event.change == "edit" else None
        content = dump_json(edited.model_dump(mode="json", exclude_none=True)) if edited is not None else None
        if not inbound.change(conn, gateway_id, event.provider_id, content) and event.change == "unsend":
            mark = (gateway_id, f"{_TAKEN_BACK}:{event.provider_id}", "TakenBack", None, now, None, "{}")
            events.add_channel_events(conn, [mark])
    return new


def _at(event: ChannelEvent, now: int) -> int:
    """When it happened, as far as the provider says."""
    return from_datetime(event.occurred_at) if event.occurred_at else now


def _without_taken_back(conn: Connection, rows: Sequence[Inbound]) -> list[Inbound]:
    """The messages, erased where they were taken back before they came: what providers send may overtake itself."""
    marks = {(row.gateway_id, f"{_TAKEN_BACK}:{row.provider_id}") for row in rows}
    gone = events.known_channel_events(conn, marks)
    return [
        replace(row, content="{}", unsent=True) if (row.gateway_id, f"{_TAKEN_BACK}:{row.provider_id}") in gone else row
        for row in rows
    ]


def _inbound_row(event: InboundMessage, gateway: Gateway, now: int) -> Inbound:
    content = event.content.model_dump(mode="json", exclude_none=True)
    if event.more:
        content["more"] = [item.model_dump(mode="json", exclude_none=True) for item in event.more]
    return Inbound(
        id=new_id("in"),
        gateway_id=gateway.id,
        provider_id=event.provider_id,
        app_id=gateway.app_id,
        channel=gateway.channel,
        sender=orjson.dumps([[address.kind, address.value] for address in event.sender]).decode(),
        recipient=orjson.dumps([event.recipient.kind, event.recipient.value]).decode(),
        content=dump_json(content),
        sender_name=event.sender_name,
        reply_to=event.reply_to,
        received_at=now,
        occurred_at=from_datetime(event.occurred_at) if event.occurred_at else None,
    )


def _consents(conn: Connection, placed: Sequence[Placed], now: int) -> None:
    for item in placed:
        event = item.event
        if not item.gateways:
            continue
        if isinstance(event, ConsentChange):
            at = _at(event, now)
            inbound.note_consent(conn, item.gateways[0].id, event.address.value, event.scope, event.state, at)
        elif isinstance(event, AddressChange):
            inbound.join_addresses(conn, item.gateways[0].id, event.old.value, event.new.value)


def _kept(
    conn: Connection, placed: Sequence[Placed], known: Mapping[tuple[str, str], events.AttemptRef], now: int
) -> Insertion:
    """Everything that is no receipt, to be kept once each, beside its message where that is known."""
    rows = []
    blocked = []
    for item in placed:
        event = item.event
        if isinstance(event, InboundMessage):
            continue
        gateway_id = item.gateways[0].id if item.gateways else ""
        message_id = None
        if isinstance(event, Engagement | PriceUpdate):
            ref = known.get((gateway_id, event.provider_id or "")) or events.AttemptRef.parse(event.correlation or "")
            message_id = ref.message_id if ref else None
        at = from_datetime(event.occurred_at) if event.occurred_at else None
        # What is charged is all in the event; its raw form is as long as the receipt's that it came with.
        data = dump(event, with_raw=not isinstance(event, PriceUpdate))
        row = (gateway_id, event.event_id, type(event).__name__, message_id, now, at, data)
        if isinstance(event, AccountUpdate) and event.state == "blocked":
            blocked.append((row, event.topic))
        else:
            rows.append(row)
    _alarm(conn, blocked)
    return events.channel_insertion(rows)


def _alarm(conn: Connection, blocked: Sequence[tuple[tuple[Any, ...], str]]) -> None:
    """Keep the news that accounts were blocked, and tell the operators of what is new."""
    topics = {row[:2]: topic for row, topic in blocked}
    for gateway_id, event_id in events.add_channel_events(conn, [row for row, _ in blocked]):
        _LOG.critical("gateway.account_update", gateway=gateway_id, topic=topics[gateway_id, event_id])
