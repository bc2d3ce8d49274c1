"""A circuit breaker per gateway: a provider that fails most calls is left alone for a while, then probed."""

from __future__ import annotations

from collections import deque

from waypost.clock import MINUTE, SECOND, Clock

WINDOW = 5 * MINUTE
LEAST_CALLS = 10
FAILURE_SHARE = 0.7
OPEN_FOR = 30 * SECOND
#: The window is shorter where there were more calls in it.
MOST_CALLS = 1000


class Breaker:
    """Closed while calls succeed; open after `FAILURE_SHARE` of at least `LEAST_CALLS` failed; then half-open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: deque[tuple[int, bool]] = deque()
        self._failures = 0
        self._open_until = 0
        self._opened_at = 0
        self._probing = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half_open`."""
        if self._open_until == 0:
            return "closed"
        return "open" if self._clock.monotonic() < self._open_until else "half_open"

    def allowance(self, wanted: int) -> int:
        """How many calls may be made now: all, none, or one probe."""
        state = self.state
        if state == "closed":
            return wanted
        if state == "open" or self._probing:
            return 0
        self._probing = True
        return min(1, wanted)

    def unused(self) -> None:
        """The allowed probe found nothing to send."""
        self._probing = False

    def opens_in(self) -> float:
        """Seconds until calls may be made again; 0 when they may."""
        return max(0.0, (self._open_until - self._clock.monotonic()) / SECOND) if self._open_until else 0.0

    def down_for(self) -> float:
        """Seconds since it opened, with whatever probes have failed since then; 0 while it is closed."""
        return max(0.0, (self._clock.monotonic() - self._opened_at) / SECOND) if self._open_until else 0.0

    def record(self, *, ok: bool) -> bool:
        """Take note of a call; say whether this opened the breaker."""
        now = self._clock.monotonic()
        if self._open_until:
            self._probing = False
            if now < self._open_until:
                return False  # a call that was under way when it opened
            if ok:
                self._open_until = 0
                self._calls.clear()
                self._failures = 0
                return False
            self._open_until = now + OPEN_FOR
            return True
        self._calls.append((now, ok))
        self._failures += not ok
        while len(self._calls) > MOST_CALLS or self._calls[0][0] < now - WINDOW:
            _, was_ok = self._calls.popleft()
            self._failures -= not was_ok
        if not ok and len(self._calls) >= LEAST_CALLS and self._failures >= FAILURE_SHARE * len(self._calls):
            self._opened_at, self._open_until = now, now + OPEN_FOR
            return True
        return False
