"""A gateway in a process of its own, as an operator sets it up who has installed a stranger's plugin.

Enabled by `WAYPOST_CHANNELS`, set up by the operations that the command line offers, served on loopback with the
plugin's own simulator as the provider. Prints one JSON line when it is ready; stops when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

from aiohttp import web
from waypost import log
from waypost.config import Config
from waypost.node import Node
from waypost.operations import Operator, call
from waypost.store import migrate
from waypost.store.opening import open_database
from waypost_server.app import build_server


async def main(plugin: str, skus: list[str]) -> None:
    log.configure("info")
    config = Config()
    database = await open_database(config.database_url)
    await database.write(migrate.upgrade)
    await database.close()
    node = await Node.open(config, "all", alone=True)
    simulator = node.plugins[plugin].simulator()
    await simulator.start()
    ready = await set_up(node, plugin, skus, simulator.account_settings(), simulator.senders())
    await node.refresh()
    await node.start()
    runner = web.ServerRunner(build_server(node), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ready["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    reached = replace(_operator(node), config=config.model_copy(update={"public_url": ready["url"]}))
    ready["connected"] = await call(reached, "gateways.connect", {"gateway": "the bot"})
    inbound = simulator.inbound("What colours are there?")
    ready["webhook"] = {"url": inbound.url, "headers": dict(inbound.headers), "body": inbound.body.decode()}
    print(json.dumps(ready), flush=True)  # noqa: T201 - the parent reads it
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
    await node.stop()
    journal = [entry.fields for entry in simulator.journal]
    await simulator.stop()
    print(json.dumps({"journal": journal, "errors": simulator.errors}), flush=True)  # noqa: T201


async def set_up(
    node: Node, plugin: str, skus: list[str], settings: dict[str, Any], senders: list[str]
) -> dict[str, Any]:
    async def do(operation: str, **arguments: Any) -> Any:
        return await call(_operator(node), operation, arguments)

    await do("orgs.create", name="Acme", currency="SGD")
    await do("apps.create", organization="Acme", name="shop")
    await do("credit.top-up", organization="Acme", amount="10")
    gateway = await do("gateways.create", name="the bot", plugin=plugin, settings=settings, senders=senders, app="shop")
    for sku in skus:
        await do("rates.add", gateway="the bot", currency="SGD", sku=sku, price="0.25")
    await do("routes.set", app="shop", gateways=["the bot"])
    key = await do("keys.create", app="shop")
    channels = await do("channels.list")
    return {"gateway": gateway["id"], "key": key["secret"], "channels": channels, "secrets": list(secrets(settings))}


def _operator(node: Node) -> Operator:
    return Operator(
        database=node.database, vault=node.vault, records=node.records, config=node.config, actor="cli:test"
    )


def secrets(settings: dict[str, Any]) -> list[str]:
    """What must be in no log."""
    return [settings["bot_token"].partition(":")[2], *settings["webhook_secrets"]]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2].split(",")))
