"""The command line on PostgreSQL: several nodes share the work, each in its role, and commands need none of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from real_postgres import RealPostgres
from waypost.vault import new_key
from waypost_server.serve import initialise

Run = Callable[..., Any]
Serve = Callable[..., Any]

pytestmark = pytest.mark.postgres


@pytest.fixture
async def empty_url(postgres_server: RealPostgres) -> AsyncIterator[str]:
    name = await postgres_server.create_empty()
    yield postgres_server.url(name)
    await postgres_server.drop(name)


async def test_of_several_nodes_on_an_empty_database_one_makes_the_schema(empty_url: str) -> None:
    made = await asyncio.gather(*(initialise(empty_url) for _ in range(4)))
    assert any(made)
    assert await initialise(empty_url) is False


async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "waypost_server.cli", *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)


async def test_nodes_of_different_roles_share_a_database(
    empty_url: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_DATABASE_URL", empty_url)
    monkeypatch.setenv("WAYPOST_MASTER_KEYS", new_key())
    monkeypatch.setenv("WAYPOST_CHANNELS", "sms_twilio")
    api, worker = [await asyncio.to_thread(serve, "--role", role) for role in ("api", "worker")]
    ran = await run("nodes", "list", "--json")
    assert sorted(row["role"] for row in json.loads(ran.stdout)) == ["api", "worker"]
    assert (await run("orgs", "create", "Acme", "--currency", "SGD")).returncode == 0
    assert await asyncio.to_thread(_status, f"{api.url}/partner/balance") == 401
    assert await asyncio.to_thread(_status, f"{worker.url}/partner/balance") == 404
    assert await asyncio.to_thread(api.stop) == 0
    assert await asyncio.to_thread(worker.stop) == 0
    assert json.loads((await run("nodes", "list", "--json")).stdout) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("/empty_", "/nowhere_"), "there is no database of this name"),
        (("//postgres:", "//nobody:canary"), "it refuses this user or password"),
    ],
)
async def test_a_database_that_lets_nobody_in_is_one_sentence(
    empty_url: str, deployment: object, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], says: str
) -> None:
    assert change[0] in empty_url
    monkeypatch.setenv("WAYPOST_DATABASE_URL", empty_url.replace(*change))
    assert os.environ["WAYPOST_DATABASE_URL"] != empty_url
    for command in (("orgs", "list"), ("serve", "--port", "0")):
        ran = await run(*command)
        assert ran.returncode == 1
        assert says in ran.stderr
        assert ran.stderr.count("\n") == 1
        assert "canary" not in ran.stderr


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
