"""Retention: what a node forgets with time. Messages, deliveries and the ledger stay."""

from __future__ import annotations

import asyncio

from waypost.clock import HOUR, SECOND
from waypost.log import logger
from waypost.store import events, nodes
from waypost.store.database import Database, StoreUnavailableError

#: How often a node looks for what is to be forgotten, in seconds.
EVERY = 3600.0
#: A node that was silent for so long is dead, and its row goes.
DEAD = 24 * HOUR
#: So many rows go in one transaction, so that senders do not wait for it.
AT_A_TIME = 1000

_LOG = logger()


async def forget_old(database: Database, *, idempotency: int) -> int:
    """Forget idempotency keys first used more than so many seconds ago, and nodes that died; return how many keys.

    Raises `StoreUnavailableError`.
    """
    now = database.clock.now()
    before = now - idempotency * SECOND
    await database.write(lambda conn: nodes.forget_silent(conn, now - DEAD))
    forgotten, latest = 0, AT_A_TIME
    while latest == AT_A_TIME:
        latest = await database.write(lambda conn: events.forget_idempotency(conn, before, AT_A_TIME))
        forgotten += latest
    return forgotten


async def keep_forgetting(database: Database, *, idempotency: int) -> None:
    """Do so every hour, until cancelled."""
    while True:
        try:
            if forgotten := await forget_old(database, idempotency=idempotency):
                _LOG.info("retention.forgot", idempotency_keys=forgotten)
        except StoreUnavailableError as error:
            _LOG.error("retention.store_unavailable", problem=str(error))
        except Exception:  # noqa: BLE001 - a fault of one hour must not be that of all later ones
            _LOG.exception("retention.fault")
        await asyncio.sleep(EVERY)
