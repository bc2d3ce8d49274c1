"""The group-commit lane: one transaction for those who come together, and a verdict for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, text
from waypost.store.database import Database, StoreUnavailableError
from waypost.store.group_commit import GroupCommit, LaneFullError


class Lane:
    """A lane that stores numbers as nodes; some of them are poison."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.batches: list[list[int]] = []
        self.told: list[tuple[list[int], list[str]]] = []
        self.commit = GroupCommit[int, str](
            database, self.work, committed=lambda items, told: self.told.append((list(items), list(told))), **options
        )

    def work(self, conn: Connection, items: Sequence[int]) -> list[str]:
        self.batches.append(list(items))
        for item in items:
            conn.execute(
                text("INSERT INTO audit (id, at, actor, action, subject) VALUES (:id, 0, '', '', '')"),
                {"id": f"adt_{item}"},
            )
            if item < 0:
                raise ZeroDivisionError(item)
        return [f"verdict {item}" for item in items]


async def stored(database: Database) -> list[str]:
    def work(conn: Connection) -> list[str]:
        return [row[0] for row in conn.execute(text("SELECT id FROM audit ORDER BY id"))]

    return await database.read(work)


async def test_those_who_come_together_share_a_commit_and_get_their_own_verdict(database: Database) -> None:
    lane = Lane(database)
    verdicts = await asyncio.gather(*(lane.commit.submit(n) for n in range(50)))
    assert verdicts == [f"verdict {n}" for n in range(50)]
    assert len(lane.batches) < 5
    assert [item for batch in lane.batches for item in batch] == list(range(50))
    assert lane.told == [(batch, [f"verdict {n}" for n in batch]) for batch in lane.batches]
    assert len(await stored(database)) == 50


async def test_a_poisoned_item_fails_alone(database: Database) -> None:
    lane = Lane(database)
    answers = await asyncio.gather(*(lane.commit.submit(n) for n in (1, 2, -3, 4, 5)), return_exceptions=True)
    assert isinstance(answers[2], ZeroDivisionError)
    assert [answers[n] for n in (0, 1, 3, 4)] == ["verdict 1", "verdict 2", "verdict 4", "verdict 5"]
    assert await stored(database) == ["adt_1", "adt_2", "adt_4", "adt_5"]


async def test_no_batch_is_larger_than_allowed(database: Database) -> None:
    lane = Lane(database, max_batch=8)
    await asyncio.gather(*(lane.commit.submit(n) for n in range(30)))
    assert max(map(len, lane.batches)) == 8


async def test_too_many_are_told_to_come_again(database: Database) -> None:
    lane = Lane(database, limit=3)
    futures = [lane.commit.enqueue(n) for n in range(3)]
    with pytest.raises(LaneFullError):
        lane.commit.enqueue(3)
    assert await asyncio.gather(*futures) == ["verdict 0", "verdict 1", "verdict 2"]
    assert await lane.commit.submit(4) == "verdict 4"


async def test_a_store_that_is_down_is_told_to_all_and_not_tried_item_by_item(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    async def down(work: Callable[[Connection], object]) -> None:
        calls.append(work)
        raise StoreUnavailableError("down")

    monkeypatch.setattr(database, "write", down)
    monkeypatch.setattr(database, "write_alone", down)
    lane = Lane(database)
    answers = await asyncio.gather(*(lane.commit.submit(n) for n in range(9)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
    assert len(calls) == 1
    monkeypatch.undo()
    assert await lane.commit.submit(1) == "verdict 1"


async def test_who_no_longer_waits_is_stored_all_the_same(database: Database) -> None:
    lane = Lane(database)
    gone, stays = lane.commit.enqueue(1), lane.commit.enqueue(2)
    gone.cancel()
    assert await stays == "verdict 2"
    assert await stored(database) == ["adt_1", "adt_2"]


async def test_draining_waits_for_everything(database: Database) -> None:
    lane = Lane(database, max_batch=1)
    futures = [lane.commit.enqueue(n) for n in range(5)]
    await lane.commit.drain()
    assert all(future.done() for future in futures)
    await lane.commit.drain()


class Gate:
    """A database whose writes wait until they are let through, and which says how many are under way."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.open = asyncio.Event()
        self.under_way = 0

    async def write(self, work: Callable[[Connection], Any]) -> Any:
        self.under_way += 1
        await self.open.wait()
        self.under_way -= 1
        return await self._database.write(work)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_second_batch_follows_once_it_is_as_large_as_the_first(database: Database) -> None:
    gate = Gate(database)
    lane = Lane(gate, depth=2)  # type: ignore[arg-type]
    futures = [lane.commit.enqueue(n) for n in range(3)]
    await turns()
    assert gate.under_way == 1
    futures += [lane.commit.enqueue(n) for n in (3, 4)]
    await turns()
    assert gate.under_way == 1
    assert not lane.commit.takes(0)
    assert lane.commit.takes(1)
    futures += [lane.commit.enqueue(5)]
    await turns()
    assert gate.under_way == 2
    futures += [lane.commit.enqueue(n) for n in range(6, 12)]
    await turns()
    assert gate.under_way == 2, "no more than two"
    gate.open.set()
    assert await asyncio.gather(*futures) == [f"verdict {n}" for n in range(12)]
    assert sorted(map(len, lane.batches)) == [3, 3, 6]


async def test_one_at_a_time_is_stored_in_order(database: Database) -> None:
    gate = Gate(database)
    lane = Lane(gate)  # type: ignore[arg-type]
    futures = [lane.commit.enqueue(0)]
    await turns()
    futures += [lane.commit.enqueue(n) for n in range(1, 9)]
    await turns()
    assert gate.under_way == 1
    gate.open.set()
    await asyncio.gather(*futures)
    assert lane.batches == [[0], list(range(1, 9))]


async def test_a_batch_that_is_done_asks_for_more(database: Database) -> None:
    more = [7, 8]

    def refill() -> None:
        while more:
            futures.append(lane.commit.enqueue(more.pop(0)))

    lane = Lane(database, refill=refill)
    futures = [lane.commit.enqueue(1)]
    await lane.commit.drain()
    assert [future.result() for future in futures] == ["verdict 1", "verdict 7", "verdict 8"]
    assert lane.batches == [[1], [7, 8]]
    assert lane.commit.takes(0)


async def test_who_is_told_of_a_batch_and_fails_takes_nobody_along(database: Database) -> None:
    lane = Lane(database)

    def fails(items: Sequence[int], verdicts: Sequence[str]) -> None:
        raise ZeroDivisionError

    lane.commit._committed = fails
    assert await asyncio.gather(*(lane.commit.submit(n) for n in range(3))) == [f"verdict {n}" for n in range(3)]
    assert await lane.commit.submit(9) == "verdict 9"


async def test_a_refill_that_fails_leaves_nobody_waiting(database: Database) -> None:
    asked = []

    def refill() -> None:
        asked.append(len(lane.batches))
        if len(asked) == 1:
            raise ZeroDivisionError

    lane = Lane(database, refill=refill, max_batch=1)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
    assert await asyncio.gather(*(lane.commit.submit(n) for n in range(3))) == [f"verdict {n}" for n in range(3)]
    await lane.commit.drain()
    assert asked == [1, 2, 3]
