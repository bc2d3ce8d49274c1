"""What the admitting transaction asks and writes: one question and one write for a whole batch.

On PostgreSQL a batch of which nobody is to be refused takes one statement, which is its own transaction: the round
trips of a transaction with several cost more than the work that is done in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import orjson
from sqlalchemy import Connection

from waypost.credit import Move
from waypost.store import ledger, messages, steps
from waypost.store.bulk import as_json, pg_insert
from waypost.store.driver import is_postgres, run
from waypost.store.keys import STANDING, Standing
from waypost.store.ledger import BALANCE, Balance
from waypost.store.messages import Message
from waypost.store.steps import Step

_KEYS = "FROM api_key k LEFT JOIN app a ON a.id = k.app_id LEFT JOIN organization o ON o.id = a.org_id"
#: The lock is taken in the order of ids, as everywhere, and what it read is what it holds.
_POSTGRES = f"""
    WITH locked AS MATERIALIZED (
        SELECT {BALANCE} FROM balance b WHERE b.org_id = ANY($2::text[]) ORDER BY b.org_id FOR UPDATE
    )
    SELECT {STANDING}, {BALANCE} {_KEYS} LEFT JOIN locked b ON b.org_id = o.id WHERE k.id = ANY($1::text[])
"""
#: As one value, because the writer's thread gives the interpreter lock away at every row.
_SQLITE = f"""
    SELECT json_group_array(json_array({STANDING}, {BALANCE})) {_KEYS} LEFT JOIN balance b ON b.org_id = o.id
    WHERE k.id IN (SELECT value FROM json_each(?1))
"""
_STANDING_COLUMNS = len(Standing.__dataclass_fields__)


def lock(
    conn: Connection, key_ids: Iterable[str], org_ids: Iterable[str]
) -> tuple[dict[str, Standing], dict[str, Balance]]:
    """How the keys stand, by key id, and the balances of their organizations, kept from everybody else."""
    if is_postgres(conn):
        rows = run(conn, _POSTGRES, (sorted(set(key_ids)), sorted(set(org_ids))))
    else:
        rows = orjson.loads(run(conn, _SQLITE, (orjson.dumps(list(set(key_ids))).decode(),))[0][0])
    standings: dict[str, Standing] = {}
    balances: dict[str, Balance] = {}
    for row in rows:
        standings[row[0]] = Standing(*row[:_STANDING_COLUMNS])
        org_id = row[_STANDING_COLUMNS]
        if org_id is not None and org_id not in balances:
            balances[org_id] = Balance(*row[_STANDING_COLUMNS:])
    return standings, balances


def write(
    conn: Connection,
    new_messages: Sequence[Message],
    new_steps: Sequence[Step],
    holds: Sequence[Move],
    balances: dict[str, Balance],
) -> None:
    """Store admitted messages with their steps and holds. Raises `IntegrityError` where credit would be overdrawn."""
    ledger.post(conn, holds, balances, beside=[messages.insertion(new_messages), steps.insertion(new_steps)])


def write_at_once(
    conn: Connection,
    key_ids: Iterable[str],
    new_messages: Sequence[Message],
    new_steps: Sequence[Step],
    holds: Sequence[Move],
) -> bool:
    """Store all of it on PostgreSQL in one statement; or nothing, and say False, unless all may be admitted.

    All may if every key, app and organization is good at the last message's creation and all credit suffices.
    """
    wanted = dict.fromkeys((item.org_id for item in new_messages), 0)
    for hold in holds:
        wanted[hold.org_id] += hold.amount
    keys = list(set(key_ids))
    insertions = (messages.insertion(new_messages), steps.insertion(new_steps), ledger.insertion(holds))
    parameters = [
        keys,
        len(keys),
        max(item.created_at for item in new_messages),
        list(wanted),
        as_json(list(wanted.items())),
        *(as_json(item.rows) for item in insertions),
    ]
    return bool(run(conn, _at_once(), parameters)[0][0])


_AT_ONCE = """
    WITH locked AS MATERIALIZED (
        SELECT org_id, available + credit_limit AS spendable FROM balance
        WHERE org_id = ANY($4::text[]) ORDER BY org_id FOR UPDATE
    ), wanted AS MATERIALIZED (
        SELECT r ->> 0 AS org_id, (r ->> 1)::bigint AS amount FROM jsonb_array_elements($5::text::jsonb) AS r
    ), verdict AS MATERIALIZED (
        SELECT (
            SELECT count(*) FROM api_key k JOIN app a ON a.id = k.app_id JOIN organization o ON o.id = a.org_id
            WHERE k.id = ANY($1::text[]) AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $3)
                AND a.status = 'active' AND o.status = 'active'
        ) = $2::bigint AND NOT EXISTS (
            SELECT FROM wanted w LEFT JOIN locked l ON l.org_id = w.org_id
            WHERE l.org_id IS NULL OR l.spendable < w.amount
        ) AS good
    ), {writes}, spent AS (
        UPDATE balance AS b SET available = b.available - w.amount, held = b.held + w.amount FROM wanted w
        WHERE b.org_id = ANY($4::text[]) AND b.org_id = w.org_id AND w.amount > 0 AND (SELECT good FROM verdict)
    )
    SELECT good FROM verdict
"""


@cache
def _at_once() -> str:
    insertions = (messages.insertion(()), steps.insertion(()), ledger.insertion(()))
    writes = ", ".join(
        f"i{number} AS ({pg_insert(item.table, item.columns, number)} WHERE (SELECT good FROM verdict))"
        for number, item in enumerate(insertions, 6)
    )
    return _AT_ONCE.format(writes=writes)
