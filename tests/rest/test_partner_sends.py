"""The partner API's sends: the success envelope, the wait for the verdict, and what it says when there is none."""

from __future__ import annotations

import asyncio
import time

import pytest
from deployment import Deployment, RunDeployment
from fake_channel import FakeChannel
from waypost.config import Config
from waypost.plugin import OutboundMessage, SendResult
from waypost.plugin.types import Context
from world import Partner


@pytest.mark.postgres
async def test_a_send_answers_sent_with_its_cost(gateway: Deployment, partner: Partner) -> None:
    answer = await gateway.send(partner.secret, {"to": "+1234567890"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json
    message_id = body["data"].pop("messageId")
    assert message_id.startswith("msg_")
    assert body == {
        "success": True,
        "message": "Message sent successfully.",
        "data": {"recipient": "+1234567890", "channel": "SMS", "status": "SENT", "cost": 0.12, "currency": "SGD"},
    }
    assert '"cost":0.12,' in answer.text


async def test_a_whatsapp_template_goes_as_the_document_shows(gateway: Deployment, partner: Partner) -> None:
    request = {
        "channel": "WHATSAPP",
        "to": "+1234567890",
        "from": "+1234567890",
        "templateId": "HXf8aa5a783ac6df54b1d28473f2de4c75",
        "templateVariables": {"1": "OTP_CODE"},
    }
    answer = await gateway.send(partner.secret, body={"request": request})
    assert (answer.status, answer.json["data"]["status"], answer.json["data"]["channel"]) == (200, "SENT", "WHATSAPP")
    sent = gateway.simulators["whatsapp_twilio"].journal[-1].fields
    assert (sent["To"], sent["From"], sent["ContentSid"], sent["ContentVariables"]) == (
        "whatsapp:+1234567890",
        "whatsapp:+1234567890",
        "HXf8aa5a783ac6df54b1d28473f2de4c75",
        '{"1":"OTP_CODE"}',
    )


async def test_an_sms_template_goes_as_the_document_shows(gateway: Deployment, partner: Partner) -> None:
    request = {
        "channel": "SMS",
        "to": "+1234567890",
        "senderId": "Pathomics",
        "templateId": "HXf8aa5a783ac6df54b1d28473f2de4c75",
        "templateVariables": {"1": "OTP_CODE"},
    }
    answer = await gateway.send(partner.secret, body={"request": request})
    assert (answer.status, answer.json["data"]["status"]) == (200, "SENT")
    assert gateway.simulators["sms_twilio"].journal[-1].fields["From"] == "Pathomics"


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("micros", "shown"),
    [(120_000, "0.12"), (1, "0.000001"), (12_345_678_901, "12345.678901"), (3_000_000, "3"), (0, "0")],
)
async def test_the_cost_is_exact_to_the_micro(gateway: Deployment, micros: int, shown: str) -> None:
    partner = await gateway.newcomer(price=micros, credit_micros=10**14)
    answer = await gateway.send(partner.secret)
    assert f'"cost":{shown},' in answer.text
    details = await gateway.get(f"/partner/message/{answer.json['data']['messageId']}", partner.secret)
    assert f'"cost":{shown},' in details.text
    balance = await gateway.get("/partner/balance", partner.secret)
    left = f"{100_000_000_000_000 - micros:09d}"
    assert f'"available":{left[:-6]}.{left[-6:]}'.rstrip("0").rstrip(".") in balance.text


async def test_a_refused_send_is_accepted_and_failed(gateway: Deployment, partner: Partner) -> None:
    answer = await gateway.send(partner.secret, {"to": "+15005550107"})
    assert (answer.status, answer.json["success"]) == (200, True)
    assert answer.json["message"] == "Message accepted but could not be sent."
    assert answer.json["data"]["status"] == "FAILED"
    assert answer.json["data"]["cost"] == 0
    details = (await gateway.get(f"/partner/message/{answer.json['data']['messageId']}", partner.secret)).json["data"]
    assert details["error"]["code"] == "INVALID_RECIPIENT"


async def test_what_may_have_been_sent_is_unknown(gateway: Deployment, partner: Partner) -> None:
    answer = await gateway.send(partner.secret, {"to": "+15005550118"})
    assert answer.json["data"]["status"] == "UNKNOWN"
    assert answer.json["data"]["cost"] == 0.12
    assert answer.json["message"] == "Message accepted; whether it was sent is not known yet."


# ---- waiting


class Slow(FakeChannel):
    """A provider that answers when it is released."""

    release: asyncio.Event

    async def held(self, ctx: Context, message: OutboundMessage) -> SendResult:
        await self.release.wait()
        return SendResult(provider_ids=("slow",))


@pytest.fixture
def slow() -> Slow:
    channel = Slow()
    channel.release = asyncio.Event()
    channel.on("*", channel.held)
    return channel


async def _timed(gateway: Deployment, partner: Partner, **headers: str) -> tuple[float, str, str | None]:
    began = time.monotonic()
    answer = await gateway.send(partner.secret, **headers)
    assert answer.status == 200
    status = answer.json["data"]["status"]
    return time.monotonic() - began, status, answer.headers.get("Preference-Applied")


async def test_a_hanging_provider_leaves_it_queued_after_two_seconds(run: RunDeployment, slow: Slow) -> None:
    gateway = await run([], [slow], wait=Config.model_fields["wait"].default)
    partner = await gateway.newcomer()
    took, status, applied = await _timed(gateway, partner)
    assert (status, applied) == ("QUEUED", None)
    assert 1.9 <= took < 15
    slow.release.set()


async def test_a_caller_says_how_long_to_wait(run: RunDeployment, slow: Slow) -> None:
    gateway = await run([], [slow], max_wait=0.3)
    partner = await gateway.newcomer()
    assert (await _timed(gateway, partner, Prefer="respond-async"))[1:] == ("QUEUED", "respond-async")
    assert (await _timed(gateway, partner, Prefer="wait=0"))[1:] == ("QUEUED", "wait=0")
    took, status, applied = await _timed(gateway, partner, Prefer="handling=lenient, wait=30")
    assert (status, applied) == ("QUEUED", "wait=0.3")
    assert took >= 0.25
    took, status, applied = await _timed(gateway, partner, Prefer="respond-async, wait=1")
    assert (status, applied) == ("QUEUED", "respond-async, wait=0.3")
    assert took >= 0.25
    slow.release.set()


async def test_a_wait_ends_with_the_verdict(run: RunDeployment, slow: Slow) -> None:
    gateway = await run([], [slow])
    partner = await gateway.newcomer()
    waiting = asyncio.create_task(_timed(gateway, partner, Prefer="wait=25"))
    await slow.called(1)
    slow.release.set()
    took, status, applied = await waiting
    assert (status, applied) == ("SENT", "wait=25")
    assert took < 20


async def test_the_answer_tells_the_verdict_even_where_a_receipt_is_quicker(
    gateway: Deployment, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = gateway.node.verdicts.wait

    async def late(message_id: str, seconds: float) -> object:
        verdict = await wait(message_id, seconds)
        await gateway.settle()
        return verdict

    monkeypatch.setattr(gateway.node.verdicts, "wait", late)
    answer = await gateway.send(partner.secret, {"to": "+1234567890"})
    data = answer.json["data"]
    assert (data["status"], data["cost"], answer.json["message"]) == ("SENT", 0.12, "Message sent successfully.")
    monkeypatch.undo()
    shown = await gateway.get(f"/partner/message/{data['messageId']}", partner.secret)
    assert shown.json["data"]["status"] == "DELIVERED"


async def test_an_odd_preference_is_ignored(gateway: Deployment, partner: Partner) -> None:
    for odd in ("await=0", "wait", "wait=", "wait=-1", "wait=1.5", "wait=\u0663", "respond-asynchronously", ",;,", ""):
        took, status, applied = await _timed(gateway, partner, Prefer=odd)
        # The receipt may come even before what the provider answers.
        assert status in ("SENT", "DELIVERED"), odd
        assert applied is None
        assert took < 20


# ---- repeating


@pytest.mark.postgres
async def test_a_repeated_request_is_answered_with_the_first_message(gateway: Deployment, partner: Partner) -> None:
    first = await gateway.send(partner.secret, Idempotency_Key="order-1")
    assert "Idempotency-Replayed" not in first.headers
    await gateway.settle()
    rows = await gateway.rows()
    again = await gateway.send(partner.secret, Idempotency_Key="order-1")
    assert again.status == 200
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json["data"]["messageId"] == first.json["data"]["messageId"]
    assert again.json["data"]["status"] == "DELIVERED"
    other = await gateway.send(partner.secret, {"content": "another"}, Idempotency_Key="order-1")
    assert other.told == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await gateway.rows() == rows
    assert len(gateway.simulators["sms_twilio"].journal) == 1


async def test_requests_repeated_at_once_make_one_message(gateway: Deployment, partner: Partner) -> None:
    answers = await asyncio.gather(*(gateway.send(partner.secret, Idempotency_Key="k") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json["data"]["messageId"] for answer in answers}) == 1
    assert len(gateway.simulators["sms_twilio"].journal) == 1


async def test_idempotency_keys_are_each_apps_own(gateway: Deployment, partner: Partner) -> None:
    other = await gateway.newcomer()
    first = await gateway.send(partner.secret, Idempotency_Key="k")
    second = await gateway.send(other.secret, Idempotency_Key="k")
    assert first.json["data"]["messageId"] != second.json["data"]["messageId"]


@pytest.mark.postgres
async def test_a_trials_key_does_not_answer_for_the_real_thing(gateway: Deployment, partner: Partner) -> None:
    app = await gateway.app(partner.org)
    ways = [await gateway.simulated("sms_twilio", mode=mode) for mode in ("live", "test")]
    for way in ways:
        await gateway.rate(way, 45_000, currency="SGD", sku="sms")
    await gateway.route(app, *ways)
    trial, secret = await gateway.key(app, mode="test"), await gateway.key(app)
    first = await gateway.send(trial, Idempotency_Key="order-1")
    real = await gateway.send(secret, Idempotency_Key="order-1")
    assert "Idempotency-Replayed" not in real.headers
    assert first.json["data"]["messageId"] != real.json["data"]["messageId"]
    assert real.json["data"]["cost"] > 0
    for key, earlier in ((trial, first), (secret, real)):
        again = await gateway.send(key, Idempotency_Key="order-1")
        assert again.json["data"]["messageId"] == earlier.json["data"]["messageId"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "schl\u00fcssel"])
async def test_an_odd_idempotency_key_is_refused(gateway: Deployment, partner: Partner, key: str) -> None:
    rows = await gateway.rows()
    answer = await gateway.send(partner.secret, Idempotency_Key=key)
    assert answer.told == (400, "INVALID_REQUEST")
    assert await gateway.rows() == rows


# ---- fallback and options


async def test_a_fallback_step_takes_over(gateway: Deployment, partner: Partner) -> None:
    request = {
        "channel": "WHATSAPP",
        "to": "+15005550107",
        "templateId": "HXf8aa5a783ac6df54b1d28473f2de4c75",
        "fallback": [{"channel": "SMS", "to": "+6591234567", "content": "by SMS"}],
    }
    answer = await gateway.send(partner.secret, body={"request": request}, Prefer="wait=10")
    assert answer.json["data"]["cost"] == 0.24  # held for both
    message_id = answer.json["data"]["messageId"]
    sms = gateway.simulators["sms_twilio"]
    async with asyncio.timeout(10):
        while (details := (await gateway.get(f"/partner/message/{message_id}", partner.secret)).json["data"])[
            "status"
        ] != "DELIVERED":
            await gateway.settle()
    assert [entry.recipient for entry in sms.journal] == ["+6591234567"]
    assert (details["cost"], details["settled"]) == (0.12, True)
