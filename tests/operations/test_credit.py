"""Credit: topped up, adjusted with a reason, limited; never below its limit, and always adding up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text
from waypost.credit import MoveKind, move
from waypost.money import MAX_MICROS, MOST_FUNDED
from waypost.operations.errors import CreditError, InvalidArgumentError
from waypost.store import ledger
from waypost.store.database import Database

Do = Callable[..., Awaitable[Any]]


@pytest.fixture
async def acme(do: Do) -> str:
    await do("orgs.create", name="Acme", currency="SGD")
    return "Acme"


async def test_top_up_and_adjustment_are_entries_that_add_up(do: Do, acme: str) -> None:
    await do("credit.top-up", organization=acme, amount="100", note="invoice 7")
    left = await do("credit.adjust", organization=acme, amount="-0.000001", reason="rounding")
    assert (left["available"], left["funded"], left["spendable"]) == ("99.999999", "99.999999", "99.999999")
    entries = await do("credit.entries", organization=acme)
    assert [(row["kind"], row["amount"], row["note"]) for row in entries] == [
        ("adjustment", "0.000001", "rounding"),
        ("top_up", "100", "invoice 7"),
    ]
    assert await do("credit.audit") == {"organizations": 1, "balanced": True, "discrepancies": []}
    assert (await do("credit.list"))[0]["available"] == "99.999999"


async def test_a_limit_may_not_be_undercut(do: Do, acme: str) -> None:
    await do("credit.limit", organization=acme, limit="5")
    assert (await do("credit.adjust", organization=acme, amount="-5", reason="fee"))["available"] == "-5"
    with pytest.raises(CreditError, match="adjusted down by 0 SGD"):
        await do("credit.adjust", organization=acme, amount="-0.000001", reason="fee")
    with pytest.raises(CreditError, match="already 5 SGD below zero"):
        await do("credit.limit", organization=acme, limit="4.999999")
    assert (await do("credit.show", organization=acme))["credit_limit"] == "5"


@pytest.mark.parametrize("amount", ["0", "-1", "abc", "1e99", "NaN", "Infinity", "0.0000001", ""])
async def test_only_a_positive_decimal_tops_up(do: Do, acme: str, amount: str) -> None:
    with pytest.raises(InvalidArgumentError, match="amount"):
        await do("credit.top-up", organization=acme, amount=amount)
    assert await do("credit.entries", organization=acme) == []


async def test_an_adjustment_needs_a_reason_and_an_amount(do: Do, acme: str) -> None:
    with pytest.raises(InvalidArgumentError, match="reason"):
        await do("credit.adjust", organization=acme, amount="1", reason=" ")
    with pytest.raises(InvalidArgumentError, match="zero"):
        await do("credit.adjust", organization=acme, amount="0", reason="why")


async def test_a_balance_without_limit_of_size_is_refused(do: Do, acme: str) -> None:
    await do("credit.top-up", organization=acme, amount="1000000000")
    with pytest.raises(CreditError, match="more than"):
        await do("credit.top-up", organization=acme, amount="0.000001")


async def test_what_was_used_up_is_paid_in_again_for_years(do: Do, acme: str, database: Database) -> None:
    """A thousand million of some currencies is no more than a small partner's messages of a year."""
    org_id = (await do("credit.show", organization=acme))["organization_id"]

    async def moved(amount: int, *kinds: MoveKind) -> None:
        moves = [move(kind, org_id, amount, 0) for kind in kinds]
        await database.write(lambda conn: ledger.post(conn, moves, ledger.lock_balances(conn, [org_id])))

    for _ in range(3):
        await do("credit.top-up", organization=acme, amount="1000000000")
        await moved(MAX_MICROS, "hold", "capture")
    await moved(MOST_FUNDED - 3 * MAX_MICROS, "top_up", "hold", "capture")
    with pytest.raises(CreditError, match="paid more than"):
        await do("credit.top-up", organization=acme, amount="0.000001")
    assert (await do("credit.show", organization=acme))["captured"] == "1000000000000"
    assert (await do("credit.audit"))["balanced"]


async def test_the_audit_finds_money_that_no_entry_explains(do: Do, acme: str, database: Database) -> None:
    await database.write(lambda conn: conn.execute(text("UPDATE balance SET funded = 7, available = 7")))
    found = await do("credit.audit")
    assert [row["organization"] for row in found["discrepancies"]] == ["Acme"]
    assert "ledger" in {item["code"] for item in (await do("doctor"))["findings"] if item["level"] == "error"}


async def test_the_audit_finds_entries_of_nobody(do: Do, acme: str, database: Database) -> None:
    entry = (
        "INSERT INTO ledger_entry (org_id, id, kind, from_account, to_account, amount, at)"
        " VALUES ('org_nobody', 'ent_1', 'top_up', 'funding', 'available', 1, 0)"
    )
    await database.write(lambda conn: conn.execute(text(entry)))
    found = await do("credit.audit")
    assert found["discrepancies"] == [{"organization": "(unknown)", "organization_id": "org_nobody"}]
    assert "ledger" in {item["code"] for item in (await do("doctor"))["findings"] if item["level"] == "error"}
