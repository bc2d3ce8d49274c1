"""Which handler a request comes to, however its path is written, and what is told where there is none."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from deployment import TO, Deployment
from world import Partner


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/healthz?verbose=1", 200),
        ("GET", "/%68ealthz", 200),
        ("POST", "/healthz", 405),
        ("GET", "/healthz/", 404),
        ("HEAD", "/openapi.json", 200),
        ("HEAD", "/webhooks/sms_twilio", 405),
        ("PUT", "/api/webhook.php", 405),
        ("GET", "/api/send-sms.php", 405),
        ("GET", "/partner/message/send", 405),
        ("HEAD", "/partner/message/%73end?x=1", 405),
        ("GET", "/nowhere", 404),
        ("OPTIONS", "*", 404),
    ],
)
async def test_paths_and_methods(gateway: Deployment, method: str, path: str, status: int) -> None:
    head, body = await exchange(gateway, f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    if method == "HEAD":
        assert body == b""
    elif status in (404, 405):
        assert orjson.loads(body)["code" if not path.startswith("/api/") else "error"].upper() in (
            "NOT_FOUND",
            "METHOD_NOT_ALLOWED",
        )


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/send-sms.php", "POST"),
        ("/api/send-nothing.php", "POST"),
        ("/partner/balance", "GET, HEAD"),
        ("/webhooks/sms_twilio/gw_1", "GET, POST"),
    ],
)
async def test_the_methods_there_are_are_told(gateway: Deployment, path: str, allowed: str) -> None:
    async with gateway.http.delete(gateway.url + path) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == allowed
        assert answer.headers["X-Request-Id"]


async def test_a_path_that_needs_decoding_is_the_same_path(gateway: Deployment, partner: Partner) -> None:
    for path in ("/api/send-sms.php", "/api/send%2Dsms.php", "/api/send-sms.php?x=1", "/api/send-SMS.php"):
        body = orjson.dumps({"to": TO, "text": "hi"})
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {partner.secret}\r\nConnection: close\r\n"
        answer, _ = await exchange(gateway, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert answer.startswith(b"HTTP/1.1 200 "), path


async def test_one_who_waits_to_be_told_is_told_to_go_on(gateway: Deployment, partner: Partner) -> None:
    body = orjson.dumps({"to": TO, "text": "hi"})
    head = (
        "POST /api/send-sms.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
        f"Authorization: Bearer {partner.secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await connect(gateway)
    writer.write(head.encode())
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()


async def test_one_who_waits_with_too_large_a_body_is_refused_without_it(gateway: Deployment, partner: Partner) -> None:
    head = (
        "POST /api/send-sms.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
        f"Authorization: Bearer {partner.secret}\r\nContent-Length: 300000000\r\n\r\n"
    )
    reader, writer = await connect(gateway)
    writer.write(head.encode())
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()


async def connect(gateway: Deployment) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = gateway.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def exchange(gateway: Deployment, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of the answer to a request that asks for the connection to be closed."""
    reader, writer = await connect(gateway)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body
