"""A channel plugin for tests of the core: says what it is told to say, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from waypost.host.dispatch import ChannelPlugin
from waypost.host.loader import PluginRecord, inspect_plugin
from waypost.plugin import (
    AccountHealth,
    Address,
    ChannelEvent,
    ChannelInfo,
    Context,
    InvalidRecipient,
    LookupResult,
    OutboundMessage,
    Quote,
    QuoteLine,
    Recognition,
    Rejected,
    SecretStr,
    SendAttempt,
    SendResult,
    Settings,
    Verified,
    WebhookConnection,
    WebhookContext,
    WebhookRequest,
    WebhookVerdict,
    hookimpl,
)

#: Hooks that a fake has only where a test asks for them.
OPTIONAL = frozenset({"lookup", "check_account", "connect_webhook", "recognize", "open_account", "close_account"})
#: What a send comes to: an answer (or anything else) returned, an exception raised, or a coroutine function awaited.
Outcome = Any


class FakeSettings(Settings):
    """The fake provider's account."""

    token: SecretStr
    account: str = ""


@dataclass
class Sent:
    """One call of `send`."""

    ctx: Context
    message: OutboundMessage

    @property
    def to(self) -> str:
        return self.message.recipient[0].value


@dataclass
class FakeChannel:
    """A provider that does as it is told. Script it with `on`, then look at `sent`.

    A recipient's outcomes are used up in order; the last one repeats. Without any, sends are accepted as `p-1` etc.
    """

    name: str = "fake"
    channel: str = "SMS"
    hooks: frozenset[str] = frozenset()
    info: dict[str, Any] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    quote: Quote | Exception | object = field(default_factory=lambda: Quote((QuoteLine("unit"),)))
    looked_up: list[SendAttempt] = field(default_factory=list)
    lookup_answers: deque[Any] = field(default_factory=deque)
    checks: int = 0
    health: Any = field(default_factory=lambda: AccountHealth(state="unknown"))
    connected: list[str] = field(default_factory=list)
    connection: Any = field(default_factory=WebhookConnection)
    verifications: int = 0
    parses: int = 0
    opened: int = 0
    closed: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._outcomes: dict[str, deque[Outcome]] = defaultdict(deque)
        self._told: dict[bytes, list[ChannelEvent] | Exception] = {}
        self._numbers = itertools.count(1)
        self._called = asyncio.Condition()
        self._bodies = itertools.count(1)
        for hook in OPTIONAL - self.hooks:
            setattr(self, hook, None)

    # Conditions and counters are the identity of a fake; two fakes are never equal.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    # ---- what tests do

    def on(self, recipient: str, *outcomes: Outcome) -> FakeChannel:
        """Say what sends to this recipient come to (`*` is everybody else)."""
        self._outcomes[recipient].extend(outcomes)
        return self

    def answer_everybody(self, *outcomes: Outcome) -> None:
        """Say what sends come to from now on, whatever was said before."""
        self._outcomes.clear()
        self.on("*", *outcomes)

    async def called(self, times: int) -> None:
        """Wait until `send` was called so often."""
        async with self._called:
            await asyncio.wait_for(self._called.wait_for(lambda: len(self.sent) >= times), 20)

    def tells(
        self, *events: ChannelEvent, fault: Exception | None = None, signature: str = "good", **request: Any
    ) -> WebhookRequest:
        """A delivery that parses into these events (or fails); send it with `node.inbox.receive`."""
        body = request.pop("body", None) or f'{{"delivery": {next(self._bodies)}}}'.encode()
        self._told[body] = fault if fault is not None else list(events)
        return WebhookRequest(
            method="POST",
            url=f"https://gateway.test/webhooks/{self.name}",
            headers=(("x-signature", signature), *request.pop("headers", ())),
            body=body,
            **request,
        )

    def mend(self, request: WebhookRequest, *events: ChannelEvent) -> None:
        """A fixed parser reads these events out of a delivery."""
        self._told[request.body] = list(events)

    @property
    def plugin(self) -> ChannelPlugin:
        """This fake behind the host's dispatch."""
        return inspect_plugin(self.name, self)

    @property
    def record(self) -> PluginRecord:
        """This fake as the loader would list it."""
        plugin = self.plugin
        return PluginRecord(self.name, "waypost-fake", "1.0", "loaded", "", tuple(sorted(plugin.hooks)), plugin)

    # ---- hooks

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        facts: dict[str, Any] = {
            "channel": self.channel,
            "title": "Fake",
            "api": "1.0",
            "account_settings": FakeSettings,
            "address_kinds": ("e164",),
            "content_kinds": frozenset({"text"}),
        }
        return ChannelInfo(**(facts | self.info))

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        self.sent.append(Sent(ctx, message))
        async with self._called:
            self._called.notify_all()
        to = message.recipient[0].value
        script = self._outcomes[to if self._outcomes.get(to) else "*"]
        if not script:
            return SendResult(provider_ids=(f"p-{next(self._numbers)}",))
        outcome = script.popleft() if len(script) > 1 else script[0]
        if isinstance(outcome, BaseException):
            raise outcome
        if callable(outcome):
            call: Callable[[Context, OutboundMessage], Awaitable[SendResult]] = outcome
            return await call(ctx, message)
        return outcome  # type: ignore[no-any-return]

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        if isinstance(self.quote, Exception):
            raise self.quote
        return self.quote  # type: ignore[return-value]

    @hookimpl
    def parse_address(self, value: str) -> Address:
        digits = value.strip().lstrip("+")
        if not digits.isdecimal():
            raise InvalidRecipient
        return Address("e164", f"+{digits}")

    @hookimpl
    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        self.verifications += 1
        return Verified() if request.header("x-signature") == "good" else Rejected("wrong signature")

    @hookimpl
    def parse_event(self, ctx: WebhookContext, request: WebhookRequest) -> Sequence[ChannelEvent]:
        self.parses += 1
        told = self._told[request.body]
        if isinstance(told, Exception):
            raise told
        return told

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        named = request.header("x-account")
        return Recognition(named or None) if named is not None else None

    @hookimpl
    async def lookup(self, ctx: Context, attempt: SendAttempt) -> LookupResult | None:
        self.looked_up.append(attempt)
        answer = self.lookup_answers.popleft() if self.lookup_answers else None
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = await answer(ctx, attempt)
        return answer  # type: ignore[no-any-return]

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        self.checks += 1
        if isinstance(self.health, Exception):
            raise self.health
        return self.health  # type: ignore[no-any-return]

    @hookimpl
    async def connect_webhook(self, ctx: Context, url: str) -> WebhookConnection:
        self.connected.append(url)
        if isinstance(self.connection, Exception):
            raise self.connection
        return self.connection  # type: ignore[no-any-return]

    @hookimpl
    async def open_account(self, ctx: Context) -> object:
        self.opened += 1
        return f"client-{self.opened}"

    @hookimpl
    async def close_account(self, client: object) -> None:
        self.closed.append(client)
