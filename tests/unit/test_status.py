"""The status table, against a model of its own, in any order and with any duplication."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from waypost.lifecycle.evidence import Evidence, core_key
from waypost.lifecycle.status import after_receipts, message_status, reached, step_status

KINDS = (
    "queued", "sending", "not_sent", "unknown", "sent", "delivered", "read", "undelivered", "failed", "expired",
    "canceled", "window_closed",
)  # fmt: skip


def event(kind: str, attempt: int = 1, key: str | None = None, code: str | None = None) -> Evidence:
    return Evidence(
        message_id="msg_1",
        key=key or core_key(1, attempt, kind),  # type: ignore[arg-type]
        step_no=1,
        attempt=attempt,
        kind=kind,  # type: ignore[arg-type]
        source="core",
        at=0,
        code=code,
    )


facts = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), max_size=12)


def model(found: list[tuple[str, int]]) -> str:
    """The docstring's table, read by somebody who has not seen the code."""
    has = {kind for kind, _ in found}
    open_attempts = {a for k, a in found if k == "sending"} - {a for k, a in found if k == "not_sent"}
    may_be_out = any(k == "unknown" and a in open_attempts for k, a in found)
    if "read" in has:
        return "READ"
    if "delivered" in has:
        return "DELIVERED"
    if "undelivered" in has:
        return "UNDELIVERED"
    if "failed" in has:
        return "FAILED"
    if "sent" in has:
        return "SENT"
    if may_be_out:
        return "FAILED" if "window_closed" in has else "UNKNOWN"
    if "expired" in has:
        return "EXPIRED"
    if "canceled" in has:
        return "CANCELED"
    return "SENDING" if open_attempts else "QUEUED"


@given(facts)
@settings(max_examples=500)
def test_the_status_is_what_the_table_says(found: list[tuple[str, int]]) -> None:
    assert step_status(event(*fact) for fact in found).status == model(found)


