"""What people write, change and take back, in whatever order it comes, and what is known of them from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from inbound_stage import inbox_of, others, owned, states, wrote
from waypost.clock import SECOND, from_datetime, to_datetime
from waypost.plugin import (
    Address,
    AddressChange,
    ChannelEvent,
    ConsentChange,
    Engagement,
    Media,
    UnknownEvent,
)
from waypost.store import inbound
from world import TO, World


async def test_an_inbound_message_is_stored_once(world: World) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote(), wrote())
    await world.tell(partner, wrote(event_id="again"))
    (row,) = await inbox_of(world, partner)
    assert (row.gateway_id, row.channel, row.app_id) == (partner.gateway.id, "SMS", partner.app.id)
    assert json.loads(row.content)["body"] == "Hi"
    assert json.loads(row.sender) == [["e164", TO], ["wa_user_id", "u1"]]
    assert [state for state, _ in await states(world.database)] == ["applied", "applied"]


async def test_further_media_stay_with_their_message(world: World) -> None:
    partner = await owned(world)
    picture = Media(kind="image", url="https://media.test/1")
    await world.tell(partner, wrote(content=picture, more=(picture,)))
    (row,) = await inbox_of(world, partner)
    assert [item["url"] for item in json.loads(row.content)["more"]] == ["https://media.test/1"]


async def test_an_edit_replaces_and_an_unsend_erases(world: World) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote())
    await world.tell(partner, wrote(body="Hello", change="edit", event_id="edit"))
    (row,) = await inbox_of(world, partner)
    assert (json.loads(row.content)["body"], row.unsent) == ("Hello", False)
    await world.tell(partner, wrote(change="unsend", event_id="unsend"))
    (row,) = await inbox_of(world, partner)
    assert (row.content, row.unsent) == ("{}", True)


async def test_what_was_taken_back_in_the_same_delivery_is_not_kept(world: World) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote(body="secret"), wrote(body="secret", change="unsend", event_id="unsend"))
    (row,) = await inbox_of(world, partner)
    assert (row.content, row.unsent) == ("{}", True)


async def test_an_unsend_that_overtakes_its_message_erases_it_all_the_same(world: World) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote(change="unsend", event_id="unsend"))
    await world.tell(partner, wrote(body="secret"))
    (row,) = await inbox_of(world, partner)
    assert (row.content, row.unsent) == ("{}", True)


async def test_what_was_taken_back_stays_so(world: World) -> None:
    """Whatever is told again, or only now, of an earlier state of it."""
    partner = await owned(world)
    edit = wrote(body="better", change="edit", event_id="edit")
    for event in (wrote(), edit, wrote(change="unsend", event_id="unsend"), edit, wrote()):
        await world.tell(partner, event)
        (row,) = await inbox_of(world, partner)
    assert (row.content, row.unsent) == ("{}", True)


async def test_an_edit_that_overtakes_its_message_is_not_lost(world: World) -> None:
    partner = await owned(world)
    picture = Media(kind="image", url="https://media.test/1")
    await world.tell(partner, wrote(body="better", change="edit", event_id="edit"))
    (row,) = await inbox_of(world, partner)
    assert json.loads(row.content)["body"] == "better"
    await world.tell(partner, wrote(more=(picture,), reply_to="in-0"))
    (row,) = await inbox_of(world, partner)
    assert (json.loads(row.content)["body"], row.reply_to) == ("better", "in-0")
    assert [item["url"] for item in json.loads(row.content)["more"]] == ["https://media.test/1"]


@pytest.mark.parametrize("change", ["edit", "unsend"])
async def test_whatever_comes_first_a_message_says_the_same(world: World, change: str) -> None:
    """By whom and when it was written, and what it answers, is not for its change to say."""
    partner = await owned(world)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    said = wrote(occurred_at=at, sender_name="Ann", reply_to="in-0")
    changed = wrote(body="better", change=change, event_id="c", occurred_at=at + timedelta(minutes=1))
    ids = "in-1", "in-2", "in-3"
    for provider_id, order in zip(ids, ((said, changed), (changed, said), (changed, said, said)), strict=True):
        for event in order:
            await world.tell(partner, replace(event, provider_id=provider_id))
    first, *rest = [replace(row, id="", provider_id="") for row in await inbox_of(world, partner)]
    assert (first.sender_name, first.reply_to, first.occurred_at) == ("Ann", "in-0", from_datetime(at))
    assert rest == [first, first]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 1, 0)])
async def test_the_latest_edit_counts(world: World, order: Sequence[int]) -> None:
    partner = await owned(world)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    states = [wrote(occurred_at=at)] + [
        wrote(body=f"v{n}", change="edit", event_id=f"e{n}", occurred_at=at.replace(minute=n)) for n in (1, 2)
    ]
    for number in order:
        await world.tell(partner, states[number])
    (row,) = await inbox_of(world, partner)
    assert json.loads(row.content)["body"] == "v2"


async def test_an_edit_of_the_text_keeps_further_media(world: World) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote(more=(Media(kind="image", url="https://media.test/1"),)))
    await world.tell(partner, wrote(body="better", change="edit", event_id="edit"))
    (row,) = await inbox_of(world, partner)
    assert json.loads(row.content)["body"] == "better"
    assert [item["url"] for item in json.loads(row.content)["more"]] == ["https://media.test/1"]


@pytest.mark.parametrize("change", ["edit", "unsend"])
async def test_nobody_changes_what_another_wrote(world: World, change: str) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote())
    stranger = (Address("e164", "+491709999999"),)
    await world.tell(partner, wrote(body="theirs", change=change, event_id="e", sender=stranger))
    (row,) = await inbox_of(world, partner)
    assert (json.loads(row.content)["body"], row.unsent) == ("Hi", False)


@pytest.mark.parametrize("change", ["edit", "unsend"])
async def test_who_changes_a_message_before_it_comes_must_be_its_author(world: World, change: str) -> None:
    partner = await owned(world)
    stranger = (Address("e164", "+491709999999"),)
    await world.tell(partner, wrote(body="theirs", change=change, event_id="e", sender=stranger))
    await world.tell(partner, wrote())
    (row,) = await inbox_of(world, partner)
    assert (json.loads(row.content)["body"], row.unsent) == ("Hi", False)
    assert json.loads(row.sender)[0] == ["e164", TO]
    await world.tell(partner, wrote(body="Hello", change="edit", event_id="edit"))
    (row,) = await inbox_of(world, partner)
    assert json.loads(row.content)["body"] == "Hello"


async def test_a_gateway_has_received_since_it_heard_of_something(world: World) -> None:
    """However old what it first hears of is, and whatever a provider's clock says of the future."""
    partner = await owned(world)
    now = to_datetime(world.clock.now())
    await world.tell(partner, wrote("in-1", occurred_at=now - timedelta(days=12)))
    await world.tell(partner, wrote("in-2", occurred_at=now + timedelta(days=365)))
    pairs = [(partner.gateway.id, inbound.SINCE), (partner.gateway.id, TO)]
    found = await world.database.read(lambda conn: inbound.last_inbound(conn, pairs))
    assert found == dict.fromkeys(pairs, world.clock.now())


