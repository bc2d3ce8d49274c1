"""Placement: which gateways an event may be about, and to which of them it was said.

Only gateways that a delivery has proved to speak for come into question. Several may share an account at their
provider; then what somebody said belongs to the one whose sender it was said to, and where nobody can tell whose it is
it is nobody's: two apps that share an account never read each other's messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from waypost.host.dispatch import ChannelPlugin
from waypost.plugin.events import AddressChange, ChannelEvent, ConsentChange, Engagement, InboundMessage
from waypost.plugin.types import ChannelInfo
from waypost.routing import Directory
from waypost.senders import forms
from waypost.store.deliveries import Delivery
from waypost.store.gateways import Gateway

#: What a person said or did, which is nobody else's business than the gateway's they said it to.
PERSONAL = (InboundMessage, Engagement, ConsentChange, AddressChange)


# Not frozen: a frozen dataclass costs three times as much to make.
@dataclass(slots=True)
class Placed:
    """An event with the gateways that its sender has proved to speak for; none where no gateway is known.

    `told` are those of them that it was said to, the first of which keeps it. `hidden` says that whoever said it is
    known by no address of the kind that one would write to first. `heard_at` is when we heard of it; None: just now.
    """

    event: ChannelEvent
    gateways: tuple[Gateway, ...]
    told: tuple[Gateway, ...]
    hidden: bool = False
    heard_at: int | None = None

    @property
    def is_lost(self) -> bool:
        """Whether somebody said something to one of several gateways, and nobody can tell to which.

        What was said of a message is its gateway's, or of nothing that was sent here.
        """
        event = self.event
        names_message = isinstance(event, Engagement | ConsentChange) and (event.provider_id or event.correlation)
        return bool(self.gateways) and not self.told and not names_message


class Placement:
    """Finds the gateways of a delivery's events."""

    def __init__(self, plugins: Mapping[str, ChannelPlugin], directory: Callable[[], Directory]) -> None:
        self._plugins = plugins
        self._directory = directory

    def place(self, delivery: Delivery, events: Sequence[ChannelEvent]) -> tuple[Placed, ...]:
        """Each event with its gateways: only those whose secret the delivery was verified with."""
        directory = self._directory()
        placed = tuple(self._placed(directory, delivery, event) for event in events)
        for item in placed:
            item.heard_at = delivery.received_at
        return placed

    def _placed(self, directory: Directory, delivery: Delivery, event: ChannelEvent) -> Placed:
        hidden = is_hidden(self._plugins[delivery.plugin].info, event)
        named = directory.gateways.get(delivery.gateway_id or "")
        if named is not None and self._is_for_another(named, event):
            named = None  # one signed POST may carry several accounts' events, whichever URL it was sent to
        gateways = spoken_for(directory, named) if named else ()
        if named is None or self._is_shared(named):
            gateways += _of_account(directory, delivery, event)
        verified = filter(None, (directory.gateways.get(other) for other in delivery.also))
        gateways += tuple(other for other in verified if not self._is_for_another(other, event))
        if len(gateways) > 1:
            gateways = tuple(dict.fromkeys(gateways))
        if not gateways or not isinstance(event, PERSONAL):
            return Placed(event, gateways, gateways[:1])
        account_ref = gateways[0].account_ref
        rivals = directory.by_account_ref(delivery.plugin, account_ref) if account_ref else gateways
        if len(gateways) < 2 and len(rivals) < 2:
            return Placed(event, gateways, gateways, hidden)
        return Placed(event, gateways, self._told(delivery, event, gateways, rivals), hidden)

    def _is_for_another(self, named: Gateway, event: ChannelEvent) -> bool:
        shared = self._is_shared(named) and named.account_ref is not None
        return shared and event.account_ref is not None and event.account_ref != named.account_ref

    def _is_shared(self, gateway: Gateway) -> bool:
        return self._plugins[gateway.plugin].info.webhook_scope == "shared"

    def _told(
        self, delivery: Delivery, event: ChannelEvent, gateways: tuple[Gateway, ...], rivals: Sequence[Gateway]
    ) -> tuple[Gateway, ...]:
        """Those of the gateways that an event was said to; none where that may be another app's.

        `rivals` are all that have the same account, whatever their secret.
        """
        named, used, everybody = gateways[0], _in_use(gateways), _in_use((*gateways, *rivals))
        if not _are_one_apps((*used, *everybody)):
            used = [gateway for gateway in used if gateway in everybody]  # a number may have gone to the other app
        # A shared URL's account is the number or the page itself, and all of its gateways have it.
        shared = self._is_shared(named)
        listing = used if shared else [gateway for gateway in used if self._lists(gateway, event)]
        if listing:
            if _are_one_apps(listing):
                return tuple(listing)
            return (named,) if named in listing and _came_to(named, delivery) else ()
        if shared or any(self._lists(gateway, event) for gateway in everybody):
            return ()
        # The URL it came to says enough; and of one app's gateways one is as good as another.
        if _came_to(named, delivery):
            return (named,)
        return tuple(used[:1]) if _are_one_apps(everybody) else ()

    def _lists(self, gateway: Gateway, event: ChannelEvent) -> bool:
        """Whether an event was said to one of a gateway's senders, however either is written."""
        if not isinstance(event, InboundMessage | Engagement | ConsentChange) or event.recipient is None:
            return False
        said_to, plugin = event.recipient.value.lower(), self._plugins[gateway.plugin]
        return any(said_to in forms(plugin, sender) for sender in gateway.senders)


