"""Health, metrics and logs: what operators see, and what nobody must see there."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from deployment import Deployment, RunDeployment
from fake_channel import FakeChannel
from waypost import log
from waypost.store import steps
from waypost.store.database import StoreUnavailableError
from waypost.store.gateways import Gateway
from waypost.vault import Vault, new_key
from waypost_server.rest import bodies
from waypost_server.rest.answer import Answer
from world import Partner

#: Planted where they must not come out of.
BODY, NUMBER, SENDER, SECRET = "canary body 7f3a", "+6598765432", "CANARY7", "canary-secret-91bc"


@pytest.fixture
def logged() -> Iterator[io.BytesIO]:
    """What a process writes to its log."""
    stream = io.BytesIO()
    log.configure("debug", stream)
    yield stream
    structlog.reset_defaults()


async def test_health_and_readiness(gateway: Deployment, partner: Partner) -> None:
    alive = await gateway.call("GET", "/healthz")
    assert (alive.status, alive.json) == (200, {"status": "ok"})
    ready = (await gateway.call("GET", "/readyz")).json
    assert ready["status"] == "ready"
    assert ready["plugins"]["sms_twilio"] == {"state": "loaded", "reason": ""}
    assert "messenger" not in ready["plugins"]
    assert {item["status"] for item in ready["gateways"].values()} == {"active"}
    gateway.node.ready = False
    draining = await gateway.call("GET", "/readyz")
    assert (draining.status, draining.json["status"]) == (503, "not ready")
    assert (await gateway.call("GET", "/healthz")).status == 200


async def test_what_no_parser_could_read_is_not_quoted_in_the_log(gateway: Deployment, logged: io.BytesIO) -> None:
    """aiohttp logs the exception of its parser, which quotes the bytes that it stumbled over."""
    host, port = gateway.url.removeprefix("http://").split(":")
    odd = (
        f"POST /api/send-sms.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{BODY}\r\n",
        f"POST /api/send-sms.php HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer {SECRET}\r\n\r\n",
        f"GET /partner/messages?to={NUMBER} \xff HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    for request in odd:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request.encode("latin-1"))
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
        await writer.wait_closed()
    written = logged.getvalue().decode()
    for canary in (BODY, SECRET, NUMBER):
        assert canary not in written
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("request.malformed", "warning")] * len(odd)


async def test_a_fault_of_the_servers_own_is_logged_with_its_place(
    gateway: Deployment, logged: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_self: object, _request: object) -> None:
        raise RuntimeError(BODY)

    monkeypatch.setattr(Answer, "prepare", prepare)
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    assert BODY not in logged.getvalue().decode()
    (line,) = [json.loads(line) for line in logged.getvalue().decode().splitlines()]
    assert (line["event"], line["level"], line["exception"][0]["type"]) == ("library.logged", "error", "RuntimeError")


@pytest.mark.postgres
async def test_a_node_whose_store_only_reads_is_not_ready(run: RunDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby, or one whose disk is full: it answers, and every send is refused."""
    monkeypatch.setattr("waypost.heartbeat.EVERY", 0.01)
    gateway = await run([], [FakeChannel()])

    async def is_ready() -> bool:
        return (await gateway.call("GET", "/readyz")).status == 200

    async def is_not_ready() -> bool:
        return not await is_ready()

    async def full(_: object) -> None:
        raise StoreUnavailableError("it is full")

    with monkeypatch.context() as patched:
        patched.setattr(gateway.node.database, "write", full)
        await gateway.until(is_not_ready)
        assert (await gateway.call("GET", "/readyz")).json["store"] == "it is full"
        assert "waypost_store_up 0.0" in (await gateway.call("GET", "/metrics")).text
    await gateway.until(is_ready)
    assert "waypost_store_up 1.0" in (await gateway.call("GET", "/metrics")).text


