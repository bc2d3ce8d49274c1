"""Receiving: a delivery is verified and stored before the answer, and whoever cannot prove it is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import structlog
from fake_channel import FakeChannel
from inbound_stage import inbox_of, owned, read_again, states, wrote
from sqlalchemy import Connection, text
from waypost.inbox import parse
from waypost.inbox.receive import MAX_VERIFICATIONS
from waypost.inbox.service import LARGE
from waypost.plugin import (
    Address,
    ChannelEvent,
    ConsentChange,
    Rejected,
    Verified,
    WebhookContext,
    WebhookReply,
    WebhookRequest,
    hookimpl,
)
from waypost.store import gateways, inbound
from waypost.store.database import StoreUnavailableError
from world import TO, OpenWorld, Partner, World


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


async def test_of_one_secret_for_two_accounts_each_gets_its_own(open_world: OpenWorld) -> None:
    """A delivery is proof for both; what it says of one account is no news of the other."""
    channel = FakeChannel(hooks=frozenset({"recognize"}), info={"webhook_scope": "shared"})
    world = await open_world(channel)
    org = await world.organization()
    first, second = await world.app(org), await world.app(org)
    await world.gateway(account_ref="A1", app_id=first.id)
    await world.gateway(account_ref="A2", app_id=second.id)
    request = channel.tells(wrote("in-1", account_ref="A1"), wrote("in-2", account_ref="A2"))
    assert (await world.node.inbox.receive(request, plugin="fake")).status == 200
    assert {state for state, _ in await states(world.database)} == {"applied"}
    for app, provider_id in ((first, "in-1"), (second, "in-2")):
        rows = await inbox_of(world, Partner(org, app, "", ()))
        assert [row.provider_id for row in rows] == [provider_id]


@pytest.mark.parametrize("own_url", [True, False])
async def test_a_secret_is_no_proof_for_an_account_that_has_another(open_world: OpenWorld, *, own_url: bool) -> None:
    """Where each account has its secret, and no provider app has one for all of them."""

    class Channel(FakeChannel):
        @hookimpl
        async def verify_webhook(self, ctx: WebhookContext, request: WebhookRequest) -> Verified | Rejected:
            return Verified() if request.header("x-signature") == ctx.gateway_id else Rejected("wrong signature")

    channel = Channel(hooks=frozenset({"recognize"}), info={"webhook_scope": "shared"})
    world = await open_world(channel)
    org = await world.organization()
    mine, theirs = await world.app(org), await world.app(org)
    gateway = await world.gateway(account_ref="A1", app_id=mine.id)
    await world.gateway(account_ref="A2", app_id=theirs.id)
    request = channel.tells(wrote("in-1", account_ref="A2"), wrote("in-2", account_ref="A1"), signature=gateway.id)
    named = gateway.id if own_url else None
    assert (await world.node.inbox.receive(request, plugin="fake", gateway=named)).status == 200
    assert await inbox_of(world, Partner(org, theirs, "", ())) == []
    assert [row.provider_id for row in await inbox_of(world, Partner(org, mine, "", ()))] == ["in-2"]


async def test_an_opt_out_that_may_be_another_apps_is_kept_until_an_operator_says_whose(open_world: OpenWorld) -> None:
    """As a message is; but one that was said of a mail that nobody here sent is nobody's for good."""
    channel = FakeChannel(hooks=frozenset({"recognize"}), info={"webhook_scope": "shared"})
    world = await open_world(channel)
    org, meta = await world.organization(), await world.provider_app("fake")
    rows = [
        await world.gateway(account_ref="N1", provider_app_id=meta.id, app_id=(await world.app(org)).id)
        for _ in range(2)
    ]
    stop = ConsentChange(event_id="stop", account_ref="N1", address=Address("e164", TO), state="opted_out")
    for event in (stop, replace(stop, event_id="of a mail", provider_id="p-9")):
        await world.node.inbox.receive(channel.tells(event, headers=(("x-account", "N1"),)), plugin="fake")
    assert [state for state, _ in await states(world.database)] == ["failed", "applied"]
    await world.decide(lambda conn: gateways.save(conn, replace(rows[0], status="disabled")))
    assert await read_again(world) == 1
    consents = [await world.database.read(lambda conn, row=row: inbound.consent_of(conn, row.id, TO)) for row in rows]
    assert consents == [{}, {"all": "opted_out"}]
