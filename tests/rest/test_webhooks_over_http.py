"""Providers' webhooks over HTTP: signed, forged, doubled, to the right and the wrong place."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from deployment import TO, Answer, Deployment
from sqlalchemy import select
from waypost.plugin import WebhookRequest
from waypost.store.database import StoreUnavailableError
from waypost.store.tables import delivery, inbound_message
from waypost_sms_twilio.signature import sign
from world import Partner

HELD_BACK = "+15005550121"


class Receipts:
    """A message whose receipts the simulator holds back, and ways to deliver them."""

    def __init__(self, gateway: Deployment, partner: Partner, message_id: str) -> None:
        self.gateway, self.partner, self.message_id = gateway, partner, message_id
        self.twilio: Any = gateway.simulators["sms_twilio"]
        self.requests = list(self.twilio._late)

    @property
    def delivered(self) -> WebhookRequest:
        return next(item for item in self.requests if b"delivered" in item.body)

    async def post(
        self, request: WebhookRequest, *, url: str | None = None, body: bytes | None = None, **headers: str
    ) -> Answer:
        given = dict(request.headers) | {name.lower().replace("_", "-"): value for name, value in headers.items()}
        path = (url or request.url).removeprefix(self.gateway.url)
        answer = await self.gateway.call(
            request.method, path, data=request.body if body is None else body,
            headers={name: value for name, value in given.items() if value},
        )  # fmt: skip
        await self.gateway.node.inbox.drain()
        return answer

    def signed(self, url: str, form: Mapping[str, str], method: str = "POST") -> WebhookRequest:
        """A delivery signed by Twilio's rules, to any URL, by GET as well."""
        token = self.twilio.account_settings()["auth_token"]
        if method == "GET":
            url = f"{url}?{urlencode(form)}"
            return WebhookRequest(method="GET", url=url, headers=(("x-twilio-signature", sign(token, url)),))
        headers = (
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-twilio-signature", sign(token, url, form.items())),
        )
        return WebhookRequest(method="POST", url=url, headers=headers, body=urlencode(form).encode())

    async def status(self) -> str:
        answer = await self.gateway.get(f"/partner/message/{self.message_id}", self.partner.secret)
        return str(answer.json["data"]["status"])

    async def deliveries(self) -> int:
        return (await self.gateway.rows())["delivery"]


@pytest.fixture
async def receipts(gateway: Deployment, partner: Partner) -> Receipts:
    answer = await gateway.send(partner.secret, {"to": HELD_BACK})
    assert answer.json["data"]["status"] == "SENT"
    return Receipts(gateway, partner, answer.json["data"]["messageId"])


@pytest.mark.postgres
async def test_a_signed_receipt_is_applied_once_however_often_it_comes(receipts: Receipts) -> None:
    for _ in range(3):
        for request in (*receipts.requests, *reversed(receipts.requests)):
            answer = await receipts.post(request)
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/xml")
            assert answer.text.endswith("<Response/>")
    assert await receipts.status() == "DELIVERED"
    balance = await receipts.gateway.get("/partner/balance", receipts.partner.secret)
    assert '"balance":99.88,"held":0,' in balance.text
    assert await receipts.gateway.books_balance()


FORGERIES = {
    "none": "",
    "empty base64": "=",
    "another's": sign("another token", "https://gateway.test/"),
    "not ASCII": "sïgnature✓",
    "latin-1": "s\udcefgnature",
    "long": "A" * 4000,
    "a prefix": "A",
}


