"""The schema: which releases may run on it, and what the others are told."""

from __future__ import annotations

import pytest
from fake_channel import FakeChannel
from sqlalchemy import text
from waypost.store import migrate
from waypost.store.database import Database
from world import OpenWorld


async def is_newer(database: Database) -> None:
    """What the next release's migration leaves, where it only adds."""
    statements = "UPDATE alembic_version SET version_num = 'next'", "INSERT INTO supported_schema VALUES ('next')"
    for statement in statements:
        await database.write(lambda conn, statement=statement: conn.execute(text(statement)))  # type: ignore[misc]


async def test_a_node_runs_beside_those_of_the_next_release(open_world: OpenWorld, database: Database) -> None:
    await database.read(migrate.check)
    await is_newer(database)
    await database.read(migrate.check)
    world = await open_world(FakeChannel())
    partner = await world.partner()
    await world.start()
    await world.sent(partner)


async def test_a_release_that_the_schema_has_left_behind_says_so(database: Database) -> None:
    await is_newer(database)
    await database.write(lambda conn: conn.execute(text("DELETE FROM supported_schema WHERE revision <> 'next'")))
    with pytest.raises(migrate.NewerSchemaError, match="install that release"):
        await database.read(migrate.check)


async def test_a_newer_schema_is_not_upgraded(database: Database) -> None:
    await is_newer(database)
    with pytest.raises(migrate.NewerSchemaError, match="newer release"):
        await database.write(migrate.upgrade)
    assert await database.read(migrate.current_revision) == "next"


async def test_a_schema_that_was_not_made_yet_is_to_be_upgraded(database: Database) -> None:
    await database.write(lambda conn: conn.execute(text("DELETE FROM alembic_version")))
    with pytest.raises(migrate.SchemaMismatchError, match="waypost db upgrade") as refused:
        await database.read(migrate.check)
    assert not isinstance(refused.value, migrate.NewerSchemaError)
