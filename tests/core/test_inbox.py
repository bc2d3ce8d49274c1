"""The inbox in bad luck: nothing that is stored is lost, and no delivery takes another down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

import pytest
from fake_channel import FakeChannel
from inbound_stage import inbox_of, owned, read_again, states, wrote
from waypost.clock import HOUR, MINUTE
from waypost.host.session import close_session
from waypost.inbox import service
from waypost.inbox.service import LARGE, MOST_TRIES
from waypost.plugin import (
    Address,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    UnknownEvent,
    WebhookRequest,
    hookimpl,
)
from waypost.store import deliveries, inbound
from waypost.store.database import Database, StoreUnavailableError
from world import TO, OpenWorld, World


async def test_a_delivery_that_cannot_be_parsed_waits_for_the_fix(world: World) -> None:
    partner = await owned(world)
    bad = world.channel.tells(fault=KeyError("+4915112345678"))
    reply = await world.node.inbox.receive(bad, plugin="fake", gateway=partner.gateway.id)
    assert reply.status == 200  # it is safe with us
    await world.tell(partner, wrote("in-2"))
    ((failed, problem), (applied, _)) = await states(world.database)
    assert (failed, applied) == ("failed", "applied")
    assert "KeyError" in problem
    assert "4915" not in problem

    world.clock.advance(10 * MINUTE)
    await world.node.inbox.tend_once()
    assert world.channel.parses == 2  # it is not tried again by itself
    world.channel.mend(bad, wrote("in-1"))
    assert await read_again(world) == 1
    assert len(await inbox_of(world, partner)) == 2
    assert {state for state, _ in await states(world.database)} == {"applied"}
    assert await read_again(world) == 0


async def test_what_is_parsed_days_later_was_said_when_it_came(world: World) -> None:
    """It opens nobody's window now, and takes nothing back that was said since."""
    partner = await owned(world)
    bad, came = world.channel.tells(fault=KeyError()), world.clock.now()
    await world.node.inbox.receive(bad, plugin="fake", gateway=partner.gateway.id)
    world.clock.advance(24 * HOUR)
    person = Address("e164", TO)
    await world.tell(partner, ConsentChange(event_id="start", address=person, state="opted_in"))
    world.clock.advance(24 * HOUR)
    world.channel.mend(bad, wrote("in-1"), ConsentChange(event_id="stop", address=person, state="opted_out"))
    assert await read_again(world) == 1
    pair = (partner.gateway.id, TO)
    assert await world.database.read(lambda conn: inbound.last_inbound(conn, [pair])) == {pair: came}
    assert await world.database.read(lambda conn: inbound.consent_of(conn, *pair)) == {"all": "opted_in"}


@pytest.mark.parametrize(
    "poison",
    [
        wrote("bad", occurred_at=datetime(2026, 1, 1)),  # noqa: DTZ001 - the mistake
        wrote("bad", recipient=None),
        DeliveryUpdate(event_id="bad", status="delivered", provider_id=7),  # type: ignore[arg-type]
        DeliveryUpdate(event_id="bad", status="exploded", provider_id="p-1"),  # type: ignore[arg-type]
    ],
    ids=["naive time", "no recipient", "id not text", "no such status"],
)
async def test_a_poisoned_delivery_takes_nobody_down(world: World, poison: ChannelEvent) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "SENT")
    receive, gateway = world.node.inbox.receive, partner.gateway.id
    for events in ([wrote("a")], [poison], [DeliveryUpdate(event_id="e", status="delivered", provider_id="p-1")]):
        assert (await receive(world.channel.tells(*events), plugin="fake", gateway=gateway)).status == 200
    await world.node.inbox.drain()
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    assert [state for state, _ in await states(world.database)].count("applied") >= 2
    assert "stored" not in dict(await states(world.database))


