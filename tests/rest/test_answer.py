"""An answer in one piece is the answer that aiohttp would give, and aiohttp's own where the request is unusual."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from waypost_server.rest.answer import Answer

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

BODY = b'{"status":"ok"}'


@asynccontextmanager
async def connected(make: Callable[[], web.StreamResponse]) -> AsyncIterator[Connection]:
    """A connection to a server that answers every request with what is made."""

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return make()

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    port = unused_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await runner.cleanup()


async def ask(make: Callable[[], web.StreamResponse], request: str) -> tuple[str, dict[str, str], bytes, bool]:
    """Status line, headers by lower-case name and body of the answer, and whether a second request has one too."""
    async with connected(make) as (reader, writer):
        writer.write(request.encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        line, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (item.partition(": ") for item in lines)}
        body = b"" if request.startswith("HEAD") else await reader.readexactly(int(headers.get("content-length", 0)))
        writer.write(request.encode())
        goes_on = (await asyncio.wait_for(reader.read(5), 10)) == b"HTTP/"
        return line, headers, body, goes_on


@pytest.mark.parametrize(
    "request_text",
    [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
        "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["GET", "POST", "closing", "HTTP/1.0", "HTTP/1.0 that stays", "HEAD", "DELETE"],
)
@pytest.mark.parametrize("status", [200, 204, 404, 413, 503])
async def test_it_says_what_aiohttp_would_say(request_text: str, status: int) -> None:
    body = b"" if status == 204 else BODY
    headers = {"X-Request-Id": "r-1"} | ({"Content-Type": "application/json"} if body else {})
    line, told, *rest = await ask(lambda: Answer(body, status, headers), request_text)
    model_line, model, *model_rest = await ask(
        lambda: web.Response(body=body, status=status, headers={"Server": "waypost", **headers}), request_text
    )
    assert (line, rest) == (model_line, model_rest)
    assert abs(parsedate_to_datetime(told.pop("date")) - parsedate_to_datetime(model.pop("date"))) < timedelta(
        minutes=1
    )
    assert told == model


async def test_requests_that_come_together_are_answered_in_order() -> None:
    numbers = iter(range(3))
    async with connected(lambda: Answer(b"%d" % next(numbers))) as (reader, writer):
        asked = b"GET / HTTP/1.1\r\nHost: x\r\n"
        writer.write((asked + b"\r\n") * 2 + asked + b"Connection: close\r\n\r\n")
        answers = (await asyncio.wait_for(reader.read(), 10)).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer.rpartition(b"\r\n\r\n")[2] for answer in answers] == [b"0", b"1", b"2"]


async def test_one_who_asks_and_does_not_read_gets_no_more() -> None:
    answered = 0

    def make() -> Answer:
        nonlocal answered
        answered += 1
        return Answer(b"x" * 20_000)

    async with connected(make) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000)
        before = -1
        while answered > before:  # until it stands still
            before = answered
            await asyncio.sleep(0.1)
        assert 0 < answered < 2_000


@pytest.mark.parametrize("value", ["r-1\r\nSet-Cookie: a=b", "r-1\nSet-Cookie: a=b", "r\0", "r\x7f"])
async def test_a_header_never_becomes_two(caplog: pytest.LogCaptureFixture, value: str) -> None:
    headers = {"X-Request-Id": value}
    async with connected(lambda: Answer(BODY, headers=headers)) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert "a header must not hold control characters" in caplog.text
