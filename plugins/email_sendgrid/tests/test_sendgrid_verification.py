"""Whose deliveries are believed."""

from __future__ import annotations

import base64
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waypost.plugin import NoSettings, Recognition, Rejected, SecretStr, Verified, WebhookRequest
from waypost_email_sendgrid.channel import email
from waypost_email_sendgrid.settings import SendGridAccount

FIXTURES = Path(__file__).parent / "fixtures"
EVENTS = sorted(path.name for path in FIXTURES.joinpath("webhooks").glob("*.json"))
SIGNED_MAILS = [
    "inbound_parse_reply.multipart",
    "inbound_parse_attachments_inline_image.multipart",
    "inbound_parse_raw_mime.multipart",
]
UNSIGNED = "inbound_parse_unsigned.multipart"
SIGNATURE, TIMESTAMP = "x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"


def with_headers(request: WebhookRequest, **changes: str | None) -> WebhookRequest:
    headers = {**dict(request.headers), **changes}
    kept = tuple((name, value) for name, value in headers.items() if value is not None)
    return dataclasses.replace(request, headers=kept)


@pytest.mark.parametrize("name", EVENTS + SIGNED_MAILS)
async def test_a_signed_delivery_is_believed(name, delivery, webhook_context) -> None:
    assert isinstance(await email.verify_webhook(webhook_context(), delivery(name)), Verified)


@pytest.mark.parametrize("name", ["batch_lifecycle.json", "inbound_parse_reply.multipart"])
async def test_a_changed_delivery_is_not(name, delivery, webhook_context, account) -> None:
    request = delivery(name)
    other = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfS"
        "mpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
    )
    forged = [
        dataclasses.replace(request, body=request.body + b" "),
        dataclasses.replace(request, body=request.body.rstrip(b"\r\n")),
        dataclasses.replace(request, method="GET"),
        with_headers(request, **{TIMESTAMP: "1794302999"}),
        *(
            with_headers(request, **{SIGNATURE: junk})
            for junk in (None, "", "junk", "%%%", "é", "\udcff", "A" * 100_000, base64.b64encode(b"x" * 70).decode())
        ),
        *(with_headers(request, **{TIMESTAMP: junk}) for junk in (None, "", "now", "١٧", "-1", "1" * 1000, "\udcff")),
    ]
    for one in forged:
        assert isinstance(await email.verify_webhook(webhook_context(), one), Rejected)
    wrong_key = account.model_copy(update={"event_public_keys": (other,), "parse_public_keys": (other,)})
    assert isinstance(await email.verify_webhook(webhook_context(account=wrong_key), request), Rejected)
    rotated = account.model_copy(
        update={
            "event_public_keys": (other, *account.event_public_keys),
            "parse_public_keys": (other, *account.parse_public_keys),
        }
    )
    assert isinstance(await email.verify_webhook(webhook_context(account=rotated), request), Verified)


@pytest.mark.parametrize("name", ["batch_lifecycle.json", "inbound_parse_reply.multipart", UNSIGNED])
async def test_without_a_secret_nothing_is_believed(name, delivery, webhook_context) -> None:
    bare = SendGridAccount(api_key=SecretStr("SG.x.y"))
    empty = SendGridAccount(api_key=SecretStr("SG.x.y"), inbound_secret=SecretStr(""))
    for account in (bare, empty, None, NoSettings()):
        verdict = await email.verify_webhook(webhook_context(account=account), delivery(name))
        assert isinstance(verdict, Rejected)
    keyless = dataclasses.replace(delivery(name), query=(("key", ""),))
    assert isinstance(await email.verify_webhook(webhook_context(account=empty), keyless), Rejected)


async def test_the_sdk_s_own_vector(webhook_context) -> None:
    vector = json.loads(FIXTURES.joinpath("sdk_vector.json").read_text())
    account = SendGridAccount(api_key=SecretStr("SG.x.y"), event_public_keys=(vector["public_key"],))
    signed = ((SIGNATURE, vector["signature"]), (TIMESTAMP, vector["timestamp"]))
    request = WebhookRequest(method="POST", url="https://x", headers=signed, body=vector["body"].encode())
    then = webhook_context(account=account, now=datetime.fromtimestamp(int(vector["timestamp"]) + 60, UTC))
    assert isinstance(await email.verify_webhook(then, request), Verified)
    stripped = dataclasses.replace(request, body=request.body.rstrip(b"\r\n"))
    assert isinstance(await email.verify_webhook(then, stripped), Rejected)
    other = account.model_copy(update={"event_public_keys": (vector["expect"]["other_public_key"]["key"],)})
    assert isinstance(await email.verify_webhook(webhook_context(account=other), request), Rejected)


async def test_an_old_signature_is_refused_after_the_retries(delivery, webhook_context, account) -> None:
    request = delivery("event_delivered.json")
    signed_at = datetime.fromtimestamp(int(request.header(TIMESTAMP) or 0), UTC)
    day = webhook_context(now=signed_at + timedelta(hours=25))
    assert isinstance(await email.verify_webhook(day, request), Verified)
    later = signed_at + timedelta(hours=49)
    assert await email.verify_webhook(webhook_context(now=later), request) == Rejected("the signature is too old")
    ageless = account.model_copy(update={"signature_max_age": 0})
    assert isinstance(await email.verify_webhook(webhook_context(now=later, account=ageless), request), Verified)


