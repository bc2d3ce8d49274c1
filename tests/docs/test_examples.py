"""The code in the guides is run: curl against a demo gateway, commands against a deployment, Python compiled."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from waypost_server.cli.failure import run_safely

#: Shell lines that are for people's own machines; the first two have acceptance tests of their own.
NOT_HERE = {"make demo", "make test", "make check", ".venv/bin/waypost plugin new acme_sms"}
#: What differs between two runs.
_ID = re.compile(r"msg_[0-9a-f]{32}")
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
_COUNTED = {"balance", "held", "available", "spendable", "total", "totalPages"}


def settled(value: Any, name: str = "") -> Any:
    """An answer without what differs between two runs."""
    if isinstance(value, dict):
        return {key: settled(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [settled(item) for item in value]
    if isinstance(value, str):
        return "a time" if _TIME.match(value) else _ID.sub("an id", value)
    return "a number" if name in _COUNTED and isinstance(value, int | float) else value


def lines(script: str) -> list[str]:
    """A script's commands, one for each, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", script)
    return [line for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize("name", ["README.md", "docs/partners.md"])
def test_requests_are_answered_as_shown(name: str, pages: Any, demo: Any) -> None:
    blocks = pages[name].blocks
    ran = 0
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language != "sh" or "curl" not in block.text:
            continue
        shown = json.loads(following.text) if following is not None and following.language == "json" else None
        repeatable = " -d " not in block.text
        until = time.monotonic() + 20
        while True:
            answer = json.loads(demo.run(block.text))
            if shown is None or settled(answer) == settled(shown) or not repeatable or time.monotonic() > until:
                break
            time.sleep(0.1)  # a receipt may still be on its way
        where = f"{name}:{block.line}"
        if shown is None:
            assert "error" not in answer, where
        else:
            assert settled(answer) == settled(shown), where
        ran += 1
    assert ran >= 2


def test_every_answer_shown_is_json(pages: Any) -> None:
    for name in ("README.md", "docs/partners.md", "docs/operators.md"):
        for block in pages[name].blocks:
            if block.language == "json":
                json.loads(block.text)


def test_every_shell_line_is_run_or_known(pages: Any) -> None:
    for name in ("README.md", "docs/partners.md", "CONTRIBUTING.md"):
        for block in pages[name].blocks:
            if block.language == "sh" and "curl" not in block.text:
                assert set(lines(block.text)) <= NOT_HERE, f"{name}:{block.line}"


def test_python_is_python(pages: Any) -> None:
    for page in pages:
        for block in page.blocks:
            if block.language == "python":
                compile(block.text, f"{page.name}:{block.line}", "exec")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """An operator's shell: `export` and `waypost` in this process, anything else in bash."""
    for name in [name for name in os.environ if name.startswith("WAYPOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def waypost(arguments: list[str]) -> str:
        capsys.readouterr()
        code = run_safely(arguments)
        told = capsys.readouterr()
        assert code == 0, f"waypost {arguments}: {told.err or told.out}"
        return told.out

    def run(line: str) -> str:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            if within := re.fullmatch(r"\$\(waypost (.+)\)", value):
                value = waypost(shlex.split(within[1])).strip()
            monkeypatch.setenv(name, value)
            return ""
        if line.startswith("waypost "):
            return waypost(shlex.split(line)[1:])
        return subprocess.run(["bash", "-ec", line], check=True, capture_output=True, text=True, timeout=10).stdout

    return run


def test_the_operators_commands_do_what_they_say(pages: Any, shell: Any) -> None:
    ran = []
    for block in pages["docs/operators.md"].blocks:
        if block.language == "sh":
            for line in lines(block.text):
                told = shell(line)
                ran.append(line)
                if line == "waypost doctor":
                    assert told == "Nothing is wrong.\n"
    assert sum(line.startswith("waypost ") for line in ran) >= 20
    entries = json.loads(shell("waypost rates list --json"))
    assert {(rate["sku"], rate["prefix"]) for rate in entries} == {
        ("sms", ""),
        ("mms", ""),
        ("sms", "65"),
        ("sms", "44"),
    }
