"""Claims: no step is ever claimed by two, however many ask at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import Connection
from waypost.store import claims, gateways, steps
from waypost.store.bulk import insert_many, write_together
from waypost.store.database import Database
from waypost.store.gateways import Gateway
from waypost.store.opening import open_database
from waypost.store.steps import Step
from waypost.store.tables import step

STEPS = 300


def queued(number: int, app: str = "app_a", **fields: object) -> Step:
    new = Step(
        message_id=f"msg_{app}_{number:05d}", step_no=1, app_id=app, org_id="org", channel="SMS", state="queued",
        status="QUEUED", gateway_id="gw_1", choices="[]", due_at=number, wake_at=10**9, deadline=10**9, held=0,
    )  # fmt: skip
    return replace(new, **fields)


async def add(database: Database, *rows: Step) -> None:
    columns = tuple(Step.__dataclass_fields__)
    values = [tuple(getattr(row, column) for column in columns) for row in rows]
    await database.write(lambda conn: insert_many(conn, step, columns, values))


async def claim(database: Database, owner: str, per_app: int = 7, apps: tuple[str, ...] = ("app_a",)) -> list[Step]:
    return await database.write(lambda conn: claims.claim(conn, "gw_1", apps, per_app, owner, 10**6, 10**9))


async def empty_the_queue(database: Database, owner: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for _ in range(STEPS):
        claimed = await claim(database, owner)
        found.extend((step.message_id, owner) for step in claimed)
        if not claimed and not await database.read(lambda conn: steps.queue_lengths(conn)):
            break
    return found


async def test_no_step_is_claimed_by_two(database: Database) -> None:
    await add(database, *(queued(number) for number in range(STEPS)))
    owners = await asyncio.gather(*(empty_the_queue(database, f"node_{number}") for number in range(6)))
    claimed = [step for found in owners for step, _ in found]
    assert len(claimed) == len(set(claimed)) == STEPS


async def test_a_claim_that_is_overtaken_does_not_have_its_attempts_number_given_out_again(database: Database) -> None:
    """Whoever has a message's lock saves what it read before: what was told of that attempt is not the next's."""
    await add(database, queued(1))
    before = await database.read(lambda conn: steps.of_messages(conn, ["msg_app_a_00001"]))
    (claimed,) = await claim(database, "node_1")
    await database.write(lambda conn: write_together(conn, [], [steps.saving(before[claimed.message_id])]))
    (again,) = await claim(database, "node_2")
    assert (claimed.attempt, again.attempt) == (1, 2)


@pytest.mark.postgres
async def test_no_step_is_claimed_by_two_that_hold_their_transactions_open(postgres: Database) -> None:
    """Really at once: each transaction stays open until all have claimed."""
    from sqlalchemy import text

    await add(postgres, *(queued(number) for number in range(40)))
    others = [await open_database(postgres.url) for _ in range(4)]

    def work(conn: Connection) -> list[Step]:
        found = claims.claim(conn, "gw_1", ["app_a"], 10, "node", 10**6, 10**9)
        conn.execute(text("SELECT pg_sleep(0.3)"))
        return found

    claimed = await asyncio.gather(*(other.write(work) for other in others))
    assert [len(found) for found in claimed] == [10] * 4
    assert len({step.message_id for found in claimed for step in found}) == 40
    for other in others:
        await other.close()


async def test_the_oldest_due_come_first_and_the_future_waits(database: Database) -> None:
    await add(database, *(queued(number) for number in (5, 3, 9)), queued(1, due_at=10**7))
    claimed = await claim(database, "node", per_app=2)
    assert sorted(step.due_at for step in claimed) == [3, 5]
    assert [step.attempt for step in claimed] == [1, 1]
    assert len(await claim(database, "node")) == 1
    assert await claim(database, "node") == []


async def test_each_app_gets_its_share(database: Database) -> None:
    apps = ("app_a", "app_b", "app_c")
    await add(
        database, *(queued(number, app) for app, many in zip(apps, (50, 50, 1), strict=True) for number in range(many))
    )
    claimed = await claim(database, "node", 2, apps)
    assert Counter(step.app_id for step in claimed) == {"app_a": 2, "app_b": 2, "app_c": 1}


async def test_a_round_begins_after_the_last_and_passes_over_those_that_wait(database: Database) -> None:
    await add(database, queued(1, "app_a", due_at=10**7), *(queued(1, f"app_{letter}") for letter in "bcd"))

    async def waiting(after: str, limit: int) -> list[str]:
        return await database.read(lambda conn: claims.waiting_apps(conn, "gw_1", after, limit, 10**6))

    assert await waiting("", 1) == ["app_b"]
    assert await waiting("", 2) == ["app_b", "app_c"]
    assert await waiting("app_b", 10) == ["app_c", "app_d"]
    assert await waiting("app_d", 10) == []
    assert await database.read(lambda conn: steps.next_due(conn, "gw_1")) == 1


def a_gateway(rate: int | None) -> Gateway:
    return Gateway(
        id="gw_1", name="g", plugin="p", channel="SMS", provider_app_id=None, app_id=None, account_ref=None,
        settings="{}", secrets="", senders=(), mode="live", status="active", status_reason="", rate_per_second=rate,
        concurrency=1, receipt_window=1, created_at=0,
    )  # fmt: skip


async def test_tokens_are_shared_by_all_nodes_and_come_back_with_time(database: Database) -> None:
    await database.write(lambda conn: gateways.add(conn, a_gateway(10)))
    second = 1_000_000

    async def take(wanted: int, now: int) -> int:
        return await database.write(lambda conn: gateways.take_tokens(conn, "gw_1", wanted, now))

    start = 100 * second
    taken = await asyncio.gather(*(take(4, start) for _ in range(5)))
    assert sum(taken) == 10
    assert await take(4, start + second // 2) == 4
    assert await take(4, start + second // 2) == 1
    assert await take(4, start) == 0  # a clock that ran back gives nothing
    await database.write(lambda conn: gateways.return_tokens(conn, "gw_1", 2))
    assert await take(4, start) == 2
    assert await take(99, start + 60 * second) == 10  # no more than a second's worth is kept


async def test_clocks_that_differ_make_no_tokens(database: Database) -> None:
    """Two nodes in turn, the second a little behind."""
    await database.write(lambda conn: gateways.add(conn, a_gateway(10)))
    start, millisecond = 1_000_000_000, 1000

    def second(conn: Connection) -> int:
        gateways.take_tokens(conn, "gw_1", 99, start)
        late = (0, 20)
        return sum(
            gateways.take_tokens(conn, "gw_1", 99, start + (turn * 10 - late[turn % 2]) * millisecond)
            for turn in range(101)
        )

    assert await database.write(second) == 10


async def test_a_clock_that_is_set_back_does_not_stop_a_gateway(database: Database) -> None:
    await database.write(lambda conn: gateways.add(conn, a_gateway(10)))
    hour, second = 3_600_000_000, 1_000_000

    async def take(now: int) -> int:
        return await database.write(lambda conn: gateways.take_tokens(conn, "gw_1", 99, now))

    assert await take(2 * hour) == 10
    assert await take(hour) == 0
    assert await take(hour + second) == 10


async def test_an_unlimited_gateway_has_always_enough(database: Database) -> None:
    await database.write(lambda conn: gateways.add(conn, a_gateway(None)))
    assert await database.write(lambda conn: gateways.take_tokens(conn, "gw_1", 5000, 0)) == 5000
