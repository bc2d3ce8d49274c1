"""PostgreSQL, when one side falls silent: a node that stands still, a server that is gone, one that only reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only
from waypost.clock import SECOND, SystemClock
from waypost.store import postgres as store
from waypost.store.database import CommitUnknownError, StoreUnavailableError
from waypost.store.driver import run
from waypost.store.postgres import PostgresDatabase

pytestmark = pytest.mark.postgres

_SILENT_SOON = {"idle_in_transaction_session_timeout": "300ms", "lock_timeout": "2s"}


class Relay:
    """A way to the server over loopback that can be told to swallow everything."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = f"{unquote(parse_qs(parts.query)['host'][0])}/.s.PGSQL.{parts.port or 5432}"
        self._path = parts.path
        self._connections = 0
        self._silent: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}{self._path}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def fall_silent(self) -> None:
        """Whatever is connected now is taken by nobody any more; no side hangs up."""
        self._silent = set(range(1, self._connections + 1))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        up, down = await asyncio.open_unix_connection(self._socket)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    if number not in self._silent:
                        sink.write(data)
            finally:
                sink.close()

        for pair in ((reader, down), (up, writer)):
            task = asyncio.create_task(pump(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def test_a_server_that_falls_silent_is_not_waited_for(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROLLBACK", 0.2)
    async with Relay(postgres_url).running() as relay:
        database = await PostgresDatabase.open(relay.url, patience=0.3)
        try:
            await asyncio.gather(*(database.write(lambda conn: len(run(conn, "SELECT 1"))) for _ in range(3)))
            relay.fall_silent()
            async with asyncio.timeout(15):
                for _ in range(6):
                    try:
                        await database.write(lambda conn: len(run(conn, "SELECT 1")))
                        break
                    except StoreUnavailableError:
                        continue
                else:
                    pytest.fail("no new connection was made")
            relay.fall_silent()
            async with asyncio.timeout(15):
                with pytest.raises(CommitUnknownError):
                    await database.write_alone(lambda conn: len(run(conn, "SELECT 1")))
        finally:
            async with asyncio.timeout(15):
                await database.close()


async def test_a_patient_one_waits(postgres_url: str) -> None:
    impatient = await PostgresDatabase.open(postgres_url, patience=0.2)
    patient = await PostgresDatabase.open(postgres_url, patience=None)
    with pytest.raises(StoreUnavailableError):
        await impatient.read(lambda conn: len(run(conn, "SELECT pg_sleep(5)")))
    assert await patient.read(lambda conn: len(run(conn, "SELECT pg_sleep(0.4)"))) == 1
    assert await impatient.read(lambda conn: len(run(conn, "SELECT 1"))) == 1
    await patient.close()
    await impatient.close()


async def test_a_node_that_stands_still_amid_its_work_holds_nobody_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine is frozen, or cut off: its locks must not be held for as long."""
    assert _SILENT_SOON.keys() <= store._SERVER_SETTINGS.keys()
    monkeypatch.setattr(store, "_SERVER_SETTINGS", store._SERVER_SETTINGS | _SILENT_SOON)
    frozen, well = await PostgresDatabase.open(postgres_url), await PostgresDatabase.open(postgres_url)
    held, go = asyncio.Event(), asyncio.Event()
    lock = "SELECT pg_advisory_xact_lock(7)"

    def hold(conn: Connection) -> None:
        run(conn, lock)
        held.set()
        await_only(go.wait())
        run(conn, "SELECT 1")

    holder = asyncio.create_task(frozen.write(hold))
    await held.wait()
    began = time.monotonic()
    await well.write(lambda conn: len(run(conn, lock)))
    assert time.monotonic() - began < 2
    go.set()
    with pytest.raises(StoreUnavailableError):
        await holder
    assert await frozen.write(lambda conn: len(run(conn, "SELECT 1"))) == 1
    await frozen.close()
    await well.close()


async def test_a_lock_that_is_not_to_be_had_is_the_stores_trouble(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_SERVER_SETTINGS", store._SERVER_SETTINGS | {"lock_timeout": "100ms"})
    database = await PostgresDatabase.open(postgres_url)
    held, go = asyncio.Event(), asyncio.Event()

    def hold(conn: Connection) -> None:
        run(conn, "SELECT pg_advisory_xact_lock(7)")
        held.set()
        await_only(go.wait())

    holder = asyncio.create_task(database.write(hold))
    await held.wait()
    with pytest.raises(StoreUnavailableError, match="55P03"):
        await database.write(lambda conn: len(run(conn, "SELECT pg_advisory_xact_lock(7)")))
    with pytest.raises(StoreUnavailableError, match="55P03"):
        await database.write_alone(lambda conn: len(run(conn, "SELECT pg_advisory_xact_lock(7)")))
    go.set()
    await holder
    await database.close()


async def test_a_connection_to_a_server_that_only_reads_is_not_used_again(postgres: PostgresDatabase) -> None:
    """After a failover a name may lead to the new standby for a while."""

    def insert(conn: Connection) -> None:
        conn.execute(text("INSERT INTO audit (id, at, actor, action, subject) VALUES ('a', 0, '', '', '')"))

    await postgres.write(lambda conn: len(run(conn, "SET default_transaction_read_only = on")))
    with pytest.raises(StoreUnavailableError, match="25006"):
        await postgres.write(insert)
    await postgres.write(insert)

    await postgres.write(lambda conn: len(run(conn, "SET default_transaction_read_only = on")))
    delete = "DELETE FROM audit"
    with pytest.raises(StoreUnavailableError, match="25006"):
        await postgres.write_alone(lambda conn: len(run(conn, delete)))
    await postgres.write_alone(lambda conn: len(run(conn, delete)))


async def test_a_late_answer_does_not_set_the_clock_back(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LATE", 0.05)
    monkeypatch.setattr(store, "_NOW", text(f"{store._NOW.text}, pg_sleep(0.2)"))
    before, began = postgres.clock.now(), time.monotonic()
    await postgres.sync_clock()
    passed = round((time.monotonic() - began) * SECOND)
    assert abs(postgres.clock.now() - before - passed) < SECOND // 20
    monkeypatch.setattr(postgres, "_has_clock", False)
    postgres.clock.set_now(0)
    await postgres.sync_clock()  # the first is followed in any case, less half of what it took
    assert abs(postgres.clock.now() - SystemClock().now()) < SECOND
