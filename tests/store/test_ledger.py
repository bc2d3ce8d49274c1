"""The ledger: constraints that hold whatever the code above does, and books that always balance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from waypost.credit import Move, MoveKind, move
from waypost.ids import new_id
from waypost.store import ledger, organizations
from waypost.store.database import Database
from waypost.store.migrate import upgrade
from waypost.store.organizations import Organization
from waypost.store.sqlite import engine_for

LIMIT = 50


def add_org(conn: Connection, limit: int = LIMIT) -> str:
    org_id = new_id("org")
    organizations.add(conn, Organization(org_id, org_id, "EUR", "active", 0), limit)
    return org_id


def post(conn: Connection, *moves: Move) -> None:
    ledger.post(conn, moves, ledger.lock_balances(conn, {item.org_id for item in moves}))


@pytest.fixture
async def org(database: Database) -> str:
    return await database.write(add_org)


async def balance(database: Database, org: str) -> ledger.Balance:
    found = await database.read(lambda conn: ledger.balance_of(conn, org))
    assert found is not None
    return found


async def test_moves_change_the_accounts_they_name(database: Database, org: str) -> None:
    def work(conn: Connection) -> None:
        post(conn, move("top_up", org, 1000, 1, note="invoice 7"))
        post(conn, move("hold", org, 300, 2, message_id="msg_a", step_no=1))
        post(
            conn,
            move("capture", org, 200, 3, message_id="msg_a", step_no=1),
            move("release", org, 100, 3, message_id="msg_a", step_no=1),
        )
        post(conn, move("refund", org, 50, 4, message_id="msg_a", step_no=1))
        post(conn, move("late_capture", org, 20, 5, message_id="msg_a", step_no=1))
        post(conn, move("adjustment", org, -70, 6, note="wrong invoice"))

    await database.write(work)
    assert await balance(database, org) == ledger.Balance(org, "EUR", 930, 760, 0, 170, LIMIT)
    assert await database.read(ledger.discrepancies) == []
    newest = await database.read(lambda conn: ledger.entries(conn, org, 2))
    assert [entry.kind for entry in newest] == ["adjustment", "late_capture"]
    of_message = await database.read(lambda conn: ledger.entries_of_message(conn, org, "msg_a"))
    assert [entry.kind for entry in of_message] == ["hold", "capture", "release", "refund", "late_capture"]
    assert await database.read(lambda conn: ledger.entries_of_message(conn, "org_other", "msg_a")) == []


async def test_the_credit_limit_is_spendable_and_no_further(database: Database, org: str) -> None:
    await database.write(lambda conn: post(conn, move("hold", org, LIMIT, 1, message_id="msg_a", step_no=1)))
    assert (await balance(database, org)).spendable == 0
    with pytest.raises(IntegrityError):
        await database.write(lambda conn: post(conn, move("hold", org, 1, 1, message_id="msg_b", step_no=1)))
    assert (await balance(database, org)).available == -LIMIT


async def test_a_limit_cannot_be_set_above_what_is_owed(database: Database, org: str) -> None:
    await database.write(lambda conn: post(conn, move("hold", org, LIMIT, 1, message_id="msg_a", step_no=1)))
    with pytest.raises(IntegrityError):
        await database.write(lambda conn: ledger.set_credit_limit(conn, org, LIMIT - 1))
    await database.write(lambda conn: ledger.set_credit_limit(conn, org, LIMIT + 1))


@pytest.mark.parametrize("kind", ["hold", "capture", "release"])
async def test_a_step_is_held_captured_and_released_once(database: Database, org: str, kind: MoveKind) -> None:
    def work(conn: Connection) -> None:
        post(conn, move("top_up", org, 1000, 1))
        post(conn, move("hold", org, 100, 1, message_id="msg_z", step_no=9))
        if kind == "hold":
            post(conn, move("hold", org, 10, 1, message_id="msg_a", step_no=1))
        else:
            post(conn, move(kind, org, 10, 1, message_id="msg_a", step_no=1))

    await database.write(work)
    with pytest.raises(IntegrityError):
        await database.write(lambda conn: post(conn, move(kind, org, 10, 2, message_id="msg_a", step_no=1)))
    await database.write(lambda conn: post(conn, move(kind, org, 10, 2, message_id="msg_a", step_no=2)))
    assert await database.read(ledger.discrepancies) == []


async def test_corrections_may_repeat(database: Database, org: str) -> None:
    def work(conn: Connection) -> None:
        post(conn, move("top_up", org, 1000, 1))
        for _ in range(2):
            post(conn, move("late_capture", org, 10, 1, message_id="msg_a", step_no=1))
            post(conn, move("refund", org, 10, 1, message_id="msg_a", step_no=1))

    await database.write(work)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE balance SET funded = funded + 1",
        "UPDATE balance SET held = -1, available = available + 1 + held",
        "UPDATE balance SET captured = -1, available = available + 1 + captured",
        "UPDATE balance SET credit_limit = -1",
        (
            "INSERT INTO ledger_entry (org_id, id, kind, from_account, to_account, amount, at)"
            " SELECT org_id, 'ent_1', 'top_up', 'funding', 'available', 0, 0 FROM balance"
        ),
        (
            "INSERT INTO ledger_entry (org_id, id, kind, from_account, to_account, amount, at)"
            " SELECT org_id, 'ent_1', 'gift', 'funding', 'available', 1, 0 FROM balance"
        ),
        (
            "INSERT INTO ledger_entry (org_id, id, kind, from_account, to_account, amount, at)"
            " SELECT org_id, 'ent_1', 'top_up', 'held', 'held', 1, 0 FROM balance"
        ),
    ],
)
async def test_the_database_itself_refuses_false_books(database: Database, org: str, statement: str) -> None:
    with pytest.raises(IntegrityError):
        await database.write(lambda conn: conn.execute(text(statement)).close())


async def test_false_books_are_found(database: Database, org: str) -> None:
    await database.write(lambda conn: post(conn, move("top_up", org, 5, 1)))
    await database.write(
        lambda conn: conn.execute(text("UPDATE balance SET funded = funded + 1, available = available + 1")).close()
    )
    assert await database.read(ledger.discrepancies) == [org]


async def test_entries_of_nobody_are_found(database: Database, org: str) -> None:
    statement = (
        "INSERT INTO ledger_entry (org_id, id, kind, from_account, to_account, amount, at)"
        " VALUES ('org_nobody', 'ent_1', 'top_up', 'funding', 'available', 1, 0)"
    )
    await database.write(lambda conn: conn.execute(text(statement)).close())
    assert await database.read(ledger.discrepancies) == ["org_nobody"]


class Book:
    """A naive book: three numbers and a list."""

    def __init__(self) -> None:
        self.available, self.limit = 0, LIMIT
        self.steps: dict[str, list[int]] = {}  # message → [still held, captured]

    def expected(self, org: str) -> tuple[int, int, int, int]:
        held = sum(step[0] for step in self.steps.values())
        captured = sum(step[1] for step in self.steps.values())
        return self.available + held + captured, self.available, held, captured


def play(conn: Connection, org: str, book: Book, action: str, amount: int, message: str) -> None:
    """One action on the real ledger and on the naive book; both must agree on whether it goes."""
    held, captured = book.steps.get(message, [0, 0])
    moves: list[Move] = []
    fits = True
    if action in ("top_up", "adjustment"):
        fits = book.available + amount + book.limit >= 0
        moves = [move(action, org, amount, 0)]  # type: ignore[arg-type]
        after = (book.available + amount, held, captured)
    elif action == "hold":
        fits = book.available + book.limit >= amount
        moves = [move("hold", org, amount, 0, message_id=message, step_no=1)]
        after = (book.available - amount, amount, 0)
    elif action == "settle":
        taken = min(amount, held)
        moves = [move("capture", org, taken, 0, message_id=message, step_no=1)]
        if held > taken:
            moves.append(move("release", org, held - taken, 0, message_id=message, step_no=1))
        after = (book.available + held - taken, 0, taken)
    else:
        moves = [move("refund", org, captured, 0, message_id=message, step_no=1)]
        after = (book.available + captured, held, 0)
    try:
        with conn.begin_nested():
            post(conn, *moves)
    except IntegrityError:
        assert not fits
        return
    assert fits
    book.available = after[0]
    if action in ("hold", "settle", "refund"):
        book.steps[message] = [after[1], after[2]]


def agrees(conn: Connection, org: str, book: Book) -> None:
    real = ledger.balance_of(conn, org)
    assert real is not None
    assert (real.funded, real.available, real.held, real.captured) == book.expected(org)
    assert real.available >= -real.credit_limit
    assert ledger.discrepancies(conn) == []


class Moves(RuleBasedStateMachine):
    """Any sequence of moves, on a real SQLite, against the naive book."""

    connect: Callable[[], Connection]

    def __init__(self) -> None:
        super().__init__()
        self.conn = type(self).connect()
        self.transaction = self.conn.begin()
        self.org, self.book = add_org(self.conn), Book()

    def teardown(self) -> None:
        self.transaction.rollback()
        self.conn.close()

    def messages(self, *, held: bool) -> list[str]:
        return [key for key, step in self.book.steps.items() if bool(step[0]) is held and (held or step[1])]

    @rule(amount=st.integers(1, 200))
    def top_up(self, amount: int) -> None:
        play(self.conn, self.org, self.book, "top_up", amount, "")

    @rule(amount=st.integers(-200, 200).filter(bool))
    def adjust(self, amount: int) -> None:
        play(self.conn, self.org, self.book, "adjustment", amount, "")

    @rule(amount=st.integers(1, 120))
    def hold(self, amount: int) -> None:
        play(self.conn, self.org, self.book, "hold", amount, new_id("msg"))

    @precondition(lambda self: self.messages(held=True))
    @rule(amount=st.integers(1, 150), data=st.data())
    def settle(self, amount: int, data: st.DataObject) -> None:
        play(self.conn, self.org, self.book, "settle", amount, data.draw(st.sampled_from(self.messages(held=True))))

    @precondition(lambda self: self.messages(held=False))
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        play(self.conn, self.org, self.book, "refund", 0, data.draw(st.sampled_from(self.messages(held=False))))

    @invariant()
    def books_agree(self) -> None:
        agrees(self.conn, self.org, self.book)


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[[], Connection]]:
    engine = engine_for(f"sqlite:///{tmp_path}/ledger.db")
    with engine.begin() as conn:
        upgrade(conn)
    yield engine.connect
    engine.dispose()


def test_any_sequence_of_moves_agrees_with_a_naive_book(connect: Callable[[], Connection]) -> None:
    machine = type("MovesHere", (Moves,), {"connect": staticmethod(connect)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("seed", range(3))
async def test_random_moves_agree_with_a_naive_book(database: Database, org: str, seed: int) -> None:
    chance, book = random.Random(seed), Book()

    def work(conn: Connection) -> None:
        for _ in range(150):
            action = chance.choice(["top_up", "adjustment", "hold", "hold", "settle", "settle", "refund"])
            amount, message = chance.randint(1, 120), new_id("msg")
            if action == "adjustment":
                amount = chance.choice([1, -1]) * amount
            if action in ("settle", "refund"):
                wanted = 0 if action == "settle" else 1
                found = [key for key, step in book.steps.items() if step[wanted] and (wanted or not step[1])]
                if not found:
                    continue
                message = chance.choice(found)
            play(conn, org, book, action, amount, message)
        agrees(conn, org, book)

    await database.write(work)
    assert sum(bool(step[1]) for step in book.steps.values()) > 3
