"""The inbox: verified, stored before the answer, applied once, and never taken down by one delivery."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import structlog
from fake_channel import FakeChannel
from sqlalchemy import Connection, text
from waypost.clock import MINUTE, to_datetime
from waypost.inbox import parse, service
from waypost.inbox.receive import MAX_VERIFICATIONS
from waypost.inbox.service import LARGE, MOST_TRIES
from waypost.plugin import (
    Address,
    AddressChange,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    InboundMessage,
    Media,
    Rejected,
    Text,
    UnknownEvent,
    WebhookContext,
    WebhookReply,
    WebhookRequest,
    hookimpl,
)
from waypost.store import deliveries, inbound
from waypost.store.database import Database, StoreUnavailableError
from world import TO, OpenWorld, Partner, World


async def states(database: Database) -> list[tuple[str, str]]:
    def work(conn: Connection) -> list[tuple[str, str]]:
        return [tuple(row) for row in conn.execute(text("SELECT state, problem FROM delivery ORDER BY id"))]

    return await database.read(work)


async def others(database: Database) -> list[tuple[str, str]]:
    def work(conn: Connection) -> list[tuple[str, str]]:
        rows = conn.execute(text("SELECT gateway_id, kind FROM channel_event ORDER BY event_id"))
        return [tuple(row) for row in rows]

    return await database.read(work)


def wrote(provider_id: str = "in-1", body: str = "Hi", event_id: str | None = None, **fields: object) -> InboundMessage:
    return InboundMessage(
        **{  # type: ignore[arg-type]
            "event_id": event_id or f"inbound:{provider_id}",
            "provider_id": provider_id,
            "sender": (Address("e164", TO), Address("wa_user_id", "u1")),
            "recipient": Address("e164", "+1555"),
            "content": Text(body=body),
        }
        | fields
    )


async def inbox_of(world: World, partner: Partner) -> list[inbound.Inbound]:
    return await world.database.read(lambda conn: inbound.page(conn, partner.app.id, "", 100))


async def owned(world: World) -> Partner:
    """A partner whose app owns its gateway."""
    org = await world.organization()
    app = await world.app(org)
    gateway = await world.gateway(app_id=app.id)
    return Partner(org, app, await world.key(app), (gateway,))


# ---- may they come in


async def test_a_forged_delivery_gets_one_constant_answer_and_leaves_nothing(world: World) -> None:
    partner = await owned(world)
    answers = [
        await world.tell(partner, wrote(), signature="forged"),
        await world.tell(partner, wrote(), signature="förged\ud800"),
        await world.tell(partner, body=b"", signature=""),
    ]
    assert answers == [WebhookReply(401, b"unauthorized")] * 3
    assert await states(world.database) == []


async def test_a_stranger_gets_one_line_in_the_log_however_many_secrets_were_tried(world: World) -> None:
    for _ in range(MAX_VERIFICATIONS + 2):
        await world.gateway()
    forged = replace(world.channel.tells(signature="forged"), method="GET", body=b"")
    with structlog.testing.capture_logs() as lines:
        reply = await world.node.inbox.receive(forged, plugin="fake")
    assert (reply.status, world.channel.verifications) == (401, MAX_VERIFICATIONS + 2)
    (line,) = [line for line in lines if line["event"] == "webhook.rejected"]
    assert (line["tried"], line["reason"]) == (MAX_VERIFICATIONS + 2, "wrong signature")


async def test_a_large_delivery_is_parsed_beside_the_event_loop(open_world: OpenWorld) -> None:
    threads: list[bool] = []

    class Watched(FakeChannel):
        @hookimpl
        def parse_event(self, ctx: object, request: WebhookRequest) -> Sequence[ChannelEvent]:  # type: ignore[override]
            threads.append(threading.current_thread() is threading.main_thread())
            if b"raise" in request.body:
                raise ZeroDivisionError
            return [wrote()]

    world = await open_world(Watched())
    partner = await owned(world)
    for body in (b"small", b"x" * LARGE, b"x" * (LARGE + 1), b"raise" + b"x" * LARGE):
        assert (await world.tell(partner, body=body)).status == 200
    assert threads == [True, True, False, False]
    assert len(await inbox_of(world, partner)) == 1
    assert [state for state, _ in await states(world.database)] == ["applied", "applied", "applied", "failed"]


async def test_a_large_delivery_that_is_never_read_holds_up_no_other(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "PARSE_DEADLINE", 0.05)
    let_go = threading.Event()

    class Endless(FakeChannel):
        @hookimpl
        def parse_event(self, ctx: object, request: WebhookRequest) -> Sequence[ChannelEvent]:  # type: ignore[override]
            if len(request.body) > LARGE:
                let_go.wait(10)
            return [wrote()]

    world = await open_world(Endless())
    partner = await owned(world)
    try:
        assert (await world.tell(partner, body=b"x" * (LARGE + 1))).status == 200
        assert (await world.tell(partner, body=b"small")).status == 200
        assert len(await inbox_of(world, partner)) == 1
        assert [state for state, _ in await states(world.database)] == ["failed", "applied"]
    finally:
        let_go.set()


async def test_a_plugin_that_fails_to_verify_lets_nobody_in(open_world: OpenWorld) -> None:
    class Broken(FakeChannel):
        @hookimpl
        async def verify_webhook(self, ctx: object, request: WebhookRequest) -> object:  # type: ignore[override]
            if b"raise" in request.body:
                raise ZeroDivisionError
            return True  # a careless plugin: not a verdict

    world = await open_world(Broken())
    partner = await owned(world)
    for body in (b"raise", b"lie"):
        assert (await world.tell(partner, body=body)).status == 401
    assert await states(world.database) == []


async def test_without_a_secret_nothing_is_let_in_and_the_provider_tries_again(world: World) -> None:
    gateway = await world.gateway(secrets="")
    reply = await world.node.inbox.receive(world.channel.tells(wrote()), plugin="fake", gateway=gateway.id)
    assert reply.status == 503
    reply = await world.node.inbox.receive(world.channel.tells(wrote()), plugin="fake")
    assert reply.status == 503
    assert world.channel.verifications == 0


@pytest.mark.parametrize("named", [{"plugin": "fake", "gateway": "gw_nobody"}, {"plugin": "nobody"}])
async def test_an_unknown_url_is_not_found(world: World, named: dict[str, str]) -> None:
    await owned(world)
    assert (await world.node.inbox.receive(world.channel.tells(wrote()), **named)).status == 404


async def test_a_gateway_answers_under_its_own_plugin_only(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(), FakeChannel("other"))
    partner = await owned(world)
    reply = await world.node.inbox.receive(world.channel.tells(wrote()), plugin="other", gateway=partner.gateway.id)
    assert reply.status == 404


async def test_a_forged_post_costs_at_most_eight_verifications(world: World) -> None:
    for _ in range(MAX_VERIFICATIONS + 4):
        await world.gateway()
    reply = await world.node.inbox.receive(world.channel.tells(wrote(), signature="forged"), plugin="fake")
    assert (reply.status, world.channel.verifications) == (401, 8)


async def test_one_account_without_a_secret_does_not_change_the_constant_answer(open_world: OpenWorld) -> None:
    """503 is said where nobody asked could know; else a stranger would learn how a deployment is set up."""
    bare: set[str] = set()

    class Channel(FakeChannel):
        @hookimpl
        async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> Rejected:
            return Rejected("no", unconfigured=ctx.gateway_id in bare)

    world = await open_world(Channel())
    first, second = [await world.gateway() for _ in range(2)]
    for known, status in (((), 401), ((first,), 401), ((second,), 401), ((first, second), 503)):
        bare.clear()
        bare.update(gateway.id for gateway in known)
        assert (await world.node.inbox.receive(world.channel.tells(wrote()), plugin="fake")).status == status


async def test_a_store_that_is_down_is_no_thank_you(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    partner = await owned(world)

    async def down(work: object) -> None:
        raise StoreUnavailableError("down")

    monkeypatch.setattr(world.database, "write", down)
    monkeypatch.setattr(world.database, "write_alone", down)
    with pytest.raises(StoreUnavailableError):
        await world.tell(partner, wrote())
    monkeypatch.undo()
    assert await states(world.database) == []


async def test_one_url_for_all_asks_the_plugins_that_recognise_it(open_world: OpenWorld) -> None:
    recognising = FakeChannel("one", hooks=frozenset({"recognize"}))
    silent = FakeChannel("two")
    world = await open_world(recognising, silent)
    gateway = await world.gateway(recognising, account_ref="A1")
    await world.gateway(silent)
    known = recognising.tells(wrote(), headers=(("x-account", "A1"),))
    assert (await world.node.inbox.receive(known)).status == 200
    await world.node.inbox.drain()
    assert (recognising.verifications, silent.verifications) == (1, 0)
    assert (await world.node.inbox.receive(recognising.tells(wrote()))).status == 401
    assert (await world.node.inbox.receive(known, among=["two"])).status == 401

    def stored(conn: Connection) -> str:
        return str(conn.execute(text("SELECT gateway_id FROM inbound_message")).scalar_one())

    assert await world.database.read(stored) == gateway.id


async def test_a_delivery_is_applied_before_it_is_acknowledged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    partner = await owned(world)
    transactions = 0
    write = world.database.write

    async def counted(work: Callable[[Connection], object]) -> object:
        nonlocal transactions
        transactions += 1
        return await write(work)

    monkeypatch.setattr(world.database, "write", counted)
    receive, gateway = world.node.inbox.receive, partner.gateway.id
    requests = [world.channel.tells(wrote(f"in-{number}")) for number in range(20)]
    replies = await asyncio.gather(*(receive(request, plugin="fake", gateway=gateway) for request in requests))
    assert {reply.status for reply in replies} == {200}
    assert len(await inbox_of(world, partner)) == 20
    assert await states(world.database) == [("applied", "")] * 20
    assert transactions < 5


# ---- what is made of it


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


async def test_what_nobody_understands_is_kept(world: World) -> None:
    partner = await owned(world)
    await world.tell(partner, UnknownEvent(event_id="u", reason="new field"), ChannelEvent(event_id="c"))
    assert await others(world.database) == [
        (partner.gateway.id, "ChannelEvent"),
        (partner.gateway.id, "UnknownEvent"),
    ]


# ---- bad luck


async def test_a_delivery_that_cannot_be_parsed_waits_for_the_fix(world: World) -> None:
    partner = await owned(world)
    bad = world.channel.tells(fault=KeyError("+4915112345678"))
    reply = await world.node.inbox.receive(bad, plugin="fake", gateway=partner.gateway.id)
    assert reply.status == 200  # it is safe with us
    await world.tell(partner, wrote("in-2"))
    ((failed, problem), (applied, _)) = await states(world.database)
    assert (failed, applied) == ("failed", "applied")
    assert "KeyError" in problem
    assert "4915" not in problem

    world.clock.advance(10 * MINUTE)
    await world.node.inbox.tend_once()
    assert world.channel.parses == 2  # it is not tried again by itself
    world.channel.mend(bad, wrote("in-1"))
    assert await world.node.inbox.parse_again("fake") == 1
    assert len(await inbox_of(world, partner)) == 2
    assert {state for state, _ in await states(world.database)} == {"applied"}
    assert await world.node.inbox.parse_again("fake") == 0


@pytest.mark.parametrize(
    "poison",
    [
        wrote("bad", occurred_at=datetime(2026, 1, 1)),  # noqa: DTZ001 - the mistake
        wrote("bad", recipient=None),
        DeliveryUpdate(event_id="bad", status="delivered", provider_id=7),  # type: ignore[arg-type]
        DeliveryUpdate(event_id="bad", status="exploded", provider_id="p-1"),  # type: ignore[arg-type]
    ],
    ids=["naive time", "no recipient", "id not text", "no such status"],
)
async def test_a_poisoned_delivery_takes_nobody_down(world: World, poison: ChannelEvent) -> None:
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "SENT")
    receive, gateway = world.node.inbox.receive, partner.gateway.id
    for events in ([wrote("a")], [poison], [DeliveryUpdate(event_id="e", status="delivered", provider_id="p-1")]):
        assert (await receive(world.channel.tells(*events), plugin="fake", gateway=gateway)).status == 200
    await world.node.inbox.drain()
    assert (await world.message(admitted.message.id)).status == "DELIVERED"
    assert [state for state, _ in await states(world.database)].count("applied") >= 2
    assert "stored" not in dict(await states(world.database))


@pytest.mark.parametrize("size", [1, LARGE + 1], ids=["small", "large"])
async def test_an_event_that_cannot_be_placed_takes_nobody_down(open_world: OpenWorld, size: int) -> None:
    """Whatever a plugin puts where an account's name belongs: what comes behind it is read all the same."""

    class Careless(FakeChannel):
        @hookimpl
        def parse_event(self, ctx: object, request: WebhookRequest) -> Sequence[ChannelEvent]:  # type: ignore[override]
            return [wrote("in-1", account_ref=["A1"] if request.body[:1] == b"b" else "A1")]

    world = await open_world(Careless(info={"webhook_scope": "shared"}))
    app = await world.app(await world.organization())
    provider_app = await world.provider_app("fake")
    gateway = await world.gateway(provider_app_id=provider_app.id, account_ref="A1", app_id=app.id)
    for letter in (b"b", b"g"):
        request = world.channel.tells(body=letter * size)
        assert (await world.node.inbox.receive(request, plugin="fake")).status == 200
    await world.node.inbox.drain()
    assert [state for state, _ in await states(world.database)] == ["failed", "applied"]
    found = await world.database.read(lambda conn: inbound.page(conn, app.id, "", 9))
    assert [row.gateway_id for row in found] == [gateway.id]


