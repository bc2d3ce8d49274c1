"""Does it send: each kind, many at once, without holding the event loop up?"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

from waypost.plugin.content import Action
from waypost.plugin.errors import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OptedOut,
    OutcomeUnknown,
    OutsideWindow,
    RateLimited,
    Transient,
)
from waypost.plugin.simulator import ACCEPTING, Outcome, Simulator
from waypost.plugin.types import OutboundMessage, SendResult
from waypost.plugin.web_simulator import WebSimulator
from waypost.testing.check import CheckFailed, check
from waypost.testing.credentials import with_other_secrets
from waypost.testing.fault_server import Fault, FaultServer
from waypost.testing.probing import probe
from waypost.testing.stage import Stage, on_stage, opened
from waypost.testing.subject import Subject

#: How long the event loop may be held up, in seconds.
BLOCK_LIMIT = 0.15
#: The fault server answers after this, in seconds: a call that blocks is held up for as long.
SLOW = 0.3

#: What a send to a magic recipient raises; an outcome that is not here is accepted.
RAISED: dict[Outcome, tuple[type[ChannelError], ...]] = {
    Outcome.INVALID_RECIPIENT: (InvalidRecipient,),
    Outcome.OPTED_OUT: (OptedOut,),
    Outcome.CONTENT_REJECTED: (ContentRejected,),
    Outcome.OUTSIDE_WINDOW: (OutsideWindow,),
    Outcome.MISCONFIGURED: (Misconfigured,),
    Outcome.ACCOUNT_BLOCKED: (AccountBlocked,),
    Outcome.RATE_LIMITED: (RateLimited,),
    Outcome.RATE_LIMITED_ONCE: (RateLimited,),
    Outcome.UNAVAILABLE: (OutcomeUnknown, Transient),
    Outcome.HANG: (OutcomeUnknown,),
    Outcome.ACCEPT_THEN_DROP: (OutcomeUnknown,),
    Outcome.GARBAGE: (OutcomeUnknown,),
}
#: What the demo, test keys and fault tests need of every simulator.
NEEDED_MAGIC = frozenset(
    {Outcome.INVALID_RECIPIENT, Outcome.RATE_LIMITED, Outcome.HANG, Outcome.ACCEPT_THEN_DROP, Outcome.GARBAGE}
)
#: Kinds that are shown in a conversation and are no messages of their own.
_NO_MESSAGES = frozenset({"reaction"})


class SendingChecks(Subject):
    """Sends through the plugin's own simulator."""

    @check(
        "bronze",
        "Implement `simulator`: return a new WebSimulator (or Simulator) with settings and an ordinary recipient.",
    )
    async def test_simulator_there(self) -> None:
        """The plugin brings a simulator that is new each time and whose settings the plugin takes."""
        one, other = self.new_simulator(), self.new_simulator()
        if one is other:
            raise CheckFailed("simulator() returned the same simulator twice")
        if not one.ordinary_recipient:
            raise CheckFailed("the simulator has no `ordinary_recipient`")
        if self.channel.info.receives == "webhook" and not isinstance(one, WebSimulator):
            raise CheckFailed("the simulator of a provider that tells by webhooks has to be a WebSimulator")
        async with on_stage(self):
            pass

    @check("bronze", "Return a SendResult with the provider's ids, the most important first, as strings.")
    async def test_sends_one(self) -> None:
        """A send through the simulator returns a `SendResult`."""
        async with on_stage(self) as stage:
            result = await stage.sent()
            ids: Any = result.provider_ids
            if not isinstance(ids, tuple) or not all(isinstance(one, str) and one for one in ids):
                raise CheckFailed(f"provider_ids is {ids!r}, not a tuple of strings")
            if result.status not in ("accepted", "sent"):
                raise CheckFailed(f"status is {result.status!r}, neither 'accepted' nor 'sent'")

    @check("gold", "Make every declared content kind sendable, or take it out of content_kinds.")
    async def test_kinds_sent(self) -> None:
        """The example of every declared content kind is accepted by the simulator."""
        problems = []
        async with on_stage(self) as stage:
            for kind in sorted(self.channel.info.content_kinds):
                try:
                    await stage.sent(kind=kind)
                except CheckFailed as failure:
                    problems.append(f"{kind}: {failure}")
        if problems:
            raise CheckFailed("\n".join(problems))

    @check("gold", "Make one message-creating request per send, and let the simulator `record` each of them.")
    async def test_one_request_per_send(self) -> None:
        """The simulator's journal grows by exactly one with every message, and by no more with an action."""
        async with on_stage(self) as stage:
            for kind in sorted(self.channel.info.content_kinds):
                before = len(stage.simulator.journal)
                await stage.sent(kind=kind)
                grown = len(stage.simulator.journal) - before
                is_action = kind in _NO_MESSAGES or isinstance(self.content(kind), Action)
                if grown > 1 or (grown < 1 and not is_action):
                    raise CheckFailed(f"{kind}: the journal grew by {grown}, not by 1")

    @check("gold", "Give the simulator a magic recipient for each outcome that core tests rely on.")
    def test_simulator_magic(self) -> None:
        """There are magic recipients for a refusal, a rate limit, a hang, a dropped connection and garbage."""
        simulator = self.new_simulator()
        needed = NEEDED_MAGIC if self.speaks_http else NEEDED_MAGIC - {Outcome.HANG, Outcome.GARBAGE}
        missing = sorted(needed - set(simulator.magic.values()))
        if missing:
            raise CheckFailed(f"no magic recipient for {', '.join(missing)}")
        if simulator.ordinary_recipient in simulator.magic:
            raise CheckFailed("the ordinary recipient is a magic one")

    @check("gold", "Map the provider's own error to the class that the magic recipient's outcome names.")
    async def test_simulator_outcomes(self) -> None:
        """A send to each magic recipient ends as its outcome says, and the journal agrees."""
        problems = []
        async with on_stage(self) as stage:
            for to, outcome in stage.simulator.magic.items():
                problems += [f"{outcome} ({to}): {problem}" for problem in await self._outcome(stage, to, outcome)]
        if problems:
            raise CheckFailed("\n".join(problems))

    async def _outcome(self, stage: Stage, to: str, outcome: Outcome) -> list[str]:
        before = len(stage.simulator.journal)
        with stage.patience.brief() if outcome is Outcome.HANG else nullcontext():
            problems = _unlike(outcome, await _attempt(stage, self.message(stage.simulator, to=to)))
        entries = stage.simulator.journal[before:]
        if len(entries) != 1:
            problems.append(f"the journal grew by {len(entries)}, not by 1")
        elif outcome is not Outcome.RATE_LIMITED_ONCE and entries[0].accepted != (outcome in ACCEPTING):
            problems.append(f"the journal says accepted={entries[0].accepted}")
        if outcome is Outcome.RATE_LIMITED_ONCE and not problems:
            again = await _attempt(stage, self.message(stage.simulator, to=to))
            problems += _unlike(Outcome.DELIVERED, again)
        return problems

    @check(
        "gold", "Let the simulator check the credentials as the provider does, and answer with the provider's error."
    )
    async def test_simulator_refuses_strangers(self) -> None:
        """The simulator refuses the credentials of another account, as `AccountBlocked` or `Permanent`."""
        async with on_stage(self) as stage:
            stranger = Stage(self, stage.simulator, with_other_secrets(self, stage), stage.http, stage.collector)
            try:
                async with opened(stranger):
                    ending = await _attempt(stranger, self.message(stage.simulator))
            except ChannelError as error:
                ending = error
            if isinstance(ending, SendResult) or any(entry.accepted for entry in stage.simulator.journal):
                raise CheckFailed("the simulator took a message from a stranger")
            if isinstance(ending, Transient | OutcomeUnknown) or not isinstance(ending, ChannelError):
                raise CheckFailed(f"a stranger's send ended with {_named(ending)}")

    @check("gold", "Keep nothing of a send on the plugin object: what one send needs lives in its own call.")
    async def test_concurrent_sends(self) -> None:
        """Many sends at once each get their own answer."""
        async with on_stage(self) as stage:
            # A dropped connection takes the other sends with it where there is one connection for all.
            alone = {Outcome.HANG} if self.speaks_http else {Outcome.HANG, Outcome.ACCEPT_THEN_DROP}
            quick = {to: what for to, what in stage.simulator.magic.items() if what not in alone}
            recipients = [*quick, stage.simulator.ordinary_recipient] * 2
            once = [to for to in recipients if quick.get(to) is not Outcome.RATE_LIMITED_ONCE]
            endings = await asyncio.gather(
                *(_attempt(stage, self.message(stage.simulator, to=to), f"att_{n}") for n, to in enumerate(once))
            )
            problems = [
                f"{to}: {problem}"
                for to, ending in zip(once, endings, strict=True)
                for problem in _unlike(quick.get(to, Outcome.DELIVERED), ending)
            ]
            problems += _mixed_up(stage.simulator, once, endings)
        if problems:
            raise CheckFailed("\n".join(dict.fromkeys(problems)))

    @check(
        "gold",
        "Await instead of blocking: no requests, time.sleep or SDK import on the loop (asyncio.to_thread helps).",
    )
    def test_loop_free(self) -> None:
        """No send holds the event loop up for more than 150 ms, not even the first of a process."""
        with FaultServer(Fault(status=500, delay=SLOW)) as server:
            job: dict[str, Any] = {"plugin": self.plugin, "base_url_setting": self.base_url_setting}
            beats = probe(job | {"url": server.url if self.speaks_http else None})["beats"]
        # A busy machine stretches the wall's time now and then, but neither every time nor this thread's own.
        wall, thread = min(beat["wall"] for beat in beats), max(beat["thread"] for beat in beats)
        longest = max(wall, thread)
        if longest > BLOCK_LIMIT:
            raise CheckFailed(f"a send held the event loop up for {longest * 1000:.0f} ms")


