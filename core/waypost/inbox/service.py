"""The inbox: receives, applies, and picks up what was left behind.

A delivery is parsed, stored raw and applied before it is acknowledged: one transaction for all that arrive together,
where storing first and applying later would take two. Only what takes long to read is stored and acknowledged first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from waypost import receipts
from waypost.clock import HOUR, SECOND, Clock
from waypost.host.accounts import Accounts
from waypost.host.dispatch import ChannelPlugin
from waypost.inbox.apply import Applied, apply, take
from waypost.inbox.parse import Parsed, Parser
from waypost.inbox.receive import Receiver
from waypost.log import logger
from waypost.plugin.types import WebhookReply, WebhookRequest
from waypost.progress.case import Change, Rules
from waypost.progress.report import report
from waypost.routing import Directory
from waypost.store import deliveries
from waypost.store.database import Database, StoreUnavailableError
from waypost.store.deliveries import MOST_BYTES, Delivery
from waypost.store.events import ParkedAt
from waypost.store.group_commit import GroupCommit
from waypost.store.inbound import Inbound

#: Deliveries older than this that are still unapplied were left behind by a node that died.
LEFT_BEHIND = 30 * SECOND
#: How long a receipt waits for its message.
PARKED_FOR = 72 * HOUR
#: So many that were stored before are applied at a time.
MAX_BATCH = 128
#: So many rounds of parked receipts are tried again at a time.
MOST_ROUNDS = 20
#: So many new ones share a transaction at most: each may hold many events, and others wait for its locks.
MAX_TOGETHER = 32
#: So many processes may end while they read what was left behind; then it is kept as failed, for somebody to look at.
MOST_TRIES = 5
#: Deliveries with more bytes are parsed beside the event loop.
LARGE = 1_000_000

_LOG = logger()


class Inbox:
    """Takes deliveries from providers and applies them."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        accounts: Accounts,
        plugins: Mapping[str, ChannelPlugin],
        directory: Callable[[], Directory],
        rules: Rules,
        *,
        poll: float,
        changed: Callable[[Sequence[Change]], None],
        received: Callable[[Sequence[Inbound]], None],
        count: Callable[[str, str], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._plugins = plugins
        self._poll = poll
        self._changed = changed
        self._received = received
        self._parser = Parser(accounts, plugins, directory)
        self._lane: GroupCommit[Parsed, Applied] = GroupCommit(
            database, self._take, max_batch=MAX_TOGETHER, depth=2, committed=self._committed
        )
        self._receiver = Receiver(accounts, directory, plugins, clock, self._accept, count)
        self._waiting: list[Delivery] = []
        self._tried: set[str] = set()
        self._parked_after = receipts.FIRST_PARKED
        self._applying: asyncio.Task[None] | None = None
        self._tending: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def start(self) -> None:
        """Begin to look after what was left behind."""
        self._tending = asyncio.get_running_loop().create_task(self._tend(), name="inbox")

    async def stop(self) -> None:
        """Apply what was received, then stop."""
        self._stop.set()
        if self._tending is not None:
            await asyncio.wait([self._tending])
        await self._lane.drain()
        await self.drain()

    async def receive(
        self, request: WebhookRequest, *, plugin: str | None = None, gateway: str | None = None,
        among: Iterable[str] | None = None,
    ) -> WebhookReply:  # fmt: skip
        """Take a delivery and return the answer, once it is stored. Raises `StoreUnavailableError`."""
        return await self._receiver.receive(request, plugin=plugin, gateway=gateway, among=among)

    async def drain(self) -> None:
        """Wait until everything received so far is applied."""
        while self._applying is not None and not self._applying.done():
            await asyncio.wait([self._applying])

    # ---- at once

    async def _accept(self, delivery: Delivery) -> None:
        """Return once a delivery is safe on disk. Raises `StoreUnavailableError`."""
        if len(delivery.request.body) > LARGE or self._is_halted(delivery.plugin):
            await self._database.write(lambda conn: deliveries.add_many(conn, [delivery]))
            self._apply_later(delivery)
            return
        try:
            await self._lane.submit(self._parser.parse(delivery))
        except StoreUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the provider can do nothing about it
            problem = _raised(error)
            _tell(delivery, problem)
            await self._database.write(lambda conn: deliveries.add_read(conn, [(delivery, problem)]))

    def _take(self, conn: Connection, parsed: Sequence[Parsed]) -> Sequence[Applied]:
        return [take(conn, parsed, self._rules, self._clock)] * len(parsed)

    def _committed(self, _: Sequence[Parsed], applied: Sequence[Applied]) -> None:
        applied[0].tell(self._changed, self._received)

    # ---- later

    def _apply_later(self, delivery: Delivery) -> None:
        if sum(len(item.request.body) for item in self._waiting) > MOST_BYTES:
            return  # it is stored, and found there once these are done
        self._waiting.append(delivery)
        if self._applying is None or self._applying.done():
            self._applying = asyncio.get_running_loop().create_task(self._apply_waiting())

    async def _apply_waiting(self) -> None:
        while self._waiting:
            batch = self._waiting[:MAX_BATCH]
            del self._waiting[:MAX_BATCH]
            # What a disabled plugin would have to parse stays stored, for another node or this one started again.
            await self._apply([await self._parsed(item) for item in batch if not self._is_halted(item.plugin)])

    async def _parsed(self, delivery: Delivery) -> Parsed:
        """Parse a delivery; a large one in a thread, since reading a mail of 20 MB takes half a second."""
        if len(delivery.request.body) > LARGE:
            return await self._parser.parse_beside(delivery)
        return self._parser.parse(delivery)

    def _is_halted(self, plugin_id: str) -> bool:
        plugin = self._plugins.get(plugin_id)
        return plugin is not None and plugin.halted

    async def _apply(self, parsed: Sequence[Parsed]) -> None:
        """Apply a batch; where that fails, halve it until the culprit is alone and can be marked."""
        try:
            applied: Applied = await self._database.write(lambda conn: apply(conn, parsed, self._rules, self._clock))
        except StoreUnavailableError as error:
            # They are stored; the tending task will find them again.
            _LOG.error("inbox.store_unavailable", deliveries=len(parsed), problem=str(error))
        except Exception as error:  # noqa: BLE001 - a poisoned delivery must not take its neighbours down
            if len(parsed) == 1:
                await self._give_up(parsed[0].delivery, _raised(error))
                return
            middle = len(parsed) // 2
            await self._apply(parsed[:middle])
            await self._apply(parsed[middle:])
        else:
            applied.tell(self._changed, self._received)

    async def _give_up(self, delivery: Delivery, problem: str) -> None:
        _tell(delivery, problem)
        with contextlib.suppress(StoreUnavailableError):
            await self._database.write(lambda conn: deliveries.set_failed(conn, delivery.id, problem))

    # ---- tending

    async def _tend(self) -> None:
        while not self._stop.is_set():
            try:
                await self.tend_once()
            except StoreUnavailableError as error:
                _LOG.error("inbox.store_unavailable", problem=str(error))
            except Exception:  # noqa: BLE001 - parked receipts must be tried again, whatever one of them did
                _LOG.exception("inbox.fault")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._poll * 5)

    async def tend_once(self, *, left_behind: int = LEFT_BEHIND) -> None:
        """Apply deliveries that were left behind and try parked receipts again."""
        now = self._clock.now()
        # A delivery for a plugin that is not loaded here is left to the nodes that have it.
        mine = sorted(plugin_id for plugin_id in self._plugins if not self._is_halted(plugin_id))
        found = await self._database.read(
            lambda conn: deliveries.stored_before(conn, now - left_behind, mine, MAX_BATCH)
        )
        waiting = {item.id for item in self._waiting}
        await self._apply_left_behind([item for item in found if item.id not in waiting])

        for _ in range(MOST_ROUNDS):
            await self._retry_parked(now)
            if self._parked_after == receipts.FIRST_PARKED:
                break

    async def _retry_parked(self, now: int) -> None:
        """Try some parked receipts again, from where the last round had come to."""
        after = self._parked_after

        def retry(conn: Connection) -> tuple[list[Change], ParkedAt]:
            found, then = receipts.retry_parked(conn, after, now - PARKED_FOR, now)
            return (report(conn, found, self._rules, now) if found else []), then

        changes, self._parked_after = await self._database.write(retry)
        self._changed(changes)

    async def _apply_left_behind(self, found: Sequence[Delivery]) -> None:
        """Apply what a killed node left behind: together, but alone what another process has begun to read in vain.

        Reading it may be what killed the node, by its memory for instance, and would be the end of every other.
        """
        self._tried.intersection_update(item.id for item in found)
        suspects = [item for item in found if item.tries and item.id not in self._tried]
        alone = {item.id for item in suspects}
        if together := [item for item in found if item.id not in alone]:
            await self._try(together)
        for item in suspects:
            if item.tries < MOST_TRIES:
                await self._try([item])
            else:
                await self._give_up(item, f"{MOST_TRIES} processes ended while they read it")

    async def _try(self, batch: Sequence[Delivery]) -> None:
        if begun := [item.id for item in batch if item.id not in self._tried]:
            await self._database.write(lambda conn: deliveries.count_try(conn, begun))
            self._tried.update(begun)
        await self._apply([await self._parsed(item) for item in batch])
        survived = [item.id for item in batch]
        with contextlib.suppress(StoreUnavailableError):
            await self._database.write(lambda conn: deliveries.uncount_try(conn, survived))
            self._tried.difference_update(survived)


def _raised(error: Exception) -> str:
    """What to store of a delivery whose events could not be applied: a plugin's fault in what it made of it."""
    return f"applying it raised {type(error).__name__}"


def _tell(delivery: Delivery, problem: str) -> None:
    _LOG.error("inbox.apply_failed", delivery=delivery.id, plugin=delivery.plugin, problem=problem)
