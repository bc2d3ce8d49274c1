"""The watchdog: names the plugin that keeps the event loop from turning, while it does.

A thread of its own looks whether the loop ticks. Where it does not, the loop thread's stack says whose code is running:
walked from the inside out, the first frame that belongs to one loaded plugin names it, so that a library is charged to
who called it. Two looks at the very same call are needed, because a loop that is merely busy, or a machine that is, is
no plugin's fault; only where the interpreter itself was held (by a regular expression, say) must one look do.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePath
from types import FrameType

from waypost.host.dispatch import ChannelPlugin
from waypost.log import logger

#: A loop that has not ticked for so long is blocked, in seconds.
BLOCKED = 0.25
#: How often the loop ticks and the thread looks, in seconds.
TICK = 0.05
#: A longer gap is a machine or a process that was suspended, in seconds.
SUSPENDED = 60.0
#: How many blocks within `WITHIN` seconds a plugin may make before it is disabled.
BLOCKS = 3
WITHIN = 3600.0
#: Whose frames say that somebody is looking with a debugger.
_DEBUGGERS = frozenset({"bdb", "pdb", "debugpy", "pydevd", "_pydevd_bundle"})

_LOG = logger()


@dataclass(frozen=True, slots=True)
class Block:
    """A plugin that blocks the loop: for how long so far, in seconds, and where, as `file.py:12 function`."""

    plugin: ChannelPlugin
    seconds: float
    at: str


class Watchdog:
    """Watches one event loop. `start` it on the loop; it tells what it sees from a thread of its own."""

    def __init__(
        self,
        plugins: Iterable[ChannelPlugin],
        *,
        lagged: Callable[[float], None],
        blocked: Callable[[ChannelPlugin], None],
        disable: Callable[[ChannelPlugin, str], None],
    ) -> None:
        self._owners = _owners(plugins)
        self._lagged = lagged
        self._blocked = blocked
        self._disable = disable
        self._blocks: dict[str, deque[float]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticked = 0.0
        self._loop: asyncio.AbstractEventLoop
        self._ident = 0

    # ---- on the loop

    def start(self) -> None:
        """Begin to watch the running loop, which must be this thread's."""
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        self._ticked = time.monotonic()
        self._timer = self._loop.call_later(TICK, self._tick)
        self._thread = threading.Thread(target=self._watch, name="waypost watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _tick(self) -> None:
        now = time.monotonic()
        self._lagged(max(0.0, now - self._ticked - TICK))
        self._ticked = now
        self._timer = self._loop.call_later(TICK, self._tick)

    # ---- on the thread

    def _watch(self) -> None:
        seen: FrameType | None = None
        told_of = 0.0
        looked, used = time.monotonic(), _cpu_seconds(self._ident)
        while not self._stop.wait(TICK):
            now, ticked = time.monotonic(), self._ticked
            gap = now - ticked
            if gap > 2 * TICK and ticked != told_of:
                spent = _cpu_seconds(self._ident)
                held = min(now - looked - TICK, spent - used) > BLOCKED - TICK
                block, call = self._look(gap)
                if block is not None and BLOCKED <= gap < SUSPENDED and (held or call is seen):
                    told_of = ticked
                    self._tell(block, now)
                seen = call
                del call
            else:
                seen = None
            looked, used = time.monotonic(), _cpu_seconds(self._ident)

    def _look(self, seconds: float) -> tuple[Block | None, FrameType | None]:
        """Who is running on the loop just now, and in which call of its."""
        frame = sys._current_frames().get(self._ident)
        task = asyncio.current_task(self._loop)
        inside: dict[str, FrameType] = {}
        outermost: dict[str, FrameType] = {}
        candidates: list[tuple[ChannelPlugin, ...]] = []
        asked: ChannelPlugin | None = None
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            package = module.partition(".")[0]
            if package in _DEBUGGERS:
                return None, None
            if asked is None and module == ChannelPlugin.__module__:
                asked = _asked(frame)
            owners = self._owners.get(package)
            if owners:
                candidates.append(owners)
                for plugin in owners:
                    inside.setdefault(plugin.id, frame)
                    outermost[plugin.id] = frame
            frame = frame.f_back
        # Two plugins may be written in one package; whose hook was called is known all the same.
        culprit = asked if asked is not None and asked.id in inside else _culprit(candidates, task)
        if culprit is None:
            return None, None
        return Block(culprit, seconds, _place(inside[culprit.id])), outermost[culprit.id]

    def _tell(self, block: Block, now: float) -> None:
        plugin = block.plugin
        blocks = self._blocks.setdefault(plugin.id, deque(maxlen=BLOCKS))
        blocks.append(now)
        _LOG.error(
            "plugin.blocks_loop", plugin=plugin.id, seconds=round(block.seconds, 3), at=block.at, blocks=len(blocks)
        )
        self._blocked(plugin)
        if len(blocks) == BLOCKS and now - blocks[0] <= WITHIN and not plugin.halted:
            reason = (
                f"it blocked the event loop {BLOCKS} times, last at {block.at}; mend it and start this node again, or "
                f"give it a process of its own with `waypost serve --role worker --channels {plugin.id}`"
            )
            try:
                self._loop.call_soon_threadsafe(self._disable, plugin, reason)
            except RuntimeError:  # the loop is closed: the node has stopped
                return


def _owners(plugins: Iterable[ChannelPlugin]) -> dict[str, tuple[ChannelPlugin, ...]]:
    """Top-level packages, and the plugins whose hooks are written in them."""
    owners: dict[str, tuple[ChannelPlugin, ...]] = {}
    for plugin in plugins:
        for package in {module.partition(".")[0] for module in plugin.modules}:
            owners[package] = (*owners.get(package, ()), plugin)
    return owners


def _culprit(candidates: list[tuple[ChannelPlugin, ...]], task: asyncio.Task[object] | None) -> ChannelPlugin | None:
    """Whose frames these are, innermost first: the plugin whose hook this is, else the first without a rival."""
    for owners in candidates:
        for plugin in owners:
            if plugin.runs(task):
                return plugin
    return next((owners[0] for owners in candidates if len(owners) == 1), None)


def _asked(frame: FrameType) -> ChannelPlugin | None:
    """The plugin whose hook this frame of the host's calls."""
    caller = frame.f_locals.get("self")
    return caller if isinstance(caller, ChannelPlugin) else None


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{PurePath(code.co_filename).name}:{frame.f_lineno} {code.co_name}"


def _cpu_seconds(ident: int) -> float:
    """The CPU time that a thread has used; 0 where the system does not tell."""
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except (AttributeError, OSError):
        return 0.0
