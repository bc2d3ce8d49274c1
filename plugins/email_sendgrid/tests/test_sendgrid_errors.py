"""Every row of SendGrid's refusals, and what a gateway does with answers that are none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from error_sheets import sheet_cases
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OutcomeUnknown,
    Permanent,
    RateLimited,
)
from waypost.plugin.http import HttpReply
from waypost_email_sendgrid.errors import REFUSALS, refusal

NOW = datetime(2026, 11, 10, 9, 15, tzinfo=UTC)
LEAK = "ada.okafor@example.com"


def answer(status: int, *errors: Any, headers: dict[str, str] | None = None) -> HttpReply:
    return HttpReply(status, headers or {}, json.dumps({"errors": list(errors)}).encode())


def says(message: str = "", field: str | None = None) -> dict[str, Any]:
    return {"message": f"{message} {LEAK}", "field": field, "help": None}


ROWS = [
    (400, says("Does not contain a valid address.", "personalizations.0.to.0.email"), InvalidRecipient,
     "invalid_recipient"),
    (400, says("Does not contain a valid address.", "personalizations.0.to"), InvalidRecipient, "invalid_recipient"),
    (400, says("Does not contain a valid address.", "personalizations.0.cc.1.email"), ContentRejected, "invalid_copy"),
    (400, says("Does not contain a valid address.", "personalizations.0.bcc"), ContentRejected, "invalid_copy"),
    (400, says("The from email does not contain a valid address.", "from.email"), Misconfigured, "invalid_sender"),
    (400, says("not valid", "template_id"), Misconfigured, "invalid_template"),
    (400, says("not valid", "asm.group_id"), Misconfigured, "invalid_group"),
    (400, says("not valid", "ip_pool_name"), Misconfigured, "invalid_pool"),
    (400, says("The subject is required.", "subject"), ContentRejected, "invalid_content"),
    (400, says("required", "content.0.value"), ContentRejected, "invalid_content"),
    (400, says("base64", "attachments.0.content"), ContentRejected, "invalid_content"),
    (400, says("reserved", "headers.To"), ContentRejected, "invalid_content"),
    (400, says("too long", "categories"), ContentRejected, "invalid_content"),
    (400, says("too big", "personalizations.0.custom_args"), ContentRejected, "invalid_content"),
    (400, says("Scheduling more than 72 hours in advance is forbidden.", "send_at"), ContentRejected,
     "invalid_content"),
    (400, says("not valid", "reply_to.email"), ContentRejected, "invalid_content"),
    (400, says("Bad Request"), Permanent, "invalid_request"),
    (401, says("The provided authorization grant is invalid, expired, or revoked"), AccountBlocked, "bad_key"),
    (401, says("Maximum credits exceeded"), AccountBlocked, "credits_exceeded"),
    (403, says("The from address does not match a verified Sender Identity. Mail", "from"), Misconfigured,
     "unverified_sender"),
    (403, says("The from address does not match a verified Sender Identity."), Misconfigured, "unverified_sender"),
    (403, says("No.", "from"), Misconfigured, "unverified_sender"),
    (403, says("access forbidden"), AccountBlocked, "access_forbidden"),
    (403, says("anything else"), Misconfigured, "forbidden"),
    (404, says("not found"), Misconfigured, "not_found"),
    (405, says("method not allowed"), Misconfigured, "method_not_allowed"),
    (413, says("content too large"), ContentRejected, "too_large"),
    (415, says("Content-Type should be application/json."), Permanent, "unsupported_type"),
    (429, says("too many requests"), RateLimited, "rate_limited"),
]  # fmt: skip


#: What the fact sheet's classes are among ours.
SHEET: dict[str, type[ChannelError]] = {
    "auth": AccountBlocked,
    "account": AccountBlocked,
    "config": Misconfigured,
    # Nothing can be sent until an operator has seen to the key, whichever of the two it is.
    "auth/config": AccountBlocked,
    "permanent recipient": InvalidRecipient,
    "permanent request": ContentRejected,
    "rate limit": RateLimited,
    "transient, outcome unknown": OutcomeUnknown,
}
#: The field that an answer names in a case that is known by it.
FIELDS = {"validation": "subject", "bad `to` address": "personalizations.0.to.0.email"}
#: The request's form is ours, not the partner's content: no other content would mend it.
DIFFERENT = {415: Permanent}


@pytest.mark.parametrize(("status", "word", "case"), sheet_cases("email_sendgrid"))
def test_each_row_of_the_fact_sheet(status: int, word: str, case: str) -> None:
    raised = refusal(answer(status, says(case.replace('"', ""), FIELDS.get(case))), NOW)
    assert type(raised) is DIFFERENT.get(status, SHEET[word])
    assert raised.http_status == status


@pytest.mark.parametrize(("status", "error", "expected", "code"), ROWS)
def test_a_refusal_is_the_table_s(status: int, error: Any, expected: type[ChannelError], code: str) -> None:
    raised = refusal(answer(status, error), NOW)
    assert type(raised) is expected
    assert (raised.provider_code, raised.http_status) == (code, status)
    assert LEAK not in raised.detail


@pytest.mark.parametrize(
    ("status", "field", "code"),
    [
        (400, "personalizations.0.tone", "invalid_request"),
        (400, "personalizations.0.ccs", "invalid_request"),
        (400, "personalizations.x.to", "invalid_request"),
        (400, "more.personalizations.0.to", "invalid_request"),
        (400, "fromage", "invalid_request"),
        (400, "more.subject", "invalid_request"),
        (400, "more.template_id", "invalid_request"),
        (400, "more.asm", "invalid_request"),
        (400, "more.ip_pool_name", "invalid_request"),
        (403, "fromage", "forbidden"),
        (403, "more.from", "forbidden"),
    ],
)
def test_a_field_is_known_by_its_whole_name(status: int, field: str, code: str) -> None:
    assert refusal(answer(status, says("No.", field)), NOW).provider_code == code


def test_of_a_long_message_the_beginning_tells() -> None:
    """A pattern is not searched in whatever a server wrote, but in as much as a sentence has."""
    known, padding = "access forbidden", "x" * 500
    assert refusal(answer(403, {"message": known + padding}), NOW).provider_code == "access_forbidden"
    assert refusal(answer(403, {"message": padding[len(known) :] + known}), NOW).provider_code == "access_forbidden"
    assert refusal(answer(403, {"message": padding + known}), NOW).provider_code == "forbidden"


def test_every_row_of_the_table_is_tested() -> None:
    assert {row.code for row in REFUSALS} == {code for *_, code in ROWS} - {"rate_limited"}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 301, 204, 200])
def test_what_is_neither_acceptance_nor_refusal_is_unknown(status: int) -> None:
    unknown = refusal(answer(status, says("x")), NOW)
    assert type(unknown) is OutcomeUnknown
    assert unknown.http_status == status
    assert type(refusal(HttpReply(status, {}, b"<html>x</html>"), NOW)) is OutcomeUnknown


@pytest.mark.parametrize("status", [402, 406, 410, 422])
def test_any_other_4xx_is_permanent(status: int) -> None:
    assert type(refusal(answer(status, says("x")), NOW)) is Permanent


def test_of_several_errors_the_recipient_s_speaks_first() -> None:
    both = answer(400, says("required", "subject"), says("no", "personalizations.0.to.0.email"))
    assert isinstance(refusal(both, NOW), InvalidRecipient)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"errors": 7}', b'{"errors": []}', b'{"errors": [7, null]}', b'{"errors": [{"field": 7}]}']
)
def test_a_refusal_without_its_json_is_still_one(body: bytes) -> None:
    for status, cls, code in ((400, Permanent, "invalid_request"), (401, AccountBlocked, "bad_key")):
        raised = refusal(HttpReply(status, {}, body), NOW)
        assert type(raised) is cls
        assert raised.provider_code == code


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Tue, 10 Nov 2026 09:16:30 GMT"}, 90.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 60)}, 60.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) - 60)}, 0.0),
        ({"retry-after": "3", "x-ratelimit-reset": "9999999999"}, 3.0),
        ({"x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-reset": "9" * 400}, None),
        ({}, None),
    ],
)
def test_a_rate_limit_says_when(headers: dict[str, str], seconds: float | None) -> None:
    limited = refusal(answer(429, says("x"), headers=headers), NOW)
    assert isinstance(limited, RateLimited)
    assert limited.retry_after == seconds
