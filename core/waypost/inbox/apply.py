"""Applying: from stored deliveries to receipts, inbound messages and everything else a provider says.

A delivery is parsed by its plugin's pure hook, so that it can be parsed again after a plugin fix. One event that makes
no sense never takes its neighbours down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
from sqlalchemy import Connection

from waypost import receipts
from waypost.clock import Clock, from_datetime
from waypost.event_codec import dump, dump_json, storable
from waypost.host.accounts import Accounts, CredentialsUnusableError
from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.ids import new_id
from waypost.log import logger
from waypost.plugin.events import (
    AccountUpdate,
    AddressChange,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    PriceUpdate,
)
from waypost.plugin.types import WebhookContext
from waypost.progress import Change, Rules, report
from waypost.receipts import PlacedUpdate
from waypost.routing import Directory
from waypost.store import deliveries, events, inbound
from waypost.store.deliveries import Delivery
from waypost.store.gateways import Gateway
from waypost.store.inbound import Inbound

_LOG = logger()

#: How long a plugin may take over a delivery that is parsed beside the event loop, in seconds.
PARSE_DEADLINE = 20.0
#: Marks a message that was taken back before it came.
_TAKEN_BACK = "taken-back"
#: The method under which an event is kept that a listener emitted and that could not be applied.
EMITTED = "EMITTED"


@dataclass(frozen=True, slots=True)
class Placed:
    """An event with the gateways that its sender has proved to speak for; none where no gateway is known."""

    event: ChannelEvent
    gateways: tuple[Gateway, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A delivery's events, or why its parser failed."""

    delivery: Delivery
    events: tuple[Placed, ...]
    problem: str = ""


@dataclass(slots=True)
class Applied:
    """What a batch of deliveries changed."""

    changes: list[Change] = field(default_factory=list)
    inbound: list[Inbound] = field(default_factory=list)


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
        if isinstance(found, str):
            _LOG.error("webhook.parse_failed", plugin=delivery.plugin, delivery=delivery.id, problem=found)
            return Parsed(delivery, (), found)
        directory = self._directory()
        return Parsed(delivery, tuple(Placed(event, self._gateways(directory, delivery, event)) for event in found))

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


def apply(conn: Connection, parsed: Sequence[Parsed], rules: Rules, clock: Clock) -> Applied:
    """Apply deliveries in one transaction and mark them applied."""
    applied = apply_events(conn, [item for delivery in parsed for item in delivery.events], rules, clock)
    deliveries.set_applied(conn, [item.delivery.id for item in parsed if not item.problem])
    for item in parsed:
        if item.problem:
            deliveries.set_failed(conn, item.delivery.id, item.problem)
    return applied


def apply_events(conn: Connection, placed: Sequence[Placed], rules: Rules, clock: Clock) -> Applied:
    """Let everything follow from these events; what is known already changes nothing."""
    now = clock.now()
    updates = [
        PlacedUpdate(item.event, tuple(gateway.id for gateway in item.gateways))
        for item in placed
        if isinstance(item.event, DeliveryUpdate) and item.gateways
    ]
    known = events.refs(
        conn,
        {
            (gateway.id, item.event.provider_id)
            for item in placed
            if isinstance(item.event, DeliveryUpdate | Engagement | PriceUpdate) and item.event.provider_id
            for gateway in item.gateways
        },
    )
    applied = Applied()
    if updates:
        applied.changes = report(conn, receipts.reports(conn, updates, known, now), rules, now)
    others = [item for item in placed if not (isinstance(item.event, DeliveryUpdate) and item.gateways)]
    _keep(conn, others, known, now)
    _consents(conn, placed, now)
    applied.inbound = _inbound(conn, placed, now)
    return applied


