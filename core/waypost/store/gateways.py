"""Gateways and provider apps: the operator's accounts at providers."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from sqlalchemy import ColumnElement, Connection, insert, select, text, update

from waypost.store.tables import gateway, provider_app


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderApp:
    """A row of `provider_app`; `secrets` is sealed."""

    id: str
    name: str
    plugin: str
    settings: str
    secrets: str
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A row of `gateway`; `secrets` is sealed, `rate_per_second` None is unlimited."""

    id: str
    name: str
    plugin: str
    channel: str
    provider_app_id: str | None
    app_id: str | None
    account_ref: str | None
    settings: str
    secrets: str
    senders: tuple[str, ...]
    mode: str
    status: str
    status_reason: str
    rate_per_second: int | None
    concurrency: int
    receipt_window: int
    created_at: int


_GATEWAY = (
    gateway.c.id,
    gateway.c.name,
    gateway.c.plugin,
    gateway.c.channel,
    gateway.c.provider_app_id,
    gateway.c.app_id,
    gateway.c.account_ref,
    gateway.c.settings,
    gateway.c.secrets,
    gateway.c.senders,
    gateway.c.mode,
    gateway.c.status,
    gateway.c.status_reason,
    gateway.c.rate_per_second,
    gateway.c.concurrency,
    gateway.c.receipt_window,
    gateway.c.created_at,
)


def _gateway(row: object) -> Gateway:
    values = dict(row)  # type: ignore[call-overload]
    values["senders"] = tuple(orjson.loads(values["senders"]))
    return Gateway(**values)


def add(conn: Connection, row: Gateway) -> None:
    """Store a new gateway."""
    values = {column.name: getattr(row, column.name) for column in _GATEWAY}
    values["senders"] = orjson.dumps(row.senders).decode()
    conn.execute(insert(gateway).values(values))


def save(conn: Connection, row: Gateway) -> None:
    """Store a gateway's changed fields."""
    values = {column.name: getattr(row, column.name) for column in _GATEWAY if column.name != "id"}
    values["senders"] = orjson.dumps(row.senders).decode()
    conn.execute(update(gateway).where(gateway.c.id == row.id).values(values))


def by_reference(conn: Connection, reference: str, *, locked: bool = False) -> Gateway | None:
    """Find one by id or by name; `locked` lets nobody else change it before this transaction ends."""
    query = select(*_GATEWAY).where((gateway.c.id == reference) | (gateway.c.name == reference))
    rows = conn.execute(query.with_for_update() if locked else query).all()
    found = sorted((_gateway(row._mapping) for row in rows), key=lambda row: row.id != reference)
    return found[0] if found else None


def all_of_them(conn: Connection) -> list[Gateway]:
    """Every gateway, oldest first."""
    return [_gateway(row._mapping) for row in conn.execute(select(*_GATEWAY).order_by(gateway.c.id))]


def set_status(conn: Connection, gateway_id: str, status: str, reason: str) -> bool:
    """Pause, resume or disable a gateway; say whether that changed anything."""
    return _set_status(conn, gateway_id, gateway.c.status != status, status, reason)


def pause_active(conn: Connection, gateway_id: str, reason: str) -> bool:
    """Pause a gateway unless somebody has paused or disabled it; say whether that changed anything."""
    return _set_status(conn, gateway_id, gateway.c.status == "active", "paused", reason)


def _set_status(conn: Connection, gateway_id: str, where: ColumnElement[bool], status: str, reason: str) -> bool:
    changed = conn.execute(
        update(gateway).where(gateway.c.id == gateway_id, where).values(status=status, status_reason=reason)
    )
    return bool(changed.rowcount)


#: Nodes' clocks differ by less than this, in microseconds; more is a clock that was set back.
CLOCKS_DIFFER = 5_000_000


def take_tokens(conn: Connection, gateway_id: str, wanted: int, now: int) -> int:
    """Take up to `wanted` sends out of a gateway's throughput limit, which holds across nodes.

    A token bucket that holds one second's worth; tokens are kept in millionths.
    """
    row = conn.execute(
        text("SELECT rate_per_second, tokens, tokens_at FROM gateway WHERE id = :id" + _for_update(conn)),
        {"id": gateway_id},
    ).first()
    if row is None or row[0] is None:
        return wanted
    rate, tokens, tokens_at = row
    full = rate * 1_000_000
    if tokens_at - now < CLOCKS_DIFFER:
        # What one node has handed out until its now is not handed out again by a slower one.
        now = max(now, tokens_at)
    tokens = min(full, tokens + max(0, now - tokens_at) * rate)
    taken = min(wanted, tokens // 1_000_000)
    conn.execute(
        update(gateway).where(gateway.c.id == gateway_id).values(tokens=tokens - taken * 1_000_000, tokens_at=now)
    )
    return int(taken)


def return_tokens(conn: Connection, gateway_id: str, unused: int) -> None:
    """Give back sends that found nothing to send."""
    conn.execute(
        update(gateway)
        .where(gateway.c.id == gateway_id, gateway.c.rate_per_second.is_not(None))
        .values(tokens=gateway.c.tokens + unused * 1_000_000)
    )


def _for_update(conn: Connection) -> str:
    return " FOR UPDATE" if conn.dialect.name == "postgresql" else ""


def add_provider_app(conn: Connection, row: ProviderApp) -> None:
    """Store a new provider app."""
    conn.execute(
        insert(provider_app).values(
            id=row.id,
            name=row.name,
            plugin=row.plugin,
            settings=row.settings,
            secrets=row.secrets,
            created_at=row.created_at,
        )
    )


def save_provider_app(conn: Connection, row: ProviderApp) -> None:
    """Store a provider app's changed settings."""
    conn.execute(
        update(provider_app).where(provider_app.c.id == row.id).values(settings=row.settings, secrets=row.secrets)
    )


def provider_apps(conn: Connection, *, locked: bool = False) -> list[ProviderApp]:
    """Every provider app, oldest first; `locked` lets nobody else change them before this transaction ends."""
    query = select(provider_app).order_by(provider_app.c.id)
    rows = conn.execute(query.with_for_update() if locked else query)
    return [ProviderApp(**dict(row._mapping)) for row in rows]
