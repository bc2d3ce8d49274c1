"""Gateways: the operator's accounts at providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import Connection

from waypost.clock import HOUR
from waypost.event_codec import LONGEST_ID
from waypost.host.dispatch import ChannelPlugin
from waypost.ids import new_id
from waypost.operations import credentials, references, words
from waypost.operations.credentials import Checked
from waypost.operations.errors import InvalidArgumentError, NameTakenError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.plugin.settings import NoSettings
from waypost.store import apps, gateways
from waypost.store.gateways import Gateway, ProviderApp
from waypost.vault import gateway_place

MOST_SENDERS = 1000
MOST_AT_ONCE = 10_000
LONGEST_WINDOW_HOURS = 30 * 24


def webhook_urls(operator: Operator, row: Gateway) -> list[str]:
    """The URLs that the provider may be given for this gateway's webhooks, the best first; none without a public URL.

    Where a provider knows one URL for all accounts of an app, that is the plugin's own.
    """
    if operator.config.public_url is None:
        return []
    shared = f"{operator.config.public_url}/webhooks/{row.plugin}"
    record = operator.records.get(row.plugin)
    if record is not None and record.plugin is not None and record.plugin.info.webhook_scope == "shared":
        return [shared, f"{shared}/{row.id}"]
    return [f"{shared}/{row.id}"]


def shown(operator: Operator, row: Gateway, *, provider_app: str | None, app: str | None) -> dict[str, Any]:
    """A gateway as it is shown, without its secrets; its provider app and app by name."""
    record = operator.records.get(row.plugin)
    model = record.plugin.info.account_settings if record and record.plugin else None
    return {
        "id": row.id,
        "name": row.name,
        "plugin": row.plugin,
        "channel": row.channel,
        "mode": row.mode,
        "status": row.status,
        "status_reason": row.status_reason,
        "provider_app": provider_app,
        "app": app,
        "account_ref": row.account_ref,
        "settings": credentials.shown(operator.vault, model, row.settings, row.secrets, gateway_place(row.id)),
        "senders": list(row.senders),
        "rate_per_second": row.rate_per_second,
        "concurrency": row.concurrency,
        "receipt_window_hours": row.receipt_window // HOUR,
        "webhook_urls": webhook_urls(operator, row),
        "created_at": words.shown_moment(row.created_at),
    }


@operation("gateways.create")
async def create(
    operator: Operator,
    *,
    name: str,
    plugin: str,
    settings: dict[str, Any],
    provider_app: str | None = None,
    app: str | None = None,
    senders: list[str] | None = None,
    mode: Literal["live", "test"] = "live",
    rate_per_second: int | None = None,
    concurrency: int = 32,
    receipt_window_hours: int = 72,
) -> dict[str, Any]:
    """Store an account at a provider; `app` receives its inbound messages."""
    loaded = operator.plugin(plugin)
    checked = credentials.check(loaded.info.account_settings, settings)
    gateway_id, now = new_id("gw"), operator.now()
    public, sealed = credentials.seal(operator.vault, loaded.info.account_settings, settings, gateway_place(gateway_id))
    draft = Gateway(
        id=gateway_id,
        name=words.name(name),
        plugin=plugin,
        channel=loaded.info.channel,
        provider_app_id=None,
        app_id=None,
        account_ref=_account_ref(loaded, checked),
        settings=public,
        secrets=sealed,
        senders=_senders(senders or []),
        mode=mode,
        status="active",
        status_reason="",
        rate_per_second=_rate(rate_per_second),
        concurrency=_within("concurrency", concurrency, MOST_AT_ONCE),
        receipt_window=_within("receipt_window_hours", receipt_window_hours, LONGEST_WINDOW_HOURS) * HOUR,
        created_at=now,
    )

    def work(conn: Connection) -> dict[str, Any]:
        if gateways.by_reference(conn, draft.name) is not None:
            raise NameTakenError("a gateway", draft.name)
        row = replace(
            draft,
            provider_app_id=_provider_app_id(conn, operator, loaded, provider_app),
            app_id=references.app(conn, app).id if app else None,
        )
        gateways.add(conn, row)
        detail = {"name": row.name, "plugin": plugin, "mode": mode, "fields": sorted(settings)}
        operator.record(conn, "gateways.create", row.id, detail, cached=True)
        return _shown_now(conn, operator, row)

    return await operator.change(work) | {"warnings": list(checked.warnings)}


@operation("gateways.list")
async def list_all(operator: Operator) -> list[dict[str, Any]]:
    """List the gateways, oldest first, without their secrets."""

    def work(conn: Connection) -> list[dict[str, Any]]:
        app_names = {row.id: row.name for row in apps.all_of_them(conn)}
        provider_names = {row.id: row.name for row in gateways.provider_apps(conn)}
        return [
            shown(
                operator,
                row,
                provider_app=provider_names.get(row.provider_app_id or ""),
                app=app_names.get(row.app_id or ""),
            )
            for row in gateways.all_of_them(conn)
        ]

    return await operator.read(work)


@operation("gateways.show")
async def show(operator: Operator, *, gateway: str) -> dict[str, Any]:
    """Show one gateway, without its secrets."""
    return await operator.read(lambda conn: _shown_now(conn, operator, references.gateway(conn, gateway)))


@operation("gateways.update")
async def update(
    operator: Operator,
    *,
    gateway: str,
    name: str | None = None,
    settings: dict[str, Any] | None = None,
    provider_app: str | None = None,
    app: str | None = None,
    senders: list[str] | None = None,
    rate_per_second: int | None = None,
    concurrency: int | None = None,
    receipt_window_hours: int | None = None,
) -> dict[str, Any]:
    """Change a gateway: what is not named stays; null in settings, an empty app or a rate of 0 take away."""
    warnings: list[str] = []

    def work(conn: Connection) -> dict[str, Any]:
        before = row = references.gateway(conn, gateway, locked=True)
        loaded = operator.plugin(row.plugin) if settings is not None or provider_app else None
        if name is not None and name != row.name:
            if gateways.by_reference(conn, words.name(name)) is not None:
                raise NameTakenError("a gateway", name)
            row = replace(row, name=words.name(name))
        if settings is not None and loaded is not None:
            row, checked = _with_settings(operator, loaded, row, settings)
            warnings[:] = checked.warnings
        if provider_app is not None:
            app_id = _provider_app_id(conn, operator, loaded, provider_app) if loaded else None
            row = replace(row, provider_app_id=app_id)
        if app is not None:
            row = replace(row, app_id=references.app(conn, app).id if app else None)
        if senders is not None:
            row = replace(row, senders=_senders(senders))
        if rate_per_second is not None:
            row = replace(row, rate_per_second=_rate(rate_per_second))
        if concurrency is not None:
            row = replace(row, concurrency=_within("concurrency", concurrency, MOST_AT_ONCE))
        if receipt_window_hours is not None:
            hours = _within("receipt_window_hours", receipt_window_hours, LONGEST_WINDOW_HOURS)
            row = replace(row, receipt_window=hours * HOUR)
        gateways.save(conn, row)
        operator.record(conn, "gateways.update", row.id, {"changed": _changed(before, row, settings)}, cached=True)
        return _shown_now(conn, operator, row)

    return await operator.change(work) | {"warnings": warnings}


@operation("gateways.pause")
async def pause(operator: Operator, *, gateway: str, reason: str = "paused by an operator") -> dict[str, Any]:
    """Send nothing through a gateway; its messages wait."""
    return await _set_status(operator, gateway, "paused", reason)


@operation("gateways.resume")
async def resume(operator: Operator, *, gateway: str) -> dict[str, Any]:
    """Send through a paused or disabled gateway again."""
    return await _set_status(operator, gateway, "active", "")


@operation("gateways.disable")
async def disable(operator: Operator, *, gateway: str, reason: str = "disabled by an operator") -> dict[str, Any]:
    """Take a gateway out of every route; what it has accepted is still followed."""
    return await _set_status(operator, gateway, "disabled", reason)


async def _set_status(operator: Operator, reference: str, status: str, reason: str) -> dict[str, Any]:
    def work(conn: Connection) -> dict[str, Any]:
        row = references.gateway(conn, reference)
        if gateways.set_status(conn, row.id, status, reason):
            action = {"active": "gateways.resume", "paused": "gateways.pause"}.get(status, "gateways.disable")
            operator.record(conn, action, row.id, {"reason": reason}, cached=True)
        return _shown_now(conn, operator, references.gateway(conn, row.id))

    return await operator.change(work)


# ---- parts


def _with_settings(
    operator: Operator, loaded: ChannelPlugin, row: Gateway, settings: Mapping[str, Any]
) -> tuple[Gateway, Checked]:
    model = loaded.info.account_settings
    given = credentials.updated(operator.vault, model, row.settings, row.secrets, gateway_place(row.id), settings)
    checked = credentials.check(model, given)
    public, sealed = credentials.seal(operator.vault, model, given, gateway_place(row.id))
    return replace(row, settings=public, secrets=sealed, account_ref=_account_ref(loaded, checked)), checked


def _changed(before: Gateway, after: Gateway, settings: Mapping[str, Any] | None) -> list[str]:
    fields = ("name", "provider_app_id", "app_id", "senders", "rate_per_second", "concurrency", "receipt_window")
    changed = [field for field in fields if getattr(before, field) != getattr(after, field)]
    return changed + [f"settings.{field}" for field in sorted(settings or ())]


def _shown_now(conn: Connection, operator: Operator, row: Gateway) -> dict[str, Any]:
    provider_app = references.provider_app(conn, row.provider_app_id).name if row.provider_app_id else None
    app = references.app(conn, row.app_id).name if row.app_id else None
    return shown(operator, row, provider_app=provider_app, app=app)


def _provider_app_id(conn: Connection, operator: Operator, loaded: ChannelPlugin, reference: str | None) -> str | None:
    if not reference:
        return None
    found: ProviderApp = references.provider_app(conn, reference)
    wanted = loaded.info.provider_app_settings
    if wanted is NoSettings:
        raise InvalidArgumentError("provider_app", f"{loaded.id} needs no provider app; leave it out")
    made_for = operator.plugin(found.plugin).info.provider_app_settings
    if made_for is not wanted:
        raise InvalidArgumentError("provider_app", f"{found.name} is an app for {found.plugin}, not for {loaded.id}")
    return found.id


def _account_ref(loaded: ChannelPlugin, checked: Checked) -> str | None:
    """What deliveries on a shared URL call this account; unknown while its setting refers to nothing known here."""
    field = loaded.info.account_ref_field
    value = checked.resolved.get(field) if field else None
    if not isinstance(value, str):
        return None
    # Also where a reference leads: no index takes a longer one, and PostgreSQL no NUL.
    if "\0" in value or len(value.strip().encode()) > LONGEST_ID:
        raise InvalidArgumentError(f"settings.{field}", f"write up to {LONGEST_ID} bytes of text")
    return value.strip()


def _senders(senders: Sequence[str]) -> tuple[str, ...]:
    cleaned = tuple(dict.fromkeys(sender.strip() for sender in senders))
    if len(cleaned) > MOST_SENDERS or any(not item or len(item) > 320 or not item.isprintable() for item in cleaned):
        raise InvalidArgumentError("senders", f"write up to {MOST_SENDERS} printable senders, none of them empty")
    return cleaned


def _rate(per_second: int | None) -> int | None:
    if not per_second:
        return None
    return _within("rate_per_second", per_second, 1_000_000)


def _within(argument: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise InvalidArgumentError(argument, f"write a number from 1 to {most}")
    return value
