"""When a message that was not sent is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost.clock import SECOND
from waypost.outbox.retry import LEAST_WAIT, LONGEST_WAIT, TRIES, decide
from waypost.plugin.errors import RateLimited, Transient
from waypost.store.steps import Step

DAY = 86_400 * SECOND


def step(tries: int) -> Step:
    return Step("msg_1", 1, "app", "org", "SMS", "sending", "SENDING", "gw_1", "[]", 0, DAY, 0, tries=tries)


@pytest.mark.parametrize(("asked", "waited"), [(0, LEAST_WAIT), (-5, LEAST_WAIT), (30, 30), (1e9, LONGEST_WAIT)])
def test_a_provider_has_the_pause_it_asks_for_within_reason(asked: float, waited: float) -> None:
    retry = decide(step(0), 1, RateLimited(retry_after=asked), 0)
    assert retry.due_at == waited * SECOND


@given(st.floats(0, 20), st.integers(TRIES - 1, 50))
def test_one_that_asks_again_and_again_is_asked_ever_more_rarely(asked: float, tries: int) -> None:
    limited = decide(step(tries), 1, RateLimited(retry_after=asked), 0)
    plain = decide(step(tries), 1, Transient(), 0)
    assert limited.due_at >= plain.due_at - SECOND  # but for the jitter
    assert limited.due_at >= 20 * SECOND
