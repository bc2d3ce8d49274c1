"""Why a mail did not arrive: SendGrid's bounce types, classifications and drop reasons, in our words.

Sources: SendGrid, Event Webhook reference ("Delivery events") and "Bounce classifications"; the type `expired` is
known from third parties only. A reason that a mail server wrote is never shown: it may quote the address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FailureStatus = Literal["undelivered", "failed"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail: our code, the name of the error class, and a title that is safe to show."""

    status: FailureStatus
    code: str
    error_class: str
    title: str


#: By classification. They say more of the reason than the type; but only the type says that the address is suppressed.
_CLASSIFICATIONS: Mapping[str, tuple[str, str]] = {
    "invalid address": ("InvalidRecipient", "The mailbox does not exist."),
    "mailbox unavailable": ("InvalidRecipient", "The mailbox is full, disabled or unavailable."),
    "content": ("ContentRejected", "The recipient's server refused the content."),
    "reputation": ("Permanent", "The recipient's server refused the sender's reputation."),
    "frequency or volume too high": ("RateLimited", "The recipient's server found the mails too many."),
    "technical": ("Transient", "The recipient's server had a technical fault."),
    "unclassified": ("Permanent", "The recipient's server refused the mail."),
}

#: The classes of what may go better another time.
_PASSING = frozenset({"RateLimited", "Transient"})

_TYPES: Mapping[str, tuple[str, str]] = {
    "bounce": ("Permanent", "The recipient's server refused the mail for good."),
    "blocked": ("Transient", "The recipient's server refused the mail this time."),
    "expired": ("Transient", "The recipient's server did not take the mail in time."),
}

#: A dropped mail was never sent: SendGrid knew better.
_DROPS: Mapping[str, tuple[str, str]] = {
    "bounced address": ("InvalidRecipient", "The address bounced before; SendGrid does not try it again."),
    "unsubscribed address": ("OptedOut", "The recipient unsubscribed."),
    "spam reporting address": ("OptedOut", "The recipient reported an earlier mail as spam."),
    "invalid": ("InvalidRecipient", "SendGrid does not accept the recipient's address."),
    "invalid smtpapi header": ("ContentRejected", "SendGrid does not accept the mail's instructions."),
    "spam content": ("ContentRejected", "SendGrid takes the content for spam."),
    "recipient list over package quota": ("AccountBlocked", "The SendGrid plan's credits are used up."),
}

#: RFC 3463: class.subject.detail.
_ENHANCED_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def bounce(event: Mapping[str, Any]) -> Failure:
    """What a `bounce` event means."""
    kind = _word(event.get("type")) or "bounce"
    status = _enhanced_status(event)
    named = _CLASSIFICATIONS.get(_word(event.get("bounce_classification")))
    if named is None and status and status.startswith("5.1."):
        named = _CLASSIFICATIONS["invalid address"]
    if named is None or (kind == "expired" and named[0] == "Permanent"):
        named = _TYPES.get(kind, _TYPES["bounce"])
    if kind == "bounce" and named[0] in _PASSING:
        # SendGrid suppresses the address from now on, and would drop whatever is sent to it again.
        named = ("Permanent", named[1])
    known = kind if kind in _TYPES else "bounce"
    return Failure("undelivered", f"{known}:{status}" if status else known, *named)


def drop(event: Mapping[str, Any]) -> Failure:
    """What a `dropped` event means."""
    reason = _word(event.get("reason"))
    named = _DROPS.get(reason)
    if named is None:
        return Failure("failed", "dropped", "Permanent", "SendGrid dropped the mail.")
    return Failure("failed", f"dropped:{reason.replace(' ', '_')}", *named)


def _word(value: object) -> str:
    return " ".join(value.lower().split()) if isinstance(value, str) and len(value) <= 100 else ""


def _enhanced_status(event: Mapping[str, Any]) -> str | None:
    status = event.get("status")
    if isinstance(status, str) and _ENHANCED_STATUS.fullmatch(status.strip()):
        return status.strip()
    return None
