"""Messages: explained from acceptance to the last receipt, without content or addresses unless asked for on record."""

from __future__ import annotations

from typing import Any

import pytest
from waypost.operations.errors import InvalidArgumentError, NotFoundError
from waypost.plugin import DeliveryUpdate, Transient
from world import PRICE, TO, World


async def test_a_message_is_explained(world: World) -> None:
    partner = await world.partner(credit_micros=10 * PRICE)
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "SENT")
    await world.tell(partner, DeliveryUpdate(event_id="e1", status="delivered", provider_id="p-1"))

    told = await world.ask("messages.show", message=admitted.message.id)
    assert (told["status"], told["held"], told["captured"], told["cost"]) == ("DELIVERED", "0.0075", "0.0075", "0.0075")
    assert told["organization"] == partner.org.name
    (step,) = told["steps"]
    (choice,) = step["choices"]
    assert choice["lines"][0] | {"rate": ""} == {
        "sku": "unit", "quantity": 1, "charge_on": "sent", "amount": "0.0075", "rate": "",
    }  # fmt: skip
    (attempt,) = told["attempts"]
    assert (attempt["provider_ids"], attempt["outcome"], attempt["gateway"]) == (
        ["p-1"],
        "delivered",
        partner.gateway.name,
    )
    assert [entry["kind"] for entry in told["ledger"]] == ["hold", "capture"]
    assert [line["text"] for line in told["timeline"]] == [
        "held 0.0075 USD",
        "queued",
        f"sending through {partner.gateway.name}, attempt 1",
        f"accepted by {partner.gateway.name} as p-1",
        "delivered, says the provider",
        "captured 0.0075 USD",
    ]
    assert (await world.ask("messages.counts")) == {"DELIVERED": 1}


async def test_failed_attempts_are_told_with_their_codes(world: World) -> None:
    partner = await world.partner()
    world.channel.on(TO, Transient("busy", provider_code="E42"))
    await world.start()
    admitted = await world.accept(partner)
    await world.state(admitted, "queued")
    await world.channel.called(1)

    async def tried() -> bool:
        return bool((await world.ask("messages.show", message=admitted.message.id))["attempts"])

    await world.until(tried)

    async def refused() -> bool:
        told = await world.ask("messages.show", message=admitted.message.id)
        return "not_sent" in [item["kind"] for item in told["events"]]

    await world.until(refused)
    told = await world.ask("messages.show", message=admitted.message.id)
    assert told["attempts"][0]["outcome"] == "not_sent"
    assert "E42" in str(told["events"])


async def test_content_is_shown_only_on_request_and_on_record(world: World) -> None:
    partner = await world.partner()
    admitted = await world.accept(partner)
    for name, arguments in (("messages.show", {"message": admitted.message.id}), ("messages.list", {})):
        told = str(await world.ask(name, **arguments))
        assert "Hello" not in told
        assert TO not in told
        assert "+49…78" in told
    assert await world.ask("audit.list") == []
    told = await world.ask("messages.show", message=admitted.message.id, content=True)
    assert (told["recipient"], told["content"]["body"]) == (TO, "Hello")
    (entry,) = await world.ask("audit.list")
    assert (entry["action"], entry["subject"]) == ("messages.show-content", admitted.message.id)


async def test_lists_are_filtered_and_go_on(world: World) -> None:
    first, second = await world.partner(), await world.partner()
    sent = [(await world.accept(partner)).message.id for partner in (first, first, second)]

    async def found(**arguments: Any) -> list[str]:
        return [row["id"] for row in await world.ask("messages.list", **arguments)]

    assert await found() == sent[::-1]
    assert await found(limit=1) == sent[2:]
    assert await found(before=sent[2]) == [sent[1], sent[0]]
    assert await found(app=second.app.name) == [sent[2]]
    assert await found(organization=first.org.id) == [sent[1], sent[0]]
    assert await found(status="delivered") == []
    assert len(await found(channel="sms", status="queued")) == 3
    with pytest.raises(InvalidArgumentError, match="QUEUED"):
        await found(status="foo")
    with pytest.raises(NotFoundError):
        await found(before="msg_nobody")


async def test_failed_deliveries_are_parsed_again_after_a_fix(world: World) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "SENT")
    request = world.channel.tells(fault=ValueError("broken"))
    reply = await world.node.inbox.receive(request, plugin="fake", gateway=partner.gateway.id)
    assert reply.status == 200
    await world.node.inbox.drain()
    world.channel.mend(request, DeliveryUpdate(event_id="e1", status="delivered", provider_id="p-1"))

    assert await world.ask("webhooks.reparse", plugin="fake") == {"plugin": "fake", "queued": 1}
    await world.node.inbox.tend_once(left_behind=-1)
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    assert (await world.ask("webhooks.reparse", plugin="fake"))["queued"] == 0


async def test_nodes_are_listed(world: World) -> None:
    assert await world.ask("nodes.list") == []
    await world.start()
    (row,) = await world.ask("nodes.list")
    assert (row["id"], row["role"], row["state"], row["channels"]) == (world.node.id, "all", "alive", ["fake"])
