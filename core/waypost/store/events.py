"""Events of messages, and under which ids providers know them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any

import orjson
from sqlalchemy import Connection, text

from waypost.lifecycle.evidence import Evidence
from waypost.store.bulk import Insertion, in_keys, insert_new, keys, write_together
from waypost.store.driver import rows_by
from waypost.store.tables import channel_event, event, idempotency, parked_event, provider_ref

_COLUMNS = tuple(Evidence.__dataclass_fields__)
_SELECTED = tuple(f'"{column}"' for column in _COLUMNS)
_all_but_data = attrgetter(*_COLUMNS[:-1])


def _row(item: Evidence) -> tuple[Any, ...]:
    return (*_all_but_data(item), orjson.dumps(item.data).decode() if item.data else "{}")


def insertion(items: Sequence[Evidence], *, if_new: bool = False) -> Insertion:
    """Events that cannot be there yet; or with `if_new` those of them that are not."""
    return Insertion(event, _COLUMNS, [_row(item) for item in items], if_new)


def add_first(conn: Connection, items: Sequence[Evidence]) -> None:
    """Store events that cannot be there yet."""
    write_together(conn, [insertion(items)])


def of_messages(conn: Connection, ids: Iterable[str]) -> dict[str, list[Evidence]]:
    """The events of these messages, by message, in the order of their recording."""
    found: dict[str, list[Evidence]] = {}
    for row in rows_by(conn, _SELECTED, "FROM event WHERE message_id {}", ids):
        item = Evidence(*row)
        item.data = orjson.loads(row[-1]) if row[-1] != "{}" else {}
        found.setdefault(item.message_id, []).append(item)
    for items in found.values():
        items.sort(key=lambda item: (item.at, item.step_no, item.attempt, item.key))
    return found


# ---- correlation


@dataclass(frozen=True, slots=True)
class AttemptRef:
    """One attempt of one step of one message."""

    message_id: str
    step_no: int
    attempt: int

    def __str__(self) -> str:
        """The correlation that goes to the provider and comes back."""
        return f"{self.message_id}.{self.step_no}.{self.attempt}"

    @classmethod
    def of(cls, item: Evidence) -> AttemptRef:
        """The attempt that something was told of."""
        return cls(item.message_id, item.step_no, item.attempt)

    @classmethod
    def parse(cls, correlation: str) -> AttemptRef | None:
        """Read a correlation that came back; None where it is not one of ours."""
        parts = correlation.split(".")
        if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
            return None
        if len(parts[1]) > 4 or len(parts[2]) > 9:
            return None
        return cls(parts[0], int(parts[1]), int(parts[2]))


def refs_insertion(gateway_provider_ids: Sequence[tuple[str, str, AttemptRef]]) -> Insertion:
    """Under which (gateway, provider id) attempts are known from now on, as far as they are not yet."""
    return Insertion(
        provider_ref,
        ("gateway_id", "provider_id", "message_id", "step_no", "attempt"),
        [(gateway, pid, ref.message_id, ref.step_no, ref.attempt) for gateway, pid, ref in gateway_provider_ids],
        if_new=True,
    )


def refs(conn: Connection, known_as: Iterable[tuple[str, str]]) -> dict[tuple[str, str], AttemptRef]:
    """The attempts known under these (gateway, provider id)."""
    wanted = set(known_as)
    if not wanted:
        return {}
    rows = rows_by(
        conn,
        ("gateway_id", "provider_id", "message_id", "step_no", "attempt"),
        "FROM provider_ref WHERE gateway_id {} AND provider_id {}",
        {gateway for gateway, _ in wanted},
        {provider_id for _, provider_id in wanted},
    )
    found = {(row[0], row[1]): AttemptRef(row[2], row[3], row[4]) for row in rows}
    return {key: found[key] for key in wanted & found.keys()}


def refs_between(conn: Connection, gateway_id: str, since: str, until: str) -> list[AttemptRef]:
    """The attempts known under a gateway's provider ids from one up to another, which is not included."""
    rows = conn.execute(
        text(
            "SELECT message_id, step_no, attempt FROM provider_ref"
            " WHERE gateway_id = :gateway AND provider_id >= :since AND provider_id < :until ORDER BY provider_id"
        ),
        {"gateway": gateway_id, "since": since, "until": until},
    )
    return [AttemptRef(*row) for row in rows]


def provider_ids_of(conn: Connection, message_id: str) -> list[tuple[str, str, int, int]]:
    """A message's (gateway, provider id, step, attempt)."""
    rows = conn.execute(
        text(
            "SELECT r.gateway_id, r.provider_id, r.step_no, r.attempt FROM provider_ref r WHERE r.message_id = :id"
            " ORDER BY r.step_no, r.attempt"
        ),
        {"id": message_id},
    )
    return [tuple(row) for row in rows]


