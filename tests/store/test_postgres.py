"""PostgreSQL: retries what was certainly not committed, and names what is the store's trouble."""

from __future__ import annotations

import asyncio
import contextlib
import time
from urllib.parse import urlsplit

import asyncpg
import pytest
from real_postgres import RealPostgres
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.util import await_only
from waypost.clock import SECOND, SystemClock
from waypost.store import admissions, bulk, claims, events, gateways, keys, ledger, messages, migrate, steps
from waypost.store.database import CommitUnknownError, StoreUnavailableError
from waypost.store.driver import run
from waypost.store.opening import open_database
from waypost.store.postgres import KEPT, POOL_SIZE, PostgresDatabase

pytestmark = pytest.mark.postgres


def insert(conn: Connection, name: str) -> str:
    conn.execute(text("INSERT INTO audit (id, at, actor, action, subject) VALUES (:id, 0, '', '', '')"), {"id": name})
    return name


def stored(conn: Connection) -> list[str]:
    return [row[0] for row in conn.execute(text("SELECT id FROM audit ORDER BY id"))]


async def test_its_clock_is_followed(postgres: PostgresDatabase) -> None:
    postgres.clock.set_now(0)
    await postgres.sync_clock()
    assert abs(postgres.clock.now() - SystemClock().now()) < 5 * SECOND


async def test_its_clock_is_not_wrong_by_what_a_first_answer_takes(postgres: PostgresDatabase) -> None:
    asked = 0

    def slow_at_first(*_: object) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            time.sleep(0.3)

    event.listen(postgres._engine.sync_engine, "before_cursor_execute", slow_at_first)
    await postgres.sync_clock()
    assert asked > 1
    assert abs(postgres.clock.now() - SystemClock().now()) < SECOND // 10


