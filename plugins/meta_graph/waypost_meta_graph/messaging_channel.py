"""The hooks that are the same for Messenger and Instagram: everything but what a message becomes.

Source: Meta, Messenger Platform, "Send API reference", "Subscribe your Page"; Instagram Platform, "Send a message",
"Enable subscriptions".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from waypost.plugin import (
    AccountHealth,
    Address,
    ChannelEvent,
    ChannelInfo,
    Context,
    OutboundMessage,
    OutcomeUnknown,
    Quote,
    Recognition,
    SendResult,
    WebhookConnection,
    WebhookContext,
    WebhookRequest,
    WebhookVerdict,
    hookimpl,
)

from waypost_meta_graph.client import Graph, health
from waypost_meta_graph.errors import ErrorTable
from waypost_meta_graph.messaging import account_of, parse
from waypost_meta_graph.messaging_payloads import Surface, is_action
from waypost_meta_graph.messaging_rules import meter, require_open_window, scoped_id, sent
from waypost_meta_graph.messaging_settings import MessagingAccount
from waypost_meta_graph.pieces import flag
from waypost_meta_graph.webhooks import recognized, verify


class MessagingChannel(ABC):
    """A channel that speaks Meta's Send API. A product says what it is and what a message becomes."""

    info: ChannelInfo
    surface: Surface
    errors: ErrorTable

    @abstractmethod
    def account(self, ctx: Context) -> MessagingAccount:
        """The gateway's settings. Raises `Misconfigured` where they are another product's."""

    @abstractmethod
    def body(self, ctx: Context, message: OutboundMessage) -> dict[str, Any]:
        """The whole request body. Raises `Permanent` for what the product cannot express."""

    @abstractmethod
    def subscribed_fields(self, ctx: Context) -> str:
        """The webhook fields to subscribe the account to, separated by commas."""

    def needs_window(self, message: OutboundMessage) -> bool:
        """Whether the message may be sent only for some time after the person wrote."""
        return not is_action(message.content)

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what the plugin is and can do."""
        return self.info

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """POST the message once to the account's `messages` edge. Raises `ChannelError`."""
        request = self.body(ctx, message)
        reply = await self._graph(ctx).post(f"{self.account(ctx).node}/messages", request)
        return sent(reply, message.content)

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        """One `message` or `action`. Raises `Permanent` for what cannot be sent, or not now."""
        self.body(ctx, message)
        if self.needs_window(message):
            require_open_window(ctx, message)
        return meter(message.content)

    @hookimpl
    async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
        """Check the app's signature, or answer the handshake."""
        return verify(ctx, request)

    @hookimpl
    def parse_event(self, ctx: WebhookContext, request: WebhookRequest) -> Sequence[ChannelEvent]:  # noqa: ARG002
        """Read a delivery of the product's object, in any of its three shapes."""
        return parse(self.surface, request)

    @hookimpl
    def parse_address(self, value: str) -> Address:
        """Take the id Meta gave a person for this account. Raises `InvalidRecipient`."""
        return scoped_id(self.surface, value)

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        """Name the account of the first entry."""
        return recognized(request, self.surface.webhook_object, account_of)

    @hookimpl
    async def check_account(self, ctx: Context) -> AccountHealth:
        """Read the account, to learn whether its token works."""
        return await health(self._graph(ctx), self.account(ctx).node, "id")

    @hookimpl
    async def connect_webhook(self, ctx: Context, url: str) -> WebhookConnection:
        """Subscribe the app to the account; the URL itself is the app's, and is set once in Meta's dashboard.

        Raises `ChannelError`.
        """
        fields = {"subscribed_fields": self.subscribed_fields(ctx)}
        answer = await self._graph(ctx).post(f"{self.account(ctx).node}/subscribed_apps", fields)
        if flag(answer, "success") is not True:
            raise OutcomeUnknown(f"{self.surface.title} answered without saying that it did it.")
        return WebhookConnection(remaining=f"Set {url} as the app's callback URL in Meta's dashboard, once.")

    def _graph(self, ctx: Context) -> Graph:
        return Graph.of(ctx.http, self.account(ctx), self.errors)
