"""What operators have decided before a measurement begins: gateways, prices, and partners with credit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection
from waypost import access, credit
from waypost.clock import HOUR
from waypost.ids import new_id
from waypost.node import Node
from waypost.plugin.settings import split_secrets
from waypost.store import apps, gateways, keys, ledger, organizations, rates
from waypost.store.apps import App
from waypost.store.gateways import Gateway
from waypost.store.keys import ApiKey
from waypost.store.organizations import Organization
from waypost.store.rates import Rate, Route
from waypost.vault import gateway_place

#: What a unit costs, and what an organization has, in micros.
PRICE, CREDIT = 50_000, 10**14


def open_gateway(
    conn: Connection, node: Node, name: str, plugin: str, settings: Mapping[str, Any], sender: str, **columns: Any
) -> Gateway:
    """A gateway with these settings; `columns` override those of its row."""
    info = node.plugins[plugin].info
    public, secret = split_secrets(info.account_settings, settings)
    gateway_id = new_id("gw")
    row: dict[str, Any] = {
        "id": gateway_id, "name": name, "plugin": plugin, "channel": info.channel, "provider_app_id": None,
        "app_id": None, "account_ref": None, "settings": orjson.dumps(public).decode(),
        "secrets": node.vault.seal(orjson.dumps(secret).decode(), gateway_place(gateway_id)), "senders": (sender,),
        "mode": "live", "status": "active", "status_reason": "", "rate_per_second": None, "concurrency": 64,
        "receipt_window": 72 * HOUR, "created_at": node.clock.now(),
    }  # fmt: skip
    gateway = Gateway(**row | columns)
    gateways.add(conn, gateway)
    return gateway


def add_rate(conn: Connection, gateway: Gateway, sku: str, prefix: str = "") -> None:
    """A unit costs `PRICE`."""
    rates.add_rate(
        conn,
        Rate(
            id=new_id("rate"), gateway_id=gateway.id, currency="SGD", prefix=prefix, sku=sku, price=PRICE, cost=None,
            cost_currency=None, valid_from=0, created_at=gateway.created_at,
        ),
    )  # fmt: skip


def sign_up(conn: Connection, name: str, gateway: Gateway) -> tuple[App, str]:
    """An organization with credit, and an app that sends through the gateway; returns the app and its key."""
    now = gateway.created_at
    org = Organization(new_id("org"), name, "SGD", "active", now)
    app = App(new_id("app"), org.id, "main", "active", "hold", now)
    key = access.make_key("live")
    organizations.add(conn, org, 0)
    apps.add(conn, app)
    keys.add(conn, ApiKey(new_id("key"), app.id, key.digest, key.shown, "live", now, None, None))
    route = Route(
        id=new_id("rt"), app_id=app.id, channel=gateway.channel, prefix="", gateway_ids=(gateway.id,), sender=None,
        created_at=now,
    )  # fmt: skip
    rates.put_route(conn, route)
    ledger.post(conn, [credit.move("top_up", org.id, CREDIT, now)], ledger.lock_balances(conn, [org.id]))
    return app, key.secret
