"""Ways: an app's routes with their gateways opened, worked out once for each state of the directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.host.accounts import Accounts, CredentialsUnusableError, OpenAccount
from waypost.host.dispatch import ChannelPlugin
from waypost.log import logger
from waypost.plugin.types import Context
from waypost.rates import Tariff
from waypost.refusals import ChannelConfigNotFound, ChannelCredentialsNotFound, Unavailable, ValidationFailed
from waypost.routing import Directory
from waypost.senders import Senders
from waypost.store.gateways import Gateway
from waypost.store.rates import Route

_LOG = logger()

#: A plugin with this feature gets the recipient's last inbound message in its context.
WINDOW_FEATURE = "service_window"
#: More than any deployment has at work at one time; beyond it, the oldest are worked out again.
REMEMBERED = 10_000


@dataclass(slots=True)
class Way:
    """One gateway of a route, ready to price."""

    opened: OpenAccount
    #: None where the gateway has no rate card.
    tariff: Tariff | None
    sender: str | None
    windowed: bool
    #: The context for pricing that was made last, and when.
    ctx: Context | None = None
    ctx_at: int = 0


@dataclass(slots=True)
class RouteWays:
    """A route's prefix and its ways in order. Empty where no gateway serves the caller's mode.

    `away` says that it has gateways, whose plugins are not at work on this node; `sealed` that it has gateways here,
    but no secret that could be used. Both are told to those who take this route only.
    """

    prefix: str
    ways: tuple[Way, ...]
    away: bool = False
    sealed: bool = False


@dataclass(slots=True)
class ChannelWays:
    """All an app's routes on one channel, longest prefix first, and the plugin that reads its addresses."""

    parser: ChannelPlugin
    routes: tuple[RouteWays, ...]

    @property
    def windowed(self) -> bool:
        """Whether any gateway's plugin asks when a recipient last wrote."""
        return any(way.windowed for route in self.routes for way in route.ways)

    def to(self, destination: str) -> tuple[Way, ...]:
        """The ways to a destination. Raises the `Refusal` that says why there are none."""
        for route in self.routes:
            if destination.startswith(route.prefix):
                if route.away:
                    raise _not_served()
                if route.sealed:
                    raise ChannelCredentialsNotFound
                if not route.ways:
                    break
                return route.ways
        raise ChannelConfigNotFound


class Ways:
    """Finds the ways of apps, and remembers them while the directory stays the same."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._known: dict[tuple[str, str, str], ChannelWays] = {}
        self._directory: Directory | None = None
        self._senders = Senders(Directory(), accounts.plugin)

    def is_anothers(self, way: Way, app_id: str, sender: str) -> bool:
        """Whether a sender that an app names belongs to other apps, with whom it shares this way's account.

        What the operator's route says is the app's too.
        """
        return sender != way.sender and self._senders.is_anothers(way.opened.gateway, app_id, sender)

    def of(self, app_id: str, channel: str, mode: str, directory: Directory) -> ChannelWays:
        """The app's ways on a channel. Raises the `Refusal` that says why there are none."""
        if directory is not self._directory:
            self._known.clear()
            self._directory = directory
            self._senders = Senders(directory, self._accounts.plugin)
        key = (app_id, channel, mode)
        known = self._known.get(key)
        if known is None:
            known = self._find(app_id, channel, mode, directory)
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[key] = known
        return known

    def _find(self, app_id: str, channel: str, mode: str, directory: Directory) -> ChannelWays:
        routed = [
            (route, directory.route_gateways(route, mode)) for route in directory.routes.get((app_id, channel), ())
        ]
        plugins = [self._accounts.plugin(gateway) for _, gateways in routed for gateway in gateways]
        parser = next((plugin for plugin in plugins if plugin is not None), None)
        if parser is None:
            if plugins:
                raise _not_served()
            served = self._accounts.channels
            if channel not in served:
                raise ValidationFailed(f"channel: this deployment serves {', '.join(sorted(served)) or 'none'}")
            raise ChannelConfigNotFound
        return ChannelWays(parser, tuple(self._route_ways(route, gateways, directory) for route, gateways in routed))

    def _route_ways(self, route: Route, gateways: Sequence[Gateway], directory: Directory) -> RouteWays:
        ways: list[Way] = []
        sealed = False
        here = [gateway for gateway in gateways if self._accounts.plugin(gateway) is not None]
        for gateway in here:
            app = directory.provider_apps.get(gateway.provider_app_id or "")
            try:
                opened = self._accounts.account(gateway, app)
            except CredentialsUnusableError as error:
                _LOG.error("gateway.credentials_unusable", gateway=gateway.id, problem=error.problem)
                sealed = True
                continue
            sender = route.sender or (gateway.senders[0] if gateway.senders else None)
            windowed = WINDOW_FEATURE in opened.plugin.info.features
            card = directory.cards.get(gateway.id)
            ways.append(Way(opened, Tariff(card) if card is not None else None, sender, windowed))
        return RouteWays(route.prefix, tuple(ways), away=bool(gateways) and not here, sealed=sealed and not ways)


def _not_served() -> Unavailable:
    return Unavailable("The channel is not served just now; try again later.", retry_after=30)
