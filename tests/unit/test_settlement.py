"""When money is closed and what is charged; and the ledger's moves against a naive book."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost.credit import correct, move, settle
from waypost.lifecycle.settlement import PricedLine, charge, is_settled
from waypost.lifecycle.status import StepStatus

LINES = (PricedLine("carrier", 1, "sent", 30, "rate_1"), PricedLine("fee", 2, "delivered", 7, "rate_2"))


def at(status: str, *, closed: bool = False) -> StepStatus:
    return StepStatus(status, None, False, False, closed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "owed"),
    [
        ("SENT", 30), ("UNDELIVERED", 30), ("DELIVERED", 37), ("READ", 37), ("FAILED", 0), ("EXPIRED", 0),
        ("CANCELED", 0), ("QUEUED", 0), ("SENDING", 0), ("UNKNOWN", 0),
    ],
)  # fmt: skip
def test_what_a_status_costs(status: str, owed: int) -> None:
    assert charge(at(status), LINES) == owed


@pytest.mark.parametrize("status", ["DELIVERED", "READ", "FAILED", "UNDELIVERED", "EXPIRED", "CANCELED"])
def test_an_end_settles_whatever_can_be_proved(status: str) -> None:
    assert all(is_settled(at(status), last) for last in ("sent", "delivered", "read"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "closed", "last_receipt", "settled"),
    [
        ("SENT", False, "sent", True), ("SENT", False, "delivered", False), ("SENT", True, "delivered", True),
        ("SENT", False, "read", False), ("QUEUED", False, "sent", False), ("SENDING", True, "sent", False),
        ("UNKNOWN", False, "sent", False),
    ],
)  # fmt: skip
def test_what_is_still_open(status: str, closed: bool, last_receipt: str, settled: bool) -> None:
    assert is_settled(at(status, closed=closed), last_receipt) is settled  # type: ignore[arg-type]


amounts = st.integers(0, 10**12)


@given(held=amounts, owed=amounts)
def test_settling_takes_no_more_than_was_held_and_gives_the_rest_back(held: int, owed: int) -> None:
    done = settle("org", "msg", 1, held=held, owed=owed, at=0)
    taken = sum(item.amount for item in done.moves if item.kind == "capture")
    given_back = sum(item.amount for item in done.moves if item.kind == "release")
    assert (taken, taken + given_back) == (min(owed, held), held)
    assert done.captured == taken


@given(held=amounts, owed=st.lists(amounts, min_size=1, max_size=6))
def test_corrections_end_at_the_last_word(held: int, owed: list[int]) -> None:
    first = settle("org", "msg", 1, held=held, owed=owed[0], at=0)
    captured, book = first.captured, {"available": 0, "held": held, "captured": 0}
    entries = list(first.moves)
    for wanted in owed[1:]:
        step = correct("org", "msg", 1, held=held, captured=captured, owed=wanted, at=0)
        captured = step.captured
        entries.extend(step.moves)
    for entry in entries:
        book[entry.from_account] -= entry.amount
        book[entry.to_account] += entry.amount
    assert book == {"available": held - min(owed[-1], held), "held": 0, "captured": min(owed[-1], held)}


def test_a_negative_adjustment_flows_back() -> None:
    entry = move("adjustment", "org", -5, 0)
    assert (entry.from_account, entry.to_account, entry.amount) == ("available", "funding", 5)


@pytest.mark.parametrize("kind", ["top_up", "hold", "capture", "release", "late_capture", "refund"])
def test_nothing_moves_nothing(kind: str) -> None:
    with pytest.raises(AssertionError):
        move(kind, "org", 0, 0)  # type: ignore[arg-type]
