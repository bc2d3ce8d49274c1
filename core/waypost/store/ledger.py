"""The ledger: immutable entries, and the balances they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, select, text, update

from waypost.credit import Move
from waypost.store.bulk import Insertion, Update, write_together
from waypost.store.driver import is_postgres, rows_by
from waypost.store.tables import app, balance, ledger_entry


@dataclass(slots=True)
class Balance:
    """An organization's four accounts, in micros."""

    org_id: str
    currency: str
    funded: int
    available: int
    held: int
    captured: int
    credit_limit: int

    @property
    def spendable(self) -> int:
        """What may still be held: the available money and the credit limit."""
        return self.available + self.credit_limit


#: The columns of a `Balance`, of balance b.
BALANCE = "b.org_id, b.currency, b.funded, b.available, b.held, b.captured, b.credit_limit"
_BALANCE = BALANCE.split(", ")
_COLUMNS = ("id", "org_id", "kind", "from_account", "to_account", "amount", "at", "message_id", "step_no", "note")


_row = attrgetter(*_COLUMNS)


def lock_balances(conn: Connection, org_ids: Iterable[str]) -> dict[str, Balance]:
    """Read these balances and keep everybody else from changing them until the transaction ends."""
    wanted = sorted(set(org_ids))
    lock = " FOR UPDATE" if is_postgres(conn) else ""
    rows = (
        rows_by(conn, _BALANCE, f"FROM balance b WHERE b.org_id {{}} ORDER BY b.org_id{lock}", wanted) if wanted else ()
    )
    return {row[0]: Balance(*row) for row in rows}


def insertion(moves: Sequence[Move]) -> Insertion:
    """Entries, to be stored together with what they pay for; who does so changes the balances too."""
    return Insertion(ledger_entry, _COLUMNS, [_row(move) for move in moves])


def post(
    conn: Connection,
    moves: Sequence[Move],
    locked: dict[str, Balance],
    *,
    beside: Sequence[Insertion] = (),
    updates: Sequence[Update] = (),
) -> None:
    """Write entries, with what is to be written beside them, and change the locked balances by them.

    Raises `IntegrityError` where a constraint would break: a balance below its credit limit, a second capture.
    """
    changed = Update(balance, ("org_id",), ("funded", "available", "held", "captured"), _after(moves, locked))
    write_together(conn, [*beside, insertion(moves)], [changed, *updates])


def _after(moves: Sequence[Move], locked: dict[str, Balance]) -> list[tuple[Any, ...]]:
    """The balances after the moves, as rows; in the order of their ids, in which all transactions lock them."""
    accounts: dict[str, dict[str, int]] = {}
    for move in moves:
        deltas = accounts.get(move.org_id)
        if deltas is None:
            deltas = accounts[move.org_id] = {"funding": 0, "available": 0, "held": 0, "captured": 0}
        deltas[move.from_account] -= move.amount
        deltas[move.to_account] += move.amount
    rows: list[tuple[Any, ...]] = []
    for org_id, deltas in sorted(accounts.items()):
        before = locked[org_id]
        after = Balance(
            org_id,
            before.currency,
            before.funded - deltas["funding"],
            before.available + deltas["available"],
            before.held + deltas["held"],
            before.captured + deltas["captured"],
            before.credit_limit,
        )
        locked[org_id] = after
        rows.append((org_id, after.funded, after.available, after.held, after.captured))
    return rows


def balance_of(conn: Connection, org_id: str) -> Balance | None:
    """An organization's balance."""
    row = conn.execute(select(balance).where(balance.c.org_id == org_id)).first()
    return Balance(*row) if row else None


def all_balances(conn: Connection) -> dict[str, Balance]:
    """Every organization's balance, by its id."""
    return {row.org_id: Balance(*row) for row in conn.execute(select(balance))}


def set_credit_limit(conn: Connection, org_id: str, limit: int) -> None:
    """Set how far below zero an organization may go. Raises `IntegrityError` where it already is further below."""
    conn.execute(update(balance).where(balance.c.org_id == org_id).values(credit_limit=limit))


_ENTRY = "SELECT " + ", ".join(f'l."{column}"' for column in _COLUMNS) + " FROM ledger_entry l"
_OTHERS = text(f"{_ENTRY} WHERE l.org_id = :org AND l.kind <> 'hold' ORDER BY l.id DESC LIMIT :limit")
#: The three kinds are named for SQLite, which else does not see that the index is of use.
_HOLDS = text(
    f"{_ENTRY} WHERE l.kind IN ('hold', 'capture', 'release') AND l.kind = 'hold' AND l.message_id IN ("
    " SELECT id FROM message WHERE app_id = :app AND held > 0 ORDER BY id DESC LIMIT :limit)"
    " ORDER BY l.id DESC LIMIT :limit"
)
_OF_MESSAGE = text(
    f"{_ENTRY} WHERE l.message_id = :message AND l.kind IN ('hold', 'capture', 'release') UNION ALL"
    f" {_ENTRY} WHERE l.message_id = :message AND l.kind IN ('late_capture', 'refund')"
)


def entries(conn: Connection, org_id: str, limit: int) -> list[Move]:
    """An organization's newest entries, newest first. The holds are those of its apps' newest messages."""
    found = [Move(*row) for row in conn.execute(_OTHERS, {"org": org_id, "limit": limit})]
    for app_id in conn.scalars(select(app.c.id).where(app.c.org_id == org_id)).all():
        found += [Move(*row) for row in conn.execute(_HOLDS, {"app": app_id, "limit": limit})]
    return sorted(found, key=attrgetter("id"), reverse=True)[:limit]


def entries_of_message(conn: Connection, org_id: str, message_id: str) -> list[Move]:
    """A message's entries, in order."""
    found = [Move(*row) for row in conn.execute(_OF_MESSAGE, {"message": message_id})]
    return sorted((entry for entry in found if entry.org_id == org_id), key=attrgetter("id"))


def discrepancies(conn: Connection) -> list[str]:
    """Organizations whose entries do not add up to their balance: always empty, or money was made or lost."""
    rows = conn.execute(
        text(
            """
            SELECT b.org_id FROM balance b LEFT JOIN (
                SELECT org_id,
                    SUM(CASE WHEN from_account = 'funding' THEN amount
                             WHEN to_account = 'funding' THEN -amount ELSE 0 END) AS funded,
                    SUM(CASE WHEN to_account = 'available' THEN amount
                             WHEN from_account = 'available' THEN -amount ELSE 0 END) AS available,
                    SUM(CASE WHEN to_account = 'held' THEN amount WHEN from_account = 'held' THEN -amount ELSE 0 END)
                        AS held,
                    SUM(CASE WHEN to_account = 'captured' THEN amount
                             WHEN from_account = 'captured' THEN -amount ELSE 0 END) AS captured
                FROM ledger_entry GROUP BY org_id
            ) e ON e.org_id = b.org_id
            WHERE b.funded <> COALESCE(e.funded, 0) OR b.available <> COALESCE(e.available, 0)
               OR b.held <> COALESCE(e.held, 0) OR b.captured <> COALESCE(e.captured, 0)
            UNION SELECT l.org_id FROM ledger_entry l WHERE l.org_id NOT IN (SELECT org_id FROM balance)
            ORDER BY org_id
            """
        )
    )
    return [row[0] for row in rows]
