"""Fixtures for the tests of the core: both databases, a clock that stands still, a node with fake channels."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from fake_channel import FakeChannel
from held_clock import HeldClock
from real_postgres import RealPostgres
from waypost.store.database import Database
from waypost.store.migrate import upgrade
from waypost.store.postgres import PostgresDatabase
from waypost.store.sqlite import SqliteDatabase
from world import OpenWorld, World


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Nothing is logged unless a test looks at the log."""
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()], logger_factory=structlog.ReturnLoggerFactory()
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_server(testrun_uid: str) -> Iterator[RealPostgres]:
    """One PostgreSQL for the whole run, whatever the number of workers.

    Not in pytest's own temporary folder: other runs tidy that up after a while, and a server without files stops.
    """
    server = RealPostgres(Path(tempfile.gettempdir()) / f"waypost-postgres-{testrun_uid}")
    yield server
    server.close()


@pytest.fixture
async def postgres_url(postgres_server: RealPostgres) -> AsyncIterator[str]:
    """The URL of a fresh, migrated PostgreSQL database."""
    await postgres_server.prepare()
    name = await postgres_server.create()
    yield postgres_server.url(name)
    await postgres_server.drop(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path}/waypost.db"


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """A fresh, migrated PostgreSQL database."""
    database = await PostgresDatabase.open(postgres_url)
    yield database
    await database.close()


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[SqliteDatabase]:
    """A fresh, migrated SQLite database."""
    database = SqliteDatabase.open(sqlite_url)
    await database.write(upgrade)
    yield database
    await database.close()


@pytest.fixture
def clock() -> HeldClock:
    """The clock of `database`: it stands still until a test moves it."""
    return HeldClock()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, clock: HeldClock) -> Database:
    """A fresh, migrated database: the test runs on SQLite and on PostgreSQL."""
    found: Database = request.getfixturevalue(request.param)
    found.clock = clock
    return found


@pytest.fixture
def channel() -> FakeChannel:
    """The fake channel of `world`."""
    return FakeChannel()


@pytest.fixture
async def open_world(database: Database, clock: HeldClock) -> AsyncIterator[OpenWorld]:
    """Make nodes around the database: `await open_world(FakeChannel(...), ..., lease=5, database=another)`."""
    worlds: list[World] = []

    async def make(*channels: FakeChannel, database: Database = database, **config: object) -> World:
        worlds.append(await World.open(database, clock, *channels, **config))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.close()


@pytest.fixture
async def world(open_world: OpenWorld, channel: FakeChannel) -> World:
    """A node with one fake channel, not started; it closes with the test."""
    return await open_world(channel)
