"""A lane's places: what it has under way, and how it waits for room."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

#: A busy lane waits until this part of its places is free again, so that few transactions serve many messages …
ROOM = 4
#: … but not for longer, in seconds.
GATHERING = 0.02


class Places:
    """Tasks under way; no more than `most` are ever waited for to be free at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[asyncio.Task[object]] = set()
        #: Told once no more than `_left` are taken.
        self._few: asyncio.Future[None] | None = None
        self._left = 0
        self._has_gathered = False

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, work: Coroutine[Any, Any, object]) -> None:
        """Begin some work; it has its place until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._taken.add(task)
        task.add_done_callback(self._given_back)

    async def waited_for(self, concurrency: int) -> bool:
        """Wait until one of so many is free; where only a few are, a moment for more. Say whether it was necessary."""
        few = concurrency - min(max(1, concurrency // ROOM), self._most)
        if len(self._taken) >= concurrency:
            await self._thinned(concurrency - 1)
        elif len(self._taken) > few and not self._has_gathered:
            await self._thinned(few, GATHERING)
            self._has_gathered = True
        else:
            self._has_gathered = False
            return False
        return True

    def wake(self) -> None:
        """Let nobody wait for room any longer."""
        if self._few is not None and not self._few.done():
            self._few.set_result(None)

    async def emptied(self, patience: float) -> None:
        """Wait until all is done, or so many seconds."""
        if self._taken:
            await asyncio.wait(self._taken, timeout=patience)

    async def _thinned(self, left: int, seconds: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._left, self._few = left, loop.create_future()
        timer = loop.call_later(seconds, self.wake) if seconds is not None else None
        try:
            await self._few
        finally:
            if timer is not None:
                timer.cancel()

    def _given_back(self, task: asyncio.Task[object]) -> None:
        self._taken.discard(task)
        if len(self._taken) <= self._left:
            self.wake()
