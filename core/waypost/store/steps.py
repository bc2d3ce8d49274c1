"""Steps: one leg of a message through one channel. The queue is this table's `queued` rows.

===========  ============================================================  =================================
state        meaning                                                       leaves it
===========  ============================================================  =================================
``waiting``  a fallback whose turn has not come                            started, or ended
``queued``   may be claimed once `due_at` has come                         claimed, expired, canceled
``claimed``  a worker has it; nothing was sent                             sending; queued when the lease ends
``sending``  the fence: committed before the first request byte            its outcome; unknown when the lease ends
``unknown``  it may have been sent                                         evidence, lookup, or the window's end
``sent``     the provider accepted it                                      receipts, or the window's end
``ended``    nothing more is to be done                                    late evidence may still change its status
===========  ============================================================  =================================

`claimed → sending` is a compare-and-set on state, attempt and owner. `sending` is never queued again without proof
that nothing was sent. `wake_at` is when the sweeper must look at the step next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, select, text

from waypost.lifecycle.settlement import PricedLine
from waypost.store.bulk import Update, update_many
from waypost.store.driver import is_postgres, rows_by
from waypost.store.tables import step


@dataclass(slots=True)
class Choice:
    """One way a step can go: a gateway, a sender and the prices pinned at acceptance."""

    gateway_id: str
    sender: str | None
    lines: tuple[PricedLine, ...]

    @property
    def total(self) -> int:
        """What this way costs if every line is charged, in micros."""
        return self.lines[0].amount if len(self.lines) == 1 else sum(line.amount for line in self.lines)


def dump_choices(choices: Sequence[Choice]) -> str:
    """Choices as the text that is stored."""
    return orjson.dumps(
        [
            [
                choice.gateway_id,
                choice.sender,
                [[line.sku, line.quantity, line.charge_on, line.amount, line.rate_id] for line in choice.lines],
            ]
            for choice in choices
        ]
    ).decode()


def load_choices(stored: str) -> tuple[Choice, ...]:
    """Choices from the text that is stored."""
    return tuple(
        Choice(gateway_id, sender, tuple(PricedLine(*line) for line in lines))
        for gateway_id, sender, lines in orjson.loads(stored)
    )


@dataclass(slots=True)
class NewStep:
    """A step as it is admitted; `content` is the step's own, where it is not the message's."""

    channel: str
    gateway_id: str
    choices: str
    held: int
    content: str | None = None
    until: str = "sent"
    after: int | None = None


@dataclass(slots=True)
class Step:
    """A row of `step`. Mutable: the outbox changes it under the message's lock and saves it."""

    message_id: str
    step_no: int
    app_id: str
    org_id: str
    channel: str
    state: str
    status: str
    gateway_id: str
    choices: str
    due_at: int
    deadline: int
    held: int
    choice: int = 0
    attempt: int = 0
    tries: int = 0
    claims: int = 0
    lookups: int = 0
    owner: str | None = None
    wake_at: int | None = None
    window_until: int | None = None
    captured: int = 0
    settled_at: int | None = None
    content: str | None = None
    until: str = "sent"
    after: int | None = None


#: The states in which a worker has a step, until its lease ends at `wake_at`.
LEASED = ("claimed", "sending")
#: The states in which a step has still to be sent.
UNSENT = ("waiting", "queued", "claimed")

_COLUMNS = tuple(Step.__dataclass_fields__)
#: Not `attempt`: only a claim counts on, which asks for no lock; a number that was given out is never given out again.
_CHANGING = (
    "state", "status", "gateway_id", "choice", "tries", "claims", "lookups", "owner", "due_at", "wake_at",
    "window_until", "captured", "settled_at",
)  # fmt: skip
_changed_row = attrgetter(*_CHANGING)
#: Where the status is in what `changing` returns.
STATUS = _CHANGING.index("status")
#: What a `Step` is made of, where the table is called s.
SELECTED = tuple(f's."{column}"' for column in _COLUMNS)

_CLAIMED = """
    UPDATE step SET state = 'claimed', attempt = attempt + 1, claims = claims + 1, owner = :owner,
        wake_at = :lease_until
"""
_RETURNING = " RETURNING " + ", ".join(f'step."{column}"' for column in _COLUMNS)
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


