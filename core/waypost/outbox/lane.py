"""A lane: one gateway's own queue, with its own concurrency, throughput limit and circuit breaker.

A slow provider starves nobody but itself. Inside a lane apps take turns, so that one partner's burst does not hold up
another's single message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from waypost.clock import SECOND, Clock
from waypost.host.accounts import Accounts, CredentialsUnusableError, OpenAccount
from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.lifecycle.evidence import Evidence
from waypost.log import logger
from waypost.outbox import attempt as attempts
from waypost.outbox.attempt import Attempt
from waypost.outbox.breaker import Breaker
from waypost.outbox.places import Places
from waypost.outbox.retry import decide
from waypost.plugin.errors import AccountBlocked, ChannelError, OutcomeUnknown, RateLimited, Transient
from waypost.progress.case import Change, Report
from waypost.routing import Directory
from waypost.store import claims, events, gateways, messages, steps
from waypost.store.database import Database, StoreUnavailableError
from waypost.store.gateways import Gateway
from waypost.store.group_commit import GroupCommit
from waypost.store.messages import Message
from waypost.store.steps import Step

#: Claims are taken this many at a time at most, so that a claim's transaction stays short.
MAX_CLAIM = 64
#: How long to wait between two tries to store a result, in seconds; the last one is repeated. Together they are as long
#: as a database may take to be started again.
PAUSES = (0.1, 0.3, 1.0, 3.0, 9.0, 20.0)
#: Added to a send's own deadline: how long its result may take to be stored before the lease ends, in seconds.
MARGIN = 30.0

_LOG = logger()


@dataclass(frozen=True, slots=True)
class LaneTools:
    """What every lane of a node shares."""

    database: Database
    clock: Clock
    accounts: Accounts
    directory: Callable[[], Directory]
    results: GroupCommit[Report, Change | None]
    owner: str
    lease: float
    poll: float
    blocked: Callable[[Gateway, str, AccountBlocked], None]
    accepted: Callable[[str], None]
    observe: Callable[[str, str, float], None]
    #: hold, resend or fallback, by app.
    on_unknown: Callable[[str], str]


class Lane:
    """Claims and sends one gateway's messages until it is stopped."""

    def __init__(self, gateway_id: str, tools: LaneTools) -> None:
        self.gateway_id = gateway_id
        self.breaker = Breaker(tools.clock)
        self._tools = tools
        self._nudge = asyncio.Event()
        self._places = Places(MAX_CLAIM)
        self._after_app = ""
        self._hold_until = 0
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def can_send(self) -> bool:
        """Whether what waits here would be sent, as far as this node can know before it is tried."""
        gateway = self._gateway()
        if gateway is None:
            return False
        app = self._tools.directory().provider_apps.get(gateway.provider_app_id or "")
        return self._tools.accounts.problem(gateway, app) is None

    def _gateway(self) -> Gateway | None:
        """Its gateway, where that is active and its plugin not disabled here."""
        gateway = self._tools.directory().gateways.get(self.gateway_id)
        if gateway is None or gateway.status != "active" or self._tools.accounts.plugin(gateway) is None:
            return None
        return gateway

    @property
    def in_flight(self) -> int:
        """How many sends are under way."""
        return len(self._places)

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"lane {self.gateway_id}")

    def nudge(self) -> None:
        """There may be something to send."""
        self._nudge.set()

    async def stop(self, patience: float) -> None:
        """Claim no more, and wait for the sends under way as long as patience lasts, in seconds."""
        self._stopping = True
        self._nudge.set()
        self._places.wake()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._places.emptied(patience)

    # ---- the loop

    async def _run(self) -> None:
        while not self._stopping:
            self._nudge.clear()
            try:
                pause = await self._turn()
            except StoreUnavailableError as error:
                _LOG.error("lane.store_unavailable", gateway=self.gateway_id, problem=str(error))
                pause = self._tools.poll
                self.breaker.unused()
            except Exception:  # noqa: BLE001
                # A lane that ended would be a dead channel; what it had claimed is found again by its lease.
                _LOG.exception("lane.fault", gateway=self.gateway_id)
                pause = self._tools.poll
                self.breaker.unused()
            if pause and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._nudge.wait(), pause)

    async def _turn(self) -> float:
        """Claim and begin what there is room for; return how long to wait for more, in seconds."""
        gateway = self._gateway()
        if gateway is None:
            return self._tools.poll
        held = (self._hold_until - self._tools.clock.monotonic()) / SECOND
        if held > 0:
            return min(held, self._tools.poll)
        if await self._places.waited_for(gateway.concurrency):
            return 0.0  # much may have changed meanwhile
        room = min(gateway.concurrency - self.in_flight, MAX_CLAIM)
        allowed = self.breaker.allowance(room)
        if allowed <= 0:
            return min(max(self.breaker.opens_in(), 0.01), self._tools.poll)
        claimed, found, again_in = await self._claim(gateway, allowed)
        if not claimed:
            self.breaker.unused()
            return again_in
        if self.breaker.state == "open":  # it opened while they were being claimed
            await self._tools.database.write(lambda conn: claims.give_back(conn, claimed, self._tools.owner))
        elif not await self._begin(await self._prepare(claimed, found)):
            self.breaker.unused()
        return 0.0

    async def _claim(self, gateway: Gateway, wanted: int) -> tuple[list[Step], dict[str, Message], float]:
        tools, after = self._tools, self._after_app
        now = tools.clock.now()
        lease_until = now + round(tools.lease * SECOND)

        def work(conn: Connection) -> tuple[list[Step], dict[str, Message], list[str], float]:
            apps = claims.waiting_apps(conn, gateway.id, after, wanted, now)
            if not apps and after:
                apps = claims.waiting_apps(conn, gateway.id, "", wanted, now)
            if not apps:
                due = steps.next_due(conn, gateway.id)
                pause = tools.poll if due is None else min(tools.poll, max(0.001, (due - now) / SECOND))
                return [], {}, [], pause
            allowed = gateways.take_tokens(conn, gateway.id, wanted, now) if gateway.rate_per_second else wanted
            if not allowed:
                return [], {}, [], min(tools.poll, 1 / (gateway.rate_per_second or 1))
            chosen = apps[:allowed]
            claimed = claims.claim(
                conn, gateway.id, chosen, max(1, allowed // len(chosen)), tools.owner, now, lease_until
            )
            if gateway.rate_per_second and len(claimed) < allowed:
                gateways.return_tokens(conn, gateway.id, allowed - len(claimed))
            return claimed, messages.get_many(conn, {row.message_id for row in claimed}), chosen, 0.0

        claimed, found, chosen, pause = await tools.database.write(work)
        self._after_app = chosen[-1] if chosen else ""
        return claimed, found, pause

    async def _prepare(self, claimed: Sequence[Step], found: dict[str, Message]) -> list[Attempt]:
        """Do all that can fail before the fence; what fails here certainly was not sent."""
        prepared = []
        opened = await self._opened()
        for step in claimed:
            message = found[step.message_id]
            now = self._tools.clock.now()
            if now >= step.deadline:
                self._report(Report(attempts.evidence(step, "expired", now, code="EXPIRED")))
                continue
            if self._may_not_be_repeated(step, message):
                self._report(attempts.not_repeated(step, now))
                continue
            if isinstance(opened, Exception):
                self._not_ready(step, message, opened, now)
                continue
            try:
                outbound = attempts.outbound(step, message, opened)
            except Exception as error:  # noqa: BLE001 - one message that cannot be read must not hold up the others
                self._not_ready(step, message, error, now)
            else:
                choices = attempts.choices_of(step, self._tools.directory())
                blindly = step.window_until is not None and self._tools.on_unknown(step.app_id) == "resend"
                prepared.append(Attempt(step, message, opened, outbound, *choices, repeats_blindly=blindly))
        return prepared

    def _not_ready(self, step: Step, message: Message, error: Exception, now: int) -> None:
        problem = error if isinstance(error, Transient) else Transient(f"Not ready ({type(error).__name__}).")
        told = error if isinstance(error, CredentialsUnusableError | PluginFaultError) else problem
        _LOG.error("lane.not_ready", gateway=self.gateway_id, message=step.message_id, problem=str(told))
        choices, left_out = attempts.choices_of(step, self._tools.directory())
        retry = decide(step, choices, problem, now, left_out)
        retry = replace(retry, deduped_until=attempts.deduped_until(message, self._plugin_of(step)))
        details = {"code": "NOT_READY", "detail": problem.detail}
        self._report(Report(attempts.evidence(step, "not_sent", now, **details), retry))

    def _may_not_be_repeated(self, step: Step, message: Message) -> bool:
        wish = self._tools.on_unknown(step.app_id)
        latest = self._tools.clock.latest()
        return attempts.may_not_be_repeated(step, message, self._plugin_of(step), wish, latest)

    def _plugin_of(self, step: Step) -> ChannelPlugin | None:
        gateway = self._tools.directory().gateways.get(step.gateway_id)
        return self._tools.accounts.plugin(gateway) if gateway is not None else None

    async def _opened(self) -> OpenAccount | Exception:
        """The account, ready to send by; or why it is not. Asked once for all: each might wait for it in vain."""
        try:
            directory = self._tools.directory()
            gateway = directory.gateways[self.gateway_id]
            opened = self._tools.accounts.account(gateway, directory.provider_apps.get(gateway.provider_app_id or ""))
            await self._tools.accounts.ready(opened)
        except Exception as error:  # noqa: BLE001 - each message is told
            return error
        return opened

    async def _begin(self, prepared: Sequence[Attempt]) -> bool:
        """Pass the fence and begin to send; say whether anything is being sent."""
        if not prepared:
            return False
        tools = self._tools
        now = tools.clock.now()
        timeout = max(item.opened.plugin.info.send_timeout for item in prepared)
        fence = now + round(max(tools.lease, timeout + MARGIN) * SECOND)

        def work(conn: Connection) -> set[tuple[str, int]]:
            # The messages first, as everybody does: the sweeper may just be giving up one of these claims.
            messages.lock_many(conn, {item.message.id for item in prepared})
            won = claims.begin_sending(conn, [item.step for item in prepared], tools.owner, fence)
            began: list[Evidence] = [
                attempts.evidence(item.step, "sending", now)
                for item in prepared
                if (item.step.message_id, item.step.step_no) in won
            ]
            events.add_first(conn, began)
            messages.mark_sending(conn, sorted({item.message_id for item in began}), now)
            return won

        try:
            won = await tools.database.write(work)
        except StoreUnavailableError:
            # It may have been committed all the same; but whoever lives to tell knows that nothing was sent. They are
            # told under the messages' locks, which a transaction that is still about to commit has. What any other
            # fault leaves claimed may be its own message's doing: it is found by its lease, and not for ever.
            for item in prepared:
                self._report(attempts.not_begun(item, now))
            raise
        latest = fence - round(timeout * SECOND)
        for item in prepared:
            if (item.step.message_id, item.step.step_no) in won:
                self._places.take(self._send(item, latest))
        return bool(won)

    # ---- one send

    async def _send(self, item: Attempt, latest: int) -> None:
        tools = self._tools
        began = tools.clock.now()
        if began >= latest:
            self.breaker.unused()
            error = Transient("The worker was too slow to begin; nothing was sent.")
            await self._store(attempts.not_accepted(item, error, began))
            return
        if self._may_not_be_repeated(item.step, item.message):
            self.breaker.unused()
            await self._store(attempts.not_repeated(item.step, began))
            return
        ctx = tools.accounts.context(item.opened, correlation=str(item.ref), idempotency_key=item.idempotency_key)
        try:
            result = await item.opened.plugin.send(ctx, item.outbound)
        except ChannelError as error:
            outcomes = [attempts.not_accepted(item, error, tools.clock.now())]
            self._learn(item, error)
            told = error.code
        else:
            outcomes = attempts.sent(item, result, began, tools.clock.now())
            self.breaker.record(ok=True)
            tools.accepted(self.gateway_id)
            told = "SENT"
        tools.observe(self.gateway_id, told, (tools.clock.now() - began) / SECOND)
        for outcome in outcomes:
            if not await self._store(outcome):
                return  # what follows from it must not be known without it

    async def _store(self, outcome: Report) -> bool:
        """Store a result, which nobody else knows: while the store is down, keep trying, in one of the lane's places.

        A lane that was stopped gives up after it has tried for about as long as a database takes to be started again.
        """
        tries = 0
        while True:
            try:
                await self._tools.results.submit(outcome)
                return True
            except StoreUnavailableError as error:
                _LOG.error("lane.result_not_stored", message=outcome.evidence.message_id, problem=str(error))
            if self._stopping and tries >= len(PAUSES):
                _LOG.critical("lane.result_lost", message=outcome.evidence.message_id, kind=outcome.evidence.kind)
                return False
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    def _report(self, outcome: Report) -> None:
        self._places.take(self._store(outcome))

    def _learn(self, item: Attempt, error: ChannelError) -> None:
        """What an error says about the gateway, beyond this message."""
        if isinstance(error, AccountBlocked | RateLimited):
            self.breaker.unused()  # it says nothing about whether the provider works: the next call may probe again
        if isinstance(error, AccountBlocked):
            self._tools.blocked(item.opened.gateway, item.message.app_id, error)
        elif isinstance(error, RateLimited):
            if error.scope != "recipient":
                hold = round(min(error.retry_after or 1.0, 60.0) * SECOND)
                self._hold_until = max(self._hold_until, self._tools.clock.monotonic() + hold)
        elif isinstance(error, Transient | OutcomeUnknown):
            if self.breaker.record(ok=False):
                _LOG.error("lane.breaker_opened", gateway=self.gateway_id, channel=item.step.channel)
        else:
            self.breaker.record(ok=True)
