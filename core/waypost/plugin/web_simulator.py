"""The frame of a provider that is reached by HTTP and tells by webhooks: an aiohttp application on loopback.

A plugin subclasses `WebSimulator`, adds the provider's routes and signs its webhooks as the provider does. The frame
delivers them (late, twice, out of order) and misbehaves on request: hang, drop the connection after accepting, answer
garbage.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
from collections.abc import Sequence

import aiohttp
from aiohttp import web

from waypost.plugin.simulator import Outcome, Simulator
from waypost.plugin.types import WebhookRequest


class WebSimulator(Simulator):
    """A provider's web API on loopback. Subclasses give `routes` too, and `inbound` and `handshake` where it has them.

    `webhook_url` is where webhooks go when the send itself does not say; `inbound_url` where inbound messages go
    (the same, unless set). `delay` is the pause before each receipt, `hang_seconds` how long HANG lasts, in seconds.
    """

    webhook_retries = 3

    def __init__(self) -> None:
        super().__init__()
        self.webhook_url = ""
        self.inbound_url = ""
        self.delay = 0.0
        self.hang_seconds = 600.0
        self._late: list[WebhookRequest] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    # ---- what a subclass gives

    @abc.abstractmethod
    def routes(self) -> Sequence[web.RouteDef]:
        """The provider's endpoints."""

    def inbound(self, text: str, sender: str | None = None) -> WebhookRequest:
        """A signed delivery of an inbound text message, as the provider would send it to `inbound_url`.

        Raises `NotImplementedError` where nobody can write to this provider's accounts, as this does.
        """
        raise NotImplementedError(f"nobody can write to {type(self).__name__}")

    def handshake(self, *, token: str | None = None) -> WebhookRequest:
        """The request by which the provider tries a webhook URL, with the right token or with this one.

        Raises `NotImplementedError` where the provider tries none, as this does.
        """
        raise NotImplementedError(f"{type(self).__name__} tries no webhook URL")

    # ---- what the frame does

    def app(self) -> web.Application:
        """The provider as an aiohttp application."""
        application = web.Application(client_max_size=64 << 20)
        application.add_routes(list(self.routes()))
        application.on_cleanup.append(self._cleanup)
        return application

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen on loopback and return the base URL."""
        self._runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.base_url = f"http://{host}:{bound}"
        return self.base_url

    async def stop(self) -> None:
        """Stop listening and drop what is still to be delivered."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def settle(self) -> None:
        """Wait until every webhook on its way has been delivered or given up."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def write(self, text: str, sender: str | None = None) -> None:
        """Deliver an inbound message of this text, and wait for the answer."""
        await self.deliver_now(self.inbound(text, sender))

    def deliver(self, *requests: WebhookRequest, outcome: Outcome = Outcome.DELIVERED) -> None:
        """Send webhooks in this order, each after `delay`; hold them back for LATE_RECEIPTS."""
        if outcome is Outcome.LATE_RECEIPTS:
            self._late.extend(requests)
            return
        self._spawn(requests)

    async def deliver_now(self, *requests: WebhookRequest) -> None:
        """Send webhooks in this order and wait for the answers."""
        await self._deliver_all(requests, delay=0.0)

    def release_late_receipts(self) -> None:
        """Let the held-back webhooks go."""
        late, self._late = self._late, []
        self._spawn(late)

    async def misbehave(self, request: web.Request, outcome: Outcome) -> web.StreamResponse | None:
        """Play the faults of the transport: HANG, ACCEPT_THEN_DROP and GARBAGE; None for any other outcome."""
        if outcome is Outcome.HANG:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(self.hang_seconds)
        if outcome in (Outcome.HANG, Outcome.ACCEPT_THEN_DROP):
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=500)
        if outcome is Outcome.GARBAGE:
            return web.Response(status=200, body=b"\x00<html>nonsense", content_type="text/html")
        return None

    # ---- delivery

    def _spawn(self, requests: Sequence[WebhookRequest]) -> None:
        if requests:
            task = asyncio.get_running_loop().create_task(self._deliver_all(requests, self.delay))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver_all(self, requests: Sequence[WebhookRequest], delay: float) -> None:
        for request in requests:
            if delay:
                await asyncio.sleep(delay)
            await self._deliver(request)

    async def _deliver(self, request: WebhookRequest) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        problem = ""
        for attempt in range(self.webhook_retries + 1):
            if attempt:
                await asyncio.sleep(0.05 * 2**attempt)
            try:
                async with self._session.request(
                    request.method,
                    request.url,
                    data=request.body or None,
                    headers=list(request.headers),
                    timeout=aiohttp.ClientTimeout(total=15),
                    allow_redirects=False,
                ) as response:
                    await response.read()
                    if response.status < 300:
                        return
                    problem = f"{request.method} webhook answered {response.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = f"{request.method} webhook failed: {type(error).__name__}"
        self.errors.append(problem)

    async def _cleanup(self, _: web.Application) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
