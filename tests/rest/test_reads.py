"""The partner API's reads: one message, a page of them, the balance; and nobody else's, ever."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from deployment import PRICE, TO, Deployment
from waypost.ids import new_id
from waypost.node import READS
from world import Partner


@pytest.mark.postgres
async def test_a_message_with_its_timeline(gateway: Deployment, partner: Partner) -> None:
    sent = (await gateway.send(partner.secret)).json["data"]
    await gateway.settle()
    answer = await gateway.get(f"/partner/message/{sent['messageId']}", partner.secret)
    assert answer.status == 200
    body = answer.json
    assert body.keys() == {"success", "data"}
    assert answer.headers["X-Request-Id"]
    data = body["data"]
    timeline = data.pop("timeline")
    created, updated = data.pop("createdAt"), data.pop("updatedAt")
    assert data == sent | {"status": "DELIVERED", "settled": True}
    assert created <= updated
    assert created.endswith("Z")
    assert [(item["event"], item["by"]) for item in timeline] == [
        ("queued", "core"),
        ("sending", "core"),
        ("sent", "core"),
        ("sent", "provider"),
        ("delivered", "provider"),
    ]
    assert "hello" not in answer.text


@pytest.mark.postgres
async def test_the_balance(gateway: Deployment, partner: Partner) -> None:
    empty = (await gateway.get("/partner/balance", partner.secret)).text
    assert '"balance":100,' in empty
    await gateway.send(partner.secret)
    await gateway.settle()
    await gateway.send(partner.secret, {"to": "+15005550121"})  # its receipts come late
    answer = await gateway.get("/partner/balance", partner.secret)
    assert answer.text == (
        '{"success":true,"data":{"balance":99.88,"held":0.12,"available":99.76,"creditLimit":0,'
        '"spendable":99.76,"currency":"SGD"}}'
    )


async def test_so_many_lists_at_once_leave_the_store_to_others(
    gateway: Deployment, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends must not wait behind another partner's lists."""
    database = gateway.node.database
    really, under_way, most = database.read, [0], [0]

    async def read(work: Callable[..., Any]) -> Any:
        if "messages.page" not in inspect.getsource(work):
            return await really(work)
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        try:
            await asyncio.sleep(0.01)
            return await really(work)
        finally:
            under_way[0] -= 1

    monkeypatch.setattr(database, "read", read)
    answers = await asyncio.gather(*(gateway.get("/partner/messages", partner.secret) for _ in range(3 * READS)))
    assert {answer.status for answer in answers} == {200}
    assert most[0] == READS


async def _five(gateway: Deployment, partner: Partner) -> list[str]:
    """Five messages, newest first: one failed, one by WhatsApp."""
    template = {"channel": "WHATSAPP", "to": "+6590000002", "templateId": "HX" + "1" * 32}
    ids = [
        (await gateway.send(partner.secret, request)).json["data"]["messageId"]
        for request in ({"to": "+6590000001"}, {"to": "+15005550107"}, {"to": "+6590000001"}, {"to": TO})
    ]
    ids.append((await gateway.send(partner.secret, body={"request": template})).json["data"]["messageId"])
    await gateway.settle()
    return ids[::-1]


async def _ids(gateway: Deployment, partner: Partner, query: str) -> list[str]:
    answer = await gateway.get(f"/partner/messages{query}", partner.secret)
    assert answer.status == 200, answer.text
    return [item["messageId"] for item in answer.json["data"]["messages"]]


@pytest.mark.postgres
async def test_pages_and_filters(gateway: Deployment, partner: Partner) -> None:
    ids = await _five(gateway, partner)
    page = (await gateway.get("/partner/messages?limit=2&page=2", partner.secret)).json["data"]
    assert page["pagination"] == {"page": 2, "limit": 2, "total": 5, "totalPages": 3}
    assert [item["messageId"] for item in page["messages"]] == ids[2:4]
    one = (await gateway.get(f"/partner/message/{ids[2]}", partner.secret)).json["data"]
    del one["timeline"]
    assert page["messages"][0] == one

    assert await _ids(gateway, partner, "") == ids
    assert await _ids(gateway, partner, "?page=3&limit=2") == ids[4:]
    assert await _ids(gateway, partner, "?page=4&limit=2") == []
    assert await _ids(gateway, partner, "?page=100000&limit=100") == []
    assert await _ids(gateway, partner, "?channel=whatsapp") == ids[:1]
    assert await _ids(gateway, partner, "?channel=PIGEON") == []
    assert await _ids(gateway, partner, "?status=failed") == [ids[3]]
    assert await _ids(gateway, partner, "?status=DELIVERED&channel=SMS") == [ids[1], ids[2], ids[4]]
    assert await _ids(gateway, partner, "?to=%2B6590000001") == [ids[2], ids[4]]
    assert await _ids(gateway, partner, "?recipient=+6590000001") == [ids[2], ids[4]]
    middle = one["createdAt"]
    assert await _ids(gateway, partner, f"?until={middle}") == ids[3:]
    assert await _ids(gateway, partner, f"?since={middle}") == ids[:3]
    assert await _ids(gateway, partner, "?since=2020-01-01&until=2020-01-02T00:00:00%2B08:00") == []
    assert await _ids(gateway, partner, "?since=2020-01-01 00:00&until=2020-01-02T00:00:00+08:00") == []
    assert await _ids(gateway, partner, "?to=") == []
    empty = (await gateway.get("/partner/messages?status=EXPIRED", partner.secret)).json["data"]
    assert empty == {"messages": [], "pagination": {"page": 1, "limit": 20, "total": 0, "totalPages": 0}}


