"""What the tests of this plugin share: contexts, the documented deliveries, a running simulator."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from aiohttp import web
from waypost.plugin import (
    Address,
    ChannelEvent,
    Content,
    Context,
    OutboundMessage,
    SecretStr,
    WebhookContext,
    WebhookRequest,
)
from waypost_meta_graph import MetaAppSettings
from waypost_whatsapp.channel import WhatsApp, whatsapp
from waypost_whatsapp.settings import WhatsAppSettings
from waypost_whatsapp.simulator import WhatsAppSimulator

FIXTURES = Path(__file__).parent / "fixtures"
MANIFEST: dict[str, Any] = json.loads((FIXTURES / "manifest.json").read_text())
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PERSON = (Address("e164", "+16505550143"),)


@pytest.fixture
def plugin() -> WhatsApp:
    return whatsapp


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def deliveries() -> dict[str, WebhookRequest]:
    """Every documented webhook, raw bytes and true signature, by the name of its file."""
    found = {}
    for entry in MANIFEST["fixtures"]:
        url = entry["url"]
        found[Path(entry["file"]).stem] = WebhookRequest(
            method=entry["method"],
            url=url,
            headers=tuple((name.lower(), value) for name, value in entry["headers"].items()),
            query=tuple(parse_qsl(urlsplit(url).query)),
            body=(FIXTURES / entry["file"]).read_bytes(),
        )
    return found


@pytest.fixture
def app() -> MetaAppSettings:
    credentials = MANIFEST["credentials"]
    return MetaAppSettings(
        app_secrets=(SecretStr(credentials["app_secret"]),), verify_token=SecretStr(credentials["verify_token"])
    )


@pytest.fixture
def webhook_ctx(app: MetaAppSettings) -> WebhookContext:
    return WebhookContext(provider_app=app, account=None, log=logging.getLogger("test"), now=NOW)


@pytest.fixture
def parse(webhook_ctx: WebhookContext) -> Callable[[WebhookRequest | Any], list[ChannelEvent]]:
    """Parse a delivery, or a document in place of one."""

    def parsed(request: WebhookRequest | Any) -> list[ChannelEvent]:
        if not isinstance(request, WebhookRequest):
            request = WebhookRequest(method="POST", url="https://gw.test/", body=json.dumps(request).encode())
        return list(whatsapp.parse_event(webhook_ctx, request))

    return parsed


@pytest.fixture
def account() -> WhatsAppSettings:
    return WhatsAppSettings(
        phone_number_id="330011223344556", waba_id="220099887766551", access_token=SecretStr("EAAFixtureOnlyToken")
    )


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def context(session: aiohttp.ClientSession, account: WhatsAppSettings, app: MetaAppSettings) -> Callable[..., Context]:
    def made(**fields: Any) -> Context:
        given: dict[str, Any] = {
            "gateway_id": "gw_1",
            "account": account,
            "provider_app": app,
            "http": session,
            "log": logging.getLogger("test"),
            "now": NOW,
            "history_since": NOW - timedelta(days=30),
            "last_inbound_at": NOW - timedelta(hours=1),
        }
        return Context(**(given | fields))

    return made


@pytest.fixture
def outbound() -> Callable[..., OutboundMessage]:
    def made(content: Content, recipient: str | None = None, **fields: Any) -> OutboundMessage:
        addresses = (whatsapp.parse_address(recipient),) if recipient else PERSON
        return OutboundMessage(channel="WHATSAPP", recipient=addresses, content=content, **fields)

    return made


@dataclass
class Provider:
    """A running simulator, the webhooks it sent, and a context that speaks to it."""

    simulator: WhatsAppSimulator
    ctx: Callable[..., Context]
    webhook_ctx: WebhookContext
    received: list[WebhookRequest] = field(default_factory=list)

    def events(self) -> list[ChannelEvent]:
        """What the webhooks received so far say."""
        return [event for request in self.received for event in whatsapp.parse_event(self.webhook_ctx, request)]


@pytest.fixture
async def provider(context: Callable[..., Context]) -> AsyncIterator[Provider]:
    simulator = WhatsAppSimulator()
    await simulator.start()
    simulator.hang_seconds = 60
    running: Provider

    async def receive(request: web.Request) -> web.Response:
        headers = tuple((name.lower(), value) for name, value in request.headers.items())
        query = tuple(request.query.items())
        body = await request.read()
        running.received.append(
            WebhookRequest(method=request.method, url=str(request.url), headers=headers, query=query, body=body)
        )
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/hook", receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    simulator.webhook_url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    settings = WhatsAppSettings(**simulator.account_settings())
    app = MetaAppSettings(**simulator.provider_app_settings())

    def ctx(**fields: Any) -> Context:
        return context(**({"account": settings, "provider_app": app, "correlation": "att_1"} | fields))

    hook = WebhookContext(provider_app=app, account=None, log=logging.getLogger("test"), now=NOW)
    running = Provider(simulator, ctx, hook)
    yield running
    await simulator.stop()
    await runner.cleanup()
