"""Storms: sends, fallbacks, unknown outcomes, look-ups, contradictory receipts, cancellations, pauses, outages, clocks.

All at random. The store fails too, and on PostgreSQL there is a second node. Whatever came to pass, afterwards every
message has the end that follows from its events, and costs what that costs; no credit is held, the books balance,
nothing reached a provider that was not written down before, nothing began to be sent that was canceled, and nobody got
a message twice but for an app that wishes to resend. `WAYPOST_STORMS=100` weathers more of them by hand.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, deque
from contextlib import AsyncExitStack, suppress
from typing import Any, Literal, cast

import pytest
from fake_channel import FakeChannel
from held_clock import HeldClock
from sqlalchemy import select
from troubled_store import TroubledStore
from waypost.admission.candidate import Admitted
from waypost.admission.request import FallbackRequest
from waypost.clock import HOUR, MINUTE, SECOND
from waypost.lifecycle.settlement import charge
from waypost.lifecycle.status import message_status, step_status
from waypost.outbox import lane
from waypost.plugin import (
    Context,
    DeliveryUpdate,
    LookupResult,
    OutboundMessage,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    SendAttempt,
    SendResult,
    Transient,
)
from waypost.progress.case import LEFT_OUT
from waypost.progress.queue import MOST_SENDS
from waypost.refusals import AcceptanceUnknown, ChannelConfigNotFound, InsufficientCredit, Unavailable
from waypost.store import gateways
from waypost.store.database import Database, StoreUnavailableError
from waypost.store.postgres import PostgresDatabase
from waypost.store.steps import load_choices
from waypost.store.tables import event, message
from waypost.vault import Vault, new_key
from world import PRICE, OpenWorld, Partner, World

STORMS = int(os.environ.get("WAYPOST_STORMS", "1"))
MOMENTS = 80
_RECEIPTS = ("sent", "delivered", "read", "failed", "undelivered")
_Until = Literal["sent", "delivered", "read"]


class Provider:
    """One provider behind two gateways, which answers at random and knows what it has had; some know it by our key."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.remembers = chance.choice([0, 0, 120])
        self.hooks = frozenset({"lookup"}) if chance.random() < 0.7 else frozenset[str]()
        self.arrivals: Counter[str] = Counter()
        #: Provider id → correlation, correlation → provider id, and our key → provider id and when it came.
        self.ids: dict[str, str] = {}
        self.records: dict[str, str] = {}
        self.keys: dict[str, tuple[str, int]] = {}
        #: The gateways through which it cannot be reached just now.
        self.out_of_reach: set[str] = set()
        #: Sends that are on their way to it, until it lets them in.
        self.on_their_way: list[asyncio.Event] = []
        self.lets_in = asyncio.Event()
        #: How often a step had been begun that was then canceled.
        self.canceled: dict[tuple[str, int], int] = {}
        #: How far our clock has leapt; its own has not.
        self.leapt = 0
        self.world: World

    def channel(self, name: str) -> FakeChannel:
        """A plugin that leads to it."""
        info: dict[str, Any] = {}
        if self.remembers:
            info = {"idempotent_for": self.remembers, "features": frozenset({"idempotent_send"})}
        channel = FakeChannel(name, "SMS", hooks=self.hooks, info=info).on("*", self.send)
        channel.lookup_answers = deque([self.look_up] * 10_000)
        return channel

    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        if self.chance.random() < 0.2:
            there = asyncio.Event()
            self.on_their_way.append(there)
            await self.lets_in.wait()
            there.set()
        now = self.world.clock.now() - self.leapt  # it is there at once, however late its answer
        await asyncio.sleep(0)
        if ctx.gateway_id in self.out_of_reach:
            raise Transient
        lot = self.chance.random()
        if lot < 0.45:
            return SendResult(provider_ids=(self._arrived(ctx, now),))
        if lot < 0.6:
            self._arrived(ctx, now)
            raise OutcomeUnknown
        if lot < 0.9:
            raise self.chance.choice([OutcomeUnknown(), Transient(), RateLimited(retry_after=30, scope="recipient")])
        raise Permanent

    async def time_passes(self, micros: int) -> None:
        """Let time pass; before it has, what is on its way is there."""
        self.lets_in.set()
        for there in self.on_their_way:
            await there.wait()
        self.on_their_way.clear()
        self.lets_in.clear()
        self.world.clock.advance(micros)

    def _arrived(self, ctx: Context, now: int) -> str:
        key = ctx.idempotency_key
        known, since = self.keys.get(key, ("", 0))
        if known and now < since + self.remembers * SECOND:
            return known
        self.arrivals[key] += 1
        provider_id = f"p-{len(self.ids) + 1}"
        self.ids[provider_id] = ctx.correlation
        self.records[ctx.correlation] = provider_id
        self.keys[key] = (provider_id, now)
        return provider_id

    async def look_up(self, ctx: Context, attempt: SendAttempt) -> LookupResult | None:
        if self.chance.random() < 0.3:
            return None
        found = self.records.get(attempt.correlation)
        if found is None and self.remembers:  # it took a later attempt for the first
            found = self.keys.get(attempt.correlation.rpartition(".")[0], (None,))[0]
        return LookupResult(found=found is not None, provider_ids=(found,) if found else ())