async def test_who_has_a_new_number_has_written_from_it(world: World) -> None:
    partner = await owned(world)
    new = Address("e164", "+491702222222")
    moved = AddressChange(event_id="m", old=Address("e164", TO), new=new)
    await world.tell(partner, wrote(), moved)
    pairs = [(partner.gateway.id, new.value)]
    assert await world.database.read(lambda conn: inbound.last_inbound(conn, pairs)) == {pairs[0]: world.clock.now()}


async def test_who_has_a_new_number_still_wants_nothing_there(world: World) -> None:
    """Unless they said so since, from the new one."""
    partner = await owned(world)
    old, new, at = Address("e164", TO), Address("e164", "+491702222222"), datetime(2026, 1, 1, tzinfo=UTC)
    stop = ConsentChange(event_id="s", address=old, state="opted_out", occurred_at=at)
    groups = [
        replace(stop, event_id="g", scope="7"),
        replace(stop, event_id="n", address=new, scope="7", state="opted_in", occurred_at=at.replace(day=2)),
    ]
    await world.tell(partner, stop, *groups)
    await world.tell(partner, AddressChange(event_id="m", old=old, new=new))
    consent = await world.database.read(lambda conn: inbound.consent_of(conn, partner.gateway.id, new.value))
    assert consent == {"all": "opted_out", "7": "opted_in"}


async def test_writing_opens_the_window_for_every_address_of_the_sender(world: World) -> None:
    partner = await owned(world)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    await world.tell(partner, wrote("in-2", occurred_at=at), wrote("in-1", occurred_at=at.replace(day=1)))
    pairs = [(partner.gateway.id, TO), (partner.gateway.id, "u1"), (partner.gateway.id, "nobody")]
    found = await world.database.read(lambda conn: inbound.last_inbound(conn, pairs))
    assert found == {pair: int(at.timestamp()) * 1_000_000 for pair in pairs[:2]}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_latest_word_on_consent_counts(world: World, order: Sequence[int]) -> None:
    partner = await owned(world)
    words = [
        ConsentChange(
            event_id=f"c{day}", address=Address("e164", TO), state=state, occurred_at=datetime(2026, 1, day, tzinfo=UTC)
        )
        for day, state in ((1, "opted_out"), (2, "opted_in"))
    ]
    for number in order:
        await world.tell(partner, words[number])
    consent = await world.database.read(lambda conn: inbound.consent_of(conn, partner.gateway.id, TO))
    assert consent == {"all": "opted_in"}
    assert await others(world.database) == [(partner.gateway.id, "ConsentChange")] * 2


