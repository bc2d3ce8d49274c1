"""Inbound messages, and what gateways know of those who write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, select, text

from waypost.store.bulk import in_keys, insert_new, keys, update_many
from waypost.store.driver import is_postgres, rows_by, run
from waypost.store.tables import conversation, inbound_message


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A row of `inbound_message`; `sender` and `recipient` are addresses as JSON."""

    id: str
    gateway_id: str
    provider_id: str
    app_id: str | None
    channel: str
    sender: str
    recipient: str
    content: str
    sender_name: str | None
    reply_to: str | None
    received_at: int
    occurred_at: int | None
    unsent: bool = False
    #: When its sender last changed it, if ever.
    edited_at: int | None = None
    #: Only its change has come so far.
    awaited: bool = False


_COLUMNS = tuple(column.name for column in inbound_message.c)
_CHANGING = (
    "sender",
    "recipient",
    "content",
    "sender_name",
    "reply_to",
    "occurred_at",
    "unsent",
    "edited_at",
    "awaited",
)


def keep_apart(conn: Connection, names: Iterable[str]) -> None:
    """Let no other transaction that names one of these go on before this one ends.

    What is said of a message or a person may be said in two transactions at the same time; the later one must see what
    the earlier one stored. SQLite has one writer anyway.
    """
    wanted = sorted(set(names))
    if wanted and is_postgres(conn):
        run(conn, _KEEP_APART, (wanted,))


#: In one order for all, so that no two wait for each other; and of so few locks that a large delivery cannot use up
#: the server's, where two names that share one merely wait for each other too. The first number is our own class.
_KEEP_APART = """
    SELECT pg_advisory_xact_lock(1769104239, key) FROM (
        SELECT DISTINCT (hashtextextended(name, 0) & 1023)::int AS key FROM unnest($1::text[]) AS name ORDER BY key
    ) AS keys
"""


def add_new(conn: Connection, rows: Sequence[Inbound]) -> list[Inbound]:
    """Store the messages that are new; return those."""
    unique: dict[tuple[str, str], Inbound] = {}
    for row in rows:
        unique.setdefault((row.gateway_id, row.provider_id), row)
    found = [unique[key] for key in sorted(unique)]
    new = insert_new(conn, inbound_message, _COLUMNS, [tuple(getattr(row, name) for name in _COLUMNS) for row in found])
    ids = {row[0] for row in new}
    return [row for row in unique.values() if row.id in ids]


def known(conn: Connection, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Inbound]:
    """Those of these (gateway, provider id) that are stored."""
    wanted = set(pairs)
    rows = rows_by(
        conn,
        _COLUMNS,
        "FROM inbound_message WHERE gateway_id {} AND provider_id {}",
        {gateway for gateway, _ in wanted},
        {provider_id for _, provider_id in wanted},
    )
    found = [Inbound(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]
    return {(row.gateway_id, row.provider_id): row for row in found if (row.gateway_id, row.provider_id) in wanted}


def save(conn: Connection, rows: Iterable[Inbound]) -> None:
    """Store what changed in messages: who said what, what they answer, and whether they were edited or taken back."""
    update_many(
        conn,
        inbound_message,
        where=("provider_id", "gateway_id"),
        values=_CHANGING,
        rows=[(row.provider_id, row.gateway_id, *(getattr(row, name) for name in _CHANGING)) for row in rows],
    )


def page(conn: Connection, app_id: str, after: str, limit: int) -> list[Inbound]:
    """An app's inbound messages after one, oldest first."""
    rows = conn.execute(
        select(inbound_message)
        .where(inbound_message.c.app_id == app_id, inbound_message.c.id > after)
        .order_by(inbound_message.c.id)
        .limit(limit)
    )
    return [Inbound(**{**row._mapping, "unsent": bool(row.unsent), "awaited": bool(row.awaited)}) for row in rows]


def last_inbound(conn: Connection, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """When these (gateway, address) last wrote, for those that ever did."""
    wanted = set(pairs)
    rows = conn.execute(
        text(
            "SELECT gateway_id, address, last_inbound_at FROM conversation"
            f" WHERE {in_keys(conn, 'gateway_id', 'gateways')} AND {in_keys(conn, 'address', 'addresses')}"
            " AND last_inbound_at IS NOT NULL"
        ),
        {
            "gateways": keys(conn, sorted({gateway for gateway, _ in wanted})),
            "addresses": keys(conn, sorted({address for _, address in wanted})),
        },
    )
    return {(row[0], row[1]): int(row[2]) for row in rows}


#: Stands for the gateway itself: when it first received anything, so that silence before is not mistaken for a fact.
SINCE = ""
#: Stands for everybody who wrote without the address that one would write to: it may have been anybody.
HIDDEN = " hidden"


def note_inbound(
    conn: Connection, gateway_id: str, addresses: Iterable[str], at: int, received_at: int | None = None
) -> None:
    """Remember that these addresses of one person wrote at this moment, which the gateway heard of at that one."""
    conn.execute(
        text(
            "INSERT INTO conversation (gateway_id, address, last_inbound_at) VALUES (:gateway, :address, :at)"
            " ON CONFLICT DO NOTHING"
        ),
        {"gateway": gateway_id, "address": SINCE, "at": at if received_at is None else received_at},
    )
    for address in sorted(set(addresses)):
        conn.execute(
            text(
                "INSERT INTO conversation (gateway_id, address, last_inbound_at) VALUES (:gateway, :address, :at)"
                " ON CONFLICT (gateway_id, address) DO UPDATE SET last_inbound_at ="
                " CASE WHEN conversation.last_inbound_at IS NULL OR conversation.last_inbound_at < :at"
                " THEN :at ELSE conversation.last_inbound_at END"
            ),
            {"gateway": gateway_id, "address": address, "at": at},
        )


def note_consent(conn: Connection, gateway_id: str, address: str, scope: str, state: str, at: int) -> None:
    """Remember that an address opted out or in; the latest word counts, whatever order words come in."""
    row = conn.execute(
        select(conversation.c.consent).where(conversation.c.gateway_id == gateway_id, conversation.c.address == address)
    ).first()
    consent = orjson.loads(row[0]) if row else {}
    if scope in consent and consent[scope]["at"] > at:
        return
    consent[scope] = {"state": state, "at": at}
    conn.execute(
        text(
            "INSERT INTO conversation (gateway_id, address, consent) VALUES (:gateway, :address, :consent)"
            " ON CONFLICT (gateway_id, address) DO UPDATE SET consent = :consent"
        ),
        {"gateway": gateway_id, "address": address, "consent": orjson.dumps(consent).decode()},
    )


def consent_of(conn: Connection, gateway_id: str, address: str) -> dict[str, str]:
    """What an address said of each scope: `opted_out` or `opted_in`."""
    row = conn.execute(
        select(conversation.c.consent).where(conversation.c.gateway_id == gateway_id, conversation.c.address == address)
    ).first()
    return {scope: entry["state"] for scope, entry in orjson.loads(row[0]).items()} if row else {}


def join_addresses(conn: Connection, gateway_id: str, old: str, new: str) -> None:
    """Carry what is known of one address over to the one that replaces it."""
    row = conn.execute(
        select(conversation.c.last_inbound_at, conversation.c.consent).where(
            conversation.c.gateway_id == gateway_id, conversation.c.address == old
        )
    ).first()
    if row is None:
        return
    if row[0] is not None:
        note_inbound(conn, gateway_id, [new], int(row[0]))
    for scope, entry in orjson.loads(row[1]).items():
        note_consent(conn, gateway_id, new, scope, entry["state"], entry["at"])
