"""The whole road: accepted, sent to the simulator, delivered by webhook, settled; all of it on the same cores."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from benchmarks.accept import gateway
from benchmarks.processes import Server, cpu_seconds, free_port, load, server

_DELIVERED = re.compile(r'waypost_status_changes_total\{status="DELIVERED"\} ([0-9.e+]+)')
_ACCEPTED = re.compile(r'waypost_messages_accepted_total\{channel="SMS"\} ([0-9.e+]+)')


def measure(folder: Path, databases: dict[str, str], rounds: int, seconds: float) -> None:
    """Print delivered messages per second: those accepted in `seconds`, until the last one is delivered."""
    print("\nThe whole road: messages delivered and settled per second (client, simulator and database beside it)")
    with ExitStack() as stack:
        simulator = stack.enter_context(_simulator(folder))
        servers = [
            stack.enter_context(server(*gateway(name, url, role="all", settings=simulator)))
            for name, url in databases.items()
        ]
        rates: dict[str, list[tuple[float, float]]] = {target.name: [] for target in servers}
        for number in range(rounds):
            for target in servers:
                rates[target.name].append(_once(target, seconds, number))
        for name, rows in rates.items():
            middle = [statistics.median(column) for column in zip(*rows, strict=True)]
            shown = " ".join(f"{row[0]:.0f}" for row in rows)
            print(f"  {name:24} {middle[0]:8.0f} delivered/s {middle[1]:7.0f} CPU us/message   by round: {shown}")


def _once(target: Server, seconds: float, seed: int) -> tuple[float, float]:
    accepted, delivered = _counts(target)
    cpu, began = cpu_seconds(target.pid), time.perf_counter()
    load(target, seconds=seconds, connections=16, seed=seed)
    wanted = _counts(target)[0] - accepted
    deadline = time.perf_counter() + 120
    while (arrived := _counts(target)[1] - delivered) < wanted:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{target.name}: {wanted - arrived:.0f} of {wanted:.0f} messages were never delivered")
        time.sleep(0.05)
    elapsed = time.perf_counter() - began
    return wanted / elapsed, (cpu_seconds(target.pid) - cpu) / wanted * 1e6


def _counts(target: Server) -> tuple[float, float]:
    with urllib.request.urlopen(f"{target.url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    accepted, delivered = _ACCEPTED.search(text), _DELIVERED.search(text)
    return float(accepted[1]) if accepted else 0.0, float(delivered[1]) if delivered else 0.0


class _simulator:  # noqa: N801 - a context manager, used like a function
    """Twilio's simulator in a process of its own; its account settings as JSON."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> str:
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "waypost_sms_twilio.simulator", "--port", str(free_port()),
                "--journal", str(self._folder / "simulator.jsonl"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        return json.dumps(json.loads(self._process.stdout.readline())["account_settings"])

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
