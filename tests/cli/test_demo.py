"""The demo, as a script runs it: everything is delivered and paid for, over real HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

COMMAND = [sys.executable, "-m", "waypost_server.cli", "demo"]


def test_every_message_is_delivered_and_captured(tmp_path: Path) -> None:
    ran = subprocess.run(
        [*COMMAND, "--port", "0", "--once", "--json"],
        capture_output=True, text=True, timeout=100, cwd=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    ready, *messages = map(json.loads, ran.stdout.splitlines())
    assert ready["event"] == "ready"
    assert ready["key"].startswith("ak_live_")
    sent = {(message["api"], message["plugin"]) for message in messages}
    assert {("partner", "sms_twilio"), ("token", "sms_twilio"), ("partner", "whatsapp_twilio")} <= sent
    for message in messages:
        assert message["event"] == "message"
        assert message["status"] in ("SENT", "DELIVERED", "READ")
        assert message["captured"] == message["held"] > 0
        assert message["currency"] == "SGD"
        if message["channel"] in ("SMS", "WHATSAPP", "EMAIL"):
            assert message["status"] in ("DELIVERED", "READ")
    assert list(tmp_path.iterdir()) == [], "the demo clears up after itself"


def test_it_goes_on_serving_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with subprocess.Popen([*COMMAND, "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
                          env=os.environ | {"TMPDIR": str(tmp_path)}) as process:  # fmt: skip
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line)
            if line.startswith("Serving until"):
                break
        balance = next(line for line in told if "/partner/balance" in line)
        key = balance.split("x-api-key: ")[1].split("'")[0]
        url = balance.rsplit("'", 2)[1]
        request = urllib.request.Request(url, headers={"x-api-key": key})
        with urllib.request.urlopen(request, timeout=10) as response:
            assert json.loads(response.read())["success"] is True
        process.terminate()
        assert process.wait(30) == 0
    assert any("captured 0.045 SGD; left 99.955 SGD" in line for line in told)


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ran = subprocess.run(
            [*COMMAND, "--once", "--port", str(other.getsockname()[1])],
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip
    assert ran.returncode == 1
    assert "is taken by another program" in ran.stderr
    assert ran.stderr.count("\n") == 1
