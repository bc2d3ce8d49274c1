"""A group-commit lane: items that arrive together share one transaction, and each gets a verdict of its own.

There is no timer: a batch forms by itself while the previous one commits. A lone item pays one commit; under load the
cost is shared by all. A transaction that fails for a reason of its own is split in halves until the culprit is alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from waypost.store.database import Database, StoreUnavailableError

Item = TypeVar("Item")
Verdict = TypeVar("Verdict")

MAX_BATCH = 512


class LaneFullError(StoreUnavailableError):
    """Too much is waiting to be stored; try again shortly."""


class GroupCommit(Generic[Item, Verdict]):
    """Collects items, runs `work(conn, items)` in one transaction, hands out its verdicts in order after the commit.

    `limit` is how many items may wait before `submit` raises `LaneFullError`; `committed` is told of each batch.
    `at_once`, which is tried first, does the same in one statement where it can, and else does nothing and returns
    None. `refill` is called before each batch is formed, and may enqueue what has come in while the last one was
    being stored.
    """

    def __init__(
        self,
        database: Database,
        work: Callable[[Connection, Sequence[Item]], Sequence[Verdict]],
        *,
        limit: int = 20_000,
        max_batch: int = MAX_BATCH,
        at_once: Callable[[Connection, Sequence[Item]], Sequence[Verdict] | None] | None = None,
        committed: Callable[[Sequence[Item], Sequence[Verdict]], None] | None = None,
        refill: Callable[[], None] | None = None,
    ) -> None:
        self._database = database
        self._work = work
        self._limit = limit
        self._max_batch = max_batch
        self._at_once = at_once
        self._committed = committed
        self._refill = refill
        self._waiting: list[tuple[Item, asyncio.Future[Verdict]]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Verdict:
        """Return the verdict on this item once it is durable. Raises `StoreUnavailableError`, or what the work did."""
        return await self.enqueue(item)

    def enqueue(self, item: Item, future: asyncio.Future[Any] | None = None) -> asyncio.Future[Verdict]:
        """Like `submit`, without waiting; the verdict goes into the given future, or a new one."""
        if len(self._waiting) >= self._limit:
            raise LaneFullError(LaneFullError.__doc__)
        loop = asyncio.get_running_loop()
        if future is None:
            future = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        return future

    @property
    def busy(self) -> bool:
        """Whether a batch is being stored, so that `refill` will be called."""
        return self._task is not None and not self._task.done()

    @property
    def waiting(self) -> int:
        """How many wait to be stored."""
        return len(self._waiting)

    async def drain(self) -> None:
        """Wait until nothing is left to store."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        while True:
            if self._refill is not None:
                self._refill()
            if not self._waiting:
                return
            batch = self._waiting[: self._max_batch]
            del self._waiting[: self._max_batch]
            await self._run(batch)

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
            if self._committed is not None:
                self._committed(items, verdicts)
            for (_, future), verdict in zip(batch, verdicts, strict=True):
                if not future.done():
                    future.set_result(verdict)


def _fail(batch: Sequence[tuple[Any, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
