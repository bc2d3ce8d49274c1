"""Sent to the simulator over real HTTP, its webhooks verified and parsed by the plugin: what is Instagram's own."""

from __future__ import annotations

import pytest
from meta_products import MakeContext, MakeMessage
from waypost.plugin import (
    ChannelEvent,
    DeliveryUpdate,
    Engagement,
    OutcomeUnknown,
    Text,
)
from waypost.plugin.simulator import Outcome
from waypost_instagram.channel import instagram
from waypost_instagram.simulator import MAGIC, InstagramSimulator

NUMBER = {outcome: person for person, outcome in MAGIC.items()}
ORDINARY = InstagramSimulator.ordinary_recipient


def statuses(events: list[ChannelEvent]) -> list[str]:
    """What was heard, in its order: an echo tells nothing of a status."""
    return [each.status if isinstance(each, DeliveryUpdate) else "echo" for each in events]


async def test_ordinary_send(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    result = await instagram.send(simulated(correlation="att_1"), outbound(Text(body="hello äöå/😀")))
    await simulator.settle()
    (entry,) = simulator.journal
    assert (entry.recipient, entry.correlation, entry.accepted) == (ORDINARY, None, True)
    assert result.provider_ids == (entry.provider_id,)
    assert statuses(heard) == ["echo", "read"]
    echo, seen = heard
    assert isinstance(echo, Engagement)
    assert echo.detail["message_id"] == entry.provider_id
    assert isinstance(seen, DeliveryUpdate)
    assert seen.provider_id == entry.provider_id
    assert seen.correlation is None
    assert simulator.errors == []


RECEIPTS = {
    Outcome.ACCEPTED: [],
    Outcome.SENT: ["echo"],
    Outcome.READ: ["echo", "read"],
    Outcome.DUPLICATE_RECEIPTS: ["echo", "echo", "read", "read"],
    Outcome.REORDERED_RECEIPTS: ["read", "echo"],
}


@pytest.mark.parametrize("outcome", list(RECEIPTS))
async def test_receipts(
    outcome: Outcome,
    simulator: InstagramSimulator,
    simulated: MakeContext,
    outbound: MakeMessage,
    heard: list[ChannelEvent],
) -> None:
    await instagram.send(simulated(correlation="att_1"), outbound(Text(body="x"), to=NUMBER[outcome]))
    await simulator.settle()
    assert statuses(heard) == RECEIPTS[outcome]


async def test_duplicates_have_one_id(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await instagram.send(simulated(correlation="a"), outbound(Text(body="x"), to=NUMBER[Outcome.DUPLICATE_RECEIPTS]))
    await simulator.settle()
    assert len({each.event_id for each in heard}) == 2


async def test_accepted_and_dropped_is_told_by_the_echo_but_not_whose_it_is(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    with pytest.raises(OutcomeUnknown):
        await instagram.send(simulated(), outbound(Text(body="x"), to=NUMBER[Outcome.ACCEPT_THEN_DROP]))
    await simulator.settle()
    (entry,) = simulator.journal
    echo = heard[0]
    assert isinstance(echo, Engagement)
    assert (echo.detail["message_id"], echo.sender) == (entry.provider_id, ())


async def test_late_and_early_receipts(
    simulator: InstagramSimulator, simulated: MakeContext, outbound: MakeMessage, heard: list[ChannelEvent]
) -> None:
    await instagram.send(simulated(correlation="a"), outbound(Text(body="x"), to=NUMBER[Outcome.LATE_RECEIPTS]))
    await simulator.settle()
    assert heard == []
    simulator.release_late_receipts()
    await simulator.settle()
    assert statuses(heard) == ["echo", "read"]
    heard.clear()
    await instagram.send(simulated(correlation="b"), outbound(Text(body="x"), to=NUMBER[Outcome.EARLY_RECEIPTS]))
    assert statuses(heard) == ["echo", "read"]


@pytest.mark.parametrize("login", ["page", "instagram"])
async def test_connect_webhook(simulator: InstagramSimulator, simulated: MakeContext, login: str) -> None:
    made = await instagram.connect_webhook(
        simulated(settings={"login": login}), "https://gw.example.test/hooks/instagram"
    )
    assert "https://gw.example.test/hooks/instagram" in made.remaining
    assert "messages" in simulator.subscriptions[0]["subscribed_fields"].split(",")
