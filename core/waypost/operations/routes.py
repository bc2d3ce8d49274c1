"""Routes: which gateways an app's messages on a channel go through, by destination."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from waypost.ids import new_id
from waypost.operations import references, words
from waypost.operations.errors import InvalidArgumentError, NotFoundError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import apps, gateways, rates
from waypost.store.gateways import Gateway
from waypost.store.rates import Route

MOST_GATEWAYS = 10


def shown(row: Route, app: str, gateway_names: list[str]) -> dict[str, Any]:
    """A route as it is shown, its gateways by name and in order."""
    return {
        "id": row.id,
        "app": app,
        "app_id": row.app_id,
        "channel": row.channel,
        "prefix": row.prefix,
        "gateways": gateway_names,
        "gateway_ids": list(row.gateway_ids),
        "sender": row.sender,
        "created_at": words.shown_moment(row.created_at),
    }


@operation("routes.set")
async def set_route(
    operator: Operator, *, app: str, gateways: list[str], channel: str | None = None, prefix: str = "",
    sender: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Route an app's messages on a channel, to a destination prefix or to all, through these gateways in this order."""
    if not 1 <= len(gateways) <= MOST_GATEWAYS:
        raise InvalidArgumentError("gateways", f"name 1 to {MOST_GATEWAYS} gateways, the first choice first")
    if sender is not None and (not sender.strip() or len(sender) > 320 or not sender.isprintable()):
        raise InvalidArgumentError("sender", "write a printable sender, or leave it out")
    route_id, digits, now = new_id("rt"), words.prefix(prefix), operator.now()

    def work(conn: Connection) -> dict[str, Any]:
        owner = references.app(conn, app)
        found = [references.gateway(conn, reference) for reference in gateways]
        row = Route(
            id=route_id,
            app_id=owner.id,
            channel=_channel(channel, found),
            prefix=digits,
            gateway_ids=tuple(gateway.id for gateway in found),
            sender=sender.strip() if sender else None,
            created_at=now,
        )
        if len(set(row.gateway_ids)) != len(row.gateway_ids):
            raise InvalidArgumentError("gateways", "name each gateway once")
        rates.put_route(conn, row)
        names = [gateway.name for gateway in found]
        detail = {"channel": row.channel, "prefix": digits, "gateways": names, "sender": row.sender}
        operator.record(conn, "routes.set", owner.id, detail, cached=True)
        idle = [gateway.name for gateway in found if gateway.status == "disabled"]
        warnings = [f"{name} is disabled and takes nothing until `waypost gateways resume {name}`." for name in idle]
        return shown(row, owner.name, names) | {"warnings": warnings}

    return await operator.change(work)


@operation("routes.list")
async def list_all(operator: Operator, *, app: str | None = None) -> list[dict[str, Any]]:
    """List the routes, of all apps or of one, oldest first."""

    def work(conn: Connection) -> list[dict[str, Any]]:
        only = references.app(conn, app).id if app is not None else None
        app_names = {row.id: row.name for row in apps.all_of_them(conn)}
        names = {row.id: row.name for row in gateways.all_of_them(conn)}
        return [
            shown(row, app_names[row.app_id], [names.get(gateway_id, gateway_id) for gateway_id in row.gateway_ids])
            for row in rates.all_routes(conn)
            if only in (None, row.app_id)
        ]

    return await operator.read(work)


@operation("routes.remove")
async def remove(operator: Operator, *, app: str, channel: str, prefix: str = "") -> dict[str, Any]:
    """Take an app's route away."""
    digits = words.prefix(prefix)

    def work(conn: Connection) -> dict[str, Any]:
        owner = references.app(conn, app)
        if not rates.delete_route(conn, owner.id, channel.upper(), digits):
            raise NotFoundError("route", f"{owner.name} {channel} {digits}".strip(), "routes")
        operator.record(conn, "routes.remove", owner.id, {"channel": channel.upper(), "prefix": digits}, cached=True)
        return {"app": owner.name, "channel": channel.upper(), "prefix": digits, "removed": True}

    return await operator.change(work)


def _channel(wanted: str | None, found: list[Gateway]) -> str:
    """The channel that all these gateways serve."""
    channel = (wanted or found[0].channel).upper()
    for gateway in found:
        if gateway.channel != channel:
            raise InvalidArgumentError("gateways", f"{gateway.name} serves {gateway.channel}, not {channel}")
    return channel