@pytest.mark.parametrize("size", [1, LARGE + 1], ids=["small", "large"])
async def test_an_event_that_cannot_be_placed_takes_nobody_down(open_world: OpenWorld, size: int) -> None:
    """Whatever a plugin puts where an account's name belongs: what comes behind it is read all the same."""

    class Careless(FakeChannel):
        @hookimpl
        def parse_event(self, ctx: object, request: WebhookRequest) -> Sequence[ChannelEvent]:  # type: ignore[override]
            return [wrote("in-1", account_ref=["A1"] if request.body[:1] == b"b" else "A1")]

    world = await open_world(Careless(info={"webhook_scope": "shared"}))
    app = await world.app(await world.organization())
    provider_app = await world.provider_app("fake")
    gateway = await world.gateway(provider_app_id=provider_app.id, account_ref="A1", app_id=app.id)
    for letter in (b"b", b"g"):
        request = world.channel.tells(body=letter * size)
        assert (await world.node.inbox.receive(request, plugin="fake")).status == 200
    await world.node.inbox.drain()
    assert [state for state, _ in await states(world.database)] == ["failed", "applied"]
    found = await world.database.read(lambda conn: inbound.page(conn, app.id, "", 9))
    assert [row.gateway_id for row in found] == [gateway.id]


@pytest.mark.parametrize("size", [1, LARGE + 1], ids=["small", "large"])
async def test_an_event_that_cannot_be_stored_takes_nobody_down(world: World, size: int) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote("in-1", sender=(Address("e164", 49),)), body=b"b" * size)  # type: ignore[arg-type]
    await world.tell(partner, wrote("in-2"), body=b"g" * size)
    world.clock.advance(MINUTE)
    await world.node.inbox.tend_once()
    assert [state for state, _ in await states(world.database)] == ["failed", "applied"]
    assert [row.provider_id for row in await inbox_of(world, partner)] == ["in-2"]


@pytest.mark.parametrize("strange", ["a\x00b", "\ud800"], ids=["NUL", "surrogate"])
async def test_characters_that_a_database_cannot_hold_do_not_lose_a_message(world: World, strange: str) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote("in-1", body="a\x00b", sender_name=strange, reply_to=strange), wrote("in-2"))
    assert [row.provider_id for row in await inbox_of(world, partner)] == ["in-1", "in-2"]


async def test_what_a_killed_node_left_behind_is_applied(world: World) -> None:
    partner = await owned(world)
    request = world.channel.tells(wrote())
    delivery = deliveries.Delivery(
        id="raw_1", plugin="fake", gateway_id=partner.gateway.id, provider_app_id=None, request=request,
        received_at=world.clock.now(),
    )  # fmt: skip
    await world.database.write(lambda conn: deliveries.add_many(conn, [delivery]))
    await world.node.inbox.tend_once()
    assert await inbox_of(world, partner) == []  # its node may still be at it
    world.clock.advance(MINUTE)
    await world.node.inbox.tend_once()
    assert len(await inbox_of(world, partner)) == 1


async def test_a_delivery_that_kills_every_node_is_given_up_and_its_neighbours_are_applied(
    open_world: OpenWorld, database: Database
) -> None:
    class Deadly(FakeChannel):
        @hookimpl
        def parse_event(self, ctx: object, request: WebhookRequest) -> Sequence[ChannelEvent]:  # type: ignore[override]
            if request.body == b"deadly":
                raise KeyboardInterrupt
            return [wrote(request.body.decode())]

    world = await open_world(Deadly())
    partner = await owned(world)
    rows = [
        deliveries.Delivery(
            id=f"raw_{body}", plugin="fake", gateway_id=partner.gateway.id, provider_app_id=None,
            request=world.channel.tells(body=body.encode()), received_at=world.clock.now(),
        )
        for body in ("a", "deadly", "z")
    ]  # fmt: skip
    await world.database.write(lambda conn: deliveries.add_many(conn, rows))
    world.clock.advance(MINUTE)
    for _ in range(MOST_TRIES):
        another = await World.open(database, world.clock, world.channel, vault=world.node.vault)
        try:
            with pytest.raises(KeyboardInterrupt):
                await another.node.inbox.tend_once()
        finally:
            await close_session(another.node.http)
    await world.node.inbox.tend_once()
    assert sorted(row.provider_id for row in await inbox_of(world, partner)) == ["a", "z"]
    assert await states(world.database) == [
        ("applied", ""), ("failed", f"{MOST_TRIES} processes ended while they read it"), ("applied", ""),
    ]  # fmt: skip
    assert await world.database.write(lambda conn: deliveries.queue_again(conn, "fake")) == 1
    (again,) = await world.database.read(lambda conn: deliveries.stored_before(conn, world.clock.now(), ["fake"], 9))
    assert again.tries == 0


