"""The database, as the rest of the core sees it: `read` and `write` take a function of a SQLAlchemy connection.

The function is synchronous and the same on both databases. On SQLite it runs in a thread; on PostgreSQL it runs in
the event loop under SQLAlchemy's greenlet bridge over asyncpg. It may be run again after a serialization failure, so
it must not touch anything but the connection and its own locals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from waypost.clock import SystemClock

T = TypeVar("T")
Work = Callable[[Connection], T]


class StoreUnavailableError(Exception):
    """The database cannot be reached or written to just now; try again shortly."""


class CommitUnknownError(StoreUnavailableError):
    """The connection broke while a transaction was being committed; it may be stored: look before retrying."""


class Database(Protocol):
    """A store that survives a power cut once `write` has returned."""

    #: Follows the database's own clock; see `waypost.clock`.
    clock: SystemClock
    url: str

    async def write(self, work: Work[T]) -> T:
        """Run the work in one durable transaction. Raises `StoreUnavailableError` or whatever the work raises."""

    async def write_alone(self, work: Work[T]) -> T:
        """Run the work, which must be a single statement, with no transaction around it. Raises as `write` does."""

    async def read(self, work: Work[T]) -> T:
        """Run the work on a consistent snapshot. Raises `StoreUnavailableError` or whatever the work raises."""

    async def notify(self, channel: str, told: str, /) -> None:
        """Tell other processes something, in less than 8,000 bytes. Raises `StoreUnavailableError`."""

    async def listen(self, channel: str, heard: Callable[[str], None], /) -> None:
        """Hear what other processes tell, until the connection breaks. Raises `StoreUnavailableError`."""

    async def sync_clock(self) -> None:
        """Let `clock` follow the database's clock again."""

    async def check_room(self) -> None:
        """Raise `StoreUnavailableError` where there will soon be no room to write; what others run does not tell."""

    async def close(self) -> None:
        """Finish what was begun, then let go of every connection."""
