"""The documented exchanges, played from cassettes: requests to the letter, answers as SendGrid words them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import vcr
from sendgrid import SendGridAPIClient
from waypost.plugin import (
    AccountBlocked,
    AccountHealth,
    ContentRejected,
    Email,
    InvalidRecipient,
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SendResult,
    TemplateInfo,
    Verified,
)
from waypost_email_sendgrid.channel import email

CASSETTES = Path(__file__).parent / "cassettes"
MESSAGE_ID = "14c5d75ce93mQ7wUfZx1kA"
SIMPLE = Email(subject="s", text="x")


def _without_ours(body: bytes) -> Any:
    mail = json.loads(body)
    for envelope in mail["personalizations"]:
        arguments = envelope.get("custom_args", {})
        for name in ("waypost_ref", "waypost_to"):
            arguments.pop(name, None)
        if not arguments:
            envelope.pop("custom_args", None)
    return mail


def same_mail(one: Any, other: Any) -> None:
    assert _without_ours(one.body) == _without_ours(other.body)


@pytest.fixture
def cassette():
    player = vcr.VCR(
        cassette_library_dir=str(CASSETTES),
        record_mode="none",
        ignore_localhost=True,
        filter_headers=["authorization", "on-behalf-of"],
        filter_query_parameters=["access_token"],
    )
    player.register_matcher("mail", same_mail)

    def play(name: str, *more: str) -> Any:
        return player.use_cassette(f"{name}.yaml", match_on=["method", "uri", *more])

    return play


async def test_a_mail_is_accepted(cassette, context, message, http) -> None:
    with cassette("mail_send_full") as tape:
        result = await email.send(context(http=http), message(SIMPLE))
    assert result == SendResult(provider_ids=(MESSAGE_ID,), status="accepted")
    assert tape.play_count == 1


async def test_a_template_is_accepted(cassette, context, message, http, exchange) -> None:
    documented = exchange("mail_send_dynamic_template")["request"]["body"]
    variables = documented["personalizations"][0]["dynamic_template_data"]
    content = Email(template_id=documented["template_id"], variables=variables)
    options = {"custom_args": {"gw_message_id": "01JC9Q2V8P"}}
    with cassette("mail_send_dynamic_template", "mail"):
        result = await email.send(context(http=http), message(content, options=options))
    assert result.provider_ids == (MESSAGE_ID,)


async def test_the_sandbox_sends_nothing(cassette, context, message, http, account) -> None:
    sandboxed = context(http=http, account=account.model_copy(update={"sandbox": True}))
    with cassette("mail_send_sandbox", "mail"):
        result = await email.send(sandboxed, message(SIMPLE, to="a@example.com"))
    assert result == SendResult(provider_ids=(), status="sent", raw={"sandbox": True})
    # The same answer to a mail that was to be sent proves nothing.
    with cassette("mail_send_sandbox"), pytest.raises(OutcomeUnknown):
        await email.send(context(http=http), message(SIMPLE))


@pytest.mark.parametrize(
    ("name", "expected", "code"),
    [
        ("error_400_bad_to", InvalidRecipient, "invalid_recipient"),
        ("error_400_two_errors", ContentRejected, "invalid_content"),
        ("error_401_bad_key", AccountBlocked, "bad_key"),
        ("error_401_credits_exceeded", AccountBlocked, "credits_exceeded"),
        ("error_403_sender_identity", Misconfigured, "unverified_sender"),
        ("error_403_access_forbidden", AccountBlocked, "access_forbidden"),
        ("error_413_too_large", ContentRejected, "too_large"),
        ("error_429_rate", RateLimited, "rate_limited"),
        ("error_500", OutcomeUnknown, None),
        ("error_503_html", OutcomeUnknown, None),
    ],
)
async def test_a_documented_refusal(name, expected, code, cassette, context, message, http) -> None:
    with cassette(name, "mail") as tape, pytest.raises(expected) as refused:
        await email.send(context(http=http), message(SIMPLE, to="a@example.com"))
    assert type(refused.value) is expected
    assert refused.value.provider_code == code
    assert refused.value.http_status == int(name.split("_")[1])
    assert tape.play_count == 1


async def test_the_rate_limit_s_pause_is_counted_from_now(cassette, context, message, http) -> None:
    with cassette("error_429_rate"), pytest.raises(RateLimited) as limited:
        await email.send(context(http=http), message(SIMPLE))
    assert limited.value.retry_after == max(0.0, 1794302160 - context().now.timestamp())


def test_every_cassette_says_where_it_comes_from() -> None:
    for path in CASSETTES.glob("*.yaml"):
        assert path.read_text().startswith("# Transcribed from documentation, not recorded live"), path.name
        assert "Bearer" not in path.read_text()


async def test_the_account_may_send(cassette, context, http) -> None:
    with cassette("account_ok") as tape:
        assert await email.check_account(context(http=http)) == AccountHealth(state="ok")
    assert tape.play_count == 2


async def test_templates_are_listed(cassette, context, http: aiohttp.ClientSession) -> None:
    with cassette("templates"):
        listed = await email.list_templates(context(http=http))
    assert listed == [
        TemplateInfo(template_id="d-f43daeeaef504760851f727007e0b5d0", name="Order shipped", status="active"),
        TemplateInfo(template_id="d-1111", name="Draft", status="draft"),
    ]


async def test_the_key_that_an_operator_fetches_verifies_what_sendgrid_signed(
    cassette, account, webhook_context, delivery
) -> None:
    """The one documented exchange that the channel leaves to its operator, as SendGrid's own SDK makes it."""
    sdk = SendGridAPIClient("SG.fixtureonly.fixtureonly").client
    webhook = "b413fd05-0000-4000-8000-72b7b10da5e9"
    with cassette("webhook_public_key_get") as tape:
        reply = sdk.user.webhooks.event.settings.signed._(webhook).get()
    assert tape.play_count == 1
    fetched = json.loads(reply.body)
    assert (reply.status_code, fetched["id"]) == (200, webhook)
    for key, verdict in ((fetched["public_key"], Verified), (fetched["public_key"].replace("MFk", "MFj"), Rejected)):
        known = account.model_copy(update={"event_public_keys": (key,)})
        given = await email.verify_webhook(webhook_context(account=known), delivery("event_delivered.json"))
        assert isinstance(given, verdict)
