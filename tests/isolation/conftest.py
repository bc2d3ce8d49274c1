"""Fixtures of the isolation tests: a log that can be waited for, and distributions made up on the spot."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from waypost.plugin import CHANNELS_GROUP

GOOD = """
from waypost.plugin import *
class S(Settings): pass
@hookimpl
def channel_info(): return ChannelInfo(channel="SMS", title="T", api="1.0", account_settings=S,
    address_kinds=("e164",), content_kinds=frozenset({"text"}), receives="none")
@hookimpl
async def send(ctx, message): return SendResult()
@hookimpl
def price(message): return Quote((QuoteLine("unit"),))
"""


class Heard:
    """What was logged, from whichever thread."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._news = threading.Condition()

    def __call__(self, _: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        with self._news:
            self.lines.append({**event, "level": method})
            self._news.notify_all()
        raise structlog.DropEvent

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def wait_for(self, event: str, times: int, seconds: float) -> bool:
        """Block this thread until something was logged so often; say whether it was."""
        with self._news:
            return self._news.wait_for(lambda: len(self.of(event)) >= times, seconds)


@pytest.fixture
def heard(_quiet_log: None) -> Heard:
    """The log of this test."""
    listening = Heard()
    structlog.configure(processors=[listening])
    return listening


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a distribution: its name, and its entry points with their modules' source."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)

    def make(distribution: str, **modules: str) -> None:
        info = folder / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        points = [f"[{CHANNELS_GROUP}]"]
        for name, source in modules.items():
            (folder / f"{distribution}_{name}.py").write_text(source)
            points.append(f"{name} = {distribution}_{name}")
        (info / "entry_points.txt").write_text("\n".join(points) + "\n")

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def good() -> str:
    """The source of a plugin that does as it should."""
    return GOOD
