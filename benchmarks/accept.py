"""Accept: the whole token API, from HTTP to the durable commit, beside a bare handler that reads the same JSON."""

from __future__ import annotations

import json
import statistics
from contextlib import ExitStack
from pathlib import Path

from benchmarks.processes import Server, cpu_seconds, free_port, load, server

#: A provider nobody ever calls: accepting does not send.
NO_PROVIDER = json.dumps({"account_sid": "AC" + "0" * 32, "auth_token": "t" * 32, "base_url": "http://127.0.0.1:9"})


def gateway(
    name: str, url: str, *, organizations: int = 1, plugins: int = 1, role: str = "api", settings: str = NO_PROVIDER
) -> tuple[str, ...]:
    """The arguments that start a gateway to be measured."""
    return (
        name, "benchmarks.gateway", url, "--port", str(free_port()), "--settings", settings,
        "--organizations", str(organizations), "--plugins", str(plugins), "--role", role,
    )  # fmt: skip


def measure(databases: dict[str, str], rounds: int, seconds: float) -> None:
    """Print requests per second, the ratio to the bare handler, CPU per request and latency, medians of the rounds."""
    with ExitStack() as stack:
        bare = stack.enter_context(server("bare aiohttp", "benchmarks.bare"))
        servers = [bare]
        for name, url in databases.items():
            servers.append(stack.enter_context(server(*gateway(name, url, organizations=100 if "100" in name else 1))))
        for target in servers:
            load(target, seconds=1.0)
        print(f"\nAccept, 64 connections, {rounds} interleaved rounds of {seconds:g} s")
        table(servers, rounds, seconds)


def plugins(folder: Path, rounds: int, seconds: float) -> None:
    """Print what accepting costs with one plugin installed and enabled, and with two hundred."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                server(*gateway(f"{count} plugins", f"sqlite:///{folder}/plugins{count}.db", plugins=count))
            )
            for count in (1, 200)
        ]
        for target in servers:
            load(target, seconds=1.0)
        print("\nAccept on SQLite with many plugins")
        table(servers, rounds, seconds)


def table(servers: list[Server], rounds: int, seconds: float) -> None:
    """Load the servers in turns and print a row for each; ratios are to the first."""
    results: dict[str, list[tuple[float, float, float, float]]] = {target.name: [] for target in servers}
    for number in range(rounds):
        for target in servers:
            before = cpu_seconds(target.pid)
            answer = load(target, seconds=seconds, seed=number)
            spent = cpu_seconds(target.pid) - before
            answered = sum(answer["statuses"].values())
            results[target.name].append(
                (answer["per_second"], spent / answered * 1e6, answer["p50_ms"], answer["p99_ms"])
            )
    print(f"  {'':24} {'req/s':>8} {'ratio':>6} {'CPU us':>7} {'p50 ms':>7} {'p99 ms':>7}   ratio by round")
    first = results[servers[0].name]
    for name, rows in results.items():
        middle = [statistics.median(column) for column in zip(*rows, strict=True)]
        ratios = [row[0] / base[0] for row, base in zip(rows, first, strict=True)]
        shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"  {name:24} {middle[0]:8.0f} {statistics.median(ratios):6.2f} {middle[1]:7.0f} {middle[2]:7.1f}"
            f" {middle[3]:7.1f}   {shown}"
        )
