"""Claims: steps of a gateway's queue that one worker has, from the queue to the fence.

A claim has a lease, which ends at `wake_at`, and a new attempt number, by which all that follows is told apart.
`claimed → sending` is a compare-and-set on state, attempt and owner.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from waypost.store.bulk import update_many
from waypost.store.driver import is_postgres
from waypost.store.steps import COLUMNS, Step
from waypost.store.tables import step

_CLAIMED = """
    UPDATE step SET state = 'claimed', attempt = attempt + 1, claims = claims + 1, owner = :owner,
        wake_at = :lease_until
"""
_RETURNING = " RETURNING " + ", ".join(f'step."{column}"' for column in COLUMNS)
# The CTE is a fence: without it the planner may run the limited scan again for each row and claim too many.
_PG_CLAIM = text(
    """
    WITH picked AS MATERIALIZED (
        SELECT s.message_id, s.step_no FROM unnest(CAST(:apps AS text[])) AS a(app_id) CROSS JOIN LATERAL (
            SELECT message_id, step_no FROM step
            WHERE state = 'queued' AND gateway_id = :gateway AND app_id = a.app_id AND due_at <= :now
            ORDER BY due_at LIMIT :per_app FOR UPDATE SKIP LOCKED) s)
    """
    + _CLAIMED
    + " FROM picked WHERE step.message_id = picked.message_id AND step.step_no = picked.step_no"
    + _RETURNING
)
_LITE_CLAIM = text(
    _CLAIMED
    + """
    WHERE (message_id, step_no) IN (
        SELECT message_id, step_no FROM step
        WHERE state = 'queued' AND gateway_id = :gateway AND app_id = :app AND due_at <= :now
        ORDER BY due_at LIMIT :per_app)
    """
    + _RETURNING
)


def waiting_apps(conn: Connection, gateway_id: str, after: str, limit: int, now: int) -> list[str]:
    """Apps with something due in a gateway's queue, by id, beginning after one: the round that keeps a lane fair.

    A loose index scan: one probe per app, however long the queue. `n` counts the apps found to have something due, so
    that those which only have something for later use up nobody's turn.
    """
    rows = conn.execute(
        text(
            """
            WITH RECURSIVE round(app_id, n) AS (
                SELECT (SELECT MIN(app_id) FROM step
                        WHERE state = 'queued' AND gateway_id = :gateway AND app_id > :after), 0
                UNION ALL
                SELECT (SELECT MIN(app_id) FROM step
                        WHERE state = 'queued' AND gateway_id = :gateway AND app_id > round.app_id),
                    n + CASE WHEN EXISTS (
                        SELECT 1 FROM step WHERE state = 'queued' AND gateway_id = :gateway AND app_id = round.app_id
                        AND due_at <= :now) THEN 1 ELSE 0 END
                FROM round WHERE round.app_id IS NOT NULL AND n < :limit
            )
            SELECT app_id FROM round
            WHERE app_id IS NOT NULL AND n < :limit AND EXISTS (
                SELECT 1 FROM step WHERE state = 'queued' AND gateway_id = :gateway AND app_id = round.app_id
                AND due_at <= :now)
            """
        ),
        {"gateway": gateway_id, "after": after, "limit": limit, "now": now},
    )
    return [row[0] for row in rows]


def claim(
    conn: Connection, gateway_id: str, app_ids: Sequence[str], per_app: int, owner: str, now: int, lease_until: int
) -> list[Step]:
    """Claim up to `per_app` due steps of each app, oldest due first; each claim has a new attempt number."""
    if not app_ids:
        return []
    parameters = {
        "owner": owner,
        "lease_until": lease_until,
        "gateway": gateway_id,
        "now": now,
        "per_app": per_app,
    }
    if is_postgres(conn):
        rows = conn.execute(_PG_CLAIM, parameters | {"apps": list(app_ids)})
        return [Step(*row) for row in rows]
    return [Step(*row) for app_id in app_ids for row in conn.execute(_LITE_CLAIM, parameters | {"app": app_id})]


def begin_sending(conn: Connection, claimed: Sequence[Step], owner: str, lease_until: int) -> set[tuple[str, int]]:
    """The fence: turn claims into sends where they still are this owner's; return those that are.

    Nothing may be sent for the others. `claims` counts from here anew: it is about claims that came to nothing.
    """
    won = update_many(
        conn,
        step,
        where=("message_id", "step_no", "attempt", "state", "owner"),
        values=("state", "status", "wake_at", "claims"),
        rows=[
            (row.message_id, row.step_no, row.attempt, "claimed", owner, "sending", "SENDING", lease_until, 0)
            for row in claimed
        ],
    )
    return {(row[0], row[1]) for row in won}


def give_back(conn: Connection, claimed: Sequence[Step], owner: str) -> None:
    """Queue claims again that are not to be sent now after all."""
    update_many(
        conn,
        step,
        where=("message_id", "step_no", "attempt", "state", "owner"),
        values=("state", "owner", "wake_at", "claims"),
        rows=[
            (row.message_id, row.step_no, row.attempt, "claimed", owner, "queued", None, row.deadline, row.claims - 1)
            for row in claimed
        ],
    )


def orphan_claims(conn: Connection, owner: str, now: int) -> int:
    """End every lease that is not this owner's: only where no other owner can be alive. Return how many."""
    ended = conn.execute(
        text(
            "UPDATE step SET wake_at = :now WHERE state IN ('claimed', 'sending') AND owner <> :owner"
            " AND wake_at IS NOT NULL"
        ),
        {"now": now, "owner": owner},
    )
    return int(ended.rowcount)


def release_claims(conn: Connection, owner: str) -> int:
    """Give back what an owner claimed and did not begin to send, as when it stops."""
    released = conn.execute(
        text(
            "UPDATE step SET state = 'queued', owner = NULL, wake_at = deadline, claims = claims - 1"
            " WHERE state = 'claimed' AND owner = :owner AND wake_at IS NOT NULL"
        ),
        {"owner": owner},
    )
    return int(released.rowcount)
