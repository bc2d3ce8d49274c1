"""A WhatsApp gateway to be measured by its webhooks: messages that were sent, each waiting for its receipt."""

from __future__ import annotations

import argparse
import asyncio
import json
from functools import partial

import orjson
import uvloop
from aiohttp import web
from pydantic import SecretStr
from sqlalchemy import Connection
from waypost import credit, log, vault
from waypost.config import Config
from waypost.ids import new_id
from waypost.lifecycle.evidence import Kind, core_key
from waypost.lifecycle.settlement import PricedLine
from waypost.node import Node
from waypost.plugin.settings import split_secrets
from waypost.store import gateways, ledger, migrate, rates
from waypost.store.apps import App
from waypost.store.bulk import insert_many
from waypost.store.gateways import ProviderApp
from waypost.store.opening import open_database
from waypost.store.steps import Choice, dump_choices
from waypost.store.tables import event, message, provider_ref, step
from waypost.vault import provider_app_place
from waypost_server.app import build_server
from waypost_server.interpreter import tune_interpreter

from benchmarks.deployment import PRICE, open_gateway, sign_up
from benchmarks.webhook_bodies import NUMBER, SECRET, provider_id

PLUGIN = "whatsapp"
_DAY = 86_400_000_000
_CHUNK = 2000
_SENT: tuple[tuple[Kind, int, str], ...] = (("queued", 0, "core"), ("sending", 1, "core"), ("sent", 1, "core"))


async def serve(url: str, port: int, count: int) -> None:
    """Set everything up, print where it listens, and serve until killed."""
    database = await open_database(url)
    await database.write(migrate.upgrade)
    await database.close()
    config = Config(
        database_url=url, channels=(PLUGIN,), public_url=f"http://127.0.0.1:{port}", port=port,
        master_keys=(SecretStr(vault.new_key()),),
    )  # fmt: skip
    node = await Node.open(config, "all", alone=url.startswith("sqlite"))
    gateway_id, app = await node.database.write(lambda conn: _set_up(conn, node))
    for first in range(0, count, _CHUNK):
        numbers = range(first, min(first + _CHUNK, count))
        await node.database.write(partial(_send, node=node, gateway_id=gateway_id, app=app, numbers=numbers))
    await node.refresh()
    await node.start()
    tune_interpreter()
    runner = web.ServerRunner(build_server(node))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "keys": [gateway_id]}), flush=True)
    await asyncio.Event().wait()


def _set_up(conn: Connection, node: Node) -> tuple[str, App]:
    now = node.clock.now()
    info = node.plugins[PLUGIN].info
    shared, sealed = split_secrets(info.provider_app_settings, {"app_secrets": [SECRET], "verify_token": "none"})
    app_id = new_id("pa")
    gateways.add_provider_app(
        conn,
        ProviderApp(
            id=app_id,
            name="bench",
            plugin=PLUGIN,
            settings=orjson.dumps(shared).decode(),
            secrets=node.vault.seal(orjson.dumps(sealed).decode(), provider_app_place(app_id)),
            created_at=now,
        ),
    )
    account = {"phone_number_id": NUMBER, "access_token": "none"}
    gateway = open_gateway(
        conn, node, "bench", PLUGIN, account, "+15550199000", provider_app_id=app_id, account_ref=NUMBER
    )
    app, _ = sign_up(conn, "bench", gateway)
    rates.raise_revision(conn)
    return gateway.id, app


def _send(conn: Connection, node: Node, gateway_id: str, app: App, numbers: range) -> None:
    """Messages as they are once the provider has taken them: held, sent, known by the provider's id."""
    now = node.clock.now()
    ids = [new_id("msg") for _ in numbers]
    line = PricedLine("utility", 1, "delivered", PRICE, "rate")
    choices = dump_choices([Choice(gateway_id, "+15550199000", (line,))])
    insert_many(
        conn, message,
        ("id", "org_id", "app_id", "key_id", "channel", "status", "recipient", "addresses", "content", "options",
         "currency", "held", "created_at", "updated_at", "deadline"),
        [
            (i, app.org_id, app.id, "key", "WHATSAPP", "SENT", "+15550100000", '[["e164","+15550100000"]]',
             '{"kind":"text","body":"Your order has shipped."}', "{}", "SGD", PRICE, now, now, now + _DAY)
            for i in ids
        ],
    )  # fmt: skip
    insert_many(
        conn, step,
        ("message_id", "step_no", "app_id", "org_id", "channel", "state", "status", "gateway_id", "choices",
         "attempt", "due_at", "wake_at", "deadline", "window_until", "held"),
        [
            (i, 1, app.id, app.org_id, "WHATSAPP", "sent", "SENT", gateway_id, choices, 1, now, now + 3 * _DAY,
             now + _DAY, now + 3 * _DAY, PRICE)
            for i in ids
        ],
    )  # fmt: skip
    insert_many(
        conn, event, ("message_id", "key", "step_no", "attempt", "kind", "source", "gateway_id", "at", "data"),
        [
            (i, core_key(1, attempt, kind), 1, attempt, kind, source, gateway_id, now, "{}")
            for i in ids
            for kind, attempt, source in _SENT
        ],
    )  # fmt: skip
    insert_many(
        conn, provider_ref, ("gateway_id", "provider_id", "message_id", "step_no", "attempt"),
        [(gateway_id, provider_id(number), i, 1, 1) for number, i in zip(numbers, ids, strict=True)],
    )  # fmt: skip
    holds = [credit.move("hold", app.org_id, PRICE, now, message_id=i, step_no=1) for i in ids]
    ledger.post(conn, holds, ledger.lock_balances(conn, [app.org_id]))


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    arguments = parser.parse_args()
    log.configure("info")
    uvloop.run(serve(arguments.database, arguments.port, arguments.messages))


if __name__ == "__main__":
    main()