async def _attempt(stage: Stage, message: OutboundMessage, correlation: str = "att_contract") -> object:
    try:
        return await stage.send(message, correlation)
    except CheckFailed:
        raise
    except Exception as error:  # noqa: BLE001 - the checks judge whatever it is
        return error


def _unlike(outcome: Outcome, ending: object) -> list[str]:
    expected = RAISED.get(outcome)
    if expected is None:
        return [] if isinstance(ending, SendResult) else [f"was not accepted: {_named(ending)}"]
    if isinstance(ending, expected):
        return []
    return [f"expected {' or '.join(cls.__name__ for cls in expected)}, got {_named(ending)}"]


def _named(ending: object) -> str:
    if isinstance(ending, ChannelError):
        return f"{type(ending).__name__} ({ending.detail})"
    return f"{type(ending).__name__}: {ending}" if isinstance(ending, Exception) else type(ending).__name__


def _mixed_up(simulator: Simulator, recipients: list[str], endings: list[object]) -> list[str]:
    """The answers that carry the id of another's message, by the journal."""
    owners: dict[str, str] = {
        entry.provider_id: entry.recipient for entry in simulator.journal if entry.provider_id is not None
    }
    given = [
        (to, one) for to, ending in zip(recipients, endings, strict=True) if isinstance(ending, SendResult)
        for one in ending.provider_ids
    ]  # fmt: skip
    problems = [f"{to} got the id of the message to {owners[one]}" for to, one in given if owners.get(one, to) != to]
    ids = [one for _, one in given]
    if len(set(ids)) < len(ids):
        problems.append("two sends got the same id")
    return problems
