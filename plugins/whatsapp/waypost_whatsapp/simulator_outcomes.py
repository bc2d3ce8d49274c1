"""The simulated Cloud API's magic numbers, and what it says to each."""

from __future__ import annotations

from collections.abc import Mapping

from waypost.plugin.simulator import Outcome
from waypost_meta_graph.simulator import Refusal

from waypost_whatsapp.simulator_refusals import refused

MAGIC: Mapping[str, Outcome] = {
    "+15550100001": Outcome.ACCEPTED,
    "+15550100002": Outcome.SENT,
    "+15550100003": Outcome.DELIVERED,
    "+15550100004": Outcome.READ,
    "+15550100005": Outcome.FAILED,
    "+15550100010": Outcome.INVALID_RECIPIENT,
    "+15550100011": Outcome.OPTED_OUT,
    "+15550100012": Outcome.CONTENT_REJECTED,
    "+15550100013": Outcome.OUTSIDE_WINDOW,
    "+15550100014": Outcome.MISCONFIGURED,
    "+15550100015": Outcome.ACCOUNT_BLOCKED,
    "+15550100016": Outcome.RATE_LIMITED,
    "+15550100017": Outcome.RATE_LIMITED_ONCE,
    "+15550100020": Outcome.UNAVAILABLE,
    "+15550100021": Outcome.HANG,
    "+15550100022": Outcome.ACCEPT_THEN_DROP,
    "+15550100023": Outcome.GARBAGE,
    "+15550100030": Outcome.DUPLICATE_RECEIPTS,
    "+15550100031": Outcome.REORDERED_RECEIPTS,
    "+15550100032": Outcome.LATE_RECEIPTS,
    "+15550100033": Outcome.EARLY_RECEIPTS,
}

REFUSALS: Mapping[Outcome, Refusal] = {
    Outcome.INVALID_RECIPIENT: refused(131026, "Message undeliverable", "Unable to deliver message."),
    Outcome.OPTED_OUT: refused(131050, "User stopped marketing messages", "The user opted out of marketing messages."),
    Outcome.CONTENT_REJECTED: refused(131009, "Parameter value is not valid", "The content was refused."),
    Outcome.OUTSIDE_WINDOW: refused(131047, "Re-engagement message", "More than 24 hours have passed."),
    Outcome.MISCONFIGURED: refused(131030, "Recipient phone number not in allowed list", "Add it to the list."),
    Outcome.ACCOUNT_BLOCKED: refused(131031, "Business Account locked", "Business account has been locked.", 403),
    Outcome.RATE_LIMITED: refused(130429, "Rate limit hit", "Cloud API message throughput has been reached."),
    Outcome.UNAVAILABLE: refused(131016, "Service unavailable", "A service is temporarily unavailable.", 503),
}

UNDELIVERABLE = {
    "code": 131026,
    "title": "Message undeliverable",
    "message": "Message undeliverable",
    "error_data": {"details": "Message Undeliverable."},
    "href": "/documentation/business-messaging/whatsapp/support/error-codes",
}
NO_SUCH_OBJECT = Refusal(
    400,
    100,
    "Unsupported request. Object with this ID does not exist, cannot be loaded due to missing permissions, "
    "or does not support this operation",
    subcode=33,
    type="GraphMethodException",
)
