"""`python -m waypost.testing.probe`: imports a plugin, and sends with it, in a process where neither was done before.

Reads a job as JSON from standard input and answers in JSON on standard output. What the plugin prints goes to
standard error, so that it cannot spoil the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

#: The heart beats so often, in seconds.
BEAT = 0.01
SENDS = 3


def main() -> None:
    """Do the job."""
    job = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        answer = _imported(job["plugin"])
        if "url" in job and "error" not in answer:
            answer["beats"] = asyncio.run(_sends(job))
    json.dump(answer, sys.stdout)


def _imported(name: str) -> dict[str, Any]:
    # What the gateway has imported anyway is not the plugin's cost.

    import waypost.host.loader
    import waypost.plugin.http
    import waypost.plugin.segments
    import waypost.plugin.signatures
    import waypost.plugin.simulator

    calls: list[str] = []

    def listen(event: str, _: Any) -> None:
        if watching and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            calls.append(event)

    watching = True
    sys.addaudithook(listen)
    point = next(iter(metadata.entry_points(group=waypost.plugin.spec.CHANNELS_GROUP, name=name)))
    began = time.perf_counter() - _held_up()
    try:
        point.load()
    except BaseException as error:  # noqa: BLE001 - a stranger's module may raise anything
        return {"error": f"{type(error).__name__}: {error}"}
    seconds = time.perf_counter() - _held_up() - began
    watching = False
    return {"seconds": seconds, "network": calls}


def _held_up() -> float:
    """For how many seconds others had the processor while this thread could have run; 0 where the system is silent.

    Source: the Linux kernel's documentation, "Scheduler Statistics": the second field, in nanoseconds.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


async def _sends(job: dict[str, Any]) -> list[dict[str, float]]:
    """Send a few times; for each the longest gap between heartbeats, in seconds on the wall and of this thread."""
    from waypost.testing.contract import ChannelContract
    from waypost.testing.stage import on_stage

    class Probed(ChannelContract):
        plugin = job["plugin"]
        base_url_setting = job["base_url_setting"]

    subject, found = Probed(), list[dict[str, float]]()
    async with on_stage(subject, url=job["url"], is_open=False) as stage:
        message = subject.message(stage.simulator)
        for number in range(SENDS):
            gaps: list[tuple[float, float]] = []
            heart = asyncio.create_task(_beat(gaps))
            await asyncio.sleep(2 * BEAT)
            with contextlib.suppress(Exception):
                if number == 0:
                    stage.client = await stage.open()
                await stage.send(message)
            await asyncio.sleep(2 * BEAT)
            heart.cancel()
            found.append({"wall": max(gap[0] for gap in gaps), "thread": max(gap[1] for gap in gaps)})
        await stage.close()
    return found


async def _beat(gaps: list[tuple[float, float]]) -> None:
    wall, thread = time.perf_counter(), time.thread_time()
    while True:
        await asyncio.sleep(BEAT)
        now, used = time.perf_counter(), time.thread_time()
        gaps.append((now - wall, used - thread))
        wall, thread = now, used


if __name__ == "__main__":
    main()
