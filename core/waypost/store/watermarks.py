"""Watermarks: until when what a gateway sent to an address is known to have been sent, delivered or read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from waypost.store.driver import rows_by


@dataclass(frozen=True, slots=True)
class Watermark:
    """The latest word that covers everything to an address until then; `address` is as `receipts` writes it."""

    gateway_id: str
    address: str
    status: str
    until: int
    event_id: str
    occurred_at: int | None


def of_addresses(conn: Connection, pairs: Iterable[tuple[str, str]]) -> list[Watermark]:
    """What is known of these (gateway, address)."""
    wanted = set(pairs)
    rows = rows_by(
        conn,
        ("gateway_id", "address", "status", '"until"', "event_id", "occurred_at"),
        "FROM watermark WHERE gateway_id {} AND address {}",
        {gateway for gateway, _ in wanted},
        {address for _, address in wanted},
    )
    return [found for found in (Watermark(*row) for row in rows) if (found.gateway_id, found.address) in wanted]


def note(conn: Connection, found: Iterable[Watermark]) -> None:
    """Remember these where they are later than what is known."""
    rows = sorted(found, key=lambda item: (item.gateway_id, item.address, item.status))
    if rows:
        conn.execute(
            _NOTE,
            [
                {
                    "gateway": row.gateway_id,
                    "address": row.address,
                    "status": row.status,
                    "until": row.until,
                    "event": row.event_id,
                    "occurred": row.occurred_at,
                }
                for row in rows
            ],
        )


_NOTE = text("""
    INSERT INTO watermark (gateway_id, address, status, "until", event_id, occurred_at)
    VALUES (:gateway, :address, :status, :until, :event, :occurred)
    ON CONFLICT (gateway_id, address, status) DO UPDATE
    SET "until" = excluded."until", event_id = excluded.event_id, occurred_at = excluded.occurred_at
    WHERE excluded."until" > watermark."until"
""")
