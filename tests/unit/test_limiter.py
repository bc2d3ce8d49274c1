"""The request rate of an app."""

from __future__ import annotations

import pytest
from held_clock import HeldClock
from waypost.admission.limiter import BURST, Limiter
from waypost.clock import SECOND
from waypost.refusals import RateLimited


def test_an_app_may_burst_then_keeps_its_rate() -> None:
    clock = HeldClock()
    limiter = Limiter(clock, 5)
    for _ in range(5 * BURST):
        limiter.take("app_a")
    with pytest.raises(RateLimited) as refused:
        limiter.take("app_a")
    assert refused.value.retry_after == 1
    clock.advance(SECOND // 5)
    limiter.take("app_a")
    with pytest.raises(RateLimited):
        limiter.take("app_a")


def test_apps_do_not_share_a_bucket() -> None:
    limiter = Limiter(HeldClock(), 1)
    for _ in range(BURST):
        limiter.take("app_a")
    limiter.take("app_b")
    with pytest.raises(RateLimited):
        limiter.take("app_a")


def test_zero_limits_nobody() -> None:
    limiter = Limiter(HeldClock(), 0)
    for _ in range(10_000):
        limiter.take("app_a")


@pytest.mark.parametrize("by", [-600, 600])
def test_a_clock_that_is_set_changes_nothing(by: int) -> None:
    clock = HeldClock()
    limiter = Limiter(clock, 5)
    for _ in range(10):
        limiter.take("app_a")
    clock.leap(by * SECOND)
    with pytest.raises(RateLimited):
        limiter.take("app_a")
    clock.advance(SECOND)
    limiter.take("app_a")
