"""Credit: what organizations paid, may overdraw and have left."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from waypost.credit import Move, MoveKind, move
from waypost.money import MAX_MICROS, MOST_FUNDED, format_amount
from waypost.operations import references, words
from waypost.operations.errors import CreditError, InvalidArgumentError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import ledger, organizations
from waypost.store.ledger import Balance
from waypost.store.organizations import Organization

MOST_ENTRIES = 1000


def shown(row: Organization, balance: Balance) -> dict[str, Any]:
    """A balance as it is shown: decimal texts in the organization's currency."""
    return {
        "organization": row.name,
        "organization_id": row.id,
        "currency": balance.currency,
        "funded": format_amount(balance.funded),
        "available": format_amount(balance.available),
        "held": format_amount(balance.held),
        "captured": format_amount(balance.captured),
        "credit_limit": format_amount(balance.credit_limit),
        "spendable": format_amount(balance.spendable),
    }


def shown_entry(entry: Move) -> dict[str, Any]:
    """A ledger entry as it is shown."""
    return {
        "id": entry.id,
        "at": words.shown_moment(entry.at),
        "kind": entry.kind,
        "from": entry.from_account,
        "to": entry.to_account,
        "amount": format_amount(entry.amount),
        "message": entry.message_id,
        "step": entry.step_no,
        "note": entry.note,
    }


@operation("credit.top-up")
async def top_up(operator: Operator, *, organization: str, amount: str, note: str = "") -> dict[str, Any]:
    """Add what an organization paid to its available credit."""
    return await _post(operator, "top_up", organization, words.amount(amount, lowest=1), note)


@operation("credit.adjust")
async def adjust(operator: Operator, *, organization: str, amount: str, reason: str) -> dict[str, Any]:
    """Correct the available credit up or down, with a reason that stays in the ledger."""
    if not reason.strip():
        raise InvalidArgumentError("reason", "write why; it stays in the ledger")
    return await _post(operator, "adjustment", organization, words.signed_amount(amount), reason)


async def _post(operator: Operator, kind: MoveKind, reference: str, micros: int, note: str) -> dict[str, Any]:
    note = note.strip()
    if len(note) > 500 or (note and not note.isprintable()):
        raise InvalidArgumentError("reason" if kind == "adjustment" else "note", "write one line of up to 500 letters")

    def work(conn: Connection) -> dict[str, Any]:
        row = references.organization(conn, reference)
        locked = ledger.lock_balances(conn, [row.id])
        before = locked[row.id]
        if before.spendable + micros < 0:
            lowest = format_amount(-before.spendable)
            raise CreditError(f"{row.name} can be adjusted down by {lowest[1:] or '0'} {row.currency} at most.")
        if before.available + before.held + micros > MAX_MICROS:  # what was used up is no part of a balance
            raise CreditError(f"{row.name} would have more than {format_amount(MAX_MICROS)} {row.currency} in all.")
        if before.funded + micros > MOST_FUNDED:
            raise CreditError(f"{row.name} would have paid more than {format_amount(MOST_FUNDED)} {row.currency}.")
        entry = move(kind, row.id, micros, operator.now(), note=note)
        ledger.post(conn, [entry], locked)
        action = "credit.top-up" if kind == "top_up" else "credit.adjust"
        operator.record(conn, action, row.id, {"amount": format_amount(micros), "note": note, "entry": entry.id})
        return shown(row, locked[row.id])

    return await operator.change(work)


@operation("credit.limit")
async def limit(operator: Operator, *, organization: str, limit: str) -> dict[str, Any]:
    """Set how far below zero an organization's available credit may go."""
    micros = words.amount(limit, "limit")

    def work(conn: Connection) -> dict[str, Any]:
        row = references.organization(conn, organization)
        before = ledger.lock_balances(conn, [row.id])[row.id]
        if before.available + micros < 0:
            raise CreditError(
                f"{row.name} is already {format_amount(-before.available)} {row.currency} below zero; "
                "set the limit to that or more, or top up first."
            )
        ledger.set_credit_limit(conn, row.id, micros)
        operator.record(
            conn, "credit.limit", row.id,
            {"before": format_amount(before.credit_limit), "after": format_amount(micros)},
        )  # fmt: skip
        return _shown_now(conn, row)

    return await operator.change(work)


@operation("credit.show")
async def show(operator: Operator, *, organization: str) -> dict[str, Any]:
    """Show an organization's balance."""
    return await operator.read(lambda conn: _shown_now(conn, references.organization(conn, organization)))


@operation("credit.list")
async def list_all(operator: Operator) -> list[dict[str, Any]]:
    """Show every organization's balance."""

    def work(conn: Connection) -> list[dict[str, Any]]:
        balances = ledger.all_balances(conn)
        return [shown(row, balances[row.id]) for row in organizations.all_of_them(conn)]

    return await operator.read(work)


@operation("credit.entries")
async def entries(operator: Operator, *, organization: str, limit: int = 50) -> list[dict[str, Any]]:
    """List an organization's ledger entries, newest first."""
    if not 1 <= limit <= MOST_ENTRIES:
        raise InvalidArgumentError("limit", f"write a number from 1 to {MOST_ENTRIES}")

    def work(conn: Connection) -> list[dict[str, Any]]:
        row = references.organization(conn, organization)
        return [shown_entry(entry) for entry in ledger.entries(conn, row.id, limit)]

    return await operator.read(work)


@operation("credit.audit")
async def audit(operator: Operator) -> dict[str, Any]:
    """Add up every ledger entry and compare with the balances."""

    def work(conn: Connection) -> dict[str, Any]:
        names = {row.id: row.name for row in organizations.all_of_them(conn)}
        wrong = ledger.discrepancies(conn)
        return {
            "organizations": len(names),
            "balanced": not wrong,
            "discrepancies": [
                {"organization": names.get(org_id, "(unknown)"), "organization_id": org_id} for org_id in wrong
            ],
        }

    return await operator.read(work)


def _shown_now(conn: Connection, row: Organization) -> dict[str, Any]:
    balance = ledger.balance_of(conn, row.id)
    assert balance is not None, "an organization is stored with its balance"
    return shown(row, balance)
