"""What waits in the queues of gateways that do not serve it, and could go on through others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, text

from waypost.store import messages
from waypost.store.bulk import in_keys, keys, update_many
from waypost.store.driver import is_postgres
from waypost.store.steps import SELECTED, Step
from waypost.store.tables import step

#: The gateways of a step's choices.
_WAYS_POSTGRES = "SELECT way ->> 0 AS gateway_id FROM jsonb_array_elements(CAST(s.choices AS jsonb)) AS c(way)"
_WAYS_SQLITE = "SELECT c.value ->> 0 AS gateway_id FROM json_each(s.choices) AS c"


def stranded(
    conn: Connection, gateway_ids: Iterable[str], usable: Iterable[str], now: int, limit: int, *, patience: int
) -> list[Step]:
    """Due steps in these gateways' queues that may go on through one of the usable gateways.

    Not those of which an earlier attempt may be out: its provider alone would notice the second one. What has come from
    another gateway has its chance here for so many microseconds first: another node may just have moved it.
    """
    ways = _WAYS_POSTGRES if is_postgres(conn) else _WAYS_SQLITE
    rows = conn.execute(
        text(
            f"SELECT {', '.join(SELECTED)} FROM step s WHERE s.state = 'queued'"
            f" AND {in_keys(conn, 's.gateway_id', 'gateways')} AND s.window_until IS NULL"
            " AND s.due_at <= :now AND (s.attempt = 0 OR s.tries > 0 OR s.due_at <= :waited)"
            f" AND EXISTS (SELECT 1 FROM ({ways}) AS w WHERE {in_keys(conn, 'w.gateway_id', 'usable')}) LIMIT :limit"
        ),
        {
            "gateways": keys(conn, gateway_ids),
            "now": now,
            "waited": now - patience,
            "usable": keys(conn, usable),
            "limit": limit,
        },
    )
    return [Step(*row) for row in rows]


def claim_stranded(conn: Connection, found: Sequence[Step], owner: str, lease_until: int) -> list[Step]:
    """Claim those of these steps that still wait as they did; each claim has a new attempt number."""
    messages.lock_many(conn, {row.message_id for row in found})
    won = update_many(
        conn,
        step,
        where=("message_id", "step_no", "attempt", "state"),
        values=("state", "attempt", "claims", "owner", "wake_at"),
        rows=[
            (row.message_id, row.step_no, row.attempt, "queued", "claimed", row.attempt + 1, row.claims + 1, owner,
             lease_until)
            for row in found
        ],
    )  # fmt: skip
    claimed = {(row[0], row[1]) for row in won}
    return [
        replace(row, state="claimed", attempt=row.attempt + 1, claims=row.claims + 1, owner=owner, wake_at=lease_until)
        for row in found
        if (row.message_id, row.step_no) in claimed
    ]
