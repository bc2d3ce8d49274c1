"""Hints: nodes tell each other where there is work, so that it need not wait for the next poll.

Polling is the truth: a hint may be lost, and nothing but time is lost with it. A node gives one for all that it has
queued meanwhile, after the commit and apart from it. Where a node sends what it accepts itself, it gives none.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from waypost.log import logger
from waypost.store.database import Database, StoreUnavailableError

CHANNEL = "waypost"
#: PostgreSQL takes less than 8,000 bytes (documentation of NOTIFY). What is longer is a hint to look everywhere.
LONGEST = 7_900
EVERYWHERE = "*"
#: How long to wait before listening again, in seconds.
PAUSE = 5.0
#: How long what is queued meanwhile is gathered for the next hint, in seconds: under load each batch would give one.
GATHERING = 0.02

_LOG = logger()


class Hints:
    """Gives and takes hints for one node; `heard` gets the gateways, None for all of them."""

    def __init__(self, database: Database, heard: Callable[[set[str] | None], None]) -> None:
        self._database = database
        self._heard = heard
        self._untold: set[str] = set()
        self._telling: asyncio.Task[None] | None = None

    def tell(self, gateway_ids: Iterable[str]) -> None:
        """Something was queued for these gateways, which other nodes serve."""
        self._untold.update(gateway_ids)
        if self._untold and (self._telling is None or self._telling.done()):
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="hints")

    async def listen(self) -> None:
        """Take hints until cancelled."""
        while True:
            try:
                await self._database.listen(CHANNEL, self._take)
            except StoreUnavailableError as error:
                _LOG.warning("hints.store_unavailable", problem=str(error))
            except Exception:  # noqa: BLE001 - a node that listens no more would send late until it is started again
                _LOG.exception("hints.fault")
            await asyncio.sleep(PAUSE * random.uniform(0.2, 1))  # noqa: S311 - jitter, not a secret

    async def stop(self) -> None:
        """Give no more."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _tell(self) -> None:
        while self._untold:
            told, self._untold = " ".join(sorted(self._untold)), set()
            try:
                await self._database.notify(CHANNEL, told if len(told) <= LONGEST else EVERYWHERE)
            except StoreUnavailableError:
                return  # those who serve these gateways poll
            await asyncio.sleep(GATHERING)

    def _take(self, told: str) -> None:
        self._heard(None if told == EVERYWHERE else set(told.split()))
