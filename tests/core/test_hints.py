"""Hints between nodes: what one accepts another sends at once, and not at its next poll."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fake_channel import FakeChannel
from held_clock import HeldClock
from sqlalchemy import text
from waypost.store import hints
from waypost.store.database import StoreUnavailableError
from waypost.store.hints import Hints
from waypost.store.postgres import PostgresDatabase
from world import OpenWorld, World

pytestmark = pytest.mark.postgres


@pytest.fixture(params=["postgres"])
def database(postgres: PostgresDatabase, clock: HeldClock) -> PostgresDatabase:
    postgres.clock = clock
    return postgres


@pytest.fixture
async def other(postgres: PostgresDatabase, clock: HeldClock) -> AsyncIterator[PostgresDatabase]:
    """The same database, as another process has it."""
    found = await PostgresDatabase.open(postgres.url)
    found.clock = clock
    yield found
    await found.close()


@pytest.fixture
async def nodes(open_world: OpenWorld, other: PostgresDatabase) -> tuple[World, World]:
    """One that only accepts, and one that only sends and would look by itself once a minute."""
    front = await open_world(FakeChannel(), role="api")
    worker = await open_world(FakeChannel(), database=other, role="worker", poll=60)
    worker.node.accounts._vault = front.node.vault
    await front.start()
    return front, worker


async def listeners(world: World) -> list[int]:
    query = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
    return await world.database.read(lambda conn: list(conn.scalars(query)))


async def is_listening(world: World) -> bool:
    return bool(await listeners(world))


async def test_what_one_node_accepts_another_sends_at_once(nodes: tuple[World, World]) -> None:
    front, worker = nodes
    partner = await front.partner()
    await worker.node.refresh()
    await worker.start()
    await front.until(lambda: is_listening(front), "somebody who listens")
    await worker.rest()
    for number in range(3):
        await front.accept(partner)
        await worker.channel.called(number + 1)


async def test_a_connection_that_broke_is_made_anew(
    nodes: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "PAUSE", 0.01)
    front, worker = nodes
    partner = await front.partner()
    await worker.node.refresh()
    await worker.start()
    await front.until(lambda: is_listening(front), "somebody who listens")
    (first,) = await listeners(front)
    await front.database.read(lambda conn: conn.execute(text(f"SELECT pg_terminate_backend({first})")))

    async def again() -> bool:
        return bool(set(await listeners(front)) - {first})

    await front.until(again, "a new listener")
    await worker.rest()
    await front.accept(partner)
    await worker.channel.called(1)


async def test_a_fault_ends_no_listening(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "PAUSE", 0.0)
    again = asyncio.Event()
    calls = 0

    async def listen(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(postgres, "listen", listen)
    listening = asyncio.create_task(Hints(postgres, lambda _: None).listen())
    await asyncio.wait_for(again.wait(), 10)
    listening.cancel()
    await asyncio.wait([listening])


async def test_hints_are_gathered_while_one_is_told(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    go_on = asyncio.Event()

    async def notify(_: str, words: str) -> None:
        told.append(words)
        await go_on.wait()

    monkeypatch.setattr(postgres, "notify", notify)
    giver = Hints(postgres, lambda _: None)
    giver.tell(["gw_1"])
    await asyncio.sleep(0)
    giver.tell(["gw_3"])
    giver.tell(["gw_2", "gw_3"])
    go_on.set()
    assert giver._telling is not None
    await giver._telling
    assert told == ["gw_1", "gw_2 gw_3"]
    giver.tell(f"gw_{number:032}" for number in range(300))
    await giver._telling
    assert told[2:] == ["*"]


async def test_hints_that_follow_each_other_closely_are_one(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load each batch would give one, and each is a transaction."""
    told: list[str] = []

    async def notify(_: str, words: str) -> None:
        told.append(words)

    monkeypatch.setattr(postgres, "notify", notify)
    monkeypatch.setattr(hints, "GATHERING", 60)
    giver = Hints(postgres, lambda _: None)
    for number in range(5):
        giver.tell([f"gw_{number}"])
        await asyncio.sleep(0)
    assert told == ["gw_0"]
    await giver.stop()


async def test_a_hint_that_cannot_be_given_is_none(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    async def notify(_: str, __: str) -> None:
        raise StoreUnavailableError("down")

    with monkeypatch.context() as patch:
        patch.setattr(postgres, "notify", notify)
        giver = Hints(postgres, lambda _: None)
        giver.tell(["gw_1"])
        assert giver._telling is not None
        await giver._telling
    heard: asyncio.Queue[set[str] | None] = asyncio.Queue()
    taker = Hints(postgres, heard.put_nowait)
    listening = asyncio.create_task(taker.listen())
    while heard.empty():
        giver.tell(["gw_2"])
        assert giver._telling is not None
        await giver._telling
        await asyncio.sleep(0.01)
    assert await heard.get() == {"gw_2"}
    listening.cancel()
    await asyncio.wait([listening])
    await giver.stop()
