"""Starts and ends the processes that a measurement needs, and asks the load client for figures."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Server:
    """A server under measurement."""

    name: str
    url: str
    keys: list[str]
    pid: int


def free_port() -> int:
    """A port on loopback that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(name: str, *arguments: str) -> Iterator[Server]:
    """Run `python -m …` until the block ends; its first line of output says where it listens."""
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=nowhere, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{name} did not start: {' '.join(arguments)}")
            ready = json.loads(line)
            yield Server(name, ready["url"], ready.get("keys", []), process.pid)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def load(target: Server, *, seconds: float, connections: int = 64, seed: int = 1) -> dict[str, Any]:
    """Apply load to a server from a process of its own."""
    answer = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.load", target.url, "--seconds", str(seconds),
            "--connections", str(connections), "--seed", str(seed),
        ],
        input=json.dumps(target.keys),
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(answer.stdout)
    bad = {status: count for status, count in result["statuses"].items() if status != "200"}
    if bad:
        raise RuntimeError(f"{target.name} answered {bad}")
    return result


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process's threads have used so far, to the nanosecond (Linux)."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def fsync_cost(folder: Path) -> float:
    """The median cost of a durable write here, in microseconds."""
    path = folder / "fsync.probe"
    costs = []
    with path.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            costs.append(time.perf_counter() - began)
    path.unlink()
    return sorted(costs)[len(costs) // 2] * 1e6
