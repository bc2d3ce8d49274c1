"""The operators' socket: what was done is not denied."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from waypost.store.database import StoreUnavailableError
from waypost_server.admin_socket import AdminSocket
from world import World


async def test_a_top_up_that_is_stored_is_not_denied(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node cannot read its directory again just then; whoever heard "unavailable" would top up once more."""
    org = await world.organization(credit_micros=0)
    socket = AdminSocket(world.node, tmp_path / "socket")
    arguments = {"organization": org.name, "amount": "5"}

    async def down() -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(world.node, "refresh", down)
    asked = orjson.dumps({"operation": "credit.top-up", "arguments": arguments, "actor": "cli:ada"})
    answer = await socket._answer(asked)
    assert "error" not in answer
    assert (await world.balance(org)).funded == 5_000_000


async def test_a_stop_does_not_wait_for_who_asks_nothing(world: World, tmp_path: Path) -> None:
    socket = AdminSocket(world.node, tmp_path / "socket")
    await socket.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
    writer.write(b'{"operation"')
    while not socket._listening:  # noqa: ASYNC110 - it is the loop's next turns that bring it
        await asyncio.sleep(0)
    await asyncio.wait_for(socket.stop(), 10)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_stop_does_not_wait_for_who_reads_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that was suspended while its answer was under way."""
    socket = AdminSocket(world.node, tmp_path / "socket")
    is_told = asyncio.Event()

    async def at_length(_: bytes) -> dict[str, str]:
        is_told.set()
        return {"result": "x" * 5_000_000}

    monkeypatch.setattr("waypost_server.admin_socket.PATIENCE", 0.05)
    monkeypatch.setattr(socket, "_answer", at_length)
    await socket.start()
    _, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
    writer.write(b"{}\n")
    await is_told.wait()
    await asyncio.wait_for(socket.stop(), 10)
    writer.transport.abort()