@pytest.mark.postgres
async def test_a_forged_receipt_gets_one_constant_answer(receipts: Receipts) -> None:
    before = await receipts.gateway.rows()
    genuine = receipts.delivered
    signature = dict(genuine.headers)["x-twilio-signature"]
    answers = [await receipts.post(genuine, X_Twilio_Signature=forged) for forged in FORGERIES.values()]
    answers += [
        await receipts.post(genuine, X_Twilio_Signature=signature.swapcase()),
        await receipts.post(genuine, X_Twilio_Signature=signature + "="),
        await receipts.post(genuine, body=genuine.body + b"&More=1"),
        await receipts.post(genuine, body=genuine.body.replace(b"delivered", b"failed")),
        await receipts.post(genuine, body=b""),
        await receipts.post(genuine, body=b"\xff\x00"),
        await receipts.post(genuine, url=genuine.url + "&x=1"),
        await receipts.post(genuine, url=genuine.url.replace("?ref=", "?ref=x")),
        await receipts.post(genuine, Content_Type="application/json"),
        await receipts.post(genuine, Content_Type="text/plain"),
        await receipts.post(genuine, Host="evil.example", X_Twilio_Signature="x"),
    ]
    assert {(answer.status, answer.text, answer.headers["Content-Type"]) for answer in answers} == {
        (401, "unauthorized", "text/plain")
    }
    assert len({tuple(sorted(set(answer.headers) - {"Date"})) for answer in answers}) == 1
    assert await receipts.status() == "SENT"
    assert await receipts.gateway.rows() == before


async def test_what_was_signed_is_our_public_url_whatever_the_host_says(receipts: Receipts) -> None:
    answer = await receipts.post(receipts.delivered, Host="evil.example", X_Forwarded_Host="evil.example")
    assert answer.status == 200
    assert await receipts.status() == "DELIVERED"


async def test_another_gateways_token_does_not_sign_for_this_one(receipts: Receipts) -> None:
    """Two accounts on one plugin: the URL names one, and only its own token counts."""
    gateway = receipts.gateway
    other = await gateway.gateway(
        type("Named", (), {"name": "sms_twilio", "channel": "SMS"})(), settings=f'{{"account_sid": "AC{"a" * 32}"}}'
    )
    sealed = gateway.node.vault.seal('{"auth_token": "another"}', f"gateway/{other.id}")
    await gateway.change(other, secrets=sealed)
    url = receipts.delivered.url.replace(receipts.partner.gateways[0].id, other.id)
    assert url != receipts.delivered.url
    ours = receipts.signed(url, dict(parse_qsl(receipts.delivered.body.decode())))
    assert (await receipts.post(ours)).status == 401
    assert await receipts.status() == "SENT"


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/sms_twilio/gw_" + "0" * 32,
        "/webhooks/sms_twilio/x",
        "/webhooks/sms_twilio/%00",
        "/webhooks/nope",
        "/webhooks/nope/gw_" + "0" * 32,
    ],
)
async def test_an_unknown_gateway_is_not_found(receipts: Receipts, path: str) -> None:
    before = await receipts.deliveries()
    for method in ("GET", "POST"):
        answer = await receipts.gateway.call(method, path, data=b"x=1" if method == "POST" else None)
        assert (answer.status, answer.text) == (404, "not found")
    assert await receipts.deliveries() == before


async def test_a_gateway_of_another_plugin_is_not_found(receipts: Receipts) -> None:
    url = receipts.delivered.url.replace("/sms_twilio/", "/whatsapp_twilio/")
    assert (await receipts.post(receipts.delivered, url=url)).status == 404


@pytest.mark.postgres
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_documents_own_webhook_url(receipts: Receipts, method: str) -> None:
    """`/api/webhook.php` takes Twilio's statuses; the plugin recognises its own."""
    form = dict(parse_qsl(receipts.delivered.body.decode()))
    path = urlsplit(receipts.delivered.url)
    url = f"{receipts.gateway.url}/api/webhook.php"
    genuine = receipts.signed(url, form, method)
    forged = WebhookRequest(
        method=genuine.method, url=genuine.url, body=genuine.body,
        headers=(*genuine.headers[:-1], ("x-twilio-signature", "forged")),
    )  # fmt: skip
    refused = await receipts.post(forged)
    assert (refused.status, refused.text) == (401, "unauthorized")
    assert await receipts.status() == "SENT"
    answer = await receipts.post(genuine)
    assert (answer.status, await receipts.status()) == (200, "DELIVERED")
    assert path.query.startswith("ref=")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/webhook.php", b""),
        ("POST", "/api/webhook.php", b"{}"),
        ("POST", "/api/webhook.php", b"MessageSid=SM1&MessageStatus=delivered"),
        ("POST", "/api/webhook.php", b"AccountSid=AC" + b"0" * 32 + b"&MessageStatus=delivered"),
        ("POST", "/api/webhook.php", b"\xff" * 1000),
        ("POST", "/api/webhook-messenger.php", b'{"object":"page"}'),
        ("GET", "/api/webhook.php", None),
        ("GET", "/api/webhook.php?hub.mode=subscribe&hub.challenge=1&hub.verify_token=x", None),
        ("GET", "/api/webhook-messenger.php?hub.mode=subscribe&hub.challenge=1&hub.verify_token=x", None),
    ],
)
async def test_what_nobody_recognises_is_unauthorized(
    receipts: Receipts, method: str, path: str, body: bytes | None
) -> None:
    before = await receipts.deliveries()
    answer = await receipts.gateway.call(method, path, data=body)
    assert (answer.status, answer.text) == (401, "unauthorized")
    assert await receipts.deliveries() == before