@pytest.mark.parametrize("strange", ["a\x00b", "\ud800"], ids=["NUL", "surrogate"])
async def test_characters_that_a_database_cannot_hold_do_not_lose_a_message(world: World, strange: str) -> None:
    partner = await owned(world)
    await world.tell(partner, wrote("in-1", body="a\x00b", sender_name=strange, reply_to=strange), wrote("in-2"))
    assert [row.provider_id for row in await inbox_of(world, partner)] == ["in-1", "in-2"]


async def test_what_a_killed_node_left_behind_is_applied(world: World) -> None:
    partner = await owned(world)
    request = world.channel.tells(wrote())
    delivery = deliveries.Delivery(
        id="raw_1", plugin="fake", gateway_id=partner.gateway.id, provider_app_id=None, request=request,
        received_at=world.clock.now(),
    )  # fmt: skip
    await world.database.write(lambda conn: deliveries.add_many(conn, [delivery]))
    await world.node.inbox.tend_once()
    assert await inbox_of(world, partner) == []  # its node may still be at it
    world.clock.advance(MINUTE)
    await world.node.inbox.tend_once()
    assert len(await inbox_of(world, partner)) == 1


async def test_a_delivery_that_kills_every_node_is_given_up_and_its_neighbours_are_applied(
    open_world: OpenWorld, database: Database
) -> None:
    class Deadly(FakeChannel):
        @hookimpl
        def parse_event(self, ctx: object, request: WebhookRequest) -> Sequence[ChannelEvent]:  # type: ignore[override]
            if request.body == b"deadly":
                raise KeyboardInterrupt
            return [wrote(request.body.decode())]

    world = await open_world(Deadly())
    partner = await owned(world)
    rows = [
        deliveries.Delivery(
            id=f"raw_{body}", plugin="fake", gateway_id=partner.gateway.id, provider_app_id=None,
            request=world.channel.tells(body=body.encode()), received_at=world.clock.now(),
        )
        for body in ("a", "deadly", "z")
    ]  # fmt: skip
    await world.database.write(lambda conn: deliveries.add_many(conn, rows))
    world.clock.advance(MINUTE)
    for _ in range(MOST_TRIES):
        another = await World.open(database, world.clock, world.channel, vault=world.node.vault)
        try:
            with pytest.raises(KeyboardInterrupt):
                await another.node.inbox.tend_once()
        finally:
            await aiohttp.ClientSession.close(another.node.http)
    await world.node.inbox.tend_once()
    assert sorted(row.provider_id for row in await inbox_of(world, partner)) == ["a", "z"]
    assert await states(world.database) == [
        ("applied", ""), ("failed", f"{MOST_TRIES} processes ended while they read it"), ("applied", ""),
    ]  # fmt: skip
    assert await world.database.write(lambda conn: deliveries.queue_again(conn, "fake")) == 1
    (again,) = await world.database.read(lambda conn: deliveries.stored_before(conn, world.clock.now(), ["fake"], 9))
    assert again.tries == 0