async def something_happens(world: World, partner: Partner, provider: Provider, made: list[Admitted]) -> None:
    """One moment of a storm."""
    chance, lot = provider.chance, provider.chance.random()
    gateway = chance.choice(partner.gateways)
    if lot < 0.4:
        further = [
            FallbackRequest(
                channel="SMS",
                after=chance.choice([None, 5, 60, 600]),
                until=cast("_Until", chance.choice(_RECEIPTS[:3])),
            )
            for _ in range(chance.choice([0, 0, 1, 2]))
        ]
        to, validity = f"+49{chance.randint(10**9, 10**10)}", chance.choice([None, 30, 300])
        try:
            made.append(await world.accept(partner, to, fallback=tuple(further), validity=validity))
        except (InsufficientCredit, ChannelConfigNotFound):
            await provider.time_passes(MINUTE)
    elif lot < 0.6 and provider.ids:
        provider_id, correlation = chance.choice(list(provider.ids.items()))
        named = provider_id if chance.random() < 0.7 else None
        status = chance.choice(_RECEIPTS)
        event = f"e{chance.randint(0, 10**9)}"
        update = DeliveryUpdate(event_id=event, status=status, provider_id=named, correlation=correlation)  # type: ignore[arg-type]
        await world.tell(partner, update, gateway=gateway)
    elif lot < 0.68:
        for by in (chance.choice([10 * SECOND, 10 * MINUTE, HOUR, -10 * MINUTE, -HOUR]), 10 * SECOND, 10 * SECOND):
            world.clock.leap(by)
            provider.leapt += by
            await world.rest()
    elif lot < 0.85:
        await provider.time_passes(chance.choice([SECOND, 5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE]))
    elif lot < 0.92:
        status = chance.choice(["paused", "disabled", "active", "active", "active"])
        await world.decide(lambda conn: gateways.set_status(conn, gateway.id, status, ""))
    elif lot < 0.95:
        provider.out_of_reach ^= {gateway.id}
    elif lot < 0.98 and made:
        ids = {chance.choice(made[-8:]).message.id for _ in range(4)}
        try:
            await world.ask("messages.cancel", messages=sorted(ids))
        finally:  # it may be done all the same
            for message_id in ids:
                for step_no, began in (await times_begun(world, message_id)).items():
                    provider.canceled.setdefault((message_id, step_no), began)
    else:
        await world.rest()


async def times_begun(world: World, message_id: str) -> dict[int, int]:
    """How often each step of a message was begun to be sent that an operator has canceled."""
    evidence = await world.events(message_id)
    counts = Counter(item.step_no for item in evidence if item.kind == "sending")
    return {item.step_no: counts[item.step_no] for item in evidence if item.source == "operator"}


async def all_is_over(nodes: list[World], partner: Partner, provider: Provider, troubles: list[TroubledStore]) -> None:
    """Let the gateways work and time pass, until every receipt window has closed."""
    for store in troubles:
        store.share = 0.0
    provider.out_of_reach.clear()
    provider.lets_in.set()
    world = nodes[0]
    for gateway in partner.gateways:
        await world.decide(lambda conn, gateway=gateway: gateways.set_status(conn, gateway.id, "active", ""))  # type: ignore[misc]
    for pause in (*[2 * HOUR] * 60, *[12 * HOUR] * 20):
        for one in nodes:
            await one.node.outbox.sweep_once()
        await asyncio.sleep(0.01)
        world.clock.advance(pause)
    await world.until(lambda: nothing_held(world, partner), "the end of all holds")


async def nothing_held(world: World, partner: Partner) -> bool:
    world.clock.advance(HOUR)
    return (await world.balance(partner.org)).held == 0