async def test_a_failed_transaction_leaves_nothing(postgres: PostgresDatabase) -> None:
    def work(conn: Connection) -> None:
        insert(conn, "a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await postgres.write(work)
    await postgres.write(lambda conn: insert(conn, "b"))
    with pytest.raises(IntegrityError):
        await postgres.write(lambda conn: insert(conn, "b"))
    assert await postgres.read(stored) == ["b"]


async def test_a_read_keeps_nothing(postgres: PostgresDatabase) -> None:
    await postgres.read(lambda conn: insert(conn, "a"))
    assert await postgres.read(stored) == []


async def test_a_deadlock_is_tried_again(postgres: PostgresDatabase) -> None:
    for name in ("a", "b"):
        await postgres.write(lambda conn, name=name: insert(conn, name))  # type: ignore[misc]

    def work(first: str, second: str):  # type: ignore[no-untyped-def]
        def both(conn: Connection) -> None:
            for name in (first, second):
                conn.execute(text("UPDATE audit SET at = at + 1 WHERE id = :id"), {"id": name})
                conn.execute(text("SELECT pg_sleep(0.05)"))

        return both

    await asyncio.gather(*(postgres.write(work(*pair)) for pair in (("a", "b"), ("b", "a")) * 2))
    counts = await postgres.read(lambda conn: conn.execute(text("SELECT at FROM audit")).scalars().all())
    assert counts == [4, 4]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_what_the_server_isolates_by_default_is_not_ours(postgres: PostgresDatabase, isolation: str) -> None:
    """Whoever waited for a lock must see what the one before them did; else they could only fail and try again."""
    await postgres.write(lambda conn: insert(conn, "a"))
    name = urlsplit(postgres.url).path[1:]
    setting = f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"
    await postgres.write(lambda conn: conn.execute(text(setting)).close())
    database = await PostgresDatabase.open(postgres.url)
    looked, changed = asyncio.Event(), asyncio.Event()
    tries = 0

    def work(conn: Connection) -> None:
        nonlocal tries
        tries += 1
        run(conn, "SELECT 1 FROM audit")
        looked.set()
        await_only(changed.wait())
        (at,) = run(conn, "SELECT at FROM audit WHERE id = 'a' FOR UPDATE")[0]
        run(conn, "UPDATE audit SET at = $1 WHERE id = 'a'", (at + 1,))

    try:
        working = asyncio.create_task(database.write(work))
        await looked.wait()
        await database.write_alone(lambda conn: run(conn, "UPDATE audit SET at = 10"))
        changed.set()
        await working
        assert tries == 1
        assert await database.read(lambda conn: run(conn, "SELECT at FROM audit")[0][0]) == 11
        [found] = await database.write_alone(lambda conn: run(conn, "SHOW transaction_isolation"))
        assert tuple(found) == ("read committed",)
    finally:
        await database.close()


async def test_a_connection_lost_amid_the_work_is_the_stores_trouble(postgres: PostgresDatabase) -> None:
    killer = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(StoreUnavailableError) as caught:
        await postgres.write(lambda conn: conn.execute(text(killer)).close())
    assert not isinstance(caught.value, CommitUnknownError)
    assert str(caught.value) == "PostgreSQL: 08003: the connection to it was broken off"
    await postgres.write(lambda conn: insert(conn, "a"))


async def test_a_connection_lost_amid_the_commit_is_unknown(
    postgres: PostgresDatabase, postgres_server: RealPostgres
) -> None:
    """A deferred trigger ends the connection while COMMIT runs."""

    def trap(conn: Connection) -> None:
        conn.execute(
            text(
                "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END'"
            )
        )
        conn.execute(
            text(
                "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION die()"
            )
        )

    await postgres.write(trap)
    with pytest.raises(CommitUnknownError) as caught:
        await postgres.write(lambda conn: insert(conn, "a"))
    assert str(caught.value)
    assert await postgres.read(stored) == []


def backend(conn: Connection) -> int:
    return int(run(conn, "SELECT pg_backend_pid()")[0][0])


async def test_single_statements_keep_their_connection(postgres: PostgresDatabase) -> None:
    first = await postgres.write_alone(backend)
    assert await postgres.write_alone(backend) == first
    statement = "INSERT INTO audit (id, at, actor, action, subject) VALUES ('a', 0, '', '', '')"
    await postgres.write_alone(lambda conn: run(conn, statement))
    with pytest.raises(IntegrityError):
        await postgres.write_alone(lambda conn: run(conn, statement))
    assert await postgres.write_alone(backend) == first, "a refused row is no reason to leave"
    both = await asyncio.gather(*(postgres.write_alone(backend) for _ in range(2)))
    assert len(set(both)) == 2
    assert first in both


async def test_a_single_statement_whose_connection_breaks_is_unknown_and_the_next_has_another(
    postgres: PostgresDatabase,
) -> None:
    first = await postgres.write_alone(backend)
    with pytest.raises(CommitUnknownError):
        await postgres.write_alone(lambda conn: run(conn, "SELECT pg_terminate_backend(pg_backend_pid())"))
    second = await postgres.write_alone(backend)
    assert second != first
    killer = await asyncpg.connect(postgres.url)
    await killer.execute(f"SELECT pg_terminate_backend({second})")
    await killer.close()
    for _ in range(200):  # until our side has heard of it
        if postgres._kept[0].driver.is_closed():
            break
        await asyncio.sleep(0.01)
    assert await postgres.write_alone(backend) not in (first, second)


async def test_a_single_statement_that_is_given_up_leaves_no_connection_amid_it(postgres: PostgresDatabase) -> None:
    waiting = asyncio.create_task(postgres.write_alone(lambda conn: run(conn, "SELECT pg_sleep(30)")))
    await _asleep(postgres)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await postgres.write_alone(lambda conn: run(conn, "SELECT 1")[0][0]) == 1


async def _asleep(postgres: PostgresDatabase) -> None:
    """Until the server is about its long sleep."""
    for _ in range(200):
        if any("pg_sleep(30)" in row[0] for row in await postgres.read(_queries)):
            break
        await asyncio.sleep(0.01)


def _queries(conn: Connection) -> list[tuple[str]]:
    rows = run(conn, "SELECT query FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()")
    return [(row[0],) for row in rows]


async def test_a_transaction_takes_the_connection_that_is_kept_and_leaves_it_as_it_was(
    postgres: PostgresDatabase,
) -> None:
    first = await postgres.write_alone(backend)
    assert await postgres.write(backend) == first
    assert await postgres.read(backend) == first

    def fail(conn: Connection) -> None:
        insert(conn, "a")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await postgres.write(fail)
    assert await postgres.write_alone(backend) == first
    assert await postgres.read(stored) == []
    assert len(postgres._kept) == 1


async def test_a_transaction_given_up_in_its_midst_is_rolled_back(postgres: PostgresDatabase) -> None:
    def work(conn: Connection) -> None:
        insert(conn, "a")
        run(conn, "SELECT pg_sleep(30)")

    waiting = asyncio.create_task(postgres.write(work))
    await _asleep(postgres)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.wait_for(postgres.read(stored), 5) == []
    await asyncio.wait_for(postgres.write(lambda conn: insert(conn, "a")), 5)


@pytest.mark.parametrize("how", ["read", "write", "write_alone"])
async def test_a_server_that_has_said_goodbye_and_not_yet_hung_up_is_the_stores_trouble(
    postgres: PostgresDatabase, how: str
) -> None:
    gone = await postgres.write_alone(backend)
    killer = await asyncpg.connect(postgres.url)
    await killer.execute(f"SELECT pg_terminate_backend({gone})")
    time.sleep(0.3)  # noqa: ASYNC251 - both its last word and its end are there, and only the first is read below
    for _ in range(2):
        await asyncio.sleep(0)
    with contextlib.suppress(StoreUnavailableError):
        await getattr(postgres, how)(backend)
    await killer.close()
    assert await postgres.read(backend) != gone


async def test_who_waits_for_a_connection_has_the_first_that_is_free(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres._engine.pool, "_timeout", 1.0)
    sleep = "SELECT pg_sleep({})".format
    long = [asyncio.create_task(postgres.read(lambda c: run(c, sleep(2)))) for _ in range(POOL_SIZE - KEPT)]
    short = [asyncio.create_task(postgres.read(lambda c: run(c, sleep(0.2)))) for _ in range(KEPT)]
    await asyncio.sleep(0.1)
    await postgres.write(backend)
    await asyncio.gather(*long, *short)


async def test_what_is_under_way_while_it_closes_leaves_no_connection_behind(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url)
    under_way = asyncio.create_task(database.write(lambda conn: run(conn, "SELECT pg_sleep(0.3)")))
    await asyncio.sleep(0.1)
    await database.close()
    await under_way
    assert not database._kept


async def test_only_a_few_connections_are_kept(postgres: PostgresDatabase) -> None:
    """However many statements ran at a time, the pool has room for everybody else afterwards."""
    await asyncio.gather(*(postgres.write_alone(backend) for _ in range(POOL_SIZE)))
    assert 0 < len(postgres._kept) <= KEPT
    others = await asyncio.gather(*(postgres.read(backend) for _ in range(POOL_SIZE - KEPT)))
    assert len(others) == POOL_SIZE - KEPT


async def test_an_old_connection_is_replaced(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await postgres.write_alone(backend)
    monkeypatch.setattr("waypost.store.postgres.RECYCLE", 0)
    assert await postgres.write_alone(backend) != first


async def test_a_server_or_database_that_is_not_there_is_the_stores_trouble(postgres_server: RealPostgres) -> None:
    with pytest.raises(StoreUnavailableError):
        await open_database(postgres_server.url("nobody"))
    with pytest.raises(StoreUnavailableError):
        await open_database("postgresql://127.0.0.1:9/x")


async def test_a_read_only_server_is_the_stores_trouble(postgres: PostgresDatabase) -> None:
    def work(conn: Connection) -> None:
        conn.execute(text("SET TRANSACTION READ ONLY"))
        insert(conn, "a")

    with pytest.raises(StoreUnavailableError):
        await postgres.write(work)


async def test_waiting_too_long_for_a_connection_is_the_stores_trouble(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = PostgresDatabase(postgres_url)
    monkeypatch.setattr(database._engine.pool, "_timeout", 0.05)
    sleepers = [
        asyncio.create_task(database.read(lambda conn: conn.execute(text("SELECT pg_sleep(0.5)")).close()))
        for _ in range(POOL_SIZE)
    ]
    await asyncio.sleep(0.2)
    with pytest.raises(StoreUnavailableError):
        await database.read(stored)
    with pytest.raises(StoreUnavailableError):
        await database.write(stored)
    await asyncio.gather(*sleepers)
    await database.close()


async def test_hot_lookups_never_scan_a_table(postgres: PostgresDatabase) -> None:
    """With a few thousand rows and fresh statistics, whatever runs for each message goes through an index."""

    def fill(conn: Connection) -> None:
        conn.execute(
            text(
                "INSERT INTO message (id, org_id, app_id, key_id, channel, status, recipient, addresses, content,"
                " currency, held, created_at, updated_at, deadline) SELECT 'msg_' || n, 'org', 'app', 'key', 'SMS',"
                " 'QUEUED', '', '[]', '{}', 'USD', 0, 0, 0, 0 FROM generate_series(1, 20000) n"
            )
        )
        conn.execute(
            text(
                "INSERT INTO step (message_id, step_no, app_id, org_id, channel, state, status, gateway_id, choices,"
                " due_at, wake_at, deadline, held) SELECT 'msg_' || n, 1, 'app_' || n % 50, 'org', 'SMS', 'queued',"
                " 'QUEUED', 'gw_1', '[]', n, 1000000 + n, 0, 0 FROM generate_series(1, 20000) n"
            )
        )
        conn.execute(
            text(
                "INSERT INTO event (message_id, key, step_no, attempt, kind, source, at)"
                " SELECT 'msg_' || n, 'k', 1, 0, 'queued', 'core', 0 FROM generate_series(1, 20000) n"
            )
        )
        conn.execute(
            text(
                "INSERT INTO provider_ref (gateway_id, provider_id, message_id, step_no, attempt)"
                " SELECT 'gw_1', 'p_' || n, 'msg_' || n, 1, 1 FROM generate_series(1, 20000) n"
            )
        )
        conn.execute(
            text(
                "INSERT INTO idempotency (app_id, key, fingerprint, message_id, created_at)"
                " SELECT 'app', 'k_' || n, '', 'msg_' || n, 0 FROM generate_series(1, 20000) n"
            )
        )
        conn.execute(text("ANALYZE"))

    def scans(conn: Connection) -> dict[str, int]:
        conn.execute(text("SELECT pg_stat_force_next_flush()"))
        conn.execute(text("SELECT pg_stat_clear_snapshot()"))
        rows = conn.execute(
            text(
                "SELECT relname, seq_scan FROM pg_stat_user_tables"
                " WHERE relname IN ('message', 'step', 'event', 'provider_ref', 'idempotency')"
            )
        )
        return {row[0]: row[1] for row in rows}

    ids = [f"msg_{n}" for n in range(1, 200)]

    def hot(conn: Connection) -> None:
        messages.lock_many(conn, ids)
        messages.get_many(conn, ids)
        messages.statuses(conn, ids)
        rows = steps.of_messages(conn, ids)
        bulk.write_together(conn, [], [steps.saving([step for found in rows.values() for step in found])])
        events.of_messages(conn, ids)
        events.refs(conn, {("gw_1", f"p_{n}") for n in range(100)})
        events.idempotency_records(conn, {("app", f"k_{n}") for n in range(100)})
        apps = claims.waiting_apps(conn, "gw_1", "", 32, 10**9)
        assert len(apps) == 32
        claimed = claims.claim(conn, "gw_1", apps, 2, "node", 10**9, 0)
        assert len(claimed) == 64
        claims.begin_sending(conn, claimed, "node", 0)
        steps.next_due(conn, "gw_1")
        assert len(steps.due_wakes(conn, 1_000_100, 500, leased=True)) > 0
        keys.standing_by_digest(conn, "none")
        admissions.lock(conn, ["none"], ["none"])
        ledger.lock_balances(conn, ["none"])
        gateways.take_tokens(conn, "none", 1, 0)

    await postgres.write(fill)
    before = await postgres.read(scans)
    await postgres.write(hot)
    after = await postgres.read(scans)
    assert after == before


async def test_migrations_make_the_schema_the_code_knows(postgres_server: RealPostgres) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from waypost.store.tables import metadata

    name = await postgres_server.create_empty()
    database = await PostgresDatabase.open(postgres_server.url(name))
    assert await database.read(migrate.current_revision) is None
    await database.write(migrate.upgrade)
    assert await database.read(migrate.current_revision) == migrate.wanted_revision()
    await database.write(migrate.upgrade)  # again: nothing to do
    differences = await database.read(lambda conn: compare_metadata(MigrationContext.configure(conn), metadata))
    assert differences == []
    await database.close()
    await postgres_server.drop(name)
