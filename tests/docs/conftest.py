"""What the tests of the documentation share: the pages, their code blocks, and a demo gateway to run them against."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code and the number of its line."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Page:
    """A page of the documentation."""

    name: str
    text: str

    @property
    def blocks(self) -> list[Block]:
        return [
            Block(found[1], found[2], self.text.count("\n", 0, found.start()) + 1)
            for found in _FENCE.finditer(self.text)
        ]

    def section(self, heading: str) -> str:
        """What stands below a heading, up to the next of its rank or higher."""
        rank = heading.split(" ", 1)[0]
        found = re.search(
            rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(rank)}}} |\Z)", self.text, re.DOTALL | re.MULTILINE
        )
        assert found is not None, f"{self.name} has no {heading!r}"
        return found[1]


@dataclass(frozen=True)
class Pages:
    """Every page, by its path in the repository."""

    by_name: dict[str, Page]

    def __getitem__(self, name: str) -> Page:
        return self.by_name[name]

    def __iter__(self) -> Iterator[Page]:
        return iter(self.by_name.values())


@pytest.fixture(scope="session")
def pages() -> Pages:
    """The documentation at the root, in docs, and the plugins' and examples' own."""
    found = [
        *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md"),
        *ROOT.glob("examples/*/README.md"),
    ]  # fmt: skip
    names = sorted(str(path.relative_to(ROOT)) for path in found)
    return Pages({name: Page(name, (ROOT / name).read_text(encoding="utf-8")) for name in names})


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    """docs/generate.py, which writes the tables."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Demo:
    """A gateway as `waypost demo` runs it: its URL, the key, and the id of a message that was delivered."""

    url: str
    key: str
    message: str

    def run(self, script: str) -> str:
        """Run a block as it stands."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=30, check=False,
            env={"PATH": os.environ["PATH"], "URL": self.url, "KEY": self.key, "ID": self.message},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """One demo gateway for the whole module; its providers are simulated."""
    if shutil.which("curl") is None:
        pytest.skip("this machine has no curl")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "waypost_server.cli", "demo", "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        told: list[dict[str, Any]] = []
        while line := process.stdout.readline():
            told.append(json.loads(line))
            if told[-1]["event"] == "message" and told[-1]["channel"] == "SMS":
                break
        assert told, process.stderr.read()
        yield Demo(told[0]["url"], told[0]["key"], told[-1]["id"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
