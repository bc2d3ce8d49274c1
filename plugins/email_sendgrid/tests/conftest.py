"""A simulator on loopback, a gateway's context, and the documented deliveries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from waypost.plugin import Address, Content, Context, NoSettings, OutboundMessage, WebhookContext, WebhookRequest
from waypost_email_sendgrid.settings import SendGridAccount
from waypost_email_sendgrid.simulator import SendGridSimulator

FIXTURES = Path(__file__).parent / "fixtures"
#: Shortly after the fixtures' fixed timestamps.
NOW = datetime(2026, 11, 10, 9, 30, tzinfo=UTC)
REF = "01JC9Q2V8N"


class Receiver:
    """Where the simulator's webhooks arrive."""

    def __init__(self) -> None:
        self.requests: list[WebhookRequest] = []
        self.url = ""
        self._arrived = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        headers = tuple((key.lower(), value) for key, value in request.headers.items())
        query = tuple(request.query.items())
        body = await request.read()
        self.requests.append(
            WebhookRequest(method=request.method, url=str(request.url), headers=headers, query=query, body=body)
        )
        self._arrived.set()
        return web.Response(status=200)

    async def first(self) -> None:
        await asyncio.wait_for(self._arrived.wait(), 5)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiving = Receiver()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/hook", receiving.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiving.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiving
    await runner.cleanup()


@pytest.fixture
async def simulator(receiver: Receiver) -> AsyncIterator[SendGridSimulator]:
    playing = SendGridSimulator()
    playing.webhook_url = receiver.url
    playing.hang_seconds = 0.05
    await playing.start()
    yield playing
    await playing.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session:
        yield session


@pytest.fixture
def account() -> SendGridAccount:
    return SendGridAccount(
        api_key="SG.fixtureonly.fixtureonly",
        from_address="orders@shop.example.test",
        event_public_keys=(FIXTURES.joinpath("public_key.txt").read_text(),),
        parse_public_keys=(FIXTURES.joinpath("public_key.txt").read_text(),),
    )


@pytest.fixture
def context(account: SendGridAccount) -> Callable[..., Context]:
    """A gateway's context; without a session for what is pure."""

    def make(**changes: Any) -> Context:
        settings: dict[str, Any] = {
            "gateway_id": "gw_1",
            "account": account,
            "provider_app": NoSettings(),
            "http": None,
            "log": None,
            "now": NOW,
            "correlation": REF,
        }
        return Context(**(settings | changes))

    return make


@pytest.fixture
def webhook_context(account: SendGridAccount) -> Callable[..., WebhookContext]:
    def make(**changes: Any) -> WebhookContext:
        settings: dict[str, Any] = {"provider_app": NoSettings(), "account": account, "log": None, "now": NOW}
        return WebhookContext(**(settings | changes))

    return make


@pytest.fixture
def message() -> Callable[..., OutboundMessage]:
    def make(content: Content, to: str = "ada.okafor@example.com", **changes: Any) -> OutboundMessage:
        return OutboundMessage(channel="EMAIL", recipient=(Address("email", to),), content=content, **changes)

    return make


@pytest.fixture
def delivery() -> Callable[[str], WebhookRequest]:
    """A documented delivery by its file name: its raw bytes, with the headers of the manifest."""
    manifest = json.loads(FIXTURES.joinpath("manifest.json").read_text())

    def make(name: str) -> WebhookRequest:
        entry = manifest[name]
        headers = tuple((key.lower(), value) for key, value in entry["headers"].items())
        return WebhookRequest(
            method=entry["method"],
            url=entry["url"],
            headers=headers,
            body=FIXTURES.joinpath("webhooks", name).read_bytes(),
        )

    return make


@pytest.fixture
def exchange() -> Callable[[str], dict[str, Any]]:
    """A documented request and answer by its file name."""

    def make(name: str) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(FIXTURES.joinpath("api", f"{name}.json").read_text())
        return read

    return make
