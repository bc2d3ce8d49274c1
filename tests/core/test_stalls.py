"""A database that hangs: who can be answered without it is, the rest waits in bounds, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from waypost import refusals
from waypost.admission.candidate import Admitted
from waypost.progress.case import Change, Report
from waypost.store.database import Database, StoreUnavailableError
from world import TO, World


class Hanging:
    """Holds every lone statement back until it is let go."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = asyncio.Event()
        self.begun: asyncio.Queue[None] = asyncio.Queue()
        self._write_alone = database.write_alone
        monkeypatch.setattr(database, "write_alone", self.write_alone)

    async def write_alone(self, work: Callable[[Any], Any]) -> Any:
        self.begun.put_nowait(None)
        await self.free.wait()
        return await self._write_alone(work)


async def stalled(world: World, monkeypatch: pytest.MonkeyPatch, partner: Any) -> tuple[Hanging, list[Any]]:
    """A node both of whose batches hang, and the two requests in them."""
    await world.accept(partner)
    hanging = Hanging(world.database, monkeypatch)
    under_way = []
    for _ in range(2):
        under_way.append(asyncio.create_task(world.accept(partner)))
        await hanging.begun.get()
    return hanging, under_way


async def test_who_is_refused_anyway_does_not_wait_for_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = await world.partner()
    hanging, under_way = await stalled(world, monkeypatch, partner)
    with pytest.raises(refusals.ValidationFailed):
        await asyncio.wait_for(world.accept(partner, to="nobody"), 5)
    with pytest.raises(refusals.Unauthorized):
        await asyncio.wait_for(world.accept("ak_live_unknown"), 5)
    waiting = asyncio.create_task(world.accept(partner))
    hanging.free.set()
    assert all(isinstance(answer, Admitted) for answer in await asyncio.gather(*under_way, waiting))


async def test_no_more_wait_than_there_is_room_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    partner = await world.partner()
    hanging, under_way = await stalled(world, monkeypatch, partner)
    monkeypatch.setattr(world.node.desk._lane, "_limit", 40)
    tasks = [asyncio.create_task(world.accept(partner)) for _ in range(100)]

    async def sixty() -> bool:
        return sum(task.done() for task in tasks) >= 60

    try:
        await world.until(sixty, "sixty refusals")
        done, waiting = await asyncio.wait(tasks, timeout=0.1)
        assert len(done) == 60
        assert all(isinstance(task.exception(), refusals.Unavailable) for task in done)
    finally:
        hanging.free.set()  # else the node would wait for ever for what it holds
    answers = await asyncio.gather(*under_way, *waiting)
    assert len({answer.message.id for answer in answers}) == 42
    assert await world.books_balance()


async def test_draining_waits_for_those_not_yet_read_too(world: World) -> None:
    partner = await world.partner()
    await world.accept(partner)
    tasks = [asyncio.create_task(world.accept(partner)) for _ in range(200)]
    await asyncio.sleep(0)
    await world.node.desk.drain()
    done, waiting = await asyncio.wait(tasks, timeout=0)
    assert (len(done), len(waiting)) == (200, 0)


async def test_one_who_gave_up_is_not_prepared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    partner = await world.partner()
    hanging, under_way = await stalled(world, monkeypatch, partner)
    gone, stays = (asyncio.create_task(world.accept(partner, to=TO)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    hanging.free.set()
    assert isinstance(await stays, Admitted)
    await asyncio.gather(*under_way)
    await world.node.desk.drain()
    assert (await world.balance(partner.org)).held == 4 * (await world.message((await stays).message.id)).held


async def test_a_result_is_tried_once_more_after_the_longest_pause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is started again while a send is under way must not cost us what the provider said."""
    monkeypatch.setattr("waypost.outbox.lane.PAUSES", (0.001, 0.002))
    partner = await world.partner()
    await world.start()
    results, tries = world.node.outbox.results, [0]
    submit = results.submit

    async def down_at_first(item: Report) -> Change | None:
        tries[0] += 1
        if tries[0] <= 2:
            raise StoreUnavailableError("it is being started again")
        return await submit(item)

    monkeypatch.setattr(results, "submit", down_at_first)
    await world.status(await world.accept(partner), "SENT")
    assert tries == [3]
