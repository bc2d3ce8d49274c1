"""Messages: one row each, and the page that a partner reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, func, select, text

from waypost.store.bulk import Update, in_keys, keys, update_many
from waypost.store.driver import is_postgres, rows_by
from waypost.store.tables import message


# Not frozen: a frozen dataclass costs three times as much to make, and this one is made for every request.
@dataclass(slots=True, kw_only=True)
class Message:
    """A row of `message`. `recipient` is what the partner wrote; `addresses` are the normal forms, as JSON."""

    id: str
    org_id: str
    app_id: str
    key_id: str
    channel: str
    status: str
    recipient: str
    addresses: str
    sender: str | None
    content: str
    options: str
    currency: str
    held: int
    captured: int = 0
    mode: str = "live"
    error_code: str | None = None
    error_detail: str | None = None
    contradictory: bool = False
    possible_duplicate: bool = False
    request_id: str | None = None
    created_at: int
    updated_at: int
    deadline: int
    settled_at: int | None = None

    @property
    def cost(self) -> int:
        """What it costs, in micros: what was held until it is settled, what was captured from then on."""
        return self.held if self.settled_at is None else self.captured


@dataclass(slots=True)
class Outcome:
    """What became of a message so far: the part of its row that evidence changes, and whose it is."""

    id: str
    org_id: str
    app_id: str
    mode: str
    status: str
    captured: int
    settled_at: int | None
    error_code: str | None
    error_detail: str | None
    contradictory: bool
    possible_duplicate: bool


_OUTCOME = tuple(Outcome.__dataclass_fields__)
_CHANGING = _OUTCOME[4:]
_changed_row = attrgetter(*_CHANGING)


def saving(rows: Sequence[Outcome], now: int) -> Update:
    """What changed in messages; the caller holds their locks."""
    return Update(message, ("id",), (*_CHANGING, "updated_at"), [(row.id, *_changed_row(row), now) for row in rows])


def mark_sending(conn: Connection, ids: Iterable[str], now: int) -> None:
    """Show that these messages are being sent, where nothing further is known yet."""
    update_many(
        conn,
        message,
        where=("id", "status"),
        values=("status", "updated_at"),
        rows=[(message_id, "QUEUED", "SENDING", now) for message_id in ids],
    )


def get(conn: Connection, message_id: str, app_id: str | None = None) -> Message | None:
    """A message; only the app's own where an app is named."""
    statement = select(message).where(message.c.id == message_id)
    if app_id is not None:
        statement = statement.where(message.c.app_id == app_id)
    row = conn.execute(statement).first()
    return _message(row._mapping) if row else None


def get_many(conn: Connection, ids: Iterable[str]) -> dict[str, Message]:
    """Messages by id."""
    rows = conn.execute(select(message).where(text(in_keys(conn, "message.id", "ids"))), {"ids": keys(conn, ids)})
    return {row.id: _message(row._mapping) for row in rows}


def lock_many(conn: Connection, ids: Iterable[str]) -> dict[str, Outcome]:
    """What became of these messages, kept from everybody else until the transaction ends.

    It is the lock under which statuses change.
    """
    lock = " FOR UPDATE" if is_postgres(conn) else ""
    rows = rows_by(conn, _OUTCOME, f"FROM message WHERE id {{}} ORDER BY id{lock}", sorted(set(ids)))
    return {row[0]: _outcome(*row) for row in rows}


def _outcome(*values: Any) -> Outcome:
    found = Outcome(*values)
    # SQLite has no booleans of its own.
    found.contradictory, found.possible_duplicate = bool(found.contradictory), bool(found.possible_duplicate)
    return found


def statuses(conn: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The statuses of these messages."""
    rows = conn.execute(
        text(f"SELECT id, status FROM message WHERE {in_keys(conn, 'id', 'ids')}"),
        {"ids": keys(conn, ids)},
    )
    return {row[0]: row[1] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a partner's list may be narrowed to; times are microseconds UTC, `until` exclusive."""

    app_id: str
    channel: str | None = None
    status: str | None = None
    recipient: str | None = None
    since: int | None = None
    until: int | None = None


def page(conn: Connection, wanted: Filter, offset: int, limit: int) -> tuple[list[Message], int]:
    """One page of an app's messages, newest first, and how many there are in all."""
    conditions = [message.c.app_id == wanted.app_id]
    if wanted.channel is not None:
        conditions.append(message.c.channel == wanted.channel)
    if wanted.status is not None:
        conditions.append(message.c.status == wanted.status)
    if wanted.recipient is not None:
        conditions.append(message.c.recipient == wanted.recipient)
    if wanted.since is not None:
        conditions.append(message.c.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(message.c.created_at < wanted.until)
    rows = conn.execute(select(message).where(*conditions).order_by(message.c.id.desc()).offset(offset).limit(limit))
    total = conn.execute(select(func.count()).select_from(message).where(*conditions)).scalar_one()
    return [_message(row._mapping) for row in rows], int(total)


def newest(
    conn: Connection,
    limit: int,
    *,
    org_id: str | None = None,
    app_id: str | None = None,
    channel: str | None = None,
    status: str | None = None,
    before: str | None = None,
) -> list[Message]:
    """The newest messages of all apps, or of those named, newest first; `before` is the id to go on from."""
    wanted = {"org_id": org_id, "app_id": app_id, "channel": channel, "status": status}
    conditions = [message.c[column] == value for column, value in wanted.items() if value is not None]
    if before is not None:
        conditions.append(message.c.id < before)
    rows = conn.execute(select(message).where(*conditions).order_by(message.c.id.desc()).limit(limit))
    return [_message(row._mapping) for row in rows]


def counts_by_status(conn: Connection) -> dict[str, int]:
    """How many messages there are in each status."""
    rows = conn.execute(select(message.c.status, func.count()).group_by(message.c.status))
    return {row[0]: int(row[1]) for row in rows}


def _message(row: object) -> Message:
    values = dict(row)  # type: ignore[call-overload]
    values["contradictory"] = bool(values["contradictory"])
    values["possible_duplicate"] = bool(values["possible_duplicate"])
    return Message(**values)
