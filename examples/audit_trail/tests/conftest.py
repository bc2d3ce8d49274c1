"""The wrapper from this folder, and a channel to put it around."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from waypost.host.dispatch import ChannelPlugin
from waypost.host.loader import inspect_plugin
from waypost.plugin import (
    Address,
    ChannelInfo,
    Context,
    NoSettings,
    OutboundMessage,
    Quote,
    QuoteLine,
    SendResult,
    Text,
    hookimpl,
)

# The example is never installed into the workspace's environment: it is a stranger's distribution.
sys.path.insert(0, str(Path(__file__).parents[1]))

from waypost_audit_trail.trail import Trail


@dataclass(eq=False)
class Channel:
    """A provider that does as it is told."""

    outcome: Any = None
    calls: list[OutboundMessage] = field(default_factory=list)

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        return ChannelInfo(
            channel="SMS", title="Fake", api="1.0", account_settings=NoSettings, address_kinds=("e164",),
            content_kinds=frozenset({"text"}), receives="none", send_timeout=0.2,
        )  # fmt: skip

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        self.calls.append(message)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        if callable(self.outcome):
            return await self.outcome()  # type: ignore[no-any-return]
        return SendResult(provider_ids=("p-1",))

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        return Quote((QuoteLine("sms"),))

    @property
    def plugin(self) -> ChannelPlugin:
        return inspect_plugin("fake", self)


class Log:
    """What the core gives as `ctx.log`."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def context(log: Log) -> Context:
    return Context(
        gateway_id="gw_1", account=NoSettings(), provider_app=NoSettings(), http=None, log=log,  # type: ignore[arg-type]
        now=datetime(2026, 11, 22, tzinfo=UTC), correlation="msg_1.1.1",
    )  # fmt: skip


@pytest.fixture
def message() -> OutboundMessage:
    return OutboundMessage(
        channel="SMS", recipient=(Address("e164", "+4915112345678"),), content=Text(body="a private word")
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trail.jsonl"


@pytest.fixture
def trail(path: Path) -> Iterator[Trail]:
    opened = Trail(path)
    yield opened
    opened.close()
