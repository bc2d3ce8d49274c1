"""A request rate for each app, on each node: a partner's runaway loop must not crowd the others out."""

from __future__ import annotations

import math

from waypost.clock import SECOND, Clock
from waypost.refusals import RateLimited

#: How many seconds' worth of requests may come at once.
BURST = 2


class Limiter:
    """A token bucket per app; `per_second` 0 limits nobody."""

    def __init__(self, clock: Clock, per_second: int) -> None:
        self._clock = clock
        self._rate = per_second
        self._buckets: dict[str, tuple[float, int]] = {}

    def take(self, app_id: str) -> None:
        """Count a request. Raises `RateLimited` with the seconds to wait."""
        if not self._rate:
            return
        now = self._clock.monotonic()
        full = float(self._rate * BURST)
        tokens, since = self._buckets.get(app_id, (full, now))
        tokens = min(full, tokens + (now - since) / SECOND * self._rate)
        if tokens < 1:
            self._buckets[app_id] = (tokens, now)
            raise RateLimited(retry_after=max(1, math.ceil((1 - tokens) / self._rate)))
        self._buckets[app_id] = (tokens - 1, now)
