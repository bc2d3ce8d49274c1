"""Waiting for verdicts: an answer to a send may wait a moment for what the provider says.

The database is the truth. In the process that sends, waiters are told after the commit; where another node sends, all
waiting messages are looked up together, a few times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from waypost.store import messages
from waypost.store.database import Database, StoreUnavailableError

#: A message in one of these has no verdict yet.
PENDING = frozenset({"QUEUED", "SENDING"})
#: How often to look for what other nodes sent, in seconds: where they send it all, and where they send some.
LOOK_EVERY = 0.05
LOOK_BESIDE = 0.25


class Verdicts:
    """Those who wait for messages to leave QUEUED and SENDING."""

    def __init__(self, database: Database, *, look_every: float | None) -> None:
        """With None for `look_every`, no other process can send what is waited for here."""
        self._database = database
        self._look_every = look_every
        self._waiting: dict[str, list[asyncio.Future[str]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, message_id: str, seconds: float) -> str | None:
        """The status that the message comes to by its verdict; None if there is none after so many seconds."""
        if seconds <= 0:
            return None
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(message_id, []).append(future)
        if self._look_every is not None and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._look(self._look_every))
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            self._forget(message_id, future)

    def tell(self, verdicts: Iterable[tuple[str, str]]) -> None:
        """Messages (id, status) have changed."""
        for message_id, status in verdicts:
            if status not in PENDING:
                for future in self._waiting.get(message_id, ()):
                    if not future.done():
                        future.set_result(status)

    def _forget(self, message_id: str, future: asyncio.Future[str]) -> None:
        waiting = self._waiting[message_id]
        waiting.remove(future)
        if not waiting:
            del self._waiting[message_id]

    async def _look(self, every: float) -> None:
        while self._waiting:
            await asyncio.sleep(every)
            ids = list(self._waiting)
            try:
                found = await self._database.read(lambda conn, ids=ids: messages.statuses(conn, ids))  # type: ignore[misc]
            except StoreUnavailableError:
                continue  # those who wait have a timeout of their own
            self.tell(found.items())
