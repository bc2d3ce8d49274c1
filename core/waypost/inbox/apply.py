"""Applying: from parsed deliveries to receipts, inbound messages and everything else a provider says.

One event that makes no sense never takes its neighbours down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from waypost import receipts, watermarks
from waypost.clock import Clock, from_datetime
from waypost.event_codec import dump
from waypost.inbox import written
from waypost.inbox.parse import Parsed
from waypost.inbox.placement import Placed
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
from waypost.store.inbound import Inbound

#: What is said of one message, besides its receipts.
OF_A_MESSAGE = (Engagement, PriceUpdate, ConsentChange)

_LOG = logger()


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
    about += [name for item in updates for name in watermarks.names(item.gateway_ids, item.update, rules)]
    inbound.keep_apart(conn, about)
    known = events.refs(
        conn,
        {
            (gateway.id, item.event.provider_id)
            for item in placed
            if isinstance(item.event, (DeliveryUpdate, *OF_A_MESSAGE)) and item.event.provider_id
            for gateway in item.gateways
        },
    )
    kept, news = _kept(conn, others, _attempts(conn, others, known), now)
    found = receipts.reports(conn, updates, known, rules, now) if updates else []
    changes = report(conn, found, rules, now, beside=[*beside, kept])
    fresh = {id(item) for item in news}
    new = written.apply(
        conn, [item for item in others if id(item) in fresh or not written.is_dated_by_hearing(item.event)], now
    )
    _consents(conn, news, now)  # after what was written: who has a new address takes along when they wrote
    return Applied(changes, new)


def _spoken_of(item: Placed) -> Iterator[str]:
    """The inbound message and the people of whom an event changes what is known."""
    event = item.event
    people: tuple[Address, ...] = ()
    if isinstance(event, InboundMessage):
        yield from (f"{gateway.id} message {event.provider_id}" for gateway in item.told)
        people = event.sender
    elif isinstance(event, Engagement):
        people = event.sender if written.opens_the_window(event) else ()
    elif isinstance(event, ConsentChange):
        people = (event.address,)
    elif isinstance(event, AddressChange):
        people = (event.old, event.new)
    names = [address.value for address in people]
    if item.hidden:
        names.append(inbound.HIDDEN)
    # All that it may be about: which one it is, the message tells that the event may speak of.
    yield from (f"{gateway.id} person {name}" for gateway in item.gateways for name in names)


def _consents(conn: Connection, placed: Sequence[Placed], now: int) -> None:
    for item in placed:
        event = item.event
        for gateway in item.told:
            if isinstance(event, ConsentChange):
                at = written.moment(item, now)
                inbound.note_consent(conn, gateway.id, event.address.value, event.scope, event.state, at)
            elif isinstance(event, AddressChange):
                inbound.join_addresses(conn, gateway.id, event.old.value, event.new.value)


def _attempts(
    conn: Connection, placed: Sequence[Placed], known: Mapping[tuple[str, str], events.AttemptRef]
) -> dict[int, events.AttemptRef]:
    """The attempts that events speak of which are no receipts, by their `id`; such an event was said to their gateway.

    A correlation alone proves nothing: whoever sends it must speak for the gateway that the message took.
    """
    found: dict[int, events.AttemptRef] = {}
    correlated: list[tuple[Placed, events.AttemptRef]] = []
    for item in placed:
        event = item.event
        if not isinstance(event, OF_A_MESSAGE):
            continue
        for gateway in item.gateways:
            ref = known.get((gateway.id, event.provider_id or ""))
            if ref is not None:
                found[id(item)], item.told = ref, (gateway,)
                break
        else:
            ref = events.AttemptRef.parse(event.correlation) if event.correlation else None
            if ref is not None and item.gateways:
                correlated.append((item, ref))
    through = receipts.gateways_of(conn, {ref for _, ref in correlated}) if correlated else {}
    for item, ref in correlated:
        for gateway in item.gateways:
            if gateway.id == through.get(ref):
                found[id(item)], item.told = ref, (gateway,)
    return found


def _kept(
    conn: Connection, placed: Sequence[Placed], attempts: Mapping[int, events.AttemptRef], now: int
) -> tuple[Insertion, list[Placed]]:
    """Everything that is no receipt, to be kept once each, beside its message where that is known.

    With it comes what must not count twice and was not known yet, such as a word on consent; that is kept already.
    """
    rows = []
    at_once: dict[tuple[str, str], tuple[tuple[Any, ...], Placed]] = {}
    for item in placed:
        event = item.event
        is_dated_by_hearing = written.is_dated_by_hearing(event)
        if isinstance(event, InboundMessage) and not (is_dated_by_hearing and item.told):
            continue
        gateway_id = item.told[0].id if item.told else ""
        ref = attempts.get(id(item))
        message_id = ref.message_id if ref is not None else None
        at = from_datetime(event.occurred_at) if event.occurred_at else None
        # What is charged is all in the event; its raw form is as long as the receipt's that it came with.
        # And what was written is kept in one place, where it may be taken back.
        data = "{}" if isinstance(event, InboundMessage) else dump(event, with_raw=not isinstance(event, PriceUpdate))
        row = (gateway_id, event.event_id, type(event).__name__, message_id, now, at, data)
        if is_dated_by_hearing or isinstance(event, ConsentChange | AddressChange) or _is_alarming(event):
            at_once.setdefault((gateway_id, event.event_id), (row, item))
        else:
            rows.append(row)
    new = events.add_channel_events(conn, [row for row, _ in at_once.values()])
    news = [item for key, (_, item) in at_once.items() if key in new]
    for item in news:
        if isinstance(item.event, AccountUpdate):
            gateway_id = item.told[0].id if item.told else ""
            _LOG.critical("gateway.account_update", gateway=gateway_id, topic=item.event.topic)
    return events.channel_insertion(rows), news


def _is_alarming(event: ChannelEvent) -> bool:
    return isinstance(event, AccountUpdate) and event.state == "blocked"
