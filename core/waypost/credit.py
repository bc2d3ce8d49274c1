"""Credit: the moves that the ledger knows, each from one account of an organization to another.

================  ==========================  =========================================================
move              from → to                   when
================  ==========================  =========================================================
``top_up``        funding → available         the organization paid
``adjustment``    funding ↔ available         the operator corrects, with a reason
``hold``          available → held            a message is accepted
``capture``       held → captured             its step is settled and billable
``release``       held → available            … and the rest of its hold
``late_capture``  available → captured        evidence after the settlement made it billable (or more so)
``refund``        captured → available        evidence after the settlement made it less billable
================  ==========================  =========================================================

Every move is one immutable entry; `funded = available + held + captured` holds in every row of `balance`, by a
database constraint, as does `available + credit_limit ≥ 0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from waypost.ids import new_id

Account = Literal["funding", "available", "held", "captured"]
MoveKind = Literal["top_up", "adjustment", "hold", "capture", "release", "late_capture", "refund"]

_ACCOUNTS: dict[MoveKind, tuple[Account, Account]] = {
    "top_up": ("funding", "available"),
    "adjustment": ("funding", "available"),
    "hold": ("available", "held"),
    "capture": ("held", "captured"),
    "release": ("held", "available"),
    "late_capture": ("available", "captured"),
    "refund": ("captured", "available"),
}


@dataclass(slots=True)
class Move:
    """One ledger entry: a positive amount in micros from one account to another."""

    id: str
    org_id: str
    kind: MoveKind
    from_account: Account
    to_account: Account
    amount: int
    at: int
    message_id: str | None = None
    step_no: int | None = None
    note: str = ""


def move(
    kind: MoveKind,
    org_id: str,
    amount: int,
    at: int,
    *,
    message_id: str | None = None,
    step_no: int | None = None,
    note: str = "",
) -> Move:
    """Make an entry. A negative adjustment goes the other way; every other amount is positive."""
    source, target = _ACCOUNTS[kind]
    if kind == "adjustment" and amount < 0:
        source, target, amount = target, source, -amount
    assert amount > 0, f"a {kind} of {amount} micros moves nothing"
    return Move(
        id=new_id("ent"),
        org_id=org_id,
        kind=kind,
        from_account=source,
        to_account=target,
        amount=amount,
        at=at,
        message_id=message_id,
        step_no=step_no,
        note=note,
    )


@dataclass(slots=True)
class Settlement:
    """What closing (or correcting) a step's money moves."""

    captured: int
    moves: tuple[Move, ...]


def settle(org_id: str, message_id: str, step_no: int, *, held: int, owed: int, at: int) -> Settlement:
    """Close a hold: capture what is owed, never more than was held, and release the rest."""
    captured = min(owed, held)
    moves = []
    if captured:
        moves.append(move("capture", org_id, captured, at, message_id=message_id, step_no=step_no))
    if held - captured:
        moves.append(move("release", org_id, held - captured, at, message_id=message_id, step_no=step_no))
    return Settlement(captured, tuple(moves))


def correct(org_id: str, message_id: str, step_no: int, *, held: int, captured: int, owed: int, at: int) -> Settlement:
    """Change a settled step's charge to what is owed now, never to more than was held."""
    owed = min(owed, held)
    if owed > captured:
        kind: MoveKind = "late_capture"
    elif owed < captured:
        kind = "refund"
    else:
        return Settlement(captured, ())
    entry = move(kind, org_id, abs(owed - captured), at, message_id=message_id, step_no=step_no)
    return Settlement(owed, (entry,))
