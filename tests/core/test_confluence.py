"""Any order, any duplication, settled in between or not: one final status and one net charge."""

from __future__ import annotations

import asyncio
import random

import pytest
from fake_channel import FakeChannel
from sqlalchemy import Connection
from waypost.clock import HOUR
from waypost.credit import Move
from waypost.lifecycle.evidence import Evidence, core_key
from waypost.outbox.attempt import evidence
from waypost.plugin import LookupResult, OutcomeUnknown, Quote, QuoteLine
from waypost.progress.case import Report
from waypost.progress.report import report
from waypost.store import claims, events, ledger
from waypost.store.steps import Step
from world import TO, OpenWorld, World

SETS, ORDERS = 200, 5
RECEIPTS = ("sent", "delivered", "read", "undelivered", "failed")


def some_facts(chance: random.Random, gateways: list[str]) -> list[tuple[str, int, str, str]]:
    """What may become known of one step: (kind, attempt, gateway, key)."""
    known = chance.choice((*RECEIPTS, "unknown"))
    facts = [(known, 1, gateways[0], core_key(1, 1, known))]  # type: ignore[arg-type]
    for number in range(chance.randint(0, 4)):
        kind = chance.choice((*RECEIPTS, "unknown", "window_closed", "canceled", "expired"))
        attempt = chance.choice((1, 1, 1, 2))
        gateway = gateways[attempt - 1]
        ours = kind in ("unknown", "window_closed", "canceled", "expired")
        key = core_key(1, attempt, kind) if ours else f"{gateway}:e{number}"  # type: ignore[arg-type]
        facts.append((kind, attempt, gateway, key))
    if chance.random() < 0.3 and {kind for kind, *_ in facts} & {"delivered", "read"}:
        facts.append(("not_sent", 1, gateways[0], "lookup:1.1.not_sent"))
    return facts


def as_evidence(message_id: str, fact: tuple[str, int, str, str], now: int) -> Evidence:
    kind, attempt, gateway, key = fact
    return Evidence(
        message_id=message_id, key=key, step_no=1, attempt=attempt, kind=kind,  # type: ignore[arg-type]
        source="provider", at=now, gateway_id=gateway,
    )  # fmt: skip


@pytest.mark.parametrize("last_receipt", ["delivered", "sent"])
async def test_order_and_repetition_do_not_matter(open_world: OpenWorld, last_receipt: str) -> None:
    chance = random.Random(f"confluence {last_receipt}")
    channel = FakeChannel(quote=Quote((QuoteLine("unit"), QuoteLine("fee", charge_on="delivered"))))
    channel.info["last_receipt"] = last_receipt
    world = await open_world(channel)
    first, second = await world.gateway(), await world.gateway()
    for gateway, price in ((first, 5000), (second, 3000)):
        await world.rate(gateway, price)
        await world.rate(gateway, 700, sku="fee")
    partner = await world.partner(first, second)
    gateway_ids = [first.id, second.id]

    sets = [some_facts(chance, gateway_ids) for _ in range(SETS)]
    admitted = await asyncio.gather(*(world.accept(partner, f"+49{n:09d}") for n in range(SETS * ORDERS)))
    ids = [item.message.id for item in admitted]
    await begin_all(world, partner.app.id, first.id)

    queues = {}
    for number, message_id in enumerate(ids):
        order = sets[number % SETS] + chance.choices(sets[number % SETS], k=chance.randint(0, 3))
        chance.shuffle(order)
        queues[message_id] = order
    while any(queues.values()):
        now = world.clock.now()
        batch = []
        for message_id, queue in queues.items():
            some = range(min(len(queue), chance.randint(0, 2)))
            batch.extend(Report(as_evidence(message_id, queue.pop(), now)) for _ in some)
        chance.shuffle(batch)
        await world.database.write(lambda conn, batch=batch: report(conn, batch, world.node.rules, now))  # type: ignore[misc]  # noqa: B023
        world.clock.advance(HOUR)
    closing = [
        Report(as_evidence(message_id, ("window_closed", 0, first.id, "1.0.window_closed"), 0)) for message_id in ids
    ]
    await world.database.write(lambda conn: report(conn, closing, world.node.rules, world.clock.now()))

    outcomes: list[set[object]] = [set() for _ in sets]
    for number, message_id in enumerate(ids):
        message = await world.message(message_id)
        net = await net_charge(world, partner.org.id, message_id)
        assert net == message.captured <= message.held
        assert message.settled_at is not None
        outcomes[number % SETS].add((message.status, net, message.contradictory, message.possible_duplicate))
    for facts, found in zip(sets, outcomes, strict=True):
        assert len(found) == 1, f"{facts} came to {found}"
    assert len({next(iter(found)) for found in outcomes}) > 8  # the sets do differ
    assert (await world.balance(partner.org)).held == 0
    assert await world.books_balance()


async def begin_all(world: World, app_id: str, gateway_id: str) -> None:
    now = world.clock.now()

    def work(conn: Connection) -> None:
        claimed: list[Step] = claims.claim(conn, gateway_id, [app_id], 10_000, "node_1", now, now + HOUR)
        assert len(claims.begin_sending(conn, claimed, "node_1", now + HOUR)) == SETS * ORDERS
        events.add_first(conn, [evidence(step, "sending", now) for step in claimed])

    await world.database.write(work)


async def net_charge(world: World, org_id: str, message_id: str) -> int:
    found: list[Move] = await world.database.read(lambda conn: ledger.entries_of_message(conn, org_id, message_id))
    taken = sum(entry.amount for entry in found if entry.to_account == "captured")
    return taken - sum(entry.amount for entry in found if entry.from_account == "captured")


async def test_a_lookup_that_comes_too_late_ends_the_message_all_the_same(open_world: OpenWorld) -> None:
    """The window closed while a lookup was under way; then the provider says that it never had the message."""
    channel = FakeChannel(hooks=frozenset({"lookup"})).on(TO, OutcomeUnknown())
    world = await open_world(channel)
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "UNKNOWN")
    await world.node.outbox.resolve_all()
    step, resolver = await world.step(admitted.message.id), world.node.outbox._resolver
    began = await resolver._open_attempt(step)
    assert began is not None
    world.clock.advance(73 * HOUR)
    await world.status(admitted, "FAILED")
    for found in resolver._reports(step, began, LookupResult(found=False)):
        await world.node.outbox.results.submit(found)
    await world.rest()
    message = await world.message(admitted.message.id)
    assert message.status in ("EXPIRED", "FAILED")
    assert len(channel.sent) == 1
    assert (await world.balance(partner.org)).held == 0
