"""Every row of the error table over HTTP, and what no table knows; the token is in no error."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    Context,
    OutboundMessage,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    Text,
    Transient,
)
from waypost_telegram.channel import telegram
from waypost_telegram.errors import ROWS, Row
from waypost_telegram.settings import TelegramBot

Serve = Callable[[Any], Awaitable[str]]
Attempt = Callable[..., Awaitable[ChannelError]]
TOKEN = "123456789:AAfixture-only_token"


@pytest.fixture
def attempt(serve: Serve, context: Context, message: Callable[..., OutboundMessage]) -> Attempt:
    """Send to a server that answers so; return what was raised."""

    async def make(answer: Any, to: str = "5550001", base_url: str | None = None) -> ChannelError:
        async def handler(_: web.Request) -> web.StreamResponse:
            return answer()

        account = TelegramBot.model_validate({"bot_token": TOKEN, "base_url": base_url or await serve(handler)})
        with pytest.raises(ChannelError) as raised:
            await telegram.send(replace(context, account=account), message(Text(body="a private word"), to))
        shown = "".join(traceback.format_exception(raised.value))
        assert "AAfixture" not in shown
        assert "5550001" not in str(raised.value)
        return raised.value

    return make


def refusing(code: int, description: Any, status: int | None = None, **parameters: Any) -> Callable[[], web.Response]:
    body = {"ok": False, "error_code": code, "description": description}
    if parameters:
        body["parameters"] = parameters
    return lambda: web.json_response(body, status=status or code)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.code} {row.begins}")
async def test_every_row(attempt: Attempt, row: Row) -> None:
    error = await attempt(refusing(row.code, row.begins.capitalize() + " of 5550001"))
    assert type(error) is row.error
    assert error.detail == row.detail
    assert (error.provider_code, error.http_status) == (str(row.code), row.code)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusing(400, "Bad Request: something new about 5550001"), Permanent),
        (refusing(403, "Forbidden: something new"), Permanent),
        (refusing(400, None), Permanent),
        (refusing(401, ["Unauthorized"]), AccountBlocked),
        (refusing(400, "Bad Request: chat not found", status=200), Permanent),
        (refusing(500, "Internal Server Error"), OutcomeUnknown),
        (refusing(502, "Bad Gateway"), OutcomeUnknown),
        (lambda: web.json_response({"ok": True}), OutcomeUnknown),
        (lambda: web.json_response({"ok": True, "result": True}), OutcomeUnknown),
        (lambda: web.json_response({"ok": True, "result": {"message_id": "x", "chat": {"id": 1}}}), OutcomeUnknown),
        (lambda: web.json_response([]), OutcomeUnknown),
        (lambda: web.Response(text="<html>"), OutcomeUnknown),
        (lambda: web.Response(text="<html>", status=503), OutcomeUnknown),
        (lambda: web.Response(text="<html>", status=400), Permanent),
        (lambda: web.Response(status=302, headers={"Location": "/"}), OutcomeUnknown),
    ],
)
async def test_what_no_table_knows(attempt: Attempt, answer: Any, expected: type[ChannelError]) -> None:
    assert isinstance(await attempt(answer), expected)


@pytest.mark.parametrize(
    ("parameters", "seconds"),
    [({"retry_after": 7}, 7.0), ({}, None), ({"retry_after": "7"}, None), ({"retry_after": -1}, None)],
)
async def test_waits_as_long_as_telegram_says(
    attempt: Attempt, parameters: dict[str, Any], seconds: float | None
) -> None:
    error = await attempt(refusing(429, "Too Many Requests: retry after 7", **parameters))
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.scope) == (seconds, "account")


async def test_a_proxys_limit_is_in_its_header(attempt: Attempt) -> None:
    error = await attempt(lambda: web.Response(status=429, headers={"Retry-After": "9"}))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 9.0


async def test_a_groups_limit_is_its_own(attempt: Attempt) -> None:
    error = await attempt(refusing(429, "Too Many Requests: retry after 7", retry_after=7), "-1001234567890")
    assert isinstance(error, RateLimited)
    assert error.scope == "recipient"


async def test_nobody_there(attempt: Attempt, serve: Serve) -> None:
    error = await attempt(None, base_url="http://127.0.0.1:9")
    assert type(error) is Transient


async def test_an_answer_that_is_no_http_names_no_url(
    context: Context, message: Callable[..., OutboundMessage]
) -> None:
    """aiohttp's own error for this names the URL, which holds the token."""
    import asyncio

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/9.9 200 NO\r\nBroken Header\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    account = TelegramBot.model_validate({"bot_token": TOKEN, "base_url": f"http://127.0.0.1:{port}"})
    with pytest.raises(OutcomeUnknown) as raised:
        await telegram.send(replace(context, account=account), message(Text(body="x")))
    assert "AAfixture" in repr(raised.value.__context__) + str(raised.value.__context__)
    assert "AAfixture" not in "".join(traceback.format_exception(raised.value))
    server.close()
    await server.wait_closed()
