"""Isolation: what one channel's misbehaviour costs another's partners, as the p99 of accepting beside it.

Two plugins made up on the spot serve one partner each. The calm one always answers; the other one answers too (that is
the baseline) or misbehaves, under the same load. In one process it may raise, hang and lie; where it blocks the event
loop or eats memory, it has a worker process of its own, on PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import uvloop
from aiohttp import web
from sqlalchemy import Connection
from waypost import log, vault
from waypost.config import Config
from waypost.node import Node
from waypost.store import migrate, rates
from waypost.store.opening import open_database
from waypost_server import memory
from waypost_server.app import build_server
from waypost_server.interpreter import tune_interpreter

from benchmarks.deployment import add_rate, open_gateway, sign_up
from benchmarks.postgres import PostgresServer, get_server
from benchmarks.processes import Server, free_port, load, server

CALM, OTHER = "bench_calm", "bench_other"
#: What the other plugin does in `send`, by the name of its misbehaviour.
MISBEHAVIOUR = {
    "answers": "return SendResult(provider_ids=(str(next(numbers)),))",
    "raises": "raise ZeroDivisionError",
    "hangs": "await asyncio.Event().wait()",
    "lies": "return {'provider_ids': 7}",
    "blocks": "time.sleep(2)",
    "eats memory": "eaten.append(bytearray(50_000_000)); return SendResult(provider_ids=(str(next(numbers)),))",
}
_PLUGIN = """
import asyncio, itertools, time
from waypost.plugin import *
numbers, eaten = itertools.count(), []
class S(Settings): pass
@hookimpl
def channel_info(): return ChannelInfo(channel="SMS", title="Bench", api="1.0", account_settings=S,
    address_kinds=("e164",), content_kinds=frozenset({{"text"}}), receives="none")
@hookimpl
async def send(ctx, message):
    {send}
@hookimpl
def price(message): return Quote((QuoteLine("unit"),))
"""
#: How much address space the worker of the plugin that eats memory may have, in MB.
MEMORY_LIMIT = 1_500
CONNECTIONS = 4


def measure(rounds: int, seconds: float) -> None:
    """Print the calm channel's p50 and p99 beside each misbehaviour, and their ratios to the baseline."""
    with tempfile.TemporaryDirectory(prefix="waypost-bench-isolation-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        print(f"\nIsolation: accepting on one channel beside another that misbehaves, {rounds} rounds of {seconds:g} s")
        print("  in one process, SQLite")
        _table(["answers", "raises", "hangs", "lies"], rounds, seconds, lambda kind: _together(folder, kind))
        postgres = get_server(folder / "postgres")
        try:
            print("  in a worker process of its own, PostgreSQL")
            _table(["answers", "blocks", "eats memory"], rounds, seconds, lambda kind: _apart(postgres, kind))
        finally:
            postgres.cleanup()


def _table(kinds: list[str], rounds: int, seconds: float, run: object) -> None:
    assert callable(run)
    rows: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds:  # a fresh deployment each time: backlogs and open breakers are not carried over
            with run(kind) as target:
                rows[kind].append(_once(target, seconds, number))
    base = rows[kinds[0]]
    for kind, found in rows.items():
        p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
        ratios = [mine[1] / theirs[1] for mine, theirs in zip(found, base, strict=True)]
        shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"    the other {kind:14} p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  p99 ratio {statistics.median(ratios):.2f}"
            f"   by round: {shown}"
        )


def _once(target: Server, seconds: float, seed: int) -> tuple[float, float]:
    calm, other = (replace(target, keys=[key]) for key in target.keys)
    load(calm, seconds=0.5, connections=CONNECTIONS, seed=seed + 1000)
    with ThreadPoolExecutor(1) as beside:
        loading = beside.submit(load, other, seconds=seconds + 1.0, connections=CONNECTIONS, seed=seed)
        answer = load(calm, seconds=seconds, connections=CONNECTIONS, seed=seed + 2000)
        loading.result()
    return answer["p50_ms"], answer["p99_ms"]


