"""PostgreSQL: truth and queue in one. Work runs under SQLAlchemy's greenlet bridge over asyncpg.

Transactions are begun and ended on the driver's own connection, since the hot paths' statements run there too.
Deadlocks and serialization failures are retried here: nothing was committed. A connection that breaks during COMMIT
is not: nobody knows whether it was stored, and only the caller's own keys can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from waypost.clock import SECOND, SystemClock
from waypost.store.address import postgres_address, shown
from waypost.store.database import CommitUnknownError, StoreUnavailableError, Work
from waypost.store.driver import FAULTS, as_sqlalchemy, run
from waypost.store.unreachable import reason

T = TypeVar("T")

POOL_SIZE = 12
#: So many of them stay out of the pool between two uses: those of the hot paths.
KEPT = 4
#: How old a connection may become, in seconds.
RECYCLE = 1800
RETRIES = 4
#: How long one statement may take before its connection is given up, in seconds: a server that is cut off says nothing.
PATIENCE = 30.0
#: How long a transaction that failed may take to be rolled back, in seconds.
ROLLBACK = 5.0
#: How often a connection that only listens is tried, in seconds.
PING = 10.0
#: How late a server's time may come to be still followed, in seconds.
LATE = 1.0
#: How statements are isolated, whatever the server's default is: who waited for a lock must see what was done under it.
#: And what is done about a node that was cut off or stands still: its locks must not hold up all others.
_SERVER_SETTINGS = {
    "application_name": "waypost",
    "default_transaction_isolation": "read committed",
    "jit": "off",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
#: Whom it does not let in.
_REFUSED = {"28": "it refuses this user or password", "3D": "there is no database of this name"}
_RETRYABLE = frozenset({"40001", "40P01"})
_READ_ONLY = "25006"
#: What it says where somebody else is in the way, and we may succeed later.
_LATER = {
    _READ_ONLY: "25006: it only reads; is it a standby?",
    "25P03": "25P03: a transaction was silent for too long",
    "55P03": "55P03: a lock was not to be had in time",
}
_NOW = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")
#: Its commit need not wait for the disk, as every commit of a notification otherwise does.
_NOTIFY = "SELECT pg_notify($1, $2), set_config('synchronous_commit', 'off', true)"


@dataclass(slots=True)
class _Kept:
    """A connection in use or kept for the next: to fetch one from the pool each time costs as much as a statement."""

    conn: AsyncConnection
    driver: Any
    since: float

    async def discard(self) -> None:
        """Close it, and let the pool make a new one."""
        await self.conn.invalidate()
        await self.conn.close()


class PostgresDatabase:
    """One PostgreSQL, shared by as many nodes as needed."""

    def __init__(self, url: str, patience: float | None = PATIENCE) -> None:
        self.url = url
        self.clock = SystemClock()
        self._patience = patience
        self._address = postgres_address(url)
        self._engine = self._engine_with(
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=10,
            # The connection used last, whose server process has its caches filled, rather than each in turn.
            pool_use_lifo=True,
            pool_recycle=RECYCLE,
        )
        self._kept: list[_Kept] = []
        #: So many wait for the pool, which nobody tells of what is kept.
        self._wanting = 0
        self._closed = False
        self._has_clock = False

    def _engine_with(self, **pool: Any) -> AsyncEngine:
        return create_async_engine(
            self._address.url,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # an error's text must hold nobody's address
            connect_args={
                "timeout": self._address.timeout,
                "command_timeout": self._patience,
                "server_settings": _SERVER_SETTINGS,
                **self._address.arguments,
            },
            **pool,
        )

    @classmethod
    async def open(cls, url: str, patience: float | None = PATIENCE) -> PostgresDatabase:
        """Connect, and follow the database's clock; statements may take so long, in seconds, None: as long as they do.

        Raises `StoreUnavailableError`.
        """
        database = cls(url, patience)
        try:
            await database.sync_clock()
        except StoreUnavailableError as error:
            raise StoreUnavailableError(f"{shown(url)}: {str(error).removeprefix('PostgreSQL: ')}") from error
        return database

    async def write(self, work: Work[T]) -> T:
        """Run the work in one transaction; again after a deadlock or a serialization failure."""
        return await self._until_done(self._write, work)

    async def write_alone(self, work: Work[T]) -> T:
        """Run the work's one statement, which PostgreSQL makes a transaction of its own; again as in `write`."""
        return await self._until_done(self._write_alone, work)

    async def _until_done(self, attempt: Callable[[Work[T]], Awaitable[T]], work: Work[T]) -> T:
        for retry in range(RETRIES):
            try:
                return await attempt(work)
            except DBAPIError as error:
                if retry + 1 < RETRIES and _sqlstate(error) in _RETRYABLE:
                    # A pause of chance, so that the two that stood in each other's way do not do so again.
                    await asyncio.sleep(random.uniform(0, 0.02 * 2**retry))  # noqa: S311 - chance, not secrecy
                    continue
                raise _unavailable(error) from error
            except (*FAULTS, PoolTimeoutError) as error:
                raise StoreUnavailableError(f"PostgreSQL: {reason(error)}") from error
        raise AssertionError("unreachable")

    async def _write_alone(self, work: Work[T]) -> T:
        kept = await self._connection()
        try:
            result = await kept.conn.run_sync(work)
        except DBAPIError as error:
            if error.connection_invalidated:
                await kept.discard()
                raise CommitUnknownError(CommitUnknownError.__doc__) from error
            await (kept.discard() if _is_useless(error) else self._keep(kept))
            raise
        except BaseException:
            await kept.discard()
            raise
        await self._keep(kept)
        return result

    async def _write(self, work: Work[T]) -> T:
        async with self._begun("BEGIN") as kept:
            result = await kept.conn.run_sync(work)
            try:
                outcome = await kept.driver.execute("COMMIT")
            except FAULTS as error:
                if isinstance(error, asyncpg.PostgresError) and not kept.driver.is_closed():
                    raise as_sqlalchemy(error, "COMMIT") from error
                raise CommitUnknownError(CommitUnknownError.__doc__) from error
            if outcome != "COMMIT":
                raise RuntimeError("the work went on after a statement that failed, so nothing was committed")
            return result

    async def read(self, work: Work[T]) -> T:
        """Run the work on one snapshot, and keep nothing of what it may write."""
        try:
            async with self._begun("BEGIN ISOLATION LEVEL REPEATABLE READ") as kept:
                result = await kept.conn.run_sync(work)
                await kept.driver.execute("ROLLBACK")
                return result
        except DBAPIError as error:
            raise _unavailable(error) from error
        except (*FAULTS, PoolTimeoutError) as error:
            raise StoreUnavailableError(f"PostgreSQL: {reason(error)}") from error

    @asynccontextmanager
    async def _begun(self, begin: str) -> AsyncIterator[_Kept]:
        """A connection with a transaction begun, which is rolled back if what is done with it fails."""
        kept = await self._connection()
        try:
            try:
                await kept.driver.execute(begin)
            except FAULTS as error:
                raise as_sqlalchemy(error, begin) from error
            yield kept
        except BaseException as error:
            is_usable = False
            try:
                is_usable = not _is_useless(error) and await _rolled_back(kept.driver)
            finally:
                await (self._keep(kept) if is_usable else kept.discard())
            raise
        await self._keep(kept)

    async def _connection(self) -> _Kept:
        """A connection that is not known to be closed, as all of them are once the server was started again."""
        while self._kept:
            kept = self._kept.pop()
            if not kept.driver.is_closed() and time.monotonic() - kept.since < RECYCLE:
                return kept
            await kept.discard()
        while True:
            self._wanting += 1
            try:
                conn = await self._engine.connect()
            finally:
                self._wanting -= 1
            try:
                driver: Any = (await conn.get_raw_connection()).driver_connection
                if not driver.is_closed():
                    return _Kept(conn, driver, time.monotonic())
                await conn.invalidate()
            except BaseException:
                await conn.close()
                raise
            await conn.close()

    async def _keep(self, kept: _Kept) -> None:
        if len(self._kept) < KEPT and not self._wanting and not self._closed:
            self._kept.append(kept)
        else:
            await kept.conn.close()  # back into the pool

    async def notify(self, channel: str, told: str) -> None:
        """Tell other processes something, in less than 8,000 bytes, which a crash may lose.

        Raises `StoreUnavailableError`.
        """
        await self.write_alone(lambda conn: run(conn, _NOTIFY, (channel, told)))

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Hear what other processes tell, by a connection of its own, until it breaks.

        Raises `StoreUnavailableError`.
        """
        gone = asyncio.Event()
        try:
            async with self._engine_with(poolclass=NullPool).connect() as conn:
                driver: Any = (await conn.get_raw_connection()).driver_connection
                driver.add_termination_listener(lambda _: gone.set())
                await driver.add_listener(channel, lambda *notice: heard(notice[-1]))
                while not gone.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(gone.wait(), PING)
                    await driver.execute("SELECT 1", timeout=ROLLBACK)
        except (*FAULTS, DBAPIError, TimeoutError) as error:
            raise StoreUnavailableError(f"PostgreSQL, while listening: {reason(error)}") from error

    async def sync_clock(self) -> None:
        """Let our clock follow the server's, unless the answer is late: it would be set back by as much."""
        took, answered, now = await self.read(_asked_for_its_time)
        if took < LATE or not self._has_clock:
            self.clock.set_now(now + round((took / 2 + time.monotonic() - answered) * SECOND))
            self._has_clock = True

    async def check_room(self) -> None:
        """Say nothing: the disk is the server's."""

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        while self._kept:
            await self._kept.pop().discard()
        await self._engine.dispose()


