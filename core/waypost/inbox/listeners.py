"""Listeners: connections that a plugin holds to receive (SMPP, IMAP, polling), one node at a time for each gateway.

Who may listen is decided by a lease in the database, as with sends. An emitted event is applied in one transaction
that also makes sure of the lease, and `emit` returns after its commit: only then may a plugin acknowledge to the
provider. Whatever comes twice (after a lost connection, from two owners in a row) is known by its `event_id`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from waypost.clock import SECOND, Clock
from waypost.event_codec import dump, storable
from waypost.host.accounts import Accounts, CredentialsUnusableError, OpenAccount
from waypost.host.answers import event_fault
from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.ids import new_id
from waypost.inbox.apply import Applied, apply_events
from waypost.inbox.parse import EMITTED
from waypost.inbox.placement import Placed, is_hidden, spoken_for
from waypost.log import logger
from waypost.plugin.errors import ChannelError
from waypost.plugin.events import ChannelEvent
from waypost.plugin.types import WebhookRequest
from waypost.progress.case import Change, Rules
from waypost.routing import Directory
from waypost.store import deliveries, listeners
from waypost.store.database import Database, StoreUnavailableError
from waypost.store.deliveries import Delivery
from waypost.store.gateways import Gateway
from waypost.store.inbound import Inbound

#: The longest pause before a broken connection is tried again, in seconds.
LONGEST_PAUSE = 60.0
#: A connection that held so long was a good one: the next pause is short again. In seconds.
STEADY = 60.0
#: How long a plugin may take to let go of its connection, in seconds.
PATIENCE = 5.0

_LOG = logger()


class LeaseLostError(Exception):
    """Another node listens on this gateway now; stop, and do not acknowledge this event to the provider."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


@dataclass(frozen=True, slots=True)
class ListenerTools:
    """What every listener of a node shares. `lease` and `poll` are in seconds."""

    database: Database
    clock: Clock
    accounts: Accounts
    directory: Callable[[], Directory]
    rules: Rules
    owner: str
    lease: float
    poll: float
    changed: Callable[[Sequence[Change]], None]
    received: Callable[[Sequence[Inbound]], None]


class Listeners:
    """A listener for every gateway whose plugin listens, for one node."""

    def __init__(self, tools: ListenerTools) -> None:
        self._tools = tools
        self._listeners: dict[str, Listener] = {}
        self._stopping = False

    @property
    def listening(self) -> dict[str, bool]:
        """Whether this node listens just now, by gateway."""
        return {gateway_id: listener.listening for gateway_id, listener in self._listeners.items()}

    def match(self) -> None:
        """Have a listener for every gateway whose plugin listens and is loaded here."""
        if self._stopping:
            return
        for gateway in self._tools.directory().gateways.values():
            plugin = self._tools.accounts.plugin(gateway)
            if plugin is None or plugin.info.receives != "listen" or gateway.id in self._listeners:
                continue
            listener = self._listeners[gateway.id] = Listener(gateway.id, plugin, self._tools)
            listener.start()

    async def stop(self) -> None:
        """Let go of every connection and of its lease."""
        self._stopping = True
        await asyncio.gather(*(listener.stop() for listener in self._listeners.values()))


