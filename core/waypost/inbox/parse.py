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
from waypost.inbox.placement import Placed, Placement
from waypost.log import logger
from waypost.plugin.events import ChannelEvent
from waypost.plugin.types import WebhookContext
from waypost.routing import Directory
from waypost.store.deliveries import Delivery

_LOG = logger()

#: How long a plugin may take over a delivery that is parsed beside the event loop, in seconds.
PARSE_DEADLINE = 20.0
#: Why a delivery is kept as failed whose gateways are of several apps: somebody wrote to an address that none has.
ADDRESSEE_UNKNOWN = (
    "it came to an address that is no gateway's sender, or two apps'; list it as one gateway's, or disable the other"
)
#: The method under which an event is kept that a listener emitted and that could not be applied.
EMITTED = "EMITTED"


@dataclass(slots=True)
class Parsed:
    """A delivery's events, and what went wrong with it: its parser failed, or some of it is nobody's."""

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
        self.placement = Placement(plugins, directory)

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
            try:
                placed = self.placement.place(delivery, found)
                lost = sum(item.is_lost for item in placed)
                if lost:
                    _LOG.error("webhook.addressee_unknown", plugin=delivery.plugin, delivery=delivery.id, messages=lost)
                return Parsed(delivery, placed, ADDRESSEE_UNKNOWN if lost else "")
            except Exception as error:  # noqa: BLE001 - whatever a plugin puts into an event is this delivery's trouble
                found = f"{delivery.plugin}.parse_event returned what cannot be placed ({type(error).__name__})"
        _LOG.error("webhook.parse_failed", plugin=delivery.plugin, delivery=delivery.id, problem=found)
        return Parsed(delivery, (), found)


def _read(plugin: ChannelPlugin, ctx: WebhookContext, delivery: Delivery) -> list[ChannelEvent] | str:
    """The events of a delivery, or what the plugin did wrong."""
    try:
        return [storable(event) for event in plugin.parse_event(ctx, delivery.request)]
    except PluginFaultError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whoever parses what was left behind has other plugins' as well
        return f"{delivery.plugin}.parse_event returned what cannot be stored ({type(error).__name__})"
