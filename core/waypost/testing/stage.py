"""A gateway of the plugin on a stage: its account opened against a provider on loopback, without a core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp

from waypost.plugin.errors import ChannelError
from waypost.plugin.simulator import Outcome, Simulator
from waypost.plugin.types import Context, OutboundMessage, SendResult, WebhookContext, WebhookRequest
from waypost.plugin.web_simulator import WebSimulator
from waypost.testing.check import CheckFailed
from waypost.testing.collector import Collector
from waypost.testing.subject import Account, Subject

GATEWAY = "gw_contract"
#: How long a provider is waited for, in seconds, when it is known to be silent: the usual limit is half a minute.
BRIEFLY = 0.3
#: How long any other is waited for: more than a busy machine takes.
PATIENTLY = 10.0
#: No send of the kit's takes longer than this, in seconds, unless the plugin is at fault.
LONGEST_SEND = 15.0
#: What somebody writes to us.
INBOUND_TEXT = "Hello from the contract kit"


class Log:
    """A logger like structlog's that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def write(*arguments: Any, **fields: Any) -> Log:
            self.lines.append(f"{name} {arguments!r} {fields!r} {arguments} {fields}")
            return self

        return write


class UsedNetworkError(AssertionError):
    """A pure hook reached for `ctx.http`; compute from what the context holds."""


class NoHttp:
    """Stands in for the session where nothing may be requested."""

    def __getattr__(self, name: str) -> Any:
        raise UsedNetworkError(UsedNetworkError.__doc__)


class Patience:
    """How long requests wait for an answer, in seconds; then it is as if the socket's own limit had struck."""

    def __init__(self) -> None:
        self.seconds = PATIENTLY

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Pass a request on, as a middleware of aiohttp."""
        try:
            async with asyncio.timeout(self.seconds):
                return await handler(request)
        except TimeoutError as error:
            raise aiohttp.SocketTimeoutError("the provider is silent") from error

    @contextmanager
    def brief(self) -> Iterator[None]:
        """Wait only briefly meanwhile."""
        before, self.seconds = self.seconds, BRIEFLY
        try:
            yield
        finally:
            self.seconds = before


def new_session(patience: Patience) -> aiohttp.ClientSession:
    """A session like the core's, with patience of its own."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, middlewares=(patience,))


@dataclass(slots=True)
class Stage:
    """An opened account. `send` calls the plugin's hook as it is."""

    subject: Subject
    simulator: Simulator
    account: Account
    http: aiohttp.ClientSession
    collector: Collector | None = None
    log: Log = field(default_factory=Log)
    client: object | None = None
    patience: Patience = field(default_factory=Patience)

    def context(self, correlation: str = "att_contract", **changes: Any) -> Context:
        """What the core would give a hook."""
        callback = f"{self.collector.url}?ref={correlation}" if self.collector else None
        given = {"idempotency_key": correlation, "callback_url": callback, "now": datetime.now(UTC), **changes}
        return Context(
            gateway_id=GATEWAY,
            account=self.account.account,
            provider_app=self.account.provider_app,
            http=self.http,
            log=self.log,
            client=self.client,
            correlation=correlation,
            **given,
        )

    @property
    def webhook_url(self) -> str:
        """Where the provider delivers to."""
        return self.collector.url if self.collector else ""

    def webhook_context(self, **changes: Any) -> WebhookContext:
        """What the core would give a hook that verifies or parses."""
        given = {"account": self.account.account, "provider_app": self.account.provider_app, **changes}
        given = {"log": self.log, "now": datetime.now(UTC), "gateway_id": GATEWAY, **given}
        return WebhookContext(**given)

    async def open(self) -> object | None:
        """What the plugin opens for the account."""
        if "open_account" not in self.subject.channel.hooks:
            return None
        return cast("object", await self.subject.hooks.open_account(ctx=self.context()))

    async def close(self) -> None:
        """Close what it opened."""
        if "close_account" in self.subject.channel.hooks and self.client is not None:
            await self.subject.hooks.close_account(client=self.client)

    async def send(self, message: OutboundMessage, correlation: str = "att_contract", **context: Any) -> SendResult:
        """Send once, and hold the answer's type against the plugin. Raises what the hook raises."""
        async with asyncio.timeout(LONGEST_SEND):
            result = await self.subject.hooks.send(ctx=self.context(correlation, **context), message=message)
        if not isinstance(result, SendResult):
            raise CheckFailed(f"send returned a {type(result).__name__}, not a SendResult")
        return result

    async def sent(self, to: str | None = None, correlation: str = "att_contract", **message: Any) -> SendResult:
        """Send an example that the simulator has to accept."""
        made = self.subject.message(self.simulator, to=to, **message)
        try:
            return await self.send(made, correlation)
        except ChannelError as error:
            raise CheckFailed(
                f"the simulator's {made.content.kind} was not accepted: {type(error).__name__}: {error.detail}"
            ) from None
        except TimeoutError:
            raise CheckFailed(f"send took longer than {LONGEST_SEND:g} s") from None

    async def deliveries(self) -> list[WebhookRequest]:
        """Everything the provider tells us after some sends, and of an inbound message where there are any."""
        if self.collector is None:
            raise CheckFailed("this stage receives nothing")
        wanted = {Outcome.READ, Outcome.UNDELIVERED, Outcome.FAILED}
        magic = {outcome: to for to, outcome in self.simulator.magic.items() if outcome in wanted}
        for number, to in enumerate((None, *magic.values())):
            await self.sent(to, f"att_{number}")
        await self.simulator.settle()
        found = {(request.url, request.body): request for request in self.collector.requests}
        inbound = self.inbound()
        return [*found.values(), *([inbound] if inbound is not None else [])]

    def inbound(self) -> WebhookRequest | None:
        """A delivery of an inbound message; None where the provider brings none."""
        with suppress(NotImplementedError):
            return self.simulator.inbound(INBOUND_TEXT) if isinstance(self.simulator, WebSimulator) else None
        return None


@asynccontextmanager
async def on_stage(subject: Subject, *, url: str | None = None, is_open: bool = True) -> AsyncIterator[Stage]:
    """Set an account up against a new simulator, or against whatever listens at `url`, and open it."""
    simulator = subject.new_simulator()
    info, patience = subject.channel.info, Patience()
    async with (
        Collector(f"/webhooks/{subject.plugin}/{GATEWAY}", info.webhook_ack) as collector,
        new_session(patience) as http,
    ):
        if isinstance(simulator, WebSimulator):
            simulator.webhook_url = simulator.inbound_url = collector.url
        base_url = url if url is not None else await simulator.start()
        try:
            account = subject.account_at(simulator, base_url)
            stage = Stage(subject, simulator, account, http, collector, patience=patience)
            async with opened(stage) if is_open else nullcontext():
                yield stage
        finally:
            await simulator.stop()


@asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[None]:
    """Ask the plugin for a client of its own, as the host does before the first send, and close it in the end."""
    stage.client = await stage.open()
    try:
        yield
    finally:
        await stage.close()


def texts_of(value: Any) -> set[str]:
    """The strings in a content, where they are long enough to be told from chance."""
    if isinstance(value, str):
        return {value} if len(value) >= 8 else set()
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return {text for child in children for text in texts_of(child)}
