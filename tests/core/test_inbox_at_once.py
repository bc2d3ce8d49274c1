"""What is said of one message or one person in two transactions at the same time, as by two batches or two nodes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only
from waypost.inbox.apply import apply_events
from waypost.inbox.placement import Placed
from waypost.plugin import Address, ChannelEvent, ConsentChange, InboundMessage, Text
from waypost.store import inbound
from waypost.store.gateways import Gateway
from waypost.store.inbound import Inbound
from world import TO, World

pytestmark = pytest.mark.parametrize("database", ["postgres"], indirect=True)

AT = datetime(2026, 1, 1, tzinfo=UTC)


def wrote(provider_id: str, sender: str = TO, **fields: object) -> InboundMessage:
    return InboundMessage(
        **{  # type: ignore[arg-type]
            "event_id": f"{provider_id} {fields.get('change', 'new')}",
            "provider_id": provider_id,
            "sender": (Address("e164", sender),),
            "recipient": Address("e164", "+1555"),
            "content": Text(body="secret"),
        }
        | fields
    )


async def owned(world: World) -> Gateway:
    app = await world.app(await world.organization())
    return await world.gateway(app_id=app.id)


async def together(
    world: World, gateway: Gateway, first: Sequence[ChannelEvent], second: Sequence[ChannelEvent]
) -> None:
    """Apply the first while its transaction stays open, and the second before that ends."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    def apply(conn: Connection, events: Sequence[ChannelEvent]) -> None:
        placed = [Placed(event, (gateway,), (gateway,)) for event in events]
        apply_events(conn, placed, world.node.rules, world.clock)

    def stay(conn: Connection) -> None:
        apply(conn, first)
        begun.set()
        await_only(go_on.wait())

    one = asyncio.create_task(world.database.write(stay))
    await begun.wait()
    two = asyncio.create_task(world.database.write(lambda conn: apply(conn, second)))

    async def waits() -> bool:
        waiting = text("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
        return two.done() or bool(await world.database.read(lambda conn: conn.execute(waiting).scalar_one()))

    await world.until(waits, "the second's waiting")
    go_on.set()
    await asyncio.gather(one, two)


async def messages(world: World, gateway: Gateway) -> dict[str, Inbound]:
    found = await world.database.read(lambda conn: inbound.page(conn, gateway.app_id or "", "", 100))
    return {row.provider_id: row for row in found}


async def test_a_message_that_comes_twice_is_one_and_takes_nothing_with_it(world: World) -> None:
    gateway = await owned(world)
    await together(world, gateway, [wrote("in-1")], [wrote("in-1"), wrote("in-2")])
    assert set(await messages(world, gateway)) == {"in-1", "in-2"}


@pytest.mark.parametrize("taken_back_first", [True, False])
async def test_what_is_taken_back_is_erased(world: World, *, taken_back_first: bool) -> None:
    gateway = await owned(world)
    said = [wrote("in-1")], [wrote("in-1", change="unsend", content=None)]
    await together(world, gateway, *(reversed(said) if taken_back_first else said))
    row = (await messages(world, gateway))["in-1"]
    assert (row.content, row.unsent) == ("{}", True)


async def test_an_edit_is_not_lost(world: World) -> None:
    gateway = await owned(world)
    await together(world, gateway, [wrote("in-1")], [wrote("in-1", change="edit", content=Text(body="better"))])
    assert json.loads((await messages(world, gateway))["in-1"].content)["body"] == "better"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_latest_word_on_consent_counts(world: World, order: tuple[int, int]) -> None:
    gateway = await owned(world)
    address = Address("e164", TO)
    words = [
        ConsentChange(event_id="out", address=address, state="opted_out", occurred_at=AT + timedelta(seconds=9)),
        ConsentChange(event_id="in", address=address, state="opted_in", occurred_at=AT),
    ]
    await together(world, gateway, [words[order[0]]], [words[order[1]]])
    assert await world.database.read(lambda conn: inbound.consent_of(conn, gateway.id, TO)) == {"all": "opted_out"}


async def test_the_same_people_in_another_order_do_not_stand_in_each_others_way(world: World) -> None:
    gateway = await owned(world)
    people = [f"+4915100000{number}" for number in range(10, 30)]
    deliveries = [
        [wrote(f"{batch} {sender}", sender) for sender in order]
        for batch, order in enumerate((people, people[::-1], people[5:] + people[:5]))
    ]

    await without_deadlock(world, [[Placed(event, (gateway,), (gateway,)) for event in said] for said in deliveries])
    assert len(await messages(world, gateway)) == 60


async def test_people_without_numbers_who_write_to_two_gateways_stand_in_nobodys_way(world: World) -> None:
    gateways = [await owned(world) for _ in range(4)]
    everybody = [*gateways, *gateways[::-1], *gateways[2:], *gateways[:2]]
    said = [
        Placed(wrote(f"in-{number}", f"US.{number}"), (gateway,), (gateway,), hidden=True)
        for number, gateway in enumerate(everybody)
    ]
    await without_deadlock(world, [said[:4], said[4:8], said[8:]])


async def without_deadlock(world: World, batches: Sequence[Sequence[Placed]]) -> None:
    """Apply batches at the same time, some times over."""

    def deadlocks(conn: Connection) -> int:
        conn.execute(text("SELECT pg_stat_clear_snapshot()"))
        return int(conn.execute(text("SELECT SUM(deadlocks) FROM pg_stat_database")).scalar_one())

    def apply(conn: Connection, placed: Sequence[Placed]) -> None:
        apply_events(conn, placed, world.node.rules, world.clock)

    before = await world.database.read(deadlocks)
    for _ in range(5):
        await asyncio.gather(
            *(world.database.write(lambda conn, placed=placed: apply(conn, placed)) for placed in batches)  # type: ignore[misc]
        )
    assert await world.database.read(deadlocks) == before


async def test_however_much_is_said_it_takes_few_locks(world: World) -> None:
    """PostgreSQL keeps room for some thousands, for all transactions of all nodes."""

    def work(conn: Connection) -> int:
        inbound.keep_apart(conn, (f"gw person {number}" for number in range(25_000)))
        return int(
            conn.execute(
                text("SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            ).scalar_one()
        )

    assert await world.database.write(work) == 1024
