"""Watermarks: receipts for everything that was sent to somebody until then.

A send is found by its recipient and by when its attempt began. A watermark may come before the send's result is
stored; so the latest is kept, and the result looks whether it has been covered. That is why the next watermark is
about what was sent since and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import cast, get_args

from sqlalchemy import Connection

from waypost.clock import from_datetime, to_datetime
from waypost.lifecycle.status import Status, reached
from waypost.plugin.events import DeliveryUpdate
from waypost.plugin.types import Address, ReceiptStatus
from waypost.progress.case import Report, Rules
from waypost.store import events, watermarks
from waypost.store.events import AttemptRef
from waypost.store.watermarks import Watermark

#: Plugins with this feature get receipts "for everything to this recipient until then".
FEATURE = "watermarks"

_MARK = "@"
_SENT_ID = re.compile(rf"{_MARK}(.+){_MARK}([0-9]{{20}})\.[^{_MARK}]+", re.DOTALL)
#: Providers tell moments in milliseconds: what began within the same one is not later.
_GRAIN = 1_000
#: A provider's clock may be so far behind ours. Between what is read and what is sent next more time passes as a rule.
_SKEW = 100_000
#: What a receipt proves where it says that something was achieved, as the status it leads to.
_PROVES: dict[str, Status] = {status.lower(): status for status in get_args(Status) if reached(status, "sent")}


def sent_id(address: Address, began: int, ref: AttemptRef) -> str:
    """The id under which an attempt is found by watermark: sortable by time within a recipient."""
    return f"{_until(_written(address), began)}.{ref}"


def names(gateway_ids: Iterable[str], update: DeliveryUpdate, rules: Rules) -> Iterator[str]:
    """Of whom a watermark speaks, for `store.inbound.keep_apart`: what it covers may just be being stored."""
    if update.recipient is not None and (update.watermark is not None or may_find(update)):
        for gateway_id in gateway_ids:
            if update.watermark is not None or rules.has_watermarks(gateway_id):
                yield _name(gateway_id, _written(update.recipient))


def may_find(update: DeliveryUpdate) -> bool:
    """Whether by this receipt watermarks may find its send, whose answer may have been lost."""
    return bool(update.correlation) and update.recipient is not None and update.status in _PROVES


def names_of_sent(sent: Iterable[Report]) -> Iterator[str]:
    """To whom something was sent that watermarks may be about, for `store.inbound.keep_apart`."""
    for item in sent:
        for known_as in item.provider_ids:
            if (read := _read(known_as)) is not None:
                yield _name(item.evidence.gateway_id or "", read[0])


def covered(
    conn: Connection, gateway_ids: Sequence[str], update: DeliveryUpdate, now: int
) -> list[tuple[str, AttemptRef]]:
    """The attempts, each with its gateway, that a watermark is about and no earlier one was; remember it for others."""
    if update.watermark is None or update.recipient is None:
        return []
    # However late a provider says that it is, what begins from now on is not meant.
    address, until = _written(update.recipient), min(from_datetime(update.watermark) + _SKEW, now)
    since = dict.fromkeys(gateway_ids, 0)
    proves = _PROVES.get(update.status)
    if proves is not None:
        for known in watermarks.of_addresses(conn, [(gateway_id, address) for gateway_id in gateway_ids]):
            if reached(_PROVES[known.status], update.status):
                since[known.gateway_id] = max(since[known.gateway_id], known.until)
        at = from_datetime(update.occurred_at) if update.occurred_at else None
        news = [gateway_id for gateway_id in gateway_ids if since[gateway_id] < until]
        watermarks.note(
            conn,
            [Watermark(gateway_id, address, update.status, until, update.event_id, at) for gateway_id in news],
        )
    end = _until(address, until + _GRAIN)
    return [
        (gateway_id, ref)
        for gateway_id in gateway_ids
        for ref in dict.fromkeys(events.refs_between(conn, gateway_id, _until(address, since[gateway_id]), end))
    ]


def find_from_now_on(
    conn: Connection, unheard: Iterable[tuple[Report, DeliveryUpdate]], rules: Rules
) -> list[tuple[str, AttemptRef, DeliveryUpdate]]:
    """Let watermarks find the sends of these receipts as they would by their answer; return what earlier ones say.

    Most are found already. That the provider's id is known does not tell: a receipt that names nobody may have told it.
    """
    meant = [(item, item.evidence.gateway_id or "", update.recipient) for item, update in unheard]
    meant = [found for found in meant if rules.has_watermarks(found[1])]
    if not meant:
        return []
    history = events.of_messages(conn, {item.evidence.message_id for item, _, _ in meant})
    began = {AttemptRef.of(told): told.at for found in history.values() for told in found if told.kind == "sending"}
    known_as = []
    for item, gateway_id, address in meant:
        ref = AttemptRef.of(item.evidence)
        if address is not None and ref in began:
            known_as.append((item, gateway_id, sent_id(address, began[ref], ref), ref))
    known = events.refs(conn, {(gateway_id, name) for _, gateway_id, name, _ in known_as})
    news = [new for new in known_as if new[1:3] not in known]
    for item, _, name, _ in news:
        item.provider_ids += (name,)
    return overtaken(conn, [new[1:] for new in news])


def overtaken(
    conn: Connection, known_as: Iterable[tuple[str, str, AttemptRef]]
) -> list[tuple[str, AttemptRef, DeliveryUpdate]]:
    """What earlier watermarks say of attempts that have just become known by these (gateway, id)."""
    found = [(gateway_id, *read, ref) for gateway_id, name, ref in known_as if (read := _read(name)) is not None]
    if not found:
        return []
    marks = watermarks.of_addresses(conn, [(gateway_id, address) for gateway_id, address, _, _ in found])
    return [
        (gateway_id, ref, _update(mark))
        for gateway_id, address, began, ref in found
        for mark in marks
        if (mark.gateway_id, mark.address) == (gateway_id, address) and began < mark.until + _GRAIN
    ]


def _name(gateway_id: str, address: str) -> str:
    return f"{gateway_id} watermark {address}"


def _written(address: Address) -> str:
    return f"{address.kind}:{address.value}"


def _until(address: str, at: int) -> str:
    return f"{_MARK}{address}{_MARK}{at:020d}"


def _read(name: str) -> tuple[str, int] | None:
    """The address and the time of a `sent_id`; None for what is a provider's id, which may begin with anything."""
    found = _SENT_ID.fullmatch(name) if name.startswith(_MARK) else None
    return (found[1], int(found[2])) if found else None


def _update(mark: Watermark) -> DeliveryUpdate:
    return DeliveryUpdate(
        event_id=mark.event_id,
        status=cast("ReceiptStatus", mark.status),
        occurred_at=to_datetime(mark.occurred_at) if mark.occurred_at is not None else None,
    )
