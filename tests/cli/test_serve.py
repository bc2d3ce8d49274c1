"""A serving node and commands beside it: one node a database, commands through its socket, and an orderly end."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]
Serve = Callable[..., Any]


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.loads(response.read())  # type: ignore[no-any-return]


def test_commands_go_through_the_running_node(serve: Serve, waypost: Run, deployment: Path) -> None:
    node = serve("--channels", "sms_twilio")
    assert get(f"{node.url}/readyz")["status"] == "ready"
    path = deployment / "data" / "waypost.db.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((deployment / "data" / "waypost.db.lock").stat().st_mode) == 0o600

    assert waypost("orgs", "create", "Acme", "--currency", "SGD").code == 0
    ran = waypost("orgs", "create", "Acme", "--currency", "SGD")
    assert (ran.code, ran.err) == (1, "There already is an organization 'Acme'; choose another name.\n")
    # The channel is enabled on the node alone: whoever answered has it loaded.
    assert waypost("gateways", "create", "one", "--plugin", "sms_twilio", "--set", f"account_sid=AC{32 * '0'}", "--set",
                   "auth_token=t").code == 0  # fmt: skip
    (row,) = waypost("nodes", "list", "--json").json
    assert (row["role"], row["channels"]) == ("all", ["sms_twilio"])
    assert [entry["actor"][:4] for entry in waypost("audit", "list", "--json").json] == ["cli:", "cli:"]

    assert node.stop() == 0
    assert not path.exists()
    assert [row["name"] for row in waypost("orgs", "list", "--json").json] == ["Acme"]
    assert waypost("nodes", "list", "--json").json == []


def test_a_second_node_and_an_upgrade_are_refused(serve: Serve, waypost: Run) -> None:
    node = serve()
    ran = waypost("serve", "--port", "0")
    assert ran.code == 1
    assert f"process {node.process.pid}" in ran.err
    assert waypost("db", "upgrade").code == 1
    assert node.stop(signal.SIGINT) == 0
    assert waypost("db", "upgrade").code == 0


def test_a_killed_node_leaves_nothing_in_the_way(serve: Serve, waypost: Run, deployment: Path) -> None:
    assert serve().stop(signal.SIGKILL) == -signal.SIGKILL
    assert (deployment / "data" / "waypost.db.sock").exists()
    assert waypost("orgs", "list").code == 0
    again = serve()
    assert waypost("orgs", "create", "Acme", "--currency", "SGD").code == 0
    assert again.stop() == 0


def test_a_taken_port_is_said_so(waypost: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ran = waypost("serve", "--port", str(other.getsockname()[1]))
    assert ran.code == 1
    assert "is taken by another program" in ran.err


def test_the_socket_takes_nonsense_calmly(serve: Serve, waypost: Run, deployment: Path) -> None:
    node = serve()
    for nonsense, code in (
        (b"\n", "malformed"),
        (b"[1]\n", "malformed"),
        (b'{"operation": "orgs.list"}\n', "malformed"),
        (b"\xff\xfe\n", "malformed"),
        (b'{"operation": "no.such", "arguments": {}, "actor": "x"}\n', "unknown_operation"),
        (b'{"operation": "orgs.list", "arguments": {"x": 1}, "actor": "x"}\n', "invalid_argument"),
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(deployment / "data" / "waypost.db.sock"))
            connection.sendall(nonsense)
            answer = json.loads(connection.makefile("rb").readline())
        assert answer["error"]["code"] == code
    assert waypost("orgs", "list").code == 0
    assert node.stop() == 0


def test_an_empty_database_is_initialised_and_its_journal_is_kept(serve: Serve, deployment: Path) -> None:
    serve().stop()
    with sqlite3.connect(deployment / "data" / "waypost.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT COUNT(*) FROM organization").fetchone() == (0,)
    connection.close()