def _asked_for_its_time(conn: Connection) -> tuple[float, float, int]:
    """The quickest of a few answers: how long it took, when it was there, and the server's time.

    It may be wrong by half of what it took. The first includes what the server does once for each connection.
    """
    answers = []
    for _ in range(3):
        asked = time.monotonic()
        now = int(conn.execute(_NOW).scalar_one())
        answered = time.monotonic()
        answers.append((answered - asked, answered, now))
    return min(answers)


async def _rolled_back(driver: Any) -> bool:
    """End a transaction that failed, and say whether the connection is of any further use."""
    try:
        async with asyncio.timeout(ROLLBACK):
            await driver.execute("ROLLBACK")
    except FAULTS:
        return False
    return True


def _is_useless(error: BaseException) -> bool:
    """Whether a connection is of no further use after this: it broke, or its server only reads since a failover."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _sqlstate(error) == _READ_ONLY)


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def _unavailable(error: DBAPIError) -> Exception:
    """A server that is gone, full or read-only is the store's trouble; everything else is the caller's own."""
    state = _sqlstate(error) or ""
    lost = error.connection_invalidated or isinstance(error, InterfaceError)
    if (
        lost
        or state[:2] in {"08", "53", "57", "58"}
        or state[:2] in _REFUSED
        or state in _LATER
        or state in _RETRYABLE  # again and again: it is too busy
        or (isinstance(error, OperationalError) and not state)
    ):
        words = reason((error.orig and error.orig.__cause__) or error.orig)
        said = _REFUSED.get(state[:2]) or _LATER.get(state) or (f"{state}: {words}" if state else words)
        return StoreUnavailableError(f"PostgreSQL: {said}")
    return error