async def its_end_follows_from_its_events(world: World, message_id: str, *, is_paid: bool) -> None:
    """Status and money, folded once more from what is stored."""
    stored, found, evidence = (
        await world.message(message_id), await world.steps(message_id), await world.events(message_id),
    )  # fmt: skip
    folded = {step.step_no: step_status(item for item in evidence if item.step_no == step.step_no) for step in found}
    needed = {number: status.status for number, status in folded.items() if status.error_code not in LEFT_OUT}
    unknown = [number for number in needed if folded[number].error_code == "OUTCOME_UNKNOWN"]
    assert stored.status == message_status(needed, waiting=False, unknown=unknown)[0]
    assert stored.status not in ("QUEUED", "SENDING", "UNKNOWN")
    assert stored.settled_at is not None
    assert stored.captured == sum(step.captured for step in found) <= stored.held
    for step in found:
        status = folded[step.step_no]
        assert step.status == status.status
        decided = (status.decided_by and status.decided_by.gateway_id) or step.gateway_id
        (lines,) = (choice.lines for choice in load_choices(step.choices) if choice.gateway_id == decided)
        assert step.captured == charge(status, lines) or not is_paid


async def storm(
    nodes: list[World], channels: list[FakeChannel], provider: Provider, troubles: list[TroubledStore], wish: str
) -> None:
    """Set everything up, let a storm pass over these nodes, and look at what is left."""
    chance, world = provider.chance, nodes[0]
    provider.world = world
    through = [
        await world.gateway(
            channel,
            receipt_window=chance.choice([5 * MINUTE, HOUR, 72 * HOUR]),
            concurrency=chance.choice([1, 4, 32]),
        )
        for channel in channels
    ]
    for gateway in through:
        await world.rate(gateway)
    credit = chance.choice([3, 50, 10**6])
    partner = await world.partner(*through, credit_micros=credit * PRICE, on_unknown=wish)
    for one in nodes:
        await one.node.refresh()
        await one.start()
    made: list[Admitted] = []
    for _ in range(MOMENTS):
        if chance.random() < 0.1:
            chance.choice(troubles).share = chance.choice([0.0, 0.0, 0.05, 0.3, 0.8, 2.0])
        with suppress(StoreUnavailableError, Unavailable, AcceptanceUnknown):
            await something_happens(chance.choice(nodes), partner, provider, made)
    await all_is_over(nodes, partner, provider, troubles)
    ids = await world.database.read(lambda conn: set(conn.execute(select(message.c.id)).scalars()))
    assert {admitted.message.id for admitted in made} <= ids
    for message_id in ids:
        # A late charge for which no credit is left is told, and not collected.
        await its_end_follows_from_its_events(world, message_id, is_paid=credit == 10**6)
    begun = await world.database.read(
        lambda conn: conn.execute(select(event.c.message_id, event.c.key).where(event.c.kind == "sending")).all()
    )
    for (message_id, step_no), times in provider.canceled.items():
        assert (await times_begun(world, message_id))[step_no] == times
    assert provider.records.keys() <= {f"{message_id}.{key.removesuffix('.sending')}" for message_id, key in begun}
    assert max(provider.arrivals.values(), default=0) <= (MOST_SENDS if wish == "resend" else 1)
    assert await world.books_balance()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that could not be stored is tried again at once."""
    monkeypatch.setattr(lane, "PAUSES", (0.01,))


@pytest.mark.parametrize("seed", range(STORMS))
@pytest.mark.parametrize("wish", ["hold", "resend", "fallback"])
async def test_after_any_storm_all_is_settled_and_nobody_got_a_message_twice(
    open_world: OpenWorld, database: Database, wish: str, seed: int
) -> None:
    provider = Provider(random.Random(f"{wish} {seed}"))
    channels = [provider.channel("one"), provider.channel("two")]
    store = TroubledStore(database, provider.chance)
    world = await open_world(*channels, database=store)
    world.database = database
    await storm([world], channels, provider, [store], wish)


@pytest.mark.postgres
@pytest.mark.parametrize("seed", range(STORMS))
@pytest.mark.parametrize("wish", ["hold", "resend", "fallback"])
async def test_two_nodes_weather_a_storm(postgres_url: str, clock: HeldClock, wish: str, seed: int) -> None:
    """Each has a store of its own to lose."""
    provider = Provider(random.Random(f"two nodes, {wish} {seed}"))
    channels = [provider.channel("one"), provider.channel("two")]
    vault, nodes, stores = Vault([new_key()]), [], []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            database = await PostgresDatabase.open(postgres_url)
            stack.push_async_callback(database.close)
            database.clock = clock
            stores.append(TroubledStore(database, provider.chance))
            nodes.append(await World.open(stores[-1], clock, *channels, vault=vault))
            stack.push_async_callback(nodes[-1].close)
            nodes[-1].database = database
        await storm(nodes, channels, provider, stores, wish)
