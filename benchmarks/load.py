"""A load client: so many keep-alive connections that each send their next request as soon as they have an answer.

Raw sockets and prepared requests, so that the client costs as little as it can beside the server it measures. It talks
to loopback only, and stops by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import cast

import uvloop


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        # uvloop's transports do not inherit from asyncio's
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.next_request())

    def data_received(self, data: bytes) -> None:
        """Count complete answers and go on."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._load.answered(head[9:12].decode(), time.perf_counter() - self._sent_at)
        if self._load.over:
            assert self._transport is not None
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """This connection is done."""
        self._load.closed()


class Load:
    """The requests, and what became of them."""

    def __init__(self, requests: list[bytes], connections: int) -> None:
        self._requests = requests
        self._number = 0
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.over = False
        self._open = connections
        self.done = asyncio.get_running_loop().create_future()

    def next_request(self) -> bytes:
        """The next prepared request; they repeat when they are used up."""
        self._number += 1
        return self._requests[self._number % len(self._requests)]

    def answered(self, status: str, seconds: float) -> None:
        """Take note of an answer."""
        self.statuses[status] += 1
        self.latencies.append(seconds)

    def closed(self) -> None:
        """One connection less."""
        self._open -= 1
        if self._open == 0 and not self.done.done():
            self.done.set_result(None)


def prepare(url: str, path: str, keys: list[str], count: int, seed: int) -> list[bytes]:
    """Requests of the token API with numbers and texts that all differ, spread over the keys."""
    chosen = random.Random(seed)
    host = url.removeprefix("http://")
    prepared = []
    for number in range(count):
        to = f"+1{chosen.randrange(2_000_000_000, 9_999_999_999)}"
        body = json.dumps({"to": to, "text": f"Your code is {chosen.randrange(10**6):06d}. Message {number}."}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {keys[number % len(keys)]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        prepared.append(head.encode() + body)
    return prepared


async def run(url: str, path: str, keys: list[str], connections: int, seconds: float, seed: int) -> dict[str, object]:
    """Apply the load and say what came of it."""
    host, port = url.removeprefix("http://").split(":")
    load = Load(prepare(url, path, keys, 20_000, seed), connections)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(load), host, int(port))
    await asyncio.sleep(seconds)
    load.over = True
    elapsed = time.perf_counter() - began
    answered = sum(load.statuses.values())
    await asyncio.wait_for(load.done, 30)
    ordered = sorted(load.latencies)
    return {
        "per_second": answered / elapsed,
        "statuses": dict(load.statuses),
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
    }


def main() -> None:
    """Read the arguments, apply the load, print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--path", default="/api/send-sms.php")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    keys = json.loads(sys.stdin.read())
    uvloop.install()
    answer = asyncio.run(
        run(arguments.url, arguments.path, keys, arguments.connections, arguments.seconds, arguments.seed)
    )
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
