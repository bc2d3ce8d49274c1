"""Words as operators write them: names, currencies, amounts and moments, checked and in normal form."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from waypost.clock import DAY, HOUR, MINUTE, SECOND, from_datetime, iso, to_datetime
from waypost.ids import looks_like_id
from waypost.money import InvalidAmountError, parse_amount
from waypost.operations.errors import InvalidArgumentError

_CURRENCY = re.compile(r"[A-Z]{3}")
_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
LONGEST_NAME = 100


def name(value: str) -> str:
    """A name for people: one printable line that is no id. Raises `InvalidArgumentError`."""
    value = value.strip()
    if not value or len(value) > LONGEST_NAME or not value.isprintable():
        raise InvalidArgumentError("name", f"write 1 to {LONGEST_NAME} printable characters")
    if looks_like_id(value):
        raise InvalidArgumentError("name", "a name must not look like an id")
    return value


def currency(value: str, argument: str = "currency") -> str:
    """A currency: three upper-case letters. Raises `InvalidArgumentError`."""
    if not _CURRENCY.fullmatch(value):
        raise InvalidArgumentError(argument, "write three upper-case letters, such as SGD")
    return value


def amount(value: str, argument: str = "amount", *, lowest: int = 0) -> int:
    """A decimal text as micros, not below `lowest`. Raises `InvalidArgumentError`."""
    try:
        micros = parse_amount(value)
    except InvalidAmountError as error:
        raise InvalidArgumentError(argument, str(error)) from None
    if micros < lowest:
        raise InvalidArgumentError(argument, "it must be more than zero" if lowest > 0 else "it must not be negative")
    return micros


def signed_amount(value: str) -> int:
    """A decimal text as micros, positive or negative but not zero. Raises `InvalidArgumentError`."""
    micros = amount(value, lowest=-(10**18))
    if micros == 0:
        raise InvalidArgumentError("amount", "zero changes nothing; write a positive or negative amount")
    return micros


def moment(value: str, now: int, argument: str) -> int:
    """A moment as microseconds: `now`, a span from now such as `90d` or `12h`, or ISO 8601 (UTC unless it says)."""
    value = value.strip()
    if value == "now":
        return now
    if span := _SPAN.fullmatch(value):
        return now + int(span[1]) * _UNITS[span[2]]
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidArgumentError(
            argument, "write a span such as 90d, 12h or 30m, or a time such as 2027-01-31T00:00:00Z"
        ) from None
    micros = from_datetime(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
    try:
        to_datetime(micros)
    except OverflowError:
        raise InvalidArgumentError(argument, "in UTC it is not within the years 1 to 9999; write another") from None
    return micros


def shown_moment(micros: int | None) -> str | None:
    """A moment as it is shown: ISO 8601 in UTC."""
    return None if micros is None else iso(micros)


def prefix(value: str) -> str:
    """A destination prefix: the first digits of a number without `+`, or the beginning of a domain; empty is any."""
    value = value.strip().lstrip("+").lower()
    if len(value) > LONGEST_NAME or not value.isprintable() or " " in value:
        raise InvalidArgumentError("prefix", "write the first digits of a number, such as 65, or nothing for any")
    return value
