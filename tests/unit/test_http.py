"""The door to a provider, against a server that misbehaves in every phase."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest
from waypost.plugin import AccountBlocked, ChannelError, OutcomeUnknown, Permanent, RateLimited, Transient
from waypost.plugin import http as door

QUICK = aiohttp.ClientTimeout(total=None, connect=2, sock_connect=2, sock_read=0.2)


class Misbehaving:
    """A server that answers one connection after another as it is told; `requests` are what reached it."""

    def __init__(self) -> None:
        self.script = b""
        self.hang = self.reset = False
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.script)
            await writer.drain()
            if self.hang:
                await reader.read()
            if self.reset:
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def provider() -> AsyncIterator[Misbehaving]:
    provider = Misbehaving()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/messages"
    yield provider
    server.close()
    await server.wait_closed()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def reply(status: str, body: bytes = b"{}", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *lines])
    return head.encode() + b"\r\n\r\n" + body


async def send(session: aiohttp.ClientSession, url: str) -> door.HttpReply:
    answer = await door.post(session, url, json={"to": "x"}, timeout=QUICK)
    door.raise_for_status(answer)
    return answer


async def test_a_good_answer_is_read(session: aiohttp.ClientSession, provider: Misbehaving) -> None:
    provider.script = reply("201 Created", b'{"id": 7}', X_Thing="a")
    answer = await send(session, provider.url)
    assert (answer.status, answer.ok, answer.json_object(), answer.headers["x-thing"]) == (201, True, {"id": 7}, "a")
    assert b"application/json" in provider.requests[0]


async def test_nobody_there_is_transient(session: aiohttp.ClientSession) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(Transient):
            await send(session, url)


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}/", "http://", "nonsense"])
async def test_what_never_left_is_transient(session: aiohttp.ClientSession, provider: Misbehaving, url: str) -> None:
    """No TLS there, or no address at all."""
    provider.script = b"not TLS\r\n\r\n"
    with pytest.raises(Transient):
        await send(session, url.format(port=provider.url.split(":")[2].split("/")[0]))


@pytest.mark.parametrize(
    ("script", "hang", "reset"),
    [
        (b"", True, False),
        (b"", False, False),
        (b"", False, True),
        (b"HTTP/1.1 200 OK\r\n", False, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", False, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", True, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", False, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", False, False),
        (b"\x00\xff garbage\r\n\r\n", False, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", False, False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", False, False),
        (reply("500 Oops"), False, False),
        (reply("502 Bad Gateway", b"<html>"), False, False),
        (reply("503 Unavailable"), False, False),
        (reply("302 Found", Location="http://127.0.0.1:1/"), False, False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (door.MAX_REPLY + 1), False, False),
    ],
    ids=[
        "hang", "closed", "reset", "half a head", "truncated", "hang in body", "reset in body", "bad chunk", "garbage",
        "bad length", "huge header", "500", "502", "503", "redirect", "too long",
    ],
)  # fmt: skip
async def test_whatever_happens_once_it_left_is_unknown(
    session: aiohttp.ClientSession, provider: Misbehaving, script: bytes, hang: bool, reset: bool
) -> None:
    provider.script, provider.hang, provider.reset = script, hang, reset
    with pytest.raises(OutcomeUnknown) as caught:
        await send(session, provider.url)
    assert "127.0.0.1" not in caught.value.detail
    assert len(provider.requests) == 1  # never a second request


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", AccountBlocked), ("403 Forbidden", Permanent), ("400 Bad Request", Permanent),
        ("404 Not Found", Permanent), ("422 Unprocessable", Permanent), ("429 Too Many", RateLimited),
    ],
)  # fmt: skip
async def test_what_an_error_status_means(
    session: aiohttp.ClientSession, provider: Misbehaving, status: str, error: type[ChannelError]
) -> None:
    provider.script = reply(status)
    with pytest.raises(error) as caught:
        await send(session, provider.url)
    assert type(caught.value) is error
    assert caught.value.http_status == int(status[:3])


async def test_retry_after_is_told(session: aiohttp.ClientSession, provider: Misbehaving) -> None:
    provider.script = reply("429 Too Many", Retry_After="17")
    with pytest.raises(RateLimited) as caught:
        await send(session, provider.url)
    assert caught.value.retry_after == 17


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("²", None), ("9" * 400, None),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30), ("Thu, 01 Jan 2026 00:00:30", 30), ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("Thu, 99 Foo 2026 00:00:30 GMT", None), ("Thu, 01 Jan 99999999999999 00:00:30 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_in_all_its_forms(value: str, seconds: float | None) -> None:
    found = door.retry_after(door.HttpReply(429, {"retry-after": value}, b""), now=NOW)
    assert found == seconds or (value.startswith("9") and found == float("inf"))


def test_a_body_that_is_not_json_is_none() -> None:
    assert door.HttpReply(200, {}, b"<html>").json() is None
    assert door.HttpReply(200, {}, b"[1]").json_object() == {}
