"""Whatever is posted to the send endpoints: a documented answer, never a 5xx, and money only for what was accepted."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from deployment import PRICE, Answer, RunDeployment
from fake_channel import FakeChannel
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from world import Partner

CODES = {
    (400, "INVALID_REQUEST"),
    (400, "VALIDATION_ERROR"),
    (402, "INSUFFICIENT_CREDIT"),
    (404, "CHANNEL_CONFIG_NOT_FOUND"),
    (413, "PAYLOAD_TOO_LARGE"),
}
TOKEN_CODES = {
    (400, "invalid_request"),
    (400, "validation_error"),
    (402, "insufficient_balance"),
    (403, "gateway_not_assigned"),
    (413, "payload_too_large"),
}

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    st.sampled_from(
        ["\x00", "+6591234567", "SMS", "text", "\u202e", "😀" * 10, "x" * 3000, "'", "\\u0000", "%00", "${7*7}"]
    ),
)
tree = st.recursive(
    odd,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)

PARTNER_FIELDS = (
    "channel", "to", "from", "senderId", "content", "templateId", "templateVariables", "templateLanguage", "subject",
    "htmlContent", "mediaUrl", "mediaType", "replyTo", "validity", "options", "fallback", "kind", "colour",
)  # fmt: skip
TOKEN_FIELDS = (
    "to", "type", "channel", "from", "text", "subject", "html", "media_url", "template_id", "variables", "language",
    "reply_to", "validity", "location", "image", "colour",
)  # fmt: skip


def near(good: dict[str, Any], names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """A good request with a few fields replaced, added or dropped."""
    changes = st.dictionaries(st.sampled_from(names), tree | st.just(...), max_size=3)
    return changes.map(lambda given: {name: value for name, value in (good | given).items() if value is not ...})


partner_requests = near({"channel": "SMS", "to": "+6591234567", "content": "hello"}, PARTNER_FIELDS)
token_requests = near({"to": "+6591234567", "text": "hello"}, TOKEN_FIELDS)


def mutilated(body: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A body with some bytes overwritten."""

    def overwrite(parts: tuple[bytes, list[tuple[int, int]]]) -> bytes:
        changed = bytearray(parts[0])
        for place, value in parts[1]:
            changed[place % len(changed)] = value
        return bytes(changed)

    spots = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=5)
    return st.tuples(body, spots).map(overwrite)


partner_bodies = st.one_of(
    partner_requests.map(lambda request: orjson.dumps({"request": request})),
    partner_requests.map(lambda request: orjson.dumps({"request": request})).flatmap(
        lambda body: mutilated(st.just(body))
    ),
    tree.map(orjson.dumps),
    st.binary(max_size=200),
)
token_bodies = st.one_of(
    token_requests.map(orjson.dumps),
    mutilated(token_requests.map(orjson.dumps)),
    tree.map(orjson.dumps),
    st.binary(max_size=200),
)


def _documented(answer: Answer, api: str) -> bool:
    if answer.status == 200:
        return answer.json["success"] is True if api == "partner" else answer.json.keys() == {"id", "status"}
    return answer.told in (CODES if api == "partner" else TOKEN_CODES)


@pytest.mark.postgres
@pytest.mark.parametrize("api", ["partner", "token"])
async def test_anything_may_be_posted(run: RunDeployment, api: str) -> None:
    fake = FakeChannel(info={"content_kinds": frozenset({"text", "template", "image", "location", "email"})})
    gateway = await run([], [fake], wait=0)
    partner: Partner = await gateway.newcomer()
    loop = asyncio.get_running_loop()
    accepted: list[str] = []

    async def post(body: bytes) -> Answer:
        if api == "partner":
            return await gateway.send(partner.secret, body=body)
        return await gateway.token(partner.secret, body=body)

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(body=partner_bodies if api == "partner" else token_bodies)
    def fuzz(body: bytes) -> None:
        answer = asyncio.run_coroutine_threadsafe(post(body), loop).result(30)
        assert _documented(answer, api), (answer.status, answer.text)
        if answer.status == 200:
            data = answer.json
            accepted.append(data["data"]["messageId"] if api == "partner" else data["id"])

    await asyncio.to_thread(fuzz)
    await gateway.settle()
    assert accepted
    rows = await gateway.rows()
    assert rows["message"] == len(set(accepted)) == len(accepted)
    assert await gateway.books_balance()
    balance = await gateway.balance(partner.org)
    assert balance.funded - balance.available == balance.held + balance.captured
    assert (balance.held + balance.captured) % PRICE == 0
