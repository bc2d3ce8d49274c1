"""Whose a sender is, where several apps share an account at a provider."""

from __future__ import annotations

from typing import Any

import pytest
from fake_channel import FakeChannel
from waypost import refusals
from waypost.admission.request import FallbackRequest
from waypost.plugin import Address, hookimpl
from waypost.store import gateways
from world import PRICE, OpenWorld, Partner, World

OURS, THEIRS, SHARED = "+6560000001", "+6560000002", "+6560000003"
ACCOUNT = "AC1"


class Numbers(FakeChannel):
    """A channel whose addresses may be written with spaces."""

    @hookimpl
    def parse_address(self, value: str) -> Address:
        return Address("e164", value.replace(" ", ""))


@pytest.fixture
async def world(open_world: OpenWorld) -> World:
    return await open_world(Numbers())


async def neighbour(world: World, *senders: str, **fields: Any) -> Partner:
    """A partner with an app and a gateway of its own; on the account that all share unless told otherwise."""
    org = await world.organization()
    app = await world.app(org)
    gateway = await world.gateway(**({"account_ref": ACCOUNT, "app_id": app.id, "senders": senders} | fields))
    await world.rate(gateway, PRICE)
    await world.route(app, gateway)
    return Partner(org, app, await world.key(app), (gateway,))


@pytest.mark.parametrize("written", [THEIRS, "+65 6000 0002", f" {THEIRS} ", f"Shop <{THEIRS}>", f"Shop <{THEIRS}> "])
async def test_nobody_sends_from_what_is_another_apps(world: World, written: str) -> None:
    ours, theirs = await neighbour(world, OURS), await neighbour(world, THEIRS)
    with pytest.raises(refusals.ValidationFailed, match="from: you may not"):
        await world.accept(ours, sender=written)
    with pytest.raises(refusals.ValidationFailed, match="from: you may not"):
        await world.accept(ours, sender=OURS, fallback=(FallbackRequest(channel="SMS", sender=written),))
    assert (await world.balance(ours.org)).held == 0
    await world.accept(theirs, sender=written)


@pytest.mark.parametrize("sender", [None, OURS, SHARED, "Acme", "+6569999999"])
async def test_everybody_sends_from_their_own_and_from_what_nobody_has(world: World, sender: str | None) -> None:
    ours = await neighbour(world, OURS, SHARED)
    await neighbour(world, THEIRS, SHARED)
    await world.accept(ours, sender=sender)


@pytest.mark.parametrize(
    "other", [{"account_ref": "AC2"}, {"account_ref": None}, {"status": "disabled"}, {"app_id": None}]
)
async def test_what_is_of_another_account_or_out_of_use_or_everybodys_bars_nobody(
    world: World, other: dict[str, Any]
) -> None:
    ours = await neighbour(world, OURS)
    await neighbour(world, THEIRS, **other)
    await world.accept(ours, sender=THEIRS)


async def test_a_senders_other_gateway_is_its_apps_too(world: World) -> None:
    ours = await neighbour(world, OURS)
    await world.gateway(account_ref=ACCOUNT, app_id=ours.app.id, senders=(THEIRS,))
    await world.accept(ours, sender=THEIRS)


async def test_what_the_operator_chose_may_be_named(world: World) -> None:
    ours = await neighbour(world, OURS)
    await neighbour(world, THEIRS)
    await world.route(ours.app, ours.gateway, sender=THEIRS)
    await world.accept(ours)
    await world.accept(ours, sender=THEIRS)


async def test_a_number_that_has_gone_to_another_app_is_theirs(world: World) -> None:
    """What was found out is forgotten with the directory that it was found out from."""
    theirs, ours = await neighbour(world, THEIRS), await neighbour(world, OURS)
    with pytest.raises(refusals.ValidationFailed):
        await world.accept(ours, sender=THEIRS)
    await world.decide(lambda conn: gateways.set_status(conn, theirs.gateway.id, "disabled", ""))
    await world.accept(ours, sender=THEIRS)
