"""Deliveries, provider ids, parked receipts and conversations: what providers said, as they said it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from waypost.plugin import WebhookRequest
from waypost.receipts import FIRST_PARKED
from waypost.store import deliveries, events, inbound
from waypost.store.bulk import write_together
from waypost.store.database import Database
from waypost.store.deliveries import Delivery
from waypost.store.events import AttemptRef, Parked


def delivery(body: bytes = b"{}", number: int = 1, **fields: object) -> Delivery:
    request = WebhookRequest(
        **{  # type: ignore[arg-type]
            "method": "POST",
            "url": "https://gateway.test/webhooks/fake?a=1&a=&ref=x%20y",
            "headers": (("x-signature", "good"), ("x-twice", "1"), ("x-twice", "2")),
            "query": (("a", "1"), ("a", ""), ("ref", "x y")),
            "body": body,
        }
        | fields
    )
    return Delivery(
        id=f"raw_{number}", plugin="fake", gateway_id="gw_1", provider_app_id=None, request=request, received_at=number
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        "Grüße 😀".encode(),
        b"\xff\xfe",
        b"a\x00b",
        bytes(range(256)),
        b"\r\n--boundary\r\n",
        b"\xed\xa0\x80",
    ],
)
async def test_a_delivery_comes_back_to_the_byte(database: Database, body: bytes) -> None:
    stored = delivery(body)
    await database.write(lambda conn: deliveries.add_many(conn, [stored]))
    assert await database.read(lambda conn: deliveries.stored_before(conn, 9, ["fake"], 9)) == [stored]


async def test_credentials_of_the_caller_are_not_kept(database: Database) -> None:
    await database.write(
        lambda conn: deliveries.add_many(
            conn, [delivery(headers=(("authorization", "Basic canary"), ("cookie", "canary"), ("x-a", "b")))]
        )
    )
    (found,) = await database.read(lambda conn: deliveries.stored_before(conn, 9, ["fake"], 9))
    assert found.request.headers == (("x-a", "b"),)


async def test_states(database: Database) -> None:
    await database.write(lambda conn: deliveries.add_many(conn, [delivery(number=number) for number in (1, 2, 3)]))
    await database.write(lambda conn: deliveries.set_applied(conn, ["raw_1"]))
    await database.write(lambda conn: deliveries.set_failed(conn, "raw_2", "why"))

    async def left(before: int, *plugins: str) -> list[str]:
        found = await database.read(lambda conn: deliveries.stored_before(conn, before, plugins, 9))
        return [item.id for item in found]

    assert await left(4, "fake") == ["raw_3"]
    assert await left(3, "fake") == await left(4, "other") == await left(4) == []
    assert await database.write(lambda conn: deliveries.queue_again(conn, "fake")) == 1
    assert await left(4, "fake") == ["raw_2", "raw_3"]


async def test_only_so_many_bytes_are_read_at_a_time(database: Database) -> None:
    rows = [delivery(b"x" * 1000, number) for number in (1, 2, 3)]
    await database.write(lambda conn: deliveries.add_many(conn, rows))
    for most, count in ((2500, 2), (3000, 3), (10, 1)):
        found = await database.read(lambda conn: deliveries.stored_before(conn, 9, ["fake"], 9, most))  # noqa: B023
        assert found == rows[:count]


async def test_the_first_to_use_a_provider_id_keeps_it(database: Database) -> None:
    one, two = AttemptRef("msg_1", 1, 1), AttemptRef("msg_2", 1, 3)
    for known_as in [("gw_1", "p", one), ("gw_2", "p", two)], [("gw_1", "p", two)]:
        rows = events.refs_insertion(known_as)
        await database.write(lambda conn, rows=rows: write_together(conn, [rows]))  # type: ignore[misc]
    wanted = {("gw_1", "p"), ("gw_2", "p"), ("gw_1", "q"), ("gw_3", "p")}
    found = await database.read(lambda conn: events.refs(conn, wanted))
    assert found == {("gw_1", "p"): one, ("gw_2", "p"): two}
    assert await database.read(lambda conn: events.refs(conn, set())) == {}
    assert AttemptRef.parse(str(two)) == two


async def test_a_receipt_is_parked_once(database: Database) -> None:
    sent = Parked(
        gateway_id="gw_1", event_id="e", status="sent", provider_id="p", correlation=None, event="{}", received_at=1
    )
    delivered = replace(sent, status="delivered")
    for _ in range(2):
        await database.write(lambda conn: events.park(conn, [sent, delivered, sent]))
    found = await database.read(lambda conn: events.parked_under(conn, [("gw_1", "p"), ("gw_2", "p")]))
    assert sorted(found, key=lambda row: row.status) == [delivered, sent]
    assert await database.read(lambda conn: events.parked_under(conn, [("gw_2", "p")])) == []
    assert await database.read(lambda conn: events.parked_after(conn, FIRST_PARKED, 9)) == [delivered, sent]
    assert await database.read(lambda conn: events.parked_after(conn, delivered.place, 9)) == [sent]
    await database.write(lambda conn: events.unpark(conn, [sent]))
    await database.write(lambda conn: events.unpark(conn, []))
    assert await database.read(lambda conn: events.parked_after(conn, FIRST_PARKED, 9)) == [delivered]


async def test_what_is_known_of_an_address_follows_it(database: Database) -> None:
    await database.write(lambda conn: inbound.note_inbound(conn, "gw_1", ["old"], 5))
    await database.write(lambda conn: inbound.note_inbound(conn, "gw_1", ["old"], 3))
    await database.write(lambda conn: inbound.join_addresses(conn, "gw_1", "old", "new"))
    pairs = [("gw_1", "old"), ("gw_1", "new"), ("gw_2", "old")]
    found = await database.read(lambda conn: inbound.last_inbound(conn, pairs))
    assert found == {("gw_1", "old"): 5, ("gw_1", "new"): 5}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
async def test_consent_is_the_latest_word_of_each_scope(database: Database, order: tuple[int, ...]) -> None:
    words = {1: ("all", "opted_out"), 2: ("marketing", "opted_out"), 3: ("all", "opted_in")}
    for at in order:
        word = (*words[at], at)
        await database.write(lambda conn, word=word: inbound.note_consent(conn, "gw", "a", *word))  # type: ignore[misc]
    consent = await database.read(lambda conn: inbound.consent_of(conn, "gw", "a"))
    assert consent == {"all": "opted_in", "marketing": "opted_out"}
