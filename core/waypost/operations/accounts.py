"""Accounts: what a gateway's provider says of it, asked through its plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from waypost.host.accounts import Accounts, CredentialsUnusableError, OpenAccount
from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.operations import references
from waypost.operations.errors import PluginRefusedError
from waypost.operations.gateways import webhook_urls
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.plugin.errors import AccountBlocked, ChannelError
from waypost.plugin.types import Address, OutboundMessage
from waypost.store import gateways
from waypost.store.gateways import Gateway, ProviderApp


@operation("gateways.check")
async def check(operator: Operator, *, gateway: str) -> dict[str, Any]:
    """Ask the provider whether a gateway's account may send: ok, blocked or unknown."""
    async with _opened(operator, gateway) as (row, plugin, accounts, opened):
        if "check_account" not in plugin.hooks:
            return {"gateway": row.name, "state": "unknown", "detail": f"{plugin.id} cannot check accounts."}
        try:
            await accounts.ready(opened)
            health = await plugin.check_account(accounts.context(opened))
        except AccountBlocked as error:
            return {"gateway": row.name, "state": "blocked", "detail": error.detail}
        except (ChannelError, PluginFaultError) as error:
            raise PluginRefusedError(f"{row.name} could not be checked: {error}.") from error
        return {"gateway": row.name, "state": health.state, "detail": health.detail}


@operation("gateways.templates")
async def templates(operator: Operator, *, gateway: str) -> list[dict[str, Any]]:
    """List the templates that a gateway's provider holds for its account."""
    async with _opened(operator, gateway) as (row, plugin, accounts, opened):
        if "list_templates" not in plugin.hooks:
            raise PluginRefusedError(f"{plugin.id} has no templates to list.")
        try:
            await accounts.ready(opened)
            found = await plugin.list_templates(accounts.context(opened))
        except (ChannelError, PluginFaultError) as error:
            raise PluginRefusedError(f"The templates of {row.name} could not be listed: {error}.") from error
        return [
            {
                "id": item.template_id,
                "name": item.name,
                "language": item.language,
                "category": item.category,
                "status": item.status,
                "variables": list(item.variables),
            }
            for item in found
        ]


@operation("gateways.connect")
async def connect(operator: Operator, *, gateway: str) -> dict[str, Any]:
    """Point the provider's webhooks at a gateway's URL, and say what is left to do by hand."""
    async with _opened(operator, gateway) as (row, plugin, accounts, opened):
        if "connect_webhook" not in plugin.hooks:
            raise PluginRefusedError(
                f"{plugin.id} cannot connect webhooks; enter the URL of `waypost gateways show` at the provider."
            )
        url = next(iter(webhook_urls(operator, row)), None)
        if url is None:
            raise PluginRefusedError("WAYPOST_PUBLIC_URL is not set; set it to how the world reaches this gateway.")
        try:
            await accounts.ready(opened)
            made = await plugin.connect_webhook(accounts.context(opened), url)
        except (ChannelError, PluginFaultError) as error:
            raise PluginRefusedError(
                f"The webhooks of {row.name} could not be connected: {error}. It does no harm to try again."
            ) from error
    detail = {"url": url, "remaining": made.remaining}
    await operator.change(lambda conn: operator.record(conn, "gateways.connect", row.id, detail))
    return {"gateway": row.name, **detail}


@operation("gateways.skus")
async def skus(operator: Operator, *, gateway: str, to: str | None = None) -> list[dict[str, Any]]:
    """List what a gateway's messages are metered in, as far as its plugin's examples show: put a rate on each."""
    async with _opened(operator, gateway) as (row, plugin, accounts, opened):
        address = _recipient(plugin, to)
        found: dict[str, list[str]] = {}
        for kind, fields in plugin.info.examples.items():
            model = plugin.info.content_model(kind)
            if model is None:
                continue
            try:
                content: Any = model.model_validate({"kind": kind, **fields})
                sender = row.senders[0] if row.senders else None
                message = OutboundMessage(channel=row.channel, recipient=(address,), content=content, sender=sender)
                quote = plugin.price(accounts.context(opened), message)
            except (ChannelError, PluginFaultError, ValueError):
                continue  # an example that this account may not send needs no rate
            for line in quote.lines:
                found.setdefault(line.sku, []).append(kind)
        return [{"sku": sku, "content": sorted(set(kinds))} for sku, kinds in sorted(found.items())]


def _recipient(plugin: ChannelPlugin, to: str | None) -> Address:
    if to is None:
        return Address(plugin.info.address_kinds[0], "")
    try:
        return plugin.parse_address(to)
    except (ChannelError, PluginFaultError) as error:
        raise PluginRefusedError(f"{plugin.id} cannot send there: {error}.") from error


@asynccontextmanager
async def _opened(
    operator: Operator, reference: str
) -> AsyncIterator[tuple[Gateway, ChannelPlugin, Accounts, OpenAccount]]:
    """A gateway's account, opened for a moment with a session of its own."""
    import aiohttp

    row, apps = await operator.read(
        lambda conn: (references.gateway(conn, reference), gateways.provider_apps(conn)),
    )
    plugin = operator.plugin(row.plugin)
    provider_app: ProviderApp | None = next((app for app in apps if app.id == row.provider_app_id), None)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
        accounts = Accounts({plugin.id: plugin}, operator.vault, operator.database.clock, http,
                            operator.config.public_url)  # fmt: skip
        try:
            yield row, plugin, accounts, accounts.account(row, provider_app)
        except CredentialsUnusableError as error:
            raise PluginRefusedError(f"{error}; complete it with `waypost gateways update`.") from error
        finally:
            await accounts.close()
