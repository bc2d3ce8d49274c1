"""Messenger and Instagram as tests see them: what tells the two apart, and the fixtures that are the same for both.

A conftest says which is meant by a session-wide fixture `product`, and imports the fixtures from here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from waypost.plugin import (
    Address,
    ChannelEvent,
    Content,
    Context,
    OutboundMessage,
    Verified,
    WebhookContext,
    WebhookRequest,
)
from waypost.plugin.simulator import Outcome
from waypost_instagram.channel import instagram
from waypost_instagram.simulator import InstagramSimulator
from waypost_messenger.channel import messenger
from waypost_messenger.simulator import MessengerSimulator
from waypost_meta_graph import MetaAppSettings
from waypost_meta_graph.messaging_channel import MessagingChannel
from waypost_meta_graph.messaging_settings import MessagingAccount
from waypost_meta_graph.messaging_simulator import MessagingSimulator

NOW = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)
TOKEN = "EAAFixturePageToken"

MakeContext = Callable[..., Context]
MakeMessage = Callable[..., OutboundMessage]
Delivery = Callable[[str], WebhookRequest]
Post = Callable[[Any], WebhookRequest]
Exchange = Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class Product:
    """One of the two: its channel, its simulator, and the account and person of its fixtures."""

    name: str
    channel: MessagingChannel
    simulator: type[MessagingSimulator]
    settings: Mapping[str, Any]
    account_ref: str
    #: The path that the fixtures' account sends under.
    node: str
    person: str
    #: Settings of another account than the simulator's.
    elsewhere: Mapping[str, Any]
    #: The shortest text that is too long.
    too_long: str

    @property
    def fixtures(self) -> Path:
        return Path(__file__).parents[2] / "plugins" / self.name / "tests" / "fixtures"

    @property
    def to(self) -> Mapping[Outcome, str]:
        """The magic recipient of each outcome."""
        return {outcome: person for person, outcome in self.simulator.magic.items()}

    def account(self, **fields: Any) -> MessagingAccount:
        model = self.channel.info.account_settings.model_validate({**self.settings, "access_token": TOKEN, **fields})
        assert isinstance(model, MessagingAccount)
        return model


MESSENGER = Product(
    name="messenger",
    channel=messenger,
    simulator=MessengerSimulator,
    settings={"page_id": "118200456700123"},
    account_ref="118200456700123",
    node="118200456700123",
    person="7433201956612084",
    elsewhere={"page_id": "1"},
    too_long="x" * 2001,
)
INSTAGRAM = Product(
    name="instagram",
    channel=instagram,
    simulator=InstagramSimulator,
    settings={"ig_id": "17841400000012345"},
    account_ref="17841400000012345",
    node="me",
    person="1002233445566778",
    elsewhere={"login": "instagram", "ig_id": "1"},
    too_long="ä" * 501,
)


# ---- fixtures


@pytest.fixture(scope="session")
def manifest(product: Product) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((product.fixtures / "manifest.json").read_text())
    return loaded


@pytest.fixture
def delivery(product: Product, manifest: dict[str, Any]) -> Delivery:
    """A fixture as the provider delivered it: raw bytes, real signature."""

    def load(name: str) -> WebhookRequest:
        row = manifest["webhooks"][name]
        headers = tuple((key.lower(), value) for key, value in row["headers"].items())
        body = (product.fixtures / "webhooks" / name).read_bytes()
        return WebhookRequest(method=row["method"], url=row["url"], headers=headers, body=body)

    return load


@pytest.fixture
def post() -> Post:
    """A delivery with any body: bytes as they are, anything else as JSON."""

    def build(body: Any) -> WebhookRequest:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return WebhookRequest(method="POST", url="https://gw.example.test/hooks", body=raw)

    return build


@pytest.fixture
def exchange(product: Product) -> Exchange:
    """A documented request and its answer."""

    def load(name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((product.fixtures / "api" / name).read_text())
        return loaded

    return load


@pytest.fixture
def webhook_ctx(manifest: dict[str, Any]) -> WebhookContext:
    app = MetaAppSettings(app_secrets=(manifest["app_secret"],), verify_token=manifest["verify_token"])
    return WebhookContext(provider_app=app, account=None, log=logging.getLogger("test"), now=NOW)


@pytest.fixture
def account(product: Product) -> MessagingAccount:
    return product.account()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as opened:
        yield opened


@pytest.fixture
def context(session: aiohttp.ClientSession, account: MessagingAccount) -> MakeContext:
    def build(**fields: Any) -> Context:
        values: dict[str, Any] = {
            "gateway_id": "gw_test",
            "account": account,
            "provider_app": MetaAppSettings(),
            "http": session,
            "log": logging.getLogger("test"),
            "now": NOW,
            **fields,
        }
        return Context(**values)

    return build


@pytest.fixture
def outbound(product: Product) -> MakeMessage:
    info = product.channel.info

    def build(content: Content, to: str = product.person, **fields: Any) -> OutboundMessage:
        recipient = (Address(info.address_kinds[0], to),)
        return OutboundMessage(channel=info.channel, recipient=recipient, content=content, **fields)

    return build


@pytest.fixture
async def simulator(product: Product) -> AsyncIterator[MessagingSimulator]:
    built = product.channel.simulator()
    assert type(built) is product.simulator
    built.hang_seconds = 0.2
    await built.start()
    yield built
    await built.stop()


@pytest.fixture
def simulated(product: Product, context: MakeContext, simulator: MessagingSimulator) -> MakeContext:
    """A context whose gateway speaks to the simulator."""

    def build(**fields: Any) -> Context:
        settings = {**simulator.account_settings(), **fields.pop("settings", {})}
        return context(account=product.channel.info.account_settings.model_validate(settings), **fields)

    return build


@pytest.fixture
def simulated_app(simulator: MessagingSimulator) -> WebhookContext:
    """What the simulator's webhooks are verified with."""
    app = MetaAppSettings.model_validate(simulator.provider_app_settings())
    return WebhookContext(provider_app=app, account=None, log=logging.getLogger("test"), now=NOW)


@pytest.fixture
async def heard(
    product: Product, simulator: MessagingSimulator, simulated_app: WebhookContext
) -> AsyncIterator[list[ChannelEvent]]:
    """Events of every webhook the simulator delivers, after the signature was checked."""
    events: list[ChannelEvent] = []

    async def receive(request: web.Request) -> web.Response:
        delivery = WebhookRequest(
            method=request.method,
            url=str(request.url),
            headers=tuple((key.lower(), value) for key, value in request.headers.items()),
            body=await request.read(),
        )
        assert isinstance(await product.channel.verify_webhook(simulated_app, delivery), Verified)
        assert product.channel.recognize(delivery) is not None
        events.extend(product.channel.parse_event(simulated_app, delivery))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    simulator.webhook_url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield events
    await runner.cleanup()


#: What a conftest imports with `from meta_products import *`, beside its own `product`.
__all__ = [
    "account",
    "context",
    "delivery",
    "exchange",
    "heard",
    "manifest",
    "outbound",
    "post",
    "session",
    "simulated",
    "simulated_app",
    "simulator",
    "webhook_ctx",
]
