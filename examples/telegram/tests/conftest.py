"""Telegram for these tests: the plugin from this folder, its simulator on loopback, somebody who takes webhooks."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from waypost.plugin import CHANNELS_GROUP, Address, Content, Context, NoSettings, OutboundMessage, WebhookContext

# The example is never installed into the workspace's environment: it is a stranger's distribution.
sys.path.insert(0, str(Path(__file__).parents[1]))

from waypost_telegram.settings import TelegramBot
from waypost_telegram.simulator import TelegramSimulator

# The contract kit looks at installed plugins only; `tests/examples` installs the wheel and runs it.
collect_ignore = [] if metadata.entry_points(group=CHANNELS_GROUP, name="telegram") else ["test_contract.py"]
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


@pytest.fixture
def bot() -> TelegramBot:
    return TelegramBot.model_validate(
        {"bot_token": "123456789:AAfixture-only_token", "webhook_secrets": ["new-secret", "old-secret"]}
    )


@pytest.fixture
def webhook_context(bot: TelegramBot) -> WebhookContext:
    return WebhookContext(provider_app=NoSettings(), account=bot, log=None, now=NOW, gateway_id="gw_test")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as opened:
        yield opened


@pytest.fixture
def context(bot: TelegramBot, session: aiohttp.ClientSession) -> Context:
    return Context(
        gateway_id="gw_test", account=bot, provider_app=NoSettings(), http=session, log=None, now=NOW,
        correlation="msg_1.1.1",
    )  # fmt: skip


@pytest.fixture
async def telegram_api() -> AsyncIterator[TelegramSimulator]:
    simulator = TelegramSimulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
def live(context: Context, telegram_api: TelegramSimulator) -> Context:
    """A context whose bot is the simulator's."""
    return replace(context, account=TelegramBot.model_validate(telegram_api.account_settings()))


@pytest.fixture
def message() -> Callable[..., OutboundMessage]:
    def make(content: Content, to: str = "5550001", **fields: Any) -> OutboundMessage:
        recipient = (Address("telegram_chat", to),)
        return OutboundMessage(**{"channel": "TELEGRAM", "recipient": recipient, "content": content} | fields)

    return make


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
