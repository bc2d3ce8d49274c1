"""What the admitting transaction asks and writes: one question and one write for a whole batch.

A batch of which nobody is to be refused takes one statement, which is its own transaction. On PostgreSQL the round
trips of a transaction with several cost more than the work that is done in them; on SQLite the writer's thread waits
for the interpreter lock at each.

The statement takes one row a step, which becomes a step, its hold, and for the first step the message and its
idempotency key. PostgreSQL reads the rows out of one JSON text. SQLite takes them as bound values, each row through a
trigger on a temporary view: reading JSON would cost it as much again as storing what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from waypost.ids import new_id
from waypost.store.bulk import as_json
from waypost.store.driver import is_postgres, run
from waypost.store.keys import STANDING, Standing
from waypost.store.ledger import BALANCE, Balance
from waypost.store.messages import Message
from waypost.store.steps import NewStep
from waypost.store.views import View, put_into

#: One step to be stored, in the order of `_COLUMNS`.
Row = tuple[Any, ...]

_COLUMNS = (
    "id", "step_no", "org_id", "app_id", "key_id", "channel", "recipient", "addresses", "sender", "content", "options",
    "currency", "held", "mode", "request_id", "at", "deadline", "gateway_id", "choices", "step_held", "entry_id",
    "step_content", "until", "after", "idempotency_key", "fingerprint",
)  # fmt: skip
_NUMBERS = frozenset({"step_no", "held", "at", "deadline", "step_held", "after"})
#: What a batch is checked by on SQLite, in a row of its own.
_CHECK = ("keys", "apps", "orgs", "latest", "wanted")
_ORG, _STEP_HELD = _COLUMNS.index("org_id"), _COLUMNS.index("step_held")
#: As many rows as one statement of SQLite's takes; with its parameters well below SQLite's own limit.
MAX_ROWS = 1024
#: Statements are made for these numbers of rows and filled up with empty ones, so that few need to be compiled.
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, MAX_ROWS)

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


def first_row(message: Message, step: NewStep, idempotency_key: str | None, fingerprint: str) -> Row:
    """The row of a message with its first step."""
    return (
        message.id, 1, message.org_id, message.app_id, message.key_id, step.channel, message.recipient,
        message.addresses, message.sender, message.content, message.options, message.currency, message.held,
        message.mode, message.request_id, message.created_at, message.deadline, step.gateway_id, step.choices,
        step.held, new_id("ent"), step.content, step.until, step.after, idempotency_key, fingerprint,
    )  # fmt: skip


def further_row(message: Message, step_no: int, step: NewStep) -> Row:
    """The row of a further step, of which the message's own columns are left empty."""
    return (
        message.id, step_no, message.org_id, message.app_id, None, step.channel, None, None, None, None, None, None,
        None, None, None, message.created_at, message.deadline, step.gateway_id, step.choices, step.held,
        new_id("ent"), step.content, step.until, step.after, None, None,
    )  # fmt: skip


def without_key(row: Row) -> Row:
    """The row of a step whose idempotency key is stored already."""
    return (*row[:-2], None, None)


@dataclass(frozen=True, slots=True)
class Callers:
    """On whose good standing a batch depends: ids of keys, of the apps they are of, and of the apps' organizations."""

    keys: frozenset[str] = frozenset()
    apps: frozenset[str] = frozenset()
    orgs: frozenset[str] = frozenset()

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Callers:
        """Those who want these messages sent."""
        return cls(
            frozenset([message.key_id for message in messages]),
            frozenset([message.app_id for message in messages]),
            frozenset([message.org_id for message in messages]),
        )


def write(conn: Connection, rows: Sequence[Row], callers: Callers, at: int) -> bool:
    """Store all of it in one statement; or nothing, and say False, unless all may be admitted.

    All may if each of these callers is good at that time, all credit suffices, and no idempotency key was used before.
    """
    wanted: dict[str, int] = {}
    for row in rows:
        org_id = row[_ORG]
        wanted[org_id] = wanted.get(org_id, 0) + row[_STEP_HELD]
    standing = (callers.keys, callers.apps, callers.orgs)
    try:
        if is_postgres(conn):
            lists = (",".join(ids) for ids in (*standing, wanted))
            parameters = (*lists, at, as_json(list(wanted.items())), as_json(rows))
            return bool(run(conn, _POSTGRES, parameters)[0][0])
        check = (*(orjson.dumps(list(ids)).decode() for ids in standing), at, as_json(sorted(wanted.items())))
        _put_into_admission(conn, check, rows)
    except IntegrityError as error:
        if _is_refusal(error):
            return False
        raise
    return True


