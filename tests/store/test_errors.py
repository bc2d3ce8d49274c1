"""Errors of statements: whoever prints one shows nobody's address."""

from __future__ import annotations

import traceback

import pytest
from sqlalchemy import Connection, text
from waypost.store.database import Database

ADDRESS = "+4915112345678"


async def test_a_statement_that_fails_does_not_tell_its_values(database: Database) -> None:
    def work(conn: Connection) -> None:
        conn.execute(text("SELECT 1 FROM nowhere WHERE address = :address"), {"address": ADDRESS})

    for run in (database.write, database.read):
        with pytest.raises(Exception, match="nowhere") as failed:
            await run(work)
        assert ADDRESS not in "".join(traceback.format_exception(failed.value))
