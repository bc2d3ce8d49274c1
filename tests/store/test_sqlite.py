"""SQLite: one writer whose jobs share commits, and none of which harms another."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from waypost.clock import SECOND
from waypost.store.database import StoreUnavailableError
from waypost.store.opening import open_database
from waypost.store.sqlite import SqliteDatabase


def insert(conn: Connection, name: str) -> str:
    conn.execute(text("INSERT INTO audit (id, at, actor, action, subject) VALUES (:id, 0, '', '', '')"), {"id": name})
    return name


def stored(conn: Connection) -> list[str]:
    return [row[0] for row in conn.execute(text("SELECT id FROM audit ORDER BY id"))]


async def hold(sqlite: SqliteDatabase, *names: str) -> list[object]:
    """Write these while the writer was busy with something else, so that they share a commit."""
    busy, gate = threading.Event(), threading.Event()

    def slow(conn: Connection) -> None:
        busy.set()
        gate.wait(10)

    first = asyncio.create_task(sqlite.write(slow))
    await asyncio.to_thread(busy.wait, 10)
    tasks = [asyncio.create_task(sqlite.write(lambda conn, name=name: insert(conn, name))) for name in names]  # type: ignore[misc]
    await asyncio.sleep(0)
    gate.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_queued_jobs_share_one_commit(sqlite: SqliteDatabase) -> None:
    commits: list[object] = []
    from sqlalchemy import event

    event.listen(sqlite._writing, "commit", lambda conn: commits.append(conn))
    assert await hold(sqlite, *(f"a{n}" for n in range(20))) == [f"a{n}" for n in range(20)]
    assert len(commits) == 2
    assert len(await sqlite.read(stored)) == 20


async def test_a_failing_job_harms_no_other(sqlite: SqliteDatabase) -> None:
    answers = await hold(sqlite, "a", "b", "a", "c")
    assert [answers[n] for n in (0, 1, 3)] == ["a", "b", "c"]
    assert isinstance(answers[2], IntegrityError)
    assert await sqlite.read(stored) == ["a", "b", "c"]


async def test_a_failing_job_alone_leaves_nothing(sqlite: SqliteDatabase) -> None:
    def work(conn: Connection) -> None:
        insert(conn, "a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await sqlite.write(work)
    assert await sqlite.read(stored) == []
    await sqlite.write(lambda conn: insert(conn, "b"))


async def test_a_caller_who_gives_up_harms_no_other(sqlite: SqliteDatabase) -> None:
    task = asyncio.create_task(sqlite.write(lambda conn: insert(conn, "a")))
    await asyncio.sleep(0)
    task.cancel()
    assert await sqlite.write(lambda conn: insert(conn, "b")) == "b"


async def test_readers_cannot_write(sqlite: SqliteDatabase) -> None:
    with pytest.raises(StoreUnavailableError):
        await sqlite.read(lambda conn: insert(conn, "a"))


async def test_a_closed_database_says_so_and_has_written_what_was_queued(sqlite_url: str) -> None:
    database = SqliteDatabase.open(sqlite_url)
    await database.write(lambda conn: conn.execute(text("CREATE TABLE t (n INTEGER)")).close())
    tasks = [
        asyncio.create_task(database.write(lambda conn, n=n: conn.execute(text(f"INSERT INTO t VALUES ({n})")).close()))  # type: ignore[misc]
        for n in range(10)
    ]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*tasks)
    await database.close()
    with pytest.raises(StoreUnavailableError):
        await database.write(lambda conn: None)
    with pytest.raises(StoreUnavailableError):
        await database.read(lambda conn: None)

    again = SqliteDatabase.open(sqlite_url)
    assert await again.read(lambda conn: conn.execute(text("SELECT COUNT(*) FROM t")).scalar_one()) == 10
    await again.close()


async def test_it_survives_a_power_cut(sqlite: SqliteDatabase) -> None:
    def pragmas(conn: Connection) -> tuple[str, int, int]:
        return tuple(  # type: ignore[return-value]
            conn.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        )

    assert await sqlite.write(pragmas) == ("wal", 2, 1)


async def test_the_library_has_no_wal_reset_bug(sqlite: SqliteDatabase) -> None:
    version = await sqlite.read(lambda conn: conn.execute(text("SELECT sqlite_version()")).scalar_one())
    assert tuple(map(int, str(version).split("."))) >= (3, 51, 3)


async def test_a_damaged_file_is_the_stores_trouble(sqlite: SqliteDatabase, tmp_path: Path) -> None:
    """As a node's health and metrics tell it."""
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"waypost.db{suffix}").write_bytes(b"no database" * 10_000)
    with pytest.raises(StoreUnavailableError, match="SQLite: "):
        await sqlite.read(stored)


async def test_a_full_disk_is_the_stores_trouble_and_passes(sqlite: SqliteDatabase) -> None:
    pages = await sqlite.write(lambda conn: conn.execute(text("PRAGMA page_count")).scalar_one())

    def limit(conn: Connection, number: int) -> None:
        conn.execute(text(f"PRAGMA max_page_count = {number}"))

    await sqlite.write(lambda conn: limit(conn, pages))
    with pytest.raises(StoreUnavailableError):
        await sqlite.write(lambda conn: insert(conn, "x" * 100_000))
    await sqlite.write(lambda conn: limit(conn, 1_000_000))
    await sqlite.write(lambda conn: insert(conn, "a"))
    assert await sqlite.read(stored) == ["a"]


async def test_a_full_disk_amid_shared_jobs_fails_them_all_or_none_falsely(sqlite: SqliteDatabase) -> None:
    pages = await sqlite.write(lambda conn: conn.execute(text("PRAGMA page_count")).scalar_one())
    await sqlite.write(lambda conn: conn.execute(text(f"PRAGMA max_page_count = {pages}")).close())
    answers = await hold(sqlite, "a", "x" * 100_000, "b")
    kept = await sqlite.read(stored)
    assert [name for name in ("a", "b") if name in answers] == kept
    assert isinstance(answers[1], StoreUnavailableError)


@pytest.mark.parametrize(
    "url", ["sqlite:////proc/nobody/waypost.db", "mysql://localhost/x", "postgresql:///x?host=/nowhere"]
)
async def test_what_cannot_be_opened_says_so(url: str) -> None:
    with pytest.raises(StoreUnavailableError):
        await open_database(url)


async def test_a_folder_is_made(tmp_path: Path) -> None:
    database = await open_database(f"sqlite:///{tmp_path}/a/b/waypost.db")
    await database.close()
    assert (tmp_path / "a/b/waypost.db").exists()


async def test_it_follows_the_machines_clock(sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is set now and then, and goes on while the machine sleeps; the monotonic one does neither."""
    really = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: really() + 3600 * 10**9)
    await sqlite.sync_clock()
    assert abs(sqlite.clock.now() - time.time_ns() // 1000) < SECOND
