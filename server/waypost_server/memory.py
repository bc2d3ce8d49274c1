"""A node's memory limit: a greedy channel ends its own process, with a sentence, and takes nobody else's memory.

Nor the processor, where others want it: to fill memory takes the kernel long, and such a node gives way to them.
"""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

from waypost.log import logger

MEGABYTE = 1024 * 1024
#: How much a node must have to work with beyond what it uses when it starts, in MB.
LEAST_ROOM = 256
#: The share of the limit at which a node stops in order; what is asked for beyond the limit is refused at once.
ENOUGH = 0.95
#: By how much a limited node gives way, in the kernel's scale of 0 to 19.
NICENESS = 10
#: How often a node looks at what it uses, in seconds.
LOOK = 0.5
_STATM = Path("/proc/self/statm")

_LOG = logger()


class MemoryLimitError(Exception):
    """The memory limit cannot be kept; the message says why and what to do."""


def used() -> int:
    """This process's address space in bytes."""
    return int(_STATM.read_text().split()[0]) * resource.getpagesize()


def limit(megabytes: int) -> None:
    """Let this process have so much address space and no more, and give way to others on the processor.

    Raises `MemoryLimitError` where that is too little.
    """
    if not _STATM.exists():
        raise MemoryLimitError("--memory-limit needs Linux; leave it out here and limit the memory of the container.")
    now = used() // MEGABYTE
    if megabytes < now + LEAST_ROOM:
        raise MemoryLimitError(
            f"A node takes {now} MB of address space to start, so that --memory-limit {megabytes} leaves it no room; "
            f"give it at least {now + LEAST_ROOM}."
        )
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = megabytes * MEGABYTE
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise MemoryLimitError(
            f"This process may not have more than {hard // MEGABYTE} MB (`ulimit -v`); lower --memory-limit."
        )
    resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))
    os.nice(NICENESS)


async def until_exceeded(megabytes: int) -> None:
    """Return once this process has used up its limit, and say so in the log."""
    while used() < megabytes * MEGABYTE * ENOUGH:  # noqa: ASYNC110 - nobody tells what a process uses
        await asyncio.sleep(LOOK)
    _LOG.critical("node.memory_limit_reached", used_mb=used() // MEGABYTE, limit_mb=megabytes)


def sentence(megabytes: int, channels: list[str]) -> str:
    """What an operator is told when a node stopped because of its limit."""
    return (
        f"This node stopped because it used up its --memory-limit of {megabytes} MB while it served "
        f"{', '.join(channels) or 'no channel'}; its messages wait. Start it again, with a higher limit if it needs it."
    )
