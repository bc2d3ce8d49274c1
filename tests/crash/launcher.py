"""Starts gateways to be killed: everything is imported once, each gateway is a fork of it.

One JSON line in (`{"start": {…}}`), one line out (`{"pid": …}` once it listens). It ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from aiohttp import web
from waypost import log
from waypost.config import Config
from waypost.node import Node
from waypost_server.app import build_server


async def _serve(settings: dict[str, object], ready: int) -> None:
    log.configure("critical")
    config = Config(**settings)  # type: ignore[arg-type]
    node = await Node.open(config, "all", alone=config.database_url.startswith("sqlite"))
    await node.start()
    runner = web.ServerRunner(build_server(node))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", config.port, reuse_address=True).start()
    os.write(ready, b"ready")
    os.close(ready)
    await asyncio.Event().wait()


def main() -> None:
    """Fork a gateway for every line read."""
    for line in sys.stdin:
        settings = json.loads(line)["start"]
        heard, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(heard)
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            asyncio.run(_serve(settings, told))
            os._exit(0)
        os.close(told)
        ready = os.read(heard, 5) == b"ready"
        os.close(heard)
        sys.stdout.write(json.dumps({"pid": pid, "ready": ready}) + "\n")
        sys.stdout.flush()
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