async def test_a_store_that_is_down_is_no_reason_to_give_a_delivery_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tried has outlived it, however often."""
    partner = await owned(world)
    delivery = deliveries.Delivery(
        id="raw_1", plugin="fake", gateway_id=partner.gateway.id, provider_app_id=None,
        request=world.channel.tells(wrote()), received_at=world.clock.now(),
    )  # fmt: skip
    await world.database.write(lambda conn: deliveries.add_many(conn, [delivery]))
    world.clock.advance(MINUTE)

    def down(*_: object) -> None:
        raise StoreUnavailableError

    with monkeypatch.context() as patched:
        patched.setattr(service, "apply", down)
        for _ in range(MOST_TRIES + 2):
            await world.node.inbox.tend_once()
            world.node.inbox._tried.clear()  # as another process would come to it
    assert await states(world.database) == [("stored", "")]
    (left,) = await world.database.read(lambda conn: deliveries.stored_before(conn, world.clock.now(), ["fake"], 9))
    assert left.tries == 0
    await world.node.inbox.tend_once()
    assert len(await inbox_of(world, partner)) == 1


async def test_a_node_without_the_plugin_leaves_the_delivery_to_others(open_world: OpenWorld) -> None:
    """Two deployments on one database: a delivery is only for the nodes that have its plugin."""
    world = await open_world(FakeChannel())
    delivery = deliveries.Delivery(
        id="raw_1", plugin="elsewhere", gateway_id=None, provider_app_id=None,
        request=WebhookRequest(method="POST", url="https://gateway.test/webhooks/elsewhere"), received_at=0,
    )  # fmt: skip
    await world.database.write(lambda conn: deliveries.add_many(conn, [delivery]))
    await world.node.inbox.tend_once()
    assert [state for state, _ in await states(world.database)] == ["stored"]


async def test_a_shared_urls_event_belongs_to_the_account_it_names(open_world: OpenWorld) -> None:
    channel = FakeChannel(hooks=frozenset({"recognize"}), info={"webhook_scope": "shared"})
    world = await open_world(channel)
    org = await world.organization()
    app = await world.app(org)
    mine, theirs = await world.provider_app("fake"), await world.provider_app("fake")
    gateway = await world.gateway(provider_app_id=mine.id, account_ref="A1", app_id=app.id)
    foreign = await world.gateway(provider_app_id=theirs.id, account_ref="A2", app_id=app.id)
    partner = Partner(org, app, "", (gateway,))
    request = channel.tells(
        wrote("in-1", account_ref="A1"), wrote("in-2", account_ref="A2"), wrote("in-3", account_ref="A3"),
        wrote("in-4"), headers=(("x-account", "A1"),),
    )  # fmt: skip
    assert (await world.node.inbox.receive(request, plugin="fake")).status == 200
    await world.node.inbox.drain()
    rows = await inbox_of(world, partner)
    assert [(row.provider_id, row.gateway_id) for row in rows] == [("in-1", gateway.id)]
    assert foreign.id not in {row.gateway_id for row in rows}
