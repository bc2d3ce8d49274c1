"""Do receipts find their message, and say what the provider said?"""

from __future__ import annotations

import asyncio

from waypost.plugin.events import ChannelEvent, DeliveryUpdate
from waypost.plugin.simulator import Outcome
from waypost.testing.check import CheckFailed, NotApplicable, check
from waypost.testing.checks.parsing import ParsingChecks
from waypost.testing.stage import Stage, on_stage

#: How long a receipt is waited for where the plugin listens, in seconds.
LONGEST_WAIT = 5.0
_ORDER = ("sent", "delivered", "read")
#: Outcome → one of these the receipts have to say; an empty set: nothing.
_TOLD: dict[Outcome, frozenset[str]] = {
    Outcome.DELIVERED: frozenset({"sent", "delivered", "read"}),
    Outcome.ACCEPTED: frozenset(),
    Outcome.READ: frozenset({"read"}),
    Outcome.UNDELIVERED: frozenset({"undelivered", "failed"}),
    Outcome.FAILED: frozenset({"failed", "undelivered"}),
}


class ReceiptChecks(ParsingChecks):
    """The receipts of sends through the simulator."""

    @check("gold", "Put ctx.correlation where the provider gives it back, and read it into DeliveryUpdate.correlation.")
    async def test_correlation_returns(self) -> None:
        """With the feature `correlation`, a receipt carries `ctx.correlation` of its send."""
        if "correlation" not in self.channel.info.features:
            raise NotApplicable("not applicable: it does not declare correlation")
        if "listen" in self.channel.hooks and "parse_event" not in self.channel.hooks:
            await self._listened()
        else:
            self.parses()
            await self._delivered()

    async def _delivered(self) -> None:
        async with on_stage(self) as stage:
            await stage.sent(correlation="att_one.A1")
            await stage.sent(correlation="att_two.B2")
            for wanted in ("att_one.A1", "att_two.B2"):
                if not any(update.correlation == wanted for update in await self._receipts(stage)):
                    raise CheckFailed("no receipt carries the correlation of its send")

    async def _listened(self) -> None:
        """The same for a plugin that holds a connection to receive."""
        wanted, heard = {"att_one.A1", "att_two.B2"}, asyncio.Event()

        async def emit(event: ChannelEvent) -> None:
            wanted.discard(getattr(event, "correlation", None) or "")
            if not wanted:
                heard.set()

        async with on_stage(self) as stage:
            listener = asyncio.ensure_future(self.hooks.listen(ctx=stage.context(""), emit=emit))
            for correlation in sorted(wanted):
                await stage.sent(correlation=correlation)
            waiting = asyncio.ensure_future(heard.wait())
            await asyncio.wait({waiting, listener}, timeout=LONGEST_WAIT, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            listener.cancel()
            await asyncio.wait({waiting, listener})
        if wanted:
            raise CheckFailed("listening brings no receipt that carries the correlation of its send")

    @check("gold", "Give every receipt the provider's message id that send returned, our correlation, or a watermark.")
    async def test_receipts_find_message(self) -> None:
        """Every receipt names the message it is about."""
        self.parses()
        async with on_stage(self) as stage:
            result = await stage.sent(correlation="att_one.A1")
            for update in await self._receipts(stage):
                by_watermark = update.watermark is not None and update.recipient is not None
                if update.provider_id in result.provider_ids or update.correlation == "att_one.A1" or by_watermark:
                    continue
                raise CheckFailed(f"a {update.status} receipt names neither the message's id nor its correlation")

    @check(
        "gold", "Let magic recipients bring the receipts of their outcome, and declare the last one as last_receipt."
    )
    async def test_receipts_tell(self) -> None:
        """The receipts of magic recipients say what their outcome says; `last_receipt` is among them."""
        self.parses()
        if self.channel.info.last_receipt == "sent" and not self.new_simulator().receipts_for(Outcome.DELIVERED):
            raise NotApplicable("not applicable: the provider's answer to a send is all that it ever tells")
        reached: set[str] = set()
        for outcome, allowed in _TOLD.items():
            async with on_stage(self) as stage:
                to = next((one for one, what in stage.simulator.magic.items() if what is outcome), None)
                if to is None and outcome is not Outcome.DELIVERED:
                    continue
                await stage.sent(to)
                told = {update.status for update in await self._receipts(stage)}
                reached |= told
                if outcome is Outcome.READ and self.channel.info.last_receipt != "read":
                    # An open or a click, which tells nothing of the message's status.
                    continue
                if not told & allowed if allowed else told:
                    raise CheckFailed(f"{outcome}: the receipts say {sorted(told) or 'nothing'}")
        last = self.channel.info.last_receipt
        if not reached & set(_ORDER[_ORDER.index(last) :]):
            raise CheckFailed(f"last_receipt is {last!r}, and the simulator tells {sorted(reached) or 'nothing'} only")

    async def _receipts(self, stage: Stage) -> list[DeliveryUpdate]:
        await stage.simulator.settle()
        requests = stage.collector.requests if stage.collector else []
        events = [event for request in requests for event in self.events_of(stage.webhook_context(), request)]
        return [event for event in events if isinstance(event, DeliveryUpdate)]
