"""Email addresses: normal form, the form on the wire, and the refusal of anything that could start a header line."""

from __future__ import annotations

import email.utils
import hashlib
import re
from dataclasses import dataclass, field
from email.utils import getaddresses, quote
from typing import Any

from email_validator import EmailNotValidError, ValidatedEmail, validate_email
from waypost.plugin import Address, ContentRejected, InvalidRecipient

KIND = "email"

#: C0, DEL, C1 (NEL is one of them), LINE and PARAGRAPH SEPARATOR, and halves of surrogate pairs.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

#: What a name holds in quotes only (RFC 5322, 3.2.3).
_SPECIAL = re.compile(r'[][()<>@,:;".\\]')

#: A name without quotes before an address, from the comma before it.
_BARE_NAME = re.compile(r'(^|,)([^",<>()]*)<')
#: Newer Pythons give up a whole header for one mailbox that is written wrongly; its neighbours are wanted all the same.
_LENIENT: dict[str, Any] = {"strict": False} if getattr(email.utils, "supports_strict_parsing", False) else {}


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address in the form that SendGrid takes, with an optional display name."""

    address: str = field(repr=False)
    name: str | None = field(default=None, repr=False)


def clean_line(value: str, what: str) -> str:
    """Return the value unless it holds a control character; raises `ContentRejected` naming `what`, never the value."""
    if CONTROL.search(value):
        raise ContentRejected(f"The {what} holds a line break or another control character.")
    return value


def parse_address(value: str) -> Address:
    """Turn what a partner writes into an address in normal form: Unicode NFC, domain in lower case and in Unicode.

    Raises `InvalidRecipient`. Whether the domain exists is not asked: this is pure.
    """
    return Address(KIND, _validated(value).normalized)


def _validated(value: str, *, display_name: bool = False) -> ValidatedEmail:
    if CONTROL.search(value):
        raise InvalidRecipient("This is not an email address.")
    try:
        # `.test` is reserved for tests and reaches nobody, so that it is safe to take.
        return validate_email(
            value.strip(" "),
            check_deliverability=False,
            test_environment=True,
            allow_display_name=display_name,
        )
    except EmailNotValidError as error:
        raise InvalidRecipient("This is not an email address.") from error


def parse_mailbox(value: str) -> Mailbox:
    """Read `ada@example.com` or `Ada Okafor <ada@example.com>`. Raises `InvalidRecipient`."""
    validated = _validated(value, display_name=True)
    return Mailbox(_on_wire(validated), validated.display_name or None)


def received_mailboxes(value: str) -> list[tuple[str, str]]:
    """Name and address of each mailbox in an address header, as far as they can be told apart (RFC 5322, 3.4)."""
    try:
        found = getaddresses([_BARE_NAME.sub(_quoted, value)], **_LENIENT)
    except RecursionError:
        # Comments within comments without end: nobody's address.
        return []
    return [(name.strip(), address) for name, address in found if "@" in address]


def _quoted(found: re.Match[str]) -> str:
    """`ann@x.org <ann@x.org>` is common, and not as it should be: a name that looks like an address stays a name."""
    name = found[2].strip()
    return f'{found[1]}"{quote(name)}" <' if "@" in name else found[0]


def written(name: str, address: str) -> str:
    """A mailbox as one writes it, its name in quotes where it needs them."""
    if not name:
        return address
    return f'"{quote(name)}" <{address}>' if _SPECIAL.search(name) else f"{name} <{address}>"


def _on_wire(validated: ValidatedEmail) -> str:
    """SendGrid wants the domain in ASCII, whatever stands before it: a local part beyond ASCII has no other form."""
    return f"{validated.ascii_local_part or validated.local_part}@{validated.ascii_domain}"


def comparable(value: str) -> str:
    """One spelling for all spellings of a mailbox: to write to it once, and to know it again in an event."""
    if value.isascii():
        return value.strip().lower()
    try:
        return _on_wire(_validated(value)).casefold()
    except InvalidRecipient:
        return value.strip().casefold()


def fingerprint(correlation: str, address: str) -> str:
    """A short hash of an address, different for each message, that an event's address can be compared with.

    It travels in `custom_args`, so that receipts about copies (cc, bcc) can be told from the main recipient's without
    the address itself being put anywhere.
    """
    return hashlib.sha256(f"{correlation}\n{comparable(address)}".encode("utf-8", "replace")).hexdigest()[:20]
