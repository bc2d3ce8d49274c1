"""A node with fake channels, and the organizations, gateways and rates that a test needs around it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fake_channel import FakeChannel
from held_clock import HeldClock
from sqlalchemy import Connection, func, select
from waypost import access, credit
from waypost.admission.candidate import Admitted
from waypost.admission.request import SendRequest
from waypost.clock import HOUR, SECOND
from waypost.config import Config
from waypost.host.session import shared_session
from waypost.ids import new_id
from waypost.lifecycle.evidence import Evidence
from waypost.node import Node
from waypost.operations import Operator, call
from waypost.plugin import ChannelEvent, WebhookReply
from waypost.store import apps, events, gateways, keys, ledger, messages, organizations, rates, steps
from waypost.store.apps import App
from waypost.store.database import Database
from waypost.store.gateways import Gateway, ProviderApp
from waypost.store.ledger import Balance
from waypost.store.messages import Message
from waypost.store.organizations import Organization
from waypost.store.rates import Rate, Route
from waypost.store.steps import Step
from waypost.store.tables import parked_event
from waypost.vault import Vault, new_key

T = TypeVar("T")

#: What one message of the fake channel costs unless a test says otherwise, in micros.
PRICE = 7_500
TO = "+4915112345678"


@dataclass
class Partner:
    """An organization with one app and one key, and the gateways its SMS go through."""

    org: Organization
    app: App
    secret: str
    gateways: tuple[Gateway, ...] = ()

    @property
    def gateway(self) -> Gateway:
        return self.gateways[0]


class World:
    """A node, and what operators decided around it."""

    def __init__(self, node: Node, clock: HeldClock, channels: Sequence[FakeChannel]) -> None:
        self.node = node
        self.database = node.database
        self.clock = clock
        self.channels = {channel.name: channel for channel in channels}
        self._numbers = itertools.count(1)

    @classmethod
    async def open(
        cls, database: Database, clock: HeldClock, *channels: FakeChannel, vault: Vault | None = None, **config: Any
    ) -> World:
        """A node over a migrated database, not started."""
        role = config.pop("role", "all")
        settings = Config(**{"database_url": database.url, "public_url": "https://gateway.test", "poll": 0.02} | config)
        records = {channel.name: channel.record for channel in channels}
        session = shared_session()
        node = Node(settings, database, vault or Vault([new_key()]), records, session, role)
        await node.refresh()
        return cls(node, clock, channels)

    @property
    def channel(self) -> FakeChannel:
        """The first fake channel."""
        return next(iter(self.channels.values()))

    async def start(self) -> None:
        """Let the node work."""
        await self.node.start()

    async def close(self) -> None:
        """Stop the node, which closes its database."""
        await self.node.stop()

    # ---- what operators do

    async def decide(self, work: Callable[[Connection], T]) -> T:
        """Change what operators decide, and let the node know."""

        def decided(conn: Connection) -> T:
            result = work(conn)
            rates.raise_revision(conn)
            return result

        result = await self.database.write(decided)
        await self.node.refresh()
        return result

    @property
    def operator(self) -> Operator:
        """Somebody who may do everything."""
        node = self.node
        return Operator(
            database=node.database, vault=node.vault, records=node.records, config=node.config, actor="test:ada",
            changed=node.changed,
        )  # fmt: skip

    async def ask(self, operation: str, **arguments: Any) -> Any:
        """Do an operation by name."""
        return await call(self.operator, operation, arguments)

    def name(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers)}"

    async def organization(
        self, *, credit_micros: int = 1_000_000_000, limit: int = 0, currency: str = "USD"
    ) -> Organization:
        """An organization with credit."""
        row = Organization(new_id("org"), self.name("org"), currency, "active", self.clock.now())

        def work(conn: Connection) -> None:
            organizations.add(conn, row, limit)
            if credit_micros:
                top_up = credit.move("top_up", row.id, credit_micros, self.clock.now())
                ledger.post(conn, [top_up], ledger.lock_balances(conn, [row.id]))

        await self.decide(work)
        return row

    async def app(self, org: Organization, *, on_unknown: str = "hold") -> App:
        """An app of an organization."""
        row = App(new_id("app"), org.id, self.name("app"), "active", on_unknown, self.clock.now())
        await self.decide(lambda conn: apps.add(conn, row))
        return row

    async def key(self, app: App, *, mode: access.Mode = "live", expires_at: int | None = None) -> str:
        """A key of an app; returns its secret."""
        made = access.make_key(mode)
        row = keys.ApiKey(new_id("key"), app.id, made.digest, made.shown, mode, self.clock.now(), expires_at, None)
        await self.decide(lambda conn: keys.add(conn, row))
        return made.secret

    async def gateway(self, channel: FakeChannel | None = None, **fields: Any) -> Gateway:
        """A gateway of a fake channel with good credentials; `fields` override its columns."""
        channel = channel or self.channel
        row = Gateway(
            id=new_id("gw"),
            name=self.name("gateway"),
            plugin=channel.name,
            channel=channel.channel,
            provider_app_id=None,
            app_id=None,
            account_ref=None,
            settings="{}",
            secrets="",
            senders=("WAYPOST",),
            mode="live",
            status="active",
            status_reason="",
            rate_per_second=None,
            concurrency=32,
            receipt_window=72 * HOUR,
            created_at=self.clock.now(),
        )
        secrets = self.node.vault.seal(json.dumps({"token": "t"}), f"gateway/{row.id}")
        row = replace(row, **({"secrets": secrets} | fields))
        await self.decide(lambda conn: gateways.add(conn, row))
        return row

    async def provider_app(self, plugin: str, **fields: Any) -> ProviderApp:
        """A provider app without settings."""
        row = ProviderApp(
            id=new_id("pa"), name=self.name("provider-app"), plugin=plugin, settings="{}", secrets="",
            created_at=self.clock.now(),
        )  # fmt: skip
        row = replace(row, **fields)
        await self.decide(lambda conn: gateways.add_provider_app(conn, row))
        return row

    async def rate(self, gateway: Gateway, price: int = PRICE, **fields: Any) -> Rate:
        """What a unit costs through a gateway."""
        row = Rate(
            id=new_id("rate"), gateway_id=gateway.id, currency="USD", prefix="", sku="unit", price=price, cost=None,
            cost_currency=None, valid_from=0, created_at=self.clock.now(),
        )  # fmt: skip
        row = replace(row, **fields)
        await self.decide(lambda conn: rates.add_rate(conn, row))
        return row

    async def route(self, app: App, *through: Gateway, prefix: str = "", sender: str | None = None) -> Route:
        """An app's way to a channel: that of the first gateway."""
        row = Route(
            id=new_id("rt"), app_id=app.id, channel=through[0].channel, prefix=prefix,
            gateway_ids=tuple(gateway.id for gateway in through), sender=sender, created_at=self.clock.now(),
        )  # fmt: skip
        await self.decide(lambda conn: rates.put_route(conn, row))
        return row

    async def partner(
        self,
        *through: Gateway,
        credit_micros: int = 1_000_000_000,
        limit: int = 0,
        on_unknown: str = "hold",
        mode: access.Mode = "live",
    ) -> Partner:
        """Everything a partner needs to send. Without gateways named, each fake channel gets one and is routed to."""
        org = await self.organization(credit_micros=credit_micros, limit=limit)
        app = await self.app(org, on_unknown=on_unknown)
        secret = await self.key(app, mode=mode)
        if not through:
            through = tuple([await self.gateway(channel, mode=mode) for channel in self.channels.values()])
            for gateway in through:
                await self.rate(gateway)
        for name in dict.fromkeys(gateway.channel for gateway in through):
            await self.route(app, *(gateway for gateway in through if gateway.channel == name))
        return Partner(org, app, secret, through)

    # ---- what partners do

    async def accept(self, partner: Partner | str, to: str = TO, **fields: Any) -> Admitted:
        """Send a text through the desk; `fields` are those of `SendRequest`."""
        secret = partner if isinstance(partner, str) else partner.secret
        request = SendRequest(**{"channel": "SMS", "to": to, "content": {"kind": "text", "body": "Hello"}} | fields)
        return await self.node.desk.accept(secret, lambda: request)

    async def sent(self, partner: Partner, to: str = TO) -> Admitted:
        """A message that the provider took."""
        admitted = await self.accept(partner, to)
        await self.status(admitted, "SENT")
        return admitted

    async def tell(self, partner: Partner, *events: ChannelEvent, **named: Any) -> WebhookReply:
        """A provider's delivery on the partner's (first) gateway, applied."""
        gateway: Gateway = named.pop("gateway", partner.gateway)
        request = self.channels[gateway.plugin].tells(*events, **named)
        reply = await self.node.inbox.receive(request, plugin=gateway.plugin, gateway=gateway.id)
        await self.node.inbox.drain()
        return reply

    # ---- what became of it

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str = "the condition") -> None:
        """Wait, by looking often, until something holds; at most 20 seconds."""
        deadline = asyncio.get_running_loop().time() + 20
        while not await condition():
            assert asyncio.get_running_loop().time() < deadline, f"{what} did not come about"
            await asyncio.sleep(0.01)

    async def status(self, admitted: Admitted, *wanted: str) -> Message:
        """Wait until a message has one of these statuses."""

        async def there() -> bool:
            return (await self.message(admitted.message.id)).status in wanted

        await self.until(there, f"status {wanted}")
        return await self.message(admitted.message.id)

    async def state(self, admitted: Admitted, *wanted: str, step_no: int = 1) -> Step:
        """Wait until a step is in one of these queue states."""

        async def there() -> bool:
            return (await self.steps(admitted.message.id))[step_no - 1].state in wanted

        await self.until(there, f"state {wanted}")
        return (await self.steps(admitted.message.id))[step_no - 1]

    async def state_in_time(self, admitted: Admitted, *wanted: str) -> Step:
        """Let the seconds pass, with all that they wake, until a message's first step is in one of these states."""

        async def there() -> bool:
            self.clock.advance(SECOND)
            await self.node.outbox.resolve_all()
            return (await self.step(admitted.message.id)).state in wanted

        await self.until(there, f"state {wanted}")
        return await self.step(admitted.message.id)

    async def rest(self) -> None:
        """Let lanes and sweeper look around a few times, for what must not happen to have its chance."""
        for _ in range(3):
            await self.node.outbox.sweep_once()
            await self.node.outbox.failover.once()
            await self.node.outbox.resolve_all()
            await asyncio.sleep(0.03)

    async def parked(self) -> int:
        """How many receipts wait for their message."""
        return await self.database.read(
            lambda conn: conn.execute(select(func.count()).select_from(parked_event)).scalar_one()
        )

    async def message(self, message_id: str) -> Message:
        found = await self.database.read(lambda conn: messages.get(conn, message_id))
        assert found is not None
        return found

    async def steps(self, message_id: str) -> list[Step]:
        found = await self.database.read(lambda conn: steps.of_messages(conn, [message_id]))
        return found[message_id]

    async def step(self, message_id: str) -> Step:
        return (await self.steps(message_id))[0]

    async def events(self, message_id: str) -> list[Evidence]:
        found = await self.database.read(lambda conn: events.of_messages(conn, [message_id]))
        return found.get(message_id, [])

    async def kinds(self, message_id: str) -> list[str]:
        return [item.kind for item in await self.events(message_id)]

    async def balance(self, org: Organization) -> Balance:
        found = await self.database.read(lambda conn: ledger.balance_of(conn, org.id))
        assert found is not None
        return found

    async def books_balance(self) -> bool:
        """Whether every organization's entries add up to its balance."""
        return await self.database.read(ledger.discrepancies) == []


#: Makes nodes around a test's database: `await open_world(FakeChannel(...), ..., lease=5, database=another)`.
OpenWorld = Callable[..., Awaitable[World]]
