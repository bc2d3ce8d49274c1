"""Deadlines: an I/O hook runs as a task of its own, which is canceled when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from waypost.log import logger

#: How long a hook may take to end once it is canceled, in seconds; then it is left to itself.
GRACE = 1.0

#: What goes through a plain function unchanged. Whatever else it raises without having declared it is a fault of its
#: plugin, `SystemExit` and other classes below `BaseException` too: they would end the process, and a cancellation that
#: nobody asked for would end whoever waits for an answer.
PASSING = (KeyboardInterrupt, GeneratorExit)
#: What goes through an async function: those, and the cancellation that somebody asked for.
PASSING_ASYNC = (*PASSING, asyncio.CancelledError)

_LOG = logger()


class OverdueError(Exception):
    """A hook did not answer within its deadline."""


class CanceledItselfError(Exception):
    """A hook ended as canceled, and nobody had canceled it."""


async def _outcome(work: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """What a hook answers, or what it raises: as a task's exception, `SystemExit` would end the process."""
    try:
        return await work, None
    except GeneratorExit:
        # So ends who is thrown away, and then nobody reads this. Who raises it would end whoever asked, without a word.
        return None, CanceledItselfError()
    except PASSING_ASYNC:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again by who asked
        return None, error


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Deadlines:
    """Runs one plugin's I/O hooks, each within its deadline."""

    def __init__(self, plugin_id: str) -> None:
        self._plugin_id = plugin_id
        self._tasks: set[asyncio.Task[Any]] = set()
        #: Told which hook did not end when it was canceled.
        self.on_abandoned: Callable[[str], None] = lambda _: None

    def runs(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether this task is one of the hooks."""
        return task in self._tasks

    async def bounded(self, hook: str, work: Awaitable[Any], seconds: float) -> Any:
        """What a hook comes to within its deadline; one that does not end when it is canceled is left to itself.

        Raises what the hook raises, `OverdueError` or `CanceledItselfError`.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(_outcome(work))
        self._tasks.add(task)
        # `asyncio.wait` would do the same at twice the price, and signatures are checked here.
        over = loop.create_future()
        timer = loop.call_later(seconds, _resolve, over)

        def ended(done: asyncio.Task[Any]) -> None:
            self._tasks.discard(done)
            _resolve(over)

        task.add_done_callback(ended)
        overdue = False
        try:
            await over
            if not task.done():
                overdue = True
                await self._end(task, hook)
        except asyncio.CancelledError:
            await self._end(task, hook)
            raise
        finally:
            timer.cancel()
        if overdue and (not task.done() or task.cancelled()):
            raise OverdueError
        if task.cancelled():
            raise CanceledItselfError
        answer, error = task.result()
        if error is not None:
            raise error
        return answer

    async def _end(self, task: asyncio.Task[Any], hook: str) -> None:
        """Cancel a hook and wait for it, but not for ever."""
        if task.done():
            return
        task.cancel()
        if not (await asyncio.wait((task,), timeout=GRACE))[0]:
            _LOG.error("plugin.does_not_stop", plugin=self._plugin_id, hook=hook)
            self.on_abandoned(hook)
