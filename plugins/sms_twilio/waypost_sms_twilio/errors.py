"""Twilio's error codes, and what may be done next.

Source: Twilio's error dictionary (twilio.com/docs/api/errors). The title is ours: Twilio's own message may hold a
number or a text and is never shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OptedOut,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    RateLimited,
    Transient,
)
from waypost.plugin.errors import RateScope
from waypost.plugin.http import HttpReply, raise_for_status, retry_after

Row = tuple[type[ChannelError], str]

#: Daily caps are lifted at an hour that Twilio does not tell; ask again once an hour.
DAILY_RETRY = 3600.0

_ACCOUNT: dict[int, Row] = {
    20003: (AccountBlocked, "The account's credentials were refused."),
    20005: (AccountBlocked, "The account is not active."),
    30002: (AccountBlocked, "The account is suspended."),
    63001: (AccountBlocked, "The channel refused the account's credentials."),
    63013: (AccountBlocked, "The channel's policy was violated."),
    63020: (AccountBlocked, "The invitation to the WhatsApp business account was not accepted."),
    63026: (AccountBlocked, "The WhatsApp business account is restricted."),
    63039: (AccountBlocked, "The channel limits this sender for spam."),
}
_ACCOUNT |= dict.fromkeys(range(20101, 20108), (AccountBlocked, "The account's credentials were refused."))

_SETUP: dict[int, Row] = {
    20006: (Misconfigured, "The account may not do this."),
    20008: (Misconfigured, "Test credentials cannot be used here."),
    20403: (Misconfigured, "The account may not do this."),
    20404: (Misconfigured, "The resource does not exist in this account."),
    21212: (Misconfigured, "The sender is not valid."),
    21219: (Misconfigured, "A trial account sends only to numbers it has verified."),
    21408: (Misconfigured, "Sending to this region is not enabled for the account."),
    21601: (Misconfigured, "The sender cannot send SMS."),
    21603: (Misconfigured, "No sender was given."),
    21606: (Misconfigured, "The sender cannot send to this destination."),
    21608: (Misconfigured, "A trial account sends only to numbers it has verified."),
    21609: (Misconfigured, "The status callback's address is not valid."),
    21654: (Misconfigured, "A content template is required."),
    21655: (Misconfigured, "The content template does not exist."),
    21709: (Misconfigured, "The Messaging Service or its sender is not set up."),
    21712: (Misconfigured, "The sender is not part of the Messaging Service."),
    30010: (Misconfigured, "The message costs more than the highest price allowed."),
    30018: (Misconfigured, "The sender id is not registered for this destination."),
    30024: (Misconfigured, "The sender is not provisioned by the carrier."),
    30032: (Misconfigured, "The toll-free number is not verified."),
    30034: (Misconfigured, "The number is not registered for A2P 10DLC."),
    63002: (Misconfigured, "The channel sender is not set up."),
    63007: (Misconfigured, "The channel sender does not exist."),
    63008: (Misconfigured, "The channel sender is set up wrongly."),
    63015: (Misconfigured, "The recipient has not joined the sandbox."),
    63022: (Misconfigured, "The sender's display name or certificate is not valid."),
    63027: (Misconfigured, "The template does not exist in this language."),
    63035: (Misconfigured, "The RCS sender is not set up."),
    63040: (Misconfigured, "The template was not approved."),
    63041: (Misconfigured, "The template is paused."),
    63062: (Misconfigured, "The terms for marketing messages have not been accepted."),
}
_SETUP |= dict.fromkeys(range(21701, 21706), (Misconfigured, "The Messaging Service or its sender is not set up."))
_SETUP |= dict.fromkeys(range(11200, 11238), (Misconfigured, "Our webhook could not be reached."))

_RECIPIENT: dict[int, Row] = {
    21211: (InvalidRecipient, "The recipient's number is not valid."),
    21217: (InvalidRecipient, "The recipient's number is not valid."),
    21401: (InvalidRecipient, "The recipient's number is not valid."),
    21612: (InvalidRecipient, "This sender cannot reach this recipient."),
    21614: (InvalidRecipient, "The recipient's number is not a mobile number."),
    30004: (InvalidRecipient, "The recipient or their carrier blocks this message."),
    30005: (InvalidRecipient, "The recipient's handset is unknown."),
    30006: (InvalidRecipient, "The recipient's number is a landline or cannot be reached."),
    63003: (InvalidRecipient, "The recipient cannot be found on this channel."),
    63024: (InvalidRecipient, "The recipient is not valid on this channel."),
    63029: (InvalidRecipient, "The recipient could not load the template."),
    63036: (InvalidRecipient, "The recipient cannot be reached over RCS."),
    21610: (OptedOut, "The recipient opted out."),
    63014: (OptedOut, "The recipient blocked this sender."),
    63033: (OptedOut, "The recipient blocked this sender."),
    63050: (OptedOut, "The recipient stopped marketing messages."),
    # Not now and not for this message, though the address itself is good.
    63032: (Permanent, "WhatsApp does not deliver this message to this recipient at present."),
    63049: (Permanent, "WhatsApp chose not to deliver this marketing message."),
}

_CONTENT: dict[int, Row] = {
    20409: (Permanent, "The request conflicts with the resource's state."),
    20422: (Permanent, "A parameter of the request is not valid."),
    30009: (Permanent, "A segment of an inbound message is missing."),
    30036: (Permanent, "The message's validity period ended before it could be sent."),
    30409: (Permanent, "The message cannot be canceled any more."),
    21602: (ContentRejected, "The message has no body."),
    21604: (ContentRejected, "The message has no recipient."),
    21617: (ContentRejected, "The text is longer than 1600 characters."),
    21619: (ContentRejected, "The message has neither body nor media."),
    21620: (ContentRejected, "A media address is not valid."),
    21623: (ContentRejected, "The message has too many media."),
    21624: (ContentRejected, "The validity period is not valid."),
    21656: (ContentRejected, "The template's variables are not valid."),
    30007: (ContentRejected, "The message was filtered."),
    30011: (ContentRejected, "The recipient's region does not take MMS."),
    30019: (ContentRejected, "The content is too large for the recipient's carrier."),
    63005: (ContentRejected, "The channel did not accept this content."),
    63006: (ContentRejected, "The content could not be formatted for the channel."),
    63011: (ContentRejected, "The channel refused the request."),
    63016: (OutsideWindow, "The recipient has not written in the last 24 hours."),
    63019: (ContentRejected, "The media could not be fetched."),
    63021: (ContentRejected, "The channel did not accept this content."),
    63028: (ContentRejected, "The number of template variables is wrong."),
    63030: (ContentRejected, "A parameter does not suit this kind of message."),
    63031: (ContentRejected, "Sender and recipient must differ."),
    63034: (ContentRejected, "The media is too large."),
    63037: (ContentRejected, "The media could not be passed on."),
}

_LATER: dict[int, Row] = {
    429: (RateLimited, "Too many requests."),
    14107: (RateLimited, "The account's SMS rate was exceeded."),
    20429: (RateLimited, "Too many requests."),
    21611: (RateLimited, "The sender's queue is full."),
    30001: (RateLimited, "The sender's queue is full."),
    30022: (RateLimited, "The sender's A2P 10DLC rate was exceeded."),
    30023: (RateLimited, "The sender's daily cap was reached."),
    30025: (RateLimited, "The sender's daily cap was reached."),
    30026: (RateLimited, "The sender's daily cap was reached."),
    30027: (RateLimited, "The sender's daily cap was reached."),
    63017: (RateLimited, "The account's channel rate was exceeded."),
    63018: (RateLimited, "The channel limits the rate."),
    63038: (RateLimited, "The account's daily limit was reached."),
    30003: (Transient, "The recipient's handset could not be reached."),
    30008: (Transient, "The carrier gave no reason."),
    30017: (Transient, "The carrier's network is congested."),
    63009: (Transient, "The channel had an internal error."),
    63010: (Transient, "Twilio had an internal error."),
    63012: (Transient, "The channel had an internal error."),
    63023: (Transient, "The channel had an internal error."),
    63025: (Transient, "The media is being uploaded already."),
    # Twilio documents neither 20500 nor 20503 as "not processed", and the message may have left on 30410.
    20500: (OutcomeUnknown, "Twilio had an internal error; the message may have been sent."),
    20503: (OutcomeUnknown, "Twilio was unavailable; the message may have been sent."),
    30410: (OutcomeUnknown, "The carrier did not answer in time; the message may have been sent."),
}

#: Code → class and title.
ERRORS: Mapping[int, Row] = _ACCOUNT | _SETUP | _RECIPIENT | _CONTENT | _LATER

_SCOPES: dict[int, RateScope] = dict.fromkeys((21611, 30001, 30022, 30023, 30025, 30026, 30027, 63018), "sender")
_DAILY = frozenset({30023, 30025, 30026, 30027, 63038})
_LONGEST_CODE = 6


def error_code(value: object) -> int | None:
    """A code as Twilio writes it, a number or a string of digits; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 < value < 10**_LONGEST_CODE else None
    if isinstance(value, str) and len(value) <= _LONGEST_CODE and value.isascii() and value.isdigit():
        return int(value) or None
    return None


