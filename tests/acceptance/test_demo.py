"""`make demo ONCE=1 JSON=1`: the README's first command, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]


async def make(*arguments: str) -> tuple[int | None, str, str]:
    """Run make in the checkout; return its exit code, what it printed and what it complained about."""
    if shutil.which("make") is None:
        pytest.skip("this machine has no make")
    process = await asyncio.create_subprocess_exec(
        "make", "--no-print-directory", *arguments,
        cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "WAYPOST_"))},
    )  # fmt: skip
    out, complaint = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode, out.decode(), complaint.decode()


async def test_the_demo_delivers_by_both_apis_and_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    code, out, complaint = await make("demo", "ONCE=1", "JSON=1", f"PORT={port}")
    assert code == 0, complaint
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    ready, *told = lines
    assert (ready["event"], ready["url"]) == ("ready", f"http://127.0.0.1:{port}")
    assert ready["key"].startswith("ak_live_")
    assert {item["event"] for item in told} == {"message"}
    assert {("partner", "SMS"), ("token", "SMS"), ("partner", "WHATSAPP")} <= {
        (item["api"], item["channel"]) for item in told
    }
    for item in told:
        assert item["status"] in ("DELIVERED", "READ"), item
        assert item["id"].startswith("msg_")
        assert item["held"] == item["captured"] > 0
        assert item["currency"] == "SGD"
    assert len({item["id"] for item in told}) == len(told)


async def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        code, _, complaint = await make("demo", "ONCE=1", "JSON=1", f"PORT={listening.getsockname()[1]}")
    assert code != 0
    assert "Traceback" not in complaint
    assert "is taken" in complaint
