"""A clock that stands still until a test moves it, also in the place of a database's own."""

from __future__ import annotations

import math

from waypost.clock import SECOND, SystemClock


class HeldClock(SystemClock):
    """Stands still; does not follow the database."""

    def __init__(self, now: int = 1_800_000_000 * SECOND) -> None:
        self._now = now
        self._passed = 0
        self._set_back_by = 0
        self._since_leap = math.inf

    def now(self) -> int:
        return self._now

    def set_now(self, now: int) -> None:
        """The database's clock is not followed."""

    def monotonic(self) -> int:
        return self._passed

    def move_to(self, now: int) -> None:
        self.advance(now - self._now)

    def advance(self, micros: int) -> None:
        self._now += micros
        self._passed += micros
        self._since_leap += micros / SECOND

    def leap(self, micros: int) -> None:
        """Advance without time's passing, or go back."""
        self._now += micros
        self._set_back_by = max(0, self._set_back_by - micros)
        if micros > 0:
            self._since_leap = 0.0

    def since_leap(self) -> float:
        return self._since_leap
