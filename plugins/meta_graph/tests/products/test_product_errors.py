"""Each row of the fact sheet's error table, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from error_sheets import sheet_rows
from meta_products import INSTAGRAM, MESSENGER, TOKEN, MakeContext, MakeMessage, Product
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    RateLimited,
    Text,
    Transient,
)

Rows = list[tuple[int, int | None, type[ChannelError]]]

#: What the fact sheets' classes are among ours.
SHEET: dict[str, type[ChannelError]] = {
    "auth": AccountBlocked,
    "account": AccountBlocked,
    "config": Misconfigured,
    "outside window": OutsideWindow,
    "permanent recipient": InvalidRecipient,
    "permanent request": ContentRejected,
    "rate limit": RateLimited,
    "transient": Transient,
    "unknown": OutcomeUnknown,
}
MESSENGER_ROWS: Rows = [(code, subcode, SHEET[word]) for code, subcode, word in sheet_rows("messenger")]
INSTAGRAM_ROWS: Rows = [(code, subcode, SHEET[word]) for code, subcode, word in sheet_rows("instagram")]

#: What no sheet says in so many words.
MESSENGER_ROWS += [
    (100, 33, Misconfigured),
    (10, 2534029, AccountBlocked),
    (10, 2534122, AccountBlocked),
]
INSTAGRAM_ROWS += [
    (100, 2534001, InvalidRecipient),
    (100, 2534025, ContentRejected),
    (100, 33, Misconfigured),
    (190, None, AccountBlocked),
]
#: Messenger's hold for Instagram too, where it has none of its own.
_OWN = {(code, subcode) for code, subcode, _ in INSTAGRAM_ROWS}
INSTAGRAM_ROWS += [row for row in MESSENGER_ROWS if row[:2] not in _OWN]

TABLE = [(MESSENGER, *row) for row in MESSENGER_ROWS] + [(INSTAGRAM, *row) for row in INSTAGRAM_ROWS]

PERSONS = (MESSENGER.person, INSTAGRAM.person)
SECRET_WORDS = f"The persons {' and '.join(PERSONS)} said: token {TOKEN}"
Attempt = Callable[[web.Response], Awaitable[ChannelError]]


@pytest.fixture
async def attempt(product: Product, context: MakeContext, outbound: MakeMessage) -> AsyncIterator[Attempt]:
    """Send once to a server that gives this answer, and hand back what was raised."""
    answers: list[web.Response] = []
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return answers.pop()

    app = web.Application()
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    account = product.account(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}")

    async def send(response: web.Response) -> ChannelError:
        answers.append(response)
        asked.clear()
        with pytest.raises(ChannelError) as caught:
            await product.channel.send(context(account=account), outbound(Text(body="x")))
        assert asked == [f"/v25.0/{product.node}/messages"]
        return caught.value

    yield send
    await runner.cleanup()


def refusal(code: int, subcode: int | None, status: int = 400, **more: Any) -> web.Response:
    error = {"message": SECRET_WORDS, "type": "OAuthException", "code": code, **more}
    if subcode is not None:
        error["error_subcode"] = subcode
    return web.json_response({"error": error}, status=status)


@pytest.mark.parametrize(("product", "code", "subcode", "expected"), TABLE, indirect=["product"])
@pytest.mark.parametrize("status", [400, 403, 500, 200])
async def test_code_decides_whatever_the_status(
    attempt: Attempt, code: int, subcode: int | None, expected: type[ChannelError], status: int
) -> None:
    error = await attempt(refusal(code, subcode, status))
    assert type(error) is expected
    assert error.provider_code == (f"{code}/{subcode}" if subcode else str(code))
    assert error.http_status == status
    assert not any(person in str(error) for person in PERSONS)
    assert "EAA" not in str(error)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (lambda: refusal(987654, None), Permanent),
        (lambda: refusal(987654, None, is_transient=True), Transient),
        (lambda: refusal(987654, None, 401), AccountBlocked),
        (lambda: refusal(987654, None, 429), RateLimited),
        (lambda: refusal(987654, None, 500), OutcomeUnknown),
        (lambda: refusal(987654, None, 200), OutcomeUnknown),
        (lambda: web.json_response({"recipient_id": PERSONS[0]}), OutcomeUnknown),
        (lambda: web.json_response({"message_id": ""}), OutcomeUnknown),
        (lambda: web.json_response([]), OutcomeUnknown),
        (lambda: web.Response(text="<html>Sorry</html>", status=502), OutcomeUnknown),
        (lambda: web.Response(text="<html>Sorry</html>"), OutcomeUnknown),
        (lambda: web.Response(status=302, headers={"Location": "/"}), OutcomeUnknown),
        (lambda: web.json_response({"error": "wrong type"}, status=400), Permanent),
    ],
)
async def test_what_no_table_knows(
    attempt: Attempt, response: Callable[[], web.Response], expected: type[ChannelError]
) -> None:
    assert type(await attempt(response())) is expected


async def test_waits_as_long_as_meta_says(attempt: Attempt) -> None:
    response = refusal(613, None)
    response.headers["X-Business-Use-Case-Usage"] = (
        '{"118200456700123":[{"type":"messenger","estimated_time_to_regain_access":7}]}'
    )
    error = await attempt(response)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 420


@pytest.mark.parametrize(
    ("code", "subcode", "tries"), [(100, 2018047, 2), (1, None, 2), (2, None, 6), (1200, None, None)]
)
async def test_how_often_a_transient_one_is_worth_it(
    attempt: Attempt, code: int, subcode: int | None, tries: int | None
) -> None:
    error = await attempt(refusal(code, subcode))
    assert isinstance(error, Transient)
    assert error.tries == tries
