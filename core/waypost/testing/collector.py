"""The gateway's end of a provider's webhooks: takes every delivery as it came."""

from __future__ import annotations

from typing import Self

from aiohttp import web

from waypost.plugin.types import WebhookReply, WebhookRequest


class Collector:
    """Listens on loopback while it is entered, acknowledges everything, and keeps it in `requests`."""

    def __init__(self, path: str, ack: WebhookReply) -> None:
        self.requests: list[WebhookRequest] = []
        self.url = ""
        self._path = path
        self._ack = ack
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 << 20)
        application.add_routes([web.route("*", self._path, self._take)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.url = self._base + self._path
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.requests.append(
            WebhookRequest(
                method=request.method,
                url=self._base + request.raw_path,
                headers=tuple((name.lower(), value) for name, value in request.headers.items()),
                query=tuple(request.query.items()),
                body=await request.read(),
            )
        )
        return web.Response(status=self._ack.status, body=self._ack.body, content_type=self._ack.content_type)
