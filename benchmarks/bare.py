"""The baseline: a bare aiohttp handler that reads the same JSON and answers `{}`."""

from __future__ import annotations

import json

import orjson
import uvloop
from aiohttp import web


async def _handle(request: web.Request) -> web.Response:
    orjson.loads(await request.read())
    return web.Response(body=b"{}", content_type="application/json")


async def _serve() -> None:
    app = web.Application()
    app.router.add_post("/api/send-sms.php", _handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "keys": ["none"]}), flush=True)
    import asyncio

    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
