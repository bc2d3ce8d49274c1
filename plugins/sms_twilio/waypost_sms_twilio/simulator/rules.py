"""What the simulated Twilio refuses and what its magic numbers do.

Twilio's own magic numbers keep their meaning (Twilio docs, "Test credentials"); +1 500 555 01xx are ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from waypost.plugin.simulator import Outcome

from waypost_sms_twilio.addresses import WHATSAPP_PREFIX
from waypost_sms_twilio.simulator.messages import Form

#: Magic recipients of SMS.
MAGIC: Mapping[str, Outcome] = {
    "+15005550001": Outcome.INVALID_RECIPIENT,
    "+15005550002": Outcome.INVALID_RECIPIENT,
    "+15005550003": Outcome.MISCONFIGURED,
    "+15005550004": Outcome.OPTED_OUT,
    "+15005550009": Outcome.INVALID_RECIPIENT,
    "+15005550101": Outcome.ACCEPTED,
    "+15005550102": Outcome.SENT,
    "+15005550103": Outcome.DELIVERED,
    "+15005550105": Outcome.UNDELIVERED,
    "+15005550106": Outcome.FAILED,
    "+15005550107": Outcome.INVALID_RECIPIENT,
    "+15005550108": Outcome.OPTED_OUT,
    "+15005550109": Outcome.CONTENT_REJECTED,
    "+15005550111": Outcome.MISCONFIGURED,
    "+15005550112": Outcome.ACCOUNT_BLOCKED,
    "+15005550113": Outcome.RATE_LIMITED,
    "+15005550114": Outcome.RATE_LIMITED_ONCE,
    "+15005550115": Outcome.UNAVAILABLE,
    "+15005550116": Outcome.HANG,
    "+15005550117": Outcome.ACCEPT_THEN_DROP,
    "+15005550118": Outcome.GARBAGE,
    "+15005550119": Outcome.DUPLICATE_RECEIPTS,
    "+15005550120": Outcome.REORDERED_RECEIPTS,
    "+15005550121": Outcome.LATE_RECEIPTS,
    "+15005550122": Outcome.EARLY_RECEIPTS,
}
#: WhatsApp has two outcomes more.
WHATSAPP_MAGIC: Mapping[str, Outcome] = {
    **MAGIC,
    "+15005550104": Outcome.READ,
    "+15005550110": Outcome.OUTSIDE_WINDOW,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer in Twilio's form."""

    status: int
    code: int
    message: str
    outcome: Outcome = Outcome.CONTENT_REJECTED
    retry_after: int | None = None

    def response(self) -> web.Response:
        """The answer; 503 comes from the edge, which speaks plain text."""
        if self.status == 503:
            return web.Response(status=503, text="upstream connect error or disconnect/reset before headers")
        body = {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return web.json_response(body, status=self.status, headers=headers)


REFUSALS: Mapping[Outcome, Refusal] = {
    Outcome.INVALID_RECIPIENT: Refusal(400, 21211, "Invalid 'To' Phone Number", Outcome.INVALID_RECIPIENT),
    Outcome.OPTED_OUT: Refusal(400, 21610, "Attempt to send to unsubscribed recipient", Outcome.OPTED_OUT),
    Outcome.CONTENT_REJECTED: Refusal(400, 21620, "Invalid media URL(s)"),
    Outcome.MISCONFIGURED: Refusal(
        400,
        21606,
        "The 'From' phone number provided is not a valid message-capable Twilio phone number.",
        Outcome.MISCONFIGURED,
    ),
    Outcome.ACCOUNT_BLOCKED: Refusal(401, 20003, "Authenticate", Outcome.ACCOUNT_BLOCKED),
    Outcome.RATE_LIMITED: Refusal(429, 20429, "Too Many Requests", Outcome.RATE_LIMITED, retry_after=1),
    Outcome.UNAVAILABLE: Refusal(503, 20503, "Service Unavailable", Outcome.UNAVAILABLE),
}
_NO_CHANNEL = Refusal(
    400, 63007, "Twilio could not find a Channel with the specified From address", Outcome.MISCONFIGURED
)
WHATSAPP_REFUSALS: Mapping[Outcome, Refusal] = {
    **REFUSALS,
    Outcome.MISCONFIGURED: _NO_CHANNEL,
}
#: Twilio's own magic recipients, where their code is not the outcome's.
_MAGIC_TO: Mapping[str, Refusal] = {
    "+15005550002": Refusal(
        400, 21612, "The 'To' phone number is not currently reachable via SMS", Outcome.INVALID_RECIPIENT
    ),
    "+15005550003": Refusal(
        400, 21408, "Permission to send an SMS has not been enabled for the region", Outcome.MISCONFIGURED
    ),
    "+15005550009": Refusal(400, 21614, "'To' number is not a valid mobile number", Outcome.INVALID_RECIPIENT),
}
_MAGIC_FROM: Mapping[str, Refusal] = {
    "+15005550001": Refusal(400, 21212, "The 'From' phone number is not valid.", Outcome.MISCONFIGURED),
    "+15005550007": REFUSALS[Outcome.MISCONFIGURED],
    "+15005550008": Refusal(
        400, 21611, "This 'From' number has exceeded the maximum number of queued messages", Outcome.RATE_LIMITED
    ),
}
#: How far ahead a message may be scheduled.
_SOONEST, _LATEST = timedelta(minutes=5), timedelta(days=35)
_NO_SUCH_TIME = Refusal(
    400, 35114, "SendAt time must be between 300 seconds and 35 days (3024000 seconds) in the future, inclusive."
)

RECEIPT_ERRORS: Mapping[Outcome, int] = {Outcome.UNDELIVERED: 30003, Outcome.FAILED: 30007}
WHATSAPP_RECEIPT_ERRORS: Mapping[Outcome, int] = {Outcome.UNDELIVERED: 63024, Outcome.FAILED: 63016}

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_CHANNEL_ADDRESS = re.compile(r"whatsapp:(\+[1-9][0-9]{6,14}|[A-Z]{2}\.[A-Za-z0-9.]{1,125})")
_SENDER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 &_+-]{1,11}")
_CONTENT_SID = re.compile(r"HX[0-9a-fA-F]{32}")
_SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")


