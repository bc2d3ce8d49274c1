"""A group-commit lane: items that arrive together share one transaction, and each gets a verdict of its own.

There is no timer: a batch forms by itself while the previous one commits. A lone item pays one commit; under load the
cost is shared by all. A transaction that fails for a reason of its own is split in halves until the culprit is alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from waypost.log import logger
from waypost.store.database import Database, StoreUnavailableError

Item = TypeVar("Item")
Verdict = TypeVar("Verdict")

_LOG = logger()

MAX_BATCH = 512
#: More than these are better stored as two batches, one while the other is answered, than as one.
CROWD = 32


class LaneFullError(StoreUnavailableError):
    """Too much is waiting to be stored; try again shortly."""


class GroupCommit(Generic[Item, Verdict]):
    """Collects items, runs `work(conn, items)` in one transaction, hands out its verdicts in order after the commit.

    `limit` is how many items may wait before `submit` raises `LaneFullError`; `committed` is told of each batch.
    `at_once`, which is tried first, does the same in one statement where it can, and else does nothing and returns
    None. `depth` is how many batches may be stored at a time: a second one follows when it has grown as large as the
    one before it, so that the database need not wait for the event loop to come round. `refill` is called when a
    batch is done, and may enqueue more.
    """

    def __init__(
        self,
        database: Database,
        work: Callable[[Connection, Sequence[Item]], Sequence[Verdict]],
        *,
        limit: int = 20_000,
        max_batch: int = MAX_BATCH,
        depth: int = 1,
        at_once: Callable[[Connection, Sequence[Item]], Sequence[Verdict] | None] | None = None,
        committed: Callable[[Sequence[Item], Sequence[Verdict]], None] | None = None,
        refill: Callable[[], None] | None = None,
    ) -> None:
        self._database = database
        self._work = work
        self._limit = limit
        self._max_batch = max_batch
        self._depth = depth
        self._at_once = at_once
        self._committed = committed
        self._refill = refill
        self._waiting: list[tuple[Item, asyncio.Future[Verdict]]] = []
        self._running: dict[asyncio.Task[None], int] = {}
        self._started = 0
        self._is_due = False
        #: Python 3.11 makes a system call of asking for it.
        self._loop: asyncio.AbstractEventLoop | None = None

    async def submit(self, item: Item) -> Verdict:
        """Return the verdict on this item once it is durable. Raises `StoreUnavailableError`, or what the work did."""
        return await self.enqueue(item)

    def enqueue(self, item: Item, future: asyncio.Future[Any] | None = None) -> asyncio.Future[Verdict]:
        """Like `submit`, without waiting; the verdict goes into the given future, or a new one."""
        if len(self._waiting) >= self._limit:
            raise LaneFullError(LaneFullError.__doc__)
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if future is None:
            future = loop.create_future()
        self._waiting.append((item, future))
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self.start)
        return future

    def takes(self, count: int) -> bool:
        """Whether so many more would be stored now, and not only when a batch is done."""
        if not self._running:
            return True
        return len(self._running) < self._depth and len(self._waiting) + count >= self._started

    def start(self) -> None:
        """Begin to store what waits, if it is time to; it happens by itself once the event loop comes round."""
        self._is_due = False
        while self._waiting and self.takes(0):
            count = min(self._max_batch, self._share())
            batch = self._waiting[:count]
            del self._waiting[:count]
            self._started = len(batch)
            task = asyncio.get_running_loop().create_task(self._store(batch))
            self._running[task] = self._started

    def _share(self) -> int:
        """How many may go together: where two batches may be stored at a time, a crowd goes in two halves."""
        if self._depth == 1:
            return self._max_batch
        return max(CROWD, (len(self._waiting) + sum(self._running.values())) // 2)

    async def drain(self) -> None:
        """Wait until nothing is left to store."""
        self.start()
        while self._running:
            await asyncio.wait(self._running)

    async def _store(self, batch: list[tuple[Item, asyncio.Future[Verdict]]]) -> None:
        try:
            await self._run(batch)
        finally:
            task = asyncio.current_task()
            assert task is not None
            del self._running[task]
            self._started = max(self._running.values(), default=0)
            try:
                if self._refill is not None:
                    self._refill()
            finally:
                self.start()

    async def _verdicts(self, items: Sequence[Item]) -> Sequence[Verdict]:
        if self._at_once is not None:
            at_once = self._at_once
            verdicts = await self._database.write_alone(lambda conn: at_once(conn, items))
            if verdicts is not None:
                return verdicts
        return await self._database.write(lambda conn: self._work(conn, items))

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Verdict]]]) -> None:
        items = [item for item, _ in batch]
        try:
            verdicts = await self._verdicts(items)
        except StoreUnavailableError as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whoever submitted the culprit hears of it
            if len(batch) == 1:
                _fail(batch, error)
                return
            middle = len(batch) // 2
            await self._run(batch[:middle])
            await self._run(batch[middle:])
        else:
            for (_, future), verdict in zip(batch, verdicts, strict=True):
                if not future.done():
                    future.set_result(verdict)
            if self._committed is not None:
                self._tell(self._committed, items, verdicts)

    @staticmethod
    def _tell(
        committed: Callable[[Sequence[Item], Sequence[Verdict]], None],
        items: Sequence[Item],
        verdicts: Sequence[Verdict],
    ) -> None:
        try:
            committed(items, verdicts)
        except Exception as error:  # noqa: BLE001 - they are stored; whoever waits for them has heard of it
            _LOG.exception("lane.committed_failed", items=len(items), problem=type(error).__name__)


def _fail(batch: Sequence[tuple[Any, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