async def test_a_node_whose_disk_is_nearly_full_is_not_ready(
    run: RunDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heartbeat is small, and would find room for long after the last send did."""
    monkeypatch.setattr("waypost.heartbeat.EVERY", 0.01)
    gateway = await run([], [FakeChannel()])
    told: list[str] = []

    async def is_short() -> bool:
        answer = await gateway.call("GET", "/readyz")
        told.append(answer.json.get("store", ""))
        return answer.status == 503

    async def is_ready() -> bool:
        return not await is_short()

    with monkeypatch.context() as patched:
        patched.setattr("waypost.store.sqlite.LEAST_ROOM", 2**63)
        await gateway.until(is_short)
    assert re.fullmatch(r"SQLite: the disk has \d+ MB left", told[-1])
    await gateway.until(is_ready)


async def _is_read() -> bool:
    return bool(bodies._on_their_way)


async def _is_read_no_more() -> bool:
    return not bodies._on_their_way


@pytest.mark.parametrize("path", ["partner/message/send", "api/send-sms.php", "webhooks/sms_twilio"])
@pytest.mark.parametrize("head", ["Content-Length: 9", "Transfer-Encoding: chunked"])
async def test_one_who_hangs_up_before_the_body_ends_is_no_fault_of_ours(
    gateway: Deployment, logged: io.BytesIO, path: str, head: str
) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /{path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + b"1\r\n{")
    await gateway.until(_is_read)
    writer.transport.abort()
    await gateway.until(_is_read_no_more)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [line for line in lines if line["level"] not in ("debug", "info")] == []


async def test_a_plugin_that_is_missing_is_listed_with_its_reason(run: RunDeployment) -> None:
    gateway = await run([], [FakeChannel()], channels=())
    from waypost.host.loader import load_channels

    gateway.node.records |= load_channels(["sms_acme"])
    ready = await gateway.call("GET", "/readyz")
    assert ready.status == 200
    assert ready.json["plugins"]["sms_acme"] == {
        "state": "failed",
        "reason": "it is enabled but no installed distribution provides it",
    }


async def test_a_worker_serves_no_api(run: RunDeployment) -> None:
    gateway = await run([], [FakeChannel()], role="worker")
    assert (await gateway.call("GET", "/readyz")).json["role"] == "worker"
    assert (await gateway.call("GET", "/partner/balance")).status == 404
    assert (await gateway.call("POST", "/api/send-sms.php")).status == 404
    assert (await gateway.call("POST", "/webhooks/fake")).status == 404


async def _run_everything(gateway: Deployment, partner: Partner) -> list[str]:
    """All kinds of requests, good and bad, with canaries in them; what was answered to errors."""
    errors = []
    for to in (NUMBER, "+15005550107", "+15005550118", "+15005550105"):
        await gateway.send(partner.secret, {"to": to, "content": BODY, "senderId": SENDER}, Prefer="wait=5")
        await gateway.token(partner.secret, body={"to": to, "text": BODY, "from": SENDER})
    bad: tuple[dict[str, Any], ...] = (
        {"to": NUMBER + "x", "content": BODY},
        {"to": NUMBER, "content": BODY, NUMBER: BODY},
        {"to": NUMBER, "content": {"kind": "text", "body": BODY, BODY: 1}},
        {"to": NUMBER, "content": BODY * 1000},
        {"to": [NUMBER], "content": BODY},
    )
    for request in bad:
        errors.append((await gateway.send(partner.secret, request)).text)
        errors.append((await gateway.token(partner.secret, body=request)).text)
    errors.append((await gateway.send(SECRET, {"to": NUMBER})).text)
    errors.append((await gateway.token(SECRET, body={"to": NUMBER, "text": BODY})).text)
    errors.append((await gateway.send(partner.secret, body=BODY.encode())).text)
    errors.append((await gateway.call("GET", f"/{NUMBER}/{SECRET}")).text)
    simulator = gateway.simulators["sms_twilio"]
    await simulator.deliver_now(simulator.inbound(BODY, sender=NUMBER))
    forged = simulator.inbound(BODY, sender=NUMBER)
    await gateway.call("POST", forged.url.removeprefix(gateway.url), data=forged.body,
                       headers={"X-Twilio-Signature": SECRET})  # fmt: skip
    await gateway.settle()
    return errors


@pytest.mark.postgres
async def test_no_canary_in_logs_metrics_or_errors(
    gateway: Deployment, logged: io.BytesIO, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)  # what libraries log goes to standard error as well
    partner = await gateway.newcomer()
    errors = await _run_everything(gateway, partner)

    # The worst case: something of ours raises, with everything at hand in its message and its locals.
    def broken(*arguments: object) -> Any:
        body, number, secret = BODY, NUMBER, partner.secret
        raise RuntimeError(f"{body} {number} {secret} {arguments}")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.node.desk._intake, "prepare", broken)
        errors.append((await gateway.send(partner.secret, {"to": NUMBER, "content": BODY})).text)
        errors.append((await gateway.token(partner.secret, body={"to": NUMBER, "text": BODY})).text)

    lines = logged.getvalue().decode()
    metrics = (await gateway.call("GET", "/metrics")).text
    health = (await gateway.call("GET", "/readyz")).text
    token = gateway.simulators["sms_twilio"].account_settings()["auth_token"]
    for canary in (BODY, NUMBER, NUMBER[1:], "15005550107", SENDER, SECRET, partner.secret, token):
        for place, said in (("log", lines), ("libraries", caplog.text), ("metrics", metrics), ("health", health),
                            ("errors", "".join(errors))):  # fmt: skip
            assert canary not in said, f"{canary} in {place}"
    events = [json.loads(line) for line in lines.splitlines()]
    assert {"messages.accepted", "messages.changed", "messages.received", "partner.failed", "token.failed"} <= {
        item["event"] for item in events
    }
    failed = next(item for item in events if item["event"] == "partner.failed")
    assert failed["exception"][0]["type"] == "RuntimeError"
    assert failed["exception"][0]["at"][-1].endswith(" broken")


async def test_accepted_messages_are_logged_with_their_ids(
    gateway: Deployment, partner: Partner, logged: io.BytesIO
) -> None:
    answer = await gateway.send(partner.secret, X_Request_Id="order-77")
    await gateway.settle()
    events = [json.loads(line) for line in logged.getvalue().splitlines()]
    accepted = next(item for item in events if item["event"] == "messages.accepted")
    assert accepted["messages"] == [["order-77", answer.json["data"]["messageId"], partner.org.id]]
    assert {"level", "timestamp"} <= accepted.keys()


async def test_a_refusal_is_found_in_the_log_by_its_request_id(
    gateway: Deployment, partner: Partner, logged: io.BytesIO
) -> None:
    await gateway.send("ak_live_nobody", X_Request_Id="asked-1")
    await gateway.send(partner.secret, body=b" " * 300_000, X_Request_Id="asked-2")
    await gateway.token(partner.secret, body=b"{}", X_Request_Id="asked-3")
    await gateway.get("/partner/messages?page=0", partner.secret, X_Request_Id="asked-4")
    events = [json.loads(line) for line in logged.getvalue().splitlines()]
    told = [(item["event"], item["request_id"], item["code"]) for item in events if item["event"].endswith(".refused")]
    assert told == [
        ("partner.refused", "asked-1", "UNAUTHORIZED"),
        ("partner.refused", "asked-2", "PAYLOAD_TOO_LARGE"),
        ("token.refused", "asked-3", "VALIDATION_ERROR"),
        ("partner.refused", "asked-4", "INVALID_PAGINATION"),
    ]


@pytest.mark.postgres
async def test_metrics_tell_how_it_goes(gateway: Deployment, partner: Partner) -> None:
    await gateway.send(partner.secret)
    await gateway.send(partner.secret, {"to": "nobody"})
    await gateway.token("ak_live_nobody")
    await gateway.send(partner.secret, body=b" " * 300_000)
    await gateway.token(partner.secret, body=b" " * 300_000)
    await gateway.settle()
    answer = await gateway.call("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = set(answer.text.splitlines())
    sms = partner.gateways[0].id
    assert {
        'waypost_messages_accepted_total{channel="SMS"} 1.0',
        'waypost_messages_refused_total{code="VALIDATION_ERROR"} 1.0',
        'waypost_messages_refused_total{code="UNAUTHORIZED"} 1.0',
        'waypost_messages_refused_total{code="PAYLOAD_TOO_LARGE"} 2.0',
        'waypost_status_changes_total{status="SENT"} 1.0',
        'waypost_status_changes_total{status="DELIVERED"} 1.0',
        'waypost_webhooks_total{plugin="sms_twilio",verdict="verified"} 2.0',
        f'waypost_queue_length{{gateway="{sms}"}} 0.0',
        f'waypost_gateway_active{{gateway="{sms}"}} 1.0',
        f'waypost_sends_in_flight{{gateway="{sms}"}} 0.0',
        'waypost_plugin_loaded{plugin="sms_twilio",state="loaded"} 1.0',
    } <= lines


def _sealed_elsewhere(gateway: Gateway) -> str:
    """Secrets that a node with another master key has sealed."""
    return Vault([new_key()]).seal('{"token": "t"}', f"gateway/{gateway.id}")


async def test_a_node_with_a_wrong_master_key_does_not_look_well(run: RunDeployment) -> None:
    gateway = await run([], [FakeChannel(), FakeChannel("fake_mail", channel="EMAIL")])
    mail, sms = (await gateway.newcomer()).gateways
    await gateway.change(sms, secrets=_sealed_elsewhere(sms))
    ready = await gateway.call("GET", "/readyz")
    assert (ready.status, ready.json["gateways"][mail.name]["status"]) == (200, "active"), "the other one can be used"
    assert ready.json["gateways"][sms.name]["status"] == "unusable"
    assert "master_keys" in ready.json["gateways"][sms.name]["reason"]
    lines = (await gateway.call("GET", "/metrics")).text.splitlines()
    assert f'waypost_gateway_active{{gateway="{sms.id}"}} 0.0' in lines
    assert f'waypost_gateway_active{{gateway="{mail.id}"}} 1.0' in lines

    await gateway.change(mail, status="disabled")
    ready = await gateway.call("GET", "/readyz")
    assert (ready.status, ready.json["status"]) == (503, "not ready"), "what is disabled does not count"
    assert "master key" in ready.json["credentials"]
    await gateway.change(sms, secrets=gateway.node.vault.seal('{"token": "t"}', f"gateway/{sms.id}"))
    assert (await gateway.call("GET", "/readyz")).status == 200


async def test_a_node_without_any_gateway_is_ready(run: RunDeployment) -> None:
    gateway = await run([], [FakeChannel()])
    assert (await gateway.call("GET", "/readyz")).status == 200


@pytest.mark.parametrize("trouble", [StoreUnavailableError("gone"), asyncio.Event], ids=["gone", "silent"])
async def test_a_store_that_is_down_is_in_the_metrics(
    gateway: Deployment, partner: Partner, monkeypatch: pytest.MonkeyPatch, trouble: Any
) -> None:
    """Also where it says nothing: whoever scrapes would have given up by then."""

    read = gateway.node.database.read

    async def broken(work: Any) -> Any:
        if work is not steps.queue_lengths:
            return await read(work)
        if isinstance(trouble, Exception):
            raise trouble
        return await trouble().wait()

    assert "waypost_store_up 1.0" in (await gateway.call("GET", "/metrics")).text
    with monkeypatch.context() as patch:
        patch.setattr("waypost_server.rest.health.PATIENCE", 0.01)
        patch.setattr(gateway.node.database, "read", broken)
        told = (await gateway.call("GET", "/metrics")).text
    assert "waypost_store_up 0.0" in told
    assert "waypost_queue_length{" not in told, "a length that nobody knows is not told"
    told = (await gateway.call("GET", "/metrics")).text
    assert "waypost_store_up 1.0" in told
    assert "waypost_queue_length{" in told


async def test_a_probe_does_not_wait_for_a_connection_to_be_given_up(
    gateway: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To roll back and close what is silent takes a PostgreSQL driver longer than whoever probes waits."""
    given_up = asyncio.Event()

    async def silent(_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await given_up.wait()

    with monkeypatch.context() as patch:
        patch.setattr("waypost_server.rest.health.PATIENCE", 0.01)
        patch.setattr(gateway.node.database, "read", silent)
        async with asyncio.timeout(5):
            ready = await gateway.call("GET", "/readyz")
    given_up.set()
    assert (ready.status, ready.json["store"]) == (503, "it does not answer within 0.01 s")
