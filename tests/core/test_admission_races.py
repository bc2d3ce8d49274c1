"""Admission at any concurrency: exactly what the credit allows, and one message per idempotency key."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from fake_channel import FakeChannel
from sqlalchemy import Connection, select, text
from waypost.admission.candidate import Admitted
from waypost.refusals import IdempotencyConflict, InsufficientCredit
from waypost.store import admissions
from waypost.store.database import Database
from waypost.store.opening import open_database
from waypost.store.tables import api_key
from world import PRICE, OpenWorld, Partner, World

SENDERS, ALLOWED = 64, 1000


async def race(worlds: list[World], partner: Partner, tries: int) -> tuple[int, int]:
    """Sixty-four senders who go on until they are refused twice; returns how many were admitted and refused."""
    admitted = refused = 0

    async def sender(number: int) -> None:
        nonlocal admitted, refused
        world = worlds[number % len(worlds)]
        for turn in range(tries):
            try:
                await world.accept(partner, f"+49170{number:03d}{turn:04d}")
                admitted += 1
            except InsufficientCredit:
                refused += 1

    await asyncio.gather(*(sender(number) for number in range(SENDERS)))
    return admitted, refused


async def used_up(world: World, partner: Partner) -> bool:
    balance = await world.balance(partner.org)
    return (balance.available, balance.held) == (0, ALLOWED * PRICE) and await world.books_balance()


async def test_sixty_four_senders_use_up_exactly_the_credit(world: World) -> None:
    partner = await world.partner(credit_micros=ALLOWED * PRICE)
    assert await race([world], partner, 17) == (ALLOWED, SENDERS * 17 - ALLOWED)
    assert await used_up(world, partner)


@pytest.fixture
async def two_nodes(open_world: OpenWorld, postgres: Database) -> list[World]:
    first = await open_world(FakeChannel(), database=postgres)
    other = await open_database(postgres.url)
    second = await open_world(FakeChannel(), database=other)
    postgres.clock = other.clock = first.clock
    second.node.vault = first.node.vault
    second.node.accounts._vault = first.node.vault
    return [first, second]


@pytest.fixture(params=["postgres"])
def database(postgres: Database, clock: object) -> Database:
    return postgres


async def both_know(worlds: list[World], partner: Partner) -> None:
    for world in worlds:
        await world.node.refresh()


@pytest.mark.postgres
class TestTwoNodes:
    """On one PostgreSQL."""

    async def test_together_they_use_up_exactly_the_credit(self, two_nodes: list[World]) -> None:
        partner = await two_nodes[0].partner(credit_micros=ALLOWED * PRICE)
        await both_know(two_nodes, partner)
        assert await race(two_nodes, partner, 17) == (ALLOWED, SENDERS * 17 - ALLOWED)
        assert await used_up(two_nodes[0], partner)

    async def test_one_key_is_one_message(self, two_nodes: list[World]) -> None:
        partner = await two_nodes[0].partner()
        await both_know(two_nodes, partner)
        for round_ in range(20):
            answers = await asyncio.gather(
                *(two_nodes[n % 2].accept(partner, idempotency_key=f"k{round_}", fingerprint="f") for n in range(8))
            )
            assert len({answer.message.id for answer in answers}) == 1
            assert sum(not answer.replayed for answer in answers) == 1
        assert (await two_nodes[0].balance(partner.org)).held == 20 * PRICE

    async def test_one_key_for_two_requests_is_a_conflict(self, two_nodes: list[World]) -> None:
        partner = await two_nodes[0].partner()
        await both_know(two_nodes, partner)
        for round_ in range(10):
            answers = await asyncio.gather(
                *(
                    two_nodes[n % 2].accept(partner, idempotency_key=f"k{round_}", fingerprint=f"f{n % 2}")
                    for n in range(4)
                ),
                return_exceptions=True,
            )
            conflicts = [answer for answer in answers if isinstance(answer, IdempotencyConflict)]
            assert len(conflicts) == 2

    async def test_messages_are_sent_once_whoever_sends_them(self, two_nodes: list[World]) -> None:
        partner = await two_nodes[0].partner()
        await both_know(two_nodes, partner)
        for world in two_nodes:
            await world.start()
        admitted = await asyncio.gather(*(two_nodes[n % 2].accept(partner, f"+49170{n:07d}") for n in range(200)))
        for item in admitted:
            await two_nodes[0].status(item, "SENT")
        sent = [call.to for world in two_nodes for call in world.channel.sent]
        assert sorted(sent) == sorted({item.message.recipient for item in admitted})


async def test_one_key_twice_in_one_batch(world: World) -> None:
    partner = await world.partner()
    # A key that is remembered needs no look-up, which would part them.
    await world.node.desk.authenticate(partner.secret)
    answers = await asyncio.gather(
        *(world.accept(partner, idempotency_key="k", fingerprint="f") for _ in range(5)),
        world.accept(partner, idempotency_key="k", fingerprint="other"),
        return_exceptions=True,
    )
    assert isinstance(answers[-1], IdempotencyConflict)
    assert [answer.replayed for answer in answers[:-1]] == [False, True, True, True, True]  # type: ignore[union-attr]
    assert (await world.balance(partner.org)).held == PRICE


async def test_a_key_that_was_refused_in_one_batch_is_free_for_another_request(world: World) -> None:
    partner = await world.partner(credit_micros=PRICE)
    dear = await world.gateway()
    await world.rate(dear, PRICE + 1)
    await world.route(partner.app, dear, prefix="65")
    await world.node.desk.authenticate(partner.secret)
    refused, admitted, repeated, other = await asyncio.gather(
        world.accept(partner, "+6591234567", idempotency_key="k", fingerprint="dear"),
        *(world.accept(partner, idempotency_key="k", fingerprint="cheap") for _ in range(2)),
        world.accept(partner, "+6591234567", idempotency_key="k", fingerprint="dear"),
        return_exceptions=True,
    )
    assert isinstance(refused, InsufficientCredit)
    assert isinstance(admitted, Admitted)
    assert isinstance(repeated, Admitted)
    assert (admitted.replayed, repeated.replayed) == (False, True)
    assert admitted.message.id == repeated.message.id
    assert isinstance(other, IdempotencyConflict)
    assert (await world.balance(partner.org)).held == PRICE


async def test_what_a_batch_is_checked_by_is_kept_from_other_nodes(two_nodes: list[World]) -> None:
    """The long way of admission reads balances and changes them later: nobody else may look at them in between."""
    partner = await two_nodes[0].partner()

    key_id = await two_nodes[0].database.read(lambda conn: conn.execute(select(api_key.c.id)).scalar_one())

    def work(conn: Connection) -> tuple[float, float]:
        admissions.lock(conn, [key_id], [partner.org.id])
        began = conn.execute(_NOW).scalar_one()
        conn.execute(text("SELECT pg_sleep(0.1)"))
        return began, conn.execute(_NOW).scalar_one()

    turns = sorted(await asyncio.gather(*(world.database.write(work) for world in two_nodes * 2)))
    assert all(ended <= begins for (_, ended), (begins, _) in pairwise(turns))


_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")
