"""A channel in a process of its own: other nodes' channels are not its business, and its memory has a limit."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_channel import FakeChannel
from held_clock import HeldClock
from waypost.store.postgres import PostgresDatabase
from waypost.vault import Vault, new_key
from waypost_server import memory
from waypost_server.serve import let_go
from world import World

#: Eats memory from the moment that a file is there.
GREEDY = """
import pathlib, threading, time
eaten = []
def eat():
    while True:
        time.sleep(0.02)
        if pathlib.Path("eat").exists():
            eaten.append(bytearray(20_000_000))
threading.Thread(target=eat, daemon=True).start()
"""


@pytest.mark.postgres
async def test_a_worker_claims_only_for_its_channels_and_the_api_accepts_for_all(
    postgres_url: str, clock: HeldClock
) -> None:
    vault = Vault([new_key()])

    async def node(role: str, *channels: FakeChannel) -> World:
        database = await PostgresDatabase.open(postgres_url)
        database.clock = clock
        return await World.open(database, clock, *channels, vault=vault, role=role)

    ours, theirs = FakeChannel("greedy", "SMS"), FakeChannel("calm", "WHATSAPP")
    api = await node("api", FakeChannel("greedy", "SMS"), FakeChannel("calm", "WHATSAPP"))
    partner = await api.partner()
    calm_worker = await node("worker", theirs)
    worlds = [api, calm_worker]
    try:
        for world in worlds:
            await world.start()
        waiting = await api.accept(partner)
        sent = await api.accept(partner, channel="WHATSAPP")
        await api.status(sent, "SENT")
        await calm_worker.rest()
        assert (await api.message(waiting.message.id)).status == "QUEUED"
        assert list(calm_worker.node.outbox.lanes) == [partner.gateways[1].id]
        assert api.node.outbox.lanes == {}
        worlds.append(await node("worker", ours))
        await worlds[-1].start()
        await api.status(waiting, "SENT")
        assert (len(ours.sent), len(theirs.sent)) == (1, 1)
    finally:
        for world in worlds:
            await world.close()


@pytest.fixture
def serve(tmp_path: Path, install: Callable[..., None], good: str) -> Callable[..., subprocess.Popen[str]]:
    install("stranger", t_greedy=good + GREEDY)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    environment |= {
        "PYTHONPATH": str(tmp_path / "site"),
        "WAYPOST_DATABASE_URL": f"sqlite:///{tmp_path}/waypost.db",
        "WAYPOST_MASTER_KEY_FILE": str(tmp_path / "master.key"),
        "WAYPOST_CHANNELS": "t_greedy",
    }

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "waypost_server.cli", "serve", "--port", "0", "--json", *arguments],
            env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


#: No process is nicer; where the tests run nicely themselves, that is soon reached.
NICEST = 19


def test_a_limit_ends_a_greedy_node_with_a_sentence(
    tmp_path: Path, serve: Callable[..., subprocess.Popen[str]]
) -> None:
    refused = serve("--memory-limit", "1")
    said = refused.communicate(timeout=60)[1]
    told = said.splitlines()[-1]
    assert "node.serving" not in said
    assert refused.returncode == 1
    least = re.search(r"give it at least (\d+)\.$", told)
    assert least is not None, told
    limited = serve("--memory-limit", str(int(least[1]) + 100))
    assert limited.stdout is not None
    assert json.loads(limited.stdout.readline())["url"]
    nicer = os.getpriority(os.PRIO_PROCESS, 0) + memory.NICENESS
    assert os.getpriority(os.PRIO_PROCESS, limited.pid) == min(nicer, NICEST)
    (tmp_path / "eat").touch()
    *lines, told = limited.communicate(timeout=60)[1].splitlines()
    assert limited.returncode == 1, told
    assert told.startswith("This node stopped because it used up its --memory-limit of ")
    assert "t_greedy" in told
    assert any("node.memory_limit_reached" in line for line in lines)


def test_what_a_process_uses_is_known() -> None:
    before = memory.used()
    # A mapping of its own: an object might find room in what earlier tests have given back.
    with mmap.mmap(-1, 50 * memory.MEGABYTE):
        assert memory.used() - before >= 40 * memory.MEGABYTE


def test_a_task_that_will_not_end_does_not_keep_a_node_from_stopping() -> None:
    ended: list[str] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("never")

    async def tidy() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("tidy")

    async def work() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(stubborn()), asyncio.create_task(tidy())]
        await asyncio.sleep(0)
        return tasks

    with asyncio.Runner() as runner:
        tasks = runner.run(work())
        assert let_go(runner.get_loop(), 0.05) == 1
        assert sorted(ended) == ["never", "tidy"]
        tasks[0].get_coro().close()  # type: ignore[union-attr]
        tasks[0]._log_destroy_pending = False  # type: ignore[attr-defined]
