"""Addresses as partners write them, as Waypost keeps them and as Twilio wants them."""

from __future__ import annotations

import re

from waypost.plugin import Address, InvalidRecipient

WHATSAPP_PREFIX = "whatsapp:"

#: Separators people write inside phone numbers.
_SEPARATORS = re.compile(r"[\s\-().\u00a0\u2010-\u2015]+")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
#: A business-scoped user id: country code, a dot, alphanumerics, 128 in all (Meta, "Business-scoped user ids", 2026).
_BSUID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,125}")
_LONGEST_WRITTEN = 64


def parse_phone(value: str) -> Address:
    """Turn a phone number in international form into an address. Raises `InvalidRecipient`."""
    if _E164.fullmatch(value):
        return Address("e164", value)
    number = _SEPARATORS.sub("", value) if len(value) <= _LONGEST_WRITTEN else ""
    if not _E164.fullmatch(number):
        raise InvalidRecipient("A phone number starts with + and has 7 to 15 digits.")
    return Address("e164", number)


def parse_whatsapp(value: str) -> Address:
    """Turn a phone number or a business-scoped user id into an address. Raises `InvalidRecipient`."""
    plain = value.strip().removeprefix(WHATSAPP_PREFIX).strip()
    if _BSUID.fullmatch(plain):
        return Address("wa_user_id", plain)
    return parse_phone(plain)


def received_address(value: str) -> Address:
    """The address behind a `From` or `To` that Twilio sent; short codes and sender names keep kinds of their own."""
    plain = value.removeprefix(WHATSAPP_PREFIX)
    if _E164.fullmatch(plain):
        return Address("e164", plain)
    if value.startswith(WHATSAPP_PREFIX) and _BSUID.fullmatch(plain):
        return Address("wa_user_id", plain)
    if plain.isascii() and plain.isdigit():
        return Address("short_code", plain)
    return Address("sender_id", plain)


def rate_digits(address: str) -> str | None:
    """The digits that select a rate: the number's own, or the country code of a business-scoped user id."""
    if address.startswith("+"):
        return address[1:]
    # 50 ms of tables, wanted for the few recipients who hide their number.
    from phonenumbers import country_code_for_region

    code = country_code_for_region(address[:2])
    return str(code) if code else None
