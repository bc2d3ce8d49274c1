"""Parsing: from a stored delivery to events, and to the gateways that each of them may be about.

A plugin's `parse_event` is pure, so that a delivery can be parsed again after a plugin fix.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from waypost.event_codec import storable
from waypost.host.accounts import Accounts, CredentialsUnusableError
from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.log import logger
from waypost.plugin.events import ChannelEvent
from waypost.plugin.types import WebhookContext
from waypost.routing import Directory
from waypost.store.deliveries import Delivery
from waypost.store.gateways import Gateway

_LOG = logger()

#: How long a plugin may take over a delivery that is parsed beside the event loop, in seconds.
PARSE_DEADLINE = 20.0
#: The method under which an event is kept that a listener emitted and that could not be applied.
EMITTED = "EMITTED"


# Not frozen: a frozen dataclass costs three times as much to make.
@dataclass(slots=True)
class Placed:
    """An event with the gateways that its sender has proved to speak for; none where no gateway is known."""

    event: ChannelEvent
    gateways: tuple[Gateway, ...]


@dataclass(slots=True)
class Parsed:
    """A delivery's events, or why its parser failed."""

    delivery: Delivery
    events: tuple[Placed, ...]
    problem: str = ""


class Parser:
    """Parses deliveries and finds out which gateway each event belongs to."""

    def __init__(
        self, accounts: Accounts, plugins: Mapping[str, ChannelPlugin], directory: Callable[[], Directory]
    ) -> None:
        self._accounts = accounts
        self._plugins = plugins
        self._directory = directory

    def parse(self, delivery: Delivery) -> Parsed:
        """Parse one delivery; a plugin's fault becomes its `problem`."""
        asked = self._asked(delivery)
        return asked if isinstance(asked, Parsed) else self._placed(delivery, _read(*asked, delivery))

    async def parse_beside(self, delivery: Delivery) -> Parsed:
        """Parse one delivery in a thread, so that the event loop goes on meanwhile."""
        asked = self._asked(delivery)
        if isinstance(asked, Parsed):
            return asked
        try:
            found = await asyncio.wait_for(asyncio.to_thread(_read, *asked, delivery), PARSE_DEADLINE)
        except TimeoutError:
            # Nobody can stop the thread; but what waits behind this delivery must not wait for it.
            found = f"{delivery.plugin}.parse_event took longer than {PARSE_DEADLINE:g} s"
        return self._placed(delivery, found)

    def _asked(self, delivery: Delivery) -> tuple[ChannelPlugin, WebhookContext] | Parsed:
        """Whom to ask, and with which context; or why nobody can be asked."""
        plugin = self._plugins.get(delivery.plugin)
        if delivery.request.method == EMITTED:
            return Parsed(delivery, (), "a listener emitted it as it is; there is nothing to parse again")
        if plugin is None:
            return Parsed(delivery, (), f"plugin {delivery.plugin} is not loaded")
        directory = self._directory()
        gateway = directory.gateways.get(delivery.gateway_id or "")
        app = directory.provider_apps.get(delivery.provider_app_id or "")
        try:
            account = self._accounts.account(gateway, app) if gateway else None
            app_settings = account.provider_app if account else self._accounts.provider_app_settings(plugin, app)
        except CredentialsUnusableError as error:
            return self._placed(delivery, str(error))
        return plugin, self._accounts.webhook_context(gateway, account.account if account else None, app_settings)

    def _placed(self, delivery: Delivery, found: Sequence[ChannelEvent] | str) -> Parsed:
        if not isinstance(found, str):
            directory = self._directory()
            try:
                placed = tuple(Placed(event, self._gateways(directory, delivery, event)) for event in found)
                return Parsed(delivery, placed)
            except Exception as error:  # noqa: BLE001 - whatever a plugin puts into an event is this delivery's trouble
                found = f"{delivery.plugin}.parse_event returned what cannot be placed ({type(error).__name__})"
        _LOG.error("webhook.parse_failed", plugin=delivery.plugin, delivery=delivery.id, problem=found)
        return Parsed(delivery, (), found)

    def siblings(self, gateway_id: str) -> tuple[str, ...]:
        """The gateways that a receipt parked under this one may be about as well."""
        directory = self._directory()
        gateway = directory.gateways.get(gateway_id)
        return tuple(other.id for other in _siblings(directory, gateway)) if gateway else ()

    def _gateways(self, directory: Directory, delivery: Delivery, event: ChannelEvent) -> tuple[Gateway, ...]:
        """The gateways an event may be about: only those whose secret the delivery was verified with."""
        named = directory.gateways.get(delivery.gateway_id or "")
        if named is not None and self._is_for_another(named, event):
            named = None  # one signed POST may carry several accounts' events, whichever URL it was sent to
        if named is not None:
            return spoken_for(directory, named)
        if event.account_ref is None:
            return ()
        return tuple(
            gateway
            for gateway in directory.by_account_ref(delivery.plugin, event.account_ref)
            if gateway.provider_app_id == delivery.provider_app_id
        )

    def _is_for_another(self, named: Gateway, event: ChannelEvent) -> bool:
        plugin = self._plugins[named.plugin]
        shared = plugin.info.webhook_scope == "shared" and named.account_ref is not None
        return shared and event.account_ref is not None and event.account_ref != named.account_ref


def _read(plugin: ChannelPlugin, ctx: WebhookContext, delivery: Delivery) -> list[ChannelEvent] | str:
    """The events of a delivery, or what the plugin did wrong."""
    try:
        return [storable(event) for event in plugin.parse_event(ctx, delivery.request)]
    except PluginFaultError as error:
        return str(error)


def spoken_for(directory: Directory, named: Gateway) -> tuple[Gateway, ...]:
    """The gateways that a proof for this one speaks for: itself, then those of the same account and owner."""
    return (named, *_siblings(directory, named))


def _siblings(directory: Directory, gateway: Gateway) -> tuple[Gateway, ...]:
    """The other gateways that proof for this one is proof for."""
    if not gateway.account_ref:
        return ()
    found = directory.by_account_ref(gateway.plugin, gateway.account_ref)
    return tuple(other for other in found if other.id != gateway.id and _same_secret(other, gateway))


def _same_secret(one: Gateway, other: Gateway) -> bool:
    """Whether two gateways have the same account and owner, so that proof for one is proof for the other."""
    return one.app_id == other.app_id and one.provider_app_id == other.provider_app_id