@contextmanager
def _together(folder: Path, kind: str) -> Iterator[Server]:
    url = f"sqlite:///{folder}/{secrets.token_hex(4)}.db"
    with server(f"beside one that {kind}", *_arguments(url, kind, vault.new_key(), "--set-up")) as target:
        yield target


@contextmanager
def _apart(postgres: PostgresServer, kind: str) -> Iterator[Server]:
    name = f"bench_{secrets.token_hex(4)}"
    postgres.psql(f"CREATE DATABASE {name}")
    url, key = str(postgres.get_uri(name)), vault.new_key()
    with ExitStack() as stack:
        target = stack.enter_context(
            server(f"apart from one that {kind}", *_arguments(url, "answers", key, "--set-up", "--role", "api"))
        )
        for channel, does in ((CALM, "answers"), (OTHER, kind)):
            limit = ("--memory-limit", str(MEMORY_LIMIT)) if does == "eats memory" else ()
            worker = _arguments(url, does, key, "--role", "worker", "--channels", channel, *limit)
            stack.enter_context(server(f"{channel}'s worker", *worker))
        yield target


def _arguments(url: str, kind: str, key: str, *more: str) -> tuple[str, ...]:
    return "benchmarks.isolation", url, "--other", kind, "--key", key, "--port", str(free_port()), *more


# ---- the process under measurement


async def _serve(arguments: argparse.Namespace) -> None:
    url = arguments.database
    if arguments.set_up:
        database = await open_database(url)
        await database.write(migrate.upgrade)
        await database.close()
    config = Config(
        database_url=url,
        channels=tuple(arguments.channels.split(",")),
        port=arguments.port,
        master_keys=(arguments.key,),
    )
    node = await Node.open(config, arguments.role, alone=url.startswith("sqlite"))
    made = await node.database.write(lambda conn: _set_up(conn, node)) if arguments.set_up else []
    await node.refresh()
    await node.start()
    tune_interpreter()
    runner = web.ServerRunner(build_server(node))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
    print(json.dumps({"url": f"http://127.0.0.1:{arguments.port}", "keys": made}), flush=True)
    if arguments.memory_limit:
        memory.limit(arguments.memory_limit)
        await memory.until_exceeded(arguments.memory_limit)
        return
    await asyncio.Event().wait()


def _set_up(conn: Connection, node: Node) -> list[str]:
    """A partner for each plugin, with a gateway of its own; return their keys."""
    made = []
    for plugin in (CALM, OTHER):
        gateway = open_gateway(conn, node, plugin, plugin, {}, "+15005550006", concurrency=32)
        add_rate(conn, gateway, "unit")
        made.append(sign_up(conn, plugin, gateway)[1])
    rates.raise_revision(conn)
    return made


def _install(other: str) -> None:
    """Put both plugins onto the path, each a distribution of its own."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-bench-plugins-"))
    for name, does in ((CALM, "answers"), (OTHER, other)):
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[waypost.channels.v1]\n{name} = {name}_module\n")
        (folder / f"{name}_module.py").write_text(_PLUGIN.format(send=MISBEHAVIOUR[does]))
    sys.path.insert(0, str(folder))


def main() -> None:
    """Read the arguments and serve; or measure, where there are none."""
    if len(sys.argv) == 1:
        measure(3, 2.0)
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("database")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--other", choices=list(MISBEHAVIOUR), required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--set-up", action="store_true")
    parser.add_argument("--role", default="all")
    parser.add_argument("--channels", default=f"{CALM},{OTHER}")
    parser.add_argument("--memory-limit", type=int)
    arguments = parser.parse_args()
    _install(arguments.other)
    log.configure("info")
    uvloop.run(_serve(arguments))


if __name__ == "__main__":
    main()
