"""Accept: the whole token API, from HTTP to the durable commit, beside a bare handler that reads the same JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
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
        print(f"\nAccept, 64 connections, {rounds} rounds of {seconds:g} s, the baseline before and after each")
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


@dataclass(frozen=True, slots=True)
class Figures:
    """What one load came to."""

    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def table(servers: list[Server], rounds: int, seconds: float) -> None:
    """Load the servers in turns and print a row for each.

    The first is loaded before and after each of the others, whose ratios are to the mean of the two: what the machine
    is worth changes within seconds.
    """
    first, *others = servers
    found: dict[str, list[Figures]] = {target.name: [] for target in servers}
    ratios: dict[str, list[float]] = {target.name: [] for target in servers}
    for number in range(rounds):
        before = _figures(first, seconds, number)
        found[first.name].append(before)
        for target in others:
            figures, after = _figures(target, seconds, number), _figures(first, seconds, number)
            found[target.name].append(figures)
            found[first.name].append(after)
            ratios[target.name].append(2 * figures.per_second / (before.per_second + after.per_second))
            before = after
    print(f"  {'':24} {'req/s':>8} {'ratio':>6} {'CPU us':>7} {'p50 ms':>7} {'p99 ms':>7}   ratio by round")
    for name, rows in found.items():
        print(
            f"  {name:24} {_middle(row.per_second for row in rows):8.0f} {_middle(ratios[name] or [1.0]):6.2f}"
            f" {_middle(row.cpu_us for row in rows):7.0f} {_middle(row.p50_ms for row in rows):7.1f}"
            f" {_middle(row.p99_ms for row in rows):7.1f}   {' '.join(f'{ratio:.2f}' for ratio in ratios[name])}"
        )


def _middle(values: Iterable[float]) -> float:
    return statistics.median(values)


def _figures(target: Server, seconds: float, seed: int) -> Figures:
    before = cpu_seconds(target.pid)
    answer = load(target, seconds=seconds, seed=seed)
    spent = cpu_seconds(target.pid) - before
    answered = sum(answer["statuses"].values())
    return Figures(answer["per_second"], spent / answered * 1e6, answer["p50_ms"], answer["p99_ms"])
