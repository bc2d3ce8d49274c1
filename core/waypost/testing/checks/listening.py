"""Does a plugin that listens hear what is said, keep it before it thanks for it, and let go?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from waypost.plugin.content import Text
from waypost.plugin.events import ChannelEvent, InboundMessage
from waypost.testing.check import CheckFailed, NotApplicable, check
from waypost.testing.stage import INBOUND_TEXT, Stage, on_stage
from waypost.testing.subject import Subject

#: How long something is waited for that was said, in seconds.
LONGEST_WAIT = 5.0
#: How long a plugin may take to let go of its connection, in seconds: as long as the host waits.
PATIENCE = 5.0


class NotKeptError(Exception):
    """The gateway could not store the event; let this through, and acknowledge nothing."""


class Listening:
    """A `listen` that is under way, and the inbound messages that it emitted; unless `keeping`, none can be stored."""

    def __init__(self, stage: Stage, *, keeping: bool) -> None:
        self.heard: asyncio.Queue[InboundMessage] = asyncio.Queue()
        self._keeping = keeping
        self.task = asyncio.ensure_future(stage.subject.hooks.listen(ctx=stage.context(""), emit=self._emit))

    async def _emit(self, event: ChannelEvent) -> None:
        if isinstance(event, InboundMessage):
            self.heard.put_nowait(event)
            if not self._keeping:
                raise NotKeptError(NotKeptError.__doc__)

    async def message(self) -> InboundMessage:
        """The next inbound message. Says `CheckFailed` where there is none, or listening ended."""
        waiting = asyncio.ensure_future(self.heard.get())
        await asyncio.wait({waiting, self.task}, timeout=LONGEST_WAIT, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        if self.task.done():
            raise CheckFailed(f"listen ended ({self._ending()}) before it emitted what was said")
        self.task.cancel()
        raise CheckFailed(f"listen emitted no InboundMessage within {LONGEST_WAIT:g} s of its being said")

    async def let_go(self) -> None:
        """Cancel it, as the host does. Says `CheckFailed` where it does not end."""
        self.task.cancel()
        if not (await asyncio.wait({self.task}, timeout=PATIENCE))[0]:
            raise CheckFailed(f"listen does not end within {PATIENCE:g} s of being cancelled")

    def _ending(self) -> str:
        fault = self.task.exception() if not self.task.cancelled() else None
        return type(fault).__name__ if fault is not None else "of its own accord"


class ListeningChecks(Subject):
    """`listen`, with somebody who writes to the account."""

    @check(
        "silver", "Emit what is written to the account, with its text and its sender; let go within 5 s when cancelled."
    )
    async def test_listen_hears(self) -> None:
        """What somebody writes is emitted as it was written, and a cancelled connection ends."""
        async with self._written_to() as stage:
            listening = Listening(stage, keeping=True)
            message = await listening.message()
            await listening.let_go()
        if not isinstance(message.content, Text) or message.content.body != INBOUND_TEXT:
            raise CheckFailed("an inbound message does not hold the text that was written")
        if not message.sender or not all(address.value for address in message.sender):
            raise CheckFailed("an inbound message does not say who wrote")

    @check("silver", "Await emit before you acknowledge, and let what it raises through: the provider says it again.")
    async def test_listen_keeps(self) -> None:
        """What could not be stored is not acknowledged: it comes again on the next connection, as the same event."""
        async with self._written_to() as stage:
            refused = Listening(stage, keeping=False)
            first = await refused.message()
            if not (await asyncio.wait({refused.task}, timeout=LONGEST_WAIT))[0]:
                refused.task.cancel()
                raise CheckFailed("listen goes on after emit raised, so that what was not stored is lost or late")
            with suppress(Exception):
                refused.task.result()
            again = Listening(stage, keeping=True)
            second = await again.message()
            await again.let_go()
        if first.event_id != second.event_id:
            raise CheckFailed("what is said again has another event id, so that it would be taken twice")

    @asynccontextmanager
    async def _written_to(self) -> AsyncIterator[Stage]:
        if "listen" not in self.channel.hooks:
            raise NotApplicable("not applicable: it holds no connection")
        async with on_stage(self) as stage:
            try:
                await stage.simulator.write(INBOUND_TEXT)
            except NotImplementedError:
                raise NotApplicable("not applicable: nobody can write to its simulator") from None
            yield stage
