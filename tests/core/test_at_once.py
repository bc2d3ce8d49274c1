"""Admission in one statement: it says yes where the transaction would admit everyone, and else writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.util import await_only
from standings import revoke, rows, suspend_app, suspend_org, without_foreign_keys
from waypost import credit, refusals
from waypost.admission.admit import admit, admit_at_once
from waypost.admission.candidate import Admitted, Candidate
from waypost.admission.intake import Intake
from waypost.admission.request import FallbackRequest, SendRequest
from waypost.clock import HOUR, SECOND
from waypost.refusals import InsufficientCredit, Refusal
from waypost.store import admissions, keys, ledger, migrate, views
from waypost.store.database import StoreUnavailableError
from waypost.store.postgres import PostgresDatabase
from waypost.store.views import View
from world import PRICE, TO, Partner, World


async def candidate(world: World, partner: Partner, **fields: object) -> Candidate:
    caller = await world.node.desk.authenticate(partner.secret)
    request = SendRequest(channel="SMS", to=TO, content={"kind": "text", "body": "Hello"}, **fields)  # type: ignore[arg-type]
    return Intake(world.node.accounts, world.clock, HOUR).prepare(caller, request, world.node.directory, {})


async def at_once(world: World, candidates: Sequence[Candidate]) -> bool:
    return await world.database.write_alone(lambda conn: admit_at_once(conn, candidates)) is not None


async def one_by_one(world: World, candidates: Sequence[Candidate]) -> list[type]:
    verdicts = await world.database.write(lambda conn: admit(conn, candidates))
    return [type(verdict) for verdict in verdicts]


async def test_all_of_them_are_there_and_paid_for(world: World) -> None:
    rich, other = await world.partner(credit_micros=10 * PRICE), await world.partner(credit_micros=PRICE)
    before = await rows(world.database)
    batch = [await candidate(world, partner) for partner in (rich, other, rich)]
    assert await at_once(world, batch)
    for item in batch:
        assert await world.message(item.message.id) == item.message
        [step] = await world.steps(item.message.id)
        assert (step.state, step.status, step.gateway_id) == ("queued", "QUEUED", item.gateway_id)
        assert (step.held, step.due_at) == (PRICE, item.message.created_at)
        assert step.wake_at == step.deadline == item.message.deadline
    after = await rows(world.database)
    assert {name: after[name] - before[name] for name in after} == {
        "message": 3, "step": 3, "event": 0, "ledger_entry": 3, "idempotency": 0,
    }  # fmt: skip
    assert ((await world.balance(rich.org)).available, (await world.balance(rich.org)).held) == (8 * PRICE, 2 * PRICE)
    assert ((await world.balance(other.org)).available, (await world.balance(other.org)).held) == (0, PRICE)
    assert await world.books_balance()


async def expire(world: World, partner: Partner) -> object:
    def work(conn: Connection) -> None:
        for key, _ in keys.all_of_them(conn):
            if key.app_id == partner.app.id:
                keys.set_expiry(conn, key.id, world.clock.now())

    return await world.database.write(work)


async def lose_app(world: World, partner: Partner) -> object:
    return await without_foreign_keys(
        world.database, f"UPDATE api_key SET app_id = 'app_gone' WHERE app_id = '{partner.app.id}'"
    )


async def lose_organization(world: World, partner: Partner) -> object:
    return await without_foreign_keys(
        world.database, f"UPDATE app SET org_id = 'org_gone' WHERE id = '{partner.app.id}'"
    )


async def lose_key(world: World, partner: Partner) -> object:
    return await without_foreign_keys(world.database, f"DELETE FROM api_key WHERE app_id = '{partner.app.id}'")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (revoke, refusals.Unauthorized),
        (expire, refusals.Unauthorized),
        (lose_key, refusals.Unauthorized),
        (suspend_app, refusals.AppInactive),
        (lose_app, refusals.AppNotFound),
        (suspend_org, refusals.OrgInactive),
        (lose_organization, refusals.OrgNotFound),
    ],
)
async def test_one_whose_standing_is_lost_stops_the_statement_and_nobody_else(
    world: World, spoil: Callable[[World, Partner], Awaitable[object]], code: type[Refusal]
) -> None:
    good, bad = await world.partner(), await world.partner()
    batch = [await candidate(world, good), await candidate(world, bad), await candidate(world, good)]
    await spoil(world, bad)
    before = await rows(world.database)
    assert not await at_once(world, batch)
    assert await rows(world.database) == before
    assert await world.books_balance()
    assert await one_by_one(world, batch) == [Admitted, code, Admitted]


@pytest.mark.parametrize(("credit", "limit", "admitted"), [(3, 0, 3), (2, 0, 2), (1, 2, 3), (1, 1, 2), (0, 0, 0)])
async def test_credit_is_enough_for_all_or_the_statement_is_not_run(
    world: World, credit: int, limit: int, admitted: int
) -> None:
    partner = await world.partner(credit_micros=credit * PRICE)
    await world.database.write(lambda conn: ledger.set_credit_limit(conn, partner.org.id, limit * PRICE))
    batch = [await candidate(world, partner) for _ in range(3)]
    before = await rows(world.database)
    assert await at_once(world, batch) == (admitted == 3)
    if admitted < 3:
        assert await rows(world.database) == before
        expected = [Admitted] * admitted + [refusals.InsufficientCredit] * (3 - admitted)
        assert await one_by_one(world, batch) == expected
    assert (await world.balance(partner.org)).available == (credit - admitted) * PRICE
    assert await world.books_balance()


async def test_free_messages_need_no_credit_but_an_organization_in_good_standing(world: World) -> None:
    partner = await world.partner(credit_micros=0, mode="test")
    free = await candidate(world, partner)
    assert await at_once(world, [free])
    assert (await world.balance(partner.org)).held == 0
    again = await candidate(world, partner)
    await suspend_org(world, partner)
    assert not await at_once(world, [again])


async def test_an_idempotency_key_is_stored_with_its_message_and_stops_the_statement_from_then_on(world: World) -> None:
    partner, other = await world.partner(), await world.partner()
    keyed: dict[str, object] = {"idempotency_key": "k", "fingerprint": "f"}
    item = await candidate(world, partner, **keyed)
    assert await at_once(world, [item, await candidate(world, partner), await candidate(world, other, **keyed)])
    before = await rows(world.database)
    batch = [await candidate(world, other), await candidate(world, partner, **keyed)]
    assert not await at_once(world, batch)
    assert await rows(world.database) == before
    _, replayed = await world.database.write(lambda conn: admit(conn, batch))
    assert replayed == Admitted(item.message, replayed=True)


async def test_a_key_twice_in_one_batch_stops_the_statement(world: World) -> None:
    partner = await world.partner()
    batch = [await candidate(world, partner, idempotency_key="k", fingerprint="f") for _ in range(2)]
    before = await rows(world.database)
    assert not await at_once(world, batch)
    assert await rows(world.database) == before


async def test_fallback_steps_wait_and_are_held_for(world: World) -> None:
    partner = await world.partner()
    fallback = FallbackRequest(channel="SMS", content={"kind": "text", "body": "Again"}, after=60, until="delivered")
    item = await candidate(world, partner, fallback=(fallback,))
    assert await at_once(world, [item, await candidate(world, partner)])
    first, second = await world.steps(item.message.id)
    assert (first.state, second.state) == ("queued", "waiting")
    assert (second.wake_at, second.content, second.after) == (None, item.rows[1][-5], 60 * SECOND)
    assert (second.until, second.held, first.content) == ("delivered", PRICE, None)
    assert (await world.message(item.message.id)).held == 2 * PRICE
    assert await world.books_balance()


@pytest.mark.parametrize("count", [1, 5, 700])
async def test_any_number_of_rows(world: World, count: int) -> None:
    partner = await world.partner(credit_micros=count * PRICE)
    assert await at_once(world, [await candidate(world, partner) for _ in range(count)])
    assert (await world.balance(partner.org)).available == 0
    assert await world.books_balance()


async def test_more_rows_than_a_statement_takes_are_left_to_the_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admissions, "MAX_ROWS", 2)
    partner = await world.partner()
    batch = [await candidate(world, partner) for _ in range(5)]
    assert not await at_once(world, batch)
    assert await one_by_one(world, batch) == [Admitted] * 5
    assert await world.books_balance()


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_credit_that_comes_while_the_statement_waits_for_it_suffices(
    world: World, postgres: PostgresDatabase
) -> None:
    """It saw the balance before the top-up, waited for it, and writes to the balance after it."""
    partner = await world.partner(credit_micros=PRICE)
    await world.accept(partner)
    held, go = asyncio.Event(), asyncio.Event()

    def top_up(conn: Connection) -> None:
        locked = ledger.lock_balances(conn, [partner.org.id])
        ledger.post(conn, [credit.move("top_up", partner.org.id, PRICE, 1)], locked)
        held.set()
        await_only(go.wait())

    operator = asyncio.create_task(postgres.write(top_up))
    await held.wait()
    sending = asyncio.create_task(world.accept(partner))
    await waits_for_a_lock(postgres)
    go.set()
    await operator
    assert isinstance(await sending, Admitted)
    with pytest.raises(InsufficientCredit):
        await world.accept(partner)
    assert await world.books_balance()


async def waits_for_a_lock(postgres: PostgresDatabase) -> None:
    def waiting(conn: Connection) -> bool:
        asked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return conn.execute(text(asked)).first() is not None

    async with asyncio.timeout(10):
        while not await postgres.read(waiting):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.01)


async def test_other_trouble_is_not_taken_for_a_refusal(world: World) -> None:
    """The same message twice breaks a constraint: that is a fault, and it is told as one."""
    item = await candidate(world, await world.partner())
    assert await at_once(world, [item])
    with pytest.raises(IntegrityError):
        await at_once(world, [item])
    assert await world.books_balance()


async def test_a_text_of_the_partners_is_not_taken_for_a_refusal(world: World) -> None:
    """PostgreSQL repeats the row that broke a constraint, whatever the partner wrote in it."""
    item = await candidate(world, await world.partner())
    row = list(item.rows[0])
    row[admissions._COLUMNS.index("content")] = "about idempotency: not all of them can be admitted"
    row[admissions._COLUMNS.index("currency")] = None
    with pytest.raises(IntegrityError):
        await world.database.write_alone(
            lambda conn: admissions.write(conn, [tuple(row)], admissions.Callers.of([item.message]), 0)
        )
    assert await world.books_balance()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_triggers_of_sqlite_are_there_together_or_not_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = await world.partner()
    for number in range(len(admissions._ADMISSION.made_by)):
        made_by = list(admissions._ADMISSION.made_by)
        made_by[number] = "SELECT no_such_function()"
        await world.database.write(lambda conn: views.forget(conn))
        with monkeypatch.context() as patch:
            patch.setattr(admissions, "_ADMISSION", View("admission", tuple(made_by)))
            with pytest.raises(StoreUnavailableError):
                await at_once(world, [await candidate(world, partner)])
        item = await candidate(world, partner)
        assert await at_once(world, [item])
        assert await world.message(item.message.id) == item.message
    assert await world.books_balance()


async def test_a_migration_may_change_the_tables_it_speaks_of(world: World) -> None:
    partner = await world.partner()
    assert await at_once(world, [await candidate(world, partner)])

    def migration(conn: Connection) -> None:
        migrate.upgrade(conn)
        conn.execute(text("ALTER TABLE step RENAME TO step_before"))
        conn.execute(text("ALTER TABLE step_before RENAME TO step"))

    await world.database.write(migration)
    assert await at_once(world, [await candidate(world, partner)])
    assert await world.books_balance()