def check(form: Form, now: datetime) -> Refusal | None:
    """What Twilio would refuse in this request, in the order in which it looks."""
    to, sender = form.first("To"), form.first("From")
    return (
        _check_recipient(to)
        or _check_sender(form, to, sender)
        or _check_content(form)
        or _check_extras(form)
        or _check_schedule(form, now)
        or _MAGIC_TO.get(to.removeprefix(WHATSAPP_PREFIX))
        or _MAGIC_FROM.get(sender.removeprefix(WHATSAPP_PREFIX))
    )


def _check_recipient(to: str) -> Refusal | None:
    if not to:
        return Refusal(400, 21604, "A 'To' phone number is required.")
    shape = _CHANNEL_ADDRESS if to.startswith(WHATSAPP_PREFIX) else _E164
    return None if shape.fullmatch(to) else REFUSALS[Outcome.INVALID_RECIPIENT]


def _check_sender(form: Form, to: str, sender: str) -> Refusal | None:
    service = form.first("MessagingServiceSid")
    if not sender and not service:
        return Refusal(400, 21603, "A 'From' phone number is required.", Outcome.MISCONFIGURED)
    if service and not _SERVICE_SID.fullmatch(service):
        return Refusal(400, 21701, "The Messaging Service does not exist.", Outcome.MISCONFIGURED)
    if not sender:
        return None
    if sender.startswith(WHATSAPP_PREFIX) != to.startswith(WHATSAPP_PREFIX):
        return _NO_CHANNEL
    shape = _CHANNEL_ADDRESS if sender.startswith(WHATSAPP_PREFIX) else _SENDER
    return None if shape.fullmatch(sender) else _MAGIC_FROM["+15005550001"]