async def test_writing_that_is_told_again_opens_no_window(world: World) -> None:
    """Not every provider tells when it was written; it was written once."""
    partner = await owned(world)
    began, pair = world.clock.now(), (partner.gateway.id, TO)
    for _ in range(2):
        await world.tell(partner, wrote())
        last = await world.database.read(lambda conn: inbound.last_inbound(conn, [pair]))
        assert last == {pair: began}
        world.clock.advance(SECOND)
    await world.tell(partner, wrote("in-2"), wrote())
    assert await world.database.read(lambda conn: inbound.last_inbound(conn, [pair])) == {pair: world.clock.now()}


@pytest.mark.parametrize("change", ["edit", "unsend"])
async def test_writing_opens_the_window_though_its_change_came_first(world: World, change: str) -> None:
    """Once, where the provider does not tell when it was written."""
    partner = await owned(world)
    heard, pair = world.clock.now(), (partner.gateway.id, TO)
    changed = wrote(change=change, event_id="c", occurred_at=to_datetime(heard - SECOND))
    for told in (changed, wrote(), wrote(), changed, wrote()):
        await world.tell(partner, told)
        if told.change == "new":
            last = await world.database.read(lambda conn: inbound.last_inbound(conn, [pair]))
            assert last == {pair: heard}
            world.clock.advance(SECOND)


async def test_a_tap_that_is_told_again_opens_no_window(world: World) -> None:
    """Not every provider tells when somebody tapped, and such a delivery can be sent again by whoever has one."""
    partner = await owned(world)
    began, pair = world.clock.now(), (partner.gateway.id, TO)
    tap = Engagement(event_id="tap", action="postback", sender=(Address("e164", TO),))
    for told in ((tap,), (tap, tap), (tap, wrote("in-1", occurred_at=to_datetime(began - SECOND)))):
        await world.tell(partner, *told)
        world.clock.advance(SECOND)
    assert await world.database.read(lambda conn: inbound.last_inbound(conn, [pair])) == {pair: began}
    await world.tell(partner, replace(tap, event_id="another"))
    assert await world.database.read(lambda conn: inbound.last_inbound(conn, [pair])) == {pair: world.clock.now()}


async def test_an_edit_that_is_told_again_is_not_the_latest(world: World) -> None:
    """Where the provider does not tell when it was; nor was anything written then."""
    partner = await owned(world)
    edits = [wrote(body=f"v{number}", change="edit", event_id=f"e{number}") for number in (1, 2)]
    for told in ((wrote(),), edits[:1], edits[1:]):
        world.clock.advance(SECOND)
        await world.tell(partner, *told)
    (before,), pair = await inbox_of(world, partner), (partner.gateway.id, TO)
    assert json.loads(before.content)["body"] == "v2"
    heard = world.clock.now()
    for number in (0, 1):
        world.clock.advance(SECOND)
        await world.tell(partner, edits[number])
    assert await inbox_of(world, partner) == [before]
    assert await world.database.read(lambda conn: inbound.last_inbound(conn, [pair])) == {pair: heard}


async def test_a_word_on_consent_that_is_told_again_is_not_the_latest(world: World) -> None:
    """Not every provider tells when it was said, and signatures without a time can be sent again by whoever has one."""
    partner = await owned(world)
    words = [
        ConsentChange(event_id=f"c{state}", address=Address("e164", TO), state=state)
        for state in ("opted_in", "opted_out")
    ]
    for told in ((words[0],), (words[1], words[0]), (words[0],)):
        world.clock.advance(SECOND)
        await world.tell(partner, *told)
        consent = await world.database.read(lambda conn: inbound.consent_of(conn, partner.gateway.id, TO))
    assert consent == {"all": "opted_out"}
    await world.tell(partner, replace(words[0], event_id="again"))
    consent = await world.database.read(lambda conn: inbound.consent_of(conn, partner.gateway.id, TO))
    assert consent == {"all": "opted_in"}


async def test_what_nobody_understands_is_kept(world: World) -> None:
    partner = await owned(world)
    await world.tell(partner, UnknownEvent(event_id="u", reason="new field"), ChannelEvent(event_id="c"))
    assert await others(world.database) == [
        (partner.gateway.id, "ChannelEvent"),
        (partner.gateway.id, "UnknownEvent"),
    ]