async def test_unsigned_mail_proves_itself_by_the_secret(delivery, webhook_context, account) -> None:
    secret = "a-shared-secret-ü"
    with_secret = webhook_context(account=account.model_copy(update={"inbound_secret": SecretStr(secret)}))
    request = delivery(UNSIGNED)

    good = [
        dataclasses.replace(request, query=(("key", secret),)),
        with_headers(request, authorization=basic(secret)),
    ]
    bad = [
        request,
        dataclasses.replace(request, query=(("key", "wrong"),)),
        dataclasses.replace(request, query=(("key", "\udcff"),)),
        dataclasses.replace(request, query=(("other", secret),)),
        with_headers(request, authorization=basic("wrong")),
        with_headers(request, authorization=f"Bearer {secret}"),
        with_headers(request, authorization="Basic %%%"),
        with_headers(request, authorization="Basic é\udcff"),
        with_headers(request, authorization=""),
    ]
    for one in good:
        assert isinstance(await email.verify_webhook(with_secret, one), Verified)
    for one in bad:
        assert isinstance(await email.verify_webhook(with_secret, one), Rejected)


@pytest.mark.parametrize(("user", "good"), [("waypost", True), ("", True), ("waypost:pass", False)])
async def test_a_secret_may_hold_colons(user: str, good: bool, delivery, webhook_context, account) -> None:
    """The user's name ends at the first (RFC 7617), and `https://waypost:pass:word:@…` is such a URL."""
    secret = "pass:word:" if good else "word:"
    known = webhook_context(account=account.model_copy(update={"inbound_secret": SecretStr(secret)}))
    written = f"{user}:{secret}".encode()
    request = with_headers(delivery(UNSIGNED), authorization="Basic " + base64.b64encode(written).decode())
    assert isinstance(await email.verify_webhook(known, request), Verified if good else Rejected)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"waypost:{password}".encode()).decode()


async def test_the_secret_alone_is_enough(delivery, webhook_context) -> None:
    unsigned = delivery(UNSIGNED)
    ctx = webhook_context(account=SendGridAccount(api_key=SecretStr("SG.x.y"), inbound_secret=SecretStr("secret")))
    for good in (
        dataclasses.replace(unsigned, query=(("key", "secret"),)),
        with_headers(unsigned, authorization=basic("secret")),
    ):
        assert isinstance(await email.verify_webhook(ctx, good), Verified)
    assert await email.verify_webhook(ctx, unsigned) == Rejected("wrong inbound secret")


@pytest.mark.parametrize("secret", [None, SecretStr("")])
async def test_where_no_secret_is_set_none_opens(secret, delivery, webhook_context, account) -> None:
    unsigned = delivery(UNSIGNED)
    ctx = webhook_context(account=account.model_copy(update={"inbound_secret": secret}))
    for bad in (
        dataclasses.replace(unsigned, query=(("key", ""),)),
        with_headers(unsigned, authorization=basic("")),
        with_headers(unsigned, authorization="Basic " + base64.b64encode(b"waypost").decode()),
    ):
        assert await email.verify_webhook(ctx, bad) == Rejected("the delivery is not signed")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("event_delivered.json", "no event webhook verification key is configured"),
        ("inbound_parse_reply.multipart", "neither a parse verification key nor an inbound secret is configured"),
    ],
)
async def test_what_is_not_configured_is_told_from_what_is_wrong(
    name: str, reason: str, delivery, webhook_context, account
) -> None:
    """An unconfigured gateway answers 503, so that SendGrid tries again; a stranger gets 401."""
    bare = webhook_context(account=SendGridAccount(api_key=SecretStr("SG.x.y")))
    assert await email.verify_webhook(bare, delivery(name)) == Rejected(reason, unconfigured=True)
    nobody = await email.verify_webhook(webhook_context(account=None), delivery(name))
    assert nobody == Rejected("no account to verify with", unconfigured=True)
    changed = dataclasses.replace(delivery(name), body=delivery(name).body + b" ")
    assert await email.verify_webhook(webhook_context(), changed) == Rejected("wrong signature")
    got = dataclasses.replace(delivery(name), method="GET")
    assert await email.verify_webhook(webhook_context(), got) == Rejected("SendGrid only posts")
    for junk in ("now", "١٧٩٤٣٠٢١٠٣", "1" * 13, "-1"):
        timed = with_headers(delivery(name), **{TIMESTAMP: junk})
        verdict = await email.verify_webhook(webhook_context(), timed)
        assert verdict == Rejected("the signature's time is not a number")


async def test_the_inbound_secret_is_no_key_to_events(delivery, webhook_context) -> None:
    account = SendGridAccount(api_key=SecretStr("SG.x.y"), inbound_secret=SecretStr("secret"))
    request = dataclasses.replace(delivery("event_delivered.json"), query=(("key", "secret"),))
    assert isinstance(await email.verify_webhook(webhook_context(account=account), request), Rejected)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.binary(), signature=st.text(), timestamp=st.text(), kind=st.text(), authorization=st.text())
async def test_verification_never_raises(body, signature, timestamp, kind, authorization, webhook_context) -> None:
    headers = (
        (SIGNATURE, signature), (TIMESTAMP, timestamp), ("content-type", kind), ("authorization", authorization),
    )  # fmt: skip
    request = WebhookRequest(method="POST", url="https://x", headers=headers, query=(("key", kind),), body=body)
    assert isinstance(await email.verify_webhook(webhook_context(), request), Rejected)


def test_its_own_deliveries_are_recognised(delivery) -> None:
    for name in EVENTS + SIGNED_MAILS + [UNSIGNED]:
        assert email.recognize(delivery(name)) == Recognition(None)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"object": "page", "entry": []}'),
        ("application/json", b"[]"),
        ("application/json", b"[1]"),
        ("application/json", b'{"sg_event_id": "x"}'),
        ("application/x-www-form-urlencoded", b"MessageSid=SM1&sg_event_id=x"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--'),
        ("", b""),
    ],
)
def test_others_are_not(kind: str, body: bytes) -> None:
    request = WebhookRequest(method="POST", url="https://x", headers=(("content-type", kind),), body=body)
    assert email.recognize(request) is None
