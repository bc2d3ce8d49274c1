"""Organizations: who pays."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from waypost.ids import new_id
from waypost.money import format_amount
from waypost.operations import references, words
from waypost.operations.errors import NameTakenError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import ledger, organizations
from waypost.store.ledger import Balance
from waypost.store.organizations import Organization


def shown(row: Organization, balance: Balance | None) -> dict[str, Any]:
    """An organization with its money, as it is shown."""
    money = (balance.available, balance.held, balance.captured, balance.credit_limit) if balance else (0, 0, 0, 0)
    available, held, captured, limit = map(format_amount, money)
    return {
        "id": row.id,
        "name": row.name,
        "currency": row.currency,
        "status": row.status,
        "available": available,
        "held": held,
        "captured": captured,
        "credit_limit": limit,
        "created_at": words.shown_moment(row.created_at),
    }


@operation("orgs.create")
async def create(operator: Operator, *, name: str, currency: str, credit_limit: str = "0") -> dict[str, Any]:
    """Create an organization with an empty balance."""
    row = Organization(
        new_id("org"), words.name(name), words.currency(currency), status="active", created_at=operator.now()
    )
    limit = words.amount(credit_limit, "credit_limit")

    def work(conn: Connection) -> dict[str, Any]:
        if organizations.by_reference(conn, row.name) is not None:
            raise NameTakenError("an organization", row.name)
        organizations.add(conn, row, limit)
        operator.record(
            conn, "orgs.create", row.id,
            {"name": row.name, "currency": row.currency, "credit_limit": format_amount(limit)},
        )  # fmt: skip
        return shown(row, ledger.balance_of(conn, row.id))

    return await operator.change(work)


@operation("orgs.list")
async def list_all(operator: Operator) -> list[dict[str, Any]]:
    """List the organizations with their money, oldest first."""

    def work(conn: Connection) -> list[dict[str, Any]]:
        balances = ledger.all_balances(conn)
        return [shown(row, balances.get(row.id)) for row in organizations.all_of_them(conn)]

    return await operator.read(work)


@operation("orgs.suspend")
async def suspend(operator: Operator, *, organization: str) -> dict[str, Any]:
    """Refuse an organization's requests from the next one on; what was accepted is still sent."""
    return await _set_status(operator, organization, "suspended")


@operation("orgs.activate")
async def activate(operator: Operator, *, organization: str) -> dict[str, Any]:
    """Let a suspended organization send again."""
    return await _set_status(operator, organization, "active")


async def _set_status(operator: Operator, reference: str, status: str) -> dict[str, Any]:
    def work(conn: Connection) -> dict[str, Any]:
        row = references.organization(conn, reference)
        if row.status != status:
            organizations.set_status(conn, row.id, status)
            operator.record(conn, "orgs.suspend" if status == "suspended" else "orgs.activate", row.id, {})
        return shown(references.organization(conn, row.id), ledger.balance_of(conn, row.id))

    return await operator.change(work)
