"""The desk: who is let in, who is refused and why, and that a refusal leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fake_channel import FakeChannel
from sqlalchemy import Connection, text
from standings import revoke, rows, suspend_app, suspend_org, without_foreign_keys
from waypost import history, refusals
from waypost.admission.candidate import Admitted
from waypost.admission.request import FallbackRequest, SendRequest
from waypost.clock import HOUR, SECOND
from waypost.ids import new_id
from waypost.money import MAX_MICROS
from waypost.plugin import (
    Context,
    DeliveryUpdate,
    InvalidRecipient,
    OptedOut,
    OutboundMessage,
    Quote,
    QuoteLine,
    hookimpl,
)
from waypost.refusals import Refusal
from waypost.store import gateways, ledger, organizations
from waypost.store.database import StoreUnavailableError
from world import PRICE, TO, OpenWorld, Partner, World


async def refused(world: World, partner: Partner | str, code: type[Refusal], **fields: object) -> Refusal:
    """The refusal, after a look that nothing was written."""
    before = await rows(world.database)
    fields = {"idempotency_key": new_id("evt")} | fields
    with pytest.raises(code) as caught:
        await world.accept(partner, **fields)  # type: ignore[arg-type]
    assert type(caught.value) is code
    assert await rows(world.database) == before
    return caught.value


async def test_one_who_gives_up_takes_nobody_else_along(world: World) -> None:
    partner = await world.partner()
    await world.accept(partner)
    before = await rows(world.database)
    impatient, *others = [asyncio.ensure_future(world.accept(partner)) for _ in range(3)]
    await asyncio.sleep(0)  # all of them have arrived, and none was looked at
    impatient.cancel()
    answers = await asyncio.wait_for(asyncio.gather(impatient, *others, return_exceptions=True), 10)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, Admitted, Admitted]
    assert (await rows(world.database))["message"] == before["message"] + 2


async def test_an_accepted_message_is_all_there(world: World) -> None:
    partner = await world.partner(credit_micros=10 * PRICE)
    admitted = await world.accept(partner, request_id="req-1", validity=60, idempotency_key="k")
    assert not admitted.replayed
    stored = await world.message(admitted.message.id)
    assert stored == admitted.message
    assert (stored.recipient, stored.addresses) == (TO, f'[["e164","{TO}"]]')
    assert (stored.held, stored.deadline - stored.created_at, stored.request_id) == (PRICE, 60 * SECOND, "req-1")
    assert await rows(world.database) == {"message": 1, "step": 1, "event": 0, "ledger_entry": 2, "idempotency": 1}
    [queued] = await world.database.read(lambda conn: history.history(conn, stored))
    assert (queued.kind, queued.at) == ("queued", stored.created_at)
    assert TO not in str(queued)


# ---- who


@pytest.mark.parametrize("secret", [None, "", "ak_live_nobody", "x" * 201, "ключ", "\ud800"])
async def test_strangers_are_refused_alike(world: World, secret: str | None) -> None:
    await world.partner()
    before = await rows(world.database)
    with pytest.raises(refusals.Unauthorized) as caught:
        await world.node.desk.accept(secret, lambda: pytest.fail("a stranger's body was read"))
    assert caught.value.detail == refusals.Unauthorized.__doc__
    assert await rows(world.database) == before


async def test_an_expired_key_is_refused(world: World) -> None:
    partner = await world.partner()
    secret = await world.key(partner.app, expires_at=world.clock.now() + HOUR)
    await world.accept(secret)
    world.clock.advance(HOUR)
    await refused(world, secret, refusals.Unauthorized)


Change = Callable[[World, Partner], Awaitable[object]]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (revoke, refusals.Unauthorized),
        (suspend_app, refusals.AppInactive),
        (suspend_org, refusals.OrgInactive),
    ],
)
@pytest.mark.parametrize("valid", [True, False], ids=["good request", "bad request"])
async def test_a_change_of_standing_holds_from_the_next_request(
    world: World, change: Change, code: type[Refusal], valid: bool
) -> None:
    """The node remembers the key, but what is remembered never lets anybody in."""
    partner = await world.partner()
    await world.accept(partner)
    await change(world, partner)
    await refused(world, partner, code, to=TO if valid else "nonsense")
    await refused(world, partner, code)
    with pytest.raises(code):
        await world.node.desk.authenticate(partner.secret)


async def test_an_organization_made_active_again_may_send_at_once(world: World) -> None:
    partner = await world.partner()
    await suspend_org(world, partner)
    await refused(world, partner, refusals.OrgInactive)
    await world.database.write(lambda conn: organizations.set_status(conn, partner.org.id, "active"))
    await world.accept(partner)


async def test_a_key_and_app_that_outlived_their_organization(world: World) -> None:
    partner = await world.partner()
    await world.accept(partner)
    await without_foreign_keys(world.database, "UPDATE app SET org_id = 'org_gone'")
    await refused(world, partner, refusals.OrgNotFound)


async def test_a_key_that_outlived_its_app(world: World) -> None:
    partner = await world.partner()
    await world.accept(partner)

    await without_foreign_keys(world.database, "UPDATE api_key SET app_id = 'app_gone'")
    await refused(world, partner, refusals.AppNotFound)


# ---- what


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"to": "nonsense"}, "to"),
        ({"content": {"kind": "text"}}, "body"),
        ({"content": {"kind": "text", "body": ""}}, "body"),
        ({"content": {"kind": "text", "body": "x", "colour": "mauve"}}, "colour"),
        ({"content": {"kind": "text", "body": ["x"]}}, "body"),
        ({"content": {"kind": "video", "url": "https://x.test"}}, "text"),
        ({"content": {}}, "text"),
    ],
)
async def test_a_wrong_field_is_named_and_not_repeated(world: World, fields: dict[str, object], names: str) -> None:
    partner = await world.partner()
    refusal = await refused(world, partner, refusals.ValidationFailed, **fields)
    assert names in refusal.detail
    assert "nonsense" not in refusal.detail
    assert "mauve" not in refusal.detail


async def test_what_the_plugin_refuses_costs_nothing(world: World) -> None:
    partner = await world.partner()
    world.channel.quote = OptedOut("They asked for silence.")
    refusal = await refused(world, partner, refusals.ValidationFailed)
    assert "OPTED_OUT" in refusal.detail
    world.channel.quote = InvalidRecipient()
    await refused(world, partner, refusals.ValidationFailed)


@pytest.mark.parametrize("quote", [ZeroDivisionError(), "free", None])
async def test_a_broken_plugin_is_out_of_order(world: World, quote: object) -> None:
    partner = await world.partner()
    world.channel.quote = quote
    await refused(world, partner, refusals.Unavailable)


async def test_no_route_no_message(world: World) -> None:
    partner = await world.partner()
    refusal = await refused(world, partner, refusals.ValidationFailed, channel="CARRIER_PIGEON")
    assert "SMS" in refusal.detail
    assert "PIGEON" not in refusal.detail
    stranger = await world.key(await world.app(partner.org))
    await refused(world, stranger, refusals.ChannelConfigNotFound)


async def test_a_disabled_gateway_is_no_way(world: World) -> None:
    partner = await world.partner()
    await world.decide(lambda conn: gateways.set_status(conn, partner.gateway.id, "disabled", ""))
    await refused(world, partner, refusals.ChannelConfigNotFound)


async def test_a_gateway_without_usable_secret(world: World) -> None:
    gateway = await world.gateway(secrets="")
    await world.rate(gateway)
    await refused(world, await world.partner(gateway), refusals.ChannelCredentialsNotFound)


async def test_a_route_without_usable_secret_is_the_trouble_of_those_who_take_it(world: World) -> None:
    partner = await world.partner()
    sealed = await world.gateway(secrets="")
    await world.rate(sealed)
    await world.route(partner.app, sealed, prefix="86")
    assert (await world.accept(partner, "+14155550142")).message.status == "QUEUED"
    await refused(world, partner, refusals.ChannelCredentialsNotFound, to="+8613800138000")


async def test_a_plugin_that_is_not_loaded_serves_nobody_just_now(world: World) -> None:
    gateway = await world.gateway(plugin="missing")
    await world.rate(gateway)
    await refused(world, await world.partner(gateway), refusals.Unavailable)


async def test_no_price_no_message(world: World) -> None:
    gateway = await world.gateway()
    await world.rate(gateway, currency="EUR")
    await refused(world, await world.partner(gateway), refusals.ChannelConfigNotFound)


async def test_not_enough_credit(world: World) -> None:
    partner = await world.partner(credit_micros=2 * PRICE - 1)
    await world.accept(partner)
    await refused(world, partner, refusals.InsufficientCredit)
    assert (await world.balance(partner.org)).available == PRICE - 1


@pytest.mark.parametrize("units", [1, 10_000, 1_000_000])
async def test_no_credit_is_enough_for_a_price_that_cannot_be_stored(world: World, units: int) -> None:
    world.channel.quote = Quote((QuoteLine("unit", units),))
    gateway = await world.gateway()
    await world.rate(gateway, MAX_MICROS)
    await refused(world, await world.partner(gateway), refusals.InsufficientCredit)


async def test_a_credit_limit_may_be_used_up(world: World) -> None:
    partner = await world.partner(credit_micros=0, limit=PRICE)
    await world.accept(partner)
    await refused(world, partner, refusals.InsufficientCredit)


async def test_a_fallback_that_cannot_go_refuses_the_whole(world: World) -> None:
    partner = await world.partner(credit_micros=PRICE)
    await refused(world, partner, refusals.ValidationFailed, fallback=(FallbackRequest(channel="PIGEON"),))
    await refused(world, partner, refusals.InsufficientCredit, fallback=(FallbackRequest(channel="SMS"),))


async def test_a_store_that_is_down_is_said_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    partner = await world.partner()
    await world.accept(partner)

    async def down(work: object) -> None:
        raise StoreUnavailableError("disk full")

    monkeypatch.setattr(world.database, "write", down)
    monkeypatch.setattr(world.database, "write_alone", down)
    await refused(world, partner, refusals.Unavailable)
    monkeypatch.setattr(world.database, "read", down)
    with pytest.raises(refusals.Unavailable):
        await world.node.desk.authenticate(partner.secret)
    monkeypatch.undo()
    await world.accept(partner)


async def test_every_code_has_a_class_of_its_own() -> None:
    codes = [refusal.code for refusal in refusals.ALL_REFUSALS]
    assert len(set(codes)) == len(codes)
    assert all(refusal.__doc__ and 400 <= refusal.status < 600 for refusal in refusals.ALL_REFUSALS)


async def test_an_organizations_entries_hold_its_holds(world: World) -> None:
    """They are found through its messages, of which those that cost nothing must not take the place."""
    partner, other = await world.partner(), await world.partner()
    paid = (await world.accept(partner)).message.id
    await world.accept(other)
    for _ in range(6):
        await world.accept(partner)

    def make_free(conn: Connection) -> None:
        conn.execute(text("DELETE FROM ledger_entry WHERE message_id <> :id"), {"id": paid})
        conn.execute(text("UPDATE message SET held = 0 WHERE id <> :id"), {"id": paid})

    await world.database.write(make_free)
    found = await world.database.read(lambda conn: ledger.entries(conn, partner.org.id, 5))
    assert [(entry.kind, entry.message_id) for entry in found] == [("hold", paid), ("top_up", None)]


async def test_an_organizations_newest_entries_come_first(world: World) -> None:
    partner = await world.partner()
    sent = [(await world.accept(partner)).message.id for _ in range(4)]
    found = await world.database.read(lambda conn: ledger.entries(conn, partner.org.id, 3))
    assert [(entry.kind, entry.message_id) for entry in found] == [("hold", id_) for id_ in reversed(sent[1:])]


# ---- idempotency


async def test_the_same_request_again_is_the_same_message(world: World) -> None:
    partner = await world.partner()
    first = await world.accept(partner, idempotency_key="k", fingerprint="f")
    before = await rows(world.database)
    again = await world.accept(partner, idempotency_key="k", fingerprint="f")
    assert again.replayed
    assert again.message == first.message
    assert await rows(world.database) == before
    await refused(world, partner, refusals.IdempotencyConflict, idempotency_key="k", fingerprint="other")


async def test_keys_belong_to_their_app(world: World) -> None:
    one = await world.partner()
    two = await world.partner(one.gateway)
    first = await world.accept(one, idempotency_key="k", fingerprint="f")
    assert (await world.accept(two, idempotency_key="k", fingerprint="f")).message.id != first.message.id


async def test_a_refused_request_does_not_use_its_key_up(world: World) -> None:
    partner = await world.partner(credit_micros=0)
    await refused(world, partner, refusals.InsufficientCredit, idempotency_key="k", fingerprint="f")
    await world.database.write(lambda conn: conn.execute(text("UPDATE balance SET credit_limit = 1000000")).close())
    assert not (await world.accept(partner, idempotency_key="k", fingerprint="f")).replayed


# ---- price


async def test_the_longest_prefix_with_a_price_wins(world: World) -> None:
    gateway = await world.gateway()
    for prefix, price in (("", 1), ("49", 2), ("4915", 3), ("4416", 4)):
        await world.rate(gateway, price, prefix=prefix)
    partner = await world.partner(gateway)
    for to, price in (("+33612345678", 1), ("+4930123456", 2), (TO, 3), ("+44", 1)):
        assert (await world.accept(partner, to)).message.held == price


async def test_the_newest_rate_that_is_valid_wins(world: World) -> None:
    gateway = await world.gateway()
    now = world.clock.now()
    await world.rate(gateway, 10, valid_from=now - HOUR)
    await world.rate(gateway, 20, valid_from=now + HOUR)
    await world.rate(gateway, 5, valid_from=now - 2 * HOUR)
    partner = await world.partner(gateway)
    early = await world.accept(partner)
    world.clock.advance(HOUR)
    late = await world.accept(partner)
    assert (early.message.held, late.message.held) == (10, 20)


class Frugal(FakeChannel):
    """Names a destination of its own, and meters what the card makes cheap there."""

    @hookimpl
    def price(self, ctx: Context, message: OutboundMessage) -> Quote:
        assert ctx.rates is not None
        sku = "unit" if ctx.rates("offer") is None else "offer"
        return Quote((QuoteLine(sku),), destination="65")


async def test_a_plugin_asks_the_card_of_the_destination_that_its_quote_names(open_world: OpenWorld) -> None:
    world = await open_world(Frugal())
    gateway = await world.gateway()
    await world.rate(gateway, 100)
    partner = await world.partner(gateway)
    assert (await world.accept(partner)).message.held == 100
    await world.rate(gateway, 1, sku="offer", prefix="65")
    assert (await world.accept(partner)).message.held == 1
    await world.rate(gateway, 2, sku="offer", prefix="4915")
    assert (await world.accept(partner)).message.held == 1


async def test_the_price_of_acceptance_stays(world: World) -> None:
    gateway = await world.gateway()
    await world.rate(gateway, 10)
    partner = await world.partner(gateway)
    admitted = await world.accept(partner)
    await world.rate(gateway, 99, valid_from=1)
    await world.start()
    await world.status(admitted, "SENT")
    await world.tell(partner, DeliveryUpdate(event_id="e", status="delivered", provider_id="p-1"))
    assert (await world.message(admitted.message.id)).captured == 10


async def test_lines_and_quantities_add_up(world: World) -> None:
    gateway = await world.gateway()
    await world.rate(gateway, 10, sku="segment")
    await world.rate(gateway, 7, sku="fee")
    world.channel.quote = Quote((QuoteLine("segment", 3), QuoteLine("fee", charge_on="delivered")))
    partner = await world.partner(gateway)
    assert (await world.accept(partner)).message.held == 37


async def test_a_free_message_moves_no_money(world: World) -> None:
    gateway = await world.gateway()
    await world.rate(gateway, 0)
    partner = await world.partner(gateway, credit_micros=0)
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "SENT")
    assert await world.books_balance()


async def test_a_test_key_uses_test_gateways_and_costs_nothing(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(info={"last_receipt": "sent"}))
    live, test = await world.gateway(), await world.gateway(mode="test")
    for gateway in (live, test):
        await world.rate(gateway)
    partner = await world.partner(live, test, credit_micros=0)
    await refused(world, partner, refusals.InsufficientCredit)
    secret = await world.key(partner.app, mode="test")
    await world.start()
    admitted = await world.accept(secret)
    assert (admitted.message.mode, admitted.message.held) == ("test", 0)
    message = await world.status(admitted, "SENT")
    assert world.channel.sent[0].ctx.gateway_id == test.id
    assert message.settled_at is not None
    balance = await world.balance(partner.org)
    assert (balance.held, balance.captured, balance.available) == (0, 0, 0)


async def test_a_test_key_never_goes_the_way_that_a_live_one_has_warmed(open_world: OpenWorld) -> None:
    world = await open_world(FakeChannel(info={"last_receipt": "sent"}))
    live, test = await world.gateway(), await world.gateway(mode="test")
    for gateway in (live, test):
        await world.rate(gateway)
    partner = await world.partner(live, test)
    trial = await world.key(partner.app, mode="test")
    await world.start()
    for secret, through in ((partner.secret, live), (trial, test), (partner.secret, live)):
        await world.status(await world.accept(secret), "SENT")
        assert world.channel.sent[-1].ctx.gateway_id == through.id


async def test_read_is_called_once_and_its_refusal_told(world: World) -> None:
    partner = await world.partner()
    calls = []

    def read() -> SendRequest:
        calls.append(1)
        raise refusals.InvalidRequest

    with pytest.raises(refusals.InvalidRequest):
        await world.node.desk.accept(partner.secret, read)
    assert len(calls) == 1