def changing(row: Step) -> tuple[Any, ...]:
    """What `saving` would store of a step now: equal values need not be stored."""
    values: tuple[Any, ...] = _changed_row(row)
    return values


def saving(rows: Sequence[Step]) -> Update:
    """What changed in steps; the caller holds their messages' locks."""
    return Update(
        step,
        ("message_id", "step_no"),
        _CHANGING,
        [(row.message_id, row.step_no, *_changed_row(row)) for row in rows],
    )


def of_messages(conn: Connection, ids: Iterable[str]) -> dict[str, list[Step]]:
    """The steps of these messages, in order, by message."""
    found: dict[str, list[Step]] = {}
    tail = "FROM step s WHERE s.message_id {} ORDER BY s.message_id, s.step_no"
    for row in rows_by(conn, SELECTED, tail, ids):
        found.setdefault(row[0], []).append(Step(*row))
    return found


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


def postpone_lookup(
    conn: Connection, message_id: str, step_no: int, *, attempt: int, lookups: int, due_at: int, wake_at: int
) -> None:
    """Say when an unknown outcome is to be looked up next."""
    update_many(
        conn,
        step,
        where=("message_id", "step_no", "attempt", "state"),
        values=("lookups", "due_at", "wake_at"),
        rows=[(message_id, step_no, attempt, "unknown", lookups, due_at, wake_at)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Which steps that have still to be sent are meant; `before` is the id of a message, and means those before it."""

    org_id: str | None = None
    app_id: str | None = None
    channel: str | None = None
    gateway_id: str | None = None
    before: str | None = None


def unsent(conn: Connection, wanted: Unsent) -> list[str]:
    """The messages with a step that has still to be sent, oldest first."""
    named = {name: getattr(wanted, name) for name in ("org_id", "app_id", "channel", "gateway_id")}
    conditions: list[ColumnElement[bool]] = [step.c.state.in_(UNSENT)]
    conditions.extend(step.c[column] == value for column, value in named.items() if value is not None)
    if wanted.before is not None:
        conditions.append(step.c.message_id < wanted.before)
    rows = conn.execute(select(step.c.message_id).where(*conditions).distinct().order_by(step.c.message_id))
    return list(rows.scalars())


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


def due_wakes(conn: Connection, now: int, limit: int, *, leased: bool) -> list[str]:
    """The messages with a step whose `wake_at` has come, longest overdue first; `leased` ones or not."""
    of_nobody = "" if leased else f" AND state NOT IN ({', '.join(repr(state) for state in LEASED)})"
    rows = conn.execute(
        text(f"SELECT message_id FROM step WHERE wake_at <= :now{of_nobody} ORDER BY wake_at LIMIT :limit"),
        {"now": now, "limit": limit},
    )
    return list(dict.fromkeys(row[0] for row in rows))


def still_due(conn: Connection, ids: Iterable[str], now: int) -> list[tuple[str, int, str]]:
    """Which steps of these messages the sweeper has to look at now, as (message, step, state)."""
    found = rows_by(conn, ("message_id", "step_no", "state", "wake_at"), "FROM step WHERE message_id {}", ids)
    return [(row[0], row[1], row[2]) for row in found if row[3] is not None and row[3] <= now]


def put_off(conn: Connection, message_id: str, now: int, until: int) -> None:
    """Let no sweep look at what is due of a message before then."""
    conn.execute(
        text("UPDATE step SET wake_at = :until WHERE message_id = :id AND wake_at <= :now"),
        {"id": message_id, "now": now, "until": until},
    )


def next_due(conn: Connection, gateway_id: str) -> int | None:
    """When the next step of a gateway's queue is due."""
    # The state as a literal: neither database would use the queue's partial index for a parameter.
    value = conn.execute(
        text("SELECT MIN(due_at) FROM step WHERE state = 'queued' AND gateway_id = :gateway"), {"gateway": gateway_id}
    ).scalar()
    return None if value is None else int(value)


def queue_lengths(conn: Connection) -> dict[str, int]:
    """How many steps wait in each gateway's queue."""
    rows = conn.execute(text("SELECT gateway_id, COUNT(*) FROM step WHERE state = 'queued' GROUP BY gateway_id"))
    return {row[0]: int(row[1]) for row in rows}
