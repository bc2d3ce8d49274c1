"""What the admitting transaction asks and writes: one question and one write for a whole batch.

A batch of which nobody is to be refused takes one statement, which is its own transaction. On PostgreSQL the round
trips of a transaction with several cost more than the work that is done in them; on SQLite the writer's thread waits
for the interpreter lock at each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from waypost.credit import Move
from waypost.store import ledger, messages, steps
from waypost.store.bulk import Insertion, as_json, lite_insert, pg_insert
from waypost.store.driver import is_postgres, run
from waypost.store.keys import STANDING, Standing
from waypost.store.ledger import BALANCE, Balance
from waypost.store.messages import Message
from waypost.store.steps import Step

_KEYS = "FROM api_key k LEFT JOIN app a ON a.id = k.app_id LEFT JOIN organization o ON o.id = a.org_id"
#: The lock is taken in the order of ids, as everywhere, and what it read is what it holds.
_LOCK_POSTGRES = f"""
    WITH locked AS MATERIALIZED (
        SELECT {BALANCE} FROM balance b WHERE b.org_id = ANY($2::text[]) ORDER BY b.org_id FOR UPDATE
    )
    SELECT {STANDING}, {BALANCE} {_KEYS} LEFT JOIN locked b ON b.org_id = o.id WHERE k.id = ANY($1::text[])
"""
#: As one value, because the writer's thread gives the interpreter lock away at every row.
_LOCK_SQLITE = f"""
    SELECT json_group_array(json_array({STANDING}, {BALANCE})) {_KEYS} LEFT JOIN balance b ON b.org_id = o.id
    WHERE k.id IN (SELECT value FROM json_each(?1))
"""
_STANDING_COLUMNS = len(Standing.__dataclass_fields__)


def lock(
    conn: Connection, key_ids: Iterable[str], org_ids: Iterable[str]
) -> tuple[dict[str, Standing], dict[str, Balance]]:
    """How the keys stand, by key id, and the balances of their organizations, kept from everybody else."""
    if is_postgres(conn):
        rows = run(conn, _LOCK_POSTGRES, (sorted(set(key_ids)), sorted(set(org_ids))))
    else:
        rows = orjson.loads(run(conn, _LOCK_SQLITE, (orjson.dumps(list(set(key_ids))).decode(),))[0][0])
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
    """Store all of it in one statement; or nothing, and say False, unless all may be admitted.

    All may if every key, app and organization is good at the last message's creation and all credit suffices.
    """
    wanted = dict.fromkeys((item.org_id for item in new_messages), 0)
    for hold in holds:
        wanted[hold.org_id] += hold.amount
    keys = list(set(key_ids))
    at = max(item.created_at for item in new_messages)
    rows = [as_json(item.rows) for item in _insertions(new_messages, new_steps, holds)]
    if is_postgres(conn):
        spent = as_json(list(wanted.items()))
        return bool(run(conn, _postgres_at_once(), (keys, len(keys), at, list(wanted), spent, *rows))[0][0])
    values = (orjson.dumps(keys).decode(), len(keys), at, as_json(sorted(wanted.items())), *rows)
    try:
        _put_into_admission(conn, values)
    except IntegrityError as error:
        if _REFUSED not in str(error.orig):
            raise
        return False
    return True


def forget_sqlite(conn: Connection) -> None:
    """Take the view `admission` away from a connection: SQLite changes no table that a trigger speaks of."""
    run(conn, "DROP VIEW IF EXISTS temp.admission")


def _put_into_admission(conn: Connection, values: Sequence[Any]) -> None:
    """Put a batch into the view `admission`, whose trigger admits it or refuses it as a whole."""
    statement = "INSERT INTO admission VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    try:
        run(conn, statement, values)
    except OperationalError as error:
        if "no such table: admission" not in str(error.orig):
            raise
        columns = ", ".join(f"NULL AS {name}" for name in _ADMISSION)
        run(conn, f"CREATE TEMP VIEW admission AS SELECT {columns}")
        run(conn, _sqlite_at_once())
        run(conn, statement, values)


def _insertions(
    new_messages: Sequence[Message], new_steps: Sequence[Step], holds: Sequence[Move]
) -> tuple[Insertion, ...]:
    return messages.insertion(new_messages), steps.insertion(new_steps), ledger.insertion(holds)


_GOOD_KEYS = """
    SELECT count(*) FROM api_key k JOIN app a ON a.id = k.app_id JOIN organization o ON o.id = a.org_id
    WHERE {chosen} AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > {at})
        AND a.status = 'active' AND o.status = 'active'
"""

_POSTGRES_AT_ONCE = """
    WITH locked AS MATERIALIZED (
        SELECT org_id, available + credit_limit AS spendable FROM balance
        WHERE org_id = ANY($4::text[]) ORDER BY org_id FOR UPDATE
    ), wanted AS MATERIALIZED (
        SELECT r ->> 0 AS org_id, (r ->> 1)::bigint AS amount FROM jsonb_array_elements($5::text::jsonb) AS r
    ), verdict AS MATERIALIZED (
        SELECT ({good_keys}) = $2::bigint AND NOT EXISTS (
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
def _postgres_at_once() -> str:
    writes = ", ".join(
        f"i{number} AS ({pg_insert(item.table, item.columns, number)} WHERE (SELECT good FROM verdict))"
        for number, item in enumerate(_insertions((), (), ()), 6)
    )
    good_keys = _GOOD_KEYS.format(chosen="k.id = ANY($1::text[])", at="$3")
    return _POSTGRES_AT_ONCE.format(good_keys=good_keys, writes=writes)


_ADMISSION = ("keys", "key_count", "at", "wanted", "messages", "steps", "holds")
_REFUSED = "not all of them can be admitted"
_SQLITE_AT_ONCE = """
    CREATE TEMP TRIGGER admit INSTEAD OF INSERT ON admission BEGIN
        SELECT RAISE(ABORT, '{refused}') WHERE ({good_keys}) <> NEW.key_count OR EXISTS (
            SELECT 1 FROM json_each(NEW.wanted) w LEFT JOIN balance b ON b.org_id = w.value ->> 0
            WHERE b.org_id IS NULL OR b.available + b.credit_limit < w.value ->> 1
        );
        {writes};
        UPDATE balance SET available = available - w.amount, held = held + w.amount
        FROM (SELECT value ->> 0 AS org_id, value ->> 1 AS amount FROM json_each(NEW.wanted)) AS w
        WHERE balance.org_id = w.org_id AND w.amount > 0;
    END
"""


def _sqlite_at_once() -> str:
    sources = zip(_insertions((), (), ()), ("messages", "steps", "holds"), strict=True)
    return _SQLITE_AT_ONCE.format(
        refused=_REFUSED,
        good_keys=_GOOD_KEYS.format(chosen="k.id IN (SELECT value FROM json_each(NEW.keys))", at="NEW.at"),
        writes="; ".join(lite_insert(item.table, item.columns, f"NEW.{source}") for item, source in sources),
    )
