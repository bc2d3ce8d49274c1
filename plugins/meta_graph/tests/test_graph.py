"""The Graph over real HTTP on loopback: what each answer becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    Transient,
)
from waypost_meta_graph import ErrorRow, ErrorTable, Graph, GraphAccountSettings, health

TABLE = ErrorTable(
    {
        (551, None): ErrorRow(InvalidRecipient, "unavailable"),
        (10, 2018278): ErrorRow(Permanent, "exact"),
        (None, 2534001): ErrorRow(InvalidRecipient, "subcode alone"),
        (131056, None): ErrorRow(RateLimited, "pair", scope="recipient", retry_after=6.0),
    },
    [(range(131200, 131300), ErrorRow(ContentRejected, "groups"))],
)
Play = Callable[[web.Response], Awaitable[Graph]]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    runners: list[web.AppRunner] = []
    sessions: list[aiohttp.ClientSession] = []

    async def start(response: web.Response) -> Graph:
        async def answer(request: web.Request) -> web.Response:
            assert request.headers["Authorization"] == "Bearer token"
            return response

        application = web.Application()
        application.router.add_route("*", "/v25.0/{tail:.*}", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        session = aiohttp.ClientSession()
        sessions.append(session)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return Graph.of(session, GraphAccountSettings(access_token="token", base_url=url), TABLE)

    yield start
    for session in sessions:
        await session.close()
    for runner in runners:
        await runner.cleanup()


def error(status: int, code: Any, subcode: Any = None, **more: Any) -> web.Response:
    body = {"message": "to +15550001111", "type": "OAuthException", "code": code, "error_subcode": subcode, **more}
    return web.json_response({"error": body}, status=status)


@pytest.mark.parametrize(
    ("response", "expected", "provider_code"),
    [
        (error(401, 190, 463), AccountBlocked, "190/463"),
        (error(400, 0), AccountBlocked, "0"),
        (error(400, "551"), InvalidRecipient, "551"),
        (error(403, 10, 2018278), Permanent, "10/2018278"),
        (error(403, 10), Misconfigured, "10"),
        (error(403, 299), Misconfigured, "299"),
        (error(400, 7, 2534001), InvalidRecipient, "7/2534001"),
        (error(400, 131215), ContentRejected, "131215"),
        (error(400, 131056), RateLimited, "131056"),
        (error(500, 2), Transient, "2"),
        (error(400, 999_999), Permanent, "999999"),
        (error(400, 999_999, is_transient=True), Transient, "999999"),
        (error(500, 999_999, is_transient=True), OutcomeUnknown, "999999"),
        (error(429, 999_999), RateLimited, "999999"),
        (error(200, 551), InvalidRecipient, "551"),
        (error(200, 999_999), OutcomeUnknown, "999999"),
        (error(200, None), OutcomeUnknown, None),
        (web.json_response({"error": "no object"}, status=400), Permanent, None),
        (web.json_response({"error": {"code": [1]}}, status=400), Permanent, None),
        (web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html"), OutcomeUnknown, None),
        (web.Response(status=200, body=b"\x00nonsense"), OutcomeUnknown, None),
        (web.json_response(["no object"]), OutcomeUnknown, None),
        (web.Response(status=302, headers={"Location": "/elsewhere"}), OutcomeUnknown, None),
        (web.Response(status=403), Permanent, None),
    ],
)
async def test_answers(
    play: Play, response: web.Response, expected: type[ChannelError], provider_code: str | None
) -> None:
    graph = await play(response)
    with pytest.raises(ChannelError) as caught:
        await graph.post("1/messages", {"to": "+15550001111"})
    assert type(caught.value) is expected
    assert caught.value.provider_code == provider_code
    assert "5550001111" not in str(caught.value)


async def test_success_is_the_object(play: Play) -> None:
    assert await (await play(web.json_response({"id": "1"}, status=201))).post("1/messages", {}) == {"id": "1"}
    assert await (await play(web.json_response({"id": "1"}))).get("1", {"fields": "id"}) == {"id": "1"}
    assert (await health(await play(web.json_response({"id": "1"})), "1", "id")).state == "ok"


async def test_the_waiting_time_comes_from_the_provider_where_it_says_so(play: Play) -> None:
    usage = '{"1":[{"type":"whatsapp","estimated_time_to_regain_access":2},7],"2":3}'
    cases: list[tuple[dict[str, str], float | None]] = [
        ({"Retry-After": "30"}, 30.0),
        ({"X-Business-Use-Case-Usage": usage}, 120.0),
        ({"X-Business-Use-Case-Usage": "nonsense"}, 6.0),
        ({}, 6.0),
    ]
    for headers, seconds in cases:
        response = error(400, 131056)
        response.headers.update(headers)
        graph = await play(response)
        with pytest.raises(RateLimited) as caught:
            await graph.post("1/messages", {})
        assert (caught.value.retry_after, caught.value.scope) == (seconds, "recipient")


@pytest.mark.parametrize(("response", "state"), [(error(401, 190), "blocked"), (error(400, 4), "unknown")])
async def test_health(play: Play, response: web.Response, state: str) -> None:
    assert (await health(await play(response), "1", "id")).state == state


async def test_no_connection_is_transient() -> None:
    account = GraphAccountSettings(access_token="t", base_url="http://127.0.0.1:1/")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Transient):
            await Graph.of(session, account, TABLE).post("1/messages", {})
