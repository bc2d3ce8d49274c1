"""A deployment on SQLite in a folder of its own, and the command line on it: in this process, or as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from waypost_server.cli.failure import run_safely


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a deployment: its database file is not there yet."""
    for name in [name for name in os.environ if name.startswith("WAYPOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAYPOST_DATABASE_URL", f"sqlite:///{tmp_path}/data/waypost.db")
    monkeypatch.setenv("WAYPOST_MASTER_KEY_FILE", str(tmp_path / "master.key"))
    return tmp_path


@pytest.fixture
def waypost(deployment: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: `waypost("orgs", "list", "--json")`."""

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run_safely(arguments)
        told = capsys.readouterr()
        return Ran(code, told.out, told.err)

    return run


class Serving:
    """A `waypost serve` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "waypost_server.cli", "serve", "--port", "0", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        self.url: str = json.loads(told)["url"] if told else ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait for its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@pytest.fixture
def serve(deployment: Path) -> Iterator[Callable[..., Serving]]:
    """Start nodes: `serve("--channels", "sms_twilio")`; each ends with the test."""
    running: list[Serving] = []

    def start(*arguments: str) -> Serving:
        running.append(Serving(*arguments))
        return running[-1]

    yield start
    for node in running:
        if not node.process.stdout or node.process.stdout.closed:
            continue
        node.stop(signal.SIGKILL)
