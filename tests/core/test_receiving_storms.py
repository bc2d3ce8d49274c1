"""Storms of what a provider tells: one history, told to two accounts in two orders, must leave the same behind.

A history has sends whose answers come late or never, receipts by our id, by theirs and by watermark, echoes, messages
with edits and unsends, taps, reactions and words on consent. Each account hears it in another order, told again, cut
into other deliveries, some of which are large or are not understood at first and are parsed again later; the second
hears it through two nodes whose store fails. `WAYPOST_STORMS=100` weathers more of them by hand.

Left out is what depends on the order by design: two changes of one moment (the later arrival wins), what a stranger
changes, a new address (what is known by then moves along), the order in which words without a time are first heard, and
whether a price that the provider tells is kept beside its message (where that is known by then).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fake_channel import FakeChannel
from sqlalchemy import Connection, select
from told_history import CHAPTER, CHAPTERS, PEOPLE, Fact, History, Send
from troubled_store import TroubledStore
from waypost.admission.candidate import Admitted
from waypost.clock import HOUR, SECOND
from waypost.inbox import service
from waypost.outbox import lane
from waypost.plugin import (
    ChannelEvent,
    Context,
    DeliveryUpdate,
    OutboundMessage,
    OutcomeUnknown,
    Permanent,
    Quote,
    QuoteLine,
    SendResult,
)
from waypost.store.database import Database, StoreUnavailableError
from waypost.store.tables import channel_event, conversation, inbound_message
from waypost.vault import Vault, new_key
from world import OpenWorld, Partner, World

STORMS = int(os.environ.get("WAYPOST_STORMS", "2"))
#: Columns whose order of names says nothing.
_JSON = ("content", "consent")


@dataclass
class Post:
    """A delivery, and in which chapter it is understood at last where it is not at first."""

    facts: list[Fact]
    is_large: bool
    understood: int | None = None


@dataclass
class Twin:
    """One of the accounts that live through the history, and how it is told to it."""

    partner: Partner
    nodes: list[World]
    stores: list[TroubledStore]
    chance: random.Random
    admitted: dict[int, Admitted] = field(default_factory=dict)
    correlations: dict[int, str] = field(default_factory=dict)
    begun: dict[int, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    answers: dict[int, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    #: What is told, and which sends are answered, by chapter.
    told: dict[int, list[Post | int]] = field(default_factory=lambda: defaultdict(list))
    misunderstood: list[tuple[int, Any, list[ChannelEvent]]] = field(default_factory=list)

    def plan(self, history: History) -> None:
        """Put everything off for as long as may be, tell some of it again, and cut it into deliveries."""
        chance, tellings = self.chance, defaultdict(list)
        for fact in history.facts:
            first = fact.chapter
            # What bears no time happened when it is heard of.
            if fact.event.occurred_at is not None or isinstance(fact.event, DeliveryUpdate):
                first = chance.choice([first, first, chance.randint(first, CHAPTERS)])
            again = [chance.randint(first, CHAPTERS) for _ in range(chance.choice([0, 0, 1, 2]))]
            for chapter in (first, *again):
                tellings[chapter].append(fact)
        heard: set[str] = set()
        for chapter in range(CHAPTERS + 1):
            facts = [fact for fact in tellings[chapter] if fact.event.event_id not in heard]
            chance.shuffle(facts)
            while facts:
                size = chance.choice([1, 1, 2, 3, 8])
                post = Post(facts[:size], is_large=chance.random() < 0.2)
                del facts[:size]
                self.told[chapter].append(post)
                if chance.random() < 0.15:
                    post.understood = chance.randint(chapter, CHAPTERS)
                    # Of what bears no time each telling that is understood would be another moment.
                    late = {fact.event.event_id for fact in post.facts if fact.event.occurred_at is None}
                    heard |= late
                    facts = [fact for fact in facts if fact.event.event_id not in late]
        for send in history.sends:
            self.told[chance.randint(send.chapter, CHAPTERS)].append(send.number)
        for told in self.told.values():
            chance.shuffle(told)

    async def sends(self, send: Send) -> None:
        """Let a send begin; its answer may come later."""
        content = {"kind": "text", "body": str(send.number)}
        self.admitted[send.number] = await self.nodes[0].accept(self.partner, send.to, content=content)
        await asyncio.wait_for(self.begun[send.number].wait(), 20)

    def event_of(self, fact: Fact) -> ChannelEvent:
        if fact.about is None:
            return fact.event
        return replace(fact.event, correlation=self.correlations[fact.about])  # type: ignore[call-arg]

    async def hears(self, chapter: int) -> None:
        """Tell everything of a chapter, some of it at the same time."""
        await self._understands(chapter)
        told = self.told[chapter]
        while told:
            size = self.chance.choice([1, 1, 2, 5])
            for store in self.stores:
                store.share = self.chance.choice([0.0, 0.0, 0.3, 0.8])
            await asyncio.gather(*(self._hears(item) for item in told[:size]))
            del told[:size]
            if self.chance.random() < 0.2:
                await self._tends()
        self.calm()
        await self._understands(chapter)

    async def _hears(self, item: Post | int) -> None:
        if isinstance(item, int):
            self.answers[item].set()
            return
        node, events = self.chance.choice(self.nodes), [self.event_of(fact) for fact in item.facts]
        named: dict[str, Any] = {"fault": ValueError("what is this")} if item.understood is not None else {}
        if item.is_large:
            named["body"] = f"{self.chance.random()}".encode().ljust(service.LARGE + 1, b".")
        request = node.channel.tells(*events, **named)
        if item.understood is not None:
            self.misunderstood.append((item.understood, request, events))
        while True:
            with suppress(StoreUnavailableError):
                # What people say comes to the first one's URL; receipts may come to another's of the account.
                are_receipts = all(isinstance(event, DeliveryUpdate) for event in events)
                gateway = self.chance.choice(self.partner.gateways) if are_receipts else self.partner.gateway
                reply = await node.node.inbox.receive(request, plugin=gateway.plugin, gateway=gateway.id)
                assert reply.status == 200
                break
            for store in self.stores:
                store.share *= 0.9
        await node.node.inbox.drain()

    async def _understands(self, chapter: int) -> None:
        """Read what was not understood before, now that the parser is mended."""
        due = [item for item in self.misunderstood if item[0] <= chapter]
        if not due:
            return
        self.misunderstood = [item for item in self.misunderstood if item[0] > chapter]
        for _, request, events in due:
            self.nodes[0].channel.mend(request, *events)
        await self.nodes[0].ask("webhooks.reparse", plugin=self.partner.gateway.plugin)
        await self._tends()

    async def _tends(self) -> None:
        """Let all nodes look for what was left behind, at the same time."""
        told = (node.node.inbox.tend_once(left_behind=-1) for node in self.nodes)
        for problem in await asyncio.gather(*told, return_exceptions=True):
            assert problem is None or isinstance(problem, StoreUnavailableError), problem

    def calm(self) -> None:
        for store in self.stores:
            store.share = 0.0

    async def standing(self) -> dict[str, object]:
        """All that must not depend on how it was told."""
        world, numbers = self.nodes[0], {gateway.id: n for n, gateway in enumerate(self.partner.gateways)}

        def heard(conn: Connection) -> Iterator[tuple[str, object]]:
            for table, key, names in (
                (inbound_message, "provider_id", ("sender", "recipient", "content", "sender_name", "reply_to",
                                                  "occurred_at", "unsent", "edited_at")),
                (conversation, "address", ("last_inbound_at", "consent")),
                (channel_event, "event_id", ("kind",)),
            ):  # fmt: skip
                found = conn.execute(select(table).where(table.c.gateway_id.in_(numbers))).mappings()
                for row in found:
                    # Since when a gateway has received anything, and what it gave up, hangs on when it heard of it.
                    if row[key] and row.get("kind") != "Orphan":
                        read: dict[str, object] = {name: json.loads(row[name]) for name in names if name in _JSON}
                        if table is inbound_message and row["unsent"]:
                            read["edited_at"] = None
                        yield (
                            f"{table.name} {numbers[row['gateway_id']]} {row[key]}",
                            {name: row[name] for name in names} | read,
                        )

        said = dict(await world.database.read(lambda conn: list(heard(conn))))
        for number, admitted in self.admitted.items():
            message = await world.message(admitted.message.id)
            found = await world.steps(admitted.message.id)
            said[f"send {number}"] = (
                message.status, message.error_code, message.captured, message.contradictory,
                message.possible_duplicate, message.settled_at is not None, [step.status for step in found],
            )  # fmt: skip
        return said


class Provider:
    """Answers each send as its fate is, when the gateway's turn has come."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.twins: dict[str, Twin] = {}

    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        twin, send = self.twins[ctx.gateway_id], self.history.sends[int(message.content.body)]  # type: ignore[union-attr]
        twin.correlations[send.number] = ctx.correlation
        twin.begun[send.number].set()
        await twin.answers[send.number].wait()
        if send.fate == "lost":
            raise OutcomeUnknown
        if send.fate == "refused":
            raise Permanent
        return SendResult(provider_ids=send.provider_ids)


