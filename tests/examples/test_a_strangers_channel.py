"""The promise: a channel that nobody here has heard of is installed and enabled, and everything works with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from gateway_process import Running
from sqlalchemy import select
from waypost.store.sqlite import SqliteDatabase
from waypost.store.tables import inbound_message

EXAMPLES = Path(__file__).parents[2] / "examples"
Run = Callable[..., Running]


async def test_a_strangers_channel_goes_through_both_apis(installed: Callable[..., Path], run: Run) -> None:
    gateway = run(installed("telegram"), "telegram", "message,action")

    # It is listed where operators look.
    [listed] = [item for item in gateway.ready["channels"] if item["id"] == "telegram"]
    assert (listed["state"], listed["channel"], listed["distribution"]) == (
        "loaded", "TELEGRAM", "waypost-telegram-example",
    )  # fmt: skip
    assert gateway.get("/readyz")["plugins"]["telegram"] == {"state": "loaded", "reason": ""}

    # Partner API: a text, and the plugin's own kind, which no core code knows.
    status, answer = gateway.partner(channel="TELEGRAM", to="5550001", content="Your order has shipped.")
    assert (status, answer["data"]["status"], answer["data"]["cost"]) == (200, "SENT", 0.25), answer
    poll = {"kind": "telegram.poll", "question": "Which colour?", "options": ["Red", "Blue"]}
    status, answer = gateway.partner(channel="telegram", to="5550001", content=poll)
    assert (status, answer["data"]["status"], answer["data"]["channel"]) == (200, "SENT", "TELEGRAM"), answer
    shown = gateway.get(f"/partner/message/{answer['data']['messageId']}")["data"]
    assert shown["settled"] is True

    # The plugin's model and its price hook refuse before anything is held.
    status, answer = gateway.partner(channel="TELEGRAM", to="5550001", content=poll | {"options": ["only one"]})
    assert (status, answer["code"]) == (400, "VALIDATION_ERROR")
    status, answer = gateway.partner(channel="TELEGRAM", to="ada lovelace", content="Hi")
    assert (status, answer["code"]) == (400, "VALIDATION_ERROR")

    # Token API: a route of its own, for the text and for the plugin's kind.
    status, answer = gateway.token("/api/send-telegram.php", {"to": "5550002", "text": "Hi"})
    assert (status, answer["status"]) in ((200, "queued"), (200, "sent")), answer
    own = {"question": "Red?", "options": ["Yes", "No"]}
    body = {"to": "5550002", "type": "telegram.poll", "telegram.poll": own}
    status, answer = gateway.token("/api/send-telegram.php", body)
    assert status == 200, answer

    # Refused by the provider: nothing is charged.
    status, answer = gateway.partner(channel="TELEGRAM", to="900000012", content="Hi")
    assert (status, answer["data"]["status"], answer["data"]["cost"]) == (200, "FAILED", 0), answer
    shown = gateway.get(f"/partner/message/{answer['data']['messageId']}")["data"]
    assert shown["error"]["code"] == "OPTED_OUT"

    # The ledger: four messages were captured, nothing is held any more.
    wait_for(lambda: gateway.get("/partner/balance")["data"]["held"] == 0)
    balance = gateway.get("/partner/balance")["data"]
    assert (balance["balance"], balance["available"], balance["held"]) == (9, 9, 0)

    # A webhook of the provider's, signed and forged, at the URL that the plugin has set at the provider.
    url = f"{gateway.ready['url']}/webhooks/telegram/{gateway.ready['gateway']}"
    assert gateway.ready["connected"] == {"gateway": "the bot", "url": url, "remaining": ""}
    assert gateway.ready["webhook"]["url"] == url
    webhook = gateway.ready["webhook"]
    path = webhook["url"].removeprefix(gateway.ready["url"])
    assert gateway.call(path, webhook["body"].encode(), webhook["headers"])[0] == 200
    assert gateway.call(path, webhook["body"].encode(), webhook["headers"])[0] == 200
    status = forged(gateway, path, webhook["body"].encode())
    assert status == 401

    seen = gateway.stop()
    assert [entry["method"] for entry in seen["journal"]].count("sendPoll") == 2
    assert len(seen["journal"]) == 5
    database = SqliteDatabase.open(gateway.database_url)
    rows = await database.read(lambda conn: conn.execute(select(inbound_message)).all())
    await database.close()
    [row] = rows
    assert (row.channel, json.loads(row.content)["body"]) == ("TELEGRAM", "What colours are there?")
    assert row.app_id is not None

    logged = gateway.log.read_text()
    assert "messages.accepted" in logged
    for word in (*gateway.ready["secrets"], gateway.ready["key"], "5550001", "Which colour", "What colours"):
        assert word not in logged


def forged(gateway: Running, path: str, body: bytes) -> int:
    request = Request(gateway.ready["url"] + path, body, {"X-Telegram-Bot-Api-Secret-Token": "guess"})
    with pytest.raises(HTTPError) as raised:
        urlopen(request, timeout=20)
    with raised.value:
        return raised.value.code


def wait_for(holds: Callable[[], bool], seconds: float = 10) -> None:
    import time

    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def test_without_its_wheel_the_channel_is_not_there(installed: Callable[..., Path], tmp_path: Path) -> None:
    """The proof is worth something only if the workspace itself does not provide the plugin."""
    code = "from waypost.host.loader import load_channels; r = load_channels(['telegram'])['telegram']; print(r.state)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    without = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    with_it = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(installed("telegram"))},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (without.stdout.strip(), with_it.stdout.strip()) == ("failed", "loaded")


@pytest.mark.parametrize(("example", "plugin"), [("telegram", "telegram"), ("line_channel", "line")])
def test_the_wheel_keeps_the_contract(
    installed: Callable[..., Path], tmp_path: Path, example: str, plugin: str
) -> None:
    """The author's contract test, run where the wheel is all there is of the plugin."""
    contract = EXAMPLES / example / "tests" / "test_contract.py"
    shutil.copy(contract, tmp_path)
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--waypost-report", str(report), contract.name],
        env={**os.environ, "PYTHONPATH": str(installed(example))},
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert f"{plugin}: gold" in done.stdout
    assert report.exists()
