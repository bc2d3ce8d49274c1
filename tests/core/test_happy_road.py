"""The whole road on a fake channel: accepted, sent, delivered, paid."""

from __future__ import annotations

from waypost.plugin import DeliveryUpdate
from world import PRICE, World


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
