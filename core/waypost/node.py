"""A node: one process's store, plugins, desk, outbox and inbox, wired together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import aiohttp
from sqlalchemy import Connection

from waypost.admission.candidate import Candidate
from waypost.admission.desk import Desk
from waypost.config import Config
from waypost.heartbeat import Heartbeat
from waypost.host.accounts import Accounts
from waypost.host.dispatch import ChannelPlugin
from waypost.host.loader import PluginRecord, load_channels
from waypost.host.session import close_session, shared_session
from waypost.host.watchdog import Watchdog
from waypost.host.wrappers import load_wrappers
from waypost.ids import new_id
from waypost.inbox.listeners import Listeners, ListenerTools
from waypost.inbox.service import Inbox
from waypost.keyring import open_vault
from waypost.log import logger
from waypost.metrics import Metrics
from waypost.outbox.service import Outbox
from waypost.progress.case import Change
from waypost.retention import keep_forgetting
from waypost.routing import Directory, load_directory
from waypost.rules import rules_of
from waypost.store import claims, listeners, migrate, rates
from waypost.store.database import Database, StoreUnavailableError, Work
from waypost.store.hints import Hints
from waypost.store.inbound import Inbound
from waypost.store.opening import open_database
from waypost.vault import Vault
from waypost.verdicts import LOOK_BESIDE, LOOK_EVERY, Verdicts

T = TypeVar("T")
Role = Literal["all", "api", "worker"]

#: A send's own deadline, and some: how long stopping waits for sends under way, in seconds.
PATIENCE = 35.0
#: So many of the store's connections serve what partners ask for, at most.
READS = 4
#: How long one waits for its turn, in seconds.
TURN = 10.0

_LOG = logger()


class Node:
    """Everything a process needs to accept, send and receive. `open`, then `start`, then `stop`."""

    def __init__(
        self,
        config: Config,
        database: Database,
        vault: Vault,
        records: dict[str, PluginRecord],
        http: aiohttp.ClientSession,
        role: Role,
    ) -> None:
        self.id = new_id("node")
        self.config = config
        self.role: Role = role
        self.database = database
        self.clock = database.clock
        self.vault = vault
        self.records = records
        self.plugins: dict[str, ChannelPlugin] = {
            name: record.plugin for name, record in records.items() if record.plugin is not None
        }
        self.metrics = Metrics()
        self.directory = Directory()
        self.http = http
        self.accounts = Accounts(self.plugins, vault, self.clock, http, config.public_url)
        others = None if database.url.startswith("sqlite") else LOOK_BESIDE
        self.verdicts = Verdicts(database, look_every=others if role == "all" else LOOK_EVERY)
        self.rules = rules_of(self._directory, self.plugins)
        self.desk = Desk(
            database,
            self.clock,
            self.accounts,
            self._directory,
            self.metrics,
            validity=config.validity,
            requests_per_second=config.requests_per_second,
            admitted=self._admitted,
        )
        self.outbox = Outbox(
            database,
            self.clock,
            self.accounts,
            self._directory,
            self.rules,
            owner=self.id,
            lease=config.lease,
            poll=config.poll,
            changed=self.changed,
            refresh=self.refresh_soon,
            observe=lambda gateway, outcome, seconds: self.metrics.sends.labels(gateway, outcome).observe(seconds),
        )
        self.inbox = Inbox(
            database,
            self.clock,
            self.accounts,
            self.plugins,
            self._directory,
            self.rules,
            poll=config.poll,
            changed=self.changed,
            received=self._received,
            count=lambda plugin, verdict: self.metrics.webhooks.labels(plugin, verdict).inc(),
        )
        self.listeners = Listeners(
            ListenerTools(
                database=database,
                clock=self.clock,
                accounts=self.accounts,
                directory=self._directory,
                rules=self.rules,
                owner=self.id,
                lease=config.lease,
                poll=config.poll,
                changed=self.changed,
                received=self._received,
            )
        )
        self.hints = Hints(database, lambda found: self.outbox.nudge(self.outbox.lanes if found is None else found))
        self.watchdog = Watchdog(
            self.plugins.values(),
            lagged=self.metrics.loop_lag.observe,
            blocked=lambda plugin: self.metrics.plugin_blocks.labels(plugin.id).inc(),
            disable=self.disable_plugin,
        )
        for plugin in self.plugins.values():
            plugin.when_abandoned(self._count_abandoned(plugin.id))
        self._tasks: list[asyncio.Task[None]] = []
        self._refresh_now = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._reading = asyncio.Semaphore(READS)
        self.heartbeat = Heartbeat(database, self.id, role, self.plugins)
        self.ready = False

    # ---- life

    @classmethod
    async def open(cls, config: Config, role: Role = "all", *, alone: bool = False) -> Node:
        """Open the store and load the plugins.

        Raises `StoreUnavailableError`, `SchemaMismatchError`, `VaultError` or `WrapperUnusableError`.

        `alone` says that no other node can be alive, so that leases an earlier process left can be ended at once.
        """
        database, http = await open_database(config.database_url), shared_session()
        try:
            return await cls._opened(config, role, database, http, alone=alone)
        except BaseException:
            await close_session(http)
            await database.close()
            raise

    @classmethod
    async def _opened(
        cls, config: Config, role: Role, database: Database, http: aiohttp.ClientSession, *, alone: bool
    ) -> Node:
        await database.read(migrate.check)
        middlewares = load_wrappers(config.wrappers)
        vault = await open_vault(config, database)
        records = load_channels(config.channels, pinned=config.channel_distributions)
        node = cls(config, database, vault, records, http, role)
        node._announce_plugins()
        for plugin in node.plugins.values():
            plugin.wrap(middlewares)
        await node.refresh()
        for gateway_id, problem in node.unusable().items():
            _LOG.error("gateway.unusable", gateway=gateway_id, problem=problem)
        if alone:
            await database.write(lambda conn: claims.orphan_claims(conn, node.id, node.clock.now()))
            await database.write(lambda conn: listeners.release_all_but(conn, node.id))
        return node

    async def start(self) -> None:
        """Begin to work in this node's role."""
        await self.heartbeat.begin()
        if self.role in ("all", "worker"):
            self.outbox.start()
            self.listeners.match()
        self.inbox.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._keep_directory(), name="directory"),
            loop.create_task(self.heartbeat.go_on(), name="heartbeat"),
            loop.create_task(keep_forgetting(self.database, idempotency=self.config.idempotency), name="retention"),
        ]
        if self.role != "api":
            self._tasks.append(loop.create_task(self.hints.listen(), name="hints"))
        self.watchdog.start()
        self.ready = True

    async def stop(self) -> None:
        """Stop in order: accept nothing, claim nothing, finish what is under way, store it, close."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.desk.drain()
        await self.listeners.stop()
        await self.inbox.stop()
        if self.role in ("all", "worker"):
            await self.outbox.stop(PATIENCE)
        await self.hints.stop()
        await self.accounts.close()
        self.watchdog.stop()
        with contextlib.suppress(StoreUnavailableError):
            await self.heartbeat.end()
        await close_session(self.http)
        await self.database.close()

    async def read(self, work: Work[T]) -> T:
        """Read from the store what a partner asks for; only so many at a time, so that sending need not wait for it.

        Raises `StoreUnavailableError`, also where its turn does not come.
        """
        try:
            async with asyncio.timeout(TURN):
                await self._reading.acquire()
        except TimeoutError:
            raise StoreUnavailableError("too much is being read") from None
        try:
            return await self.database.read(work)
        finally:
            self._reading.release()

    def unusable(self) -> dict[str, str]:
        """The gateways whose credentials cannot be used here, though their plugin is loaded: why, by id."""
        apps = self.directory.provider_apps
        found = {
            gateway.id: self.accounts.problem(gateway, apps.get(gateway.provider_app_id or ""))
            for gateway in self.directory.gateways.values()
            if gateway.status != "disabled"
        }
        return {gateway_id: problem for gateway_id, problem in found.items() if problem is not None}

    def disable_plugin(self, plugin: ChannelPlugin, reason: str) -> None:
        """Stop using a plugin on this node until it is started again: its messages wait, everything else goes on."""
        record = self.records.get(plugin.id)
        if record is None or plugin.halted:
            return
        plugin.halted = True
        self.records[plugin.id] = replace(record, state="disabled", reason=reason)
        self.directory = replace(self.directory)  # a new one: what was worked out from the old is forgotten
        with contextlib.suppress(KeyError):
            self.metrics.plugin_loaded.remove(plugin.id, record.state)
        self.metrics.plugin_loaded.labels(plugin.id, "disabled").set(0)
        _LOG.critical("plugin.disabled", plugin=plugin.id, distribution=record.distribution, reason=reason)

    def _count_abandoned(self, plugin_id: str) -> Callable[[str], None]:
        return lambda _: self.metrics.plugin_abandoned.labels(plugin_id).inc()

    # ---- what operators decided

    async def refresh(self) -> None:
        """Read the directory again if it has changed."""
        # One after the other: what was read earlier must not replace what was read later.
        async with self._refreshing:
            known = self.directory

            def work(conn: Connection) -> Directory | None:
                return load_directory(conn, known) if rates.current_revision(conn) != known.revision else None

            fresh = await self.database.read(work)
            if fresh is not None:
                self._take(fresh)

    def _take(self, fresh: Directory) -> None:
        self.directory = fresh
        if self.ready and self.role != "api":
            self.outbox.match_lanes()
            self.listeners.match()

    def refresh_soon(self) -> None:
        """Something changed what operators decided."""
        self._refresh_now.set()

    def _directory(self) -> Directory:
        return self.directory

    async def _keep_directory(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._refresh_now.wait(), self.config.poll)
            self._refresh_now.clear()
            try:
                await self.refresh()
            except StoreUnavailableError as error:
                _LOG.error("directory.store_unavailable", problem=str(error))
            except Exception:  # noqa: BLE001 - a node that no longer looks would not hear of a single decision
                _LOG.exception("directory.fault")

    # ---- what the parts tell each other

    def _admitted(self, items: Sequence[Candidate]) -> None:
        self._queued({item.gateway_id for item in items})

    def _queued(self, gateway_ids: set[str]) -> None:
        """There is work for these gateways, here or on other nodes."""
        if self.role != "api":
            self.outbox.nudge(gateway_ids)
        elsewhere = gateway_ids - self.outbox.lanes.keys()
        if elsewhere:
            self.hints.tell(elsewhere)

    def changed(self, changes: Sequence[Change]) -> None:
        """Tell those who wait for these messages, the lanes that have new work, the metrics and the log."""
        moved = [change for change in changes if change.before != change.after]
        self.verdicts.tell((change.message_id, change.after) for change in changes)
        self.metrics.moved(change.after for change in moved)
        self._queued({gateway_id for change in changes for gateway_id in change.queued_on})
        for change in changes:
            if change.uncollected:
                self.metrics.uncollected.inc()
                _LOG.error("ledger.uncollected", message=change.message_id, micros=change.uncollected)
        if moved:
            _LOG.info("messages.changed", messages=[[change.message_id, change.after] for change in moved])

    def _received(self, rows: Sequence[Inbound]) -> None:
        for row in rows:
            self.metrics.inbound.labels(row.channel).inc()
        if rows:
            _LOG.info("messages.received", messages=[[row.id, row.gateway_id] for row in rows])

    def _announce_plugins(self) -> None:
        for record in self.records.values():
            if record.state in ("loaded", "failed", "incompatible"):
                self.metrics.plugin_loaded.labels(record.id, record.state).set(record.state == "loaded")
            if record.state in ("failed", "incompatible"):
                _LOG.error("plugin.refused", plugin=record.id, distribution=record.distribution, state=record.state,
                           reason=record.reason)  # fmt: skip
