"""Twilio for these tests: fixtures as data, a simulator on loopback, cassettes of documented exchanges."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import aiohttp
import pytest
import vcr
from aiohttp import web
from waypost.plugin import (
    Address,
    Content,
    Context,
    NoSettings,
    OutboundMessage,
    WebhookContext,
    WebhookRequest,
)
from waypost_sms_twilio.channel import TwilioChannel, sms, whatsapp
from waypost_sms_twilio.settings import TwilioSettings
from waypost_sms_twilio.simulator import TwilioSimulator, TwilioWhatsAppSimulator

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
NOW = datetime(2026, 11, 10, 9, 15, tzinfo=UTC)
ACCOUNT_SID = "ACd807640e943b7133f3f95e5fe3b21f7f"
AUTH_TOKEN = "fixtureonlybbeed417c00e26698bd83"
CALLBACK = "https://gw.example.test/hooks/twilio/status?msg=01JFIX&tenant=acme"


@dataclass(frozen=True)
class Delivery:
    name: str
    request: WebhookRequest
    auth_token: str

    @property
    def channel(self) -> TwilioChannel:
        return whatsapp if self.name.startswith("wa_") else sms


def _deliveries() -> dict[str, Delivery]:
    found = {}
    for entry in json.loads((FIXTURES / "manifest.json").read_text())["fixtures"]:
        if not entry["file"].startswith("webhooks/"):
            continue
        path = FIXTURES / entry["file"]
        get = entry["method"] == "GET"
        request = WebhookRequest(
            method=entry["method"],
            url=entry["url"],
            headers=tuple((name.lower(), value) for name, value in entry["headers"].items()),
            query=tuple(parse_qsl(urlsplit(entry["url"]).query, keep_blank_values=True)),
            body=b"" if get else path.read_bytes(),
        )
        found[path.stem] = Delivery(path.stem, request, entry["auth_token"])
    return found


DELIVERIES = _deliveries()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "delivery" in metafunc.fixturenames:
        metafunc.parametrize("delivery", DELIVERIES.values(), ids=DELIVERIES)


@pytest.fixture(scope="session")
def deliveries() -> dict[str, Delivery]:
    return DELIVERIES


@pytest.fixture(scope="session")
def exchanges() -> Callable[[str], dict[str, Any]]:
    return lambda name: json.loads((FIXTURES / "api" / f"{name}.json").read_text())


@pytest.fixture
def settings() -> TwilioSettings:
    return TwilioSettings(account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN, callback_overrides="")


@pytest.fixture
def webhook_context(settings: TwilioSettings) -> WebhookContext:
    return WebhookContext(provider_app=NoSettings(), account=settings, log=None, now=NOW)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as opened:
        yield opened


@pytest.fixture
def context(settings: TwilioSettings, session: aiohttp.ClientSession) -> Context:
    """A context whose account is the documentation's, for cassettes and pure hooks."""
    return Context(
        gateway_id="gw_test",
        account=settings,
        provider_app=NoSettings(),
        http=session,
        log=None,
        now=NOW,
        correlation="att_1",
        callback_url=CALLBACK,
    )


@pytest.fixture
async def twilio() -> AsyncIterator[TwilioSimulator]:
    simulator = TwilioSimulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def twilio_whatsapp() -> AsyncIterator[TwilioWhatsAppSimulator]:
    simulator = TwilioWhatsAppSimulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
def against(context: Context) -> Callable[..., Context]:
    """A context whose account is a simulator's."""

    def make(simulator: TwilioSimulator, callback: str | None = None, **settings: Any) -> Context:
        account = TwilioSettings.model_validate(simulator.account_settings() | settings)
        return replace(context, account=account, callback_url=callback, now=datetime.now(UTC))

    return make


@pytest.fixture
def message() -> Callable[..., OutboundMessage]:
    """Make a message; WhatsApp where `channel` says so."""

    def make(content: Content, to: str = "+14155550142", *, kind: str = "e164", **fields: Any) -> OutboundMessage:
        fields = {"channel": "SMS", "sender": "+15005550006", **fields}
        return OutboundMessage(recipient=(Address(kind, to),), content=content, **fields)

    return make


class Gateway:
    """The receiving end: keeps every webhook it gets, as the core would hand it to the plugin."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[WebhookRequest] = []
        self.status = 200

    async def handle(self, request: web.Request) -> web.Response:
        self.received.append(
            WebhookRequest(
                method=request.method,
                url=f"{self.url}{request.path_qs.removeprefix('/hook')}",
                headers=tuple((name.lower(), value) for name, value in request.headers.items()),
                query=tuple(request.query.items()),
                body=await request.read(),
            )
        )
        return web.Response(status=self.status)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    receiving = Gateway()
    application = web.Application()
    application.router.add_route("*", "/hook", receiving.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiving.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiving
    await runner.cleanup()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Any], Awaitable[str]]]:
    """Serve one handler for every path, and return the address."""
    runners: list[web.AppRunner] = []

    async def start(handler: Any) -> str:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def cassette() -> Callable[[str], AbstractContextManager[Any]]:
    """Play a documented exchange; the request's fields must be the documented ones, in any order."""
    player = vcr.VCR(
        cassette_library_dir=str(HERE / "cassettes"),
        record_mode="none",
        ignore_localhost=True,
        filter_headers=["authorization"],
        filter_query_parameters=["access_token"],
    )

    def fields(request: Any) -> Any:
        body = (request.body or b"").decode()
        return json.loads(body) if body.startswith("{") else parse_qs(body, keep_blank_values=True)

    def same_form(one: Any, other: Any) -> None:
        assert fields(one) == fields(other)

    player.register_matcher("form", same_form)
    player.match_on = ["method", "scheme", "host", "port", "path", "query", "form"]
    return lambda name: player.use_cassette(f"{name}.yaml")
