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

`sending` is never queued again without proof that nothing was sent. `wake_at` is when the sweeper must look at the step
next. How a step is claimed and its sending begun: `claims.py`.
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
from waypost.store.driver import rows_by
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

#: Of the table, in the order of a `Step`.
COLUMNS = tuple(Step.__dataclass_fields__)
#: Not `attempt`: only a claim counts on, which asks for no lock; a number that was given out is never given out again.
_CHANGING = (
    "state", "status", "gateway_id", "choice", "tries", "claims", "lookups", "owner", "due_at", "wake_at",
    "window_until", "captured", "settled_at",
)  # fmt: skip
_changed_row = attrgetter(*_CHANGING)
#: Where the status is in what `changing` returns.
STATUS = _CHANGING.index("status")
#: What a `Step` is made of, where the table is called s.
SELECTED = tuple(f's."{column}"' for column in COLUMNS)


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