def _is_refusal(error: IntegrityError) -> bool:
    """Whether it says that not all may be admitted, or that an idempotency key was used before.

    PostgreSQL checks a row against its constraints before it finds that somebody else has changed it meanwhile: who had
    their credit topped up while the statement waited for them was not short of it.
    """
    said = str(error.orig)  # not looked through: PostgreSQL repeats rows in it
    constraint = getattr(error.orig, "constraint_name", None)
    table = getattr(error.orig, "table_name", None)
    return (
        table == "idempotency"
        or constraint == "ck_balance_credit_limit"
        or said == _REFUSED
        or said.startswith("UNIQUE constraint failed: idempotency.")
    )


def _put_into_admission(conn: Connection, check: Row, rows: Sequence[Row]) -> None:
    """Put a batch into the view `admission`, whose triggers admit it or refuse it as a whole."""
    size = next(size for size in _SIZES if size >= len(rows))
    values = [*check, *chain.from_iterable(rows), *(None,) * ((size - len(rows)) * len(_COLUMNS))]
    put_into(conn, _ADMISSION, _into_admission(size), values)


@lru_cache(maxsize=len(_SIZES))
def _into_admission(size: int) -> str:
    """A row that is checked and then the steps; the check has no columns of a step, a step none of the check's."""
    nothing = ", ".join("NULL" for _ in _COLUMNS)
    bound = ", ".join("?" for _ in _COLUMNS)
    checks = ", ".join("?" for _ in _CHECK)
    unchecked = ", ".join("NULL" for _ in _CHECK)
    steps = ", ".join([f"({unchecked}, {bound})"] * size)
    return f"INSERT INTO admission VALUES ({checks}, {nothing}), {steps}"


#: One question a table, each by its key. As a join it would be planned anew by what the tables are thought to hold, and
#: a table that nobody has analyzed yet is thought to be nearly empty.
_GOOD = """
    (
        SELECT count(*) FROM api_key
        WHERE id {is_key} AND app_id {is_app} AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {at})
    ) = {keys}
    AND (SELECT count(*) FROM app WHERE id {is_app} AND org_id {is_org} AND status = 'active') = {apps}
    AND (SELECT count(*) FROM organization WHERE id {is_org} AND status = 'active') = {orgs}
"""
#: What is stored of a row: table → column → what it is made of, `{name}` being the row's; and for which rows.
_STORED: tuple[tuple[str, dict[str, str], str], ...] = (
    (
        "message",
        {
            **{name: f"{{{name}}}" for name in _COLUMNS if name in Message.__dataclass_fields__},
            "status": "'QUEUED'", "created_at": "{at}", "updated_at": "{at}",
        },
        "{step_no} = 1",
    ),
    (
        "step",
        {
            "message_id": "{id}", "step_no": "{step_no}", "app_id": "{app_id}", "org_id": "{org_id}",
            "channel": "{channel}", "state": "CASE {step_no} WHEN 1 THEN 'queued' ELSE 'waiting' END",
            "status": "'QUEUED'", "gateway_id": "{gateway_id}", "choices": "{choices}", "due_at": "{at}",
            "wake_at": "CASE {step_no} WHEN 1 THEN {deadline} END", "deadline": "{deadline}", "held": "{step_held}",
            "content": "{step_content}", "until": "{until}", "after": "{after}",
        },
        "{step_no} > 0",
    ),
    (
        "ledger_entry",
        {
            "id": "{entry_id}", "org_id": "{org_id}", "kind": "'hold'", "from_account": "'available'",
            "to_account": "'held'", "amount": "{step_held}", "at": "{at}", "message_id": "{id}",
            "step_no": "{step_no}",
        },
        "{step_held} > 0",
    ),
    (
        "idempotency",
        {
            "app_id": "{app_id}", "key": "{idempotency_key}", "fingerprint": "{fingerprint}", "message_id": "{id}",
            "created_at": "{at}",
        },
        "{idempotency_key} IS NOT NULL",
    ),
)  # fmt: skip


def _stored(row: str) -> Iterator[tuple[str, str, str, str]]:
    """Table, its columns, what they are made of and for which rows, with `row` as the row's name."""
    names = {name: f'{row}."{name}"' for name in _COLUMNS}
    for table, stored, where in _STORED:
        columns = ", ".join(f'"{column}"' for column in stored)
        values = ", ".join(value.format_map(names) for value in stored.values())
        yield table, columns, values, where.format_map(names)


