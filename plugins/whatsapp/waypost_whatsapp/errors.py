"""WhatsApp's error codes. Source: Meta, WhatsApp Cloud API, "Error codes"; the class is ours.

The same code may come as the answer to a send or in a `failed` status; both are read by this table.
"""

from __future__ import annotations

from waypost.plugin import (
    AccountBlocked,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OptedOut,
    OutsideWindow,
    Permanent,
    RateLimited,
    Transient,
    Unsupported,
)
from waypost_meta_graph import ErrorRow, ErrorTable

_REGISTRATION = ErrorRow(Misconfigured, "The phone number is not registered, or its registration is in trouble.")
_PAYMENTS = ErrorRow(Misconfigured, "The account is not eligible for this product.")
_COMPONENTS = ErrorRow(ContentRejected, "A template parameter or component has the wrong form.")
_HOUR = 3600.0

_ROWS: dict[int, ErrorRow] = {
    33: ErrorRow(Misconfigured, "The business phone number does not exist any more."),
    80007: ErrorRow(RateLimited, "The WhatsApp Business Account has reached its rate limit."),
    130403: ErrorRow(Permanent, "The business has blocked this person."),
    130429: ErrorRow(RateLimited, "The phone number has reached its throughput.", scope="sender"),
    130472: ErrorRow(Permanent, "Meta does not deliver marketing to this person, who is part of an experiment."),
    # A restriction of the account, but nothing else may stop for it: people elsewhere are reached.
    130497: ErrorRow(Permanent, "The business may not message people in this country."),
    131000: ErrorRow(Transient, "The message failed for a reason that WhatsApp does not know.", tries=4),
    131005: ErrorRow(Misconfigured, "Access was denied: a permission is missing."),
    131008: ErrorRow(ContentRejected, "A required parameter is missing."),
    131009: ErrorRow(ContentRejected, "A parameter has a value that is not valid."),
    131016: ErrorRow(Transient, "A service at WhatsApp is temporarily unavailable."),
    131021: ErrorRow(ContentRejected, "Sender and recipient are the same number."),
    131026: ErrorRow(InvalidRecipient, "The message cannot be delivered to this person: perhaps not on WhatsApp."),
    131030: ErrorRow(Misconfigured, "The recipient is not on the test number's list."),
    131031: ErrorRow(AccountBlocked, "The business account is locked."),
    131037: ErrorRow(Misconfigured, "The phone number's display name is not approved."),
    131042: ErrorRow(AccountBlocked, "The account's payment method or eligibility is in trouble."),
    131045: ErrorRow(Misconfigured, "The phone number's registration or certificate is in trouble."),
    131047: ErrorRow(OutsideWindow, "More than 24 hours have passed since the person wrote; send a template."),
    131048: ErrorRow(RateLimited, "The phone number is restricted for its quality.", scope="sender", retry_after=_HOUR),
    131049: ErrorRow(Permanent, "Meta chose not to deliver marketing to this person now; wait a day at least."),
    131050: ErrorRow(OptedOut, "The person stopped marketing messages from this business."),
    131051: ErrorRow(Unsupported, "WhatsApp does not support this type of message."),
    131052: ErrorRow(Transient, "Media that the person sent could not be downloaded."),
    131053: ErrorRow(ContentRejected, "WhatsApp could not fetch or take the media."),
    131055: ErrorRow(Unsupported, "WhatsApp does not allow this method."),
    131056: ErrorRow(RateLimited, "Too many messages to the same person.", scope="recipient", retry_after=6.0),
    131057: ErrorRow(Transient, "The account is being maintained."),
    131062: ErrorRow(Unsupported, "This message cannot go to a business-scoped user id."),
    131063: ErrorRow(Unsupported, "This phone number cannot send to business-scoped user ids."),
    131064: ErrorRow(RateLimited, "WhatsApp is throttling the phone number.", scope="sender"),
    132000: ErrorRow(ContentRejected, "The number of template parameters does not match the template."),
    132001: ErrorRow(Misconfigured, "The template does not exist in this language, or is not approved."),
    132005: ErrorRow(ContentRejected, "The template's text is too long once it is filled in."),
    132007: ErrorRow(Misconfigured, "The template's content violates a policy."),
    132008: _COMPONENTS,
    132012: _COMPONENTS,
    132015: ErrorRow(Misconfigured, "The template is paused for its quality."),
    132016: ErrorRow(Misconfigured, "The template is disabled for good."),
    132018: _COMPONENTS,
    132068: ErrorRow(Misconfigured, "The flow is blocked."),
    132069: ErrorRow(RateLimited, "The flow is throttled."),
    133000: _REGISTRATION,
    133004: ErrorRow(Transient, "WhatsApp's registration server is temporarily unavailable."),
    133005: _REGISTRATION,
    133006: _REGISTRATION,
    133008: _REGISTRATION,
    133009: _REGISTRATION,
    133010: _REGISTRATION,
    133015: _REGISTRATION,
    133016: ErrorRow(RateLimited, "Too many registrations of the phone number.", scope="sender", retry_after=_HOUR),
    134011: _PAYMENTS,
    134100: _PAYMENTS,
    134101: _PAYMENTS,
    134102: _PAYMENTS,
    135000: ErrorRow(ContentRejected, "WhatsApp refused the request's parameters."),
    137000: ErrorRow(ContentRejected, "WhatsApp refused the request."),
}

ERRORS = ErrorTable(
    {(code, None): row for code, row in _ROWS.items()},
    [
        (range(131200, 131300), ErrorRow(Unsupported, "WhatsApp refused this in a group.")),
        (range(2388000, 2389000), ErrorRow(ContentRejected, "WhatsApp refused the template's definition.")),
    ],
)
