"""Receipts: whose message a provider's delivery update is about, and what it proves.

By our correlation where the provider returns it, else by the provider's id, else by a watermark. A receipt for a
message not known yet is parked, and claimed when the send's result is stored; the two never miss each other for long,
since the sweeper tries parked receipts again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection

from waypost import watermarks
from waypost.clock import from_datetime
from waypost.event_codec import dump, load_delivery_update
from waypost.lifecycle.evidence import Evidence
from waypost.lifecycle.status import Status, reached
from waypost.log import logger
from waypost.plugin.errors import ERROR_CLASSES
from waypost.plugin.events import DeliveryUpdate
from waypost.progress.case import Report, Rules
from waypost.store import events, steps
from waypost.store.events import AttemptRef, Parked, ParkedAt

_LOG = logger()
#: Before every parked receipt.
FIRST_PARKED: ParkedAt = (0, "", "", "")


@dataclass(slots=True)
class PlacedUpdate:
    """A delivery update with the gateways that its sender has proved to speak for, the likeliest first."""

    update: DeliveryUpdate
    gateway_ids: tuple[str, ...]


def reports(
    conn: Connection,
    updates: Sequence[PlacedUpdate],
    known: Mapping[tuple[str, str], AttemptRef],
    rules: Rules,
    now: int,
) -> list[Report]:
    """Turn updates into reports; park those whose message is not known yet.

    `known` are the attempts behind the updates' (gateway, provider id), as far as they are known.
    """
    by_correlation = _correlated(conn, updates)
    found: list[Report] = []
    unheard: list[tuple[Report, DeliveryUpdate]] = []
    lost: list[Parked] = []
    told: set[tuple[AttemptRef, str]] = set()
    # Watermarks last: they speak of everything until then, also of what the others name.
    for item in sorted(updates, key=lambda item: item.update.watermark is not None):
        refs = _refs_of(conn, item, by_correlation, known, now)
        if item.update.watermark is not None:
            refs = _unproved(conn, [pair for pair in refs if (pair[1], item.update.status) not in told], item.update)
        told.update((ref, item.update.status) for _, ref in refs)
        is_new_id = not any((gateway_id, item.update.provider_id) in known for gateway_id in item.gateway_ids)
        about = [_report(item.update, gateway_id, ref, now, learned=is_new_id) for gateway_id, ref in refs]
        found.extend(about)
        if watermarks.may_find(item.update):
            unheard.extend((report, item.update) for report in about)
        if not refs and item.update.watermark is None:
            lost.append(_parked(item, now))
    events.park(conn, lost)
    overtaken = watermarks.find_from_now_on(conn, unheard, rules)
    found.extend(_report(update, gateway_id, ref, now, learned=False) for gateway_id, ref, update in overtaken)
    return found


def _unproved(
    conn: Connection, refs: Sequence[tuple[str, AttemptRef]], update: DeliveryUpdate
) -> list[tuple[str, AttemptRef]]:
    """Those of a watermark's attempts to which it is news: most have been told the same by themselves."""
    if not refs or update.status in ("failed", "undelivered"):
        return list(refs)
    stored = steps.of_messages(conn, {ref.message_id for _, ref in refs})
    waiting = {
        (step.message_id, step.step_no)
        for found in stored.values()
        for step in found
        if not reached(cast("Status", step.status), update.status)
    }
    return [(gateway_id, ref) for gateway_id, ref in refs if (ref.message_id, ref.step_no) in waiting]


def claim_early(conn: Connection, sent: Sequence[Report], now: int) -> list[Report]:
    """Take what came before these reports: receipts parked under the provider ids they tell, and watermarks."""
    known_as = [
        (item.evidence.gateway_id or "", name, AttemptRef.of(item.evidence))
        for item in sent
        for name in item.provider_ids
    ]
    if not known_as:
        return []
    parked = events.parked_under(conn, [(gateway_id, name) for gateway_id, name, _ in known_as])
    overtaken = watermarks.overtaken(conn, known_as)
    return [
        *_claim(conn, parked, now)[0],
        *(_report(update, gateway_id, ref, now, learned=False) for gateway_id, ref, update in overtaken),
    ]


def retry_parked(
    conn: Connection, after: ParkedAt, give_up_before: int, now: int, limit: int = 200
) -> tuple[list[Report], ParkedAt]:
    """Try some parked receipts again; give up those that have waited since before then.

    Returns with the reports after which receipt to go on, from the beginning once all have had their turn.
    """
    waiting = events.parked_after(conn, after, limit)
    found, claimed = _claim(conn, waiting, now)
    _give_up(conn, [item for item in waiting if item.received_at < give_up_before and item not in claimed])
    last = waiting[-1] if len(waiting) == limit else None
    return found, last.place if last else FIRST_PARKED


def _give_up(conn: Connection, parked: Sequence[Parked]) -> None:
    """Keep receipts as orphans, which nobody looks for any more."""
    events.add_channel_events(
        conn,
        [
            (item.gateway_id, f"{item.event_id}:{item.status}", "Orphan", None, item.received_at, None, item.event)
            for item in parked
        ],
    )
    events.unpark(conn, parked)


