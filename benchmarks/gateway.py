"""A gateway to be measured: a real node on a fresh database, with as many organizations as asked for."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

import uvloop
from aiohttp import web
from pydantic import SecretStr
from sqlalchemy import Connection
from waypost import log, vault
from waypost.config import Config
from waypost.node import Node
from waypost.store import migrate, rates
from waypost.store.opening import open_database
from waypost_server.app import build_server
from waypost_server.interpreter import tune_interpreter

from benchmarks.deployment import add_rate, open_gateway, sign_up

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
        master_keys=(SecretStr(vault.new_key()),),
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
    """So many organizations behind one gateway, on whose card the longest prefix has to be found; return their keys."""
    gateway = open_gateway(conn, node, "bench", PLUGIN, settings, "+15005550006")
    for prefix in ("", "1", "12", "1415", "44", "65"):
        add_rate(conn, gateway, "sms", prefix)
    secrets = [sign_up(conn, f"org {number}", gateway)[1] for number in range(count)]
    rates.raise_revision(conn)
    return secrets


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
