"""The hooks a channel plugin implements. Sync hooks are pure; async hooks may do I/O.

A plugin is any object (a module or an instance) whose functions carry `@hookimpl`, named by an entry point of the
group `waypost.channels.v1`. An implementation may take fewer parameters than the hook offers, never others, and none
keyword-only. Only the first three hooks are required; the next two of a plugin that receives webhooks, and `listen` of
one that listens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pluggy

from waypost.plugin.events import ChannelEvent
from waypost.plugin.types import (
    AccountHealth,
    Address,
    ChannelInfo,
    Context,
    LookupResult,
    OutboundMessage,
    Quote,
    Recognition,
    SendAttempt,
    SendResult,
    TemplateInfo,
    WebhookConnection,
    WebhookContext,
    WebhookRequest,
    WebhookVerdict,
)

if TYPE_CHECKING:
    from waypost.plugin.simulator import Simulator

#: The plugin API's version. A plugin names the lowest it needs; the same major and no higher minor is loaded.
API_VERSION = (1, 0)
#: The entry-point group of channel plugins: one group per major version.
CHANNELS_GROUP = "waypost.channels.v1"
#: The entry-point group of cross-cutting plugins.
WRAPPERS_GROUP = "waypost.wrappers.v1"

hookspec = pluggy.HookspecMarker("waypost")
hookimpl = pluggy.HookimplMarker("waypost")

Emit = Callable[[ChannelEvent], Awaitable[None]]


class ChannelSpec:
    """What one provider on one channel can be asked."""

    @hookspec(firstresult=True)
    def channel_info(self) -> ChannelInfo:  # type: ignore[empty-body]
        """Say what the plugin is and can do."""

    @hookspec(firstresult=True)
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:  # type: ignore[empty-body]
        """Hand the message to the provider: at most ONE message-creating request. Raises `ChannelError`."""

    @hookspec(firstresult=True)
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:  # type: ignore[empty-body]
        """Meter the message. The one place to refuse before credit is held: raises `Permanent`."""

    @hookspec(firstresult=True)
    async def verify_webhook(  # type: ignore[empty-body]
        self, ctx: WebhookContext, request: WebhookRequest
    ) -> WebhookVerdict:
        """Decide whether a delivery is the provider's, or answer its handshake."""

    @hookspec(firstresult=True)
    def parse_event(  # type: ignore[empty-body]
        self, ctx: WebhookContext, request: WebhookRequest
    ) -> Sequence[ChannelEvent]:
        """Turn a verified delivery into events; what is not known becomes `UnknownEvent`, never an exception."""

    @hookspec(firstresult=True)
    def parse_address(self, value: str) -> Address:  # type: ignore[empty-body]
        """Turn a partner's `to` into an address in normal form. Raises `InvalidRecipient`."""

    @hookspec(firstresult=True)
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Say cheaply whether a delivery on a shared URL looks like mine, and for which account (untrusted)."""

    @hookspec(firstresult=True)
    async def lookup(self, ctx: Context, attempt: SendAttempt) -> LookupResult | None:
        """Ask the provider what became of an attempt; None when it cannot tell."""

    @hookspec(firstresult=True)
    async def check_account(self, ctx: Context) -> AccountHealth:  # type: ignore[empty-body]
        """Ask the provider whether the account may send."""

    @hookspec(firstresult=True)
    async def list_templates(self, ctx: Context) -> Sequence[TemplateInfo]:  # type: ignore[empty-body]
        """List the account's templates."""

    @hookspec(firstresult=True)
    async def connect_webhook(self, ctx: Context, url: str) -> WebhookConnection:  # type: ignore[empty-body]
        """Point the provider's webhooks at this URL, as far as an account may; as often as it is asked."""

    @hookspec(firstresult=True)
    async def open_account(self, ctx: Context) -> object:
        """Open what `ctx.client` shall be; only for a transport of the plugin's own, or an SDK client."""

    @hookspec(firstresult=True)
    async def close_account(self, client: object) -> None:
        """Close what `open_account` opened."""

    @hookspec(firstresult=True)
    async def listen(self, ctx: Context, emit: Emit) -> None:
        """Hold a connection that receives (SMPP, IMAP, polling) and emit its events; one owner per gateway."""

    @hookspec(firstresult=True)
    def simulator(self) -> Simulator:  # type: ignore[empty-body]
        """Return a new simulator of the provider."""


REQUIRED_HOOKS = frozenset({"channel_info", "send", "price"})
WEBHOOK_HOOKS = frozenset({"verify_webhook", "parse_event"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCall:
    """One send, as a wrapper sees it."""

    plugin: str
    ctx: Context
    message: OutboundMessage


Proceed = Callable[[SendCall], Awaitable[SendResult]]
SendMiddleware = Callable[[SendCall, Proceed], Awaitable[SendResult]]


class WrapperSpec:
    """What a cross-cutting plugin may add around every send; asked once, at start-up."""

    @hookspec
    def wrap_send(self) -> SendMiddleware:  # type: ignore[empty-body]
        """Return an async `(call, proceed)` middleware. It may call `proceed` once; retries are the outbox's."""
