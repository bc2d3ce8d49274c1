"""Time: integer microseconds since 1970-01-01 UTC.

Leases and schedules follow the database's clock, so that nodes with wrong clocks agree: a node reads the database's
time now and then and counts on from there by its own monotonic clock. What one process alone waits for, and does not
store, goes by the monotonic clock itself, which nobody sets.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: A clock that is set by more than this at a time leaps: somebody corrected it, or the machine slept.
LEAP = 5 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Whatever can say what time it is."""

    def now(self) -> int:
        """Microseconds since the epoch."""

    def monotonic(self) -> int:
        """Microseconds that have truly passed since some moment."""

    def latest(self) -> int:
        """What time it would be had it not been set back, if it was."""

    def since_leap(self) -> float:
        """Seconds that have truly passed since it leapt forward; infinite where it never did."""


class SystemClock:
    """The machine's own clock; within a process it runs backwards only where the one that it follows is set back."""

    def __init__(self) -> None:
        self._anchor = time.time_ns() // 1000 - self.monotonic()
        self._is_following = False
        self._leapt_at = -math.inf
        self._set_back_by = 0

    def now(self) -> int:
        """Microseconds since the epoch, counted on by the monotonic clock."""
        return self._anchor + time.monotonic_ns() // 1000

    def monotonic(self) -> int:
        """Microseconds that have truly passed since some moment."""
        return time.monotonic_ns() // 1000

    def set_now(self, now: int) -> None:
        """Follow another clock from here on, such as the database's."""
        anchor = now - self.monotonic()
        by = anchor - self._anchor if self._is_following else 0
        if by > LEAP:
            self._leapt_at = time.monotonic()
        if abs(by) > LEAP:
            self._set_back_by = max(0, self._set_back_by - by)
        self._anchor, self._is_following = anchor, True

    def latest(self) -> int:
        """What time it would be had it not been set back by more than `LEAP` at a time, if it was not set on again.

        For what must surely be over in time: a provider's memory, say, which no clock of ours prolongs.
        """
        return self.now() + self._set_back_by

    def since_leap(self) -> float:
        """Seconds that have truly passed since it was set forward by more than `LEAP`; infinite where it never was.

        Not by what it was set to first: nothing had been measured by it.
        """
        return time.monotonic() - self._leapt_at


def to_datetime(micros: int) -> datetime:
    """Microseconds as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def from_datetime(moment: datetime) -> int:
    """An aware datetime as microseconds."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def iso(micros: int) -> str:
    """Microseconds as ISO 8601 in UTC, to the millisecond."""
    return to_datetime(micros).isoformat(timespec="milliseconds").replace("+00:00", "Z")
