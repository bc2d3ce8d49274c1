"""Which mail headers a partner may set, and how their values are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.header import Header

from waypost.plugin import ContentRejected

from waypost_email_sendgrid.address import clean_line

#: Narrower than RFC 5322 §2.2, so that a name can be shown in an error and hold no address.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,75}")

#: Ours: room for a long thread's references, and far below what mail servers refuse.
MAX_VALUE = 10_000

#: SendGrid refuses the first line (Mail Send, "headers"); the others would speak for the mail system or steer SendGrid.
_FORBIDDEN_X = frozenset({"x-sg-id", "x-sg-eid", "x-smtpapi"})
_ALLOWED_PREFIXES = ("x-", "list-")
_ALLOWED = frozenset(
    {
        "auto-submitted",
        "comments",
        "feedback-id",
        "importance",
        "in-reply-to",
        "keywords",
        "message-id",
        "organization",
        "precedence",
        "priority",
        "references",
        "sensitivity",
    }
)


def allowed(name: str) -> bool:
    """Whether a partner may set this header: extension (`X-…`) and list headers, and a few harmless ones.

    An allow rule, because what may not be set is longer than any list: SendGrid's own (x-sg-id, x-sg-eid, received,
    dkim-signature, Content-Type, Content-Transfer-Encoding, To, From, Subject, Reply-To, CC, BCC) and all trace,
    resent and authentication headers.
    """
    lower = name.lower()
    if lower in _FORBIDDEN_X:
        return False
    return lower in _ALLOWED or lower.startswith(_ALLOWED_PREFIXES)


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as SendGrid takes them, non-ASCII values as RFC 2047 encoded words. Raises `ContentRejected`."""
    checked: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ContentRejected("A header's name is not valid.")
        if not allowed(name):
            raise ContentRejected(f"The header {name} may not be set.")
        if name.lower() in seen:
            raise ContentRejected(f"The header {name} is set twice.")
        seen.add(name.lower())
        clean_line(value, f"header {name}")
        if len(value) > MAX_VALUE:
            raise ContentRejected(f"The header {name} is longer than {MAX_VALUE} characters.")
        checked[name] = value if value.isascii() else Header(value, "utf-8").encode(linesep="")
    return checked
