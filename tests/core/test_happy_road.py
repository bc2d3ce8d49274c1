"""The whole road on a fake channel: accepted, sent, delivered, paid."""

from __future__ import annotations

import time

from fake_channel import FakeChannel
from waypost.plugin import DeliveryUpdate
from waypost.store.postgres import PostgresDatabase
from world import PRICE, OpenWorld, World


async def test_a_message_is_accepted_sent_delivered_and_paid(world: World) -> None:
    partner = await world.partner(credit_micros=10 * PRICE)
    await world.start()

    admitted = await world.accept(partner)
    assert admitted.message.status == "QUEUED"
    assert (await world.balance(partner.org)).held == PRICE
    await world.node.verdicts.wait(admitted.message.id, 10)
    assert (await world.message(admitted.message.id)).status == "SENT"

    receipt = DeliveryUpdate(event_id="e1", status="delivered", provider_id="p-1")
    reply = await world.node.inbox.receive(world.channel.tells(receipt), plugin="fake", gateway=partner.gateway.id)
    assert reply.status == 200
    await world.node.inbox.drain()
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured, message.settled_at) == ("DELIVERED", PRICE, world.clock.now())
    balance = await world.balance(partner.org)
    assert (balance.available, balance.held, balance.captured) == (9 * PRICE, 0, PRICE)
    assert await world.books_balance()


async def test_what_another_node_sends_is_heard_of_soon(open_world: OpenWorld, postgres_url: str) -> None:
    """Beside others even a node that sends by itself is not told of all: who waits is not left waiting for that."""
    databases = [await PostgresDatabase.open(postgres_url) for _ in range(2)]
    front = await open_world(FakeChannel(), database=databases[0])
    worker = await open_world(FakeChannel(), database=databases[1], role="worker", vault=front.node.vault)
    partner = await front.partner()
    await worker.node.refresh()
    await worker.start()
    admitted = await front.accept(partner)
    began = time.monotonic()
    assert await front.node.verdicts.wait(admitted.message.id, 10) == "SENT"
    assert time.monotonic() - began < 5
    for database in databases:
        await database.close()
