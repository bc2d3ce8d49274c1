"""Listening, with the line channel around a real node, on both databases: one node at a time, nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from inbound_stage import read_again
from sqlalchemy import Connection, select
from waypost.clock import SECOND
from waypost.host.loader import PluginRecord, inspect_plugin
from waypost.ids import new_id
from waypost.inbox import listeners as inbox_listeners
from waypost.store import gateways, listeners
from waypost.store.database import Database, StoreUnavailableError
from waypost.store.opening import open_database
from waypost.store.tables import delivery, inbound_message
from waypost.vault import Vault, new_key
from waypost_line.channel import line
from waypost_line.simulator import LineSimulator
from world import Partner, World

LEASE = 1.0


class Listening:
    """The line plugin, as `World` takes its channels."""

    name = "line"
    channel = "LINES"

    @property
    def record(self) -> PluginRecord:
        return PluginRecord("line", "waypost-line-example", "0.1.0", "loaded", "", (), inspect_plugin("line", line))


@dataclass
class Setting:
    """A world with a gateway at the provider, and a partner behind it."""

    world: World
    provider: LineSimulator
    partner: Partner

    async def inbound(self, database: Database | None = None) -> list[str]:
        """The texts that are stored, in their order."""
        rows = await (database or self.world.database).read(
            lambda conn: conn.execute(select(inbound_message).order_by(inbound_message.c.id)).all()
        )
        assert all(row.app_id == self.partner.app.id and row.channel == "LINES" for row in rows)
        return [json.loads(row.content)["body"] for row in rows]

    async def heard(self) -> None:
        """Wait until everything the provider said is acknowledged."""
        await self.provider.until(lambda: self.provider.unacknowledged == 0)

    async def listened_to(self, times: int) -> None:
        """Wait until a connection was bound to receive so often."""
        await self.provider.until(lambda: self.provider.binds.count("receive") >= times)


@pytest.fixture
async def provider() -> AsyncIterator[LineSimulator]:
    simulator = LineSimulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
def vault() -> Vault:
    return Vault([new_key()])


OpenWorld = Callable[..., Awaitable[World]]


@pytest.fixture
def open_node(open_world: OpenWorld, database: Database, vault: Vault) -> Callable[..., Awaitable[World]]:
    """Open a node of the same deployment, with a connection to the database of its own from the second one on."""
    opened: list[World] = []

    async def make(**config: Any) -> World:
        own = database
        if opened:
            own = await open_database(database.url)
            own.clock = database.clock
        opened.append(await open_world(Listening(), vault=vault, lease=LEASE, database=own, **config))
        return opened[-1]

    return make


@pytest.fixture
async def setting(open_node: OpenWorld, provider: LineSimulator) -> Setting:
    """One node, set up and not started."""
    world = await open_node()
    org = await world.organization()
    app = await world.app(org)
    account, gateway_id = provider.account_settings(), new_id("gw")
    gateway = await world.gateway(
        Listening(),  # type: ignore[arg-type]
        id=gateway_id,
        settings=json.dumps({"host": account["host"], "port": account["port"]}),
        secrets=world.node.vault.seal(json.dumps({"token": account["token"]}), f"gateway/{gateway_id}"),
        senders=("555",),
        app_id=app.id,
    )
    await world.rate(gateway, sku="message")
    await world.route(app, gateway)
    return Setting(world, provider, Partner(org, app, await world.key(app), (gateway,)))


async def test_messages_go_out_and_come_in(setting: Setting) -> None:
    world = setting.world
    await world.start()
    admitted = await world.accept(setting.partner, "100", channel="LINES")
    await world.node.verdicts.wait(admitted.message.id, 10)
    await setting.provider.says("Is it here?")
    await setting.heard()
    message = await world.message(admitted.message.id)
    assert (message.status, message.captured) == ("DELIVERED", message.held)
    assert await setting.inbound() == ["Is it here?"]
    assert await world.books_balance()


async def test_a_broken_connection_comes_back_and_nothing_is_lost(setting: Setting) -> None:
    await setting.world.start()
    await setting.listened_to(1)
    await setting.provider.says("before")
    await setting.heard()
    for number in range(2, 5):
        setting.provider.deaf = True
        await setting.provider.break_connections("receive")
        await setting.provider.says(f"meanwhile {number}")
        assert setting.provider.unacknowledged == 1
        setting.provider.deaf = False
        await setting.listened_to(number)
        await setting.heard()
    assert await setting.inbound() == ["before", "meanwhile 2", "meanwhile 3", "meanwhile 4"]


async def test_what_is_said_twice_is_stored_once(setting: Setting) -> None:
    await setting.world.start()
    for _ in range(3):
        await setting.provider.says("the same", message_id="m-1")
    await setting.heard()
    assert await setting.inbound() == ["the same"]


async def test_nothing_is_acknowledged_that_is_not_stored(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    down = True
    refused = asyncio.Event()
    apply_events = inbox_listeners.apply_events

    def failing(conn: Connection, *arguments: Any) -> Any:
        if down:
            raise StoreUnavailableError("the disk is full")
        return apply_events(conn, *arguments)

    warned = inbox_listeners._LOG.bind()

    class Noting:
        def error(self, event: str, **fields: Any) -> None:
            if event == "listener.broke" and fields["problem"] == "raised StoreUnavailableError":
                refused.set()

        def __getattr__(self, name: str) -> Any:
            return getattr(warned, name)

    monkeypatch.setattr(inbox_listeners, "apply_events", failing)
    monkeypatch.setattr(inbox_listeners, "_LOG", Noting())
    await setting.world.start()
    await setting.provider.says("precious")
    await asyncio.wait_for(refused.wait(), 10)
    assert setting.provider.unacknowledged == 1
    assert await setting.inbound() == []
    down = False
    await setting.heard()
    assert await setting.inbound() == ["precious"]


async def test_an_event_that_cannot_be_applied_is_set_aside(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    apply_events = inbox_listeners.apply_events

    def failing(conn: Connection, placed: Any, *arguments: Any) -> Any:
        if "poison" in placed[0].event.content.body:
            raise ValueError("no such thing")
        return apply_events(conn, placed, *arguments)

    monkeypatch.setattr(inbox_listeners, "apply_events", failing)
    await setting.world.start()
    await setting.provider.says("poison")
    await setting.provider.says("bread")
    await setting.heard()
    assert await setting.inbound() == ["bread"]
    assert setting.provider.binds.count("receive") == 1
    [kept] = await setting.world.database.read(lambda conn: conn.execute(select(delivery)).all())
    assert (kept.state, kept.problem, kept.method) == ("failed", "applying it raised ValueError", "EMITTED")
    assert json.loads(kept.body)["content"]["body"] == "poison"
    assert await read_again(setting.world, "line") == 0


async def test_a_second_node_does_not_listen_until_the_first_lets_go(setting: Setting, open_node: OpenWorld) -> None:
    first, second = setting.world, await open_node()
    await first.start()
    await setting.listened_to(1)
    await second.start()
    await asyncio.sleep(LEASE)  # the second looks three times while the first prolongs its lease
    assert setting.provider.binds.count("receive") == 1
    assert list(first.node.listeners.listening.values()) == [True]
    assert list(second.node.listeners.listening.values()) == [False]

    await first.node.listeners.stop()
    await setting.listened_to(2)
    await setting.provider.says("to the second")
    await setting.heard()
    assert setting.provider.receivers == 1
    assert await setting.inbound() == ["to the second"]


async def test_a_dead_nodes_lease_ends(setting: Setting, open_node: OpenWorld) -> None:
    gateway, dead_until = setting.partner.gateway, setting.world.clock.now() + round(LEASE * SECOND)
    await setting.world.database.write(
        lambda conn: listeners.take(conn, gateway.id, "node_dead", setting.world.clock.now(), dead_until)
    )
    await setting.world.start()
    await asyncio.sleep(LEASE / 2)
    assert setting.provider.binds.count("receive") == 0
    setting.world.clock.move_to(dead_until)
    await setting.listened_to(1)
    owners = await setting.world.database.read(listeners.owners)
    assert owners == {gateway.id: setting.world.node.id}


async def test_who_lost_the_lease_stores_nothing_and_stops(setting: Setting) -> None:
    world, gateway = setting.world, setting.partner.gateway
    await world.start()
    await setting.listened_to(1)
    await setting.provider.says("mine")
    await setting.heard()
    later = world.clock.now() + 10 * SECOND

    def steal(conn: Connection) -> None:
        listeners.release(conn, gateway.id, world.node.id)
        assert listeners.take(conn, gateway.id, "node_other", world.clock.now(), later)

    await world.database.write(steal)
    await setting.provider.says("not mine")
    await setting.provider.until(lambda: setting.provider.receivers == 0)
    assert setting.provider.unacknowledged == 1
    assert await setting.inbound() == ["mine"]
    assert await world.database.read(listeners.owners) == {gateway.id: "node_other"}


async def test_events_make_room_for_the_lease_to_be_prolonged(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL one that overlaps the next, on and on, would keep the lease's row from everybody else."""
    await setting.world.start()
    await setting.listened_to(1)
    (listener,) = setting.world.node.listeners._listeners.values()
    take, prolonging, go = listener._take, asyncio.Event(), asyncio.Event()

    async def prolonged() -> bool:
        prolonging.set()
        await go.wait()
        return await take()

    monkeypatch.setattr(listener, "_take", prolonged)
    async with asyncio.timeout(10):
        await prolonging.wait()
    await setting.provider.says("meanwhile")
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert await setting.inbound() == []
    go.set()
    await setting.heard()
    assert await setting.inbound() == ["meanwhile"]


