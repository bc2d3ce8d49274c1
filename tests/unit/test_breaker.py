"""The circuit breaker: opens, waits, probes."""

from __future__ import annotations

import pytest
from held_clock import HeldClock
from waypost.clock import MINUTE, SECOND
from waypost.outbox.breaker import FAILURE_SHARE, LEAST_CALLS, MOST_CALLS, OPEN_FOR, Breaker


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def breaker(clock: HeldClock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, times: int = 1) -> bool:
    return [breaker.record(ok=False) for _ in range(times)][-1]


def test_too_few_failures_prove_nothing(breaker: Breaker) -> None:
    assert not fail(breaker, LEAST_CALLS - 1)
    assert (breaker.state, breaker.allowance(7)) == ("closed", 7)


def test_it_opens_once_most_calls_fail(breaker: Breaker) -> None:
    for _ in range(3):
        breaker.record(ok=True)
    assert not fail(breaker, 6)
    assert fail(breaker)  # 7 of 10
    assert (breaker.state, breaker.allowance(7)) == ("open", 0)
    assert breaker.opens_in() == OPEN_FOR / SECOND


def test_a_success_never_opens_it(breaker: Breaker) -> None:
    fail(breaker, LEAST_CALLS - 1)
    assert not breaker.record(ok=True)
    assert breaker.state == "closed"


def test_old_failures_are_forgotten(breaker: Breaker, clock: HeldClock) -> None:
    fail(breaker, LEAST_CALLS - 1)
    clock.advance(6 * MINUTE)
    assert not fail(breaker)


def test_only_the_latest_calls_count(breaker: Breaker) -> None:
    for _ in range(MOST_CALLS):
        breaker.record(ok=True)
    opened = [breaker.record(ok=False) for _ in range(MOST_CALLS)]
    assert opened.index(True) + 1 == FAILURE_SHARE * MOST_CALLS


def test_half_open_lets_one_probe_through(breaker: Breaker, clock: HeldClock) -> None:
    fail(breaker, LEAST_CALLS)
    clock.advance(OPEN_FOR)
    assert breaker.state == "half_open"
    assert (breaker.allowance(7), breaker.allowance(7)) == (1, 0)
    breaker.unused()
    assert breaker.allowance(7) == 1
    breaker.record(ok=True)
    assert (breaker.state, breaker.allowance(7), breaker.opens_in()) == ("closed", 7, 0)
    assert not fail(breaker)  # what went before no longer counts


def test_a_failed_probe_opens_it_again(breaker: Breaker, clock: HeldClock) -> None:
    fail(breaker, LEAST_CALLS)
    clock.advance(OPEN_FOR)
    breaker.allowance(1)
    assert fail(breaker)
    assert breaker.state == "open"
    clock.advance(OPEN_FOR)
    assert breaker.allowance(1) == 1


def test_calls_under_way_when_it_opened_do_not_close_it(breaker: Breaker) -> None:
    fail(breaker, LEAST_CALLS)
    breaker.record(ok=True)
    assert breaker.state == "open"


@pytest.mark.parametrize("by", [-60, 60])
def test_it_stays_open_for_so_long_however_the_clock_is_set(breaker: Breaker, clock: HeldClock, by: int) -> None:
    for _ in range(LEAST_CALLS):
        breaker.record(ok=False)
    clock.leap(by * MINUTE)
    assert (breaker.state, breaker.opens_in()) == ("open", OPEN_FOR / SECOND)
    clock.advance(OPEN_FOR)
    assert (breaker.state, breaker.down_for()) == ("half_open", OPEN_FOR / SECOND)
