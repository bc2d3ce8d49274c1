"""A gateway as an operator runs it: a real node behind real HTTP on loopback, with providers' simulators around it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from fake_channel import FakeChannel
from sqlalchemy import Connection, func, select
from waypost.config import Config
from waypost.host.loader import load_channels
from waypost.ids import new_id
from waypost.node import Node, Role
from waypost.plugin.settings import split_secrets
from waypost.plugin.simulator import Simulator
from waypost.store import gateways
from waypost.store.database import Database
from waypost.store.gateways import Gateway, ProviderApp
from waypost.store.tables import message, metadata
from waypost.vault import Vault, new_key
from waypost.verdicts import PENDING
from waypost_server.app import build_server
from world import Partner, World

#: What one unit of any sku costs, in micros: the document's own 0.12.
PRICE = 120_000
CREDIT = 100_000_000
TO = "+6591234567"
#: The skus of the plugins that these tests enable.
SKUS = (
    "sms", "mms", "session", "template", "email", "unit", "message", "action",
    "service", "utility", "marketing", "authentication",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def told(self) -> tuple[int, str]:
        """Status and code, after checking that it is exactly the error envelope of the API it came from."""
        body = self.json
        assert self.headers["Content-Type"] == "application/json"
        assert self.headers["X-Request-Id"]
        if "success" in body:
            assert body.keys() == {"success", "error", "code"}, body
            assert body["success"] is False
            assert body["error"]
            return self.status, body["code"]
        assert body.keys() == {"error", "message"}, body
        assert body["message"]
        return self.status, body["error"]


class Deployment(World):
    """A running gateway. `partner()` makes someone who can send; `send`, `token` and `get` speak to it."""

    url: str
    simulators: dict[str, Simulator]
    http: aiohttp.ClientSession
    closing: AsyncExitStack

    @classmethod
    async def run(
        cls,
        database: Database,
        plugins: Sequence[str] = (),
        fakes: Sequence[FakeChannel] = (),
        role: Role = "all",
        **config: Any,
    ) -> Deployment:
        """Start everything; `close` stops it."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = Config(**{"database_url": database.url, "public_url": url, "poll": 0.05} | config)
        records = load_channels(plugins) | {fake.name: fake.record for fake in fakes}
        session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        node = Node(settings, database, Vault([new_key()]), records, session, role)
        node._announce_plugins()  # as `Node.open` does
        await node.refresh()
        await node.start()
        found = cls(node, database.clock, fakes)  # type: ignore[arg-type]  # the real clock, not a held one
        found.url = url
        found.closing = AsyncExitStack()
        # Client first, then simulators, whose receipts would find nobody, then the server, and the node last.
        found.closing.push_async_callback(node.stop)
        runner = web.ServerRunner(build_server(node, auto_decompress=False), shutdown_timeout=0.1)
        await runner.setup()
        found.closing.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listening).start()
        found.simulators = {}
        for plugin in plugins:
            simulator = node.plugins[plugin].simulator()
            await simulator.start()
            found.closing.push_async_callback(simulator.stop)
            found.simulators[plugin] = simulator
        found.http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        found.closing.push_async_callback(found.http.close)
        return found

    async def close(self) -> None:
        await self.closing.aclose()
        for _ in range(3):
            await asyncio.sleep(0)  # a connection that is closed lets go of its socket in a later turn of the loop

    # ---- what operators do

    async def simulated(self, plugin: str, **fields: Any) -> Gateway:
        """A gateway whose account is the simulator's, under a provider app of its own where the provider has them."""
        simulator = self.simulators[plugin]
        gateway = await self.configured(
            plugin, simulator.account_settings(),
            None if "provider_app_id" in fields else simulator.provider_app_settings(),
            **({"senders": tuple(simulator.senders())} | fields),
        )  # fmt: skip
        simulator.inbound_url = f"{self.url}/webhooks/{plugin}/{gateway.id}"
        if not simulator.webhook_url:
            simulator.webhook_url = simulator.inbound_url
        return gateway

    async def configured(
        self, plugin: str, settings: dict[str, Any], provider_app: dict[str, Any] | None = None, **fields: Any
    ) -> Gateway:
        """A gateway with these settings, under a provider app of its own where there are settings for one."""
        info = self.node.plugins[plugin].info
        if provider_app:
            fields["provider_app_id"] = (await self.provider_app_of(plugin, provider_app)).id
        gateway = await self.gateway(FakeChannel(name=plugin, channel=info.channel), **fields)
        public, secret = split_secrets(info.account_settings, settings)
        sealed = self.node.vault.seal(orjson.dumps(secret).decode(), f"gateway/{gateway.id}")
        await self.change(
            gateway, settings=orjson.dumps(public).decode(), secrets=sealed,
            account_ref=public.get(info.account_ref_field or ""),
        )  # fmt: skip
        return self.node.directory.gateways[gateway.id]

    async def provider_app_of(self, plugin: str, settings: dict[str, Any]) -> ProviderApp:
        """A provider app with these settings, the secret ones sealed."""
        public, secret = split_secrets(self.node.plugins[plugin].info.provider_app_settings, settings)
        row_id = new_id("pa")
        sealed = self.node.vault.seal(orjson.dumps(secret).decode(), f"provider_app/{row_id}")
        return await self.provider_app(plugin, id=row_id, settings=orjson.dumps(public).decode(), secrets=sealed)

    async def change(self, gateway: Gateway, **fields: Any) -> None:
        """Change a gateway's columns."""
        await self.decide(lambda conn: gateways.save(conn, replace(gateway, **fields)))

    async def newcomer(self, *, price: int = PRICE, credit_micros: int = CREDIT) -> Partner:
        """A partner of the whole deployment: a gateway, a price and a route for every plugin."""
        through = [await self.simulated(plugin) for plugin in self.simulators]
        through += [await self.gateway(fake) for fake in self.channels.values()]
        org = await self.organization(credit_micros=credit_micros, currency="SGD")
        app = await self.app(org)
        secret = await self.key(app)
        for gateway in through:
            for sku in SKUS:
                await self.rate(gateway, price, currency="SGD", sku=sku)
        for channel in dict.fromkeys(gateway.channel for gateway in through):
            await self.route(app, *(gateway for gateway in through if gateway.channel == channel))
        return Partner(org, app, secret, tuple(through))

    # ---- what partners do

    async def call(self, method: str, path: str, **request: Any) -> Answer:
        """Any request."""
        async with self.http.request(method, self.url + path, **request) as response:
            return Answer(response.status, response.headers, await response.text())

    async def get(self, path: str, key: str, **headers: str) -> Answer:
        """A read of the partner API."""
        return await self.call("GET", path, headers={"x-api-key": key} | _names(headers))

    async def send(self, key: str, request: Any = None, *, body: Any = None, **headers: str) -> Answer:
        """A send by the partner API: `request` goes into its envelope, `body` as it is (bytes, or JSON)."""
        if body is None:
            default = {"channel": "SMS", "to": TO, "content": "hello"}
            body = {
                "request": default | request if isinstance(request, dict | None) and request else request or default
            }
        return await self._post("/partner/message/send", {"x-api-key": key} | _names(headers), body)

    async def token(self, key: str, channel: str = "sms", body: Any = None, **headers: str) -> Answer:
        """A send by the token API."""
        given = {"to": TO, "text": "hello"} if body is None else body
        return await self._post(f"/api/send-{channel}.php", {"Authorization": f"Bearer {key}"} | _names(headers), given)

    async def _post(self, path: str, headers: Mapping[str, str], body: Any) -> Answer:
        data = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else orjson.dumps(body)
        return await self.call("POST", path, headers={"Content-Type": "application/json"} | dict(headers), data=data)

    # ---- what became of it

    async def settle(self) -> None:
        """Wait until every message has its provider's verdict, and every answer and receipt under way is stored."""
        while pending := await self.database.read(_pending):
            for message_id in pending:
                await self.node.verdicts.wait(message_id, 0.1)
        for lane in self.node.outbox.lanes.values():  # a receipt may be stored before the answer to its send
            await lane._places.emptied(20)
        for simulator in self.simulators.values():
            await simulator.settle()
        await self.node.inbox.drain()

    async def rows(self) -> dict[str, int]:
        """How many rows each table has."""

        def count(conn: Connection) -> dict[str, int]:
            return {
                table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
                for table in metadata.sorted_tables
            }

        return await self.database.read(count)


def _pending(conn: Connection) -> list[str]:
    found = conn.execute(select(message.c.id).where(message.c.status.in_(PENDING)))
    return [row[0] for row in found]


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


#: How a test runs a gateway of its own: plugins, fake channels, configuration.
RunDeployment = Callable[..., Awaitable[Deployment]]
