"""The outbox: a lane per gateway, the sweeper and the resolver, for one node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection

from waypost import receipts, watermarks
from waypost.clock import Clock
from waypost.host.accounts import Accounts
from waypost.log import logger
from waypost.outbox.failover import Failover
from waypost.outbox.health import Health
from waypost.outbox.lane import MARGIN, Lane, LaneTools
from waypost.outbox.resolver import Resolver
from waypost.outbox.sweeper import BATCH, POISONED_FOR, Swept, sweep
from waypost.plugin.errors import AccountBlocked
from waypost.progress.case import Change, Report, Rules
from waypost.progress.report import report
from waypost.routing import Directory
from waypost.store import claims, inbound, steps
from waypost.store.database import Database, StoreUnavailableError
from waypost.store.gateways import Gateway
from waypost.store.group_commit import GroupCommit

_LOG = logger()


class Outbox:
    """Sends what is queued on this node's channels."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        accounts: Accounts,
        directory: Callable[[], Directory],
        rules: Rules,
        *,
        owner: str,
        lease: float,
        poll: float,
        changed: Callable[[Sequence[Change]], None],
        refresh: Callable[[], None],
        observe: Callable[[str, str, float], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._directory = directory
        self._accounts = accounts
        self._rules = rules
        self._owner = owner
        self._poll = poll
        self._changed = changed
        self.results: GroupCommit[Report, Change | None] = GroupCommit(
            database, self._record, max_batch=256, committed=lambda _, changes: self._tell(changes)
        )
        self._health = Health(database, accounts, directory, refresh)
        self._resolver = Resolver(database, accounts, directory, self.results)
        self._tools = LaneTools(
            database=database,
            clock=clock,
            accounts=accounts,
            directory=directory,
            results=self.results,
            owner=owner,
            lease=lease,
            poll=poll,
            blocked=self._blocked,
            accepted=self._health.accepted,
            observe=observe,
            on_unknown=rules.on_unknown,
        )
        self.lanes: dict[str, Lane] = {}
        self.failover = Failover(database, clock, directory, self.lanes, self.results, owner=owner, lease=lease)
        self._background: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._wake_sweeper = asyncio.Event()
        self._stopping = False

    # ---- life

    def start(self) -> None:
        """Open the lanes and begin to sweep."""
        self.match_lanes()
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep_forever(), name="sweeper")

    def match_lanes(self) -> None:
        """Have a lane for every gateway whose plugin is loaded here."""
        if self._stopping:
            return
        for gateway in self._directory().gateways.values():
            if gateway.id not in self.lanes and self._accounts.plugin(gateway) is not None:
                lane = self.lanes[gateway.id] = Lane(gateway.id, self._tools)
                lane.start()

    def nudge(self, gateway_ids: Iterable[str]) -> None:
        """There is new work on these gateways."""
        for gateway_id in gateway_ids:
            lane = self.lanes.get(gateway_id)
            if lane is not None:
                lane.nudge()

    async def stop(self, patience: float) -> None:
        """Claim no more, give back what was only claimed, wait for the sends under way; the rest becomes unknown."""
        self._stopping = True
        self._wake_sweeper.set()
        # Told first: while the sweeper comes to its end, they would go on claiming.
        lanes = asyncio.gather(*(lane.stop(patience) for lane in self.lanes.values()))
        if self._sweeping is not None:
            await asyncio.wait([self._sweeping])
        await lanes
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.results.drain()
        with contextlib.suppress(StoreUnavailableError):
            await self._database.write(lambda conn: claims.release_claims(conn, self._owner))

    # ---- results

    def _record(self, conn: Connection, reports: Sequence[Report]) -> list[Change | None]:
        now = self._clock.now()
        inbound.keep_apart(conn, watermarks.names_of_sent(reports))
        done = report(conn, reports, self._rules, now)
        if early := receipts.claim_early(conn, reports, now):
            done += report(conn, early, self._rules, now)
        changes = {change.message_id: change for change in done}
        # Several reports of one message in a batch are one change, told once.
        return [changes.pop(item.evidence.message_id, None) for item in reports]

    def _tell(self, changes: Iterable[Change | None]) -> None:
        told = [change for change in changes if change is not None]
        for change in told:
            self.nudge(change.queued_on)
            if change.after == "UNKNOWN":
                self._wake_sweeper.set()
        self._changed(told)

    def _blocked(self, gateway: Gateway, app_id: str, error: AccountBlocked) -> None:
        self._spawn(self._health.refused(gateway, app_id, error))

    def _spawn(self, work: object) -> None:
        async def run() -> None:
            try:
                await work  # type: ignore[misc]
            except StoreUnavailableError as error:
                _LOG.error("outbox.store_unavailable", problem=str(error))

        task = asyncio.get_running_loop().create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # ---- sweeping

    async def _sweep_forever(self) -> None:
        while not self._stopping:
            self._wake_sweeper.clear()
            again = False
            try:
                again = await self.sweep_once()
                again |= await self.failover.once()
            except StoreUnavailableError as error:
                _LOG.error("sweeper.store_unavailable", problem=str(error))
            except Exception:  # noqa: BLE001 - without a sweeper nothing would expire, resolve or settle any more
                _LOG.exception("sweeper.fault")
            if not again and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake_sweeper.wait(), self._poll)

    async def sweep_once(self) -> bool:
        """Look at what is due, once; say whether there is more."""
        now, leases_end = self._clock.now(), self._leases_end()
        due = await self._database.read(lambda conn: steps.due_wakes(conn, now, BATCH, leased=leases_end))
        if due:
            await self._sweep(due, now, leases_end=leases_end)
        return len(due) >= BATCH

    def _leases_end(self) -> bool:
        """Whether a lease that is over by the clock is over: where the clock leapt, its worker may be at it still.

        Other nodes have taken leases by the old time until they noticed, which the second `MARGIN` is for.
        """
        plugins = map(self._accounts.plugin, self._directory().gateways.values())
        longest = max((plugin.info.send_timeout for plugin in plugins if plugin is not None), default=0.0)
        return self._clock.since_leap() >= max(self._tools.lease, longest + MARGIN) + MARGIN

    async def _sweep(self, due: Sequence[str], now: int, *, leases_end: bool) -> None:
        """Sweep these; where that fails, halve them until the culprit is alone and can be put aside for a while."""
        room = self._resolver.room()
        try:
            swept: Swept = await self._database.write(
                lambda conn: sweep(conn, due, self._rules, now, room, leases_end=leases_end)
            )
        except StoreUnavailableError:
            raise
        except Exception:  # noqa: BLE001 - one message must not hold up the others' deadlines
            if len(due) == 1:
                _LOG.exception("sweeper.poisoned", message=due[0])
                await self._database.write(lambda conn: steps.put_off(conn, due[0], now, now + POISONED_FOR))
                return
            middle = len(due) // 2
            await self._sweep(due[:middle], now, leases_end=leases_end)
            await self._sweep(due[middle:], now, leases_end=leases_end)
            return
        self._tell(swept.changes)
        for step, message in swept.lookups:
            self._spawn(self._resolver.resolve(step, message))

    async def resolve_all(self) -> None:
        """Wait until the lookups and checks of accounts begun so far are done: for tests."""
        while self._background:
            await asyncio.wait(self._background)
