"""Who is who on WhatsApp: phone numbers, business-scoped user ids, and what a webhook says of a person."""

from __future__ import annotations

import re
from typing import Any

from waypost.plugin import Address, InvalidRecipient
from waypost_meta_graph.pieces import child, text

E164 = "e164"
USER_ID = "wa_user_id"
#: Anything else a webhook names: a group, or a form not known yet.
OPAQUE = "wa_id"

_DIGITS = re.compile(r"[0-9]{7,15}")
#: A country code and the id itself; `ENT.` marks the id that several portfolios of one business share.
#: Source: Meta, "Business-scoped user IDs".
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
_ORNAMENT = re.compile(r"[\s\-().\u00a0\u2010-\u2015]")


def parse_address(value: str) -> Address:
    """Read a phone number (`+` and 7 to 15 digits, ornament allowed) or a business-scoped user id.

    Raises `InvalidRecipient`.
    """
    stripped = value.strip()
    if _USER_ID.fullmatch(stripped):
        return Address(USER_ID, stripped)
    number = _ORNAMENT.sub("", stripped.replace("(0)", ""))
    if number.startswith("+") and _DIGITS.fullmatch(number[1:]):
        return Address(E164, number)
    raise InvalidRecipient("A WhatsApp recipient is a phone number as +digits, or a business-scoped user id.")


def wa_address(value: str) -> Address:
    """The address that a `wa_id`, a `from` or a `recipient_id` names; tests of Meta's put user ids there too."""
    digits = value.removeprefix("+")
    if _DIGITS.fullmatch(digits):
        return Address(E164, f"+{digits}")
    return Address(USER_ID if _USER_ID.fullmatch(value) else OPAQUE, value)


def person(*named: tuple[Any, str]) -> tuple[Address, ...]:
    """The addresses found under these keys of these pieces, in order, each once."""
    found: dict[Address, None] = {}
    for piece, key in named:
        value = text(piece, key)
        if value is not None:
            found[wa_address(value)] = None
    return tuple(found)


def business(value: Any) -> Address:
    """The number that a webhook's `metadata` says it is for; by Meta's id where the number is not one."""
    metadata = child(value, "metadata")
    digits = re.sub(r"[^0-9]", "", text(metadata, "display_phone_number") or "")
    if _DIGITS.fullmatch(digits):
        return Address(E164, f"+{digits}")
    return Address("phone_number_id", text(metadata, "phone_number_id") or "")