async def test_new_settings_take_a_new_connection(setting: Setting) -> None:
    world, gateway = setting.world, setting.partner.gateway
    await world.start()
    await setting.listened_to(1)
    setting.provider.token = "rotated"
    sealed = world.node.vault.seal(json.dumps({"token": "rotated"}), f"gateway/{gateway.id}")
    await world.decide(lambda conn: gateways.save(conn, replace(gateway, secrets=sealed)))
    await setting.listened_to(2)
    admitted = await world.accept(setting.partner, "100", channel="LINES")
    await world.node.verdicts.wait(admitted.message.id, 10)
    await setting.heard()
    assert (await world.message(admitted.message.id)).status == "DELIVERED"


async def test_a_disabled_gateway_is_let_go(setting: Setting) -> None:
    world, gateway = setting.world, setting.partner.gateway
    await world.start()
    await setting.listened_to(1)
    await world.decide(lambda conn: gateways.set_status(conn, gateway.id, "paused", "for a while"))
    await setting.provider.says("while paused")
    await setting.heard()
    await world.decide(lambda conn: gateways.set_status(conn, gateway.id, "disabled", "for good"))
    await setting.provider.until(lambda: setting.provider.receivers == 0)
    assert await setting.inbound() == ["while paused"]


async def test_a_node_that_only_answers_requests_does_not_listen(open_node: OpenWorld, setting: Setting) -> None:
    answering = await open_node()
    answering.node.role = "api"
    await answering.start()
    await answering.decide(lambda _: None)
    assert answering.node.listeners.listening == {}


async def test_emit_takes_events_only(setting: Setting) -> None:
    plugin = setting.world.node.plugins["line"]
    listener = inbox_listeners.Listener(setting.partner.gateway.id, plugin, setting.world.node.listeners._tools)
    with pytest.raises(TypeError, match="emit takes a ChannelEvent, not a dict"):
        await listener._emit({"text": "Hi"})  # type: ignore[arg-type]
