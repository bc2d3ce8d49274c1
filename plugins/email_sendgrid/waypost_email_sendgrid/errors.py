"""SendGrid's refusals: which of our errors each is.

SendGrid answers `{"errors": [{"message", "field", "help"}]}` and has no numeric codes, so that a refusal is known by
its status, its field and, where nothing else tells, a fixed part of its message. The codes are ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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
from waypost.plugin.http import HttpReply, raise_for_status, retry_after


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row of the table; `field` and `message` are patterns that one of the answer's errors has to match."""

    status: int
    code: str
    error: type[ChannelError]
    title: str
    field: str = ""
    message: str = ""

    def matches(self, problem: dict[str, Any]) -> bool:
        """Whether one error of the answer is this one."""
        return _found(self.field, problem.get("field")) and _found(self.message, problem.get("message"))


def _found(pattern: str, value: object) -> bool:
    if not pattern:
        return True
    return isinstance(value, str) and re.search(pattern, value[:500], re.IGNORECASE) is not None


_IN_ENVELOPE = r"^personalizations\.\d+\."

#: In this order: where an answer holds several errors, the first row that matches one of them speaks.
REFUSALS = (
    Refusal(400, "invalid_recipient", InvalidRecipient, "SendGrid does not accept the recipient's address.",
            field=_IN_ENVELOPE + r"to(\.|$)"),
    Refusal(400, "invalid_copy", ContentRejected, "SendGrid does not accept a cc or bcc address.",
            field=_IN_ENVELOPE + r"b?cc(\.|$)"),
    Refusal(400, "invalid_sender", Misconfigured, "SendGrid does not accept the sender.",
            field=r"^(personalizations\.\d+\.)?from(\.|$)"),
    Refusal(400, "invalid_template", Misconfigured, "SendGrid does not know the template.", field=r"^template_id"),
    Refusal(400, "invalid_group", Misconfigured, "SendGrid does not know the unsubscribe group.", field=r"^asm"),
    Refusal(400, "invalid_pool", Misconfigured, "SendGrid does not know the IP pool.", field=r"^ip_pool"),
    Refusal(400, "invalid_content", ContentRejected, "SendGrid does not accept the content.",
            field=r"^(personalizations\.\d+\.)?(subject|content|attachments|headers|categories|custom_args|send_at|"
                  r"reply_to|dynamic_template_data|substitutions|batch_id)"),
    Refusal(400, "invalid_request", Permanent, "SendGrid does not accept the request."),
    Refusal(401, "credits_exceeded", AccountBlocked, "The SendGrid plan's credits are used up.",
            message="maximum credits exceeded"),
    Refusal(401, "bad_key", AccountBlocked, "SendGrid does not accept the API key."),
    Refusal(403, "unverified_sender", Misconfigured, "The sender is not a verified identity at SendGrid.",
            message="verified sender identity"),
    Refusal(403, "unverified_sender", Misconfigured, "The sender is not a verified identity at SendGrid.",
            field=r"^from(\.|$)"),
    Refusal(403, "access_forbidden", AccountBlocked, "The API key may not send, or our address may not use it.",
            message="access forbidden"),
    Refusal(403, "forbidden", Misconfigured, "SendGrid forbids this request."),
    Refusal(404, "not_found", Misconfigured, "The API address is not SendGrid's."),
    Refusal(405, "method_not_allowed", Misconfigured, "The API address is not SendGrid's."),
    Refusal(413, "too_large", ContentRejected, "The email is larger than SendGrid takes."),
    Refusal(415, "unsupported_type", Permanent, "SendGrid does not accept the request's type."),
)  # fmt: skip


def refusal(reply: HttpReply, now: datetime) -> ChannelError:
    """What an answer other than success means.

    `RateLimited`, a row of the table, `Permanent` for another 4xx, and `OutcomeUnknown` for 5xx and for whatever
    cannot be understood. The provider's own words go nowhere: they may quote an address.
    """
    if reply.status == 429:
        return RateLimited(
            "SendGrid limits the rate.",
            retry_after=_pause(reply, now),
            provider_code="rate_limited",
            http_status=429,
        )
    problems = _problems(reply)
    for row in REFUSALS:
        if row.status == reply.status and any(row.matches(problem) for problem in problems):
            return row.error(row.title, provider_code=row.code, http_status=row.status)
    try:
        raise_for_status(reply)
    except ChannelError as error:
        return error
    return OutcomeUnknown("SendGrid's answer cannot be understood.", http_status=reply.status)


def _problems(reply: HttpReply) -> list[dict[str, Any]]:
    errors = reply.json_object().get("errors")
    found: list[dict[str, Any]] = []
    if isinstance(errors, list):
        found = [error for error in errors if isinstance(error, dict)]
    return found or [{}]


def _pause(reply: HttpReply, now: datetime) -> float | None:
    """`Retry-After` where given, else until `X-RateLimit-Reset` (unix seconds)."""
    seconds = retry_after(reply, now=now)
    if seconds is not None:
        return seconds
    reset = reply.headers.get("x-ratelimit-reset", "").strip()
    if not reset.isdecimal() or len(reset) > 12:
        return None
    return max(0.0, int(reset) - now.timestamp())
