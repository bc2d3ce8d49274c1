"""Too many requests: 429 with Retry-After on both APIs, and for that app alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from deployment import Deployment
from sqlalchemy import Connection, text
from waypost.admission.limiter import BURST


async def test_an_app_that_sends_too_fast_is_told_to_wait(run: Callable[..., Awaitable[Deployment]]) -> None:
    gateway = await run(["sms_twilio"], requests_per_second=1, wait=0)
    hasty, calm = await gateway.newcomer(), await gateway.newcomer()
    for _ in range(BURST):
        assert (await gateway.send(hasty.secret, {"channel": "SMS"})).status == 200
    refused = await gateway.send(hasty.secret, {"channel": "SMS"})
    assert refused.told == (429, "RATE_LIMITED")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await gateway.token(hasty.secret, "sms")).told == (429, "rate_limited")
    assert (await gateway.send(calm.secret, {"channel": "SMS"})).status == 200


async def test_a_request_counts_once_whichever_way_it_goes(run: Callable[..., Awaitable[Deployment]]) -> None:
    """WhatsApp's need a look at the recipient's history first, and those that are refused are looked at twice."""
    gateway = await run(["whatsapp"], requests_per_second=1, wait=0)
    for fields in ({}, {"to": "nonsense"}):
        partner = await gateway.newcomer()
        statuses = [(await gateway.send(partner.secret, {"channel": "WHATSAPP"} | fields)).status for _ in range(BURST)]
        assert statuses == [400 if fields else 200] * BURST
        assert (await gateway.send(partner.secret, {"channel": "WHATSAPP"})).status == 429


async def test_what_was_accepted_is_replayed_without_its_route(run: Callable[..., Awaitable[Deployment]]) -> None:
    gateway = await run(["sms_twilio"], wait=0)
    partner = await gateway.newcomer()
    key = {"Idempotency-Key": "once"}
    first = await gateway.send(partner.secret, {"channel": "SMS"}, **key)
    assert first.status == 200

    def drop(conn: Connection) -> None:
        conn.execute(text("DELETE FROM route"))

    await gateway.decide(drop)
    other = await gateway.send(partner.secret, {"channel": "SMS", "content": "something else"}, **key)
    assert other.told[0] == 404
    again = await gateway.send(partner.secret, {"channel": "SMS"}, **key)
    assert again.status == 200
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json["data"]["messageId"] == first.json["data"]["messageId"]
    assert (await gateway.send(partner.secret, {"channel": "SMS"})).told[0] == 404
