"""Many rows in one statement mean the same on both databases."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, select, text
from sqlalchemy.exc import IntegrityError
from waypost.store.bulk import (
    Insertion,
    Update,
    in_keys,
    insert_many,
    insert_new,
    keys,
    update_many,
    write_together,
)
from waypost.store.database import Database
from waypost.store.driver import rows_by
from waypost.store.tables import audit, conversation, inbound_message

COLUMNS = ("id", "at", "actor", "action", "subject", "detail")


def row(name: str, at: int = 0, detail: str = "{}") -> tuple[object, ...]:
    return (name, at, "", "", "", detail)


def stored(conn: Connection) -> list[tuple[object, ...]]:
    return [tuple(found) for found in conn.execute(text("SELECT id, at, detail FROM audit ORDER BY id"))]


async def test_rows_arrive_as_they_were(database: Database) -> None:
    strange = ["", "'; DROP TABLE audit; --", "{a,b}", 'NULL"\\', "Grüße 😀", "x" * 100_000, "\t\n"]
    rows = [row(f"a{number}", 2**62 - number, detail) for number, detail in enumerate(strange)]
    await database.write(lambda conn: insert_many(conn, audit, COLUMNS, rows))
    assert await database.read(stored) == [(found[0], found[1], found[5]) for found in rows]


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 127, 200, 1000])
async def test_any_number_of_rows(database: Database, count: int) -> None:
    rows = [row(f"a{number:04d}", number) for number in range(count)]
    await database.write(lambda conn: insert_many(conn, audit, COLUMNS, rows))
    assert await database.read(stored) == [(found[0], found[1], "{}") for found in rows]


async def test_a_duplicate_fails_the_whole(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await database.write(lambda conn: insert_many(conn, audit, COLUMNS, [row("a"), row("b"), row("a")]))
    assert await database.read(stored) == []


async def test_only_what_is_new_is_inserted_and_told(database: Database) -> None:
    async def new(*rows: tuple[object, ...]) -> list[tuple[object, ...]]:
        return await database.write(lambda conn: insert_new(conn, audit, COLUMNS, rows))

    assert await new(row("a", 1), row("b", 2), row("a", 3)) == [("a",), ("b",)]
    assert await new(row("b", 9), row("c", 4)) == [("c",)]
    assert await new() == []
    assert await database.read(stored) == [("a", 1, "{}"), ("b", 2, "{}"), ("c", 4, "{}")]


async def test_a_row_that_breaks_a_rule_is_not_taken_for_a_known_one(database: Database) -> None:
    nameless = ("b", 1, "", None, "", "{}")
    with pytest.raises(IntegrityError):
        await database.write(lambda conn: insert_new(conn, audit, COLUMNS, [row("a"), nameless]))
    assert await database.read(stored) == []


async def test_many_things_are_written_together_or_not_at_all(database: Database) -> None:
    columns = ("gateway_id", "address")

    def work(conn: Connection, *, audits: list[str], spoke: list[str], changes: dict[str, int]) -> None:
        write_together(
            conn,
            [
                Insertion(audit, COLUMNS, [row(name) for name in audits]),
                Insertion(conversation, columns, [("gw", address) for address in spoke], if_new=True),
            ],
            [
                Update(audit, ("id",), ("at",), list(changes.items())),
                Update(inbound_message, ("id",), ("content",), []),
            ],
        )

    def all_of_it(conn: Connection) -> tuple[list[tuple[object, ...]], list[str]]:
        return [found[:2] for found in stored(conn)], sorted(conn.execute(select(conversation.c.address)).scalars())

    for audits, spoke, changes in [(["a", "b"], [], {}), ([], [], {}), (["c"], ["x", "y"], {"a": 5}), ([], ["y"], {})]:
        await database.write(lambda conn, a=audits, s=spoke, c=changes: work(conn, audits=a, spoke=s, changes=c))  # type: ignore[misc]
    whole = ([("a", 5), ("b", 0), ("c", 0)], ["x", "y"])
    assert await database.read(all_of_it) == whole
    with pytest.raises(IntegrityError):
        await database.write(lambda conn: work(conn, audits=["d", "a"], spoke=["z"], changes={"b": 9}))
    assert await database.read(all_of_it) == whole
    await database.write(lambda conn: work(conn, audits=["d"], spoke=["y", "z"], changes={"b": 9, "nobody": 1}))
    assert await database.read(all_of_it) == ([("a", 5), ("b", 9), ("c", 0), ("d", 0)], ["x", "y", "z"])


async def test_updates_are_fenced_by_every_where(database: Database) -> None:
    await database.write(lambda conn: insert_many(conn, audit, COLUMNS, [row("a", 1), row("b", 2), row("c", 3)]))

    def work(conn: Connection) -> list[tuple[object, ...]]:
        changes = [("a", 1, 10, "x"), ("b", 7, 20, "x"), ("nobody", 1, 30, "x")]
        return update_many(conn, audit, where=("id", "at"), values=("at", "detail"), rows=changes)

    told = await database.write(work)
    assert [found[0] for found in told] == ["a"]
    assert await database.read(stored) == [("a", 10, "x"), ("b", 2, "{}"), ("c", 3, "{}")]
    assert await database.write(lambda conn: update_many(conn, audit, where=("id",), values=("at",), rows=[])) == []


async def test_booleans_and_nulls_survive(database: Database) -> None:
    columns = tuple(column.name for column in inbound_message.c)
    values = dict.fromkeys(columns, "x") | {"received_at": 1, "occurred_at": None, "unsent": True, "app_id": None}
    values |= {"edited_at": 2, "awaited": False}
    await database.write(lambda conn: insert_many(conn, inbound_message, columns, [[values[name] for name in columns]]))
    query = text("SELECT unsent, occurred_at, app_id FROM inbound_message")
    unsent, occurred_at, app_id = await database.read(lambda conn: conn.execute(query).one())
    assert (bool(unsent), occurred_at, app_id) == (True, None, None)


async def test_keys_are_compared_whatever_they_hold(database: Database) -> None:
    names = ["a", "'", '"', "ü", "{,}", "a\\b", "null"]
    await database.write(lambda conn: insert_many(conn, audit, COLUMNS, [row(name) for name in names]))

    def find(conn: Connection, *wanted: str) -> set[str]:
        query = text(f"SELECT id FROM audit WHERE {in_keys(conn, 'id', 'ids')}")
        return set(conn.execute(query, {"ids": keys(conn, wanted)}).scalars())

    assert await database.read(lambda conn: find(conn, *names, "other")) == set(names)
    assert await database.read(find) == set()


#: All that a text column may be given: anything but NUL and lone surrogates, which are replaced before they come here.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
WHOLE = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_rows=st.lists(st.tuples(WHOLE, TEXTS, st.none() | TEXTS, st.booleans(), st.none() | WHOLE), max_size=8))
async def test_whatever_is_written_is_read_back(
    database: Database, given_rows: list[tuple[int, str, str | None, bool, int | None]]
) -> None:
    """Written, updated and read by the hot paths' own ways, and as SQLAlchemy reads it."""
    columns = ("id", "gateway_id", "provider_id", "channel", "sender", "recipient", "received_at", "content",
               "sender_name", "unsent", "occurred_at")  # fmt: skip
    rows = [(f"in_{number}", "g", f"p{number}", "c", "s", "r", *values) for number, values in enumerate(given_rows)]
    empty = [(*found[:6], 0, "", None, False, None) for found in rows]

    def work(conn: Connection) -> None:
        conn.execute(delete(inbound_message))
        insert_many(conn, inbound_message, columns, empty)
        changed = [(found[0], *found[6:]) for found in rows]
        update_many(conn, inbound_message, where=("id",), values=columns[6:], rows=changed)

    await database.write(work)
    ids = [found[0] for found in rows]
    query = select(*(inbound_message.c[name] for name in columns)).order_by(inbound_message.c.id)
    assert await database.read(lambda conn: [tuple(found) for found in conn.execute(query)]) == rows
    tail = "FROM inbound_message WHERE id {} ORDER BY id"
    assert await database.read(lambda conn: [tuple(found) for found in rows_by(conn, columns, tail, ids)]) == rows