def error_for(code: int | None, *, http_status: int | None = None, wait: float | None = None) -> ChannelError | None:
    """The error a code stands for, or None for a code that is not in the table; `wait` is in seconds."""
    if code is None or code not in ERRORS:
        return None
    cls, title = ERRORS[code]
    if issubclass(cls, RateLimited):
        wait = wait if wait is not None else (DAILY_RETRY if code in _DAILY else None)
        return RateLimited(
            title,
            retry_after=wait,
            scope=_SCOPES.get(code, "account"),
            provider_code=str(code),
            http_status=http_status,
        )
    return cls(title, provider_code=str(code), http_status=http_status)


def raise_for_reply(reply: HttpReply) -> None:
    """Raise what an error answer means; return for 2xx.

    5xx stays `OutcomeUnknown` whatever the body says: no Twilio page promises that such a request was not processed.
    """
    if reply.ok:
        return
    code = error_code(reply.json_object().get("code"))
    if 400 <= reply.status < 500:
        error = error_for(code, http_status=reply.status, wait=retry_after(reply))
        if error is not None:
            raise error
    raise_for_status(reply, provider_code=None if code is None else str(code))


def refused_at_once(status: object, code: object) -> ChannelError | None:
    """The error of a message that was created (201) and had failed already; None where it had not."""
    if status not in ("failed", "undelivered", "canceled"):
        return None
    known = error_code(code)
    return error_for(known, http_status=201) or Permanent(
        "Twilio refused the message at once.",
        provider_code=None if known is None else str(known),
        http_status=201,
    )


def receipt_error(status: str, code: object) -> dict[str, Any]:
    """The error fields of a failed receipt: code, class name and title."""
    if status == "canceled":
        return {
            "error_code": "canceled",
            "error_class": Permanent.__name__,
            "error_detail": "The message was canceled.",
        }
    known = error_code(code)
    error = error_for(known)
    if error is not None:
        return {"error_code": str(known), "error_class": type(error).__name__, "error_detail": error.detail}
    return {
        "error_code": None if known is None else str(known),
        "error_class": Permanent.__name__,
        "error_detail": "Twilio could not deliver the message.",
    }
