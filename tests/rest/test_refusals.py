"""Every code of the two APIs, reached over HTTP: the exact envelope, the status, and nothing written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from deployment import PRICE, Answer, Deployment
from sqlalchemy import Connection, text
from waypost.store import apps, gateways, keys, organizations
from waypost.store.database import CommitUnknownError, StoreUnavailableError
from world import Partner

MESSAGE = "msg_" + "0" * 32


@pytest.fixture(params=["partner", "token"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Refused:
    """Sends by one of the APIs, and holds what it says against what it must say."""

    def __init__(self, gateway: Deployment, api: str) -> None:
        self.gateway, self.api = gateway, api

    async def send(self, key: str, channel: str = "SMS", **headers: str) -> Answer:
        if self.api == "partner":
            return await self.gateway.send(key, {"channel": channel}, **headers)
        return await self.gateway.token(key, channel.lower(), **headers)

    async def expect(self, key: str, partner: tuple[int, str], token: tuple[int, str], channel: str = "SMS") -> Answer:
        await self.gateway.settle()
        rows = await self.gateway.rows()
        answer = await self.send(key, channel)
        assert answer.told == (partner if self.api == "partner" else token)
        assert await self.gateway.rows() == rows
        return answer


@pytest.fixture
def refused(gateway: Deployment, api: str) -> Refused:
    return Refused(gateway, api)


@pytest.mark.postgres
async def test_insufficient_credit(refused: Refused, gateway: Deployment) -> None:
    partner = await gateway.newcomer(credit_micros=2 * PRICE)
    assert (await refused.send(partner.secret)).status == 200
    assert (await refused.send(partner.secret)).status == 200
    await refused.expect(partner.secret, (402, "INSUFFICIENT_CREDIT"), (402, "insufficient_balance"))


async def test_a_credit_limit_is_credit(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    def limit(conn: Connection) -> None:
        conn.execute(text("UPDATE balance SET credit_limit = :limit, available = 0, funded = 0"), {"limit": PRICE})

    await gateway.decide(limit)
    assert (await refused.send(partner.secret)).status == 200
    await refused.expect(partner.secret, (402, "INSUFFICIENT_CREDIT"), (402, "insufficient_balance"))


@pytest.mark.postgres
async def test_a_suspended_organization(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    assert (await refused.send(partner.secret)).status == 200  # so that the key is remembered
    await gateway.settle()
    await gateway.decide(lambda conn: organizations.set_status(conn, partner.org.id, "suspended"))
    await refused.expect(partner.secret, (403, "ORG_INACTIVE"), (403, "partner_suspended"))
    read = await gateway.get("/partner/balance", partner.secret)
    assert read.told == (403, "ORG_INACTIVE")
    await gateway.decide(lambda conn: organizations.set_status(conn, partner.org.id, "active"))
    assert (await refused.send(partner.secret)).status == 200


async def test_a_suspended_app(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    assert (await refused.send(partner.secret)).status == 200
    await gateway.settle()
    await gateway.decide(lambda conn: apps.set_status(conn, partner.app.id, "suspended"))
    await refused.expect(partner.secret, (403, "APP_INACTIVE"), (403, "partner_suspended"))
    read = await gateway.get("/partner/messages", partner.secret)
    assert read.told == (403, "APP_INACTIVE")


async def test_an_app_or_organization_that_is_gone(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    """The schema forbids it; a restored or repaired database may still hold a key that outlived its owner."""

    def orphan(statement: str) -> None:
        from pysqlite3 import dbapi2

        path = gateway.database.url.removeprefix("sqlite:///")
        with dbapi2.connect(path) as conn:  # foreign keys are off unless a connection asks for them
            conn.execute(statement)
        conn.close()

    orphan("UPDATE app SET org_id = 'org_gone'")
    await refused.expect(partner.secret, (404, "ORG_NOT_FOUND"), (401, "unauthorized"))
    orphan("DELETE FROM app")
    await refused.expect(partner.secret, (404, "APP_NOT_FOUND"), (401, "unauthorized"))


KEYS = {
    "missing": None,
    "empty": "",
    "unknown": "ak_live_" + "x" * 43,
    "a prefix of a good one": "ak_live_",
    "long": "ak_live_" + "x" * 5000,
    "not ASCII": "ak_live_schlüssel✓",
    "latin-1": "ak_live_schl\udcfcssel",
    "with a NUL escape": "ak_live_%00",
}


@pytest.mark.parametrize("name", KEYS)
async def test_a_key_that_is_nobodys(refused: Refused, gateway: Deployment, partner: Partner, name: str) -> None:
    rows = await gateway.rows()
    key = KEYS[name]
    if refused.api == "partner":
        headers = {} if key is None else {"x-api-key": key}
        for method, path in (
            ("POST", "/partner/message/send"),
            ("GET", f"/partner/message/{MESSAGE}"),
            ("GET", "/partner/messages"),
            ("GET", "/partner/balance"),
        ):
            answer = await gateway.call(method, path, headers=headers, data=b"{}" if method == "POST" else None)
            assert answer.told == (401, "UNAUTHORIZED")
    else:
        for headers in (
            ({}, {"Authorization": f"Bearer {key}"}) if key is None else ({"Authorization": f"Bearer {key}"},)
        ):
            answer = await gateway.call("POST", "/api/send-sms.php", headers=headers, data=b"{}")
            assert answer.told == (401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert await gateway.rows() == rows


@pytest.mark.parametrize("header", ["Basic {}", "{}", "bearer", "Bearer", "Bearer  ", "Token {}", "Bearer\t{}"])
async def test_other_schemes_are_refused(gateway: Deployment, partner: Partner, header: str) -> None:
    answer = await gateway.call(
        "POST", "/api/send-sms.php", headers={"Authorization": header.format(partner.secret)}, data=b"{}"
    )
    assert answer.told == (401, "unauthorized")


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER   {} "])
async def test_the_scheme_is_read_as_http_has_it(gateway: Deployment, partner: Partner, header: str) -> None:
    answer = await gateway.call(
        "POST",
        "/api/send-sms.php",
        headers={"Authorization": header.format(partner.secret)},
        data=b'{"to":"+6591234567","text":"hi"}',
    )
    assert answer.status == 200


@pytest.mark.postgres
async def test_a_revoked_key_is_refused_from_the_next_request_on(
    refused: Refused, gateway: Deployment, partner: Partner
) -> None:
    assert (await refused.send(partner.secret)).status == 200
    await gateway.settle()

    def revoke(conn: Connection) -> None:
        (row, _), *_ = keys.all_of_them(conn)
        keys.revoke(conn, row.id, gateway.clock.now())

    await gateway.database.write(revoke)  # behind the node's back, as another node would
    await refused.expect(partner.secret, (401, "UNAUTHORIZED"), (401, "unauthorized"))
    # A body that is wrong as well tells no more than that.
    wrong = await gateway.send(partner.secret, body=b"nonsense")
    assert wrong.told == (401, "UNAUTHORIZED")


async def test_an_expired_key(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    expired = await gateway.key(partner.app, expires_at=gateway.clock.now() - 1)
    await refused.expect(expired, (401, "UNAUTHORIZED"), (401, "unauthorized"))


async def test_a_channel_without_a_route(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    await gateway.decide(lambda conn: conn.execute(text("DELETE FROM route WHERE channel = 'WHATSAPP'")))
    await refused.expect(
        partner.secret, (404, "CHANNEL_CONFIG_NOT_FOUND"), (403, "gateway_not_assigned"), channel="WHATSAPP"
    )


async def test_a_route_whose_gateway_is_disabled(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    await gateway.decide(lambda conn: gateways.set_status(conn, partner.gateways[0].id, "disabled", "gone"))
    await refused.expect(partner.secret, (404, "CHANNEL_CONFIG_NOT_FOUND"), (403, "gateway_not_assigned"))


async def test_a_test_key_without_a_test_gateway(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    secret = await gateway.key(partner.app, mode="test")
    await refused.expect(secret, (404, "CHANNEL_CONFIG_NOT_FOUND"), (403, "gateway_not_assigned"))


async def test_a_route_whose_plugin_is_not_loaded_here(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    await gateway.change(partner.gateways[0], plugin="sms_acme")
    await refused.expect(partner.secret, (503, "SERVICE_UNAVAILABLE"), (503, "service_unavailable"))


async def test_a_destination_without_a_price(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    await gateway.decide(lambda conn: conn.execute(text("DELETE FROM rate")))
    await refused.expect(partner.secret, (404, "CHANNEL_CONFIG_NOT_FOUND"), (403, "gateway_not_assigned"))


async def test_a_gateway_without_secrets(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    await gateway.change(partner.gateways[0], secrets="")
    await refused.expect(partner.secret, (404, "CHANNEL_CREDENTIALS_NOT_FOUND"), (403, "gateway_not_assigned"))


async def test_a_gateway_whose_secrets_cannot_be_opened(
    refused: Refused, gateway: Deployment, partner: Partner
) -> None:
    other = gateway.node.vault.seal('{"auth_token": "t"}', "gateway/another")
    await gateway.change(partner.gateways[0], secrets=other)
    await refused.expect(partner.secret, (404, "CHANNEL_CREDENTIALS_NOT_FOUND"), (403, "gateway_not_assigned"))


async def test_a_channel_that_nobody_serves(refused: Refused, gateway: Deployment, partner: Partner) -> None:
    answer = await refused.expect(
        partner.secret, (400, "VALIDATION_ERROR"), (400, "validation_error"), channel="PIGEON"
    )
    assert "channel: this deployment serves SMS, WHATSAPP" in answer.text


@pytest.mark.postgres
async def test_a_store_that_is_down(
    refused: Refused, gateway: Deployment, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await refused.send(partner.secret)).status == 200
    await gateway.settle()

    async def down(_: object) -> Any:
        raise StoreUnavailableError("gone")

    # First only writes fail, so that the admitting commit is what is refused; then nothing goes.
    for names in (("write", "write_alone"), ("read",)):
        for name in names:
            monkeypatch.setattr(gateway.database, name, down)
        answer = await refused.send(partner.secret)
        assert answer.told == (503, "SERVICE_UNAVAILABLE" if refused.api == "partner" else "service_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    for path in ("/partner/messages", "/partner/balance", f"/partner/message/{MESSAGE}"):
        answer = await gateway.get(path, partner.secret)
        assert answer.told == (503, "SERVICE_UNAVAILABLE")
        assert answer.json["error"] == "This cannot be looked up just now; try again shortly."
        assert int(answer.headers["Retry-After"]) >= 1
    ready = await gateway.call("GET", "/readyz")
    assert (ready.status, ready.json["status"]) == (503, "not ready")
    assert (await gateway.call("GET", "/metrics")).status == 200
    monkeypatch.undo()
    assert (await refused.send(partner.secret)).status == 200


async def test_our_own_fault_is_told_without_particulars(
    refused: Refused, gateway: Deployment, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("particulars")

    monkeypatch.setattr(gateway.node.desk._intake, "prepare", broken)
    answer = await refused.expect(partner.secret, (500, "INTERNAL_ERROR"), (500, "internal_error"))
    assert "particulars" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", "/nope", (404, "NOT_FOUND")),
        ("GET", "/", (404, "NOT_FOUND")),
        ("POST", "/partner", (404, "NOT_FOUND")),
        ("GET", "/api/nope.php", (404, "not_found")),
        ("POST", "/api/send-sms", (404, "not_found")),
        ("GET", "/api/send-sms.php", (405, "method_not_allowed")),
        ("PUT", "/partner/message/send", (405, "METHOD_NOT_ALLOWED")),
        ("DELETE", f"/partner/message/{MESSAGE}", (405, "METHOD_NOT_ALLOWED")),
        ("POST", "/partner/balance", (405, "METHOD_NOT_ALLOWED")),
        ("DELETE", "/api/webhook.php", (405, "method_not_allowed")),
        ("OPTIONS", "/partner/messages", (405, "METHOD_NOT_ALLOWED")),
    ],
)
async def test_a_path_or_method_that_nobody_serves(
    gateway: Deployment, method: str, path: str, told: tuple[int, str]
) -> None:
    answer = await gateway.call(method, path)
    assert answer.told == told
    assert ("Allow" in answer.headers) == (told[0] == 405)


# ---- bodies that are too large


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 10_000):
        yield b" " * 10_000


async def test_a_body_of_300_kilobytes(gateway: Deployment, partner: Partner, api: str) -> None:
    rows = await gateway.rows()
    expected = (413, "PAYLOAD_TOO_LARGE" if api == "partner" else "payload_too_large")
    for body in (b" " * 300_000, _chunks(300_000)):
        if api == "partner":
            answer = await gateway.send(partner.secret, body=body)
        else:
            answer = await gateway.token(partner.secret, body=body)
        assert answer.told == expected
        assert answer.json["error" if api == "partner" else "message"].endswith("send at most 262144 bytes.")
    assert await gateway.rows() == rows


async def test_a_body_just_within_the_limit(gateway: Deployment, partner: Partner) -> None:
    body = b'{"request": {"channel": "SMS", "to": "+6591234567", "content": "hello"}}'
    answer = await gateway.send(partner.secret, body=body + b" " * (256 * 1024 - len(body)))
    assert answer.status == 200
    answer = await gateway.send(partner.secret, body=body + b" " * (256 * 1024 - len(body) + 1))
    assert answer.told == (413, "PAYLOAD_TOO_LARGE")


async def test_a_commit_of_which_nobody_knows(
    refused: Refused, gateway: Deployment, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and a repetition under the same key is the same message."""
    assert (await refused.send(partner.secret)).status == 200
    before = (await gateway.rows())["message"]
    really = gateway.database.write_alone

    async def cut_off(work: Any) -> Any:
        await really(work)
        raise CommitUnknownError(CommitUnknownError.__doc__)

    monkeypatch.setattr(gateway.database, "write_alone", cut_off)
    answer = await refused.send(partner.secret, idempotency_key="once")
    assert answer.told == (503, "ACCEPTANCE_UNKNOWN" if refused.api == "partner" else "acceptance_unknown")
    assert int(answer.headers["Retry-After"]) >= 1
    monkeypatch.undo()
    again = await refused.send(partner.secret, idempotency_key="once")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert (await gateway.rows())["message"] == before + 1


async def test_what_is_accepted_is_never_denied(
    gateway: Deployment, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store goes away between the commit and the look at what the provider said."""
    await gateway.send(partner.secret, {"to": "+1234567890"})
    really = gateway.database.read

    async def read(work: Any) -> Any:
        if "_after_verdict" in work.__qualname__:
            raise StoreUnavailableError("gone")
        return await really(work)

    monkeypatch.setattr(gateway.database, "read", read)
    answer = await gateway.send(partner.secret, {"to": "+1234567890"})
    assert (answer.status, answer.json["data"]["status"]) == (200, "QUEUED")
