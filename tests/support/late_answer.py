"""A send whose answer the test holds back, so that receipts overtake it."""

from __future__ import annotations

import asyncio

from waypost.admission.candidate import Admitted
from waypost.plugin import Context, OutboundMessage, SendResult
from waypost.plugin.errors import ChannelError
from world import TO, Partner, World


class LateAnswer:
    """A provider that answers when `answer` is set."""

    def __init__(self, error: ChannelError | None = None) -> None:
        self.answer = asyncio.Event()
        self.error = error

    async def __call__(self, ctx: Context, message: OutboundMessage) -> SendResult:
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return SendResult(provider_ids=("p",))


async def under_way(world: World, error: ChannelError | None = None) -> tuple[Partner, LateAnswer, Admitted]:
    """A message whose send waits for the provider's answer."""
    partner, later = await world.partner(), LateAnswer(error)
    world.channel.on(TO, later)
    await world.start()
    admitted = await world.accept(partner)
    await world.channel.called(1)
    return partner, later, admitted