async def test_a_store_that_is_down_is_no_reason_to_give_a_delivery_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tried has outlived it, however often."""
    partner = await owned(world)
    delivery = deliveries.Delivery(
        id="raw_1", plugin="fake", gateway_id=partner.gateway.id, provider_app_id=None,
        request=world.channel.tells(wrote()), received_at=world.clock.now(),
    )  # fmt: skip
    await world.database.write(lambda conn: deliveries.add_many(conn, [delivery]))
    world.clock.advance(MINUTE)

    def down(*_: object) -> None:
        raise StoreUnavailableError

    with monkeypatch.context() as patched:
        patched.setattr(service, "apply", down)
        for _ in range(MOST_TRIES + 2):
            await world.node.inbox.tend_once()
            world.node.inbox._tried.clear()  # as another process would come to it
    assert await states(world.database) == [("stored", "")]
    (left,) = await world.database.read(lambda conn: deliveries.stored_before(conn, world.clock.now(), ["fake"], 9))
    assert left.tries == 0
    await world.node.inbox.tend_once()
    assert len(await inbox_of(world, partner)) == 1


async def test_a_node_without_the_plugin_leaves_the_delivery_to_others(open_world: OpenWorld) -> None:
    """Two deployments on one database: a delivery is only for the nodes that have its plugin."""
    world = await open_world(FakeChannel())
    delivery = deliveries.Delivery(
        id="raw_1", plugin="elsewhere", gateway_id=None, provider_app_id=None,
        request=WebhookRequest(method="POST", url="https://gateway.test/webhooks/elsewhere"), received_at=0,
    )  # fmt: skip
    await world.database.write(lambda conn: deliveries.add_many(conn, [delivery]))
    await world.node.inbox.tend_once()
    assert [state for state, _ in await states(world.database)] == ["stored"]


@pytest.mark.parametrize("letter", ["x", "ß", "😀"])
async def test_an_id_longer_than_an_index_takes_is_told_from_others(world: World, letter: str) -> None:
    """Whatever an id or an address holds; what PostgreSQL compresses well it takes, hence the noise."""
    partner = await owned(world)
    noise = "".join(sha256(f"{letter}{number}".encode()).hexdigest() for number in range(140))
    one, other = noise + letter, noise + letter * 2
    people = [(Address("e164", "+49" + value),) for value in (one, other)]
    await world.tell(
        partner,
        *(wrote(value, sender=sender) for value, sender in zip((one, other, one), [*people, people[0]], strict=True)),
        UnknownEvent(event_id=one, reason="?"),
        DeliveryUpdate(event_id=one, status="delivered", provider_id=other),
        ConsentChange(event_id=other, address=people[1][0], state="opted_out"),
    )
    rows = await inbox_of(world, partner)
    assert len({row.provider_id for row in rows}) == 2
    assert all(row.provider_id.startswith(noise[:400]) and len(row.provider_id.encode()) <= 1000 for row in rows)
    assert len({row.sender for row in rows}) == 2
    assert [state for state, _ in await states(world.database)] == ["applied"]
    assert await world.parked() == 1
