"""What the admitting transaction asks and writes: one question and one write for a whole batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
from sqlalchemy import Connection

from waypost.credit import Move
from waypost.store import ledger, messages, steps
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