@pytest.mark.postgres
async def test_pagination_that_is_wrong(gateway: Deployment, partner: Partner) -> None:
    for name in ("page", "limit"):
        for value in ("0", "-1", "x", "", "1.5", "1e3", "%2B1", "%201", "1_0", "%D9%A1", "101x", "9" * 7, "9" * 5000):
            answer = await gateway.get(f"/partner/messages?{name}={value}", partner.secret)
            assert answer.told == (400, "INVALID_PAGINATION"), (name, value[:20])
    for query in ("limit=101", "page=100001", "page=1&limit=1000"):
        answer = await gateway.get(f"/partner/messages?{query}", partner.secret)
        assert answer.told == (400, "INVALID_PAGINATION"), query


@pytest.mark.postgres
async def test_filters_that_are_wrong(gateway: Deployment, partner: Partner) -> None:
    for query in (
        "status=LOST",
        "status=",
        "status=SENT&status=READ",
        "colour=red",
        "Status=SENT",
        "to=a&recipient=b",
        "since=yesterday",
        "since=",
        "until=2026-13-01",
        "to=%00",
        "recipient=a%00b",
        "channel=SMS%00",
    ):
        answer = await gateway.get(f"/partner/messages?{query}", partner.secret)
        assert answer.told == (400, "VALIDATION_ERROR"), query
    for query in ("to=%FF%FE", "channel=%ED%A0%80", "to=" + "x" * 5000, "channel=%F0%9F%93%A6", "to='--",
                  "until=0001-01-01T00:00:00%2B23:00", "since=9999-12-31T23:59:59-23:00"):  # fmt: skip
        answer = await gateway.get(f"/partner/messages?{query}", partner.secret)
        assert (answer.status, answer.json["data"]["messages"]) == (200, []), query


ODD_IDS = ("x", "msg_", "msg_1", "msg_" + "0" * 31, "msg_" + "0" * 33, "msg_" + "G" * 32, "org_" + "0" * 32,
           "%00", "msg_" + "0" * 31 + "%00", "..%2F..%2Fetc", "msg_123456789", "%FF", "x" * 5000)  # fmt: skip


async def test_ids_that_are_none(gateway: Deployment, partner: Partner) -> None:
    for message_id in ODD_IDS:
        answer = await gateway.get(f"/partner/message/{message_id}", partner.secret)
        assert answer.told == (404, "MESSAGE_NOT_FOUND"), message_id


# ---- isolation


def _routes_with_an_id(gateway: Deployment) -> list[tuple[str, str]]:
    """Every route whose path names something of a partner's; a new one fails here until it is taken care of."""
    from waypost_server.app import routes

    return [
        (route.method, route.path)
        for route in routes(gateway.node)
        if "{" in route.path and not route.path.startswith(("/webhooks/", "/api/send-"))
    ]


def _bare(headers: Any) -> dict[str, str]:
    """Headers without those that differ from one moment to the next."""
    return {name: value for name, value in headers.items() if name not in ("Date", "X-Request-Id")}


@pytest.mark.postgres
async def test_anothers_id_is_answered_like_an_unknown_one(gateway: Deployment, partner: Partner) -> None:
    other = await gateway.newcomer()
    message_id = (await gateway.send(partner.secret)).json["data"]["messageId"]
    unknown = new_id("msg")
    routes = _routes_with_an_id(gateway)
    assert ("GET", "/partner/message/{message_id}") in routes
    for method, path in routes:
        assert path.count("{") == 1
        name = path[path.index("{") : path.index("}") + 1]
        answers = [
            await gateway.call(
                method, path.replace(name, found), headers={"x-api-key": other.secret, "X-Request-Id": "same"}
            )
            for found in (message_id, unknown)
        ]
        assert answers[0].status == answers[1].status == 404
        assert answers[0].text == answers[1].text
        assert _bare(answers[0].headers) == _bare(answers[1].headers)
        assert (await gateway.get(path.replace(name, message_id), partner.secret)).status == 200


async def test_lists_and_balances_are_ones_own(gateway: Deployment, partner: Partner) -> None:
    other = await gateway.newcomer()
    sibling = await gateway.key(await gateway.app(partner.org))
    await gateway.send(partner.secret)
    await gateway.settle()
    for key in (other.secret, sibling):
        assert (await gateway.get("/partner/messages", key)).json["data"]["pagination"]["total"] == 0
        assert (await gateway.get(f"/partner/messages?to=%2B{TO[1:]}", key)).json["data"]["messages"] == []
    assert '"available":100,' in (await gateway.get("/partner/balance", other.secret)).text
    left = f'"available":{(100_000_000 - PRICE) / 1e6:.2f},'
    for key in (partner.secret, sibling):  # apps share their organization's credit
        assert left in (await gateway.get("/partner/balance", key)).text


async def test_request_ids_are_taken_over_where_they_are_harmless(gateway: Deployment, partner: Partner) -> None:
    answer = await gateway.get("/partner/message/x", partner.secret, X_Request_Id="order-1:2.a_b")
    assert answer.headers["X-Request-Id"] == "order-1:2.a_b"
    for odd in ("a b", "x" * 101, "<script>", "é", ""):
        answer = await gateway.get("/partner/message/x", partner.secret, X_Request_Id=odd)
        assert answer.headers["X-Request-Id"] not in (odd, "")