def _inbound(conn: Connection, placed: Sequence[Placed], now: int) -> list[Inbound]:
    rows: list[Inbound] = []
    changes: list[tuple[str, InboundMessage]] = []
    for item in placed:
        event = item.event
        if not item.gateways:
            continue
        gateway = item.gateways[0]
        at = from_datetime(event.occurred_at) if event.occurred_at else now
        if isinstance(event, Engagement) and event.action in ("postback", "referral"):
            inbound.note_inbound(conn, gateway.id, [address.value for address in event.sender], at)
        if not isinstance(event, InboundMessage):
            continue
        if event.change == "new":
            rows.append(_inbound_row(event, gateway, now))
        else:
            changes.append((gateway.id, event))
        if event.change != "unsend":
            inbound.note_inbound(conn, gateway.id, [address.value for address in event.sender], at)
    new = inbound.add_new(conn, _without_taken_back(conn, rows)) if rows else []
    # Only now: what is changed may have come in this very batch.
    for gateway_id, event in changes:
        edited = event.content if event.change == "edit" else None
        content = dump_json(edited.model_dump(mode="json", exclude_none=True)) if edited is not None else None
        if not inbound.change(conn, gateway_id, event.provider_id, content) and event.change == "unsend":
            mark = (gateway_id, f"{_TAKEN_BACK}:{event.provider_id}", "TakenBack", None, now, None, "{}")
            events.add_channel_events(conn, [mark])
    return new


def _without_taken_back(conn: Connection, rows: Sequence[Inbound]) -> list[Inbound]:
    """The messages, erased where they were taken back before they came: what providers send may overtake itself."""
    marks = {(row.gateway_id, f"{_TAKEN_BACK}:{row.provider_id}") for row in rows}
    gone = events.known_channel_events(conn, marks)
    return [
        replace(row, content="{}", unsent=True) if (row.gateway_id, f"{_TAKEN_BACK}:{row.provider_id}") in gone else row
        for row in rows
    ]


def _inbound_row(event: InboundMessage, gateway: Gateway, now: int) -> Inbound:
    content = event.content.model_dump(mode="json", exclude_none=True)
    if event.more:
        content["more"] = [item.model_dump(mode="json", exclude_none=True) for item in event.more]
    return Inbound(
        id=new_id("in"),
        gateway_id=gateway.id,
        provider_id=event.provider_id,
        app_id=gateway.app_id,
        channel=gateway.channel,
        sender=orjson.dumps([[address.kind, address.value] for address in event.sender]).decode(),
        recipient=orjson.dumps([event.recipient.kind, event.recipient.value]).decode(),
        content=dump_json(content),
        sender_name=event.sender_name,
        reply_to=event.reply_to,
        received_at=now,
        occurred_at=from_datetime(event.occurred_at) if event.occurred_at else None,
    )


def _consents(conn: Connection, placed: Sequence[Placed], now: int) -> None:
    for item in placed:
        event = item.event
        if not item.gateways:
            continue
        at = from_datetime(event.occurred_at) if event.occurred_at else now
        if isinstance(event, ConsentChange):
            inbound.note_consent(conn, item.gateways[0].id, event.address.value, event.scope, event.state, at)
        elif isinstance(event, AddressChange):
            inbound.join_addresses(conn, item.gateways[0].id, event.old.value, event.new.value)


def _keep(
    conn: Connection, placed: Sequence[Placed], known: Mapping[tuple[str, str], events.AttemptRef], now: int
) -> None:
    """Keep everything that is no receipt, each once, beside its message where that is known."""
    rows = []
    for item in placed:
        event = item.event
        if isinstance(event, InboundMessage):
            continue
        gateway_id = item.gateways[0].id if item.gateways else ""
        message_id = None
        if isinstance(event, Engagement | PriceUpdate):
            ref = known.get((gateway_id, event.provider_id or "")) or events.AttemptRef.parse(event.correlation or "")
            message_id = ref.message_id if ref else None
        at = from_datetime(event.occurred_at) if event.occurred_at else None
        # What is charged is all in the event; its raw form is as long as the receipt's that it came with.
        data = dump(event, with_raw=not isinstance(event, PriceUpdate))
        rows.append((gateway_id, event.event_id, type(event).__name__, message_id, now, at, data))
    blocked = {
        item.event.event_id: item.event.topic
        for item in placed
        if isinstance(item.event, AccountUpdate) and item.event.state == "blocked"
    }
    for gateway_id, event_id in events.add_channel_events(conn, rows):
        if event_id in blocked:
            _LOG.critical("gateway.account_update", gateway=gateway_id, topic=blocked[event_id])
