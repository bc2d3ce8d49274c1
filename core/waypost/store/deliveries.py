"""Deliveries: what providers posted to us, raw, before anything is made of it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import orjson
from sqlalchemy import Connection, func, select, text, update

from waypost.plugin.types import WebhookRequest
from waypost.store.bulk import Insertion, insert_many, update_many, write_together
from waypost.store.driver import run_by
from waypost.store.tables import delivery

#: So many bytes of stored deliveries are held in memory at a time, about.
MOST_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A verified delivery. `gateway_id` is None where a provider app's secret proved it, and not a gateway's.

    `also` are further gateways that the same delivery was verified for, on a URL that they share.
    `tries` says how many processes began to read it after the one that had stored it.
    """

    id: str
    plugin: str
    gateway_id: str | None
    provider_app_id: str | None
    request: WebhookRequest
    received_at: int
    also: tuple[str, ...] = ()
    tries: int = 0


_COLUMNS = (
    "id", "plugin", "gateway_id", "also", "provider_app_id", "method", "url", "headers", "body", "encoding",
    "received_at", "state", "problem",
)  # fmt: skip
#: Headers that are not kept: they hold nothing a parser needs, and may hold a secret.
_DROPPED = frozenset({"authorization", "cookie", "proxy-authorization"})


def add_many(conn: Connection, rows: Sequence[Delivery]) -> None:
    """Store deliveries as they came, to be parsed and applied later."""
    insert_many(conn, delivery, _COLUMNS, [(*_row(row), "stored", "") for row in rows])


def add_read(conn: Connection, rows: Iterable[tuple[Delivery, str]]) -> None:
    """Store deliveries that are applied in this very transaction, each with its parser's problem if there was one."""
    write_together(conn, [read_insertion(rows)])


def read_insertion(rows: Iterable[tuple[Delivery, str]]) -> Insertion:
    """What `add_read` stores."""
    read = [(*_row(row), "failed" if problem else "applied", problem) for row, problem in rows]
    return Insertion(delivery, _COLUMNS, read)


def _row(row: Delivery) -> tuple[Any, ...]:
    body, encoding = _encode(row.request.body)
    headers = [pair for pair in row.request.headers if pair[0] not in _DROPPED]
    return (
        row.id,
        row.plugin,
        row.gateway_id,
        " ".join(row.also),
        row.provider_app_id,
        row.request.method,
        row.request.url,
        orjson.dumps(headers).decode(),
        body,
        encoding,
        row.received_at,
    )


def _encode(body: bytes) -> tuple[str, str]:
    """Bytes as text that both databases take: UTF-8 as it is, anything else (and NUL) as base64."""
    try:
        decoded = body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"
    return (base64.b64encode(body).decode(), "base64") if "\0" in decoded else (decoded, "text")


def set_applied(conn: Connection, ids: Sequence[str]) -> None:
    """Say that what these held has been applied."""
    if ids:
        run_by(conn, "UPDATE delivery SET state = 'applied', problem = '' WHERE id {}", ids)


def count_try(conn: Connection, ids: Sequence[str]) -> None:
    """Say that one more process is about to read these, which may be the end of it."""
    run_by(conn, "UPDATE delivery SET tries = tries + 1 WHERE id {}", ids)


def uncount_try(conn: Connection, ids: Sequence[str]) -> None:
    """Say that the process outlived it, though these may still not be applied."""
    run_by(conn, "UPDATE delivery SET tries = tries - 1 WHERE state = 'stored' AND id {}", ids)


def set_failed(conn: Connection, delivery_id: str, problem: str) -> None:
    """Say that the parser failed on this one; it can be parsed again after a plugin fix."""
    update_many(conn, delivery, where=("id",), values=("state", "problem"), rows=[(delivery_id, "failed", problem)])


def stored_before(
    conn: Connection, before: int, plugins: Iterable[str], limit: int, most_bytes: int = MOST_BYTES
) -> list[Delivery]:
    """Deliveries for these plugins, stored before then and not applied yet: those a killed node left behind.

    As many as have about `most_bytes` together, and one at least.
    """
    sizes = conn.execute(
        select(delivery.c.id, func.length(delivery.c.body))
        .where(
            text("state = 'stored'"),  # as a literal, so that the partial index serves
            delivery.c.plugin.in_(sorted(plugins)),
            delivery.c.received_at < before,
        )
        .order_by(delivery.c.id)
        .limit(limit)
    ).all()
    totals = accumulate(size for _, size in sizes)
    ids = [row[0] for row, total in zip(sizes, totals, strict=True) if total <= most_bytes] or [
        row[0] for row in sizes[:1]
    ]
    rows = conn.execute(select(delivery).where(delivery.c.id.in_(ids)).order_by(delivery.c.id))
    return [_delivery(row._mapping) for row in rows]


def queue_again(conn: Connection, plugin: str) -> int:
    """Let nodes parse once more what a plugin's parser failed on; return how many there are."""
    queued = conn.execute(
        update(delivery)
        .where(text("state = 'failed'"), delivery.c.plugin == plugin)
        .values(state="stored", problem="", tries=0)
    )
    return int(queued.rowcount)


def _delivery(row: Any) -> Delivery:
    body = base64.b64decode(row["body"]) if row["encoding"] == "base64" else row["body"].encode()
    from urllib.parse import parse_qsl, urlsplit

    query = tuple(parse_qsl(urlsplit(row["url"]).query, keep_blank_values=True))
    return Delivery(
        id=row["id"],
        plugin=row["plugin"],
        gateway_id=row["gateway_id"],
        also=tuple(row["also"].split()),
        provider_app_id=row["provider_app_id"],
        request=WebhookRequest(
            method=row["method"],
            url=row["url"],
            headers=tuple((name, value) for name, value in orjson.loads(row["headers"])),
            query=query,
            body=body,
        ),
        received_at=row["received_at"],
        tries=row["tries"],
    )
