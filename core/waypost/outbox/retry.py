"""When a message that was not sent is tried again, and through which gateway.

Each choice of the route gets `TRIES` tries with exponential backoff and jitter, then the next choice has its turn whose
gateway is not disabled; the last one keeps trying until the deadline, when the sweeper lets the step expire.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import tenacity

from waypost.clock import SECOND
from waypost.plugin.errors import AccountBlocked, NotSent, RateLimited, Transient
from waypost.progress.case import Retry
from waypost.store.steps import Step

TRIES = 4
#: No provider's `Retry-After` is waited for longer than this, in seconds.
LONGEST_WAIT = 3600.0
#: Nor is anybody asked again sooner than after this.
LEAST_WAIT = 1.0

_BACKOFF = tenacity.wait_exponential_jitter(initial=1, max=600, exp_base=3, jitter=1)
_RETRYING = tenacity.Retrying()


def backoff(tries: int) -> float:
    """The pause in seconds after so many tries: about 1, 3, 9, 27, … up to ten minutes."""
    state = tenacity.RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = max(1, tries)
    return _BACKOFF(state)


def is_given_up(step: Step, choices: int, error: NotSent, left_out: Collection[int] = ()) -> bool:
    """Whether an error that is worth only so many tries ends a step: they are used up, and no other gateway is left."""
    return step.tries + 1 >= _most_tries(error) and _next_choice(step, choices, left_out) is None


def _next_choice(step: Step, choices: int, left_out: Collection[int]) -> int | None:
    return next((choice for choice in range(step.choice + 1, choices) if choice not in left_out), None)


def _most_tries(error: NotSent) -> float:
    return error.tries if isinstance(error, Transient) and error.tries is not None else math.inf


def decide(step: Step, choices: int, error: NotSent, now: int, left_out: Collection[int] = ()) -> Retry:
    """How a step goes on after an error that left it unsent; `left_out` are choices that it must not go on by."""
    tries = step.tries + 1
    delay = backoff(tries)
    if isinstance(error, RateLimited) and error.retry_after is not None:
        # The provider names the least it wants; who asks for nothing, or for the same again and again, is spared more.
        delay = max(min(error.retry_after, LONGEST_WAIT), delay if tries >= TRIES else LEAST_WAIT)
    due_at = now + round(delay * SECOND)
    most = _most_tries(error)
    exhausted = tries >= min(TRIES, most) or isinstance(error, AccountBlocked) or due_at >= step.deadline
    other = _next_choice(step, choices, left_out)
    if exhausted and other is not None:
        return Retry(due_at=now, choice=other, tries=0)
    return Retry(due_at=due_at, choice=step.choice, tries=tries)
