"""SQLite: one writer thread, whose queued transactions share a commit; a few reader threads beside it.

`synchronous=FULL` in WAL mode: what was committed survives a power cut. Every write begins with `BEGIN IMMEDIATE`,
since upgrading a read transaction fails at once under contention, whatever the busy timeout. The library is pysqlite3,
which brings a SQLite without the WAL-reset bug of 3.7.0–3.51.2 (fixed in 3.51.3).
"""

from __future__ import annotations

import asyncio
import queue
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pysqlite3 import dbapi2
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from waypost.clock import SystemClock
from waypost.store.database import StoreUnavailableError, Work
from waypost.store.driver import run

T = TypeVar("T")

READERS = 2
#: As many transactions as may share one commit; far more than ever wait.
MAX_SHARED = 256
#: With less room on the disk, in bytes, it is full soon: the write-ahead log alone grows to as much.
LEAST_ROOM = 16_000_000

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-65536",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA temp_store=MEMORY",
)


def engine_for(url: str, *, read_only: bool = False, begins: bool = True) -> Engine:
    """A SQLAlchemy engine on a SQLite file with our pragmas; `begins` False leaves transactions to its user."""
    engine = create_engine(
        url,
        module=dbapi2,
        poolclass=QueuePool,
        pool_size=READERS + 1,
        max_overflow=0,
        hide_parameters=True,  # an error's text must hold nobody's address
        connect_args={"check_same_thread": False, "cached_statements": 512},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
            # Only the writer checkpoints: two connections at it at once is what the WAL-reset bug needed.
            cursor.execute("PRAGMA wal_autocheckpoint=0")
        cursor.close()

    if begins:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


class _Job:
    __slots__ = ("error", "future", "is_statement", "loop", "result", "work")

    def __init__(
        self, work: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop, *, is_statement: bool
    ) -> None:
        self.work = work
        self.is_statement = is_statement
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class SqliteDatabase:
    """The embedded default: one process, one file, no other service."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = SystemClock()
        self._writing = engine_for(url, begins=False)
        self._reading = engine_for(url, read_only=True)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="waypost-reader")
        self._writer = threading.Thread(target=self._run, name="waypost-writer", daemon=True)
        self._closed = False

    @classmethod
    def open(cls, url: str) -> SqliteDatabase:
        """Open the file, creating it and its folder. Raises `StoreUnavailableError`."""
        path = url.removeprefix("sqlite:///")
        database = cls(url)
        try:
            Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
            with database._writing.connect():
                pass
        except DatabaseError as error:
            raise StoreUnavailableError(f"{path} cannot be opened ({error.orig})") from error
        except OSError as error:
            raise StoreUnavailableError(f"{path} cannot be opened ({error.strerror})") from error
        database._writer.start()
        return database

    async def write(self, work: Work[T]) -> T:
        """Queue the work for the writer; return after the commit it took part in."""
        return await self._queued(work, is_statement=False)

    async def _queued(self, work: Work[T], *, is_statement: bool) -> T:
        if self._closed:
            raise StoreUnavailableError("the database is closed")
        job = _Job(work, asyncio.get_running_loop(), is_statement=is_statement)
        self._jobs.put(job)
        result: T = await job.future
        return result

    async def write_alone(self, work: Work[T]) -> T:
        """Like `write`; the statement is committed by itself where no other work waits."""
        return await self._queued(work, is_statement=True)

    async def read(self, work: Work[T]) -> T:
        """Run the work in a reader's thread, on a snapshot."""
        if self._closed:
            raise StoreUnavailableError("the database is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def notify(self, _channel: str, _told: str) -> None:
        """Do nothing: there is no other process."""

    async def listen(self, _channel: str, _heard: Callable[[str], None]) -> None:
        """Hear nothing, since there is nobody, until cancelled."""
        await asyncio.Event().wait()

    async def sync_clock(self) -> None:
        """Follow the machine's clock, which is set now and then, and goes on while the machine sleeps."""
        self.clock.set_now(time.time_ns() // 1000)

    async def check_room(self) -> None:
        """Raise `StoreUnavailableError` while the disk is nearly full: what is small finds room where sends do not."""
        try:
            free = (await asyncio.to_thread(shutil.disk_usage, self.url.removeprefix("sqlite:///"))).free
        except OSError as error:
            raise StoreUnavailableError(f"SQLite: {error.strerror}") from error
        if free < LEAST_ROOM:
            raise StoreUnavailableError(f"SQLite: the disk has {free / 1e6:.0f} MB left")

    async def close(self) -> None:
        """Write what is queued, then close."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown()
        self._reading.dispose()
        self._writing.dispose()

    def _read(self, work: Work[T]) -> T:
        try:
            with self._reading.connect() as conn, conn.begin():
                return work(conn)
        except DatabaseError as error:
            raise _unavailable(error) from error

    def _run(self) -> None:
        open_ended = True
        with self._writing.connect() as conn:
            while open_ended:
                jobs: list[_Job] = []
                job = self._jobs.get()
                while True:
                    if job is None:
                        open_ended = False
                        break
                    jobs.append(job)
                    if len(jobs) >= MAX_SHARED:
                        break
                    try:
                        job = self._jobs.get_nowait()
                    except queue.Empty:
                        break
                if jobs:
                    self._commit(conn, jobs)

    def _commit(self, conn: Connection, jobs: list[_Job]) -> None:
        """Run the jobs in one transaction, each behind a savepoint of its own, and resolve them after the commit."""
        alone = len(jobs) == 1
        try:
            if alone and jobs[0].is_statement:
                self._attempt(conn, jobs[0], alone=True)
            else:
                with conn.begin():
                    run(conn, "BEGIN IMMEDIATE")
                    for job in jobs:
                        self._attempt(conn, job, alone=alone)
        except BaseException as error:  # noqa: BLE001 - every job hears of it, whatever it is
            if _in_transaction(conn):  # what one statement left open would be in everybody's way
                conn.connection.driver_connection.rollback()  # type: ignore[union-attr]
            failure = _unavailable(error)
            for job in jobs:
                job.error = job.error or failure
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in jobs:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, resolved in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, resolved)

    @staticmethod
    def _attempt(conn: Connection, job: _Job, *, alone: bool) -> None:
        if alone:
            try:
                job.result = job.work(conn)
            except BaseException as error:
                job.error = _unavailable(error)
                raise
            return
        run(conn, "SAVEPOINT job")
        try:
            job.result = job.work(conn)
        except BaseException as error:
            job.error = _unavailable(error)
            if not _in_transaction(conn):
                raise  # a full disk rolls the whole transaction back by itself
            run(conn, "ROLLBACK TO job")
        run(conn, "RELEASE job")


def _in_transaction(conn: Connection) -> bool:
    return bool(conn.connection.driver_connection.in_transaction)  # type: ignore[union-attr]


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        job.resolve()


def _unavailable(error: BaseException) -> BaseException:
    """A full disk, a locked file or a broken one is the store's trouble; everything else is the caller's own."""
    if (
        isinstance(error, OperationalError)
        or type(error) is DatabaseError  # the file is damaged; what statements did wrong has kinds of its own
        or (isinstance(error, DBAPIError) and error.connection_invalidated)
    ):
        return StoreUnavailableError(f"SQLite: {error.orig}")
    return error
