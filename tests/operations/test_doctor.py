"""The doctor: silent about what is well, and one sentence for everything that is not."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from real_postgres import RealPostgres
from sqlalchemy import text
from waypost.config import Config
from waypost.host.loader import PluginRecord
from waypost.operations import Operator, call
from waypost.store.database import Database
from waypost.store.migrate import upgrade
from waypost.store.postgres import PostgresDatabase
from waypost.vault import new_key


async def findings(operator: Operator, **config: Any) -> dict[str, str]:
    changed = replace(operator, config=Config(database_url=operator.database.url, **config))
    return {item["code"]: item["level"] for item in (await call(changed, "doctor", {}))["findings"]}


async def test_a_good_configuration_is_passed_over(operator: Operator) -> None:
    found = await findings(operator, public_url="https://gateway.test", master_keys=[new_key()])
    # The test server has fsync off and no standby; the failed plugin is meant to be found.
    assert found.keys() - {"standby", "fsync"} == {"plugin"}


async def test_https_may_be_written_in_capitals(operator: Operator) -> None:
    assert "public_url" not in await findings(operator, public_url="HTTPS://gateway.test")
    assert "public_url" in await findings(operator, public_url="HTTP://gateway.test")


async def test_a_disk_that_is_nearly_full_is_found(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypost.store.sqlite.LEAST_ROOM", 2**63)
    found = await findings(operator)
    assert found.get("room") == (None if isinstance(operator.database, PostgresDatabase) else "error")


async def test_what_is_missing_is_found(operator: Operator) -> None:
    found = await findings(operator, channels="fake,nowhere")
    assert found["public_url"] == "warning"
    assert found["plugin"] == "error"
    on_postgres = operator.database.url.startswith("postgresql")
    assert found["master_keys"] == ("error" if on_postgres else "warning")
    assert ("standby" in found) == on_postgres


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_an_encoding_without_every_character_is_found(operator: Operator, postgres_server: RealPostgres) -> None:
    assert "encoding" not in await findings(operator)
    name = f"latin_{os.getpid()}"
    await postgres_server.execute(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    latin = await PostgresDatabase.open(postgres_server.url(name))
    try:
        await latin.write(upgrade)
        assert (await findings(replace(operator, database=latin)))["encoding"] == "error"
    finally:
        await latin.close()
        await postgres_server.drop(name)


async def test_an_old_schema_is_found(operator: Operator, database: Database) -> None:
    await database.write(lambda conn: conn.execute(text("DELETE FROM alembic_version")))
    assert (await findings(operator))["schema"] == "error"


async def test_a_newer_schema_is_found(operator: Operator, database: Database) -> None:
    await database.write(lambda conn: conn.execute(text("UPDATE alembic_version SET version_num = '0002'")))
    assert (await findings(operator))["schema"] == "warning"
    await database.write(lambda conn: conn.execute(text("DELETE FROM supported_schema")))
    assert (await findings(operator))["schema"] == "error"


async def test_a_wrapper_that_cannot_be_used_is_found(operator: Operator) -> None:
    """No node would start with it."""
    assert (await findings(operator, wrappers="nowhere"))["wrapper"] == "error"
    assert "wrapper" not in await findings(operator)


async def test_a_plugin_for_another_api_is_an_error_only_where_it_is_enabled(operator: Operator) -> None:
    old = PluginRecord("old", "waypost-old", "1.0", "incompatible", "it belongs to waypost.channels.v0")
    alone = replace(operator, records={"fake": operator.records["fake"], "old": old})
    config = {"public_url": "https://gateway.test", "master_keys": [new_key()]}
    assert (await findings(alone, **config))["plugin"] == "note"
    assert (await findings(alone, **config, channels="old"))["plugin"] == "error"


async def test_a_routed_gateway_without_a_price_in_the_currency_of_who_pays_is_found(operator: Operator) -> None:
    """Everything sent through it would be refused, or pass it over."""

    async def do(operation: str, **arguments: Any) -> None:
        await call(operator, operation, arguments)

    await do("orgs.create", name="Acme", currency="SGD")
    await do("apps.create", organization="Acme", name="shop")
    await do("gateways.create", name="one", plugin="fake", settings={"token": "t"})
    assert "rates" not in await findings(operator)  # nothing is routed through it
    await do("routes.set", app="shop", gateways=["one"])
    await do("rates.add", gateway="one", currency="USD", sku="unit", price="0.01")
    await do("rates.add", gateway="one", currency="SGD", sku="unit", price="0.01", valid_from="7d")
    assert (await findings(operator))["rates"] == "warning"
    await do("rates.add", gateway="one", currency="SGD", sku="unit", price="0.01")
    assert "rates" not in await findings(operator)


async def test_a_disabled_gateway_needs_no_price(operator: Operator) -> None:
    await call(operator, "orgs.create", {"name": "Acme", "currency": "SGD"})
    await call(operator, "apps.create", {"organization": "Acme", "name": "shop"})
    await call(operator, "gateways.create", {"name": "one", "plugin": "fake", "settings": {"token": "t"}})
    await call(operator, "routes.set", {"app": "shop", "gateways": ["one"]})
    await call(operator, "gateways.disable", {"gateway": "one"})
    assert "rates" not in await findings(operator)