def is_hidden(info: ChannelInfo, event: ChannelEvent) -> bool:
    """Whether somebody is known only by an address of another kind than one would write to, such as a user id."""
    if len(info.address_kinds) < 2 or not isinstance(event, InboundMessage | Engagement) or not event.sender:
        return False
    return all(address.kind != info.address_kinds[0] for address in event.sender)


def spoken_for(directory: Directory, named: Gateway) -> tuple[Gateway, ...]:
    """The gateways that a proof for this one speaks for: itself, then those of the same account and owner."""
    return (named, *_siblings(directory, named))


def _of_account(directory: Directory, delivery: Delivery, event: ChannelEvent) -> tuple[Gateway, ...]:
    if event.account_ref is None:
        return ()
    return tuple(
        gateway
        for gateway in directory.by_account_ref(delivery.plugin, event.account_ref)
        if _is_proved_for(gateway, delivery)
    )


def _is_proved_for(gateway: Gateway, delivery: Delivery) -> bool:
    """Whether a gateway's secret is the delivery's: of its provider app, or else its own."""
    if delivery.provider_app_id is None:
        return gateway.id in (delivery.gateway_id, *delivery.also)
    return gateway.provider_app_id == delivery.provider_app_id


def _siblings(directory: Directory, gateway: Gateway) -> tuple[Gateway, ...]:
    """The other gateways that proof for this one is proof for."""
    if not gateway.account_ref:
        return ()
    found = directory.by_account_ref(gateway.plugin, gateway.account_ref)
    return tuple(other for other in found if other.id != gateway.id and _same_secret(other, gateway))


def _same_secret(one: Gateway, other: Gateway) -> bool:
    """Whether two gateways have the same account and owner, so that proof for one is proof for the other."""
    return one.app_id == other.app_id and one.provider_app_id == other.provider_app_id


def _in_use(gateways: Sequence[Gateway]) -> list[Gateway]:
    """Without those that were disabled, as when a number has gone to another app's gateway; all if all of them were."""
    everybody = list(dict.fromkeys(gateways))
    return [gateway for gateway in everybody if gateway.status != "disabled"] or everybody


def _are_one_apps(gateways: Sequence[Gateway]) -> bool:
    return len({gateway.app_id for gateway in gateways}) == 1


def _came_to(gateway: Gateway, delivery: Delivery) -> bool:
    """Whether a delivery came to a gateway's own URL, and not to one that several share."""
    return urlsplit(delivery.request.url).path.rstrip("/").endswith(f"/{gateway.id}")
