"""Money: an integer count of millionths of the currency, never a float."""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

MICROS = 1_000_000
#: More than any balance: keeps every sum of sums inside a signed 64-bit integer.
MAX_MICROS = 10**15
#: More than anybody pays in over the years: a thousand such balances, and still such an integer.
MOST_FUNDED = 1000 * MAX_MICROS
#: What an organization can have to spend at most: a balance and a credit limit.
MOST_SPENDABLE = 2 * MAX_MICROS

#: Of an amount that is too long to be counted exactly, nothing may be lost unnoticed.
_EXACT = Context(traps=[Inexact, InvalidOperation, Overflow])
_AMOUNT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class InvalidAmountError(ValueError):
    """An amount is a decimal number with at most six places, such as 12.50, up to 1000000000; write it so."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


def parse_amount(text: str) -> int:
    """A decimal text as micros. Raises `InvalidAmountError` for more than six places or anything not a number."""
    if not _AMOUNT.fullmatch(text.strip()):
        raise InvalidAmountError  # also what Decimal would take: 1_000, or digits of another script
    try:
        micros = _EXACT.multiply(Decimal(text), MICROS)
        if not micros.is_finite() or micros != micros.to_integral_value() or abs(micros) > MAX_MICROS:
            raise InvalidAmountError
    except ArithmeticError as error:
        raise InvalidAmountError from error
    return int(micros)


def format_amount(micros: int) -> str:
    """Micros as the shortest exact decimal: 120000 → `0.12`."""
    sign = "-" if micros < 0 else ""
    whole, fraction = divmod(abs(micros), MICROS)
    return f"{sign}{whole}.{fraction:06d}".rstrip("0").rstrip(".")