@given(facts, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_neither_order_nor_duplication_matters(found: list[tuple[str, int]], random: object) -> None:
    events = [event(*fact) for fact in found]
    shuffled = events * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert step_status(shuffled) == step_status(events)


@given(facts)
def test_flags_say_what_contradicts_and_what_may_be_out_twice(found: list[tuple[str, int]]) -> None:
    receipted = {a for k, a in found if k in ("sent", "delivered", "read", "undelivered")}
    denied = {a for k, a in found if k == "not_sent"}
    good = any(k in ("delivered", "read") for k, _ in found)
    bad = any(k in ("failed", "undelivered", "expired", "canceled") for k, _ in found)
    started = {a for k, a in found if k == "sending"}
    maybe = {a for k, a in found if k == "unknown"} & (started - denied)

    status = step_status(event(*fact) for fact in found)

    withdrawn = any(k in ("expired", "canceled") for k, _ in found)
    odd = bool(receipted & denied) or bool(receipted - started)  # a receipt of what was never sent, or never begun
    assert status.contradictory == ((good and bad) or bool(receipted and withdrawn) or odd)
    assert status.possible_duplicate == (len(receipted | maybe) >= 2)


@given(st.lists(st.sampled_from(KINDS), max_size=6), st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
@settings(max_examples=2000)
def test_where_the_history_is_not_asked_it_would_have_said_the_same(known: list[str], news: list[str]) -> None:
    """As `progress` uses it: one attempt, nothing contradictory, not closed."""
    events = [event(kind) for kind in known]
    before = step_status(events)
    assume(not (before.contradictory or before.possible_duplicate or before.window_closed))
    status = after_receipts(before.status, news)
    if status is not None:
        after = step_status([*events, *(event(kind) for kind in news)])
        assert (after.status, after.contradictory, after.possible_duplicate) == (status, False, False)


@pytest.mark.parametrize("before", ["QUEUED", "UNKNOWN", "FAILED", "UNDELIVERED", "EXPIRED", "CANCELED"])
def test_the_history_is_asked_unless_it_went_out(before: str) -> None:
    assert after_receipts(before, ["delivered"]) is None
    assert after_receipts("SENT", ["delivered", "failed"]) is None
    assert after_receipts("SENT", []) is None
    assert after_receipts("SENDING", ["sent"]) == "SENT"
    assert after_receipts("SENT", ["delivered", "sent"]) == "DELIVERED"
    assert after_receipts("READ", ["delivered"]) == "READ"


@pytest.mark.parametrize(
    ("higher", "lower", "status"),
    [
        ("read", "delivered", "READ"),
        ("delivered", "undelivered", "DELIVERED"),
        ("delivered", "failed", "DELIVERED"),
        ("undelivered", "failed", "UNDELIVERED"),
        ("undelivered", "sent", "UNDELIVERED"),
        ("failed", "sent", "FAILED"),
        ("sent", "expired", "SENT"),
        ("sent", "unknown", "SENT"),
        ("sent", "window_closed", "SENT"),
        ("unknown", "expired", "UNKNOWN"),
        ("unknown", "canceled", "UNKNOWN"),
        ("unknown", "sending", "UNKNOWN"),
        ("expired", "canceled", "EXPIRED"),
        ("canceled", "sending", "CANCELED"),
        ("sending", "queued", "SENDING"),
        ("queued", "window_closed", "QUEUED"),
    ],
)
def test_each_row_beats_the_one_below(higher: str, lower: str, status: str) -> None:
    began = [event("sending")]
    if higher == "queued":
        began = []
    assert step_status([*began, event(lower), event(higher)]).status == status


def test_an_unknown_outcome_fails_when_its_window_closes() -> None:
    status = step_status([event("sending"), event("unknown", code="TIMEOUT"), event("window_closed", 0)])
    assert (status.status, status.error_code) == ("FAILED", "OUTCOME_UNKNOWN")


def test_an_attempt_found_not_sent_is_no_longer_unknown() -> None:
    found = [event("sending"), event("unknown"), event("not_sent", key="lookup:1.1.not_sent")]
    assert step_status(found).status == "QUEUED"


def test_an_earlier_unknown_attempt_stays_open_beside_a_later_refused_one() -> None:
    found = [event("sending", 1), event("unknown", 1), event("sending", 2), event("not_sent", 2)]
    assert step_status(found).status == "UNKNOWN"


def test_a_failure_names_its_code() -> None:
    assert step_status([event("sending"), event("failed", code="INVALID_RECIPIENT")]).error_code == "INVALID_RECIPIENT"
    assert step_status([event("expired")]).error_code == "EXPIRED"
    assert step_status([event("sent"), event("delivered")]).error_code is None


NEGATIVE = ("FAILED", "UNDELIVERED", "EXPIRED", "CANCELED")
FAR = ("QUEUED", "SENDING", "UNKNOWN", "SENT", "DELIVERED", "READ")


@given(st.lists(st.sampled_from(NEGATIVE + FAR), min_size=1, max_size=4), st.booleans())
def test_a_message_is_as_far_as_its_furthest_living_step(found: list[str], waiting: bool) -> None:
    numbered = dict(enumerate(found, 1))
    status, decisive = message_status(numbered, waiting=waiting)  # type: ignore[arg-type]
    living = [item for item in found if item not in NEGATIVE]
    if living:
        assert status == max(living, key=FAR.index)
        assert numbered[decisive] == status
    elif waiting:
        assert status == "QUEUED"
    else:
        assert (status, decisive) == (found[-1], len(found))


@pytest.mark.parametrize(
    ("steps", "waiting", "expected"),
    [
        ({1: "UNKNOWN", 2: "EXPIRED"}, False, ("UNKNOWN", 1)), ({1: "FAILED", 2: "EXPIRED"}, False, ("FAILED", 1)),
        ({1: "FAILED", 2: "CANCELED"}, False, ("FAILED", 1)),
        ({1: "FAILED", 2: "UNDELIVERED"}, False, ("UNDELIVERED", 2)),
        ({1: "FAILED", 2: "FAILED"}, False, ("FAILED", 2)), ({1: "FAILED", 2: "SENT"}, False, ("SENT", 2)),
        ({1: "FAILED", 2: "EXPIRED"}, True, ("QUEUED", 2)),
    ],
)  # fmt: skip
def test_what_nobody_knows_is_not_hidden_by_what_was_not_sent(
    steps: dict[int, str], waiting: bool, expected: tuple[str, int]
) -> None:
    assert message_status(steps, waiting=waiting, unknown=[1]) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "until", "there"),
    [
        ("SENT", "sent", True), ("SENT", "delivered", False), ("DELIVERED", "delivered", True),
        ("DELIVERED", "read", False), ("READ", "read", True), ("READ", "sent", True), ("UNKNOWN", "sent", False),
        ("FAILED", "sent", False), ("UNDELIVERED", "sent", False),
    ],
)  # fmt: skip
def test_how_far_a_fallback_waits_for(status: str, until: str, there: bool) -> None:
    assert reached(status, until) is there  # type: ignore[arg-type]