def _check_content(form: Form) -> Refusal | None:
    body, media, content = form.first("Body"), form.all("MediaUrl"), form.first("ContentSid")
    if not body and not media and not content:
        return Refusal(400, 21619, "A text message body or media urls must be specified.")
    if len(body) > 1600:
        return Refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit")
    if len(media) > 10:
        return Refusal(400, 21623, "Number of media files exceeds allowed limit")
    if any(not url.startswith(("http://", "https://")) for url in media):
        return REFUSALS[Outcome.CONTENT_REJECTED]
    return _check_template(form, content)


def _check_template(form: Form, content: str) -> Refusal | None:
    if content and (not _CONTENT_SID.fullmatch(content) or not content.strip("HX0")):
        return Refusal(400, 21655, "The ContentSid is Invalid", Outcome.MISCONFIGURED)
    if form.has("ContentVariables") and not _is_json_object(form.first("ContentVariables")):
        return Refusal(400, 21656, "The Content Variables Parameter is invalid")
    return None


def _check_extras(form: Form) -> Refusal | None:
    callback = form.first("StatusCallback")
    if callback and not callback.startswith(("http://", "https://")):
        return Refusal(400, 21609, "The 'StatusCallback' URL is not valid.")
    validity = form.first("ValidityPeriod")
    if validity and not (validity.isdigit() and 1 <= int(validity) <= 36_000):
        return Refusal(400, 21624, "Invalid 'ValidityPeriod' value.")
    return None


def _check_schedule(form: Form, now: datetime) -> Refusal | None:
    """Twilio docs, "Message Scheduling" and the pages of errors 35111, 35114 and 35126."""
    if not form.has("SendAt"):
        return Refusal(400, 35111, "SendAt timestamp is missing") if form.has("ScheduleType") else None
    if not form.first("MessagingServiceSid"):
        return Refusal(400, 21701, "Scheduling needs a Messaging Service.")
    if form.first("ScheduleType") != "fixed":
        return Refusal(400, 35126, "The ScheduleType value provided is not supported for this channel")
    try:
        ahead = datetime.fromisoformat(form.first("SendAt")) - now
    except (ValueError, TypeError):
        return _NO_SUCH_TIME
    return None if _SOONEST <= ahead <= _LATEST else _NO_SUCH_TIME


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class SimulatedTemplate:
    """A content template of the simulated account."""

    sid: str
    name: str
    body: str
    variables: Mapping[str, str]
    status: str


TEMPLATES = (
    SimulatedTemplate(
        "HXf8aa5a783ac6df54b1d28473f2de4c75",
        "order_shipped",
        "Hi {{1}}, your order {{2}} has shipped.",
        {"1": "name", "2": "order"},
        "approved",
    ),
    SimulatedTemplate("HX0a1b2c3d4e5f60718293a4b5c6d7e8f9", "one_time_code", "Your code: {{1}}", {"1": "code"}, ""),
)


def template_json(template: SimulatedTemplate, account_sid: str, base_url: str) -> dict[str, Any]:
    """A template as `ContentAndApprovals` shows it."""
    approval = {
        "name": template.name,
        "category": "UTILITY",
        "content_type": "twilio/text",
        "status": template.status,
        "rejection_reason": "",
        "allow_category_change": True,
    }
    return {
        "date_created": "2026-11-01T19:00:00Z",
        "date_updated": "2026-11-01T19:00:00Z",
        "sid": template.sid,
        "account_sid": account_sid,
        "friendly_name": template.name,
        "language": "en",
        "variables": dict(template.variables),
        "types": {"twilio/text": {"body": template.body}},
        "approval_requests": approval if template.status else {},
        "url": f"{base_url}/v1/Content/{template.sid}",
    }
