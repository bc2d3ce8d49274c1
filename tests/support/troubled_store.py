"""A store that fails at random: before it has done anything, or once it has and nobody is told."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from waypost.store.database import CommitUnknownError, Database, StoreUnavailableError, Work

T = TypeVar("T")


class TroubledStore(Database):
    """A node's way to a database; the test's own is better a direct one, for it closes nothing."""

    def __init__(self, inner: Database, chance: random.Random) -> None:
        self._inner = inner
        self._chance = chance
        self.clock, self.url = inner.clock, inner.url
        #: How much of what is asked fails, from 0 to 1, half of it once it is done; at 2 nothing gets through.
        self.share = 0.0

    async def write(self, work: Work[T]) -> T:
        return await self._tried(self._inner.write, work)

    async def write_alone(self, work: Work[T]) -> T:
        return await self._tried(self._inner.write_alone, work)

    async def _tried(self, write: Callable[[Work[T]], Awaitable[T]], work: Work[T]) -> T:
        lot = self._chance.random()
        if lot < self.share / 2:
            raise StoreUnavailableError
        result = await write(work)
        if lot < self.share:
            raise CommitUnknownError
        return result

    async def read(self, work: Work[T]) -> T:
        if self._chance.random() < self.share / 2:
            raise StoreUnavailableError
        return await self._inner.read(work)

    async def notify(self, *told: Any) -> None:
        """Hints get lost."""

    async def listen(self, *heard: Any) -> None:
        raise StoreUnavailableError

    async def sync_clock(self) -> None:
        """The test's clock stands still."""

    async def check_room(self) -> None:
        """There is enough."""

    async def close(self) -> None:
        """Whoever made the database closes it."""
