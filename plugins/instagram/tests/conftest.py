"""What this plugin's tests share: fixtures as raw bytes, contexts, a running simulator."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from waypost.plugin import Address, Content, Context, OutboundMessage, WebhookContext, WebhookRequest
from waypost_instagram.channel import instagram
from waypost_instagram.settings import InstagramAccount
from waypost_instagram.simulator import InstagramSimulator
from waypost_meta_graph import MetaAppSettings

FIXTURES = Path(__file__).parent / "fixtures"
NOW = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FIXTURES / "manifest.json").read_text())
    return loaded


@pytest.fixture
def delivery(manifest: dict[str, Any]) -> Callable[[str], WebhookRequest]:
    """A fixture as the provider delivered it: raw bytes, real signature."""

    def load(name: str) -> WebhookRequest:
        row = manifest["webhooks"][name]
        headers = tuple((key.lower(), value) for key, value in row["headers"].items())
        body = (FIXTURES / "webhooks" / name).read_bytes()
        return WebhookRequest(method=row["method"], url=row["url"], headers=headers, body=body)

    return load


@pytest.fixture
def post() -> Callable[[Any], WebhookRequest]:
    """A delivery with any body: bytes as they are, anything else as JSON."""

    def build(body: Any) -> WebhookRequest:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return WebhookRequest(method="POST", url="https://gw.example.test/hooks", body=raw)

    return build


@pytest.fixture
def exchange() -> Callable[[str], dict[str, Any]]:
    """A documented request and its answer."""

    def load(name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((FIXTURES / "api" / name).read_text())
        return loaded

    return load


@pytest.fixture
def app_settings(manifest: dict[str, Any]) -> MetaAppSettings:
    return MetaAppSettings(app_secrets=(manifest["app_secret"],), verify_token=manifest["verify_token"])


@pytest.fixture
def webhook_ctx(app_settings: MetaAppSettings) -> WebhookContext:
    return WebhookContext(provider_app=app_settings, account=None, log=logging.getLogger("test"), now=NOW)


@pytest.fixture
def account() -> InstagramAccount:
    return InstagramAccount.model_validate({"ig_id": "17841400000012345", "access_token": "EAAFixturePageToken"})


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as opened:
        yield opened


@pytest.fixture
def context(session: aiohttp.ClientSession, account: InstagramAccount) -> Callable[..., Context]:
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
def outbound() -> Callable[..., OutboundMessage]:
    def build(content: Content, to: str = "1002233445566778", **fields: Any) -> OutboundMessage:
        return OutboundMessage(channel="INSTAGRAM", recipient=(Address("igsid", to),), content=content, **fields)

    return build


@pytest.fixture
async def simulator() -> AsyncIterator[InstagramSimulator]:
    built = instagram.simulator()
    assert isinstance(built, InstagramSimulator)
    built.hang_seconds = 0.2
    await built.start()
    yield built
    await built.stop()


@pytest.fixture
def simulated(context: Callable[..., Context], simulator: InstagramSimulator) -> Callable[..., Context]:
    """A context whose gateway speaks to the simulator."""

    def build(**fields: Any) -> Context:
        settings = InstagramAccount.model_validate({**simulator.account_settings(), **fields.pop("settings", {})})
        return context(account=settings, **fields)

    return build
