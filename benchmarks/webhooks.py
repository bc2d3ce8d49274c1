"""Webhook ingest: verify, store, parse, dedupe and apply WhatsApp's statuses, beside a bare handler of the same bodies.

Either every status is the first proof that a message was delivered, which settles its money: the dearest that a receipt
gets. Or they are the three that a message usually gets: sent, delivered, read. A rate counts until the last one is
applied, not only answered. Beside the receipt, each status brings a price update.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.load import Connection, Load
from benchmarks.postgres import get_server
from benchmarks.processes import Server, cpu_seconds, free_port, server
from benchmarks.webhook_bodies import requests

#: Requests in a round, for each second asked for: with one status, and with `BATCH`.
SINGLE_REQUESTS = 1500
BATCH_REQUESTS = 40
BATCH = 50
_CHANGES = r'waypost_status_changes_total\{{status="{}"\}} ([0-9.e+]+)'


@dataclass(frozen=True, slots=True)
class Plan:
    """So many statuses in a request, in so many requests; each message gets all of `statuses`, the last one last."""

    batch: int
    requests: int
    statuses: tuple[str, ...]

    @property
    def messages(self) -> int:
        """How many messages a round needs."""
        return self.requests // len(self.statuses) * self.batch


@dataclass(frozen=True, slots=True)
class Figures:
    """One round at one server. Rates are requests per second: answered, and applied as well."""

    answered: float
    applied: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def measure(rounds: int, seconds: float) -> None:
    """Print requests and events per second, ratios to the bare handler, CPU per request; medians of the rounds."""
    singles = int(SINGLE_REQUESTS * seconds) // 3 * 3
    plans = [
        Plan(1, singles, ("delivered",)),
        Plan(1, singles, ("sent", "delivered", "read")),
        Plan(BATCH, int(BATCH_REQUESTS * seconds), ("delivered",)),
    ]
    messages = sum(plan.messages for plan in plans) * (rounds + 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        postgres = get_server(folder / "postgres")
        stack.callback(postgres.cleanup)
        bare = stack.enter_context(server("bare aiohttp", "benchmarks.bare"))
        gateways = []
        for name, url in {"SQLite": f"sqlite:///{folder}/webhooks.db", "PostgreSQL": postgres.get_uri()}.items():
            port, wanted = str(free_port()), str(messages)
            gateways.append(
                stack.enter_context(
                    server(name, "benchmarks.webhook_gateway", url, "--port", port, "--messages", wanted)
                )
            )
        first = 0
        for plan in plans:
            rows: dict[str, list[Figures]] = {target.name: [] for target in (bare, *gateways)}
            ratios: dict[str, list[float]] = {target.name: [] for target in (bare, *gateways)}
            for number in range(rounds + 1):
                before = _round(bare, first, plan)
                for target in gateways:
                    figures, after = _round(target, first, plan), _round(bare, first, plan)
                    if number:  # the first one warms up
                        rows[bare.name].append(after)
                        rows[target.name].append(figures)
                        ratios[target.name].append(2 * figures.applied / (before.applied + after.applied))
                    before = after
                first += plan.messages
            print(
                f"\nWebhooks with {plan.batch} status(es), {', '.join(plan.statuses)},"
                f" {rounds} rounds of {plan.requests}, the baseline before and after each"
            )
            _table(rows, ratios, plan.batch)


def _round(target: Server, first: int, plan: Plan) -> Figures:
    is_bare = target.name.startswith("bare")
    path = "/api/send-sms.php" if is_bare else f"/webhooks/whatsapp/{target.keys[0]}"
    last = plan.statuses[-1].upper()
    wanted = 0.0 if is_bare else _changed(target, last) + plan.messages
    command = [
        sys.executable, "-m", "benchmarks.webhooks", target.url, path, str(first), str(plan.requests),
        str(plan.batch), *plan.statuses,
    ]  # fmt: skip
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdin is not None
    assert client.stdout is not None
    with client:
        client.stdout.readline()  # it has signed everything
        before, began = cpu_seconds(target.pid), time.perf_counter()
        client.stdin.write("go\n")
        client.stdin.flush()
        answer = json.loads(client.stdout.readline())
    if not is_bare:
        _wait(target, last, wanted)
    elapsed = answer["seconds"] if is_bare else time.perf_counter() - began
    spent = cpu_seconds(target.pid) - before
    count = plan.requests
    if answer["statuses"] != {"200": count}:
        raise RuntimeError(f"{target.name} answered {answer['statuses']}")
    return Figures(count / answer["seconds"], count / elapsed, spent / count * 1e6, answer["p50_ms"], answer["p99_ms"])


def _changed(target: Server, status: str) -> float:
    """How many messages have come to this status."""
    with urllib.request.urlopen(f"{target.url}/metrics", timeout=30) as answer:
        found = re.search(_CHANGES.format(status), answer.read().decode())
    return float(found[1]) if found else 0.0


def _wait(target: Server, status: str, wanted: float) -> None:
    deadline = time.perf_counter() + 120
    while (changed := _changed(target, status)) < wanted:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{target.name}: {wanted - changed:.0f} statuses were never applied")
        time.sleep(0.05)  # each look costs the gateway more than an event does


def _table(rows: dict[str, list[Figures]], ratios: dict[str, list[float]], batch: int) -> None:
    head = f"  {'':14} {'answered/s':>10} {'applied/s':>10} {'events/s':>9} {'ratio':>6} {'CPU us':>7}"
    print(f"{head} {'p50 ms':>7} {'p99 ms':>7}   ratio by round")
    for name, found in rows.items():
        applied = statistics.median(one.applied for one in found)
        print(
            f"  {name:14} {statistics.median(one.answered for one in found):10.0f} {applied:10.0f}"
            f" {applied * batch:9.0f} {statistics.median(ratios[name] or [1.0]):6.2f}"
            f" {statistics.median(one.cpu_us for one in found):7.0f}"
            f" {statistics.median(one.p50_ms for one in found):7.1f}"
            f" {statistics.median(one.p99_ms for one in found):7.1f}"
            f"   {' '.join(f'{ratio:.2f}' for ratio in ratios[name])}"
        )


# ---- the client, in a process of its own


class _Once(Load):
    """Every request once."""

    def next_request(self) -> bytes:
        request = super().next_request()
        self.over = self._number >= len(self._requests)
        return request


async def _post(prepared: list[bytes], host: str, connections: int) -> dict[str, object]:
    address, _, port = host.partition(":")
    load = _Once(prepared, connections)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(load), address, int(port))
    await asyncio.wait_for(load.done, 120)
    elapsed = time.perf_counter() - began
    ordered = sorted(load.latencies)
    return {
        "seconds": elapsed,
        "statuses": dict(load.statuses),
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
    }


def main() -> None:
    """Sign everything, wait for the word, post it, print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("path")
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("statuses", nargs="+")
    arguments = parser.parse_args()
    host = arguments.url.removeprefix("http://")
    prepared = requests(host, arguments.path, arguments.first, arguments.count, arguments.batch, arguments.statuses)
    print("ready", flush=True)
    sys.stdin.readline()
    connections = max(1, min(64, arguments.count // 8))
    print(json.dumps(uvloop.run(_post(prepared, host, connections))), flush=True)


if __name__ == "__main__":
    main()
