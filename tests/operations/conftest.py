"""An operator over each database, with one fake channel that is loaded and two plugins that are not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_channel import FakeChannel
from waypost.config import Config
from waypost.host.loader import PluginRecord
from waypost.operations import Operator, call
from waypost.store.database import Database
from waypost.vault import Vault, new_key

Do = Callable[..., Awaitable[Any]]


@pytest.fixture
def operator(database: Database, channel: FakeChannel) -> Operator:
    """Somebody who may do everything."""
    channel.info["account_ref_field"] = "account"
    channel.info["examples"] = {"text": {"body": "Hello"}}
    other = FakeChannel("fake_mail", channel="EMAIL")
    return Operator(
        database=database,
        vault=Vault([new_key()]),
        records={
            channel.name: channel.record,
            other.name: other.record,
            "off": PluginRecord("off", "waypost-off", "1.0", "disabled", "it is not enabled"),
            "bad": PluginRecord("bad", "waypost-bad", "2.0", "failed", "importing it raised ImportError"),
        },
        config=Config(database_url=database.url, public_url="https://gateway.test"),
        actor="test:ada",
    )


@pytest.fixture
def do(operator: Operator) -> Do:
    """Do an operation by name: `await do("orgs.create", name="Acme", currency="SGD")`."""

    async def ask(operation: str, /, **arguments: Any) -> Any:
        return await call(operator, operation, arguments)

    return ask
