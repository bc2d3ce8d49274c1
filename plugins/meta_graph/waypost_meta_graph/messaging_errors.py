"""Errors that the Send API of Messenger and Instagram adds to the Graph's.

Source: Meta, Messenger Platform, "Error codes" and its changelog; codes marked so in the table come from third parties.
"""

from __future__ import annotations

from collections.abc import Mapping

from waypost.plugin import (
    AccountBlocked,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OutcomeUnknown,
    OutsideWindow,
    RateLimited,
    Transient,
)

from waypost_meta_graph.errors import ErrorKey, ErrorRow

_WINDOW = ErrorRow(OutsideWindow, "The person has not written recently; this message is outside the allowed window.")
_UNAVAILABLE = ErrorRow(InvalidRecipient, "The person is not available: they blocked the account or left.")
_RESTRICTED = ErrorRow(AccountBlocked, "The account is restricted from sending.")
_UNDOCUMENTED = ErrorRow(OutcomeUnknown, "Meta answered a code that it hardly documents.")

#: A subcode alone decides where Meta has used it under several codes.
MESSAGING_ROWS: Mapping[ErrorKey, ErrorRow] = {
    (None, 2018278): _WINDOW,
    (None, 2018065): _WINDOW,
    (None, 2534022): _WINDOW,
    (None, 2018108): ErrorRow(InvalidRecipient, "The person does not receive messages from this account now."),
    (None, 2018028): ErrorRow(Misconfigured, "The app is not live: it can reach its admins and testers only."),
    (None, 1893063): ErrorRow(AccountBlocked, "The Page is temporarily restricted from sending."),
    (551, None): _UNAVAILABLE,
    (None, 1545041): _UNAVAILABLE,
    (None, 2018001): ErrorRow(InvalidRecipient, "No such person is known to this account."),
    (None, 2534014): ErrorRow(InvalidRecipient, "No such person is known to this account."),
    (None, 2018109): ErrorRow(ContentRejected, "The attachment is too large."),
    (None, 2018074): ErrorRow(ContentRejected, "A parameter of the message is invalid."),
    (None, 2018034): ErrorRow(ContentRejected, "A parameter of the message is invalid."),
    (None, 2018047): ErrorRow(Transient, "Meta could not fetch the attachment.", tries=2),
    # It may also mean that the person blocked the account.
    (2, None): ErrorRow(Transient, "Meta is temporarily out of service.", tries=6),
    (36000, None): ErrorRow(ContentRejected, "The image is too large."),
    (80006, None): ErrorRow(RateLimited, "The account has reached its messaging limit."),
    (1200, None): ErrorRow(Transient, "Meta could not send the message for the moment."),
    # Third-party sources from here on.
    (2, 2018344): ErrorRow(Misconfigured, "The account has not accepted Meta's terms."),
    (2534029, None): _RESTRICTED,
    (None, 2534029): _RESTRICTED,
    (2534122, None): _RESTRICTED,
    (None, 2534122): _RESTRICTED,
    (199, None): _UNDOCUMENTED,
    (10303, None): _UNDOCUMENTED,
    (1357046, None): _UNDOCUMENTED,
}
