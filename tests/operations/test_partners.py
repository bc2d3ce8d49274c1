"""Organizations, apps and keys: made, found by name or id, suspended, revoked, and every change on record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from held_clock import HeldClock
from waypost import access
from waypost.clock import DAY
from waypost.operations import OperationError
from waypost.operations.errors import AmbiguousError, InvalidArgumentError, NameTakenError, NotFoundError
from waypost.store import keys
from waypost.store.database import Database

Do = Callable[..., Awaitable[Any]]


async def test_an_organization_is_found_by_name_and_by_id(do: Do) -> None:
    made = await do("orgs.create", name=" Acme ", currency="SGD", credit_limit="12.5")
    assert made["name"] == "Acme"
    assert (made["available"], made["credit_limit"], made["status"]) == ("0", "12.5", "active")
    for reference in ("Acme", made["id"]):
        assert (await do("credit.show", organization=reference))["organization_id"] == made["id"]
    assert [row["id"] for row in await do("orgs.list")] == [made["id"]]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"name": "", "currency": "SGD"}, InvalidArgumentError, "name"),
        ({"name": "a\nb", "currency": "SGD"}, InvalidArgumentError, "name"),
        ({"name": "org_" + 32 * "0", "currency": "SGD"}, InvalidArgumentError, "name"),
        ({"name": "B", "currency": "sgd"}, InvalidArgumentError, "currency"),
        ({"name": "B", "currency": "SGDX"}, InvalidArgumentError, "currency"),
        ({"name": "B", "currency": "SGD", "credit_limit": "-1"}, InvalidArgumentError, "credit_limit"),
        ({"name": "B", "currency": "SGD", "credit_limit": "0.0000001"}, InvalidArgumentError, "credit_limit"),
        ({"name": "B", "currency": "SGD", "credit_limit": 5}, InvalidArgumentError, "credit_limit"),
        ({"name": "B", "currency": "SGD", "colour": "red"}, InvalidArgumentError, "colour"),
        ({"name": "B"}, InvalidArgumentError, "currency"),
        ({"name": "Acme", "currency": "SGD"}, NameTakenError, "Acme"),
    ],
)
async def test_a_wrong_organization_is_refused_and_nothing_is_stored(
    do: Do, arguments: dict[str, Any], error: type[OperationError], says: str
) -> None:
    await do("orgs.create", name="Acme", currency="SGD")
    with pytest.raises(error, match=says):
        await do("orgs.create", **arguments)
    assert len(await do("orgs.list")) == 1
    assert len(await do("audit.list")) == 1


async def test_every_change_is_on_record_with_who_did_it(do: Do) -> None:
    org = await do("orgs.create", name="Acme", currency="SGD")
    app = await do("apps.create", organization="Acme", name="shop")
    await do("orgs.suspend", organization="Acme")
    await do("orgs.suspend", organization="Acme")
    await do("apps.suspend", app="shop")
    await do("apps.activate", app=app["id"])
    told = [(row["actor"], row["action"], row["subject"]) for row in reversed(await do("audit.list"))]
    assert told == [
        ("test:ada", "orgs.create", org["id"]),
        ("test:ada", "apps.create", app["id"]),
        ("test:ada", "orgs.suspend", org["id"]),
        ("test:ada", "apps.suspend", app["id"]),
        ("test:ada", "apps.activate", app["id"]),
    ]


async def test_one_name_in_two_organizations_needs_an_id(do: Do) -> None:
    for name in ("Acme", "Zed"):
        await do("orgs.create", name=name, currency="SGD")
        await do("apps.create", organization=name, name="shop")
    with pytest.raises(NameTakenError):
        await do("apps.create", organization="Zed", name="shop")
    with pytest.raises(AmbiguousError) as caught:
        await do("keys.create", app="shop")
    ids = [row["id"] for row in await do("apps.list")]
    assert all(app_id in str(caught.value) for app_id in ids)
    assert (await do("keys.create", app=ids[1]))["app_id"] == ids[1]
    assert [row["organization"] for row in await do("apps.list", organization="Zed")] == ["Zed"]


async def test_a_key_is_shown_once_and_works_until_it_is_revoked(do: Do, database: Database, clock: HeldClock) -> None:
    await do("orgs.create", name="Acme", currency="SGD")
    await do("apps.create", organization="Acme", name="shop")
    made = await do("keys.create", app="shop", expires="90d")
    secret = made["secret"]
    assert made["expires_at"] == "2027-04-15T08:00:00.000Z"

    async def refusal() -> type[Exception] | None:
        standing = await database.read(lambda conn: keys.standing_by_digest(conn, access.digest(secret)))
        found = access.standing_refusal(standing, clock.now())
        return type(found) if found else None

    assert await refusal() is None
    listed = await do("keys.list", app="shop")
    assert secret not in str(listed)
    assert secret not in str(await do("audit.list"))
    assert (await do("keys.expire", key=made["shown"], at="24h"))["state"] == "active"
    clock.advance(DAY)
    assert await refusal() is access.Unauthorized
    assert (await do("keys.list"))[0]["state"] == "expired"
    assert (await do("keys.revoke", key=made["id"]))["state"] == "revoked"
    with pytest.raises(InvalidArgumentError, match="past"):
        await do("keys.create", app="shop", expires="2020-01-01")
    with pytest.raises(InvalidArgumentError, match="mode"):
        await do("keys.create", app="shop", mode="both")


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("apps.create", {"organization": "Nobody", "name": "x"}),
        ("orgs.suspend", {"organization": "Nobody"}),
        ("apps.suspend", {"app": "nothing"}),
        ("keys.create", {"app": "nothing"}),
        ("keys.revoke", {"key": "ak_live_none"}),
        ("credit.show", {"organization": "Nobody"}),
        ("gateways.show", {"gateway": "nothing"}),
        ("provider-apps.show", {"provider_app": "nothing"}),
        ("messages.show", {"message": "msg_0"}),
        ("routes.list", {"app": "nothing"}),
    ],
)
async def test_what_is_not_there_is_named_in_one_sentence(do: Do, operation: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(NotFoundError) as caught:
        await do(operation, **arguments)
    assert "\n" not in str(caught.value)
    assert repr(next(iter(arguments.values()))) in str(caught.value)


@pytest.mark.parametrize("odd", ["M\udcfcller", "Acme\x00"])
async def test_text_that_cannot_be_stored_is_refused_wherever_it_stands(do: Do, odd: str) -> None:
    for operation, argument, arguments in (
        ("orgs.create", "name", {"name": odd, "currency": "SGD"}),
        ("credit.show", "organization", {"organization": odd}),
        ("routes.set", "gateways", {"app": "shop", "gateways": ["one", odd]}),
    ):
        with pytest.raises(InvalidArgumentError, match=f"^{argument}: write text in UTF-8"):
            await do(operation, **arguments)


async def test_an_unknown_operation_is_refused(do: Do) -> None:
    with pytest.raises(OperationError, match="no such operation"):
        await do("orgs.destroy")
