"""Plugins that cannot be loaded: each is named with its reason wherever an operator looks, and the others work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from waypost.config import Config
from waypost.node import Node
from waypost.operations import channels
from waypost.store.database import StoreUnavailableError
from waypost.store.sqlite import SqliteDatabase
from waypost_server.rest.health import Health

#: Plugin, its source (or what is to be changed in a good one), its state and what its reason holds.
BROKEN = {
    "t_import": ("import no_such_module_anywhere", "failed", "ModuleNotFoundError"),
    "t_exit": ("raise SystemExit('canary')", "failed", "SystemExit"),
    "t_base": ("class Odd(BaseException): pass\nraise Odd('canary')", "failed", "Odd"),
    "t_major": (('api="1.0"', 'api="9.0"'), "incompatible", "9.0"),
    "t_draft": (('api="1.0"', 'api="0.1"'), "incompatible", "made for plugin API 0.1 and this is 1.0"),
    "t_model": (("account_settings=S", "account_settings=dict"), "failed", "account_settings"),
    "t_liar": (("return ChannelInfo", "return dict"), "failed", "ChannelInfo"),
    "t_colour": (("async def send", "def send"), "failed", "async def"),
    "t_asked": (("return ChannelInfo(", "raise SystemExit('canary'); ChannelInfo("), "failed", "SystemExit"),
}


@pytest.fixture
async def node(
    install: Callable[..., None], good: str, sqlite: SqliteDatabase, tmp_path: Path, heard: Any
) -> AsyncIterator[Node]:
    sources = {
        name: source if isinstance(source, str) else good.replace(*source) for name, (source, *_) in BROKEN.items()
    }
    install("stranger", **sources, t_good=good, t_taken=good)
    install("usurper", t_taken="raise SystemExit('canary')")
    config = Config(
        database_url=sqlite.url,
        channels=("t_good", "t_taken", "t_absent", *BROKEN),
        master_key_file=tmp_path / "master.key",
    )
    opened = await Node.open(config)
    await opened.start()
    yield opened
    await opened.stop()


async def test_each_is_named_with_its_reason(node: Node, heard: Any) -> None:
    wanted = {name: (state, reason) for name, (_, state, reason) in BROKEN.items()}
    wanted |= {"t_taken": ("failed", "stranger and usurper"), "t_absent": ("failed", "no installed distribution")}
    assert list(node.plugins) == ["t_good"]
    answer = await Health(node).ready(None)  # type: ignore[arg-type]
    assert isinstance(answer.body, bytes)
    assert answer.status == 200
    ready = json.loads(answer.body)["plugins"]
    logged = {line["plugin"]: line for line in heard.of("plugin.refused")}
    listed = {record.id: channels.shown(record) for record in node.records.values()}
    sample = node.metrics.registry.get_sample_value
    assert set(logged) == set(wanted)
    for name, (state, reason) in wanted.items():
        for place in (ready[name], logged[name], listed[name]):
            assert place["state"] == state
            assert reason in place["reason"]
            assert "canary" not in str(place)
        assert sample("waypost_plugin_loaded", {"plugin": name, "state": state}) == 0
    assert ready["t_good"] == {"state": "loaded", "reason": ""}
    assert sample("waypost_plugin_loaded", {"plugin": "t_good", "state": "loaded"}) == 1


async def test_a_node_that_cannot_be_opened_lets_go_of_everything(
    sqlite: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(database_url=sqlite.url, channels=(), master_key_file=tmp_path / "master.key")
    begun: list[Node] = []

    async def refresh(self: Node) -> None:
        begun.append(self)
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(Node, "refresh", refresh)
    with pytest.raises(StoreUnavailableError, match="gone"):
        await Node.open(config)
    assert begun[0].http.closed
    with pytest.raises(StoreUnavailableError, match="closed"):
        await begun[0].database.read(lambda _: None)
