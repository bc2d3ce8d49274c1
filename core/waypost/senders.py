"""Senders: what gateways send from, and whose they are where several apps share an account at a provider."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parseaddr

from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.plugin.errors import ChannelError
from waypost.routing import Directory
from waypost.store.gateways import Gateway

#: More answers than any deployment asks for at one time; beyond it, they are worked out anew.
REMEMBERED = 10_000


def forms(plugin: ChannelPlugin, sender: str) -> frozenset[str]:
    """How one sender may be written, in small letters: as it is, and in normal form.

    People write capitals as they like, and spaces around it; no provider tells them apart.
    """
    sender = sender.strip()
    bare = parseaddr(sender)[1] if sender.endswith(">") else sender  # a mailbox may have a name before it
    try:
        normal = plugin.parse_address(bare).value
    except (ChannelError, PluginFaultError):
        normal = sender  # a short code or a name: no address that one could write to
    return frozenset((sender.lower(), normal.lower()))


class Senders:
    """Who may send from what, for one state of the directory."""

    def __init__(self, directory: Directory, plugin_of: Callable[[Gateway], ChannelPlugin | None]) -> None:
        self._directory = directory
        self._plugin_of = plugin_of
        #: By plugin and account: a sender's form → the gateways that list it.
        self._listed: dict[tuple[str, str | None], dict[str, list[Gateway]]] = {}
        self._known: dict[tuple[str, str, str], bool] = {}

    def is_anothers(self, gateway: Gateway, app_id: str, sender: str) -> bool:
        """Whether a sender that an app names is one that only other apps' gateways of the same account list."""
        key = (gateway.id, app_id, sender)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = self._judge(gateway, app_id, sender)
        return known

    def _judge(self, gateway: Gateway, app_id: str, sender: str) -> bool:
        plugin = self._plugin_of(gateway)
        if plugin is None:
            return False
        listed = self._of_account(gateway.plugin, gateway.account_ref)
        listing = [other for form in forms(plugin, sender) for other in listed.get(form, ())]
        return bool(listing) and not any(
            other.id == gateway.id or other.app_id is None or other.app_id == app_id for other in listing
        )

    def _of_account(self, plugin_id: str, account_ref: str | None) -> dict[str, list[Gateway]]:
        found = self._listed.get((plugin_id, account_ref))
        if found is None:
            found = self._listed[plugin_id, account_ref] = {}
            for gateway in self._directory.of_plugin(plugin_id):
                plugin = self._plugin_of(gateway)
                if plugin is None or gateway.account_ref != account_ref or gateway.status == "disabled":
                    continue
                for sender in gateway.senders:
                    for form in forms(plugin, sender):
                        found.setdefault(form, []).append(gateway)
        return found
