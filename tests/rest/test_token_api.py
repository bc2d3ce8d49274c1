"""The token API: `{id, status}` at once, for every enabled channel, a stranger's too."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest
from deployment import TO, Deployment, RunDeployment
from fake_channel import FakeChannel
from waypost.plugin import Content
from world import Partner

_ID = re.compile(r"msg_[0-9a-f]{32}")


class AcmeNote(Content):
    """A stranger's kind of content."""

    kind: Literal["acme.note"] = "acme.note"
    note: str
    pinned: bool = False


def acme() -> FakeChannel:
    """A stranger's channel, which sends nothing but notes."""
    info = {"content_kinds": frozenset({"acme.note"}), "content_models": (AcmeNote,), "title": "Acme Notes"}
    return FakeChannel(name="acme_notes", channel="ACME_NOTES", info=info)


@pytest.mark.postgres
async def test_a_send_is_answered_at_once(gateway: Deployment, partner: Partner) -> None:
    answer = await gateway.token(partner.secret, body={"to": "+15551234567", "text": "Hi from Inno Message"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json
    assert body.keys() == {"id", "status"}
    assert _ID.fullmatch(body["id"])
    assert body["status"] == "queued"
    await gateway.settle()
    message = (await gateway.get(f"/partner/message/{body['id']}", partner.secret)).json["data"]
    assert (message["status"], message["cost"]) == ("DELIVERED", 0.12)
    assert gateway.simulators["sms_twilio"].journal[0].fields["Body"] == "Hi from Inno Message"


async def test_it_does_not_wait_for_a_provider(gateway: Deployment, partner: Partner) -> None:
    answer = await gateway.token(partner.secret, body={"to": "+15005550116", "text": "x"})
    assert answer.json["status"] == "queued"


async def test_a_repeated_request_tells_how_far_it_came(gateway: Deployment, partner: Partner) -> None:
    first = await gateway.token(partner.secret, Idempotency_Key="k")
    await gateway.settle()
    again = await gateway.token(partner.secret, Idempotency_Key="k")
    assert again.json == {"id": first.json["id"], "status": "sent"}
    assert again.headers["Idempotency-Replayed"] == "true"
    other = await gateway.token(partner.secret, body={"to": TO, "text": "other"}, Idempotency_Key="k")
    assert other.told == (422, "idempotency_key_reused")
    elsewhere = await gateway.send(partner.secret, Idempotency_Key="k")
    assert elsewhere.told == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_a_repeated_request_that_failed_does_not_claim_to_be_sent(gateway: Deployment, partner: Partner) -> None:
    body = {"to": "+15005550107", "text": "x"}
    await gateway.token(partner.secret, body=body, Idempotency_Key="k")
    await gateway.settle()
    assert (await gateway.token(partner.secret, body=body, Idempotency_Key="k")).json["status"] == "queued"


async def test_whatsapp_texts_and_templates(gateway: Deployment, partner: Partner) -> None:
    """A text needs an open conversation; where nothing is known of one, the provider decides."""
    text = await gateway.token(partner.secret, "whatsapp", {"to": "+15551234567", "type": "text", "text": "Shipped 📦"})
    assert text.status == 200, text.text
    template = await gateway.token(
        partner.secret,
        "whatsapp",
        {"to": TO, "type": "template", "template_id": "HX" + "1" * 32, "variables": {"1": "Ada", "2": 7}},
    )
    assert template.status == 200
    await gateway.settle()
    sent = {entry.fields["To"]: entry.fields for entry in gateway.simulators["whatsapp_twilio"].journal}
    assert sent["whatsapp:+15551234567"]["Body"] == "Shipped 📦"
    assert sent[f"whatsapp:{TO}"]["ContentVariables"] == '{"1":"Ada","2":"7"}'


@pytest.mark.parametrize(
    ("body", "kind", "fields"),
    [
        ({"type": "text", "text": "a"}, "text", {"body": "a"}),
        ({"type": "text", "text": {"body": "a", "preview_url": True}}, "text", {"body": "a", "preview_url": True}),
        ({"text": "a", "media_url": "https://a.example/x.pdf"}, "document", {"caption": "a"}),
        ({"type": "video", "media_url": "https://a.example/x"}, "video", {"url": "https://a.example/x"}),
        ({"type": "image", "image": {"url": "https://a.example/x"}}, "image", {"url": "https://a.example/x"}),
        ({"type": "location", "location": {"latitude": 1.5, "longitude": 2}}, "location", {"latitude": 1.5}),
    ],
)
async def test_a_type_says_what_it_holds(
    run: RunDeployment, body: dict[str, Any], kind: str, fields: dict[str, Any]
) -> None:
    fake = FakeChannel(info={"content_kinds": frozenset({"text", "document", "video", "image", "location"})})
    gateway = await run([], [fake])
    partner = await gateway.newcomer()
    answer = await gateway.token(partner.secret, body={"to": TO} | body)
    assert answer.status == 200, answer.text
    await fake.called(1)
    content = fake.sent[0].message.content
    assert content.kind == kind
    assert content.model_dump() | fields == content.model_dump()


@pytest.mark.parametrize(
    "body",
    [
        {"type": "image", "image": {"url": "https://a.example/x"}, "text": "a caption"},
        {"type": "email", "email": {"html": "<p>a</p>"}, "subject": "Hello"},
        {"type": "email", "email": {"subject": "Hello", "text": "a"}, "html": "<p>a</p>"},
        {"type": "template", "template": {"template_id": "t"}, "variables": {"1": "Ada"}},
        {"type": "template", "template": {"template_id": "t"}, "language": "en"},
        {"type": "template", "template": {"template_id": "t"}, "template_id": "u"},
        {"type": "text", "text": {"body": "a"}, "media_url": "https://a.example/x"},
    ],
)
async def test_content_given_twice_is_refused(run: RunDeployment, body: dict[str, Any]) -> None:
    """What stands beside a kind's own object would be lost, and the answer would still be 200."""
    gateway = await run([], [FakeChannel(info={"content_kinds": frozenset({"text", "image", "template", "email"})})])
    partner = await gateway.newcomer()
    answer = await gateway.token(partner.secret, body={"to": TO} | body)
    assert answer.told == (400, "validation_error")
    assert f"{body['type']}: " in answer.json["message"]


async def test_one_endpoint_takes_metas_three_channels(run: RunDeployment) -> None:
    fakes = [FakeChannel(name=name.lower(), channel=name) for name in ("WHATSAPP", "MESSENGER", "INSTAGRAM")]
    gateway = await run([], fakes)
    partner = await gateway.newcomer()
    for fake in fakes:
        body = {"to": TO, "text": "x", "channel": fake.channel.lower()}
        assert (await gateway.token(partner.secret, "whatsapp", body)).status == 200
        await fake.called(1)
    assert (await gateway.token(partner.secret, "whatsapp", {"to": TO, "text": "x"})).status == 200
    await fakes[0].called(2)
    assert (await gateway.token(partner.secret, "messenger", {"to": TO, "text": "x"})).status == 200
    await fakes[1].called(2)
    refused = await gateway.token(partner.secret, "messenger", {"to": TO, "text": "x", "channel": "WHATSAPP"})
    assert refused.told == (400, "validation_error")


@pytest.mark.postgres
@pytest.mark.parametrize("endpoint", ["acme-notes", "acme_notes", "ACME-NOTES"])
async def test_a_strangers_channel_has_its_endpoint(run: RunDeployment, endpoint: str) -> None:
    fake = acme()
    gateway = await run(["sms_twilio"], [fake])
    partner = await gateway.newcomer()
    body = {"to": TO, "type": "acme.note", "acme.note": {"note": "Buy milk", "pinned": True}}
    answer = await gateway.token(partner.secret, endpoint, body)
    assert answer.status == 200, answer.text
    await fake.called(1)
    assert fake.sent[0].message.content == AcmeNote(note="Buy milk", pinned=True)
    await gateway.settle()


async def test_a_strangers_content_is_validated_by_its_own_model(run: RunDeployment) -> None:
    fake = acme()
    gateway = await run([], [fake])
    partner = await gateway.newcomer()
    rows = await gateway.rows()
    for note in ({}, {"note": 1}, {"note": "x", "colour": "red"}):
        answer = await gateway.token(partner.secret, "acme-notes", {"to": TO, "type": "acme.note", "acme.note": note})
        assert answer.told == (400, "validation_error"), note
    text = await gateway.token(partner.secret, "acme-notes", {"to": TO, "text": "x"})
    assert text.told == (400, "validation_error")
    assert "acme.note" in text.json["message"]
    assert await gateway.rows() == rows


@pytest.mark.postgres
async def test_a_strangers_content_goes_by_the_partner_api(run: RunDeployment) -> None:
    fake = acme()
    gateway = await run([], [fake])
    partner = await gateway.newcomer()
    content = {"kind": "acme.note", "note": "Buy milk"}
    answer = await gateway.send(
        partner.secret, body={"request": {"channel": "ACME_NOTES", "to": TO, "content": content}}
    )
    assert (answer.status, answer.json["data"]["channel"], answer.json["data"]["status"]) == (200, "ACME_NOTES", "SENT")
    assert fake.sent[0].message.content == AcmeNote(note="Buy milk")