def _claim(conn: Connection, parked: Sequence[Parked], now: int) -> tuple[list[Report], list[Parked]]:
    if not parked:
        return [], []
    known = events.refs(
        conn, {(gateway, item.provider_id) for item in parked if item.provider_id for gateway in item.gateway_ids}
    )
    found: list[Report] = []
    done: list[Parked] = []
    senseless: list[Parked] = []
    for item in parked:
        sender = next((gateway for gateway in item.gateway_ids if (gateway, item.provider_id or "") in known), None)
        if sender is not None:
            ref = known[sender, item.provider_id or ""]
            try:
                found.append(_report(load_delivery_update(item.event), sender, ref, now, learned=False))
                done.append(item)
            except Exception as error:  # noqa: BLE001 - one that makes no sense must not hold up all others
                _LOG.error("receipt.senseless", gateway=item.gateway_id, problem=type(error).__name__)
                senseless.append(item)
    events.unpark(conn, done)
    _give_up(conn, senseless)
    return found, [*done, *senseless]


def _refs_of(
    conn: Connection,
    item: PlacedUpdate,
    by_correlation: dict[int, tuple[str, AttemptRef]],
    known: Mapping[tuple[str, str], AttemptRef],
    now: int,
) -> list[tuple[str, AttemptRef]]:
    correlated = by_correlation.get(id(item))
    if correlated is not None:
        return [correlated]
    update = item.update
    for gateway_id in item.gateway_ids:
        ref = known.get((gateway_id, update.provider_id or ""))
        if ref is not None:
            return [(gateway_id, ref)]
    return watermarks.covered(conn, item.gateway_ids, update, now)


def _correlated(conn: Connection, updates: Iterable[PlacedUpdate]) -> dict[int, tuple[str, AttemptRef]]:
    """Updates that bear a correlation of ours, if the attempt went through a gateway that the sender speaks for."""
    refs = {id(item): (item, AttemptRef.parse(item.update.correlation)) for item in updates if item.update.correlation}
    wanted = {ref for _, ref in refs.values() if ref is not None}
    if not wanted:
        return {}
    gateways = gateways_of(conn, wanted)
    return {
        number: (gateways[ref], ref)
        for number, (item, ref) in refs.items()
        if ref is not None and gateways.get(ref) in item.gateway_ids
    }


def gateways_of(conn: Connection, refs: Collection[AttemptRef]) -> dict[AttemptRef, str]:
    """Through which gateway each attempt went: what is charged for it hangs on that."""
    latest = {
        (step.message_id, step.step_no, step.attempt): step.gateway_id
        for found in steps.of_messages(conn, {ref.message_id for ref in refs}).values()
        for step in found
        # What was queued again, and ended there, may have been queued for another gateway.
        if step.state in ("sending", "sent") or len(steps.load_choices(step.choices)) == 1
    }
    gateways = {ref: latest.get((ref.message_id, ref.step_no, ref.attempt)) for ref in refs}
    earlier = {ref.message_id for ref, gateway_id in gateways.items() if gateway_id is None}
    for history in events.of_messages(conn, earlier).values() if earlier else ():
        gateways |= {AttemptRef.of(item): item.gateway_id for item in history if item.kind == "sending"}
    return {ref: gateway_id for ref, gateway_id in gateways.items() if gateway_id is not None}


def _report(update: DeliveryUpdate, gateway_id: str, ref: AttemptRef, now: int, *, learned: bool) -> Report:
    """`learned` says that the attempt was not known by the update's provider id before."""
    error = ERROR_CLASSES.get(update.error_class or "")
    details = {
        "provider_code": update.error_code,
        "detail": update.error_detail,
        "provider_id": update.provider_id,
    }
    bad = update.status in ("failed", "undelivered")
    evidence = Evidence(
        message_id=ref.message_id,
        # With status and attempt, so that what stored evidence proves is known by its key, whatever ids a plugin gives;
        # and a watermark may be about several attempts of one message.
        key=f"{gateway_id}:{update.event_id}:{update.status}:{ref.step_no}.{ref.attempt}",
        step_no=ref.step_no,
        attempt=ref.attempt,
        kind=update.status,
        source="provider",
        gateway_id=gateway_id,
        at=now,
        occurred_at=from_datetime(update.occurred_at) if update.occurred_at else None,
        code=(error.code if error else update.status.upper()) if bad else None,
        data={name: value for name, value in details.items() if value},
    )
    return Report(evidence, provider_ids=(update.provider_id,) if update.provider_id and learned else ())


def _parked(item: PlacedUpdate, now: int) -> Parked:
    parked = Parked(
        gateway_id=item.gateway_ids[0],
        event_id=item.update.event_id,
        status=item.update.status,
        provider_id=item.update.provider_id,
        correlation=item.update.correlation,
        also=" ".join(item.gateway_ids[1:]),
        event=dump(item.update, with_raw=False),
        received_at=now,
    )
    # What makes no sense is its own delivery's trouble now, and not later that of the send that it is about.
    _report(load_delivery_update(parked.event), parked.gateway_id, AttemptRef("", 0, 0), now, learned=False)
    return parked
