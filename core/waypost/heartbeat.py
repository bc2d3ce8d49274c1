"""The heartbeat: a node says that it is alive, and finds out what time it is and whether the store stores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from waypost import __version__
from waypost.log import logger
from waypost.store import nodes
from waypost.store.database import Database, StoreUnavailableError

#: In seconds.
EVERY = 5.0

_LOG = logger()


class Heartbeat:
    """One node's: `begin`, `go_on` for ever, `end`."""

    def __init__(self, database: Database, node_id: str, role: str, plugins: Iterable[str]) -> None:
        self._database = database
        self._me = nodes.Node(node_id, role, tuple(plugins), __version__, started_at=0, seen_at=0)
        #: Why the last beat could not be stored: a store that only reads, or is full, still answers.
        self.problem: str | None = None

    async def begin(self) -> None:
        """Make the node known. Raises `StoreUnavailableError`."""
        now = self._database.clock.now()
        me = self._me = replace(self._me, started_at=now, seen_at=now)
        await self._database.write(lambda conn: nodes.beat(conn, me))

    async def go_on(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self._beat()
                self.problem = None
            except StoreUnavailableError as error:
                self.problem = str(error)
                _LOG.error("heartbeat.store_unavailable", problem=str(error))
            except Exception:  # noqa: BLE001 - a node whose heart stands still is taken for dead
                _LOG.exception("heartbeat.fault")

    async def _beat(self) -> None:
        await self._database.sync_clock()
        alive = replace(self._me, seen_at=self._database.clock.now())
        await self._database.write(lambda conn: nodes.beat(conn, alive))
        await self._database.check_room()

    async def end(self) -> None:
        """Take leave. Raises `StoreUnavailableError`."""
        await self._database.write(lambda conn: nodes.remove(conn, self._me.id))
