"""Run the measurements: `make bench`, or `python -m benchmarks accept road plugins webhooks --rounds 5`."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from benchmarks import accept, isolation, road, webhooks
from benchmarks.postgres import PostgresServer, get_server
from benchmarks.processes import fsync_cost

PARTS = ("accept", "plugins", "road", "webhooks", "isolation")


def main() -> None:
    """Measure what was asked for, all of it by default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waypost-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        print(
            f"Python {platform.python_version()}, {os.cpu_count()} cores, fdatasync {fsync_cost(folder):.0f} us median;"
            " SQLite synchronous=FULL, PostgreSQL fsync=on"
        )
        postgres = get_server(folder / "postgres")
        try:
            _run(arguments.parts, folder, postgres, arguments.rounds, arguments.seconds)
        finally:
            postgres.cleanup()


def _run(parts: list[str], folder: Path, postgres: PostgresServer, rounds: int, seconds: float) -> None:
    def database(name: str) -> str:
        postgres.psql(f"CREATE DATABASE {name}")
        return str(postgres.get_uri(name))

    if "accept" in parts:
        databases = {
            "SQLite, 1 org": f"sqlite:///{folder}/one.db",
            "SQLite, 100 orgs": f"sqlite:///{folder}/hundred.db",
            "PostgreSQL, 1 org": database("one"),
            "PostgreSQL, 100 orgs": database("hundred"),
        }
        accept.measure(databases, rounds, seconds)
    if "plugins" in parts:
        accept.plugins(folder, rounds, seconds)
    if "road" in parts:
        road.measure(
            folder, {"SQLite": f"sqlite:///{folder}/road.db", "PostgreSQL": database("road")}, min(rounds, 3), seconds
        )
    if "webhooks" in parts:
        webhooks.measure(rounds, seconds)
    if "isolation" in parts:
        isolation.measure(min(rounds, 3), seconds)


if __name__ == "__main__":
    main()