@pytest.mark.postgres
async def test_a_store_that_is_down_makes_the_provider_try_again(
    receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(_: object) -> Any:
        raise StoreUnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(receipts.gateway.database, "write", down)
        patch.setattr(receipts.gateway.database, "write_alone", down)
        answer = await receipts.post(receipts.delivered)
        assert (answer.status, answer.text) == (503, "unavailable")
    assert await receipts.status() == "SENT"
    assert (await receipts.post(receipts.delivered)).status == 200
    assert await receipts.status() == "DELIVERED"


@pytest.mark.postgres
@pytest.mark.parametrize("city", ["Zürich".encode(), "Zürich".encode("latin-1"), b"\xed\xa0\x80"])
async def test_a_proxys_header_in_any_encoding_loses_no_receipt(receipts: Receipts, city: bytes) -> None:
    request = receipts.delivered
    parts = urlsplit(request.url)
    lines = [
        f"{request.method} {parts.path}?{parts.query} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: close",
        f"Content-Length: {len(request.body)}",
        *(f"{name}: {value}" for name, value in request.headers),
    ]
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write("\r\n".join(lines).encode() + b"\r\nX-City: " + city + b"\r\n\r\n" + request.body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    await receipts.gateway.node.inbox.drain()
    assert await receipts.status() == "DELIVERED"


async def test_a_gateway_without_secrets_refuses_instead_of_believing(receipts: Receipts) -> None:
    await receipts.gateway.change(receipts.partner.gateways[0], secrets="")
    answer = await receipts.post(receipts.delivered)
    assert (answer.status, answer.text) == (503, "unavailable")


async def test_our_own_fault_is_told_without_particulars(receipts: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("particulars")

    monkeypatch.setattr(receipts.gateway.node.inbox, "receive", broken)
    answer = await receipts.post(receipts.delivered)
    assert (answer.status, answer.text) == (500, "error")


async def test_a_delivery_that_is_too_large_or_compressed(run: Any) -> None:
    gateway = await run(["sms_twilio"], max_webhook_body=100_000)
    partner = await gateway.newcomer()
    path = f"/webhooks/sms_twilio/{partner.gateways[0].id}"
    assert (await gateway.call("POST", path, data=b"x" * 100_001)).status == 413
    assert (await gateway.call("POST", path, data=b"x" * 100_000)).status == 401
    assert (await gateway.call("POST", path, data=b"x", headers={"Content-Encoding": "gzip"})).status == 415


@pytest.mark.postgres
async def test_an_inbound_message_is_stored_for_the_gateway(receipts: Receipts) -> None:
    request = receipts.twilio.inbound("STOP that", sender=TO)
    for _ in range(2):
        assert (await receipts.post(request)).status == 200
    rows = await receipts.gateway.database.read(lambda conn: conn.execute(select(inbound_message.c.gateway_id)).all())
    assert [row[0] for row in rows] == [receipts.partner.gateways[0].id]
    raw = await receipts.gateway.database.read(lambda conn: conn.execute(select(delivery.c.plugin)).all())
    assert {row[0] for row in raw} == {"sms_twilio"}