# ---- events that wait for their message


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A row of `parked_event`: the receipt of an event, which is kept once, as JSON.

    `also` are further gateways, separated by spaces, that it may be about.
    """

    gateway_id: str
    event_id: str
    status: str
    provider_id: str | None
    correlation: str | None
    also: str = ""
    event: str
    received_at: int

    @property
    def place(self) -> ParkedAt:
        """Its place among all that are parked, the oldest first."""
        return self.received_at, self.gateway_id, self.event_id, self.status

    @property
    def gateway_ids(self) -> tuple[str, ...]:
        """The gateways that it may be about, the likeliest first."""
        return (self.gateway_id, *self.also.split())


#: When it was received, its gateway, its event's id, its status.
ParkedAt = tuple[int, str, str, str]

_PARKED = ("gateway_id", "event_id", "status", "provider_id", "correlation", "also", "event", "received_at")


def park(conn: Connection, rows: Sequence[Parked]) -> None:
    """Keep receipts whose message is not known yet; a duplicate is kept once."""
    found = sorted((tuple(getattr(row, column) for column in _PARKED) for row in rows), key=itemgetter(0, 1, 2))
    insert_new(conn, parked_event, _PARKED, found)


def parked_under(conn: Connection, provider_ids: Sequence[tuple[str, str]]) -> list[Parked]:
    """The parked events of these (gateway, provider id)."""
    wanted = set(provider_ids)
    tail = "FROM parked_event WHERE gateway_id {} AND provider_id {}"
    rows = rows_by(conn, _PARKED, tail, {gateway for gateway, _ in wanted}, {pid for _, pid in wanted})
    return [parked for parked in map(_parked, rows) if (parked.gateway_id, parked.provider_id) in wanted]


def parked_after(conn: Connection, after: ParkedAt, limit: int) -> list[Parked]:
    """Parked events after a place, oldest first."""
    rows = conn.execute(
        text(
            f"SELECT {', '.join(_PARKED)} FROM parked_event"
            " WHERE (received_at, gateway_id, event_id, status) > (:at, :gateway, :event, :status)"
            " ORDER BY received_at, gateway_id, event_id, status LIMIT :limit"
        ),
        {"at": after[0], "gateway": after[1], "event": after[2], "status": after[3], "limit": limit},
    )
    return [_parked(row) for row in rows]


def unpark(conn: Connection, rows: Sequence[Parked]) -> None:
    """Remove parked events that have been applied or given up."""
    if rows:
        conn.execute(
            _UNPARK, [{"gateway": row.gateway_id, "event": row.event_id, "status": row.status} for row in rows]
        )


_UNPARK = text("DELETE FROM parked_event WHERE gateway_id = :gateway AND event_id = :event AND status = :status")


def _parked(row: Any) -> Parked:
    return Parked(**dict(zip(_PARKED, row, strict=True)))


# ---- events that are about something else


_CHANNEL_EVENT = ("gateway_id", "event_id", "kind", "message_id", "at", "occurred_at", "data")


def channel_insertion(rows: Sequence[tuple[Any, ...]]) -> Insertion:
    """Events that are no receipts, as far as they are new; a row is as `_CHANNEL_EVENT` names it."""
    return Insertion(channel_event, _CHANNEL_EVENT, sorted(rows, key=itemgetter(0, 1)), if_new=True)


def add_channel_events(conn: Connection, rows: Sequence[tuple[Any, ...]]) -> set[tuple[str, str]]:
    """Store events that are no receipts, rows like `channel_insertion`'s; return the (gateway, event id) of the new."""
    inserted = insert_new(conn, channel_event, _CHANNEL_EVENT, sorted(rows, key=itemgetter(0, 1)))
    return {(row[0], row[1]) for row in inserted}


def channel_events_of(conn: Connection, message_id: str) -> list[dict[str, Any]]:
    """What else happened around a message: engagements, price updates."""
    rows = conn.execute(
        text(
            "SELECT gateway_id, event_id, kind, at, occurred_at, data FROM channel_event WHERE message_id = :id"
            " ORDER BY at"
        ),
        {"id": message_id},
    )
    return [dict(row._mapping) for row in rows]


# ---- idempotency


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What an app's key was first used for."""

    app_id: str
    key: str
    fingerprint: str
    message_id: str
    created_at: int


def claim_idempotency(conn: Connection, rows: Sequence[IdempotencyRecord]) -> set[tuple[str, str]]:
    """Store those keys that are new; return their (app, key)."""
    inserted = insert_new(
        conn,
        idempotency,
        ("app_id", "key", "fingerprint", "message_id", "created_at"),
        [(row.app_id, row.key, row.fingerprint, row.message_id, row.created_at) for row in rows],
    )
    return {(row[0], row[1]) for row in inserted}


def idempotency_records(conn: Connection, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], IdempotencyRecord]:
    """What these (app, key) were first used for."""
    wanted = set(pairs)
    rows = conn.execute(
        text(
            "SELECT app_id, key, fingerprint, message_id, created_at FROM idempotency"
            f" WHERE {in_keys(conn, 'app_id', 'apps')} AND {in_keys(conn, 'key', 'names')}"
        ),
        {
            "apps": keys(conn, sorted({app for app, _ in wanted})),
            "names": keys(conn, sorted({name for _, name in wanted})),
        },
    )
    records = (IdempotencyRecord(*row) for row in rows)
    return {(record.app_id, record.key): record for record in records if (record.app_id, record.key) in wanted}


def forget_idempotency(conn: Connection, before: int, limit: int) -> int:
    """Forget the oldest of the keys first used before then; return how many."""
    result = conn.execute(
        text(
            "DELETE FROM idempotency WHERE (app_id, key) IN (SELECT app_id, key FROM idempotency"
            " WHERE created_at < :before ORDER BY created_at LIMIT :limit)"
        ),
        {"before": before, "limit": limit},
    )
    return int(result.rowcount)
