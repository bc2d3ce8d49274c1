"""Opening the database that an address names; what the other kind needs is not imported."""

from __future__ import annotations

from waypost.store.database import Database, StoreUnavailableError


async def open_database(url: str, *, patient: bool = False) -> Database:
    """Open `sqlite:///path` or `postgresql://…`. Raises `StoreUnavailableError` when it cannot be reached.

    A `patient` one waits for each statement for as long as it takes, as migrations and audits need.
    """
    if url.startswith("sqlite:///"):
        from waypost.store.sqlite import SqliteDatabase

        return SqliteDatabase.open(url)
    if url.startswith("postgresql"):
        from waypost.store.postgres import PATIENCE, PostgresDatabase

        return await PostgresDatabase.open(url, None if patient else PATIENCE)
    raise StoreUnavailableError(f"{url.split(':', 1)[0]}: write sqlite:///path/to/file or postgresql://user@host/name")
