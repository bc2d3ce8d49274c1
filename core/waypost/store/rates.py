"""Rate cards and routes: what operators decide about price and way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, delete, func, insert, select, text

from waypost.store.bulk import insert_many
from waypost.store.tables import rate, revision, route


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A row of `rate`: the price in micros of one unit of a sku, from `valid_from` on, to the longest prefix."""

    id: str
    gateway_id: str
    currency: str
    prefix: str
    sku: str
    price: int
    cost: int | None
    cost_currency: str | None
    valid_from: int
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A row of `route`: an app's channel (to a destination prefix) → gateways in order, and a sender."""

    id: str
    app_id: str
    channel: str
    prefix: str
    gateway_ids: tuple[str, ...]
    sender: str | None
    created_at: int


def add_rate(conn: Connection, row: Rate) -> None:
    """Store a new rate. Rates are never changed: a new one with a later `valid_from` takes over."""
    conn.execute(insert(rate).values({column.name: getattr(row, column.name) for column in rate.c}))


def add_rates(conn: Connection, rows: Sequence[Rate]) -> None:
    """Store many new rates at once."""
    columns = tuple(column.name for column in rate.c)
    insert_many(conn, rate, columns, [tuple(getattr(row, column) for column in columns) for row in rows])


def all_rates(conn: Connection) -> list[Rate]:
    """Every rate, oldest first."""
    return [Rate(**dict(row._mapping)) for row in conn.execute(select(rate).order_by(rate.c.id))]


def mark(conn: Connection) -> tuple[int, str]:
    """How many rates there are, and the latest id. They are only ever added: with the same mark they are the same."""
    count, latest = conn.execute(select(func.count(), func.max(rate.c.id)).select_from(rate)).one()
    return int(count), latest or ""


def priced(conn: Connection, now: int) -> set[tuple[str, str]]:
    """The gateways and currencies (of each pair) for which any rate is valid at `now`."""
    found = conn.execute(select(rate.c.gateway_id, rate.c.currency).where(rate.c.valid_from <= now).distinct())
    return {(gateway_id, currency) for gateway_id, currency in found}


def put_route(conn: Connection, row: Route) -> None:
    """Store a route in place of the one for the same app, channel and prefix."""
    conn.execute(
        delete(route).where(route.c.app_id == row.app_id, route.c.channel == row.channel, route.c.prefix == row.prefix)
    )
    values = {column.name: getattr(row, column.name) for column in route.c}
    values["gateway_ids"] = orjson.dumps(row.gateway_ids).decode()
    conn.execute(insert(route).values(values))


def delete_route(conn: Connection, app_id: str, channel: str, prefix: str) -> bool:
    """Remove an app's route; say whether there was one."""
    removed = conn.execute(
        delete(route).where(route.c.app_id == app_id, route.c.channel == channel, route.c.prefix == prefix)
    )
    return bool(removed.rowcount)


def all_routes(conn: Connection) -> list[Route]:
    """Every route, oldest first."""
    found = []
    for row in conn.execute(select(route).order_by(route.c.id)):
        values = dict(row._mapping)
        values["gateway_ids"] = tuple(orjson.loads(values["gateway_ids"]))
        found.append(Route(**values))
    return found


def current_revision(conn: Connection) -> int:
    """The number of the last change to what nodes keep in memory."""
    return int(conn.execute(select(revision.c.number).where(revision.c.id == 1)).scalar() or 0)


def raise_revision(conn: Connection) -> None:
    """Tell every node to read its directory again."""
    conn.execute(
        text(
            "INSERT INTO revision (id, number) VALUES (1, 1)"
            " ON CONFLICT (id) DO UPDATE SET number = revision.number + 1"
        )
    )
