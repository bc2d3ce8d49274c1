"""The channel: sends over a connection of its own, listens on another."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import Field
from waypost.plugin import (
    Address,
    ChannelEvent,
    ChannelInfo,
    Context,
    DeliveryUpdate,
    Emit,
    InboundMessage,
    Misconfigured,
    OutboundMessage,
    Quote,
    QuoteLine,
    SecretStr,
    SendResult,
    Settings,
    Text,
    Transient,
    UnknownEvent,
    Unsupported,
    hookimpl,
)
from waypost.plugin.signatures import sha256_hex

from waypost_line.client import LineClient
from waypost_line.wire import ConnectionEndedError, bind

if TYPE_CHECKING:
    from waypost.plugin.simulator import Simulator


class LineAccount(Settings):
    """An account at the provider."""

    host: str
    port: int = Field(ge=1, le=65_535)
    token: SecretStr


INFO = ChannelInfo(
    channel="LINES",
    title="Lines over TCP (an example)",
    api="1.0",
    account_settings=LineAccount,
    address_kinds=("line_number",),
    content_kinds=frozenset({"text"}),
    features=frozenset({"correlation"}),
    receives="listen",
    documentation="examples/line_channel/README.md",
    examples={"text": {"body": "Hello"}},
)


def _account(ctx: Context) -> LineAccount:
    if not isinstance(ctx.account, LineAccount):
        raise Misconfigured("The gateway's settings are not those of this provider.")
    return ctx.account


def _text(message: OutboundMessage) -> str:
    if not isinstance(message.content, Text):
        raise Unsupported("This provider takes text only.")
    return message.content.body


class LineChannel:
    """A provider that speaks lines. See README.md."""

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        """Say what the plugin is and can do."""
        return INFO

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:  # noqa: ARG002 - every text costs the same
        """One `message`. Raises `Unsupported` for anything but text."""
        _text(message)
        return Quote((QuoteLine("message"),))

    @hookimpl
    async def open_account(self, ctx: Context) -> object:
        """Open the sending connection. Raises `Transient` or `AccountBlocked`."""
        account = _account(ctx)
        client = LineClient(account.host, account.port, account.token.get_secret_value())
        await client.open()
        return client

    @hookimpl
    async def close_account(self, client: object) -> None:
        """Close it."""
        if isinstance(client, LineClient):
            await client.close()

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        """Submit once. Raises `ChannelError`."""
        if not isinstance(ctx.client, LineClient):
            raise Transient("The connection is not open.")
        to = message.address("line_number") or ""
        return SendResult(provider_ids=(await ctx.client.submit(to, _text(message), ctx.correlation),))

    @hookimpl
    async def listen(self, ctx: Context, emit: Emit) -> None:
        """Receive on a connection of its own; acknowledge what Waypost has stored. Ends when the connection does."""
        account = _account(ctx)
        line = await bind(account.host, account.port, "receive", account.token.get_secret_value())
        try:
            while True:
                said = await line.hear()
                await emit(event_of(said))
                await line.say("ACK", said[1] if len(said) > 1 else None)
        except ConnectionEndedError as error:
            raise Transient("The connection ended.") from error
        finally:
            await line.close()

    @hookimpl
    def simulator(self) -> Simulator:
        """Return a new simulator of the provider."""
        from waypost_line.simulator import LineSimulator

        return LineSimulator()


def event_of(said: list[Any]) -> ChannelEvent:
    """What a line says; what is not known is kept. The number is the connection's, and makes no id."""
    word, fields = said[0], said[2] if len(said) == 3 else None
    raw = {"word": word, "fields": fields}
    if isinstance(fields, Mapping) and isinstance(fields.get("id"), str) and fields["id"]:
        if word == "DLR" and fields.get("status") in ("delivered", "failed"):
            return _receipt(fields, raw)
        if word == "MSG" and all(isinstance(fields.get(name), str) and fields[name] for name in ("from", "to", "text")):
            return InboundMessage(
                event_id=f"msg.{fields['id']}",
                provider_id=fields["id"],
                sender=(Address("line_number", fields["from"]),),
                recipient=Address("line_number", fields["to"]),
                content=Text(body=fields["text"]),
                occurred_at=_moment(fields.get("at")),
                raw=raw,
            )
    return UnknownEvent(event_id=f"raw.{sha256_hex(orjson.dumps(raw))[:32]}", reason="a line of another kind", raw=raw)


def _receipt(fields: Mapping[str, Any], raw: Mapping[str, Any]) -> DeliveryUpdate:
    reference = fields.get("ref")
    return DeliveryUpdate(
        event_id=f"dlr.{fields['id']}.{fields['status']}",
        status="delivered" if fields["status"] == "delivered" else "failed",
        provider_id=fields["id"],
        correlation=reference if isinstance(reference, str) and reference else None,
        raw=raw,
    )


def _moment(value: object) -> datetime | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 33
    return datetime.fromtimestamp(value, UTC) if whole else None  # type: ignore[arg-type]


line = LineChannel()