async def gateway_of_its_own(world: World) -> Partner:
    """A partner whose app owns two gateways of one account, and sends to each of the people through one of them."""
    org = await world.organization()
    app = await world.app(org)
    gateways = [await world.gateway(app_id=app.id, account_ref=f"account of {app.id}") for _ in PEOPLE]
    for person, gateway in zip(PEOPLE, gateways, strict=True):
        for sku in ("unit", "fee"):
            await world.rate(gateway, sku=sku)
        await world.route(app, gateway, prefix=person[1:])
    return Partner(org, app, await world.key(app), tuple(gateways))


async def live_through(history: History, twins: Sequence[Twin], world: World) -> None:
    for chapter in range(CHAPTERS + 1):
        for twin in twins:
            twin.calm()
            for send in history.sends:
                if send.chapter == chapter:
                    await twin.sends(send)
        for twin in twins:
            await twin.hears(chapter)
            twin.calm()
        world.clock.advance(CHAPTER)


async def all_is_told(twins: Sequence[Twin], world: World) -> None:
    """Let what was left behind and what is parked have its turn; then no receipt is waited for any more."""
    for twin in twins:
        for admitted in twin.admitted.values():
            await world.state(admitted, "sent", "ended", "unknown")
    for _ in range(2):
        world.clock.advance(40 * SECOND)
        for node in twins[-1].nodes:
            await node.node.inbox.tend_once()
    world.clock.advance(80 * HOUR)
    for twin in twins:
        await world.until(lambda twin=twin: nothing_held(world, twin), "the end of all holds")  # type: ignore[misc]


