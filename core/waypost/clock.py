"""Time: integer microseconds since 1970-01-01 UTC.

Leases and schedules follow the database's clock, so that nodes with wrong clocks agree: a node reads the database's
time now and then and counts on from there by its own monotonic clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Whatever can say what time it is."""

    def now(self) -> int:
        """Microseconds since the epoch."""


class SystemClock:
    """The machine's own clock, which never runs backwards within a process."""

    def __init__(self) -> None:
        self.set_now(time.time_ns() // 1000)

    def now(self) -> int:
        """Microseconds since the epoch, counted on by the monotonic clock."""
        return self._anchor + time.monotonic_ns() // 1000

    def set_now(self, now: int) -> None:
        """Follow another clock from here on, such as the database's."""
        self._anchor = now - time.monotonic_ns() // 1000


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