class Listener:
    """One gateway's connection: taken when it is free, kept while it holds, opened again when it breaks."""

    def __init__(self, gateway_id: str, plugin: ChannelPlugin, tools: ListenerTools) -> None:
        self.gateway_id = gateway_id
        self.listening = False
        self._plugin = plugin
        self._tools = tools
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._until = 0.0
        #: Cleared while the lease is prolonged: each event holds it, and where they overlap nobody else gets by.
        self._may_emit = asyncio.Event()
        self._may_emit.set()

    def start(self) -> None:
        """Begin to try."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"listener {self.gateway_id}")

    async def stop(self) -> None:
        """Let go of the connection, then of the lease."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    # ---- the loop

    async def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = asyncio.get_running_loop().time()
            pause = self._tools.lease / 3
            try:
                opened = self._opened()
                if opened is not None and await self._take():
                    await self._hold(opened)
                    failures = 0 if asyncio.get_running_loop().time() - began > STEADY else failures + 1
                    pause = self._pause(failures)
            except StoreUnavailableError as error:
                _LOG.error("listener.store_unavailable", gateway=self.gateway_id, problem=str(error))
                pause = self._tools.poll
            except Exception:  # noqa: BLE001 - a listener that ended would be a deaf channel
                _LOG.exception("listener.fault", gateway=self.gateway_id)
            await self._wait(pause)

    def _pause(self, failures: int) -> float:
        """Twice as long each time, and never quite the same, so that many do not come back together."""
        longest = min(LONGEST_PAUSE, self._tools.poll * 2.0 ** min(failures, 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _gateway(self) -> Gateway | None:
        """The gateway, unless it was disabled. One that is paused sends nothing; it goes on receiving."""
        gateway = self._tools.directory().gateways.get(self.gateway_id)
        return gateway if gateway is not None and gateway.status != "disabled" else None

    def _opened(self) -> OpenAccount | None:
        """The gateway's account, by its settings as they are now."""
        directory, gateway = self._tools.directory(), self._gateway()
        if gateway is None:
            return None
        try:
            return self._tools.accounts.account(gateway, directory.provider_apps.get(gateway.provider_app_id or ""))
        except CredentialsUnusableError as error:
            _LOG.error("listener.credentials_unusable", gateway=self.gateway_id, problem=error.problem)
            return None

    # ---- the lease

    async def _take(self) -> bool:
        """Take or prolong the lease; say whether we may listen."""
        tools = self._tools
        asked = asyncio.get_running_loop().time()
        now = tools.clock.now()
        until = now + round(tools.lease * SECOND)
        taken = await tools.database.write(lambda conn: listeners.take(conn, self.gateway_id, tools.owner, now, until))
        if taken:
            self._until = asked + tools.lease
        return taken

    async def _still_mine(self) -> bool:
        """Prolong the lease; while the store is down, go on for as long as the lease lasts."""
        self._may_emit.clear()
        try:
            return await self._take()
        except StoreUnavailableError as error:
            _LOG.error("listener.store_unavailable", gateway=self.gateway_id, problem=str(error))
            return asyncio.get_running_loop().time() < self._until - self._tools.lease / 3
        finally:
            self._may_emit.set()

    # ---- listening

    async def _hold(self, opened: OpenAccount) -> None:
        """Listen until the connection ends, the lease is lost, the settings change or the node stops."""
        listening = asyncio.get_running_loop().create_task(self._listen(opened), name=f"listen {self.gateway_id}")
        stopping = asyncio.get_running_loop().create_task(self._stop.wait())
        self.listening = True
        try:
            while not (listening.done() or stopping.done()):
                await asyncio.wait(
                    {listening, stopping}, timeout=self._tools.lease / 3, return_when=asyncio.FIRST_COMPLETED
                )
                if not (listening.done() or stopping.done()) and not await self._goes_on(opened):
                    break
        finally:
            self.listening = False
            stopping.cancel()
            listening.cancel()
            if not (await asyncio.wait({listening}, timeout=PATIENCE))[0]:
                _LOG.error("listener.does_not_stop", gateway=self.gateway_id, plugin=self._plugin.id)
            with contextlib.suppress(StoreUnavailableError):
                await self._tools.database.write(
                    lambda conn: listeners.release(conn, self.gateway_id, self._tools.owner)
                )

    async def _goes_on(self, opened: OpenAccount) -> bool:
        return self._opened() is opened and await self._still_mine()

    async def _listen(self, opened: OpenAccount) -> None:
        """One connection, from its opening to its end, whatever that is."""
        try:
            await self._tools.accounts.ready(opened)
            _LOG.info("listener.began", gateway=self.gateway_id, plugin=self._plugin.id)
            await self._plugin.listen(self._tools.accounts.context(opened), self._emit)
            _LOG.warning("listener.ended", gateway=self.gateway_id, plugin=self._plugin.id)
        except (ChannelError, PluginFaultError) as error:
            problem = error.problem if isinstance(error, PluginFaultError) else type(error).__name__
            _LOG.error("listener.broke", gateway=self.gateway_id, plugin=self._plugin.id, problem=problem)

    async def _emit(self, event: ChannelEvent) -> None:
        """Apply an event; return once it is durable. Raises `StoreUnavailableError` or `LeaseLostError`."""
        if not isinstance(event, ChannelEvent):
            raise TypeError(f"emit takes a ChannelEvent, not a {type(event).__name__}")
        if (fault := event_fault(event)) is not None:
            raise TypeError(f"{self._plugin.id}.listen {fault}")
        tools, directory, gateway = self._tools, self._tools.directory(), self._gateway()
        if gateway is None:
            raise LeaseLostError
        hidden = is_hidden(self._plugin.info, event)
        placed = Placed(storable(event), spoken_for(directory, gateway), (gateway,), hidden)

        def work(conn: Connection) -> Applied:
            if not listeners.holds(conn, gateway.id, tools.owner):
                raise LeaseLostError
            return apply_events(conn, [placed], tools.rules, tools.clock)

        await self._may_emit.wait()
        try:
            applied = await tools.database.write(work)
        except (StoreUnavailableError, LeaseLostError):
            raise
        except Exception as error:  # noqa: BLE001 - a poisoned event must not come back for ever
            await self._set_aside(gateway, event, error)
        else:
            applied.tell(tools.changed, tools.received)

    async def _set_aside(self, gateway: Gateway, event: ChannelEvent, error: Exception) -> None:
        """Keep an event that cannot be applied, as a failed delivery: then the provider need not repeat it."""
        _LOG.error("listener.apply_failed", gateway=gateway.id, plugin=self._plugin.id, problem=type(error).__name__)
        try:
            body = dump(event).encode()
        except orjson.JSONEncodeError:
            body = repr(type(event).__name__).encode()
        kept = Delivery(
            id=new_id("raw"),
            plugin=self._plugin.id,
            gateway_id=gateway.id,
            provider_app_id=gateway.provider_app_id,
            request=WebhookRequest(method=EMITTED, url="", body=body),
            received_at=self._tools.clock.now(),
        )

        def work(conn: Connection) -> None:
            deliveries.add_many(conn, [kept])
            deliveries.set_failed(conn, kept.id, f"applying it raised {type(error).__name__}")

        await self._tools.database.write(work)
