"""What may happen to a partner's standing between two requests, and what is written then."""

from __future__ import annotations

from pysqlite3 import dbapi2
from sqlalchemy import Connection, text
from waypost.store import apps, keys, organizations
from waypost.store.database import Database
from world import Partner, World

WRITTEN = ("message", "step", "event", "ledger_entry", "idempotency")


async def rows(database: Database) -> dict[str, int]:
    def work(conn: Connection) -> dict[str, int]:
        return {name: conn.execute(text(f"SELECT COUNT(*) FROM {name}")).scalar_one() for name in WRITTEN}

    return await database.read(work)


async def without_foreign_keys(database: Database, statement: str) -> None:
    """Break what the database protects, as a careless deletion by hand would."""
    if database.url.startswith("sqlite"):
        with dbapi2.connect(database.url.removeprefix("sqlite:///")) as connection:
            connection.execute(statement)
        return

    def work(conn: Connection) -> None:
        conn.execute(text("SET LOCAL session_replication_role = replica"))
        conn.execute(text(statement))

    await database.write(work)


async def revoke(world: World, partner: Partner) -> object:
    def work(conn: Connection) -> None:
        for key, _ in keys.all_of_them(conn):
            if key.app_id == partner.app.id:
                keys.revoke(conn, key.id, world.clock.now())

    return await world.database.write(work)


async def suspend_app(world: World, partner: Partner) -> object:
    return await world.database.write(lambda conn: apps.set_status(conn, partner.app.id, "suspended"))


async def suspend_org(world: World, partner: Partner) -> object:
    return await world.database.write(lambda conn: organizations.set_status(conn, partner.org.id, "suspended"))
