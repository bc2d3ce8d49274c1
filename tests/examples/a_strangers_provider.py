"""A stranger's provider in a process of its own: the simulator of an installed plugin, until standard input ends."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import metadata

from waypost.plugin import CHANNELS_GROUP


async def main(plugin: str) -> None:
    [entry_point] = metadata.entry_points(group=CHANNELS_GROUP, name=plugin)
    simulator = entry_point.load().simulator()
    await simulator.start()
    print(json.dumps({"settings": simulator.account_settings(), "senders": simulator.senders()}), flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    await simulator.stop()
    print(json.dumps([entry.fields for entry in simulator.journal]), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
