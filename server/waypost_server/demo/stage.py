"""The stage: a node in a temporary folder, the simulator of every plugin that has one, and all that lies between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr
from waypost.config import Config
from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.host.loader import load_channels
from waypost.node import Node
from waypost.operations import OperationError, Operator, call
from waypost.plugin.simulator import Simulator
from waypost.plugin.web_simulator import WebSimulator
from waypost.vault import new_key

from waypost_server.serve import answer, initialise, listen

CURRENCY = "SGD"
CREDIT = "100"
ORGANIZATION = "Demo Ltd"
APP = "shop"
#: Two plugins may serve one channel: the main app's go through these, each other plugin gets an app of its own.
MAIN_PLUGINS = {"WHATSAPP": "whatsapp_twilio"}
#: What one unit of a sku costs; anything else costs the last.
PRICES = {"sms": "0.045", "mms": "0.12", "template": "0.12", "email": "0.002", "action": "0"}
OTHER_PRICE = "0.03"


@dataclass(slots=True)
class Actor:
    """A plugin with its simulated provider, and the app and key that reach it."""

    plugin: ChannelPlugin
    simulator: Simulator
    app: str
    key: str
    gateway: str
    sender: str | None = None


@dataclass(slots=True)
class Stage:
    """Everything that is running."""

    url: str
    node: Node
    http: aiohttp.ClientSession
    #: The main app's key.
    key: str = ""
    actors: list[Actor] = field(default_factory=list)
    #: The plugins that take no part, and why.
    absent: dict[str, str] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def set(cls, folder: Path, port: int) -> AsyncIterator[Stage]:
        """Start everything, and stop it in order. Raises `ServeError` where the port is taken."""
        async with AsyncExitStack() as stack:
            listener = listen("127.0.0.1", port)
            stack.callback(listener.close)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            config = _config(folder, url)
            await initialise(config.database_url)
            node = await Node.open(config, "all", alone=True)
            stack.push_async_callback(node.stop)
            await node.start()
            stack.push_async_callback(await answer(node, listener))
            http = await stack.enter_async_context(
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
            )
            stage = cls(url, node, http)
            await stage._open_shop(stack)
            yield stage

    async def do(self, operation: str, **arguments: Any) -> Any:
        """Do an operation as the demo's operator. Raises `OperationError`."""
        operator = Operator(
            database=self.node.database,
            vault=self.node.vault,
            records=self.node.records,
            config=self.node.config,
            actor="demo",
        )
        return await call(operator, operation, arguments)

    async def _open_shop(self, stack: AsyncExitStack) -> None:
        await self.do("orgs.create", name=ORGANIZATION, currency=CURRENCY)
        await self.do("credit.top-up", organization=ORGANIZATION, amount=CREDIT, note="demo")
        self.key = await self._app(APP)
        self.absent = {
            record.id: f"{record.state}: {record.reason}" for record in self.node.records.values() if not record.plugin
        }
        for plugin in sorted(self.node.plugins.values(), key=_main_first):
            try:
                actor = await self._engage(plugin, stack)
                await self.node.refresh()
                await self._write_in(actor)
            except (PluginFaultError, OperationError, NotImplementedError) as error:
                self.absent[plugin.id] = str(error)
            except Exception as error:  # noqa: BLE001 - a simulator is a stranger's code
                self.absent[plugin.id] = f"its simulator raised {type(error).__name__}"
            else:
                self.actors.append(actor)

    async def _engage(self, plugin: ChannelPlugin, stack: AsyncExitStack) -> Actor:
        """Start a plugin's simulator and make the gateway, the rates and the route that lead to it."""
        simulator = plugin.simulator()
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        taken = any(actor.plugin.info.channel == plugin.info.channel for actor in self.actors)
        app = f"{APP}-{plugin.id}" if taken else APP
        key = await self._app(app) if taken else self.key
        name = f"{plugin.id} (simulated)"
        shared = simulator.provider_app_settings()
        if shared:
            await self.do("provider-apps.create", name=name, plugin=plugin.id, settings=shared)
        senders = simulator.senders()
        gateway = await self.do(
            "gateways.create",
            name=name,
            plugin=plugin.id,
            settings=simulator.account_settings(),
            provider_app=name if shared else None,
            app=app,
            senders=senders,
        )
        if isinstance(simulator, WebSimulator):
            simulator.webhook_url = gateway["webhook_urls"][0]
        for metered in await self.do("gateways.skus", gateway=name, to=simulator.ordinary_recipient):
            price = PRICES.get(metered["sku"], OTHER_PRICE)
            await self.do("rates.add", gateway=name, currency=CURRENCY, sku=metered["sku"], price=price)
        await self.do("routes.set", app=app, gateways=[name])
        return Actor(plugin, simulator, app, key, name, senders[0] if senders else None)

    async def _app(self, name: str) -> str:
        await self.do("apps.create", organization=ORGANIZATION, name=name)
        secret: str = (await self.do("keys.create", app=name))["secret"]
        return secret

    async def _write_in(self, actor: Actor) -> None:
        """Let the recipient write first, where a conversation must be open before anything may be sent freely."""
        if "service_window" not in actor.plugin.info.features:
            return
        recipient = actor.simulator.ordinary_recipient
        await actor.simulator.write("Where is my order?", recipient)
        await self.node.inbox.drain()


def _config(folder: Path, url: str) -> Config:
    """A configuration of its own, whatever the environment says; every installed channel is enabled."""
    installed = load_channels(())
    return Config(
        database_url=f"sqlite:///{folder}/waypost.db",
        channels=tuple(sorted(installed)),
        wrappers=(),
        public_url=url,
        master_keys=(SecretStr(new_key()),),
        poll=0.25,
        wait=2.0,
    )


def _main_first(plugin: ChannelPlugin) -> tuple[bool, str]:
    return MAIN_PLUGINS.get(plugin.info.channel, plugin.id) != plugin.id, plugin.id
