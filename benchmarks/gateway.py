"""A gateway to be measured: a real node on a fresh database, with as many organizations as asked for."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

import orjson
import uvloop
from aiohttp import web
from sqlalchemy import Connection
from waypost import access, credit, log, vault
from waypost.clock import HOUR
from waypost.config import Config
from waypost.ids import new_id
from waypost.node import Node
from waypost.plugin.settings import split_secrets
from waypost.store import apps, gateways, keys, ledger, migrate, organizations, rates
from waypost.store.apps import App
from waypost.store.database import open_database
from waypost.store.gateways import Gateway
from waypost.store.keys import ApiKey
from waypost.store.organizations import Organization
from waypost.store.rates import Rate, Route
from waypost_server.app import build_server
from waypost_server.interpreter import tune_interpreter

PLUGIN = "sms_twilio"


async def serve(url: str, organizations_wanted: int, role: str, settings: str, port: int, plugins: int) -> None:
    """Set everything up, print where it listens and with which keys, and serve until killed."""
    database = await open_database(url)
    await database.write(migrate.upgrade)
    await database.close()
    if plugins > 1:
        _install(plugins)
    enabled = (PLUGIN, *(f"bench_{number}" for number in range(plugins - 1)))
    config = Config(
        database_url=url,
        channels=enabled,
        public_url=f"http://127.0.0.1:{port}",
        port=port,
        master_keys=(vault.new_key(),),
    )
    node = await Node.open(config, "all" if role == "all" else "api", alone=url.startswith("sqlite"))
    secrets = await node.database.write(lambda conn: _set_up(conn, node, organizations_wanted, json.loads(settings)))
    await node.refresh()
    await node.start()
    tune_interpreter()
    runner = web.ServerRunner(build_server(node))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "keys": secrets}), flush=True)
    await asyncio.Event().wait()


def _set_up(conn: Connection, node: Node, count: int, settings: dict[str, object]) -> list[str]:
    now = node.clock.now()
    gateway_id = _open_gateway(conn, node, settings, now)
    secrets = [_sign_up(conn, f"org {number}", gateway_id, now) for number in range(count)]
    rates.raise_revision(conn)
    return secrets


def _open_gateway(conn: Connection, node: Node, settings: dict[str, object], now: int) -> str:
    """A gateway with a rate card on which the longest prefix has to be found; return its id."""
    public, secret = split_secrets(node.plugins[PLUGIN].info.account_settings, settings)
    gateway_id = new_id("gw")
    gateways.add(
        conn,
        Gateway(
            id=gateway_id,
            name="bench",
            plugin=PLUGIN,
            channel="SMS",
            provider_app_id=None,
            app_id=None,
            account_ref=None,
            settings=orjson.dumps(public).decode(),
            secrets=node.vault.seal(orjson.dumps(secret).decode(), vault.gateway_place(gateway_id)),
            senders=("+15005550006",),
            mode="live",
            status="active",
            status_reason="",
            rate_per_second=None,
            concurrency=64,
            receipt_window=72 * HOUR,
            created_at=now,
        ),
    )
    for prefix in ("", "1", "12", "1415", "44", "65"):
        rates.add_rate(
            conn,
            Rate(
                id=new_id("rate"),
                gateway_id=gateway_id,
                currency="SGD",
                prefix=prefix,
                sku="sms",
                price=50_000,
                cost=None,
                cost_currency=None,
                valid_from=0,
                created_at=now,
            ),
        )
    return gateway_id


def _sign_up(conn: Connection, name: str, gateway_id: str, now: int) -> str:
    """An organization with credit, and an app that sends through the gateway; return its key."""
    org = Organization(new_id("org"), name, "SGD", "active", now)
    app = App(new_id("app"), org.id, "main", "active", "hold", now)
    key = access.make_key("live")
    organizations.add(conn, org, 0)
    apps.add(conn, app)
    keys.add(conn, ApiKey(new_id("key"), app.id, key.digest, key.shown, "live", now, None, None))
    rates.put_route(
        conn,
        Route(
            id=new_id("rt"),
            app_id=app.id,
            channel="SMS",
            prefix="",
            gateway_ids=(gateway_id,),
            sender=None,
            created_at=now,
        ),
    )
    balances = ledger.lock_balances(conn, [org.id])
    ledger.post(conn, [credit.move("top_up", org.id, 10**14, now)], balances)
    return key.secret


def _install(count: int) -> None:
    """Put so many more channel plugins onto the path, each a distribution of its own with an entry point."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-bench-plugins-"))
    for number in range(count - 1):
        name = f"bench_{number}"
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[waypost.channels.v1]\n{name} = bench_module_{number}:sms\n")
        (folder / f"bench_module_{number}.py").write_text(
            "from waypost_sms_twilio.channel import SmsChannel\nsms = SmsChannel()\n"
        )
    sys.path.insert(0, str(folder))


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--organizations", type=int, default=1)
    parser.add_argument("--role", default="api")
    parser.add_argument("--settings", required=True)
    parser.add_argument("--plugins", type=int, default=1)
    arguments = parser.parse_args()
    log.configure("info")
    uvloop.run(
        serve(
            arguments.database,
            arguments.organizations,
            arguments.role,
            arguments.settings,
            arguments.port,
            arguments.plugins,
        )
    )


if __name__ == "__main__":
    main()