def _postgres() -> str:
    values = ", ".join(
        f'(r ->> {number})::bigint AS "{name}"' if name in _NUMBERS else f'r ->> {number} AS "{name}"'
        for number, name in enumerate(_COLUMNS)
    )
    writes = ", ".join(
        f"{table}s AS (INSERT INTO {table} ({columns}) SELECT {stored} FROM given"
        f" WHERE {where} AND (SELECT good FROM verdict))"
        for table, columns, stored, where in _stored("given")
    )
    # Lists of our own ids come as one text each, because asyncpg encodes every element of an array by itself; they are
    # taken apart in a query of their own, which is made once and not for every row that is looked at.
    keys, apps, orgs, payers = (f"(SELECT string_to_array(${number}::text, ','))::text[]" for number in range(1, 5))
    good = _GOOD.format(
        is_key=f"= ANY({keys})", is_app=f"= ANY({apps})", is_org=f"= ANY({orgs})", at="$5::bigint",
        keys=f"cardinality({keys})", apps=f"cardinality({apps})", orgs=f"cardinality({orgs})",
    )  # fmt: skip
    return f"""
        WITH locked AS MATERIALIZED (
            SELECT org_id, available + credit_limit AS spendable FROM balance
            WHERE org_id = ANY({payers}) ORDER BY org_id FOR UPDATE
        ), wanted AS MATERIALIZED (
            SELECT r ->> 0 AS org_id, (r ->> 1)::bigint AS amount FROM jsonb_array_elements($6::text::jsonb) AS r
        ), verdict AS MATERIALIZED (
            SELECT {good} AND NOT EXISTS (
                SELECT FROM wanted w LEFT JOIN locked l ON l.org_id = w.org_id
                WHERE l.org_id IS NULL OR l.spendable < w.amount
            ) AS good
        ), given AS MATERIALIZED (
            SELECT {values} FROM jsonb_array_elements($7::text::jsonb) AS r
        ), {writes}, spent AS (
            UPDATE balance AS b SET available = b.available - w.amount, held = b.held + w.amount FROM wanted w
            WHERE b.org_id = ANY({payers}) AND b.org_id = w.org_id AND w.amount > 0 AND (SELECT good FROM verdict)
        )
        SELECT good FROM verdict
    """


_POSTGRES = _postgres()

_REFUSED = "not all of them can be admitted"


def _admission() -> View:
    """The view with its triggers: one checks the batch and moves the money, one for each table stores a row."""
    columns = ", ".join(f'NULL AS "{name}"' for name in (*_CHECK, *_COLUMNS))
    chosen = "IN (SELECT value FROM json_each(NEW.{}))".format
    good = _GOOD.format(
        is_key=chosen("keys"), is_app=chosen("apps"), is_org=chosen("orgs"), at="NEW.latest",
        keys="json_array_length(NEW.keys)", apps="json_array_length(NEW.apps)", orgs="json_array_length(NEW.orgs)",
    )  # fmt: skip
    made_by = (
        f"CREATE TEMP VIEW admission AS SELECT {columns}",
        f"""
        CREATE TEMP TRIGGER check_admission INSTEAD OF INSERT ON admission WHEN NEW.keys IS NOT NULL BEGIN
            SELECT RAISE(ABORT, '{_REFUSED}') WHERE NOT ({good}) OR EXISTS (
                SELECT 1 FROM json_each(NEW.wanted) w LEFT JOIN balance b ON b.org_id = w.value ->> 0
                WHERE b.org_id IS NULL OR b.available + b.credit_limit < w.value ->> 1
            );
            UPDATE balance SET available = available - w.amount, held = held + w.amount
            FROM (SELECT value ->> 0 AS org_id, value ->> 1 AS amount FROM json_each(NEW.wanted)) AS w
            WHERE balance.org_id = w.org_id AND w.amount > 0;
        END
        """,
        *(
            f"CREATE TEMP TRIGGER admit_{table} INSTEAD OF INSERT ON admission WHEN {where}"
            f" BEGIN INSERT INTO {table} ({columns}) VALUES ({stored}); END"
            for table, columns, stored, where in _stored("NEW")
        ),
    )
    return View("admission", made_by)


_ADMISSION = _admission()
