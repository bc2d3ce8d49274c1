"""Routing: an app's channel, to the longest destination prefix → gateways in order, and a sender."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from waypost.clock import HOUR
from waypost.plugin.types import Address
from waypost.rates import RateCard
from waypost.store import apps, gateways, rates
from waypost.store.apps import App
from waypost.store.gateways import Gateway, ProviderApp
from waypost.store.rates import Route

#: For a gateway that nobody knows.
RECEIPT_WINDOW = 72 * HOUR


def destination_of(address: Address) -> str:
    """What prefixes of routes and rates are compared with: digits without `+`, or a domain, in small letters."""
    if address.kind == "e164":
        return address.value.lstrip("+")
    return address.value.rpartition("@")[2].lower()


@dataclass(frozen=True, slots=True)
class Directory:
    """What operators decided, as of one revision: gateways, provider apps, routes and rate cards. Never changed."""

    revision: int = -1
    gateways: Mapping[str, Gateway] = field(default_factory=dict)
    provider_apps: Mapping[str, ProviderApp] = field(default_factory=dict)
    routes: Mapping[tuple[str, str], tuple[Route, ...]] = field(default_factory=dict)
    cards: Mapping[str, RateCard] = field(default_factory=dict)
    #: Of the rates that are on the cards.
    rates_mark: tuple[int, str] = (0, "")
    apps: Mapping[str, App] = field(default_factory=dict)
    #: The same gateways by plugin and account reference, and by plugin (under None).
    by_account: Mapping[tuple[str, str | None], tuple[Gateway, ...]] = field(default_factory=dict)

    def route(self, app_id: str, channel: str, destination: str) -> Route | None:
        """The app's route to this destination: the one with the longest matching prefix."""
        for route in self.routes.get((app_id, channel), ()):
            if destination.startswith(route.prefix):
                return route
        return None

    def route_gateways(self, route: Route, mode: str) -> list[Gateway]:
        """A route's gateways in order: those of the key's mode that are not disabled."""
        found = (self.gateways.get(gateway_id) for gateway_id in route.gateway_ids)
        return [gateway for gateway in found if gateway and gateway.mode == mode and gateway.status != "disabled"]

    def disabled(self, gateway_ids: Iterable[str]) -> frozenset[int]:
        """The places of those gateways that are disabled, or not there."""
        found = enumerate(map(self.gateways.get, gateway_ids))
        return frozenset(place for place, gateway in found if gateway is None or gateway.status == "disabled")

    def receipt_window(self, gateway_id: str) -> int:
        """How long a gateway's receipts are waited for, in microseconds."""
        gateway = self.gateways.get(gateway_id)
        return gateway.receipt_window if gateway else RECEIPT_WINDOW

    def on_unknown(self, app_id: str) -> str:
        """What an app wishes where it is not known whether its message was sent: hold, resend or fallback."""
        app = self.apps.get(app_id)
        return app.on_unknown if app else "hold"

    def by_account_ref(self, plugin: str, account_ref: str) -> tuple[Gateway, ...]:
        """The gateways of a plugin that an account reference may mean."""
        return self.by_account.get((plugin, account_ref), ())

    def of_plugin(self, plugin: str) -> tuple[Gateway, ...]:
        """Every gateway of a plugin."""
        return self.by_account.get((plugin, None), ())


def load_directory(conn: Connection, known: Directory) -> Directory:
    """Read what operators decided, but for the rates that are known: a hundred thousand of them take a second."""
    revision, mark = rates.current_revision(conn), rates.mark(conn)
    found = gateways.all_of_them(conn)
    return Directory(
        revision=revision,
        gateways={gateway.id: gateway for gateway in found},
        provider_apps={row.id: row for row in gateways.provider_apps(conn)},
        routes=_by_app_and_channel(rates.all_routes(conn)),
        cards=known.cards if mark == known.rates_mark else _cards(conn),
        rates_mark=mark,
        apps={app.id: app for app in apps.all_of_them(conn)},
        by_account=_by_account(found),
    )


def _cards(conn: Connection) -> dict[str, RateCard]:
    cards: dict[str, RateCard] = {}
    for rate in rates.all_rates(conn):
        cards.setdefault(rate.gateway_id, RateCard()).add(rate)
    return cards


def _by_account(found: Iterable[Gateway]) -> dict[tuple[str, str | None], tuple[Gateway, ...]]:
    grouped: dict[tuple[str, str | None], list[Gateway]] = {}
    for gateway in found:
        grouped.setdefault((gateway.plugin, None), []).append(gateway)
        if gateway.account_ref is not None:
            grouped.setdefault((gateway.plugin, gateway.account_ref), []).append(gateway)
    return {key: tuple(together) for key, together in grouped.items()}


def _by_app_and_channel(routes: Iterable[Route]) -> dict[tuple[str, str], tuple[Route, ...]]:
    grouped: dict[tuple[str, str], list[Route]] = {}
    for route in routes:
        grouped.setdefault((route.app_id, route.channel), []).append(route)
    return {
        key: tuple(sorted(found, key=lambda route: len(route.prefix), reverse=True)) for key, found in grouped.items()
    }
