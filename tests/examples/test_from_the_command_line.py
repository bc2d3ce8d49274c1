"""A stranger's channel as an operator meets it: `pip install`, `waypost serve`, a handful of commands, a message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

PROVIDER = Path(__file__).with_name("a_strangers_provider.py")
Installed = Callable[..., Path]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def environment(installed: Installed, tmp_path: Path) -> dict[str, str]:
    """What an operator sets; the plugin's wheel is on the path."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    return ours | {
        "PYTHONPATH": str(installed("telegram")),
        "WAYPOST_DATABASE_URL": f"sqlite:///{tmp_path}/w.db",
        "WAYPOST_MASTER_KEY_FILE": str(tmp_path / "master.key"),
        "WAYPOST_CHANNELS": "telegram",
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start a Python process; it is ended with the test."""
    with ExitStack() as stack:

        def run(*arguments: str) -> subprocess.Popen[str]:
            log = stack.enter_context((tmp_path / "log").open("a"))
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            process: subprocess.Popen[str] = stack.enter_context(
                subprocess.Popen([sys.executable, *arguments], env=environment, cwd=tmp_path, text=True, **pipes)
            )
            stack.callback(process.kill)
            return process

        yield run


def first_line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_an_operator_adds_a_strangers_channel(start: Start, environment: dict[str, str], tmp_path: Path) -> None:
    provider = start(str(PROVIDER), "telegram")
    account = first_line(provider)
    gateway = start("-m", "waypost_server.cli", "serve", "--port", "0", "--json")
    url = first_line(gateway)["url"]

    def waypost(*arguments: str, given: str = "") -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "waypost_server.cli", *arguments, "--json"],
            env=environment, cwd=tmp_path, input=given, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    [listed] = [item for item in waypost("channels", "list") if item["id"] == "telegram"]
    assert (listed["state"], listed["channel"]) == ("loaded", "TELEGRAM")
    waypost("orgs", "create", "Acme", "--currency", "SGD")
    waypost("credit", "top-up", "Acme", "10")
    waypost("apps", "create", "shop", "--org", "Acme")
    settings = ("--settings", "-", "--app", "shop", "--sender", account["senders"][0])
    made = waypost(
        "gateways", "create", "bot", "--plugin", "telegram", *settings, given=json.dumps(account["settings"])
    )
    assert account["settings"]["bot_token"] not in json.dumps(made)
    assert waypost("gateways", "check", "bot")["state"] == "ok"
    skus = {item["sku"] for item in waypost("gateways", "skus", "bot")}
    assert skus == {"message", "action"}
    for sku in sorted(skus):
        waypost("rates", "add", "--gateway", "bot", "--sku", sku, "--price", "0.25", "--currency", "SGD")
    waypost("routes", "set", "--app", "shop", "--gateway", "bot")
    key = waypost("keys", "create", "--app", "shop")["secret"]

    poll = {"kind": "telegram.poll", "question": "Which colour?", "options": ["Red", "Blue"]}
    body = json.dumps({"request": {"channel": "TELEGRAM", "to": "5550001", "content": poll}}).encode()
    headers = {"x-api-key": key, "Content-Type": "application/json"}
    with urlopen(Request(f"{url}/partner/message/send", body, headers), timeout=20) as answer:
        sent = json.load(answer)["data"]
    assert (sent["status"], sent["cost"]) == ("SENT", 0.25)
    shown = waypost("messages", "show", sent["messageId"])
    assert sent["messageId"] in json.dumps(shown)

    # The documents of this deployment know the stranger's content.
    with urlopen(f"{url}/openapi.json", timeout=20) as answer:
        assert "telegram.poll" in answer.read().decode()

    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(timeout=30) == 0
    [journalled] = json.loads(provider.communicate(timeout=20)[0])
    assert (journalled["method"], journalled["question"]) == ("sendPoll", "Which colour?")
