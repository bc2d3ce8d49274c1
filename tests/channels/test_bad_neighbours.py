"""One bad event in a provider's batch is kept as it came, and its neighbours are applied, on both databases."""

from __future__ import annotations

import json
import random
import string

import pytest
from deployment import Deployment
from sqlalchemy import Connection, select
from waypost.plugin.signatures import sha256_hex
from waypost.store.gateways import Gateway
from waypost.store.tables import channel_event, delivery, parked_event
from waypost_email_sendgrid.simulator_webhooks import PARSE_AGENT, Signer
from waypost_sms_twilio.signature import sign

ACCOUNT_SID = "AC" + "7" * 32
LONG = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=9000))
#: What JSON's strict readers or the databases refuse, as the value of a field.
BAD = {
    "surrogate": rb'"\ud800"',
    "NUL": rb'"\u0000"',
    "bytes": b'"\xff\xfe"',
    "control": b'"\x01"',
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "too large": b"1e999",
    "huge": b"9" * 400,
    "deep": b"[" * 300 + b"]" * 300,
    "bottomless": b"[" * 2000 + b"]" * 2000,
    "long": json.dumps(LONG).encode(),
}


def with_bad(template: dict[str, object], field: str, bad: bytes) -> bytes:
    """The template as JSON, with a value that no JSON writer would write."""
    return json.dumps({**template, field: "BAD"}).encode().replace(b'"BAD"', bad)


def _field(field: str, name: str) -> str:
    return name if field == "id" else field


async def sendgrid(gateway: Deployment, field: str, bad: bytes) -> tuple[Gateway, int]:
    signer = Signer()
    settings = {"api_key": "SG.x.y", "from_address": "a@shop.test", "event_public_keys": [signer.public_key]}
    row = await gateway.configured("email_sendgrid", settings)
    event = {"event": "delivered", "timestamp": 1794302103, "email": "ada@example.com"}
    first, second = ({**event, "sg_event_id": name, "sg_message_id": f"{name}.recvd"} for name in ("first", "second"))
    middle = with_bad(
        {**event, "sg_event_id": "middle", "sg_message_id": "middle.recvd"}, _field(field, "sg_message_id"), bad
    )
    body = b"[" + b",\r\n".join([json.dumps(first).encode(), middle, json.dumps(second).encode()]) + b"]\r\n"
    path = f"/webhooks/email_sendgrid/{row.id}"
    request = signer.signed(gateway.url + path, body, "application/json", PARSE_AGENT)
    answer = await gateway.call("POST", path, data=body, headers=dict(request.headers))
    return row, answer.status


async def twilio(gateway: Deployment, field: str, bad: bytes) -> tuple[Gateway, int]:
    row = await gateway.configured("sms_twilio", {"account_sid": ACCOUNT_SID, "auth_token": "token"})

    def event(sid: str) -> dict[str, object]:
        data = {"messageSid": sid, "accountSid": ACCOUNT_SID, "to": "+14155550142", "from": "+15005550006"}
        return {"specversion": "1.0", "type": "com.twilio.messaging.message.delivered", "id": sid, "data": data}

    middle = event("middle")
    inner = with_bad(dict(middle["data"]), _field(field, "messageSid"), bad)  # type: ignore[call-overload]
    written = with_bad(middle, "data", inner)
    body = (
        b"[" + b", ".join([json.dumps(event("first")).encode(), written, json.dumps(event("second")).encode()]) + b"]"
    )
    path = f"/webhooks/sms_twilio/{row.id}?bodySHA256={sha256_hex(body)}"
    headers = {"content-type": "application/json", "x-twilio-signature": sign("token", gateway.url + path)}
    answer = await gateway.call("POST", path, data=body, headers=headers)
    return row, answer.status


@pytest.mark.postgres
@pytest.mark.parametrize("provider", [sendgrid, twilio], ids=["sendgrid", "twilio"])
async def test_a_bad_event_is_kept_and_its_neighbours_are_applied(gateway: Deployment, provider) -> None:
    for field in ("new_field", "id"):
        for name, bad in BAD.items():
            row, status = await provider(gateway, field, bad)
            assert status == 200, name
            await gateway.node.inbox.drain()

            def read(conn: Connection, gateway_id: str = row.id) -> tuple[set[str], int, list[str]]:
                receipts = select(parked_event.c.provider_id).where(parked_event.c.gateway_id == gateway_id)
                unknown = select(channel_event.c.data).where(channel_event.c.gateway_id == gateway_id)
                state = select(delivery.c.state).where(delivery.c.gateway_id == gateway_id)
                parked = set(conn.execute(receipts).scalars())
                return parked, len(conn.execute(unknown).all()), list(conn.execute(state).scalars())

            parked, unknown, states = await gateway.database.read(read)
            assert states == ["applied"], (field, name)
            assert {"first", "second"} <= parked, (field, name)
            # The one between is a receipt where its bad field is none that matters, and else is kept as unknown.
            assert len(parked) + unknown == 3, (field, name)
