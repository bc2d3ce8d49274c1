"""The OpenAPI document: pinned, true of what is answered, and with a stranger's content in it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

import jsonschema_rs
import pytest
import schemathesis
from deployment import TO, Deployment, RunDeployment
from fake_channel import FakeChannel
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from waypost import __version__
from waypost.plugin import Content
from world import Partner

PINNED = Path(__file__).parent / "openapi.json"


class AcmeNote(Content):
    """A stranger's kind of content."""

    kind: Literal["acme.note"] = "acme.note"
    note: str
    pinned: bool = False


@pytest.fixture
async def gateway(run: RunDeployment) -> Deployment:
    """A gateway with Twilio's SMS and a stranger's channel."""
    info = {"content_kinds": frozenset({"acme.note", "text"}), "content_models": (AcmeNote,)}
    return await run(["sms_twilio"], [FakeChannel(name="acme_notes", channel="ACME_NOTES", info=info)], wait=0)


async def _document(gateway: Deployment) -> dict[str, Any]:
    answer = await gateway.call("GET", "/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json
    return found


async def test_the_document_is_pinned(gateway: Deployment, tmp_path: Path) -> None:
    """A change of the public APIs is made on purpose: look at it, then put it in the pinned document's place."""
    document = await _document(gateway)
    assert document["servers"].pop()["url"] == gateway.url
    assert document["info"].pop("version") == __version__
    found = tmp_path / "openapi.json"
    found.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert document == json.loads(PINNED.read_text(encoding="utf-8")), f"if this is meant: cp {found} {PINNED}"


async def test_a_strangers_content_is_described(gateway: Deployment) -> None:
    document = await _document(gateway)
    assert "/api/send-acme_notes.php" in document["paths"]
    schemas = document["components"]["schemas"]
    assert schemas["TokenMessage.ACME_NOTES"]["properties"]["acme.note"] == {"$ref": "#/components/schemas/AcmeNote"}
    assert schemas["AcmeNote"]["required"] == ["note"]
    assert "acme.note" not in schemas["TokenMessage.SMS"]["properties"]


def _validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for(schema | {"components": document["components"]})


async def test_every_schema_is_one(gateway: Deployment) -> None:
    document = await _document(gateway)
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        _validator(document, {"$ref": f"#/components/schemas/{name}"})


async def test_requests_that_are_accepted_are_described(gateway: Deployment) -> None:
    document = await _document(gateway)
    partner = await gateway.newcomer()
    envelope = _validator(document, {"$ref": "#/components/schemas/PartnerRequest"})
    token = _validator(document, {"$ref": "#/components/schemas/TokenMessage.ACME_NOTES"})
    for request, good in (
        ({"channel": "SMS", "to": TO, "content": "x"}, True),
        ({"channel": "SMS", "to": TO, "content": {"kind": "text", "body": "x"}}, True),
        ({"channel": "ACME_NOTES", "to": TO, "content": {"kind": "acme.note", "note": "x"}}, True),
        ({"channel": "ACME_NOTES", "to": TO, "content": {"kind": "acme.note"}}, False),
        ({"channel": "SMS", "to": TO, "content": {"kind": "pigeon"}}, False),
        ({"channel": "SMS", "to": TO, "content": "x", "colour": "red"}, False),
        ({"channel": "SMS", "to": 1, "content": "x"}, False),
    ):
        assert envelope.is_valid({"request": request}) is good, request
        answer = await gateway.send(partner.secret, body={"request": request})
        assert (answer.status == 200) is good, answer.text
    for body, good in (
        ({"to": TO, "text": "x"}, True),
        ({"to": TO, "type": "acme.note", "acme.note": {"note": "x"}}, True),
        ({"to": TO, "type": "acme.note", "acme.note": {}}, False),
        ({"to": TO, "type": "pigeon", "text": "x"}, False),
    ):
        assert token.is_valid(body) is good, body
        answer = await gateway.token(partner.secret, "acme-notes", body)
        assert (answer.status == 200) is good, answer.text


async def test_every_described_path_is_served_and_wants_a_key(gateway: Deployment) -> None:
    document = await _document(gateway)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answer = await gateway.call(method.upper(), path.replace("{messageId}", "x"), data=b"{}")
            assert answer.told[0] == 401
            schema = operation["responses"]["401"]["content"]["application/json"]["schema"]
            assert _validator(document, schema).is_valid(answer.json)


@pytest.mark.postgres
async def test_what_is_answered_is_what_is_described(gateway: Deployment) -> None:
    """Schemathesis makes requests from the document, a bounded number for each operation."""
    partner: Partner = await gateway.newcomer()
    await gateway.send(partner.secret)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    headers = {"x-api-key": partner.secret, "Authorization": f"Bearer {partner.secret}"}

    def walk() -> int:
        schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        for operation in operations:

            @settings(
                max_examples=15,
                deadline=None,
                database=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def ask(case: Any) -> None:
                response = case.call(base_url=gateway.url, headers=headers)
                case.validate_response(response, checks=checks)

            ask()
        return len(operations)

    assert await asyncio.to_thread(walk) == 6
    await gateway.settle()
    assert await gateway.books_balance()
