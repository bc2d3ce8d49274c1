"""Gateways, provider apps, rates and routes: secrets sealed, mistakes named, and nodes told of every change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_channel import FakeChannel
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only
from waypost.event_codec import LONGEST_ID
from waypost.operations import OperationError, Operator, call
from waypost.operations.errors import (
    ConflictError,
    InvalidArgumentError,
    NameTakenError,
    NotFoundError,
    PluginRefusedError,
    PluginUnavailableError,
)
from waypost.plugin import AccountHealth, OutcomeUnknown, SecretStr, Settings, Transient, WebhookConnection
from waypost.store import gateways, rates
from waypost.store.database import Database
from waypost.store.driver import is_postgres

Do = Callable[..., Awaitable[Any]]
SECRET = "s3cret-canary"
#: What no index of PostgreSQL takes, and does not compress either.
LONG = "".join(map(chr, range(0x4E00, 0x4E00 + 3000)))


@pytest.fixture
async def gateway(do: Do) -> dict[str, Any]:
    made: dict[str, Any] = await do(
        "gateways.create", name="one", plugin="fake", settings={"token": SECRET, "account": "AC1"}, senders=["ACME"]
    )
    return made


async def test_secrets_are_sealed_and_never_shown(do: Do, database: Database, gateway: dict[str, Any]) -> None:
    assert gateway["settings"] == {"token": "••••••", "account": "AC1"}
    assert gateway["account_ref"] == "AC1"
    assert gateway["webhook_urls"] == [f"https://gateway.test/webhooks/fake/{gateway['id']}"]
    for operation, arguments in (("gateways.list", {}), ("gateways.show", {"gateway": "one"}), ("audit.list", {})):
        assert SECRET not in str(await do(operation, **arguments))
    stored = await database.read(lambda conn: conn.execute(text("SELECT settings, secrets FROM gateway")).one())
    assert stored[0] == '{"account":"AC1"}'
    assert SECRET not in stored[1]


async def test_the_host_can_use_what_was_stored(do: Do, operator: Operator, gateway: dict[str, Any]) -> None:
    assert await do("gateways.skus", gateway="one", to="+6591234567") == [{"sku": "unit", "content": ["text"]}]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"plugin": "none"}, PluginUnavailableError, "installed are: bad, fake, fake_mail, off"),
        ({"plugin": "off"}, PluginUnavailableError, "disabled"),
        ({"plugin": "bad"}, PluginUnavailableError, "ImportError"),
        ({"settings": {}}, InvalidArgumentError, "settings.token"),
        ({"settings": {"token": 5}}, InvalidArgumentError, "settings.token"),
        ({"settings": {"token": "t", "colour": "red"}}, InvalidArgumentError, "settings.colour"),
        ({"settings": {"tokn": "t"}}, InvalidArgumentError, "settings.tokn: known are: token"),
        ({"settings": "token"}, InvalidArgumentError, "settings"),
        ({"settings": {"token": SECRET, "account": "a\0b"}}, InvalidArgumentError, "settings.account"),
        ({"settings": {"token": SECRET, "account": LONG}}, InvalidArgumentError, "settings.account"),
        ({"senders": [""]}, InvalidArgumentError, "senders"),
        ({"concurrency": 0}, InvalidArgumentError, "concurrency"),
        ({"rate_per_second": -1}, InvalidArgumentError, "rate_per_second"),
        ({"receipt_window_hours": 100_000}, InvalidArgumentError, "receipt_window_hours"),
        ({"mode": "both"}, InvalidArgumentError, "mode"),
        ({"app": "nobody"}, NotFoundError, "nobody"),
        ({"provider_app": "none"}, NotFoundError, "provider app"),
        ({"name": "one"}, NameTakenError, "one"),
    ],
)
async def test_a_wrong_gateway_is_refused(
    do: Do, gateway: dict[str, Any], arguments: dict[str, Any], error: type[OperationError], says: str
) -> None:
    good = {"name": "two", "plugin": "fake", "settings": {"token": SECRET}}
    with pytest.raises(error) as caught:
        await do("gateways.create", **good | arguments)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(await do("gateways.list")) == 1


async def test_what_an_account_is_called_by_is_no_longer_than_events_tell_it(do: Do) -> None:
    account = LONGEST_ID * "a"
    made = await do("gateways.create", name="one", plugin="fake", settings={"token": SECRET, "account": account})
    assert made["account_ref"] == account
    with pytest.raises(InvalidArgumentError, match="1000 bytes"):
        await do("gateways.update", gateway="one", settings={"account": account + "a"})


async def test_settings_may_refer_to_the_environment_and_to_files(
    do: Do, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "account").write_text("AC9\n")
    settings = {"token": {"$env": "FAKE_TOKEN"}, "account": {"$file": str(tmp_path / "account")}}
    made = await do("gateways.create", name="one", plugin="fake", settings=settings)
    assert made["settings"]["token"] == {"$env": "FAKE_TOKEN"}
    assert made["account_ref"] == "AC9"
    assert "FAKE_TOKEN is not set" in made["warnings"][0]
    found = (await do("doctor"))["findings"]
    assert any("FAKE_TOKEN is not set" in item["message"] for item in found if item["code"] == "gateway")
    monkeypatch.setenv("FAKE_TOKEN", SECRET)
    assert not any(item["code"] == "gateway" for item in (await do("doctor"))["findings"])


async def test_an_update_changes_what_it_names_and_nodes_hear_of_it(
    do: Do, database: Database, gateway: dict[str, Any]
) -> None:
    before = await database.read(rates.current_revision)
    changed = await do("gateways.update", gateway="one", settings={"account": "AC2"}, rate_per_second=5)
    assert (changed["account_ref"], changed["rate_per_second"], changed["senders"]) == ("AC2", 5, ["ACME"])
    assert await do("gateways.skus", gateway="one", to="+6591234567"), "the token must still be there"
    assert (await do("gateways.update", gateway="one", rate_per_second=0))["rate_per_second"] is None
    with pytest.raises(InvalidArgumentError, match=r"settings\.token"):
        await do("gateways.update", gateway="one", settings={"token": None})
    assert (await do("gateways.pause", gateway="one", reason="maintenance"))["status"] == "paused"
    assert "maintenance" in str((await do("doctor"))["findings"])
    assert (await do("gateways.resume", gateway="one"))["status"] == "active"
    assert await database.read(rates.current_revision) == before + 4
    assert (await do("audit.list"))[3]["detail"] == {"changed": ["rate_per_second", "settings.account"]}


async def test_the_provider_is_asked_through_the_plugin(do: Do, operator: Operator, gateway: dict[str, Any]) -> None:
    assert (await do("gateways.check", gateway="one"))["state"] == "unknown"
    checking = FakeChannel("fake", hooks=frozenset({"check_account"}))
    operator.records["fake"] = checking.record  # type: ignore[index]
    checking.health = AccountHealth(state="blocked", detail="The account is closed.")
    assert await do("gateways.check", gateway="one") == {
        "gateway": "one", "state": "blocked", "detail": "The account is closed.",
    }  # fmt: skip
    checking.health = Transient("no route")
    with pytest.raises(PluginRefusedError, match="could not be checked"):
        await do("gateways.check", gateway="one")


async def test_the_webhook_is_connected_through_the_plugin(do: Do, operator: Operator, gateway: dict[str, Any]) -> None:
    with pytest.raises(PluginRefusedError, match="fake cannot connect webhooks"):
        await do("gateways.connect", gateway="one")
    connecting = FakeChannel("fake", hooks=frozenset({"connect_webhook"}))
    operator.records["fake"] = connecting.record  # type: ignore[index]
    [url] = gateway["webhook_urls"]
    assert await do("gateways.connect", gateway="one") == {"gateway": "one", "url": url, "remaining": ""}
    connecting.connection = WebhookConnection(remaining="Tick all events.")
    assert (await do("gateways.connect", gateway="one"))["remaining"] == "Tick all events."
    assert connecting.connected == [url, url]
    told = [item for item in await do("audit.list") if item["action"] == "gateways.connect"]
    assert [item["detail"]["remaining"] for item in told] == ["Tick all events.", ""]
    assert {(item["subject"], item["detail"]["url"]) for item in told} == {(gateway["id"], url)}


@pytest.mark.parametrize("fault", [Transient("no route"), OutcomeUnknown(), ZeroDivisionError(SECRET)], ids=repr)
async def test_a_webhook_that_cannot_be_connected_is_said(
    do: Do, operator: Operator, gateway: dict[str, Any], fault: Exception
) -> None:
    connecting = FakeChannel("fake", hooks=frozenset({"connect_webhook"}))
    connecting.connection = fault
    operator.records["fake"] = connecting.record  # type: ignore[index]
    with pytest.raises(PluginRefusedError, match="no harm to try again") as caught:
        await do("gateways.connect", gateway="one")
    assert SECRET not in str(caught.value)
    assert "gateways.connect" not in str(await do("audit.list"))


async def test_without_a_public_url_nothing_can_be_connected(operator: Operator, gateway: dict[str, Any]) -> None:
    connecting = FakeChannel("fake", hooks=frozenset({"connect_webhook"}))
    hidden = replace(
        operator,
        records={"fake": connecting.record},
        config=operator.config.model_copy(update={"public_url": None}),
    )
    with pytest.raises(PluginRefusedError, match="WAYPOST_PUBLIC_URL"):
        await call(hidden, "gateways.connect", {"gateway": "one"})
    assert connecting.connected == []


# ---- provider apps


class AppSettings(Settings):
    """A provider app with a secret."""

    app_secret: SecretStr
    name: str = ""


@pytest.fixture
def shared(operator: Operator) -> None:
    """A plugin whose accounts share an app and a URL at their provider."""
    channel = FakeChannel("meta", info={"provider_app_settings": AppSettings, "webhook_scope": "shared"})
    operator.records["meta"] = channel.record  # type: ignore[index]


@pytest.mark.usefixtures("shared")
async def test_gateways_share_a_provider_app_and_a_url(do: Do, database: Database) -> None:
    made = await do("provider-apps.create", name="ours", plugin="meta", settings={"app_secret": SECRET, "name": "x"})
    assert made["settings"] == {"app_secret": "••••••", "name": "x"}
    gateway = await do("gateways.create", name="m1", plugin="meta", settings={"token": "t"}, provider_app="ours")
    assert gateway["provider_app"] == "ours"
    assert gateway["webhook_urls"] == [
        "https://gateway.test/webhooks/meta",
        f"https://gateway.test/webhooks/meta/{gateway['id']}",
    ]
    changed = await do("provider-apps.update", provider_app=made["id"], settings={"app_secret": "n3w-canary"})
    assert changed["settings"]["name"] == "x"
    stored = await database.read(lambda conn: conn.execute(text("SELECT settings, secrets FROM provider_app")).one())
    assert not any(secret in part for secret in (SECRET, "n3w-canary") for part in stored)
    assert await do("gateways.skus", gateway="m1", to="+6591234567") == []
    assert (await do("gateways.update", gateway="m1", provider_app=""))["provider_app"] is None
    with pytest.raises(PluginRefusedError, match="app_secret"):
        await do("gateways.skus", gateway="m1", to="+6591234567")


@pytest.mark.usefixtures("shared")
async def test_a_provider_app_fits_its_plugin(do: Do, gateway: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"settings\.app_secret"):
        await do("provider-apps.create", name="ours", plugin="meta", settings={})
    with pytest.raises(InvalidArgumentError, match="needs no provider app"):
        await do("provider-apps.create", name="ours", plugin="fake", settings={})
    await do("provider-apps.create", name="ours", plugin="meta", settings={"app_secret": SECRET})
    with pytest.raises(NameTakenError):
        await do("provider-apps.create", name="ours", plugin="meta", settings={"app_secret": SECRET})
    with pytest.raises(InvalidArgumentError, match="needs no provider app"):
        await do("gateways.update", gateway="one", provider_app="ours")
    assert [row["name"] for row in await do("provider-apps.list")] == ["ours"]


# ---- rates


async def test_a_rate_is_added_once(do: Do, gateway: dict[str, Any]) -> None:
    fields = {"gateway": "one", "currency": "SGD", "sku": "unit", "price": "0.0075"}
    made = await do("rates.add", **fields, prefix="+65", cost="0.004", cost_currency="USD", valid_from="7d")
    assert (made["prefix"], made["price"], made["cost"]) == ("65", "0.0075", "0.004")
    with pytest.raises(ConflictError):
        await do("rates.add", **fields, prefix="65", valid_from="7d")
    await do("rates.add", **fields, prefix="65")
    assert len(await do("rates.list", gateway="one")) == 2
    with pytest.raises(InvalidArgumentError, match="cost"):
        await do("rates.add", **fields, prefix="44", cost="1")


async def test_an_import_may_be_for_later(do: Do, gateway: dict[str, Any]) -> None:
    later = "sku,prefix,price,valid_from\nunit,66,0.03,\nunit,67,0.04,2027-03-01T00:00:00Z\n"
    await do("rates.import", gateway="one", csv_text=later, currency="SGD", valid_from="2027-02-01T00:00:00Z")
    starts = {row["prefix"]: row["valid_from"][:10] for row in await do("rates.list")}
    assert (starts["66"], starts["67"]) == ("2027-02-01", "2027-03-01")


async def test_a_rate_card_is_imported_whole_or_not_at_all(do: Do, gateway: dict[str, Any]) -> None:
    good = "sku,prefix,price,cost,cost_currency\nunit,,0.01,,\nunit,65,0.02,0.01,USD\n"
    assert (await do("rates.import", gateway="one", csv_text=good, currency="SGD"))["imported"] == 2
    assert [(row["prefix"], row["price"]) for row in await do("rates.list")] == [("", "0.01"), ("65", "0.02")]
    for bad, says in (
        ("sku,prefix,price\nother,,0.01\nunit,,zero\n", "Line 3: price"),
        ("sku,prefix,price\nother,,0.01\nother,,0.02\n", "Line 3: there already is"),
        ("sku,prefix,price\nother,,0.01,9\n", "Line 2"),
        ('sku,prefix,"price\nother,,0.01\n', "Line 1: it is not CSV"),
        ('"sku"s,prefix,price\nother,,0.01\n', "Line 1: it is not CSV"),
        ("sku,price,colour\n", "unknown columns: colour"),
        ("sku,price, price\nother,0.01,0.02\n", "twice: price"),
        ("prefix\n", "missing: price, sku"),
        ("", "missing"),
        ('sku,price\n"other,1\n', "not CSV"),
    ):
        with pytest.raises(OperationError, match=says):
            await do("rates.import", gateway="one", csv_text=bad, currency="SGD")
    assert len(await do("rates.list")) == 2


# ---- routes


async def test_a_route_replaces_the_one_before(do: Do, gateway: dict[str, Any]) -> None:
    await do("orgs.create", name="Acme", currency="SGD")
    await do("apps.create", organization="Acme", name="shop")
    await do("gateways.create", name="two", plugin="fake", settings={"token": "t"})
    await do("gateways.create", name="mail", plugin="fake_mail", settings={"token": "t"})
    await do("routes.set", app="shop", gateways=["one"])
    await do("routes.set", app="shop", gateways=["two", "one"], channel="sms", sender="ACME")
    await do("routes.set", app="shop", gateways=["one"], prefix="+65")
    found = [(row["channel"], row["prefix"], row["gateways"]) for row in await do("routes.list", app="shop")]
    assert found == [("SMS", "", ["two", "one"]), ("SMS", "65", ["one"])]
    for arguments, says in (
        ({"gateways": []}, "gateways"),
        ({"gateways": ["one", "one"]}, "once"),
        ({"gateways": ["one", "mail"]}, "mail serves EMAIL, not SMS"),
        ({"gateways": ["one"], "channel": "EMAIL"}, "one serves SMS"),
    ):
        with pytest.raises(InvalidArgumentError, match=says):
            await do("routes.set", app="shop", **arguments)
    await do("routes.remove", app="shop", channel="SMS", prefix="65")
    with pytest.raises(NotFoundError):
        await do("routes.remove", app="shop", channel="SMS", prefix="65")
    assert len(await do("routes.list")) == 1


async def test_channels_are_listed_with_their_reasons(do: Do) -> None:
    listed = {row["id"]: row for row in await do("channels.list")}
    assert {name: (row["state"], row["channel"], row["reason"]) for name, row in listed.items()} == {
        "bad": ("failed", None, "importing it raised ImportError"),
        "fake": ("loaded", "SMS", ""),
        "fake_mail": ("loaded", "EMAIL", ""),
        "off": ("disabled", None, "it is not enabled"),
    }
    assert listed["fake"]["limits"] == {"text_length": None, "media_bytes": None, "recipients": 1}
    assert listed["off"]["limits"] == {}


async def test_a_pause_beside_an_update_is_not_lost(
    do: Do, database: Database, gateway: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator changes a number while the gateway is being paused because its account is blocked."""
    really = gateways.save
    pausing: list[asyncio.Task[bool]] = []
    loop = asyncio.get_running_loop()

    def pause(row_id: str) -> None:
        wanted = database.write(lambda conn: gateways.set_status(conn, row_id, "paused", "account blocked"))
        pausing.append(loop.create_task(wanted))

    def save(conn: Connection, row: gateways.Gateway) -> None:
        if is_postgres(conn):
            pause(row.id)
            await_only(asyncio.wait(pausing, timeout=0.3))
        else:  # one writer at a time, in a thread of its own: the pause has to wait for it in any case
            loop.call_soon_threadsafe(pause, row.id)
        really(conn, row)

    monkeypatch.setattr(gateways, "save", save)
    await do("gateways.update", gateway="one", concurrency=5)
    await pausing[0]
    found = await do("gateways.show", gateway="one")
    assert (found["status"], found["concurrency"]) == ("paused", 5)
