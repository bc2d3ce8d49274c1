"""What Twilio's records say of an attempt whose outcome was unknown.

Messages have no idempotency key, and the list does not return the status callback that holds our correlation: the
recipient, the sender, the text and the time have to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from waypost.plugin import LookupResult, Media, SendAttempt, Text

from waypost_sms_twilio.errors import error_code
from waypost_sms_twilio.events import RECEIPTS

if TYPE_CHECKING:
    from waypost_sms_twilio.client import TwilioClient

#: Our clock may be ahead of Twilio's, whose times are whole seconds.
EARLIEST = timedelta(seconds=2)
#: A request is given up after half a minute; what was created much later was another.
LATEST = timedelta(seconds=90)
#: Twilio lists a message as soon as it is created; a minute is generous.
LISTED_AFTER = timedelta(seconds=60)
#: More than one recipient gets while we wait for an answer.
PAGE = 200


async def find(
    client: TwilioClient, attempt: SendAttempt, recipient: str, sender: Mapping[str, Any], now: datetime
) -> LookupResult | None:
    """Find the attempt's message: found, certainly not there, or None. `sender` is the request's sender fields.

    The list is not filtered by `DateSent`, which a message that still waits in Twilio's queue does not have.
    """
    if attempt.provider_ids:
        return as_result(await client.fetch_message(attempt.provider_ids[0]))
    listed = await client.messages_to(recipient, limit=PAGE)
    near = [message for message in listed if _is_near(message, attempt)]
    if not near:
        certain = now - attempt.started_at >= LISTED_AFTER and _reaches(listed, attempt.started_at - EARLIEST)
        return LookupResult(found=False) if certain else None
    same = [message for message in near if _same_ends(message, recipient, sender) and _same_text(message, attempt)]
    return as_result(same[0]) if len(same) == 1 else None


def as_result(message: Any) -> LookupResult | None:
    """A message of Twilio's as a lookup's result."""
    if not isinstance(message.sid, str) or not message.sid:
        return None
    code = error_code(message.error_code)
    return LookupResult(
        found=True,
        provider_ids=(message.sid,),
        status=RECEIPTS.get(str(message.status), "accepted"),
        provider_code=None if code is None else str(code),
    )


def _reaches(listed: Sequence[Any], since: datetime) -> bool:
    """Whether the page holds every message since then: it is short, or goes back further."""
    return len(listed) < PAGE or any(created < since for message in listed if (created := _created(message)))


def _is_near(message: Any, attempt: SendAttempt) -> bool:
    """Whether a message was created when the attempt was made; one whose time cannot be read may have been."""
    if not str(message.direction).startswith("outbound"):
        return False
    created = _created(message)
    return created is None or attempt.started_at - EARLIEST <= created <= attempt.started_at + LATEST


def _same_ends(message: Any, recipient: str, sender: Mapping[str, Any]) -> bool:
    """Whether recipient and sender are the attempt's; a Messaging Service names the sender only once it sends."""
    if message.to != recipient:
        return False
    service, name = sender.get("messaging_service_sid"), sender.get("from_")
    if service is None:
        return bool(message.from_ == name)
    return message.messaging_service_sid == service and (name is None or message.from_ in (name, None))


def _same_text(message: Any, attempt: SendAttempt) -> bool:
    """Whether Twilio's body is the attempt's; a template's text is rendered there, and not known here."""
    match attempt.message.content:
        case Text(body=text):
            return bool(message.body == text)
        case Media(caption=caption):
            return (message.body or "") == (caption or "")
        case _:
            return True


def _created(message: Any) -> datetime | None:
    return message.date_created if isinstance(message.date_created, datetime) else None
