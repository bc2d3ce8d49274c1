"""Sent to the simulator over real HTTP, its webhooks verified and parsed by the plugin: what is Messenger's own."""

from __future__ import annotations

import pytest
from meta_products import MakeContext, MakeMessage
from waypost.plugin import (
    Address,
    ChannelEvent,
    DeliveryUpdate,
    OutcomeUnknown,
    Text,
)
from waypost.plugin.simulator import Outcome
from waypost_messenger.channel import messenger
from waypost_messenger.simulator import MAGIC, MessengerSimulator

NUMBER = {outcome: person for person, outcome in MAGIC.items()}
ORDINARY = MessengerSimulator.ordinary_recipient


def statuses(events: list[ChannelEvent]) -> list[str]:
    """The receipts in their order; those by watermark are left to their own test."""
    return [each.status for each in events if isinstance(each, DeliveryUpdate) and each.watermark is None]


async def test_ordinary_send(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    result = await messenger.send(simulated(correlation="att_1"), outbound(Text(body="hello äöå/😀")))
    await simulator.settle()
    (entry,) = simulator.journal
    assert (entry.recipient, entry.correlation, entry.accepted) == (ORDINARY, "att_1", True)
    assert result.provider_ids == (entry.provider_id,)
    assert statuses(heard) == ["sent", "delivered"]
    echo, delivered, until = (each for each in heard if isinstance(each, DeliveryUpdate))
    assert (echo.correlation, echo.provider_id) == ("att_1", entry.provider_id)
    assert delivered.provider_id == entry.provider_id
    assert until.recipient == Address("psid", ORDINARY)
    assert until.watermark is not None
    assert simulator.errors == []


RECEIPTS = {
    Outcome.ACCEPTED: [],
    Outcome.SENT: ["sent"],
    Outcome.DELIVERED: ["sent", "delivered"],
    Outcome.DUPLICATE_RECEIPTS: ["sent", "sent", "delivered", "delivered"],
    Outcome.REORDERED_RECEIPTS: ["delivered", "sent"],
}


@pytest.mark.parametrize("outcome", list(RECEIPTS))
async def test_receipts(
    outcome: Outcome,
    simulator: MessengerSimulator,
    simulated: MakeContext,
    outbound: MakeMessage,
    heard: list[ChannelEvent],
) -> None:
    await messenger.send(simulated(correlation="att_1"), outbound(Text(body="x"), to=NUMBER[outcome]))
    await simulator.settle()
    assert statuses(heard) == RECEIPTS[outcome]


async def test_duplicates_have_one_id(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await messenger.send(simulated(correlation="a"), outbound(Text(body="x"), to=NUMBER[Outcome.DUPLICATE_RECEIPTS]))
    await simulator.settle()
    assert len({each.event_id for each in heard if isinstance(each, DeliveryUpdate) and not each.watermark}) == 2


async def test_read(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await messenger.send(simulated(correlation="att_1"), outbound(Text(body="x"), to=NUMBER[Outcome.READ]))
    await simulator.settle()
    last = heard[-1]
    assert isinstance(last, DeliveryUpdate)
    assert (last.status, last.provider_id) == ("read", None)
    assert last.watermark is not None


async def test_accepted_and_dropped_is_settled_by_the_echo(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    with pytest.raises(OutcomeUnknown):
        await messenger.send(
            simulated(correlation="att_9"), outbound(Text(body="x"), to=NUMBER[Outcome.ACCEPT_THEN_DROP])
        )
    await simulator.settle()
    assert [each.correlation for each in heard if isinstance(each, DeliveryUpdate) and each.status == "sent"] == [
        "att_9"
    ]
    assert len(simulator.journal) == 1


async def test_late_and_early_receipts(
    simulator: MessengerSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await messenger.send(simulated(correlation="a"), outbound(Text(body="x"), to=NUMBER[Outcome.LATE_RECEIPTS]))
    await simulator.settle()
    assert heard == []
    simulator.release_late_receipts()
    await simulator.settle()
    assert statuses(heard) == ["sent", "delivered"]
    heard.clear()
    await messenger.send(simulated(correlation="b"), outbound(Text(body="x"), to=NUMBER[Outcome.EARLY_RECEIPTS]))
    assert statuses(heard) == ["sent", "delivered"]


async def test_connect_webhook(simulator: MessengerSimulator, simulated: MakeContext) -> None:
    made = await messenger.connect_webhook(simulated(), "https://gw.example.test/hooks/messenger")
    assert "https://gw.example.test/hooks/messenger" in made.remaining
    assert "message_echoes" in simulator.subscriptions[0]["subscribed_fields"].split(",")