async def nothing_held(world: World, twin: Twin) -> bool:
    world.clock.advance(SECOND)
    return (await world.balance(twin.partner.org)).held == 0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that could not be stored is tried again at once; few bytes are many."""
    monkeypatch.setattr(lane, "PAUSES", (0.01,))
    monkeypatch.setattr(service, "LARGE", 100)


@pytest.mark.parametrize("seed", range(STORMS))
async def test_a_history_comes_to_the_same_however_it_is_told(
    open_world: OpenWorld, database: Database, seed: int
) -> None:
    chance = random.Random(f"receiving {seed}")
    history = History(chance, database.clock.now())
    provider = Provider(history)
    info = {
        "features": frozenset({"watermarks"}),
        "address_kinds": ("e164", "wa_user_id"),
        "last_receipt": chance.choice(["sent", "delivered", "read"]),
    }
    channel = FakeChannel(info=info, quote=Quote((QuoteLine("unit"), QuoteLine("fee", charge_on="delivered"))))
    channel.on("*", provider.send)
    stores, vault = [TroubledStore(database, chance) for _ in range(2)], Vault([new_key()])
    nodes = [await open_world(channel, database=store, vault=vault) for store in (database, *stores)]
    for node in nodes:
        node.database = database
    twins = [
        Twin(await gateway_of_its_own(nodes[0]), nodes[:1], [], chance),
        Twin(await gateway_of_its_own(nodes[0]), nodes[1:], stores, chance),
    ]
    for twin in twins:
        provider.twins |= dict.fromkeys([gateway.id for gateway in twin.partner.gateways], twin)
        twin.plan(history)
    for node in nodes:
        await node.node.refresh()
        await node.start()
    await live_through(history, twins, nodes[0])
    await all_is_told(twins, nodes[0])
    first, second = [await twin.standing() for twin in twins]
    differing = {key: (first.get(key), second.get(key)) for key in first.keys() | second.keys()}
    differing = {key: pair for key, pair in differing.items() if pair[0] != pair[1]}
    assert differing == {}, "\n".join(f"{key}: {one}\n    {other}" for key, (one, other) in differing.items())
    assert len(first) > CHAPTERS
    assert await nodes[0].books_balance()
