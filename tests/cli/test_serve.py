"""A serving node and commands beside it: one node a database, commands through its socket, and an orderly end."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import stat
import threading
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
    for name in ("waypost.db", "waypost.db-wal", "waypost.db.lock"):
        assert stat.S_IMODE((deployment / "data" / name).stat().st_mode) == 0o600

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


def _logged_until_serving(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while "node.serving" not in found:
        line = json.loads(node.process.stderr.readline())
        found[line["event"]] = line
    return found


def test_what_is_made_anew_is_said_with_its_path(serve: Serve, deployment: Path) -> None:
    """A path that was mistyped is a new database, or a new key, and nothing else would tell."""
    node = serve()
    first = _logged_until_serving(node)
    assert first["database.created"]["at"] == str(deployment / "data" / "waypost.db")
    assert first["vault.key_created"]["path"] == str(deployment / "master.key")
    assert {first[name]["level"] for name in ("database.created", "vault.key_created")} == {"warning"}
    assert node.stop() == 0
    node = serve()
    assert not {"database.created", "vault.key_created"} & _logged_until_serving(node).keys()
    assert node.stop() == 0


def test_a_stopping_node_answers_what_it_has_accepted(serve: Serve, waypost: Run, deployment: Path) -> None:
    """A send that waits for its verdict gets its answer, although the node is told to stop meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as provider:
        # A provider that takes the request and answers only once the node has been told to stop.
        node = serve("--channels", "sms_twilio")
        base = f"http://127.0.0.1:{provider.getsockname()[1]}"
        waypost("orgs", "create", "Acme", "--currency", "SGD")
        waypost("credit", "top-up", "Acme", "1")
        waypost("apps", "create", "shop", "--org", "Acme")
        secret = waypost("keys", "create", "--app", "shop", "--json").json["secret"]
        settings = f"--set account_sid=AC{32 * '0'} --set auth_token=t --set base_url={base}"
        for command in (
            f"gateways create one --plugin sms_twilio --sender +15005550006 {settings}",
            "rates add --gateway one --sku sms --price 0.05 --currency SGD",
            "routes set --app shop --gateway one",
        ):
            assert waypost(*command.split()).code == 0
        answers: list[dict[str, Any]] = []
        sending = threading.Thread(target=lambda: answers.append(_send(node.url, secret)))
        sending.start()
        connection, _ = provider.accept()
        with connection:
            connection.settimeout(10)
            assert connection.recv(65536).startswith(b"POST")
            node.process.send_signal(signal.SIGTERM)
            body = json.dumps({"sid": "SM" + 32 * "0", "status": "queued"}).encode()
            connection.sendall(
                b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
            )  # fmt: skip
        sending.join(20)
        assert node.stop(0) == 0, "one signal is enough, and a second would not wait"
    assert answers[0]["data"]["status"] == "SENT"
    told = waypost("messages", "show", answers[0]["data"]["messageId"], "--json").json
    assert [attempt["provider_ids"] for attempt in told["attempts"]] == [["SM" + 32 * "0"]]


def _send(url: str, secret: str) -> dict[str, Any]:
    body = json.dumps({"request": {"channel": "SMS", "to": "+6591234567", "content": "Hello"}}).encode()
    headers = {"x-api-key": secret, "Content-Type": "application/json", "Prefer": "wait=10"}
    request = urllib.request.Request(f"{url}/partner/message/send", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.loads(response.read())  # type: ignore[no-any-return]
